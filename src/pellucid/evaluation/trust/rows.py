"""The rows of the table of trust, from what was measured image by image."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.similarity import CONSTANT_MAP
from pellucid.evaluation.metrics.statistics import UNBOUNDED, Estimate, join_reasons, mean_over_images
from pellucid.evaluation.trust.attack import MEASURED as ON_ATTACKED
from pellucid.evaluation.trust.attack import attacked_rows
from pellucid.evaluation.trust.measures import MEASURES, NETWORK
from pellucid.evaluation.trust.yardsticks import GAINS, TRIVIAL, above_best, own_yardstick
from pellucid.utils.resources import finite

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pellucid.evaluation.trust.findings import Findings
    from pellucid.evaluation.trust.samples import TrustPatients

TrustVerdict = Literal["yes", "no", "unclear", "not refuted"]
AGREEMENT = "agreement: "
RANDOM_ORDER = "random order"
"""The curves of the uniform map."""
ON_FINDINGS = ("auprc", "pointing", "energy_ratio", "place_gain")
ON_MOSAICS = ("grid_pointing", "grid_gain")
ON_SHORTCUTS = ("marker_effect", "finding_effect", "marker_share", "finding_share")
LEAST = 5  # values that a verdict rests on
UNDEFINED = {
    "alignment": "the gradient is 0",
    "alignment_cosine": "the gradient is 0, or the image is of one colour",
    "infidelity": f"{CONSTANT_MAP}, or no removal changes the answer",
    "randomised_rank": f"{CONSTANT_MAP}, before randomisation or after",
    "randomised_ssim": f"{CONSTANT_MAP}, before randomisation or after",
    "dependence_rank": f"{CONSTANT_MAP}, before randomisation or after",
    "dependence_ssim": f"{CONSTANT_MAP}, before randomisation or after",
    "marker_share": f"{CONSTANT_MAP}, or has no positive heat",
    "finding_share": f"{CONSTANT_MAP}, or has no positive heat",
    "auprc": f"{CONSTANT_MAP}, or the other half of the patients has no region of the class",
}
"""Why an image's figure may be undefined, where it is more than a map that is the same everywhere."""
WITHIN = (
    dict.fromkeys(
        ("infidelity", "deletion_area", "insertion_area", "auprc", "pointing", "marker_share", "finding_share",
         "grid_pointing", "alignment_cosine", "map_invalidated", "decision_invalidated", "certified_cells"),
        (0.0, 1.0))
    | dict.fromkeys(
        ("repeatability_rank", "randomised_rank", "randomised_ssim",
         "attacked_rank", "agreement"), (-1.0, 1.0))
    | dict.fromkeys(("dependence_rank", "dependence_ssim"), (-2.0, 2.0))
    | dict.fromkeys(("max_sensitivity", "energy_ratio", "alignment"), (0.0, math.inf))
)  # fmt: skip
"""What an image's figure can be; any number where a measure is not named."""


@dataclass(frozen=True)
class TrustRow:
    """One figure of the table.

    Attributes:
        question: one of `QUESTIONS`.
        measure: a name in `MEASURES`, or another that was joined to the table.
        label: of the measure, for people.
        method: of explanation; `NETWORK` for a figure of the network alone; `trivial: …` for a yardstick, which ends
            in a method's name where it is made of that method's maps, or measured on the images that attack them.
        value: over all images; NaN where undefined.
        low: lower end of the 95 % interval.
        high: upper end.
        n: how many images, findings or mosaics it averages over.
        better: 1 where more is better, −1 where less is, 0 where neither can be said.
        verdict: whether the whole interval lies above the measure's bar (`yes`; `not refuted` of a measure that maps
            which know nothing pass too), below it (`no`) or neither (`unclear`, also of fewer than five values); None
            where there is no bar or no figure, and of yardsticks.
        bar: that bar.
        best: the best trivial map, which the figure is counted from; None where it is counted from none.
        reason: why something is NaN or was left out.
        means: what the figure says.
        not_means: what it does not.
        patients: of how many patients the images are; None where that is not known.
    """

    question: str
    measure: str
    label: str
    method: str
    value: float
    low: float
    high: float
    n: int
    better: int
    verdict: TrustVerdict | None
    bar: float | None
    best: str | None
    reason: str | None
    means: str
    not_means: str
    patients: int | None = None

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary; NaN is None."""
        plain: dict[str, Any] = finite(asdict(self))
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> TrustRow:
        """The row that `to_json` wrote."""
        figures = {name: math.nan if plain[name] is None else plain[name] for name in ("value", "low", "high")}
        return cls(**{**plain, **figures})


def trust_row(measure: str, method: str, estimate: Estimate, *, other: str = "", best: str | None = None) -> TrustRow:
    """A figure as a row, with its verdict.

    Args:
        measure: a name in `MEASURES`.
        method: of explanation.
        estimate: with its interval.
        other: another network that the figure is about; stands in the measure's label.
        best: the trivial map that it is counted from.
    """
    facts = MEASURES[measure]
    is_judged = not method.startswith(TRIVIAL)
    return TrustRow(
        facts.question,
        measure,
        f"{facts.label}: {other}" if other else facts.label,
        method,
        estimate.value,
        estimate.low,
        estimate.high,
        estimate.n,
        facts.better,
        verdict(estimate.low, estimate.high, facts.bar, estimate.n, facts.only_refutes) if is_judged else None,
        facts.bar if is_judged else None,
        best,
        estimate.reason,
        facts.means,
        facts.not_means,
        estimate.patients,
    )


def undefined_row(measure: str, method: str, reason: str) -> TrustRow:
    """A row whose figure is undefined, and why."""
    return trust_row(measure, method, Estimate(math.nan, math.nan, math.nan, 0, reason))


def verdict(
    low: float, high: float, bar: float | None, n: int = LEAST, only_refutes: bool = False
) -> TrustVerdict | None:
    """Where an interval lies beside its bar; fewer than five values, or no interval, say too little to tell.

    Args:
        low: of the interval.
        high: of the interval.
        bar: of the measure.
        n: how many values stand behind it.
        only_refutes: whether maps that know nothing lie above the bar too.

    Example:
        >>> verdict(0.6, 0.9, 0.5), verdict(0.0, 0.1, 0.5), verdict(0.4, 0.6, 0.5), verdict(math.nan, math.nan, 0.5, 0)
        ('yes', 'no', 'unclear', None)
        >>> verdict(0.6, 0.9, 0.5, only_refutes=True)
        'not refuted'
    """
    if bar is None or n == 0:
        return None
    if n < LEAST or math.isnan(low) or math.isnan(high):
        return "unclear"
    if low > bar:
        return "not refuted" if only_refutes else "yes"
    return "no" if high <= bar else "unclear"


def trust_table(
    network: Findings, methods: Sequence[Findings], patients: TrustPatients, seed: int = 0
) -> list[TrustRow]:
    """All rows: the network's own, each method's, and the yardsticks, in the order of the questions.

    Intervals are over patients; in every resample the method and its yardsticks are taken on the same images.

    Args:
        network: what `judge_network` found.
        methods: what `judge_method` found, one per method.
        patients: of what both were judged on.
        seed: of the bootstrap.
    """
    draws = _Draws(patients, seed)
    rows = [_row(name, NETWORK, values, draws) for name, values in network.values.items()]
    rows += [undefined_row(name, NETWORK, why) for name, why in network.reasons.items()]
    for yardstick, own in network.yardsticks.items():
        rows += [_row(name, TRIVIAL + yardstick, values, draws) for name, values in own.items()]
    for findings in methods:
        rows += method_rows(findings, network, draws)
    order = list(MEASURES)
    return sorted(rows, key=lambda row: order.index(row.measure))


def method_rows(findings: Findings, network: Findings, draws: _Draws) -> list[TrustRow]:
    """One method's rows: its figures, those of the yardsticks made of its maps, and what it gains on all of them."""
    method, values, reasons = findings.method, findings.values, dict(findings.reasons)
    rows = [_row(name, method, v, draws) for name, v in values.items()]
    for yardstick, own in findings.yardsticks.items():
        rows += [_row(name, own_yardstick(yardstick, method), v, draws) for name, v in own.items()]
    for name, gain in GAINS.items():
        yardsticks = {y: network.yardsticks.get(y, {}).get(gain.figure) for y in gain.shared}
        yardsticks |= {y: findings.yardsticks.get(y, {}).get(gain.figure) for y in gain.own}
        complete = {y: own for y, own in yardsticks.items() if own is not None}
        if gain.figure not in values:
            if gain.figure in reasons:
                reasons[name] = reasons[gain.figure]
        elif len(complete) < len(yardsticks):  # above some of them only is not above the best
            reasons[name] = f"not measured: {', '.join(y for y in yardsticks if y not in complete)}"
        else:
            own_values = values[gain.figure]
            own_draws = draws.of(name, len(own_values))
            estimate, best = above_best(own_values, complete, own_draws, sign=gain.sign, of=_counted(name))
            rows.append(trust_row(name, method, estimate, best=best))
    return rows + [undefined_row(name, method, why) for name, why in reasons.items()]


class _Draws:
    """Bootstraps over the patients of images, findings, mosaics and images with a shortcut; all of one seed."""

    def __init__(self, patients: TrustPatients, seed: int) -> None:
        self.images = Bootstrap(patients.images, seed=seed)
        self.findings = self.mosaics = self.shortcuts = self.images
        if patients.findings is not None and patients.finding_images is not None:
            self.findings = Bootstrap(patients.findings, seed=seed).take(patients.finding_images)
        if patients.mosaics is not None:
            self.mosaics = self.images.take(patients.mosaics)
        if patients.shortcuts is not None:
            self.shortcuts = Bootstrap(patients.shortcuts, seed=seed)

    def of(self, measure: str, count: int) -> Bootstrap:
        """The one that a measure's `count` values go with."""
        if measure in ON_ATTACKED or measure == "certified_cells":  # as many images, spread alike
            return self.images.take(attacked_rows(len(self.images), count))
        if measure in ON_FINDINGS:
            return self.findings
        if measure in ON_SHORTCUTS:
            return self.shortcuts
        return self.mosaics if measure in ON_MOSAICS else self.images


def _counted(measure: str) -> str:
    """What a measure's values are of."""
    kinds = ((ON_FINDINGS, "findings"), (ON_SHORTCUTS, "shortcuts"), (ON_MOSAICS, "mosaics"))
    return next((name for measures, name in kinds if measure in measures), "images")


def _row(name: str, method: str, values: np.ndarray[Any, Any], draws: _Draws) -> TrustRow:
    measure, other = ("agreement", name.removeprefix(AGREEMENT)) if name.startswith(AGREEMENT) else (name, "")
    reason = UNDEFINED.get(measure, CONSTANT_MAP)
    bounds = WITHIN.get(measure, UNBOUNDED)
    own_draws = draws.of(measure, len(values))
    estimate = mean_over_images(values, own_draws, reason=reason, within=bounds, of=_counted(measure)).estimate()
    if np.isnan(values).any() and not math.isnan(estimate.value):
        estimate = replace(estimate, reason=join_reasons(estimate.reason, reason))
    return trust_row(measure, method, estimate, other=other)
