"""What becomes of a candidate that passed its test: who has it, where it is, what it does and what it costs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pellucid.evaluation.discovery.presence import around, otsu, square, where_it_differs
from pellucid.evaluation.discovery.samples import COMMON
from pellucid.evaluation.discovery.suspect import Consequence, Effect, Suspect, WorstGroup
from pellucid.evaluation.discovery.windows import BANDS, place_in_words
from pellucid.evaluation.metrics.classification import auroc
from pellucid.evaluation.metrics.operating_points import operating_points
from pellucid.evaluation.metrics.statistics import Bootstrap, Estimate, mean_over_images
from pellucid.models.inference import as_pixels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pellucid.evaluation.discovery.samples import Masks, Rows, Samples
    from pellucid.evaluation.discovery.search import Tested
    from pellucid.evaluation.metrics.bootstrap import FloatArray
    from pellucid.types import Box

RESAMPLES = 500
SHOWN = 8
"""Images named as examples."""
MARGIN = 2
"""Pixels around a region that its mean shows."""
FEWEST = 5
"""Images of a group from which on it has figures."""


def share_of_gap(worth: FloatArray, labels: FloatArray, odds: FloatArray, bootstrap: Bootstrap) -> Estimate:
    """The part of the distance between positives and negatives that goes through a suspect, with its interval.

    Args:
        worth: (D,), what each image is worth to the class; NaN where it takes no part.
        labels: (D,), 0 or 1, NaN where unknown.
        odds: (D,), the log-odds of the class.
        bootstrap: over the D images.
    """
    shares = _shares(worth, labels, odds, bootstrap)
    return _estimate_of(shares, int((~np.isnan(worth) & ~np.isnan(labels)).sum()))


def change_of_share(
    before: tuple[FloatArray, FloatArray], now: tuple[FloatArray, FloatArray], labels: FloatArray, bootstrap: Bootstrap
) -> Estimate:
    """How much larger the share is in one network than it was in another, on the same images.

    Args:
        before: worth and log-odds (D,) in the other network.
        now: the same in this one.
        labels: (D,), 0 or 1, NaN where unknown.
        bootstrap: over the D images.
    """
    shares = [_shares(worth, labels, odds, bootstrap) for worth, odds in (before, now)]
    n = int((~np.isnan(before[0]) & ~np.isnan(now[0]) & ~np.isnan(labels)).sum())
    return _estimate_of(shares[1] - shares[0], n)


def _shares(worth: FloatArray, labels: FloatArray, odds: FloatArray, bootstrap: Bootstrap) -> FloatArray:
    """The share over all images, and after it in each resample."""
    weights = np.concatenate([np.ones((1, len(worth))), bootstrap.weights.astype(np.float64)])

    def difference(values: FloatArray) -> FloatArray:
        is_known = ~np.isnan(values) & ~np.isnan(labels)
        means = []
        for value in (1, 0):
            own = np.where(is_known & (labels == value), 1.0, 0.0)
            with np.errstate(invalid="ignore", divide="ignore"):
                means.append((weights @ (own * np.nan_to_num(values))) / (weights @ own))
        return np.asarray(means[0] - means[1])

    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(difference(worth) / difference(odds))


def _estimate_of(shares: FloatArray, n: int) -> Estimate:
    drawn_shares = shares[1:][np.isfinite(shares[1:])]
    if not math.isfinite(shares[0]) or len(drawn_shares) < len(shares[1:]) / 2:
        return Estimate(math.nan, math.nan, math.nan, n, "too few positives or negatives")
    low, high = np.quantile(drawn_shares, [0.025, 0.975])
    return Estimate(float(shares[0]), float(low), float(high), n)


def describe(
    samples: Samples,
    tested: Tested,
    arrays: Mapping[str, npt.NDArray[np.float64]],
    number: int,
    thresholds: Sequence[float],
) -> Suspect:
    """A suspect of a candidate that passed its test.

    Args:
        samples: all images.
        tested: the candidate, and its test.
        arrays: what `exchanges` gave.
        number: its place in the list.
        thresholds: of each class, the probability from which on it is predicted.
    """
    one = tested.candidate
    column, name = one.column, samples.classes[one.column]
    present = arrays["worth"] > otsu(arrays["worth"])
    of_square = None if one.squares is None else arrays["squares"].astype(np.int64)
    bootstrap = Bootstrap(samples.patients.tolist(), RESAMPLES)
    region = one.region
    if one.kind == "place":
        region = where_it_differs(samples, arrays["worth"], present, column, one.region)
    order = np.argsort(-arrays["worth"], kind="stable")
    exemplars = order[present[order]][:SHOWN]
    without = order[~present[order] & ~np.isnan(arrays["worth"][order])][::-1][:SHOWN]
    boxes: dict[str, tuple[Box, ...]] = {}
    frame = mean_patch = mean_without = None
    if one.squares is not None and of_square is not None:
        corners, side = one.squares.corners[of_square], one.squares.side
        boxes = {samples.ids[i]: (square(corners[i], side),) for i in np.flatnonzero(present)}
        frame = square(corners[exemplars[0]], side) if len(exemplars) else None
        mean_patch, mean_without = (_mean_of_own(samples, corners, side, rows) for rows in (exemplars, without))
        region = np.asarray(one.squares.masks(np.unique(of_square[present])).any(0))
    elif one.kind == "place":
        frame = around(region, MARGIN)
        boxes = {samples.ids[i]: (around(region, 0),) for i in np.flatnonzero(present)}
        mean_patch, mean_without = (_mean_of_place(samples, frame, of) for of in (present, ~present))
    effects = _effects(samples, tested, arrays, bootstrap)
    usual = samples.marks.usual(column)
    overlap = float((usual[region] >= COMMON).mean()) if region.any() and not np.isnan(usual).any() else math.nan
    consequences, worst = _consequences(samples, column, present, arrays, bootstrap, thresholds[column])
    title = one.name if one.kind != "place" or one.name in BANDS else place_in_words(region)
    return Suspect(
        number=number,
        kind=one.kind,
        name=title,
        verdict=_verdict(title, name, effects[0], consequences),
        class_name=name,
        cost=effects[0].share.value,
        expected=False,
        overlap=overlap,
        region=region,
        boxes=boxes,
        present=present,
        strength=arrays["worth"],
        prevalence=_share(present, np.ones(len(samples), bool), bootstrap),
        prevalence_of={
            label: (
                _share(present, samples.labels[:, k] == 1, bootstrap),
                _share(present, samples.labels[:, k] == 0, bootstrap),
            )
            for k, label in enumerate(samples.classes)
        },
        effects=effects,
        consequences=consequences,
        worst=worst,
        exemplars=tuple(samples.ids[i] for i in exemplars),
        without=tuple(samples.ids[i] for i in without),
        frame=frame,
        mean_patch=mean_patch,
        mean_without=mean_without,
        window=one.region if one.kind == "place" else None,
        tested_rows=tested.donors,
        tested_worth=tested.worth,
        details={"z": tested.z, "tested_images": len(tested.donors)},
        reason=None if not math.isnan(overlap) or one.kind == "whole image" else f"nobody marked where {name} is",
    )


def _mean_of_own(samples: Samples, corners: Rows, side: int, rows: Rows) -> npt.NDArray[np.float32] | None:
    """The mean (C, side, side) of what these images show, each in its own square."""
    if not len(rows):
        return None
    down, across = (corners[rows, axis, None] + np.arange(side) for axis in (0, 1))
    pixels = as_pixels(samples.pixels[rows]).numpy()
    cut = pixels[np.arange(len(rows))[:, None, None], :, down[:, :, None], across[:, None, :]]
    return np.asarray(cut.mean(0).transpose(2, 0, 1), np.float32)


def _mean_of_place(samples: Samples, frame: Box, of: Masks) -> npt.NDArray[np.float32] | None:
    """The mean (C, h, w) of what these images show in a rectangle."""
    if not of.any():
        return None
    x, y, width, height = (int(side) for side in frame)
    return np.asarray(as_pixels(samples.pixels[of][:, :, y : y + height, x : x + width]).numpy().mean(0), np.float32)


def _effects(
    samples: Samples, tested: Tested, arrays: Mapping[str, npt.NDArray[np.float64]], bootstrap: Bootstrap
) -> tuple[Effect, ...]:
    column = tested.candidate.column
    means = {}
    for name in ("taken", "put"):
        rows = arrays[f"{name}_rows"].astype(np.int64)
        draws = bootstrap.take(rows)
        means[name] = [
            mean_over_images(arrays[name][:, k], draws).estimate()
            if len(rows)
            else Estimate(math.nan, math.nan, math.nan, 0, "no image has it, or all have")
            for k in range(len(samples.classes))
        ]
    donors = tested.donors
    share = share_of_gap(
        tested.worth, samples.labels[donors, column], samples.odds[donors, column], bootstrap.take(donors)
    )
    other = Estimate(math.nan, math.nan, math.nan, 0, "tested for another class")
    effects = [
        Effect(
            label,
            means["taken"][k],
            means["put"][k],
            share if k == column else other,
            tested.p if k == column else math.nan,
            tested.p_corrected if k == column else math.nan,
        )
        for k, label in enumerate(samples.classes)
    ]
    size = [-abs(np.nan_to_num(effect.put_in.value)) for effect in effects]
    return tuple(effects[k] for k in sorted(range(len(effects)), key=lambda k: (k != column, size[k])))


def _consequences(
    samples: Samples,
    column: int,
    present: Masks,
    arrays: Mapping[str, npt.NDArray[np.float64]],
    bootstrap: Bootstrap,
    threshold: float,
) -> tuple[tuple[Consequence, ...], WorstGroup | None]:
    name, truth, odds = samples.classes[column], samples.labels[:, column], samples.odds[:, column]
    rows = arrays["neutral_rows"].astype(np.int64)
    cut = math.log(threshold / (1 - threshold)) if 0 < threshold < 1 else 0.0
    sets = {
        "with_it": (np.flatnonzero(present), odds[present]),
        "without": (np.flatnonzero(~present), odds[~present]),
        "usual": (rows, odds[rows]),
        "neutralised": (rows, arrays["neutral"][:, column]),
    }
    figures: dict[str, dict[str, Estimate]] = {"auroc": {}, "sensitivity": {}, "specificity": {}, "accuracy": {}}
    for place, (of, scores) in sets.items():
        if len(of) < FEWEST:
            few = Estimate(math.nan, math.nan, math.nan, len(of), f"{len(of)} images, and {FEWEST} are needed")
            for metric in figures.values():
                metric[place] = few
            continue
        draws = bootstrap.take(of)
        decided = (scores >= cut).astype(np.float64)
        right = np.where(np.isnan(truth[of]), np.nan, decided == truth[of])
        sensitivity, specificity = operating_points(decided[:, None], truth[of][:, None], draws)
        figures["auroc"][place] = auroc(scores, truth[of], draws).estimate()
        figures["sensitivity"][place] = sensitivity[0].estimate()
        figures["specificity"][place] = specificity[0].estimate()
        figures["accuracy"][place] = mean_over_images(right, draws, within=(0, 1)).estimate()
    consequences = tuple(Consequence(name, metric, **values) for metric, values in figures.items())
    groups = []
    for positive in (True, False):
        for with_it in (True, False):
            members = np.flatnonzero((truth == positive) & (present == with_it))
            if len(members) >= FEWEST:
                right = ((odds[members] >= cut) == positive).astype(np.float64)
                estimate = mean_over_images(right, bootstrap.take(members), within=(0, 1)).estimate()
                groups.append(WorstGroup(name, positive, with_it, estimate))
    return consequences, min(groups, key=lambda group: group.accuracy.value, default=None)


def _verdict(title: str, name: str, effect: Effect, consequences: Sequence[Consequence]) -> str:
    area = next(c for c in consequences if c.metric == "auroc")
    text = f"{100 * effect.share.value:.0f} % of what tells {name} from the rest goes through it ({title})"
    if not math.isnan(area.usual.value) and not math.isnan(area.neutralised.value):
        text += f"; once it says nothing, the AUROC goes from {area.usual.value:.3f} to {area.neutralised.value:.3f}"
    return f"{text}."


def _share(present: Masks, of: Masks, bootstrap: Bootstrap) -> Estimate:
    rows = np.flatnonzero(of)
    if not len(rows):
        return Estimate(math.nan, math.nan, math.nan, 0, "no such images")
    return mean_over_images(present[rows].astype(np.float64), bootstrap.take(rows), within=(0, 1)).estimate()
