"""What a model has above a constant answer, and whether half of it is left: contrasts of figures on the same images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.audit.groups import difference_test
from pellucid.evaluation.metrics.classification import accuracy
from pellucid.evaluation.metrics.differences import Inference, Z
from pellucid.evaluation.metrics.validation import one_hot

if TYPE_CHECKING:
    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.metrics.bootstrap import Bootstrap
    from pellucid.evaluation.metrics.statistics import Replicates

HALF = 0.5
"""Of what a model has above a constant answer: what must at least be left; a convention of the report."""
CHANCE = 0.5  # the AUROC of a constant answer


def constant_figure(dataset: Dataset, draws: Bootstrap) -> Replicates | float:
    """What a constant answer has on these images: of several labels an AUROC of one half, which is no estimate.

    Of exclusive classes the accuracy of the class that is most frequent here, a little too high where several are about
    as frequent.
    """
    if dataset.task == "multilabel":
        return CHANCE
    number = int(one_hot(dataset).sum(0).argmax())
    return accuracy(np.full(len(dataset), float(number)), dataset.targets, draws)


def lead(figure: Replicates, base: Replicates | float) -> dict[str, Any]:
    """How far a figure lies above that of a constant answer on the same images: below 0 it is worse than that answer.

    Args:
        figure: of these images, altered or not.
        base: of a constant answer on them, paired with it, or a number that is no estimate.

    Returns:
        `value`, `low`, `high`, and `p` of the two-sided test that both are equal; NaN where nothing is known.
    """
    if isinstance(base, float):  # no estimate, so this is as sure as the figure, also where a difference of two is not
        own = figure.estimate()
        contrast = Inference(own.value - base, (own.value - own.low) / Z, (own.high - own.value) / Z)
        p = contrast.p if contrast.is_known else math.nan
        return {"value": contrast.value, "low": contrast.low, "high": contrast.high, "p": p}
    test = difference_test(figure, base)
    return {**test["difference"], "p": test["p"]}


def half_lead(figure: Replicates, clean: Replicates, base: Replicates | float) -> dict[str, Any]:
    """How far a figure lies above the middle between that of the unaltered images and a constant answer's.

    ``figure − clean / 2 − base / 2``: each of the three is an estimate, and they go together over the patients, so the
    interval is put together from their own and their correlation (`statistics.interval_of_sum`).

    Args:
        figure: of the altered images.
        clean: of the same images unaltered, paired with it.
        base: of a constant answer on them.

    Returns:
        `value`, `low`, `high`, and `p` of the two-sided test that just half is left; NaN where nothing is known.
    """
    test = difference_test(figure, clean * HALF + base * HALF)
    return {**test["difference"], "p": test["p"]}
