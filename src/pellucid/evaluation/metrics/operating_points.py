"""Sensitivity and specificity at a threshold, what errors cost there, and the threshold that costs least."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from pellucid.evaluation.metrics.bootstrap import Values, as_array
from pellucid.evaluation.metrics.classification import without_answer
from pellucid.evaluation.metrics.statistics import Replicates, ratios
from pellucid.types import InputError
from pellucid.utils.resources import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pellucid.evaluation.metrics.bootstrap import Bootstrap

ERRORS = ("FN", "FP")


@dataclass(frozen=True)
class Use:
    """Where a model is to be used: how often each class occurs there, and what its errors cost.

    Attributes:
        prevalence: of a class where the model is to be used, in (0, 1), by name; as among the images judged where a
            class is not named.
        false_negative: what it costs to miss a class, in any unit.
        false_positive: what it costs to say it wrongly, in the same unit.

    Raises:
        InputError: a prevalence outside (0, 1), a cost that is not positive.

    Example:
        >>> [round(use.threshold("a", 0.5), 6) for use in (Use(false_negative=9), Use({"a": 0.01}))]
        [0.1, 0.99]
    """

    prevalence: Mapping[str, float] = field(default_factory=dict)
    false_negative: float = 1.0
    false_positive: float = 1.0

    def __post_init__(self) -> None:
        for name, value in self.prevalence.items():
            if not 0 < value < 1:
                raise InputError(f"the prevalence of {name} must lie between 0 and 1, both excluded; found {value!r}.")
        for kind, cost in zip(ERRORS, (self.false_negative, self.false_positive), strict=True):
            if not 0 < cost < math.inf:
                raise InputError(f"the cost of {kind} must be a number above 0; found {cost!r}.")

    @classmethod
    def parse(cls, prevalence: Mapping[str, str], costs: Mapping[str, str]) -> Use:
        """From texts, as the command has them: ``{"Mass": "0.05"}`` and ``{"FN": "10"}``.

        Raises:
            InputError: also for a text that is no number, or a cost that is neither FN nor FP.
        """
        for kind in costs:
            if kind not in ERRORS:
                raise InputError(f"unknown kind of error {kind!r}: a cost is of FN or FP. {nearest(kind, ERRORS)}")
        paid = {kind: _number(text, f"the cost of {kind}") for kind, text in costs.items()}
        shares = {name: _number(text, f"the prevalence of {name}") for name, text in prevalence.items()}
        return cls(shares, paid.get("FN", 1.0), paid.get("FP", 1.0))

    def check_classes(self, classes: Sequence[str]) -> None:
        """Refuse a prevalence of a class that the model does not have.

        Raises:
            InputError: with the nearest name.
        """
        for name in self.prevalence:
            if name not in classes:
                raise InputError(f"a prevalence is given of {name!r}, no class of the model. {nearest(name, classes)}")

    def threshold(self, name: str, prevalence: float) -> float:
        """The probability from which on saying a class costs less than not saying it (Bayes).

        ``p · FN > (1 − p) · FP`` for a probability p of where the model is used. Its odds are those of the model times
        the odds of the prevalence there over those of the prevalence here (Elkan 2001), which supposes that the model's
        probabilities are calibrated on the images judged.

        Args:
            name: of the class.
            prevalence: among the images judged.

        Returns:
            In (0, 1); NaN where all or none of the images judged are of the class.
        """
        if not 0 < prevalence < 1:
            return math.nan
        there = self.prevalence.get(name, prevalence)
        odds = self.false_positive / self.false_negative * _odds(prevalence) / _odds(there)
        return odds / (1 + odds)

    def cost(self, name: str, prevalence: float, sensitivity: Replicates, specificity: Replicates) -> Replicates:
        """What the errors of a class cost for each image, on average, where the model is to be used."""
        there = self.prevalence.get(name, prevalence)
        missed, alarmed = there * self.false_negative, (1 - there) * self.false_positive
        return sensitivity * -missed + specificity * -alarmed + (missed + alarmed)


def operating_points(
    decided: Values, present: Values, bootstrap: Bootstrap
) -> tuple[list[Replicates], list[Replicates]]:
    """Sensitivity and specificity of each class.

    Args:
        decided: (N, K), 1 where the class is said, 0 where not; NaN without an answer.
        present: (N, K), 1 where it is there, 0 where not; NaN where unknown.
        bootstrap: over the N images.

    Returns:
        K figures of each; NaN with the reason where there are no positives, no negatives, or no answer.

    Raises:
        InputError: for shapes that do not fit.

    Example:
        >>> from pellucid.evaluation.metrics.statistics import Bootstrap
        >>> sensitivity, specificity = operating_points([[1], [0], [0]], [[1], [1], [0]], Bootstrap(range(3)))
        >>> sensitivity[0].value, specificity[0].value
        (0.5, 1.0)
    """
    decisions, there = (np.asarray(as_array(v), dtype=np.float64) for v in (decided, present))
    if decisions.shape != there.shape or decisions.ndim != 2:
        raise InputError(f"decisions and labels must both be (N, K); found {decisions.shape} and {there.shape}.")
    silent = np.isnan(decisions)
    positives = (there == 1).sum(0)
    shares = []
    for value, lacking in ((1, "no positives"), (0, "no negatives")):
        group = there == value
        figures = ratios((decisions == value) & group, group, bootstrap, reason=lacking, within=(0, 1))
        figures = [replace(f, positives=int(p)) for f, p in zip(figures, positives, strict=True)]
        undefined = [without_answer(no, of, bootstrap) for no, of in zip(silent.T, group.T, strict=True)]
        shares.append([figure if no is None else no for figure, no in zip(figures, undefined, strict=True)])
    return shares[0], shares[1]


def _odds(share: float) -> float:
    return share / (1 - share)


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"{what} must be a number; found {text!r}.") from error
