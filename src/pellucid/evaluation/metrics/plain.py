"""Metrics of plain arrays: a number, or where an interval is asked for the number with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

import numpy as np

from pellucid.evaluation.metrics import classification
from pellucid.evaluation.metrics.bootstrap import Bootstrap, as_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from pellucid.evaluation.metrics.bootstrap import Values
    from pellucid.evaluation.metrics.statistics import Estimate, Replicates

    Metric = Callable[[Values, Values, Bootstrap], Replicates]


@overload
def auroc(scores: Values, targets: Values, interval: Literal[False] = False) -> float: ...


@overload
def auroc(scores: Values, targets: Values, interval: Literal[True] | Bootstrap) -> Estimate: ...


def auroc(scores: Values, targets: Values, interval: bool | Bootstrap = False) -> float | Estimate:
    """The area under the ROC curve; ties count half.

    Args:
        scores: (N,), higher means more likely positive.
        targets: (N,) of 0 and 1; NaN where unknown, which takes no part.
        interval: give a 95 % interval as well, from a bootstrap over the images; or over patients, as
            ``Bootstrap(patients)``.

    Returns:
        A number, NaN without positives or without negatives; with `interval` an `Estimate`, which says why it is NaN.

    Raises:
        InputError: for other targets than 0, 1 and NaN, or arrays that do not fit.

    Example:
        >>> auroc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
        0.75
    """
    return _figure(classification.auroc, scores, targets, interval)


@overload
def average_precision(scores: Values, targets: Values, interval: Literal[False] = False) -> float: ...


@overload
def average_precision(scores: Values, targets: Values, interval: Literal[True] | Bootstrap) -> Estimate: ...


def average_precision(scores: Values, targets: Values, interval: bool | Bootstrap = False) -> float | Estimate:
    """The average precision, Σ (Rᵢ − Rᵢ₋₁) · Pᵢ over the distinct scores; that of chance is the prevalence.

    Arguments, result and errors are those of `auroc`.

    Example:
        >>> round(average_precision([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]), 4)
        0.8333
    """
    return _figure(classification.average_precision, scores, targets, interval)


@overload
def accuracy(predictions: Values, targets: Values, interval: Literal[False] = False) -> float: ...


@overload
def accuracy(predictions: Values, targets: Values, interval: Literal[True] | Bootstrap) -> Estimate: ...


def accuracy(predictions: Values, targets: Values, interval: bool | Bootstrap = False) -> float | Estimate:
    """The share of images whose predicted class (N,) is the target (N,); NaN targets take no part.

    Result and errors are those of `auroc`; undefined where a prediction is NaN.

    Example:
        >>> accuracy([0, 1, 1, 2], [0, 1, 2, 2])
        0.75
    """
    return _figure(classification.accuracy, predictions, targets, interval)


def _figure(metric: Metric, values: Values, targets: Values, interval: bool | Bootstrap) -> float | Estimate:
    if interval is False:
        count = len(np.atleast_1d(as_array(values)))
        return metric(values, targets, Bootstrap(range(count), resamples=1)).value
    bootstrap = Bootstrap(range(len(np.atleast_1d(as_array(values))))) if interval is True else interval
    return metric(values, targets, bootstrap).estimate()
