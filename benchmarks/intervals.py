"""How often a 95 % interval holds the truth where there is little: ours beside the bootstrap's percentiles, simulated.

Scores of positives and negatives are normal, equally wide or the positives half as wide again, or normal with a tenth
of the positives like negatives; a patient's images share the label and 0.7 of their variance. Shares are right answers
with a probability of each patient's own (beta, correlation .3 within a patient). Means are of skewed values in [0, 1]
(beta .5, 2), of such that are 0 but for one in seven, and of a log-normal number without an upper end (σ = .8). The
mean over classes is of three AUROCs on the same images. The truth is known, of average precision from 300,000 images.

A draw counts as missed where there is no interval. `narrowest` is the narrowest interval of all draws: percentiles of a
sample without an error have no width. For AUROC two others stand beside: Newcombe's (2006, method 5), and DeLong's on
the logarithm of the odds. Writes results/intervals.csv, about 8 minutes on one core.

Of shares of patients the coverage is also computed exactly, over all outcomes, at every true share just beyond an end
of an interval, where it is least: ours beside Wilson's at Student's t (ours until November 2026), Wilson's (1927) and
mid-P. Writes results/share_coverage.csv, in seconds.

Differences of two figures on the same images: scores of one image have 0.7 of their variance in common over all
networks, and shares are of scores on the right side. Means from 0 are of log-normal numbers (σ = .8), means in [0, 1]
of beta's (a, 2), means of 3 or 8 figures of so many classes, of AUROCs with the same positives. Where a recipe is
trained several times, each training moves the positives (of shares and means all scores) by a step of its own
(`scatter`, σ = .2 or 1), half of whose variance the classes of a mean have in common; the true difference is then that
of the very networks, and of recipes that of endlessly many trainings. Networks that went
on from one network are closer to each other, with up to .98 of a score's variance in common (`common`), and the second
may take some positives for negatives that the first does not (`lost`). Beside ours stand
the normal distribution's with the standard deviation over the same resamples, symmetric, which was ours until 30
November 2026 (of recipes Student's t), and the resamples' percentiles; of networks that are close, the joint region's
as well (`fall`), which was tried.
Two networks that are right on the same images have no interval (`no interval`); the coverage is of the other draws. `no
worse` is how often the interval says that the lower figure is less than .01 lower (of equal ones, the second). Writes
results/difference_coverage.csv, about 11 minutes on one core.

Gains of trust (how far a map's figure lies above that of the best map that knows nothing) have percentiles of the
resamples, as far out as few images make necessary. Simulated are gains of 16, 24 and 60 images over one such map, and
over the best of five of which two are as good: a few much larger than the rest (`far above`), as far below (`far
below`), or none but in one image of seven (`few`). Beside ours stand Student's t and the interval of a mean between two
bounds. Writes results/gain_coverage.csv, in a minute (`--draws 1000`).

    python benchmarks/intervals.py [--draws 2000] [--bootstraps 400] [--only METRIC ...]
    python benchmarks/intervals.py --only differences [--figures FIGURE ...] [--recipes]
    python benchmarks/intervals.py --only gains
"""

from __future__ import annotations

import argparse
import csv
import math
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaincinv
from scipy.stats import binom, norm, t

from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.calibration import reliability
from pellucid.evaluation.metrics.classification import auroc, average_precision, classification_table
from pellucid.evaluation.metrics.differences import paired_difference, recipe_variance
from pellucid.evaluation.metrics.intervals import (
    auroc_influence,
    average_precision_influence,
    ratio_intervals,
    wilson,
)
from pellucid.evaluation.metrics.statistics import Replicates, mean_over_images
from pellucid.evaluation.trust.yardsticks import above_best
from recipe_inference import satterthwaite
from table import versions, write

if TYPE_CHECKING:
    from collections.abc import Iterator

RESULTS = Path(__file__).parent / "results" / "intervals.csv"
EXACT = RESULTS.with_name("share_coverage.csv")
PAIRED = RESULTS.with_name("difference_coverage.csv")
GAINED = RESULTS.with_name("gain_coverage.csv")
RESAMPLES, LARGE = 400, 300_000
SHARED = 0.7  # of a score's variance: what the images of a patient have in common
COMMON = 0.7  # of a score's variance: the same for all networks, unless a pair says otherwise
SCATTER, WIDE = 0.2, 1.0  # σ of the trainings of a recipe
LOG_NORMAL = 0.8  # σ of the logarithm
MARGIN = 0.01  # a difference of no use
SAME = 1e-12  # what rounding leaves of a difference
Z = 1.959964
RANKING, DIFFERENCES, GAINS = "AUROC and average precision", "differences", "gains"
OURS, OLD, SYMMETRIC, REGION = "ours", "percentile bootstrap", "symmetric", "joint region"


class Cell(NamedTuple):
    """What is simulated.

    Attributes:
        metric: of it.
        data: the distribution.
        images: N.
        positives: of them; 0 where there are no classes.
        truth: AUROC or share; of the others it follows from the distribution.
        per_patient: images of a patient.
    """

    metric: str
    data: str
    images: int
    positives: int
    truth: float
    per_patient: int


ALONE = [(60, 6, 0.96), (300, 15, 0.92), (1000, 10, 0.9), (60, 6, 0.76), (300, 90, 0.8), (60, 54, 0.96)]
THREE = [(60, 18, 0.96), (300, 15, 0.92), (1000, 15, 0.9), (60, 18, 0.76), (300, 90, 0.8), (60, 42, 0.96)]
RANKED = [(*where, 1) for where in ALONE] + [(*where, 3) for where in THREE]  # the last: images of a patient
SIZES, SHARES = (8, 24, 60, 300), (0.5, 0.8, 0.95, 0.99, 0.997)
CELLS = [
    *(Cell(RANKING, d, *where) for d, where in product(("equal", "wide", "mixture"), RANKED)),
    *(Cell("share", "right or wrong", n, 0, p, k) for n, p, k in product(SIZES, SHARES, (1, 2, 4))
      if n / k >= 5),
    *(Cell("mean in [0, 1]", d, n, 0, math.nan, k) for d, n, k in product(("skewed", "mostly 0"), SIZES, (1, 4))
      if n / k >= 5),
    *(Cell("mean from 0", "log-normal", n, 0, math.nan, k) for n, k in product(SIZES, (1, 4)) if n / k >= 5),
    *(Cell("mean of 3 AUROCs", "equal", *where) for where in (RANKED[0], RANKED[1], RANKED[6], RANKED[7])),
    *(Cell("calibration error", "calibrated", n, 0, 0.0, 1) for n in (100, 400)),
]  # fmt: skip


class Pair(NamedTuple):
    """Two recipes whose figures are compared on the same images; of each so many trainings.

    `first` and `second` are the areas (of average precision too), the shares or the means, `scatter` the standard
    deviation of the trainings' steps, `common` the part of a score's variance that all networks share, and `lost` the
    share of positives that the second network takes for negatives.
    """

    figure: str
    images: int
    positives: int
    first: float
    second: float
    per_patient: int
    trainings: int
    scatter: float = 0.0
    common: float = COMMON
    lost: float = 0.0


PARTS = {  # of a mean over classes: the figure, how many there are, and of how many the area is NEAR_1 in all networks
    "mean of 3 AUROCs": ("AUROC", 3, 0),
    "mean of 8 AUROCs": ("AUROC", 8, 0),
    "mean of 8 AUROCs, 3 near 1": ("AUROC", 8, 3),
    "mean of 8 means from 0": ("mean from 0", 8, 0),
}
NEAR_1 = 0.999
SIDES = np.linspace(-1, 6, 71)  # of average precision: how far positives lie above, in √2
AREAS = [(0.9, 0.9), (0.8, 0.75), (0.9, 0.8), (0.96, 0.85), (0.95, 0.99)]
MANY = [(60, 6), (1000, 10), (300, 15), (300, 30), (300, 50), (300, 90)]
RIGHT = [(0.95, 0.95), (0.9, 0.8), (0.99, 0.95)]
AVERAGES = [(1.0, 1.0), (1.5, 1.0)]
CLOSE, FEW = [(0.95, 0.95), (0.97, 0.96), (0.98, 0.98)], (15, 40, 90)
PAIRS = [
    *(Pair("AUROC", *size, *areas, 1, 1) for size, areas in product(MANY, AREAS)),
    *(Pair("AUROC", *size, *areas, 3, 1) for size, areas in product([(300, 15), (300, 45), (300, 90)], AREAS[2:])),
    *(
        Pair("AUROC", *size, *areas, 1, count, SCATTER)
        for size, areas, count in product(MANY[::2], (AREAS[0], *AREAS[2:]), (3, 5))
    ),
    *(Pair("AUROC", 60, 6, 0.98, 0.99, 1, count, SCATTER) for count in (3, 5, 10)),
    *(Pair("AUROC", *size, 0.95, 0.99, 1, count, WIDE) for size, count in product(MANY[2::2], (3, 5))),
    *(Pair("mean of 3 AUROCs", *size, *areas, 1, 1) for size, areas in product(MANY[:3:2], (AREAS[2], AREAS[4]))),
    *(Pair("average precision", *size, *areas, 1, 1) for size, areas in product([MANY[0], *MANY[2::3]], AREAS[2:])),
    *(Pair("average precision", 300, 15, *areas, 3, 1) for areas in AREAS[2:]),
    *(Pair("share", n, 0, *right, k, 1) for n, k, right in product((24, 60, 300), (1, 3), RIGHT) if n / k >= 20),
    *(Pair("share", n, 0, *right, 1, 3, SCATTER) for n, right in product((60, 300), RIGHT)),
    *(Pair("mean from 0", n, 0, *means, 1, 1) for n, means in product((24, 60), AVERAGES)),
    *(Pair("mean from 0", n, 0, *means, 1, 3, SCATTER) for n, means in product((24, 60), AVERAGES)),
    *(Pair("mean in [0, 1]", 24, 0, *means, 1, 1) for means in ((0.2, 0.2), (0.2, 0.1))),
    *(Pair("mean in [0, 1]", n, 0, *means, 1, 3, scatter)
      for n, means, scatter in product((24, 60), ((0.2, 0.2), (0.2, 0.1)), (SCATTER, WIDE))),
    *(Pair("mean of 8 AUROCs", 300, 50, *areas, 1, 3, SCATTER) for areas in (AREAS[0], *AREAS[3:])),
    Pair("mean of 8 AUROCs, 3 near 1", 300, 50, *AREAS[3], 1, 3, SCATTER),
    Pair("mean of 8 AUROCs", 300, 50, *AREAS[4], 1, 3, WIDE),
    *(Pair("mean of 8 means from 0", 60, 0, *means, 1, 3, SCATTER) for means in AVERAGES),
    *(Pair("average precision", 300, n, *areas, 1, 3, SCATTER) for n, areas in product((15, 50), AREAS[0:4:3])),
    *(Pair("average precision", 300, *pair, WIDE) for pair in (
        (15, *AREAS[3], 1, 3), (50, *AREAS[0], 1, 3), (50, *AREAS[3], 1, 3), (50, *AREAS[3], 1, 5))),
    *(Pair("AUROC", 300, n, *areas, 1, 1, 0.0, c) for n, areas, c in product(FEW, CLOSE, (0.9, 0.95, 0.98))),
    *(Pair("AUROC", 300, n, *CLOSE[2], 1, 1, 0.0, 0.95, lost) for n, lost in product(FEW, (0.02, 0.05, 0.1))),
]  # fmt: skip


def groups(cell: Cell | Pair) -> np.ndarray:
    """The patient of each image: of positives or of negatives, as many of each as asked for (the last has fewer)."""
    k, positives = cell.per_patient, cell.positives
    own = np.arange(positives) // k
    return np.concatenate([own, own.max(initial=-1) + 1 + np.arange(cell.images - positives) // k])


def noise(patients: np.ndarray, rng: np.random.Generator, columns: int = 1) -> np.ndarray:
    """(N, columns) with variance 1, `SHARED` of it in common for a patient."""
    own = rng.normal(size=(patients.max() + 1, columns))[patients] * math.sqrt(SHARED)
    return own + rng.normal(size=(len(patients), columns)) * math.sqrt(1 - SHARED)


def scores(cell: Cell, patients: np.ndarray, rng: np.random.Generator, columns: int = 1) -> np.ndarray:
    """(N, columns): the positives first."""
    around = noise(patients, rng, columns)
    positive = np.arange(len(patients)) < cell.positives
    width = np.where(positive, 1.5 if cell.data == "wide" else 1.0, 1.0)[:, None]
    moved = np.broadcast_to(positive[:, None], around.shape).astype(float)
    area = cell.truth
    if cell.data == "mixture":
        hidden = min(0.1, 1 - area)
        area = min((area - hidden / 2) / (1 - hidden), 0.9999)
        moved = moved * (rng.random((patients.max() + 1, columns))[patients] >= hidden)
    return around * width + norm.ppf(area) * math.hypot(1.0, float(width[0, 0])) * moved


def truths(cell: Cell, rng: np.random.Generator) -> dict[str, float]:
    """The figures of endlessly many images."""
    area = cell.truth
    if cell.data == "mixture":  # with what is hidden ranked by chance, and the rest no better than .9999
        hidden = min(0.1, 1 - area)
        area = hidden / 2 + (1 - hidden) * min((area - hidden / 2) / (1 - hidden), 0.9999)
    if cell.metric == RANKING:
        factor = LARGE // cell.images
        large = cell._replace(images=cell.images * factor, positives=cell.positives * factor, per_patient=1)
        values, positive = scores(large, groups(large), rng)[:, 0], np.arange(large.images) < large.positives
        return {"AUROC": area, "average precision": average_precision_influence(values, positive, ~positive)[0]}
    known = {"skewed": 0.2, "mostly 0": 0.5 / 7, "log-normal": math.exp(LOG_NORMAL**2 / 2)}
    return {cell.metric: known.get(cell.data, area)}


Ends = dict[str, tuple[float, float]]


def figures(cell: Cell, draws: Bootstrap, rng: np.random.Generator) -> dict[str, tuple[Replicates, Ends]]:
    """One draw's figures by metric, and beside each the intervals of others."""
    patients, labels = draws.patients, (np.arange(cell.images) < cell.positives).astype(float)
    if cell.metric == RANKING:
        values = scores(cell, patients, rng)[:, 0]
        one = classification_table(values[:, None], labels[:, None], ["it"], "multilabel", draws)["it"]
        others = {"Newcombe": newcombe(values, labels == 1), "DeLong, log odds": delong(values, labels == 1)}
        return {"AUROC": (one["auroc"], others), "average precision": (one["average_precision"], {})}
    if cell.metric == "mean of 3 AUROCs":
        values = scores(cell, patients, rng, 3)
        return {cell.metric: (Replicates.mean([auroc(values[:, k], labels, draws) for k in range(3)]), {})}
    if cell.metric == "calibration error":
        probabilities = rng.beta(2, 1, cell.images)
        return {cell.metric: (reliability(probabilities, rng.random(cell.images) < probabilities, draws).error, {})}
    within = (0.0, math.inf if cell.metric == "mean from 0" else 1.0)
    return {cell.metric: (mean_over_images(_values(cell, patients, rng), draws, within=within), {})}


def _values(cell: Cell, patients: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count, many = len(patients), patients.max() + 1
    if cell.metric == "share":
        p, rest = cell.truth, (1 - 0.3) / 0.3
        chance = p if cell.per_patient == 1 else rng.beta(p * rest, (1 - p) * rest, many)[patients]
        return (rng.random(count) < chance).astype(float)
    around = noise(patients, rng)[:, 0]
    if cell.data == "log-normal":
        return np.exp(LOG_NORMAL * around)
    even = norm.cdf(around)
    if cell.data == "skewed":
        return betaincinv(0.5, 2.0, even)
    return np.where(even < 1 / 7, betaincinv(4.0, 4.0, np.clip(even * 7, 0, 1)), 0.0)


def newcombe(values: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """Newcombe's method 5: Hanley and McNeil's variance at each area, both samples taken as large as their mean."""
    area, _ = auroc_influence(values, positive, ~positive)
    m, n = int(positive.sum()), int((~positive).sum())
    grid = np.linspace(0, 1, 2001)
    spread = 1 + ((m + n) / 2 - 1) * ((1 - grid) / (2 - grid) + grid / (1 + grid))
    inside = grid[np.abs(grid - area) <= Z * np.sqrt(grid * (1 - grid) * spread / (m * n)) + 1e-12]
    return (float(inside[0]), float(inside[-1])) if len(inside) else (area, area)


def delong(values: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """DeLong's variance on the logarithm of the odds; no width where all are ranked rightly."""
    area, influence = auroc_influence(values, positive, ~positive)
    if not 0 < area < 1:
        return area, area
    half = Z * math.sqrt((influence**2).sum()) / (area * (1 - area))
    return tuple(1 / (1 + math.exp(-(math.log(area / (1 - area)) + sign * half))) for sign in (-1, 1))


def simulate(cell: Cell, draws: int, bootstraps: int, seed: int = 0) -> Iterator[dict[str, object]]:
    """A row for each metric and method: how often it holds the truth, and how wide it is."""
    rng = np.random.default_rng(seed)
    truth, patients = truths(cell, rng), groups(cell).tolist()
    resampled = Bootstrap(patients, RESAMPLES)
    alone = resampled if cell.metric in {"mean of 3 AUROCs", "calibration error"} else Bootstrap(patients, 1)
    ends: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for number in range(draws):
        for metric, (one, others) in figures(cell, resampled if number < bootstraps else alone, rng).items():
            for name, interval in ({OURS: one.interval} | others).items():
                ends.setdefault((metric, name), []).append(interval)
            if number < bootstraps:
                defined = one.samples[~np.isnan(one.samples)]
                enough = 2 * len(defined) >= RESAMPLES
                percentiles = np.quantile(defined, [0.025, 0.975]) if enough else (math.nan, math.nan)
                ends.setdefault((metric, OLD), []).append(tuple(percentiles))
    for (metric, method), intervals in ends.items():
        low, high = np.array(intervals).T
        yield {
            **cell._asdict(),
            "metric": metric,
            "truth": f"{truth[metric]:.3f}",
            "method": method,
            "draws": len(low),
            "coverage": f"{np.mean((low <= truth[metric]) & (truth[metric] <= high)):.3f}",
            "too high": f"{np.mean(low > truth[metric]):.3f}",
            "too low": f"{np.mean(high < truth[metric]):.3f}",
            "mean width": f"{np.nanmean(high - low):.3f}",
            "narrowest": f"{np.nanmin(high - low):.4f}",
        }


def compare(pair: Pair, draws: int, seed: int = 0) -> Iterator[dict[str, object]]:
    """A row for each question and method: how often the interval of a difference holds the true one."""
    rng = np.random.default_rng(seed)
    resampled, count = Bootstrap(groups(pair).tolist(), RESAMPLES), pair.trainings
    truth = _difference_of_recipes(pair)
    between: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for _ in range(draws):
        networks, own_truth = _networks(pair, resampled, rng)
        first, second = networks[:count], networks[count:]
        difference = paired_difference(first, second)
        resamples = (Replicates.mean(first) - Replicates.mean(second)).samples
        defined = resamples[~np.isnan(resamples)]
        middle, error = difference.value, float(defined.std(ddof=1))
        normal = (middle - Z * error, middle + Z * error) if error > 0 else (math.nan, math.nan)
        true = truth if own_truth is None else own_truth
        between.setdefault(("networks", OURS), []).append((difference.networks.low, difference.networks.high, true))
        between.setdefault(("networks", SYMMETRIC), []).append((*normal, true))
        between.setdefault(("networks", OLD), []).append((*np.quantile(defined, [0.025, 0.975]), true))
        if pair.common > COMMON:
            between.setdefault(("networks", REGION), []).append((*joint_region(*networks), true))
        if count > 1:
            between.setdefault(("recipes", OURS), []).append((difference.recipes.low, difference.recipes.high, truth))
            samples = np.stack([one.samples for one in networks])
            values = [np.array([one.value for one in side]) for side in (first, second)]
            known = recipe_variance(values, np.cov(samples[:, ~np.isnan(samples).any(0)]))
            half = float(t.ppf(0.975, satterthwaite(known)) * known.error)
            between.setdefault(("recipes", SYMMETRIC), []).append((middle - half, middle + half, truth))
    for (question, method), rows in between.items():
        low, high, true_values = np.array(rows).T
        is_known = ~np.isnan(low)
        over, under = low[is_known] > true_values[is_known] + SAME, high[is_known] < true_values[is_known] - SAME
        yield {
            **pair._asdict(),
            "question": question,
            "method": method,
            "draws": draws,
            "coverage": f"{np.mean(~over & ~under):.3f}",
            "too high": f"{np.mean(over):.3f}",
            "too low": f"{np.mean(under):.3f}",
            "no interval": f"{np.mean(~is_known):.3f}",
            "excludes 0": f"{np.mean((low > 0) | (high < 0)):.3f}",
            "no worse": f"{np.mean(low > -MARGIN if pair.first < pair.second else high < MARGIN):.3f}",
            "mean width": f"{np.nanmean(high - low):.3f}",
        }


def joint_region(one: Replicates, other: Replicates) -> tuple[float, float]:
    """The interval of a difference of two figures that is the range over all that both may be at once; tried, not used.

    Where no resample moves one of the figures it goes with the other as if they had nothing in common, as in ours.
    """
    reaches = [(f.value - f.interval.low, f.interval.high - f.value) for f in (one, other)]
    usable = ~np.isnan(one.samples + other.samples)
    spreads = [float(f.samples[usable].std()) for f in (one, other)]
    r = float(np.corrcoef(one.samples[usable], other.samples[usable])[0, 1]) if min(spreads) > SAME else 0.0
    value = one.value - other.value
    return value - fall(*reaches, r), value + fall(*reaches[::-1], r)


def fall(first: tuple[float, float], second: tuple[float, float], r: float) -> float:
    """How far the difference of two figures may fall below its value, at least 0.

    Let either figure lie z times as far from its value as its own end on that side, below where z is negative: what
    both may be at once are the z on the ellipse ``z₁² − 2 r z₁ z₂ + z₂² = 1 − r²``. Where the difference is least at a
    first figure below its value and a second one above, this is MOVER's ``√(l₁² + u₂² − 2 r l₁ u₂)``.

    Args:
        first: how far the first figure's lower end lies below it, and its upper end above.
        second: the same of the second.
        r: their correlation.
    """
    aside = math.sqrt(max(1 - r * r, 0.0))
    places = [(aside, 0.0), (-aside, 0.0), (0.0, aside), (0.0, -aside)]  # where two quarters of the ellipse meet
    for own, others in product(first, second):  # and where each quarter would have its least
        length = math.sqrt(max(own**2 + others**2 - 2 * r * own * others, 0.0))
        places += [((r * others - own) / length, (others - r * own) / length)] if length > 0 else []
    return max(0.0, *(second[int(y > 0)] * y - first[int(x > 0)] * x for x, y in places))


def _networks(
    pair: Pair, resampled: Bootstrap, rng: np.random.Generator, steps: np.ndarray | None = None
) -> tuple[list[Replicates], float | None]:
    """One draw's figures of all networks, and the true difference of these where trainings move them."""
    patients, count = resampled.patients, pair.trainings
    columns = 2 * count
    if pair.figure in PARTS:
        figure, classes, near = PARTS[pair.figure]
        parts = [pair._replace(figure=figure)] * (classes - near)
        parts += [pair._replace(figure=figure, first=NEAR_1, second=NEAR_1)] * near
        common = rng.normal(size=columns) if count > 1 else 0.0
        own = [
            _networks(p, resampled, rng, pair.scatter * (common + rng.normal(size=columns)) / math.sqrt(2))
            if count > 1
            else _networks(p, resampled, rng)
            for p in parts
        ]
        figures = [Replicates.mean(list(one), of="classes") for one in zip(*(f for f, _ in own), strict=True)]
        return figures, float(np.mean([truth for _, truth in own])) if count > 1 else None
    common = noise(patients, rng) * math.sqrt(pair.common)
    around = common + noise(patients, rng, columns) * math.sqrt(1 - pair.common)
    levels = np.repeat([pair.first, pair.second], count)
    if steps is None:
        steps = pair.scatter * rng.normal(size=columns) if count > 1 or pair.positives else np.zeros(columns)
    if pair.positives:
        positive, width = np.arange(pair.images) < pair.positives, math.sqrt(2)
        moved = norm.ppf(levels) * math.hypot(width, pair.scatter) + steps
        own, labels = norm.cdf(moved / width), positive.astype(float)
        if pair.figure == "average precision" and pair.scatter:
            own = np.interp(moved / width, SIDES, _precisions(*pair[1:3]))
        measure = auroc if pair.figure == "AUROC" else average_precision
        raised = positive[:, None] * moved
        if pair.lost:
            raised[:, count:] *= (rng.random(pair.images) >= pair.lost)[:, None]
        figures = [measure(column, labels, resampled) for column in (around + raised).T]
    elif pair.figure == "share":
        moved = norm.ppf(levels) * math.hypot(1, pair.scatter) + steps
        own, figures = norm.cdf(moved), _means((around < moved).astype(float), 1.0, resampled)
    elif pair.figure == "mean from 0":
        own = levels * np.exp(steps - pair.scatter**2 / 2)
        figures = _means(own * np.exp(LOG_NORMAL * around - LOG_NORMAL**2 / 2), math.inf, resampled)
    else:
        a, width = 2 * levels / (1 - levels), math.hypot(1, pair.scatter)
        own, figures = levels, _means(betaincinv(a, 2.0, norm.cdf((around + steps) / width)), 1.0, resampled)
        if pair.scatter:
            places, weights = np.polynomial.hermite_e.hermegauss(40)
            values = betaincinv(a, 2.0, norm.cdf((places[:, None] + steps) / width))
            own = weights @ values / weights.sum()
    return figures, float(own[:count].mean() - own[count:].mean()) if count > 1 else None


def _means(values: np.ndarray, most: float, resampled: Bootstrap) -> list[Replicates]:
    """The mean of each column, whose values lie between 0 and `most`."""
    return [mean_over_images(column, resampled, within=(0.0, most)) for column in values.T]


def _difference_of_recipes(pair: Pair) -> float:
    """The difference of endlessly many images, and where trainings scatter of endlessly many trainings."""
    if pair.figure in PARTS:
        figure, classes, near = PARTS[pair.figure]
        return (classes - near) / classes * _difference_of_recipes(pair._replace(figure=figure))
    if pair.figure == "average precision" and pair.scatter:
        places, weights = np.polynomial.hermite_e.hermegauss(40)
        middle = norm.ppf([pair.first, pair.second]) * math.hypot(math.sqrt(2), pair.scatter)
        moved = (middle + pair.scatter * places[:, None]) / math.sqrt(2)
        first, second = weights @ np.interp(moved, SIDES, _precisions(*pair[1:3])) / weights.sum()
        return float(first - second)
    second_level = (1 - pair.lost) * pair.second + pair.lost / 2  # a lost positive is ranked by chance
    return _large(pair.figure, pair.first, *pair[1:3]) - _large(pair.figure, second_level, *pair[1:3])


@cache
def _precisions(images: int, positives: int) -> np.ndarray:
    """The average precision of endlessly many images at each of `SIDES`."""
    return np.array([_large("average precision", float(norm.cdf(side)), images, positives) for side in SIDES])


@cache
def _large(figure: str, level: float, images: int, positives: int) -> float:
    """The figure of endlessly many images: an area or share itself; of average precision, of 300,000 images."""
    if figure != "average precision":
        return level
    positive = np.arange(LARGE) < LARGE * positives // images
    values = np.random.default_rng(1).normal(size=LARGE) + positive * norm.ppf(level) * math.sqrt(2)
    return average_precision_influence(values, positive, ~positive)[0]


GAIN, KNOWN = 0.15, 5  # the standard deviation of a gain over the images; maps that know nothing
GAIN_SIZES, SHAPES = (16, 24, 60), ("even", "far above", "far below", "few")


def gains(n: int, shape: str, yardsticks: int, draws: int, seed: int = 0) -> Iterator[dict[str, object]]:
    """A row for each interval of the mean gain of n images over so many maps that know nothing, none of them beaten.

    The true gain is 0: over one such map, or over two of five; over the other three it is twice as large as the
    standard deviation. `yes` is how often the interval lies above 0, `no` how often at or below it, of all draws;
    coverage is of those with an interval, which equal gains on all images have not.
    """
    rng, bootstrap = np.random.default_rng(seed), Bootstrap(range(n), 1000)
    ends: dict[str, list[tuple[float, float]]] = {}
    for _ in range(draws):
        columns = np.stack([_gains(n, shape, rng) for _ in range(yardsticks)], axis=1)
        columns[:, 2:] += 2 * GAIN
        zero = np.zeros(n)
        estimate, _ = above_best(zero, {str(k): -columns[:, k] for k in range(yardsticks)}, bootstrap)
        ends.setdefault(OURS, []).append((estimate.low, estimate.high))
        if yardsticks == 1:
            value, half = columns.mean(), t.ppf(0.975, n - 1) * columns.std(ddof=1) / math.sqrt(n)
            ends.setdefault("Student's t", []).append((value - half, value + half))
            bounded = mean_over_images(columns[:, 0], bootstrap, within=(-1.0, 1.0)).interval
            ends.setdefault("mean between two bounds", []).append((bounded.low, bounded.high))
    for method, intervals in ends.items():
        low, high = np.array(intervals).T
        yield {
            "images": n,
            "gains": shape,
            "yardsticks": yardsticks,
            "method": method,
            "draws": draws,
            "no interval": f"{np.mean(np.isnan(low)):.3f}",
            "coverage": f"{np.mean((low <= 0) & (high >= 0)) / np.mean(~np.isnan(low)):.3f}",
            "yes": f"{np.mean(low > 0):.3f}",
            "no": f"{np.mean(high <= 0):.3f}",
            "mean width": f"{np.nanmean(high - low):.3f}",
        }


def _gains(n: int, shape: str, rng: np.random.Generator) -> np.ndarray:
    """(n,) of mean 0 and standard deviation `GAIN`, within −1 and 1."""
    if shape == "even":
        return GAIN * np.clip(rng.normal(size=n), -4, 4)
    if shape == "few":
        share = 1 / 7
        values = (rng.random(n) < share) * rng.beta(4, 4, n)
        mean, square = share / 2, share * (0.25 + 1 / 36)
        return GAIN * (values - mean) / math.sqrt(square - mean**2)
    a, b = 0.5, 4.5  # skewness 1.96, as much as an exponential number's
    mean, deviation = a / (a + b), math.sqrt(a * b / ((a + b) ** 2 * (a + b + 1)))
    far = np.minimum(GAIN * (rng.beta(a, b, n) - mean) / deviation, 1.0)
    return far if shape == "far above" else -far


def shares(n: int) -> Iterator[dict[str, object]]:
    """A row for each interval of a share of n patients: exact coverage, and its width over Wilson's at Student's t."""
    right = np.arange(n + 1)
    outcomes = (np.arange(n)[:, None] < right).astype(float)
    ours, _ = ratio_intervals(outcomes, np.ones((n, 1)), np.arange(n), (0.0, 1.0))
    student = wilson(right / n, n, t.ppf(0.975, n - 1)).T
    student[[0, -1]] = ours[[0, -1]]
    published = {"Wilson": wilson(right / n, n, Z).T, "mid-P": mid_p(n)}
    methods = {OURS: ours, "Wilson at Student's t": student} | published
    even = np.linspace(0.0005, 0.9995, 1000)
    for method, ends in methods.items():
        least, at = min((coverage(ends, p), p) for p in _beyond(ends))
        everywhere = np.array([coverage(ends, p) for p in even])
        width, others = np.diff(ends).ravel(), np.diff(student).ravel()
        yield {
            "patients": n,
            "method": method,
            "least coverage": f"{least:.4f}",
            "at a share of": f"{at:.5f}",
            "mean coverage": f"{everywhere.mean():.4f}",
            "shares below .93, %": f"{100 * np.mean(everywhere < 0.93):.1f}",
            "mean width": f"{width.mean():.4f}",
            "most over Wilson's at Student's t, %": f"{100 * (width / others - 1).max():.1f}",
        }


def coverage(ends: np.ndarray, share: float) -> float:
    """How often intervals (n + 1, 2), one for each outcome, hold a share: the binomial probabilities added up."""
    holds = (ends[:, 0] <= share) & (share <= ends[:, 1])
    return float(binom.pmf(np.flatnonzero(holds), len(ends) - 1, share).sum())


def _beyond(ends: np.ndarray) -> np.ndarray:
    """The shares just outside every end: between two ends coverage has no least value but at one of them."""
    near = np.concatenate([ends[:, 0] - 1e-9, ends[:, 1] + 1e-9])
    return near[(near > 0) & (near < 1)]


def mid_p(n: int) -> np.ndarray:
    """Clopper and Pearson's intervals (n + 1, 2) with half the probability of the outcome itself."""

    def low(right: int) -> float:
        return brentq(lambda p: binom.sf(right, n, p) + binom.pmf(right, n, p) / 2 - 0.025, 0, 1) if right else 0.0

    return np.array([(low(right), 1 - low(n - right)) for right in range(n + 1)])


def main() -> None:
    """Simulate every cell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--bootstraps", type=int, default=400, help="of the draws, with percentiles as well")
    parser.add_argument("--only", nargs="+", metavar="METRIC", help="simulate only these and keep the others' rows")
    parser.add_argument("--figures", nargs="+", metavar="FIGURE", help="of the differences, and keep the others' rows")
    parser.add_argument("--recipes", action="store_true", help="of them only several trainings; the others' rows stay")
    options = parser.parse_args()
    made, rows = versions("numpy", "scipy", "pellucid"), []
    if not options.only or DIFFERENCES in options.only:
        compared: list[dict[str, object]] = []
        before = list(csv.DictReader(PAIRED.open(encoding="utf-8"))) if options.figures or options.recipes else []
        for pair in PAIRS:
            if pair.figure not in (options.figures or [pair.figure]) or (options.recipes and pair.trainings == 1):
                compared += [row for row in before if all(row[k] == str(v) for k, v in pair._asdict().items())]
                continue
            compared += [row | {"versions": made} for row in compare(pair, options.bootstraps)]
            print(*pair, compared[-1]["method"], compared[-1]["coverage"], flush=True)
        write(PAIRED, compared)
    if not options.only or GAINS in options.only:
        cells = product(GAIN_SIZES, SHAPES, (1, KNOWN))
        write(GAINED, [row | {"versions": made} for cell in cells for row in gains(*cell, options.draws)])
    if options.only and set(options.only) <= {DIFFERENCES, GAINS}:
        return
    write(EXACT, [row | {"versions": made} for n in (8, 12, 24, 60, 100, 300) for row in shares(n)])
    before = list(csv.DictReader(RESULTS.open(encoding="utf-8"))) if options.only else []
    for cell in CELLS:
        if options.only and cell.metric not in options.only:
            continue
        rows += [row | {"versions": made} for row in simulate(cell, options.draws, options.bootstraps)]
        print(rows[-1]["method"], rows[-1]["coverage"], *cell, flush=True)
    order = list(dict.fromkeys(row["metric"] for row in [*before, *rows]))
    simulated = {row["metric"] for row in rows}
    rows += [row for row in before if row["metric"] not in simulated]
    write(RESULTS, sorted(rows, key=lambda row: order.index(row["metric"])))


if __name__ == "__main__":
    main()
