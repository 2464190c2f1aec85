"""How well a heat map's heat lies inside a region, without choosing a threshold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pellucid.evaluation.metrics.bootstrap import FloatArray, Values, as_array, chunks
from pellucid.evaluation.metrics.statistics import Replicates, mean_over_images
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pellucid.evaluation.metrics.bootstrap import Bootstrap

SCORES = (
    "pointing",
    "energy_share",
    "energy_ratio",
    "auprc",
    "effective_heat_ratio",
    "otsu_iou",
    "area_share",
)
YARDSTICKS = ("area_share",)  # the same whatever the map: what the scores are held against
OTSU_BINS = 256
EHR_BASE = 0.1  # Khakzar et al. 2021 look at the pixels of at least a tenth of the maximum,
EHR_STEPS = 10  # at the quantiles 0, 0.1, …, 1 of them,
EHR_CEILING = 0.99  # and never above this share of the maximum, as their published code does

BoolArray = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


class _Ranked(NamedTuple):
    """Pixels by falling heat, (M, P), and whether each lies inside the region."""

    heat: FloatArray
    inside: BoolArray


def heatmap_scores(maps: Values, masks: Values) -> dict[str, FloatArray]:
    """All scores of this module, map by map.

    Args:
        maps: (M, H, W), any finite values; a map with NaN or infinity has no scores.
        masks: boolean (M, H, W), the regions; a map whose region is empty has no scores.

    Returns:
        (M,) arrays named as in `SCORES`, NaN where undefined. A uniform positive map scores its `area_share`,
        the region's share of the image, in all of them but `energy_ratio`, where it scores 1. A map without positive
        heat misses: it has 0 of its heat in the region, and points nowhere if it is the same everywhere.

    Raises:
        InputError: if the shapes differ.

    Source:
        `pointing` Zhang et al. 2018, arXiv 1608.00507; `energy_share` Wang et al. 2020, arXiv 1910.01279; `auprc` Arun
        et al. 2021, arXiv 2008.02766; `effective_heat_ratio` Khakzar et al. 2021, arXiv 2104.00411; `otsu_iou` Otsu
        1979 (the threshold) and Saporta et al. 2022. `energy_ratio` is `energy_share` over `area_share`.

    Example:
        >>> region = np.zeros((1, 4, 4), dtype=bool)
        >>> region[0, :2] = True
        >>> scores = heatmap_scores(np.where(region, 2.0, -1.0), region)
        >>> [float(scores[name][0]) for name in ("pointing", "energy_ratio", "auprc", "area_share")]
        [1.0, 2.0, 1.0, 0.5]
    """
    heat, region = as_array(maps), as_array(masks)
    if heat.ndim != 3 or heat.shape != region.shape:
        raise InputError(f"heat maps and masks must both be (M, H, W); found {heat.shape} and {region.shape}.")
    out = {name: np.full(len(heat), np.nan) for name in SCORES}
    for rows in chunks(len(heat), 2 * heat.shape[1] * heat.shape[2]):
        flat = np.asarray(heat[rows], dtype=np.float64).reshape(rows.stop - rows.start, -1)
        inside = np.asarray(region[rows], dtype=bool).reshape(flat.shape)
        out["area_share"][rows] = inside.mean(1)
        usable = np.isfinite(flat).all(1) & inside.any(1)
        place = np.flatnonzero(usable) + rows.start
        for name, score in _score(flat[usable], inside[usable]).items():
            out[name][place] = score
    return out


def _score(heat: FloatArray, inside: BoolArray) -> dict[str, FloatArray]:
    ranked = _rank(heat, inside)
    share, effective = (np.nan_to_num(v) for v in (energy_share(heat, inside), _effective_heat_ratio(ranked)))
    peak = heat.max(1)
    return {
        "pointing": np.where((peak <= 0) & (peak == heat.min(1)), 0.0, pointing(heat, inside)),
        "energy_share": share,
        "energy_ratio": share / inside.mean(1),
        "auprc": _auprc(ranked),
        "effective_heat_ratio": effective,
        "otsu_iou": otsu_iou(heat, inside),
    }


def pointing(maps: Values, masks: Values) -> FloatArray:
    """The pointing game: is the hottest pixel inside? Of several hottest ones, the share that is.

    Maps and masks are (M, …) of finite values; returns (M,).
    """
    heat, inside = _flat(maps, masks)
    hottest = heat == heat.max(1, keepdims=True)
    return np.asarray((hottest & inside).sum(1) / hottest.sum(1))


def energy_share(maps: Values, masks: Values) -> FloatArray:
    """The share of the map's positive part that lies inside; NaN for a map without a positive value.

    Maps and masks are (M, …) of finite values; returns (M,).
    """
    heat, inside = _flat(maps, masks)
    positive = np.maximum(heat, 0)
    total = positive.sum(1)
    within = np.where(inside, positive, 0.0).sum(1)
    return np.asarray(np.divide(within, total, out=np.full(len(heat), np.nan), where=total > 0))


def auprc(maps: Values, masks: Values) -> FloatArray:
    """The average precision of the pixels of each map as detectors of its region; ties are one threshold.

    Maps and masks are (M, …) of finite values; returns (M,), NaN where the region is empty.
    """
    return _auprc(_rank(maps, masks))


def effective_heat_ratio(maps: Values, masks: Values) -> FloatArray:
    """The effective heat ratio of Khakzar et al. (MICCAI 2021), heat inside over pixels above threshold.

    The positive part of a map is divided by its maximum, and the pixels of at least 0.1 are kept. Each
    quantile q = 0, 0.1, …, 1 of the kept pixels, capped at 0.99, is a threshold: of the pixels that reach it,
    the heat inside the region is divided by their number, inside or not. The score is the trapezoid integral
    over q, in [0, 1]. Scaling by the maximum instead of from the minimum lets a uniform map score the
    region's area share. Heat counts, so a faint map scores less than a saturated one of the same outline.

    Maps and masks are (M, …) of finite values; returns (M,), NaN for a map without a positive value.
    """
    return _effective_heat_ratio(_rank(maps, masks))


def otsu_iou(maps: Values, masks: Values) -> FloatArray:
    """Intersection over union of the region with the map above Otsu's threshold (256 bins).

    A constant map has no threshold; its whole image is taken, so it scores the region's area share.
    Maps and masks are (M, …) of finite values; returns (M,).
    """
    heat, inside = _flat(maps, masks)
    low = heat.min(1, keepdims=True)
    span = heat.max(1, keepdims=True) - low
    scaled = np.divide(heat - low, span, out=np.zeros_like(heat), where=span > 0)
    bins = np.minimum((scaled * OTSU_BINS).astype(np.int64), OTSU_BINS - 1)
    rows = np.arange(len(heat))[:, None] * OTSU_BINS
    histogram = np.bincount((bins + rows).ravel(), minlength=len(heat) * OTSU_BINS).reshape(len(heat), OTSU_BINS)
    below = np.cumsum(histogram, axis=1) / heat.shape[1]
    moment = np.cumsum(histogram * np.arange(OTSU_BINS), axis=1) / heat.shape[1]
    weight = below * (1 - below)
    between = np.divide((moment[:, -1:] * below - moment) ** 2, weight, out=np.zeros_like(below), where=weight > 0)
    hot = (bins > between.argmax(1)[:, None]) | (span == 0)
    union = (hot | inside).sum(1)
    return np.asarray((hot & inside).sum(1) / union)


def score_table(
    scores: Mapping[str, FloatArray],
    map_class: npt.NDArray[np.integer],
    classes: Sequence[str],
    bootstrap: Bootstrap,
) -> dict[str, dict[str, Replicates]]:
    """The mean of each score over the maps of each class, and under `mean` the mean over the classes.

    Args:
        scores: (M,) arrays by name, as `heatmap_scores` gives them.
        map_class: (M,), the number of each map's class.
        classes: the names of the classes.
        bootstrap: over the M maps; `bootstrap.take(map_image)` makes it of one over images.

    Example:
        >>> from pellucid.evaluation.metrics.statistics import Bootstrap
        >>> draws = Bootstrap("ab")
        >>> table = score_table({"pointing": np.array([1.0, 0.0])}, np.array([0, 0]), ["mass"], draws)
        >>> table["mass"]["pointing"].value
        0.5
    """
    table: dict[str, dict[str, Replicates]] = {}
    for number, name in enumerate(classes):
        rows = np.flatnonzero(map_class == number)
        part = bootstrap.take(rows)
        table[name] = {
            score: mean_over_images(
                values[rows],
                part,
                reason=f"no heat map with a defined score of {len(rows)}",
                within=(0, math.inf if score == "energy_ratio" else 1),
                of="heat maps",
            )
            for score, values in scores.items()
        }
    total = {score: int(np.isfinite(values).sum()) for score, values in scores.items()}
    table["mean"] = {s: Replicates.mean([table[c][s] for c in classes], n=total[s], of="classes") for s in scores}
    return table


def _flat(maps: Values, masks: Values) -> tuple[FloatArray, BoolArray]:
    heat, inside = as_array(maps), as_array(masks)
    if heat.shape != inside.shape or heat.ndim < 2:
        raise InputError(f"heat maps and masks must both be (M, H, W); found {heat.shape} and {inside.shape}.")
    shape = (len(heat), math.prod(heat.shape[1:]))
    return heat.reshape(shape).astype(np.float64, copy=False), inside.reshape(shape).astype(bool)


def _rank(maps: Values, masks: Values) -> _Ranked:
    heat, inside = _flat(maps, masks)
    single = heat.astype(np.float32)  # sorts faster, where it holds every value
    order = np.argsort(-single if (single == heat).all() else -heat, axis=1)
    return _Ranked(np.take_along_axis(heat, order, 1), np.take_along_axis(inside, order, 1))


def _auprc(ranked: _Ranked) -> FloatArray:
    heat, inside = ranked
    if not heat.size:
        return np.empty(0)
    last = np.ones(heat.shape, dtype=bool)  # of the pixels that share a value
    last[:, :-1] = heat[:, :-1] != heat[:, 1:]
    row, column = np.nonzero(last)
    hits = np.cumsum(inside, axis=1)[row, column]
    gained = np.diff(hits, prepend=0)
    first = np.flatnonzero(np.diff(row, prepend=-1))
    gained[first] = hits[first]
    area = np.bincount(row, gained * hits / (column + 1), minlength=len(heat))
    size = inside.sum(1)
    return np.asarray(np.divide(area, size, out=np.full(len(heat), np.nan), where=size > 0))


def _effective_heat_ratio(ranked: _Ranked) -> FloatArray:
    heat, inside = ranked
    if not heat.size:
        return np.empty(0)
    peak = heat[:, :1]
    heat = np.divide(np.maximum(heat, 0), peak, out=np.zeros_like(heat), where=peak > 0)
    coolest = np.maximum((heat >= EHR_BASE).sum(1) - 1, 0)[:, None]  # the last kept pixel
    # The quantiles' places, counted from it upwards, in whole numbers: rounding must not lose a pixel.
    lower, rest = np.divmod(coolest * np.arange(EHR_STEPS + 1), EHR_STEPS)
    cool, warm = (np.take_along_axis(heat, np.maximum(coolest - i, 0), 1) for i in (lower, lower + 1))
    threshold = np.minimum(cool + (warm - cool) * (rest / EHR_STEPS), EHR_CEILING)
    count = np.stack([(heat >= t[:, None]).sum(1) for t in threshold.T], axis=1)
    within = np.cumsum(np.where(inside, heat, 0.0), axis=1)
    ratio = np.take_along_axis(within, np.maximum(count - 1, 0), 1) / np.maximum(count, 1)
    return np.asarray(np.where(peak[:, 0] > 0, np.trapezoid(ratio, dx=1 / EHR_STEPS, axis=1), np.nan))
