"""The table of trust in a study: for each variant's network of the first seed, beside the others; kept when done."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from pellucid.data.cache.fitted_images import FittedImages
from pellucid.evaluation.trust.findings import TrustSettings
from pellucid.evaluation.trust.run import TrustJudge
from pellucid.evaluation.trust.samples import gather_trust_samples
from pellucid.models.weights import load_trained, read_model_card
from pellucid.utils.results_store import ResultsStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pellucid.study.config import StudyConfig
    from pellucid.study.evaluation_data import EvaluationData
    from pellucid.study.runs import PlannedRun


def judge_trust(
    study: StudyConfig,
    runs: Sequence[PlannedRun],
    data: EvaluationData,
    out: Path,
    device: str,
    *,
    cache: Path | None = None,
) -> list[dict[str, Any]]:
    """One table per variant, as results.json and the report take them; none where no methods are asked for.

    Agreement is measured with the other seeds of the same variant and the first seeds of the other variants. A method
    that cannot explain a network has the reason in the place of its figures.

    Args:
        study: the methods, and how much is spent.
        runs: the training runs.
        data: the test images.
        out: the study's folder.
        device: where to compute.
        cache: folder for decoded images.
    """
    config = study.evaluation.trust
    if not config.methods:
        return []
    settings = TrustSettings(
        samples=config.samples,
        attacked=config.attacked,
        attack_steps=config.attack_steps,
        batch_size=study.evaluation.batch_size,
    )
    firsts = {run.label: run for run in reversed(runs)}
    results = []
    for variant in study.variants:
        run, card = firsts[variant.label], read_model_card(firsts[variant.label].folder)
        compared = [r for r in runs if r.label == run.label and r is not run]
        compared += [r for label, r in firsts.items() if label != run.label]
        network = load_trained(run.folder, device)
        others = {f"{r.label}, seed {r.seed}": load_trained(r.folder, device) for r in compared}
        finding = study.data.options.get("shortcut")
        samples = gather_trust_samples(
            network, FittedImages(data.test, network.input_spec, cache), finding=finding, limit=config.limit
        )
        thresholds = [float(t) for t in card["thresholds"]]
        judge = TrustJudge(network, samples, config.methods, settings, others, thresholds)
        record = {
            "weights": card["weights_sha256"],
            "beside": [read_model_card(r.folder)["weights_sha256"] for r in compared],
            "fingerprint": data.test.fingerprint,
            "limit": config.limit,
            "samples": config.samples,
        }
        key = hashlib.sha256(repr(sorted(record.items())).encode()).hexdigest()[:16]
        store = ResultsStore(out / "evaluations" / run.folder.name / f"trust-{key}", record)
        results.append({"variant": variant.label, "seed": run.seed, **judge.judge(store).to_json()})
    return results
