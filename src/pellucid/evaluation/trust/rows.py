"""The rows of the table of trust, from what was measured image by image."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.similarity import CONSTANT_MAP
from pellucid.evaluation.metrics.statistics import UNBOUNDED, Replicates, join_reasons, mean_over_images
from pellucid.evaluation.trust.attack import MEASURED as ON_ATTACKED
from pellucid.evaluation.trust.attack import attacked_rows
from pellucid.evaluation.trust.measures import MEASURES, NETWORK
from pellucid.evaluation.trust.samples import trivial_scores
from pellucid.utils.resources import finite

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pellucid.evaluation.trust.findings import Findings
    from pellucid.evaluation.trust.samples import TrustSamples

Verdict = Literal["yes", "no", "unclear"]
AGREEMENT = "agreement: "
RANDOM_ORDER = "random order"
ON_FINDINGS = ("auprc", "pointing", "energy_ratio", "place_gain")
ON_SHORTCUTS = ("marker_effect", "finding_effect", "marker_share", "finding_share")
TRIVIAL = "trivial: "
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
    "grid_pointing": f"{CONSTANT_MAP}, or has no positive heat",
    "energy_ratio": f"{CONSTANT_MAP}, or has no positive heat",
    "place_gain": f"{CONSTANT_MAP}, or the other half of the patients has no region of the class",
    "auprc": f"{CONSTANT_MAP}, or the other half of the patients has no region of the class",
}
"""Why an image's figure may be undefined, where it is more than a map that is the same everywhere."""
WITHIN = (
    dict.fromkeys(
        ("infidelity", "deletion_area", "insertion_area", "auprc", "pointing", "marker_share", "finding_share",
         "grid_pointing", "alignment_cosine", "map_invalidated", "decision_invalidated"), (0.0, 1.0))
    | dict.fromkeys(
        ("flipping_gain", "insertion_gain", "place_gain", "repeatability_rank", "randomised_rank", "randomised_ssim",
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
        method: of explanation; `NETWORK` for a figure of the network alone; `trivial: …` and `random order` for
            yardsticks.
        value: over all images; NaN where undefined.
        low: lower end of the 95 % interval.
        high: upper end.
        n: how many images, findings or mosaics it averages over.
        better: 1 where more is better, −1 where less is, 0 where neither can be said.
        verdict: whether the whole interval lies above the measure's bar (`yes`), below it (`no`) or neither
            (`unclear`, also of fewer than five values); None where there is no bar or no figure.
        bar: that bar.
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
    verdict: Verdict | None
    bar: float | None
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


def trust_row(measure: str, method: str, figure: Replicates, *, other: str = "") -> TrustRow:
    """A figure as a row, with its interval and verdict.

    Args:
        measure: a name in `MEASURES`.
        method: of explanation.
        figure: with its resamples.
        other: another network that the figure is about; stands in the measure's label.
    """
    facts, estimate = MEASURES[measure], figure.estimate()
    label = f"{facts.label}: {other}" if other else facts.label
    return TrustRow(
        facts.question,
        measure,
        label,
        method,
        estimate.value,
        estimate.low,
        estimate.high,
        estimate.n,
        facts.better,
        verdict(estimate.low, estimate.high, facts.bar, estimate.n),
        facts.bar,
        estimate.reason,
        facts.means,
        facts.not_means,
        estimate.patients,
    )


def undefined_row(measure: str, method: str, reason: str) -> TrustRow:
    """A row whose figure is undefined, and why."""
    facts = MEASURES[measure]
    nothing = (math.nan, math.nan, math.nan, 0)
    return TrustRow(
        facts.question,
        measure,
        facts.label,
        method,
        *nothing,
        facts.better,
        None,
        facts.bar,
        reason,
        facts.means,
        facts.not_means,
    )


def verdict(low: float, high: float, bar: float | None, n: int = LEAST) -> Verdict | None:
    """Where an interval lies beside its bar; fewer than five values, or no interval, say too little to tell.

    Example:
        >>> verdict(0.6, 0.9, 0.5), verdict(0.0, 0.1, 0.5), verdict(0.4, 0.6, 0.5), verdict(math.nan, math.nan, 0.5, 0)
        ('yes', 'no', 'unclear', None)
    """
    if bar is None or n == 0:
        return None
    if n < LEAST or math.isnan(low) or math.isnan(high):
        return "unclear"
    return "yes" if low > bar else "no" if high <= bar else "unclear"


def trust_table(network: Findings, methods: Sequence[Findings], samples: TrustSamples, seed: int = 0) -> list[TrustRow]:
    """All rows: the network's own, each method's, and the yardsticks, in the order of the questions.

    Intervals are over patients; in every resample the method and its yardstick are taken on the same images.

    Args:
        network: what `judge_network` found.
        methods: what `judge_method` found, one per method.
        samples: what both were judged on.
        seed: of the bootstrap.
    """
    draws = _Draws(samples, seed)
    rows = [_row(name, NETWORK, values, draws) for name, values in network.values.items() if "area" not in name]
    rows += [undefined_row(name, NETWORK, why) for name, why in network.reasons.items()]
    rows += [_row(n, RANDOM_ORDER, network.values[n], draws) for n in ("deletion_area", "insertion_area")]
    trivial = {} if isinstance(samples.place, str) else trivial_scores(samples.place, seed)
    rows += [_row("auprc", TRIVIAL + name, values, draws) for name, values in trivial.items()]
    if not isinstance(samples.shortcut, str):
        for name, masks in (("marker_share", samples.shortcut.marker), ("finding_share", samples.shortcut.finding)):
            rows.append(_row(name, TRIVIAL + "uniform", masks.mean((1, 2)), draws))  # the region's share of the image
    best = max(trivial, key=lambda name: _mean(trivial[name]), default="")
    for findings in methods:
        rows += method_rows(findings, network, draws, trivial.get(best))
    order = list(MEASURES)
    return sorted(rows, key=lambda row: order.index(row.measure))


def method_rows(
    findings: Findings, network: Findings, draws: _Draws, yardstick: np.ndarray[Any, Any] | None = None
) -> list[TrustRow]:
    """One method's rows; `yardstick` is the best trivial map's average precision on each finding."""
    values = dict(findings.values)
    reasons = dict(findings.reasons)
    for gain, area, sign in (("flipping_gain", "deletion_area", -1), ("insertion_gain", "insertion_area", 1)):
        if area in values:
            values[gain] = sign * (values[area] - network.values[area])
        elif area in reasons:
            reasons[gain] = reasons[area]
    if yardstick is not None and "auprc" in values:
        values["place_gain"] = values["auprc"] - yardstick
    rows = [_row(name, findings.method, v, draws) for name, v in values.items()]
    rows += [undefined_row(name, findings.method, why) for name, why in reasons.items()]
    return rows


class _Draws:
    """Bootstraps over the patients of images, findings, mosaics and images with a shortcut; all of one seed."""

    def __init__(self, samples: TrustSamples, seed: int) -> None:
        self.images = Bootstrap(samples.fitted.dataset.patients, seed=seed)
        place, mosaics, shortcut = samples.place, samples.mosaics, samples.shortcut
        self.findings = self.mosaics = self.shortcuts = self.images
        if not isinstance(place, str):
            self.findings = Bootstrap(place.dataset.patients, seed=seed).take(place.pair_image)
        if not isinstance(mosaics, str):
            explained = mosaics.rows[np.arange(len(mosaics.rows)), mosaics.place]
            self.mosaics = self.images.take(explained)
        if not isinstance(shortcut, str):
            self.shortcuts = Bootstrap(shortcut.dataset.patients, seed=seed)

    def of(self, measure: str, count: int) -> Bootstrap:
        """The one that a measure's `count` values go with."""
        if measure in ON_ATTACKED:
            return self.images.take(attacked_rows(len(self.images), count))
        if measure in ON_FINDINGS:
            return self.findings
        if measure in ON_SHORTCUTS:
            return self.shortcuts
        return self.mosaics if measure == "grid_pointing" else self.images


def _row(name: str, method: str, values: np.ndarray[Any, Any], draws: _Draws) -> TrustRow:
    measure, other = ("agreement", name.removeprefix(AGREEMENT)) if name.startswith(AGREEMENT) else (name, "")
    reason = UNDEFINED.get(measure, CONSTANT_MAP)
    bounds = WITHIN.get(measure, UNBOUNDED)
    figure = mean_over_images(values, draws.of(measure, len(values)), reason=reason, within=bounds)
    if np.isnan(values).any() and not math.isnan(figure.value):
        figure = replace(figure, reason=join_reasons(figure.reason, reason))
    return trust_row(measure, method, figure, other=other)


def _mean(values: np.ndarray[Any, Any]) -> float:
    return -math.inf if np.isnan(values).all() else float(np.nanmean(values))
