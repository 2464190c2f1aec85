"""What becomes of a candidate that passed its test: who has it, where it is, what it does and what follows."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pellucid.evaluation.discovery.candidates import Boxes
from pellucid.evaluation.discovery.content.presence import around, otsu, where_it_differs
from pellucid.evaluation.discovery.content.whole_image import can_be_undone
from pellucid.evaluation.discovery.content.windows import BANDS, place_in_words
from pellucid.evaluation.discovery.samples import COMMON
from pellucid.evaluation.discovery.search import RESAMPLES
from pellucid.evaluation.discovery.shares import share_estimate, shares_of_worth
from pellucid.evaluation.discovery.suspect import Consequence, Effect, Prevalence, Suspect, WorstGroup
from pellucid.evaluation.metrics.classification import auroc
from pellucid.evaluation.metrics.differences import paired_difference
from pellucid.evaluation.metrics.operating_points import operating_points
from pellucid.evaluation.metrics.statistics import (
    HARDLY,
    Bootstrap,
    Estimate,
    Replicates,
    join_reasons,
    mean_over_images,
)
from pellucid.models.inference import as_pixels
from pellucid.utils.words import figure_text, whole_percent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from pellucid.evaluation.discovery.features import Carrier
    from pellucid.evaluation.discovery.samples import Masks, Rows, Samples
    from pellucid.evaluation.discovery.search import Tested
    from pellucid.evaluation.metrics.bootstrap import FloatArray
    from pellucid.types import Box

ROUNDING = 1e-12
SHOWN = 8
"""Images named as examples."""
MARGIN = 2
"""Pixels around a region that its mean shows."""
FEWEST = 10
"""Positives, and negatives, from which on there are figures of them."""
UNDONE = "it cannot be undone"
"""Why something cannot be taken away."""
FLIPS = 2000
"""Ways to turn the signs of changes, for a p value."""


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
    is_known = ~np.isnan(arrays["worth"])
    own = replace(samples, labels=np.where(is_known[:, None], samples.labels, math.nan))  # others are in no group
    bootstrap = Bootstrap(samples.patients.tolist(), RESAMPLES)
    region = one.region
    if one.kind == "place":
        region = where_it_differs(samples, arrays["worth"], present, column, one.region)
    order = np.argsort(-arrays["worth"], kind="stable")
    exemplars = order[present[order]][:SHOWN]
    without = order[~present[order] & is_known[order]][::-1][:SHOWN]
    boxes: dict[str, tuple[Box, ...]] = {}
    frame = mean_patch = mean_without = None
    if one.kind == "patch":
        own_boxes = Boxes(arrays["rectangles"].astype(np.int64), samples.frame)
        boxes = {samples.ids[i]: (own_boxes.box(i),) for i in np.flatnonzero(present).tolist()}
        frame = own_boxes.box(int(exemplars[0])) if len(exemplars) else None
        mean_patch, mean_without = (_mean_of_own(samples, own_boxes, rows) for rows in (exemplars, without))
        region = np.asarray(own_boxes.masks(np.flatnonzero(present)).any(0))
    elif one.kind == "place":
        frame = around(region, MARGIN)
        boxes = {samples.ids[i]: (around(region, 0),) for i in np.flatnonzero(present)}
        mean_patch, mean_without = (_mean_of_place(samples, frame, of) for of in (present, is_known & ~present))
    effects = _effects(samples, tested, arrays, bootstrap)
    usual = samples.marks.usual(column)
    overlap = float((usual[region] >= COMMON).mean()) if region.any() and not np.isnan(usual).any() else math.nan
    judged = arrays["neutral_rows"].astype(np.int64), arrays["neutral"][:, column]
    answers = judged if len(judged[0]) else UNDONE
    consequences, worst = consequences_of(own, column, present, bootstrap, thresholds[column], answers)
    title = one.name if one.kind != "place" or one.name in BANDS else place_in_words(region)
    return Suspect(
        number=number,
        kind=one.kind,
        name=title,
        verdict=_verdict(name, effects[0], consequences),
        class_name=name,
        share=effects[0].share.value,
        expected=False,
        overlap=overlap,
        region=region,
        boxes=boxes,
        present=present,
        strength=arrays["worth"],
        prevalence=_share(present, is_known, bootstrap),
        prevalence_of={
            label: prevalence_in(present, own.labels[:, k], bootstrap) for k, label in enumerate(samples.classes)
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
        tested_rows=tested.rows,
        tested_worth=tested.measured[tested.rows],
        details={
            "z": tested.z,
            **({} if tested.carrier is None else _feature_of(tested.carrier)),
            "tested_images": len(tested.rows),
            "judged": len(judged[0]),
            "judged_positives": int((samples.labels[judged[0], column] == 1).sum()),
        },
        confirmed=is_confirmed(effects[0]),
        reason=None if not math.isnan(overlap) or one.kind == "whole image" else f"nobody marked where {name} is",
    )


def _feature_of(carrier: Carrier) -> dict[str, float | str | bool | int]:
    """By which feature an image has it: above the cut where `feature_more` is true, below it otherwise."""
    return {
        "feature": carrier.feature.name,
        "place": carrier.feature.place,
        "feature_more": carrier.slope > 0,
        "feature_cut": carrier.cut(),
        "passes": carrier.passes,
    }


def _mean_of_own(samples: Samples, boxes: Boxes, rows: Rows) -> npt.NDArray[np.float32] | None:
    """The mean (C, h, w) of what these images show, each in its own square; None of other rectangles."""
    rectangles = boxes.rectangles[rows]
    if not len(rows) or (rectangles[:, 2:] != rectangles[0, 2]).any():
        return None
    top, left, side, _ = rectangles.T
    down, across = top[:, None] + np.arange(side[0]), left[:, None] + np.arange(side[0])
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
    means, ps = {}, {}
    for name in ("taken", "put"):
        undone = name == "put" or can_be_undone(tested.candidate.exchanges[0])
        rows = arrays[f"{name}_rows"].astype(np.int64)
        ps[name] = [sign_flip_p(values, samples.patients[rows]) for values in arrays[name].T]
        draws = bootstrap.take(rows)
        means[name] = [
            mean_over_images(arrays[name][:, k], draws).estimate()
            if len(rows)
            else Estimate(math.nan, math.nan, math.nan, 0, "no image has it, or all have" if undone else UNDONE)
            for k in range(len(samples.classes))
        ]
    of_class, by = (samples.labels[:, column], samples.odds[:, column], bootstrap), tested.carrier
    shares = shares_of_worth(tested.worth, *of_class) if by is None else by.shares(*of_class)
    share = share_estimate(shares, int((~np.isnan(tested.measured) & ~np.isnan(of_class[0])).sum()))
    other = Estimate(math.nan, math.nan, math.nan, 0, "tested for another class")
    effects = [
        Effect(
            label,
            means["taken"][k],
            means["put"][k],
            share if k == column else other,
            tested.p if k == column else math.nan,
            tested.p_corrected if k == column else math.nan,
            ps["taken"][k],
            ps["put"][k],
        )
        for k, label in enumerate(samples.classes)
    ]
    size = [-abs(np.nan_to_num(effect.put_in.value)) for effect in effects]
    return tuple(effects[k] for k in sorted(range(len(effects)), key=lambda k: (k != column, size[k])))


def sign_flip_p(changes: FloatArray, patients: Rows, *, falls: bool = False) -> float:
    """P of no mean change, by turning the signs of each patient's changes; NaN without any.

    Args:
        changes: (n,).
        patients: (n,), whose images are whose.
        falls: one-sided, of a fall; two-sided otherwise.
    """
    if not len(changes):
        return math.nan
    sums = np.bincount(np.unique(patients, return_inverse=True)[1], changes)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (FLIPS, len(sums)))
    turned, truth = signs @ sums, sums.sum()
    extreme = turned <= truth + ROUNDING if falls else np.abs(turned) >= abs(truth) - ROUNDING
    return float((1 + extreme.sum()) / (FLIPS + 1))


def is_confirmed(effect: Effect) -> bool:
    """Whether what was taken away lowers the class's log-odds, and what was put in raises them.

    Of the two those count that were done on enough images for an interval, one of them at least.
    """
    ends = []
    for of, sign in ((effect.taken_away, -1), (effect.put_in, 1)):
        if not math.isnan(of.low):
            ends.append(sign * (of.high if sign < 0 else of.low))
        elif of.reason == HARDLY:  # the same change on every image
            ends.append(sign * of.value)
    return bool(ends) and min(ends) > 0


def consequences_of(
    samples: Samples,
    column: int,
    present: Masks,
    bootstrap: Bootstrap,
    threshold: float,
    judged: tuple[Rows, FloatArray] | str,
) -> tuple[tuple[Consequence, ...], WorstGroup | None]:
    """What follows for one class: its figures with the suspect, without it, and with it taken away.

    Args:
        samples: all images.
        column: the class.
        present: boolean (N,), which have the suspect.
        bootstrap: over all images.
        threshold: the probability from which on the class is predicted.
        judged: some images, and their log-odds (n,) with the suspect taken away; why not where it cannot be.
    """
    name, truth, odds = samples.classes[column], samples.labels[:, column], samples.odds[:, column]
    cut = math.log(threshold / (1 - threshold)) if 0 < threshold < 1 else 0.0

    def figures(rows: Rows, scores: FloatArray) -> dict[str, Replicates]:
        return _figures(scores, truth[rows], cut, bootstrap.take(rows))

    sets = [figures(rows, odds[rows]) for rows in (np.flatnonzero(present), np.flatnonzero(~present))]
    nothing = Estimate(math.nan, math.nan, math.nan, 0, judged if isinstance(judged, str) else None)
    paired = None if isinstance(judged, str) else [figures(judged[0], odds[judged[0]]), figures(*judged)]
    consequences = []
    for metric in sets[0]:
        with_it, without = (of[metric] for of in sets)
        apart, p_apart = difference_of(with_it, without, with_it.n + without.n)
        usual = neutralised = change = nothing
        p_change = math.nan
        if paired is not None:
            before, after = (of[metric] for of in paired)
            usual, neutralised = before.estimate(), after.estimate()
            change, p_change = difference_of(after, before, after.n)
        consequences.append(
            Consequence(
                name,
                metric,
                with_it.estimate(),
                without.estimate(),
                apart,
                p_apart,
                usual,
                neutralised,
                change,
                p_change,
            )
        )
    groups = []
    for kind in ((True, True), (True, False), (False, True), (False, False)):
        members = np.flatnonzero((truth == kind[0]) & (present == kind[1]))
        if len(members) >= FEWEST:
            right = ((odds[members] >= cut) == kind[0]).astype(np.float64)
            groups.append((*kind, mean_over_images(right, bootstrap.take(members), within=(0, 1)).estimate()))
    worst = min(groups, key=lambda group: group[2].value, default=None)
    return tuple(consequences), None if worst is None else WorstGroup(name, *worst, len(groups))


def _figures(scores: FloatArray, truth: FloatArray, cut: float, draws: Bootstrap) -> dict[str, Replicates]:
    """AUROC, sensitivity, specificity and accuracy; NaN with the reason where there are too few to say."""
    counts = {"positives": int((truth == 1).sum()), "negatives": int((truth == 0).sum())}
    lacking = {kind: f"{n} {kind}, and {FEWEST} are needed" for kind, n in counts.items() if n < FEWEST}
    decided = (scores >= cut).astype(np.float64)
    right = np.where(np.isnan(truth), np.nan, decided == truth)
    needs: dict[str, tuple[tuple[str, ...], Callable[[], Replicates]]] = {
        "auroc": (("positives", "negatives"), lambda: auroc(scores, truth, draws)),
        "sensitivity": (("positives",), lambda: operating_points(decided[:, None], truth[:, None], draws)[0][0]),
        "specificity": (("negatives",), lambda: operating_points(decided[:, None], truth[:, None], draws)[1][0]),
        "accuracy": (("positives", "negatives"), lambda: mean_over_images(right, draws, within=(0, 1))),
    }
    return {
        metric: Replicates.undefined("; ".join(few), len(truth), draws)
        if (few := [lacking[kind] for kind in kinds if kind in lacking])
        else figure()
        for metric, (kinds, figure) in needs.items()
    }


def difference_of(one: Replicates, other: Replicates, n: int) -> tuple[Estimate, float]:
    """The first less the second with its interval, and p, two-sided, of no difference; as a study compares networks."""
    if math.isnan(one.value) or math.isnan(other.value):
        return Estimate(math.nan, math.nan, math.nan, n, join_reasons(one.reason, other.reason)), math.nan
    answer = paired_difference([one], [other]).networks
    return Estimate(answer.value, answer.low, answer.high, n, answer.reason), answer.p


def prevalence_in(present: Masks, labels: FloatArray, bootstrap: Bootstrap) -> Prevalence:
    """How common a suspect is among the positives and among the negatives of a class, (N,) labels."""
    shares = []
    for value in (1, 0):
        rows = np.flatnonzero(labels == value)
        draws = bootstrap.take(rows)
        shares.append(
            mean_over_images(present[rows].astype(np.float64), draws, within=(0, 1))
            if len(rows)
            else Replicates.undefined("no such images", 0, bootstrap)
        )
    one, other = shares
    return Prevalence(one.estimate(), other.estimate(), *difference_of(one, other, one.n + other.n))


def _verdict(name: str, effect: Effect, consequences: Sequence[Consequence]) -> str:
    area = next(c for c in consequences if c.metric == "auroc")
    share = figure_text(effect.share.value, effect.share.low, effect.share.high, whole_percent)
    text = f"{share} of the difference between the answers for images with {name} and without it goes through this."
    if not math.isnan(area.change.value):
        change = figure_text(area.change.value, area.change.low, area.change.high, _signed(3))
        text += f" With it taken away, the AUROC changes by {change}, from {area.usual.value:.3f}."
    if is_confirmed(effect):
        return text
    moves = [
        f"{what}, the log-odds change by {figure_text(of.value, of.low, of.high, _signed(2))}"
        for what, of in (("taken away from images with it", effect.taken_away), ("put in", effect.put_in))
        if of.n
    ]
    return f"{text} Not confirmed by the intervention: {'; '.join(moves) or 'neither could be done'}."


def _signed(decimals: int) -> Callable[[float], str]:
    return lambda value: f"{value:+.{decimals}f}".replace("-", "−")


def _share(present: Masks, of: Masks, bootstrap: Bootstrap) -> Estimate:
    rows = np.flatnonzero(of)
    if not len(rows):
        return Estimate(math.nan, math.nan, math.nan, 0, "no such images")
    return mean_over_images(present[rows].astype(np.float64), bootstrap.take(rows), within=(0, 1)).estimate()
