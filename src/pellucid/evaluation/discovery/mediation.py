"""What a number of the image stands for: does it go with the label, and does swapping it move the answers?

What an image is worth to a class by one exchange is noisy: all that its window shows has a part in it. A feature of the
image is not, and needs no network. So it is asked, first, whether the feature goes with the label. Then what it stands
for is swapped between each image and others that have no more of it than is usual, and it is asked whether that moves
the answers further where there is more of it, among images of the same label (both: a test of joint significance,
MacKinnon et al. 2002), and whether it moves them further for the positives than for the negatives.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from zlib import crc32

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
PASSES, PASSES_IN_ALL = 800, 9600
"""Forward passes for the first swaps of one of them at most, and of all together, about."""
FURTHER, FURTHER_IN_ALL = 3200, 6400
"""The same of further ones, of those whose first swaps add more where there is more of the feature."""
FEWEST = 5
"""Images with no more of a feature than is usual, from which on its place can be taken by theirs."""


@dataclass(frozen=True, eq=False)
class Swapped:
    """What features do to the answer, by swaps.

    Attributes:
        features: T of them.
        carriers: of each; None of one that could not be tested.
        effects: (N, T), what each adds to an image's log-odds; NaN where not measured.
        of_others: (P, T), what went back to the patients that images were swapped with: the sum of what these images
            contribute to the difference between positives and negatives.
        passes: of each, how many forward passes were meant for it.
        spent: how many there were.
    """

    features: tuple[Feature, ...]
    carriers: tuple[Carrier | None, ...]
    effects: FloatArray
    of_others: FloatArray
    passes: tuple[int, ...]
    spent: int


@dataclass(frozen=True, eq=False)
class JointTest:
    """T one-sided tests together: `z`, `p` of each alone and `p_corrected` of all of them, (T,) each."""

    z: FloatArray
    p: FloatArray
    p_corrected: FloatArray


def by_features(search: Search, columns: Rows) -> tuple[list[Tested], int]:
    """What goes with a class by a feature and moves its answer, tested on all images; and how many passes that took.

    Half of `alpha` is for features, and of that each of the first two questions has a half. The third is for what has
    passed these, all together at `alpha`.
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
    level = settings.alpha / 4
    picked = picked_features(features, result, level)
    first = swaps(search, table, [features[t] for t in picked], _passes(PASSES, PASSES_IN_ALL, len(picked)), 0)
    more = adds_more(search, first, np.sign(result.difference[picked]))
    passed = np.flatnonzero(more.p_corrected <= level)
    each_passes = _passes(FURTHER, FURTHER_IN_ALL, len(passed))
    second = swaps(search, table, [features[picked[i]] for i in passed], each_passes, 1)
    further = moves_further(search, second)
    tested = []
    for i, place in enumerate(passed):
        t, carrier, column = picked[place], first.carriers[place], features[picked[place]].column
        if carrier is None or further.p_corrected[i] > settings.alpha:
            continue
        each = ((result, t), (more, place), (further, i))
        carrier = replace(carrier, effect=second.effects[:, i], passes=second.passes[i])
        labels, usable = samples.labels[:, column], ~np.isnan(carrier.values)
        means = [carrier.values[usable & (labels == value)].mean() for value in (1, 0)]
        slope = slope_of(carrier, labels)
        tested.append(
            Tested(
                features[t].candidate(samples, table.numbers, settings.cells),
                float(slope * (means[0] - means[1]) / samples.gaps[column]),
                min(abs(float(of.z[k])) for of, k in each),
                max(float(of.p[k]) for of, k in each),
                min(max(4 * result.p_corrected[t], 4 * more.p_corrected[place], further.p_corrected[i]), 1.0),
                np.flatnonzero(~np.isnan(second.effects[:, i])),
                carrier.strength,
                carrier,
            )
        )
    return tested, first.spent + second.spent


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


def _passes(most: int, in_all: int, count: int) -> list[int]:
    return [min(most, in_all // max(count, 1))] * count


def swaps(search: Search, table: Features, features: Sequence[Feature], passes: Sequence[int], turn: int) -> Swapped:
    """Swap what features stand for between each image and others, negatives of the class with no more than is usual.

    How far the answer for the image falls, and theirs rises, is what it adds. What cannot be undone is only given to
    those others.

    Args:
        search: on all images.
        table: of the images.
        features: T of them.
        passes: of each, two for a pair, or one of what is only given.
        turn: 0 for the first swaps, 1 for further ones, with others.
    """
    samples, settings = search.samples, search.settings
    patient = samples.patients
    effects = np.full((len(samples), len(features)), np.nan)
    of_others = np.zeros((patient.max() + 1, len(features)))
    carriers: list[Carrier | None] = []
    spent = 0
    for t, feature in enumerate(features):
        rng = np.random.default_rng([settings.seed + 5, turn, feature.number(samples)])
        exchange = feature.candidate(samples, table.numbers, settings.cells).exchanges[0]
        count = passes[t] // 2 if can_be_undone(exchange) else passes[t]
        pairs = exchanged_pairs(samples, feature, count, rng)
        if pairs is None:
            carriers.append(None)
            continue
        rows = pairs.recipients[: np.unique(pairs.recipients).size]
        name = (
            f"swaps-{turn}-{feature.number(samples)}-{crc32(pairs.donors.tobytes(), crc32(pairs.recipients.tobytes()))}"
        )
        directions = 1 + can_be_undone(exchange)
        with progress_context(f"see what they do to {samples.classes[feature.column]}", directions * len(pairs.donors)):
            of_pairs, own_passes = _effects(search, exchange, pairs, feature.column, name)
        spent += own_passes
        effects[rows, t] = of_pairs.reshape(-1, len(rows)).mean(0)
        labels = samples.labels[:, feature.column]
        apart = labels[pairs.recipients] - labels[rows].mean()
        of_others[:, t] = np.bincount(patient[pairs.donors], apart * (of_pairs - of_pairs.mean()), len(of_others))
        carriers.append(_carrier(feature, effects[:, t], rows, labels, passes[t]))
    return Swapped(tuple(features), tuple(carriers), effects, of_others, tuple(passes), spent)


def adds_more(search: Search, swapped: Swapped, signs: FloatArray) -> JointTest:
    """Does it add more where there is more of the feature, among images of the same label?

    The slope is a sum over patients. Of each its sign is turned, the same way for all features, so that it does not
    matter how widely the effects vary where there is more of it.

    Args:
        search: on all images.
        swapped: T features.
        signs: (T,), 1 where the positives have more of it than the negatives, −1 where they have less.
    """
    samples, settings = search.samples, search.settings
    patient = samples.patients
    scores = np.zeros((patient.max() + 1, len(swapped.features)))
    for t, carrier in enumerate(swapped.carriers):
        if carrier is None:
            continue
        rows, column = np.flatnonzero(~np.isnan(carrier.effect)), carrier.feature.column
        own, answer = (within_labels(of[rows], samples.labels[rows, column]) for of in (carrier.values, carrier.effect))
        scores[:, t] = np.bincount(patient[rows], own * answer, len(scores)) * np.sign(samples.gaps[column])
    return JointTest(*sign_flips(scores * signs, settings.permutations, settings.seed + 6))


def moves_further(search: Search, swapped: Swapped) -> JointTest:
    """Does what features stand for add more to the positives than to the negatives?

    Something else in the same window may move the answer and not go with the label. Two tests, of which the larger p
    counts: labels change places between patients; and the sign of what went back to each other image is turned, since
    one that many were swapped with may move at random.
    """
    samples, settings = search.samples, search.settings
    if not swapped.features:
        return JointTest(*(np.zeros(0) for _ in range(3)))
    columns = np.array([one.column for one in swapped.features])
    way = np.sign(samples.gaps[columns])
    of_labels = associations(
        swapped.effects * way, samples.labels, columns, samples.patients,
        permutations=settings.permutations, seed=settings.seed + 6,
    )  # fmt: skip
    z, *of_others = sign_flips(swapped.of_others * way, settings.permutations, settings.seed + 7)
    p, corrected = (
        np.maximum(np.nan_to_num(one, nan=1.0), other)
        for one, other in zip((of_labels.p, of_labels.p_corrected), of_others, strict=True)
    )
    return JointTest(np.fmin(of_labels.z, z), p, corrected)


def _carrier(feature: Feature, effect: FloatArray, rows: Rows, labels: FloatArray, passes: int) -> Carrier | None:
    """The feature as what tells which images have it; None where none of the `rows` has more of it than another."""
    values = feature.values[rows]
    if np.ptp(values) <= ROUNDING:
        return None
    cut = otsu(values)
    low, high = (float(np.median(values[side])) for side in (values <= cut, values > cut))
    carrier = Carrier(feature, (low, high), 1.0, effect, passes)
    return replace(carrier, slope=slope_of(carrier, labels))


def slope_of(carrier: Carrier, labels: FloatArray) -> float:
    """What one unit of a feature adds among images of the same label (N,), by least squares."""
    rows = np.flatnonzero(~np.isnan(carrier.effect))
    own, answer = (within_labels(of[rows], labels[rows]) for of in (carrier.values, carrier.effect))
    return float(own @ answer) / max(float(own @ own), ROUNDING)


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


def exchanged_pairs(samples: Samples, feature: Feature, count: int, rng: np.random.Generator) -> Pairs | None:
    """Who gives to whom: to each image negatives with no more of a feature than is usual; None where there are too few.

    Of the level of a window and of statistics usual are the half of the negatives that are closest to their median, of
    details the lower half. The images come turn after turn, in the same order.

    Args:
        samples: all images.
        feature: of them.
        count: how many pairs at most; of so many images where there are more.
        rng: of the draws.
    """
    usable = np.flatnonzero(~np.isnan(feature.values) & ~np.isnan(samples.labels[:, feature.column]))
    negatives = usable[samples.labels[usable, feature.column] == 0]
    if len(negatives) < 2 * FEWEST:
        return None
    values = feature.values[negatives]
    unusual = values if feature.is_of_detail else np.abs(values - np.median(values))
    pool = negatives[unusual <= np.median(unusual)]
    rows = samples.balanced(usable, count, rng)
    turns = max(1, count // len(rows))
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
