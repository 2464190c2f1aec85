"""Against the other: how two models' answers differ on the same images, corrected for how many tests that takes.

These two networks on other patients: nothing is said of how they were trained, which one network of each cannot tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.evaluation.metrics.comparison import MANY_CLASSES, accuracy_rows, classification_rows
from pellucid.evaluation.metrics.paired_tests import PairedTest, delong, holm, mcnemar
from pellucid.evaluation.metrics.validation import one_hot
from pellucid.models.inference import check_answers
from pellucid.utils.resources import finite

if TYPE_CHECKING:
    import numpy.typing as npt

    from pellucid.audit.classification import Answers
    from pellucid.evaluation.metrics.bootstrap import Bootstrap
    from pellucid.evaluation.metrics.comparison import Row


def compare_answers(first: Answers, second: Answers, draws: Bootstrap) -> dict[str, Any]:
    """Accuracy by McNemar's test, each class's AUROC by DeLong's, all p values corrected together after Holm.

    Intervals of the differences are those of `paired_difference`, not corrected. With more than 20 classes the mean
    AUROC stands without a test, and no class on its own.

    Args:
        first: of the model that is audited.
        second: of the other, on the same images, its classes in the same order.
        draws: over the images.

    Raises:
        InputError: a model that gives no answer on some of the images.
    """
    dataset = first.dataset
    check_answers(second.logits, "it cannot be compared", dataset.ids)
    logits = {second.label: [second.logits], first.label: [first.logits]}
    rows = classification_rows(logits, dataset, draws, second.label)
    if dataset.task == "multilabel":
        cuts = {second.label: [second.thresholds], first.label: [first.thresholds]}
        rows += accuracy_rows(logits, cuts, dataset, draws, second.label)
    figures = {(r.metric, r.class_name, r.variant): r for r in rows}
    accuracies = mcnemar(_right(first), _right(second), draws.patients)
    places: dict[tuple[str, str], PairedTest | None] = {("accuracy", "mean"): accuracies}
    places["auroc", "mean"] = None
    if len(dataset.classes) <= MANY_CLASSES:
        truth = one_hot(dataset)
        scores = first.probabilities, second.probabilities
        for number, name in enumerate(dataset.classes):
            places["auroc", name] = delong(scores[0][:, number], scores[1][:, number], truth[:, number], draws.patients)
    corrected = dict(zip(places, holm([np.nan if t is None else t.p for t in places.values()]), strict=True))
    records = [
        _record(figures[metric, name, first.label], figures[metric, name, second.label], test)
        | {"p_corrected": corrected[metric, name]}
        for (metric, name), test in places.items()
    ]
    tests = sum(test is not None and not np.isnan(test.p) for test in places.values())
    common = {"label": second.label, "tests": tests, "n": len(dataset), "differing": _differing(first, second)}
    plain: dict[str, Any] = finite(common | {"rows": records})
    return plain


def _differing(first: Answers, second: Answers) -> dict[str, int]:
    """On how many images anything else is decided, and on how many a decision of one alone is right."""
    pairs = {"answers": (first.decided, second.decided), "right": (_right(first), _right(second))}
    return {
        key: len(np.unique(np.nonzero((a != b) & ~(np.isnan(a) & np.isnan(b)))[0])) for key, (a, b) in pairs.items()
    }


def _record(own: Row, other: Row, test: PairedTest | None) -> dict[str, Any]:
    difference = own.difference or {}
    networks = difference.get("networks", {})
    return {
        "metric": own.metric,
        "class": own.class_name,
        "value": own.value,
        "low": own.low,
        "high": own.high,
        "other": {"value": other.value, "low": other.low, "high": other.high, "n": other.n, "reason": other.reason},
        "difference": {
            **{key: difference.get(key) for key in ("value", "n", "reason")},
            **{key: networks.get(key) for key in ("low", "high")},
        },
        "n": own.n,
        "reason": own.reason,
        "test": "" if test is None else "McNemar" if own.metric == "accuracy" else "DeLong",
        "p": None if test is None else test.p,
    }


def _right(answers: Answers) -> npt.NDArray[np.float64]:
    """Whether each decision is right: of exclusive classes one for each image; NaN where the truth is not known."""
    truth = one_hot(answers.dataset).astype(np.float64)
    decided = answers.decided
    if answers.dataset.task == "multiclass":
        right: npt.NDArray[np.float64] = (decided * truth).sum(1)
        return right
    return np.where(np.isnan(truth) | np.isnan(decided), np.nan, decided == truth)
