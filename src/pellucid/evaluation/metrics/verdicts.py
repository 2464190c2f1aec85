"""What differences are called, once their p values are corrected for how many were looked at together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pellucid.evaluation.metrics.differences import Inference
from pellucid.evaluation.metrics.paired_tests import holm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Aim = Literal["differs", "no worse"]
ALPHA = 0.05
BETTER, WORSE, DIFFERS = "better", "worse", "differs"
SAME, NO_WORSE, UNCLEAR = "same", "no worse", "unclear"
SHOWN = (BETTER, WORSE, DIFFERS)
"""The verdicts that say that there is a difference."""


@dataclass(frozen=True)
class Bar:
    """What a difference is held against.

    Attributes:
        better: 1 where more is better, −1 where less is, 0 where neither can be said.
        margin: differences up to this are of no use; 0 where the study names none.
        aim: `differs`, or `no worse` by more than the margin.
    """

    better: int
    margin: float = 0.0
    aim: Aim = "differs"


def judge_family(differences: Sequence[Mapping[str, Any]], bars: Sequence[Bar], family: str) -> list[dict[str, Any]]:
    """The differences of one family with their corrected p values and verdicts, question by question.

    Args:
        differences: as `Difference.to_json` gives them.
        bars: one for each.
        family: what they are called together.

    Returns:
        Each with `family`, `aim` and `margin`, and under `networks` and `recipes` also `p_corrected` (Holm, over
        `tests` of the family), `p_no_worse` (twice the one-sided p of a true difference that is worse by the margin
        or more, so that 0.05 is its bar too), `p_worse` (the same of one that is worse by the margin at most),
        `p_worse_corrected` (of the aim `no worse` alone) and `verdict`; under `networks` with `p_delong` also
        `p_delong_corrected`, among the family's other p values.

    Example:
        >>> from pellucid.evaluation.metrics.differences import Difference, Inference
        >>> both = [Difference(0.03, 9, *[Inference.even(0.03, error)] * 2) for error in (0.014, 0.01)]
        >>> family = judge_family([d.to_json() for d in both], [Bar(1), Bar(1)], "primary")
        >>> [(round(d["recipes"]["p_corrected"], 3), d["recipes"]["verdict"]) for d in family]
        [(0.032, 'better'), (0.005, 'better')]
    """
    out = [
        {**difference, "family": family, "aim": bar.aim, "margin": bar.margin}
        for difference, bar in zip(differences, bars, strict=True)
    ]
    for question in ("networks", "recipes"):
        inferences = [Inference.from_json(d["value"], d[question]) for d in differences]
        alone = [_p(i, bar) for i, bar in zip(inferences, bars, strict=True)]
        tests = sum(not math.isnan(p) for p in alone)
        corrected = holm(alone)
        beyond = holm([_p(i, bar, is_other=True) for i, bar in zip(inferences, bars, strict=True)])
        for one, inference, bar, own, far in zip(out, inferences, bars, corrected, beyond, strict=True):
            one[question] = one[question] | {
                "p_no_worse": _or_none(_p_no_worse(inference, bar)),
                "p_worse": _or_none(_p_worse(inference, bar)),
                "p_corrected": _or_none(own),
                "p_worse_corrected": _or_none(far) if bar.aim == "no worse" else None,
                "tests": tests,
                "verdict": verdict(inference, own, bar, far),
            }
        delong = [d[question].get("p_delong") for d in differences]
        if any(p is not None for p in delong):
            among = holm([p if own is None else own for own, p in zip(delong, alone, strict=True)])
            for one, own, p in zip(out, delong, among, strict=True):
                one[question] |= {} if own is None else {"p_delong_corrected": p}
    return out


def verdict(inference: Inference, p: float, bar: Bar, beyond: float = math.nan) -> str:
    """What a difference is called; nothing where there is no interval.

    `better`, `worse` and `differs` need a corrected p of at most 0.05 and a difference larger than the margin. `same`
    is a 95 % interval inside the margin on both sides, `no worse` one whose worse end is inside it (of the aim
    `no worse`: by the corrected p, as is `worse` by more than the margin then). Whatever else is `unclear`.

    Args:
        inference: the difference with its errors.
        p: corrected; of the aim `no worse` that of `no worse`.
        bar: what it is held against.
        beyond: corrected p of a difference that is worse by more than the margin; for the aim `no worse` alone.

    Example:
        >>> small = Inference.even(-0.002, 0.001)
        >>> round(small.p, 3), verdict(small, small.p, Bar(1)), verdict(small, small.p, Bar(1, margin=0.01))
        (0.046, 'worse', 'same')
    """
    if not inference.is_known:
        return ""
    significant = p <= ALPHA
    worst, best = sorted((bar.better or 1) * end for end in (inference.low, inference.high))
    if bar.margin > 0 and bar.better:
        if bar.aim == "no worse":
            return NO_WORSE if significant else WORSE if beyond <= ALPHA else UNCLEAR
        if -bar.margin < worst and best < bar.margin:
            return SAME
    if significant and abs(inference.value) > bar.margin:
        return DIFFERS if bar.better == 0 else BETTER if bar.better * inference.value > 0 else WORSE
    return NO_WORSE if bar.margin > 0 and bar.better and worst > -bar.margin else UNCLEAR


def answered(difference: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The question that a difference answers, and the answer: of the recipes, else of these networks alone.

    Args:
        difference: as `judge_family` gives it, or `Difference.to_json`.
    """
    question = "recipes" if difference["recipes"]["low"] is not None else "networks"
    return question, difference[question]


def _or_none(p: float) -> float | None:
    return None if math.isnan(p) else p


def _p(inference: Inference, bar: Bar, *, is_other: bool = False) -> float:
    """The p value by which a difference is judged; of the aim `no worse` that of either side."""
    if bar.aim == "differs":
        return inference.p
    return _p_worse(inference, bar) if is_other else _p_no_worse(inference, bar)


def _p_no_worse(inference: Inference, bar: Bar) -> float:
    if not bar.margin or not bar.better:
        return math.nan
    favourable = inference if bar.better > 0 else inference.turned()
    return favourable.p_doubled(-bar.margin)


def _p_worse(inference: Inference, bar: Bar) -> float:
    """Twice the one-sided p of a true difference that is worse by the margin or less."""
    if not bar.margin or not bar.better:
        return math.nan
    unfavourable = inference.turned() if bar.better > 0 else inference
    return unfavourable.p_doubled(bar.margin)
