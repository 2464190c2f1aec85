"""The table of trust in a study: for each variant's network of the first seed, beside the others; kept when done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.data.cache.fitted_images import FittedImages
from pellucid.data.readers.phantom.options import visible_shortcut
from pellucid.evaluation.trust.findings import TrustSettings
from pellucid.evaluation.trust.run import TrustJudge
from pellucid.evaluation.trust.samples import gather_trust_samples
from pellucid.models.weights import load_trained, read_model_card
from pellucid.study.kept.trust import trust_arrays
from pellucid.utils.results_store import keyed

if TYPE_CHECKING:
    from pellucid.study.context import StudyContext
    from pellucid.study.evaluation_data import EvaluationData
    from pellucid.study.kept.trust import Arrays


def judge_trust(context: StudyContext, data: EvaluationData) -> tuple[list[dict[str, Any]], Arrays]:
    """One table per variant, as results.json and the report take them, and what is kept of its images.

    There are none where no methods are asked for.

    Agreement is measured with the other seeds of the same variant and the first seeds of the other variants; of folds
    with the networks of the first.

    Args:
        context: the methods, how much is spent, and the training runs.
        data: the test images.

    Raises:
        InputError: a method that a network cannot serve.
    """
    study = context.study
    runs = [run for run in context.runs if run.fold == context.runs[0].fold]  # others have seen these images
    config = study.evaluation.trust
    if not config.methods:
        return [], {}
    settings = TrustSettings(
        samples=config.samples,
        attacked=config.attacked,
        attack_steps=config.attack_steps,
        batch_size=study.evaluation.batch_size,
    )
    firsts = {run.label: run for run in reversed(runs)}
    results: list[dict[str, Any]] = []
    arrays: Arrays = {}
    for variant in study.variants:
        run, card = firsts[variant.label], read_model_card(firsts[variant.label].folder)
        compared = [r for r in runs if r.label == run.label and r is not run]
        compared += [r for label, r in firsts.items() if label != run.label]
        network = load_trained(run.folder, context.resolved_device)
        others = {f"{r.label}, seed {r.seed}": load_trained(r.folder, context.resolved_device) for r in compared}
        samples = gather_trust_samples(
            network,
            FittedImages(data.test, network.input_spec, context.cache),
            planted=visible_shortcut(study.data.options),
            limit=config.limit,
        )
        thresholds = [float(t) for t in card["thresholds"]]
        weights = [read_model_card(r.folder)["weights_sha256"] for r in compared]
        judge = TrustJudge(
            network,
            samples,
            config.methods,
            settings,
            others,
            thresholds,
            results_key=card["weights_sha256"],
            keys_of_others=dict(zip(others, weights, strict=True)),
        )
        trust = judge.judge(context.evaluations(run) / keyed("trust", judge.record))
        arrays |= trust_arrays(len(results), trust, samples.patients)
        results.append({"variant": variant.label, "seed": run.seed, **trust.to_json()})
    return results, arrays
