"""Will it hold up elsewhere? What common corruptions leave of a model's answers, and which it does not withstand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pellucid.audit.groups import difference_test
from pellucid.audit.half_lead import HALF, constant_figure, half_lead, lead
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.classification import accuracy, classification_table
from pellucid.evaluation.metrics.paired_tests import holm
from pellucid.evaluation.metrics.verdicts import ALPHA
from pellucid.evaluation.robustness.corruptions import SEVERITIES
from pellucid.models.inference import check_answers, decisions
from pellucid.utils.resources import finite

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.metrics.statistics import Replicates

RESAMPLES = 500


def corruption_figures(
    logits: npt.NDArray[np.floating],
    corrupted: Mapping[str, Sequence[npt.NDArray[np.floating]]],
    dataset: Dataset,
    seed: int = 0,
) -> dict[str, Any]:
    """Accuracy, of several labels mean AUROC, at each severity of each corruption, beside that without.

    Args:
        logits: (N, K) of the images as they are.
        corrupted: by corruption, of severities 1 to 5.
        dataset: the N images.
        seed: of the bootstrap over patients.

    Returns:
        `metric`; `clean`, its figure; `base`, what a constant answer has; `rows`, one for each corruption and severity,
        with the paired difference and its p value, `half`, how far it lies above the middle between `clean` and
        `base`, and `lead`, how far above `base`, each with its own; the p values of each of the three questions are
        corrected after Holm for all rows; and `lost`: of each
        corruption the least severity at which both are shown, a loss, and less than half of what the model has above a
        constant answer left; None where there is none.
    """
    check_answers(logits, "nothing can be said of corruptions", dataset.ids)
    draws = Bootstrap(dataset.patients, RESAMPLES, seed)
    several = dataset.task == "multilabel"

    def figure(of: npt.NDArray[np.floating]) -> Replicates:
        if several:
            table = classification_table(of, dataset.targets, dataset.classes, dataset.task, draws)
            return table["mean"]["auroc"]
        return accuracy(decisions(of, dataset.task), dataset.targets, draws)

    clean, constant = figure(logits), constant_figure(dataset, draws)
    base = constant if isinstance(constant, float) else constant.value
    rows: list[dict[str, Any]] = []
    for name, of_severities in corrupted.items():
        for severity, (strength, of) in enumerate(zip(SEVERITIES[name][1], of_severities, strict=True), 1):
            own = figure(of)
            rows.append(
                {
                    "corruption": name,
                    "severity": severity,
                    "strength": strength,
                    **own.estimate().to_json(),
                    **difference_test(own, clean),
                    "half": half_lead(own, clean, constant),
                    "lead": lead(own, constant),
                }
            )
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_corrected"] = p
    for question in ("half", "lead"):
        for row, p in zip(rows, holm([row[question]["p"] for row in rows]), strict=True):
            row[question]["p_corrected"] = p
    better = clean.estimate().low > base  # else there is nothing to lose
    lost: dict[str, int | None] = dict.fromkeys(corrupted)
    for row in reversed(rows):
        tests = ((row["difference"], row["p_corrected"]), (row["half"], row["half"]["p_corrected"]))
        if better and all(one["value"] < 0 and p < ALPHA for one, p in tests):
            lost[row["corruption"]] = row["severity"]
    plain: dict[str, Any] = finite(
        {
            "metric": "auroc" if several else "accuracy",
            "images": len(dataset),
            "clean": clean.estimate().to_json(),
            "base": base,
            "bar": base + HALF * (clean.value - base),
            "rows": rows,
            "tests": sum(not math.isnan(row["p"]) for row in rows),
            "lost": lost,
        }
    )
    return plain
