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
ROUNDING = 1e-6
"""By how much shares of exclusive classes may miss a sum of 1."""


@dataclass(frozen=True)
class Use:
    """Where a model is to be used: how often each class occurs there, and what its errors cost.

    Attributes:
        prevalence: of a class where the model is to be used, in (0, 1), by name. Classes that are not named are as
            frequent as among the images judged; where each image has one class, they share what the named ones leave.
        false_negative: what it costs to miss a class, in any unit.
        false_positive: what it costs to say it wrongly, in the same unit. Of two classes of which each image has one,
            both are of the class whose prevalence is named, or else of the second; for the other they are exchanged.

    Raises:
        InputError: a prevalence outside (0, 1), a cost that is not positive.

    Example:
        >>> well, ill = Use({"ill": 0.01}, false_negative=9).of_classes(["well", "ill"], [0.5, 0.5], exclusive=True)
        >>> round(ill.threshold, 6), round(well.threshold, 6)
        (0.916667, 0.083333)
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

    def check_classes(self, classes: Sequence[str], *, exclusive: bool) -> None:
        """Refuse a prevalence of a class that the model does not have, and shares that cannot be together.

        Args:
            classes: of the model.
            exclusive: whether each image has exactly one of them.

        Raises:
            InputError: with the nearest name; for exclusive classes whose shares sum to more than 1, or, where every
                class is named, to less.
        """
        for name in self.prevalence:
            if name not in classes:
                raise InputError(f"a prevalence is given of {name!r}, no class of the model. {nearest(name, classes)}")
        total = math.fsum(self.prevalence.values())
        every = all(name in self.prevalence for name in classes)
        if exclusive and (total > 1 + ROUNDING or (every and total < 1 - ROUNDING)):
            raise InputError(
                f"each image has one class, so that the prevalences given must sum to {'1' if every else 'at most 1'}; "
                f"found {', '.join(f'{name} {share:g}' for name, share in self.prevalence.items())}: {total:g}. Leave "
                "a class out, and it gets what the others leave."
            )

    def tied_to(self, classes: Sequence[str], *, exclusive: bool) -> str | None:
        """Of two exclusive classes the one whose errors the costs are of: to miss it is to say the other wrongly.

        It is the one whose prevalence is given; where that is none or both, the second. None of other classes, where
        the costs are those of every class.

        Example:
            >>> Use({"ill": 0.1}).tied_to(["ill", "well"], exclusive=True)
            'ill'
        """
        if not exclusive or len(classes) != 2:
            return None
        named = [name for name in classes if name in self.prevalence]
        return named[0] if len(named) == 1 else classes[1]

    def cut_apart(self, classes: Sequence[str], *, exclusive: bool) -> list[str]:
        """The classes that a threshold of their own is suggested for.

        Of labels, and of two exclusive classes, all. Of more exclusive classes the most probable is said, which takes
        no threshold; one class against all others is another question, asked by giving its prevalence, or, for every
        class, the costs alone.

        Example:
            >>> [use.cut_apart(["a", "b", "c"], exclusive=True) for use in (Use(), Use({"b": 0.1}))]
            [[], ['b']]
        """
        if not exclusive or len(classes) <= 2:
            return list(classes)
        if self.prevalence:
            return [name for name in classes if name in self.prevalence]
        return [] if self.false_negative == self.false_positive == 1.0 else list(classes)

    def of_classes(self, classes: Sequence[str], shares: Sequence[float], *, exclusive: bool) -> list[ClassUse]:
        """What holds for each class.

        Of exclusive classes those whose prevalence is not given share what the others leave, in the proportions of the
        images judged; of two, the costs of the second are those of the first exchanged.

        Args:
            classes: K names, which `check_classes` does not refuse.
            shares: (K,) of the images judged that have the class, in [0, 1]; NaN where unknown.
            exclusive: whether each image has exactly one of the classes.
        """
        tied = self.tied_to(classes, exclusive=exclusive)
        scale = 1.0
        if exclusive and self.prevalence:
            rest = math.fsum(share for name, share in zip(classes, shares, strict=True) if name not in self.prevalence)
            scale = max(0.0, 1 - math.fsum(self.prevalence.values())) / rest if rest else math.nan
        costs = (self.false_negative, self.false_positive)
        return [
            ClassUse(share, self.prevalence.get(name, share * scale), *(costs if tied in (None, name) else costs[::-1]))
            for name, share in zip(classes, shares, strict=True)
        ]


@dataclass(frozen=True)
class ClassUse:
    """Of one class: how often it occurs, and what its errors cost where the model is to be used.

    Attributes:
        here: its share of the images judged, in [0, 1]; NaN where unknown.
        there: its share where the model is to be used, in [0, 1]; NaN where unknown.
        false_negative: what it costs to miss it.
        false_positive: what it costs to say it wrongly.
    """

    here: float
    there: float
    false_negative: float
    false_positive: float

    @property
    def threshold(self) -> float:
        """The probability from which on saying the class costs less than not saying it (Bayes).

        ``p · FN > (1 − p) · FP`` for a probability p of where the model is used. Its odds are those of the model times
        the odds of the prevalence there over those of the prevalence here (Elkan 2001), which supposes that the model's
        probabilities are calibrated on the images judged.

        Returns:
            In (0, 1), or 1 of a class that does not occur there; NaN where all or none of the images judged are of the
            class.
        """
        if not 0 < self.here < 1:
            return math.nan
        if self.there == 0:
            return 1.0
        odds = self.false_positive / self.false_negative * _odds(self.here) / _odds(self.there)
        return odds / (1 + odds)

    @property
    def constant_cost(self) -> tuple[float, bool]:
        """What the better of two constant answers costs for each image, and whether it is to say the class always."""
        never, always = self.there * self.false_negative, (1 - self.there) * self.false_positive
        return (always, True) if always < never else (never, False)

    def cost(self, sensitivity: Replicates, specificity: Replicates) -> Replicates:
        """What the errors of the class cost for each image, on average, where the model is to be used."""
        missed, alarmed = self.there * self.false_negative, (1 - self.there) * self.false_positive
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
