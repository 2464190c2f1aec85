"""What a number of the image stands for: does it go with the label, and does swapping it move the answers?

What an image is worth to a class by one exchange is noisy: all that its window shows has a part in it. A feature of the
image is not, and needs no network. So it is asked, first, whether the feature goes with the label. Then what it stands
for is swapped between each image and others that have no more of it than is usual, and it is asked whether that moves
the answers further for the positives than for the negatives.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pellucid.evaluation.discovery.content.presence import otsu
from pellucid.evaluation.discovery.content.whole_image import can_be_undone
from pellucid.evaluation.discovery.exchange import Pairs, Window
from pellucid.evaluation.discovery.features import Carrier, Features
from pellucid.evaluation.discovery.inference import associations, stepped_down
from pellucid.evaluation.discovery.search import Tested
from pellucid.utils.progress import progress_context

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pellucid.evaluation.discovery.exchange import Exchange
    from pellucid.evaluation.discovery.features import Feature
    from pellucid.evaluation.discovery.inference import Association
    from pellucid.evaluation.discovery.samples import Rows, Samples
    from pellucid.evaluation.discovery.search import Search
    from pellucid.evaluation.metrics.bootstrap import FloatArray

ROUNDING = 1e-12
SQUARES = 4
"""Features of squares, of each class, whose effect on the answer is measured; of the other windows one each."""
ALIKE = 0.8
"""Correlation from which on two squares' features are the same thing."""
CARRIED = 12
"""Features of each class, those that go with it most surely, whose effect on the answer is measured."""
CARRIED_IN_ALL = 24
"""The same of all classes together."""
PASSES = 800
"""Forward passes that this takes of one of them at most: turns of all images, or one of so many images."""
PASSES_IN_ALL = 12000
"""The same of all of them together, about."""
FEWEST = 5
"""Images with no more of a feature than is usual, from which on its place can be taken by theirs."""


@dataclass(frozen=True, eq=False)
class Mediated:
    """What features do to the answer, tested together.

    Attributes:
        carriers: of each feature; None of one that could not be tested.
        difference: (T,), how much more it adds to the positives than to the negatives of its class.
        z: (T,), the smaller one of both tests.
        p: (T,), one-sided, of the test alone.
        p_corrected: (T,), of all of them.
        passes: forward passes.
    """

    carriers: tuple[Carrier | None, ...]
    difference: FloatArray
    z: FloatArray
    p: FloatArray
    p_corrected: FloatArray
    passes: int


def by_features(search: Search, columns: Rows) -> tuple[list[Tested], int]:
    """What goes with a class by a feature and moves its answer, tested on all images; and how many passes that took.

    Half of `alpha` is for features, and of that each of the two questions has a half.
    """
    samples, settings = search.samples, search.settings
    table = Features(samples, settings.cells)
    features = [one for column in columns for one in table.of_class(int(column))]
    result = associations(
        np.stack([one.values for one in features], 1),
        samples.labels,
        np.array([one.column for one in features]),
        samples.patients,
        two_sided=True,
        permutations=settings.permutations,
        seed=settings.seed + 4,
    )
    picked = picked_features(features, result, settings.alpha / 4)
    own = [features[t] for t in picked]
    answer = mediated(search, table, own, "feature")
    tested = []
    for i, (t, carrier) in enumerate(zip(picked, answer.carriers, strict=True)):
        # what moves the answers otherwise than the feature goes with the label is something else beside it
        if carrier is None or carrier.slope * result.difference[t] * samples.gaps[own[i].column] <= 0:
            continue
        tested.append(
            Tested(
                own[i].candidate(samples, table.numbers, settings.cells),
                float(answer.difference[i] / samples.gaps[own[i].column]),
                min(abs(float(result.z[t])), float(answer.z[i])),
                max(float(result.p[t]), float(answer.p[i])),
                min(4 * max(float(result.p_corrected[t]), float(answer.p_corrected[i])), 1.0),
                np.flatnonzero(~np.isnan(carrier.effect)),
                carrier.strength,
                carrier,
            )
        )
    return tested, answer.passes


def picked_features(features: Sequence[Feature], result: Association, alpha: float) -> list[int]:
    """The features whose effect is measured, by number: those that go with their class most surely.

    Of each class at most `CARRIED`, of a side, the frame, the margins and the whole frame one each, of the squares
    `SQUARES` that are no copies of one another; and the surest of each class before the others of any.
    """
    size = np.nan_to_num(np.abs(result.z))
    passed = [int(t) for t in np.argsort(-size, kind="stable") if result.p_corrected[t] <= alpha]
    turns: dict[int, int] = {}
    windows: set[tuple[int, str]] = set()
    squares: dict[int, list[int]] = {}
    picked: list[tuple[int, int, int]] = []
    for t in passed:
        one = features[t]
        if one.is_of_square:
            own = squares.setdefault(one.column, [])
            if len(own) == SQUARES or any(_alike(one, features[other]) for other in own):
                continue
            own.append(t)
        elif (one.column, one.place or one.name) in windows:
            continue
        windows.add((one.column, one.place or one.name))
        turns[one.column] = turn = turns.get(one.column, 0) + 1
        if turn <= CARRIED:
            picked.append((turn, len(picked), t))
    return [t for _, _, t in sorted(picked)[:CARRIED_IN_ALL]]


def _alike(one: Feature, other: Feature) -> bool:
    both = ~np.isnan(one.values) & ~np.isnan(other.values)
    if not both.any():
        return False
    own, their = (of.values[both] - of.values[both].mean() for of in (one, other))
    size = np.sqrt((own @ own) * (their @ their))
    return bool(size > ROUNDING and abs(own @ their) >= ALIKE * size)


def mediated(search: Search, table: Features, features: Sequence[Feature], name: str) -> Mediated:
    """Test features together: does swapping what they stand for move the answers further where the class is present?

    What a feature stands for is swapped between each image and others, negatives of the class with no more of it than
    is usual: how far the answer for the image falls, and theirs rises, is what it adds. What cannot be undone is only
    given to those others. Two tests, one-sided, of which the larger p counts: labels change places between patients;
    and of what the images contribute to the difference of the labels, summed over the others that they were swapped
    with, the signs are turned, since an image that many were swapped with may move at random.

    Args:
        search: on all images.
        table: of the images.
        features: T of them.
        name: under which the answers are kept.
    """
    samples, settings = search.samples, search.settings
    _, patient = np.unique(samples.patients, return_inverse=True)
    columns = np.array([one.column for one in features], np.int64)
    way = np.sign(samples.gaps[columns])
    effects = np.full((len(samples), len(features)), np.nan)
    scores = np.zeros((patient.max() + 1, len(features)))
    carriers: list[Carrier | None] = []
    passes = 0
    for t, feature in enumerate(features):
        rng = np.random.default_rng([settings.seed + 5, feature.number(samples)])
        pairs = exchanged_pairs(samples, feature, min(PASSES, PASSES_IN_ALL // len(features)), rng)
        if pairs is None:
            carriers.append(None)
            continue
        exchange = feature.candidate(samples, table.numbers, settings.cells).exchanges[0]
        rows = pairs.recipients[: np.unique(pairs.recipients).size]
        with progress_context(f"see what they do to {samples.classes[feature.column]}", 2 * len(pairs.donors)):
            of_pairs, count = _effects(search, exchange, pairs, feature.column, f"{name}-{t}")
        passes += count
        effects[rows, t] = of_pairs.reshape(-1, len(rows)).mean(0)
        labels = samples.labels[:, feature.column]
        apart = labels[pairs.recipients] - labels[rows].mean()
        scores[:, t] = np.bincount(patient[pairs.donors], apart * (of_pairs - of_pairs.mean()), len(scores)) * way[t]
        carriers.append(_carrier(feature, effects[:, t], rows, labels))
    if not features:
        nothing = np.zeros(0)
        return Mediated((), nothing, nothing, nothing, nothing, 0)
    by_label = associations(
        effects * way, samples.labels, columns, samples.patients, permutations=settings.permutations,
        seed=settings.seed + 6,
    )  # fmt: skip
    z, *by_others = sign_flips(scores, settings.permutations, settings.seed + 6)
    p, corrected = (
        np.maximum(np.nan_to_num(one, nan=1.0), other)
        for one, other in zip((by_label.p, by_label.p_corrected), by_others, strict=True)
    )
    return Mediated(tuple(carriers), by_label.difference * way, np.fmin(by_label.z, z), p, corrected, passes)


def _carrier(feature: Feature, effect: FloatArray, rows: Rows, labels: FloatArray) -> Carrier | None:
    """The feature as what tells which images have it; None where none of the `rows` has more of it than another."""
    values = feature.values[rows]
    if np.ptp(values) <= ROUNDING:
        return None
    cut = otsu(values)
    low, high = (float(np.median(values[side])) for side in (values <= cut, values > cut))
    own = within_labels(np.clip(values, low, high), labels[rows])
    slope = float(own @ within_labels(effect[rows], labels[rows])) / max(float(own @ own), ROUNDING)
    return Carrier(feature, (low, high), slope, effect)


def _effects(search: Search, exchange: Exchange, pairs: Pairs, column: int, name: str) -> tuple[FloatArray, int]:
    """What it adds to each recipient (D,), by swapping it with the donor's; and how many passes that took.

    It is the mean of how far the recipient's answer falls and the donor's rises, from which what any change of the
    pixels does goes.
    """
    odds = search.samples.odds[:, column]
    back = Pairs(pairs.recipients, pairs.donors)
    rise = search.odds(f"{name}-put", back, [exchange])[:, 0, column] - odds[pairs.donors]
    if not can_be_undone(exchange):
        return rise, len(rise)
    taking = replace(exchange, of_recipient=True) if isinstance(exchange, Window) else exchange
    fall = odds[pairs.recipients] - search.odds(f"{name}-taken", pairs, [taking])[:, 0, column]
    return (fall + rise) / 2, 2 * len(rise)


def sign_flips(scores: FloatArray, flips: int, seed: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Of T sums of what patients contribute (P, T) the z, and one-sided p alone and corrected, by turning signs.

    Of one to which nobody contributes z is 0 and p 1.

    Source:
        J. Hemerik, J. Goeman, L. Finos: Robust testing in generalized linear models by sign flipping score
        contributions. Journal of the Royal Statistical Society B 82, 2020.
    """
    size = np.sqrt((scores**2).sum(0))
    shares = scores / np.where(size > 0, size, 1.0)
    by_chance = np.random.default_rng(seed).choice([-1.0, 1.0], (flips, len(scores))) @ shares
    return shares.sum(0), *stepped_down(shares.sum(0), by_chance)


def exchanged_pairs(samples: Samples, feature: Feature, passes: int, rng: np.random.Generator) -> Pairs | None:
    """Who gives to whom: to each image negatives with no more of a feature than is usual; None where there are too few.

    Of the level of a window and of statistics usual are the half of the negatives that are closest to their median, of
    details the lower half. The images come turn after turn, in the same order.

    Args:
        samples: all images.
        feature: of them.
        passes: two for each pair, and so many at most.
        rng: of the draws.
    """
    usable = np.flatnonzero(~np.isnan(feature.values) & ~np.isnan(samples.labels[:, feature.column]))
    negatives = usable[samples.labels[usable, feature.column] == 0]
    if len(negatives) < 2 * FEWEST:
        return None
    values = feature.values[negatives]
    unusual = values if feature.is_of_detail else np.abs(values - np.median(values))
    pool = negatives[unusual <= np.median(unusual)]
    rows = samples.balanced(usable, passes // 2, rng)
    turns = max(1, passes // 2 // len(rows))
    recipients = np.tile(rows, turns)
    places = rng.integers(len(pool), size=len(recipients))
    places = np.where(pool[places] == recipients, (places + 1) % len(pool), places)
    return Pairs(pool[places], recipients)


def within_labels(values: FloatArray, labels: FloatArray) -> FloatArray:
    """Values (D,) less the mean over the images of the same label (D,).

    Example:
        >>> within_labels(np.array([1.0, 3.0, 8.0]), np.array([0.0, 0.0, 1.0])).tolist()
        [-1.0, 1.0, 0.0]
    """
    rest = np.array(values, np.float64)
    for label in np.unique(labels):
        own = labels == label
        rest[own] -= rest[own].mean()
    return rest
