"""Candidates are found on one half of the images and tested on the other; what is the same thing is told once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy  # its parts load when they are used

from pellucid.evaluation.discovery.candidates import (
    Candidate,
    Places,
    Squares,
    at_varying_places,
    best_windows,
    places,
    strongest,
    whole_images,
)
from pellucid.evaluation.discovery.content.image_features import ImageFeatures
from pellucid.evaluation.discovery.content.windows import all_windows, place_in_words
from pellucid.evaluation.discovery.exchange import Pairs, Window, exchanged_log_odds
from pellucid.evaluation.discovery.inference import associations, mean_differences
from pellucid.evaluation.discovery.mediation import Carrier, slope_of, spread
from pellucid.utils.progress import progress_context

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pellucid.evaluation.discovery.exchange import Exchange
    from pellucid.evaluation.discovery.samples import Rows, Samples
    from pellucid.evaluation.discovery.settings import DiscoverySettings
    from pellucid.evaluation.metrics.bootstrap import FloatArray
    from pellucid.models.classifier import AnyClassifier
    from pellucid.utils.results_store import ResultsStore

SAME = 0.85
"""A smaller window that holds this share of a larger one's effect is taken instead of it."""
NOTHING_MORE = 2.5
"""z of what a candidate adds to a stronger one, up to which it is the same thing."""
BANDS_BY_FEATURE = 3
"""Of the sides, the frame and the margins, candidates of each class by their features."""
CARRIED = 5
"""Candidates of each class, those whose feature goes with it most surely, whose effect on the answer is measured."""
CARRIED_IN_ALL = 16
"""The same of all classes together."""
ORDERS = 400
"""Permutations for each of them, since its p value is corrected for their number."""
SLOPE_PASSES = 600
"""Forward passes that this takes of one of them, about; one for each image at least."""
RESAMPLES = 500
"""Of the images, for intervals."""
STRONG = 3.0
"""z from which on windows of a class that touch are put together to one candidate."""
LITTLE_MORE = 0.2
"""Share of its own effect that this is, up to which it is the same thing whatever its z."""


@dataclass(frozen=True, eq=False)
class Tested:
    """A candidate after its test.

    Attributes:
        candidate: what was tested.
        share: of the distance between positives and negatives that goes through it.
        z: of its association.
        p: of the test alone.
        p_corrected: of all tests together.
        donors: (D,), rows of the images that gave.
        worth: (D,), what each was worth to the class, centred; NaN where it took no part. What the feature that stands
            for it adds, where there is one.
        exchanged: (D,), what each was worth by its exchange.
        strength: (N,), what that feature adds on each image; None without one.
        carrier: that feature; None without one.
    """

    candidate: Candidate
    share: float
    z: float
    p: float
    p_corrected: float
    donors: Rows
    worth: FloatArray
    exchanged: FloatArray
    strength: FloatArray | None = None
    carrier: Carrier | None = None


@dataclass(frozen=True, eq=False)
class Search:
    """What all parts of a search share.

    Attributes:
        model: the classifier, its classes in the samples' order.
        samples: N images.
        settings: how much is spent, and where the line is drawn.
        store: where what was measured is kept.
        key: the name under which a part of the search is kept.
        batch_size: images at a time.
    """

    model: AnyClassifier
    samples: Samples
    settings: DiscoverySettings
    store: ResultsStore
    key: Callable[[str], str]
    batch_size: int

    def odds(self, name: str, pairs: Pairs, exchanges: Sequence[Exchange]) -> FloatArray:
        """The log-odds (D, E, K) of `exchanged_log_odds`, made once and kept under a name."""

        def measure() -> dict[str, Any]:
            of, task = self.samples.pixels, self.samples.task
            return {"odds": exchanged_log_odds(self.model, of, pairs, exchanges, task, batch_size=self.batch_size)}

        return self.store.measured(self.key(name), measure)["odds"]


def candidates(search: Search, rows: Rows, columns: Rows) -> tuple[list[Candidate], dict[str, int]]:
    """What may be a suspect, found on the images `rows`, and what that cost."""
    samples, settings = search.samples, search.settings
    windows, names, squares = all_windows(*samples.frame, settings.cells)

    def screen() -> dict[str, Any]:
        return {"z": places(search.model, samples, rows, columns, windows, settings, search.batch_size)}

    z = search.store.measured(search.key("places"), screen)["z"]
    roaming = Squares.over(samples.frame, settings.cells)
    numbers = ImageFeatures(samples)
    everywhere = numbers.of_windows(windows)
    # the exchange of a place serves every class that is tested by it
    exchanges: dict[bytes, Window] = {}
    every: list[Candidate] = []
    for column in map(int, columns):
        places_of = Places(samples, column)
        features = np.stack(
            [places_of.features_of(numbers, name, windows[w], everywhere[:, w]) for w, name in enumerate(names)], 1
        )
        apart = _apart(features[rows], samples.labels[rows, column])
        bands = np.arange(squares, len(windows))
        by_exchange = best_windows(z[:squares, column], windows[:squares], settings.per_class)
        by_exchange += bands[best_windows(z[bands, column], windows[bands], 1)].tolist()
        by_feature = best_windows(apart[:squares], windows[:squares], settings.per_class)
        # a side may tell half of the images that the margins tell, and they overlap
        order = np.argsort(-np.nan_to_num(apart[bands], nan=-np.inf), kind="stable")
        by_feature += bands[order[:BANDS_BY_FEATURE]].tolist()
        for window in dict.fromkeys(by_exchange + by_feature):
            one = places_of.candidate(names[window], windows[window], features[:, window], exchanges)
            every.append(replace(one, by_exchange=window in by_exchange))
        # a thing longer than a window, or one that lies now in this window, now in the next
        joined, count = scipy.ndimage.label(np.any(windows[:squares][z[:squares, column] >= STRONG], axis=0))
        for piece in (joined == number for number in range(1, count + 1)):
            name = place_in_words(piece)
            own = places_of.features_of(numbers, name, piece, numbers.of_windows(piece[None])[:, 0])
            every.append(places_of.candidate(name, piece, own, exchanges))
        every.append(at_varying_places(samples, column, roaming))
        every += whole_images(samples, column)
    return every, {"forward_passes": min(settings.screened, len(rows)) * len(windows), "windows": len(windows)}


def _apart(features: FloatArray, labels: FloatArray) -> FloatArray:
    """How surely the best feature (N, W, F) of each window tells the labels (N,) apart, on either side: z (W,)."""
    flat = features.reshape(len(features), -1)
    z = np.abs(mean_differences(flat, np.broadcast_to(labels[:, None], flat.shape))[1]).reshape(features.shape[1:])
    return np.where(np.isnan(z).all(1), np.nan, np.nan_to_num(z).max(1))


def test_candidates(search: Search, rows: Rows, every: list[Candidate]) -> tuple[list[Tested], int]:
    """Each candidate's association with its class, on images that it was not found on, all corrected together.

    By a feature that stands for it where one passes, else by its exchange; each way has half of the level.

    Returns:
        The tests, and how many forward passes they took.
    """
    exchanged = [i for i, one in enumerate(every) if one.by_exchange]
    own = [every[i] for i in exchanged]
    passes = min(search.settings.tested, len(rows)) * len(_exchanges(own))
    with progress_context("test them", passes):
        tested = test_exchanges(search, rows, own)
    worth = np.full((len(tested[0].donors), len(every)), np.nan)
    worth[:, exchanged] = np.stack([one.worth for one in tested], 1)
    carried, of_features = mediated(search, rows, every, tested[0].donors, worth)
    halved = (replace(one, p_corrected=min(2 * one.p_corrected, 1.0)) for one in tested)
    return list((dict(zip(exchanged, halved, strict=True)) | carried).values()), passes + of_features


def test_exchanges(search: Search, rows: Rows, every: list[Candidate]) -> list[Tested]:
    """The association of what each candidate's exchange is worth with its class, all corrected together."""
    samples, settings = search.samples, search.settings
    donors, worth = worth_of_exchanges(search, rows, every, "tests")
    columns = [one.column for one in every]
    labels = samples.labels[donors][:, columns]
    result = associations(
        worth, labels, samples.patients[donors], permutations=settings.permutations, seed=settings.seed + 3
    )
    shares = result.difference / samples.gaps[columns]
    return [
        Tested(
            one,
            float(shares[i]),
            float(result.z[i]),
            float(result.p[i]),
            float(result.p_corrected[i]),
            donors,
            worth[:, i],
            worth[:, i],
        )
        for i, one in enumerate(every)
    ]


def worth_of_exchanges(search: Search, rows: Rows, every: list[Candidate], name: str) -> tuple[Rows, FloatArray]:
    """The images that give, of `rows` (D,), and what each candidate's exchange is worth (D, T); kept under a name."""
    samples, settings = search.samples, search.settings
    rng = np.random.default_rng(settings.seed + 2)
    donors = samples.balanced(rows, settings.tested, rng)
    pairs = Pairs.of(donors, rng.choice(rows, min(settings.recipients, len(rows)), replace=False), rng)
    exchanges = _exchanges(every)
    effects = pairs.centred(search.odds(name, pairs, list(exchanges.values())))
    number = {one: place for place, one in enumerate(exchanges)}
    worth = np.empty((len(donors), len(every)))
    for i, one in enumerate(every):
        own = effects[:, [number[id(exchange)] for exchange in one.exchanges], one.column]
        worth[:, i] = own[:, 0]
        if one.squares is not None:
            worth[:, i] = strongest(own, one.squares.free_of_marks(samples, one.column)[donors])[0]
        if one.takes_part is not None:
            worth[~one.takes_part[donors], i] = np.nan
    return donors, worth


def _exchanges(every: list[Candidate]) -> dict[int, Exchange]:
    """The exchanges of candidates by their identity, each once."""
    return {id(exchange): exchange for one in every for exchange in one.exchanges}


def with_exchanges(search: Search, rows: Rows, picked: list[Tested]) -> tuple[list[Tested], int]:
    """Those that passed, each with what its exchange is worth, and how many forward passes that took.

    The same exchange in another network is compared with it. Of what a feature alone picked it is measured here.
    """
    lacking = [i for i, one in enumerate(picked) if not one.candidate.by_exchange]
    if not lacking:
        return picked, 0
    own = [picked[i].candidate for i in lacking]
    donors, worth = worth_of_exchanges(search, rows, own, "picked-tests")
    exchanged = dict(zip(lacking, worth.T, strict=True))
    whole = [replace(one, exchanged=exchanged.get(i, one.exchanged)) for i, one in enumerate(picked)]
    return whole, len(donors) * len(_exchanges(own))


def mediated(
    search: Search, rows: Rows, every: list[Candidate], donors: Rows, worth: FloatArray
) -> tuple[dict[int, Tested], int]:
    """By candidate the feature that stands for it, of those that pass, tested on all images `rows`.

    Of each candidate the feature that goes with its class most surely is taken, and of each class the `CARRIED`
    candidates whose feature does. The worth of an image is then what its feature adds. Half of `alpha` is for features,
    and of that each of the two tests has a half.

    Returns:
        The tests by the candidate's number, and how many forward passes they took.
    """
    samples, settings = search.samples, search.settings
    number, place = np.array(
        [(i, f) for i, one in enumerate(every) if one.features is not None for f in range(one.features.shape[1])]
    ).T
    features = np.stack([np.asarray(every[i].features)[:, f] for i, f in zip(number, place, strict=True)], 1)
    columns = np.array([every[i].column for i in number])
    result = associations(
        features[rows],
        samples.labels[rows][:, columns],
        samples.patients[rows],
        two_sided=True,
        permutations=settings.permutations,
        seed=settings.seed + 4,
    )
    size = np.nan_to_num(np.abs(result.z))
    best_of = [max(np.flatnonzero(number == i), key=lambda t: size[t]) for i in np.unique(number)]
    passed = [
        t
        for column in np.unique(columns)
        for t in sorted((t for t in best_of if columns[t] == column), key=lambda t: -size[t])[:CARRIED]
        if result.p_corrected[t] <= settings.alpha / 4
    ]
    passed = sorted(passed, key=lambda t: -size[t])[:CARRIED_IN_ALL]
    best: dict[int, Tested] = {}
    passes = 0
    for t in map(int, passed):
        i, column = int(number[t]), int(columns[t])
        one, feature = every[i], features[:, t]
        usable = rows[~np.isnan(feature[rows]) & ~np.isnan(samples.labels[rows, column])]
        rng = np.random.default_rng([settings.seed + 5, t])
        givers = samples.balanced(usable, SLOPE_PASSES, rng)
        pool = rng.choice(rows, min(settings.recipients, len(rows)), replace=False)
        pairs = spread(givers, pool, SLOPE_PASSES, rng)
        with progress_context(f"see what they do to {samples.classes[column]}", len(pairs.donors)):
            odds = search.odds(f"feature-{t}", pairs, one.exchanges)[:, 0, column]
        passes += len(odds)
        slope = slope_of(
            pairs.centred(odds).reshape(-1, len(givers)).mean(0),
            feature[givers],
            samples.labels[givers, column],
            samples.patients[givers],
            permutations=max(settings.permutations, ORDERS * len(passed)),
            resamples=RESAMPLES,
            seed=settings.seed + 6,
        )
        share = float(slope.value * result.difference[t] / samples.gaps[column])
        corrected = min(4 * max(float(result.p_corrected[t]), slope.p * len(passed)), 1.0)
        if corrected <= settings.alpha and share >= settings.least:
            carrier = Carrier(one.feature_names[place[t]], float(np.nanmean(feature[donors])), slope, len(usable))
            strength = carrier.strength(feature)
            z, p = min(abs(float(result.z[t])), abs(slope.z)), max(float(result.p[t]), slope.p)
            best[i] = Tested(one, share, z, p, corrected, donors, strength[donors], worth[:, i], strength, carrier)
    return best, passes


def distinct(tested: list[Tested], samples: Samples, settings: DiscoverySettings) -> list[Tested]:
    """Of those that pass the test, each thing once: the one with the largest effect, or a smaller place that has it.

    What a candidate adds to a stronger one of the same class is what is left of its worth once the other's is taken
    out of it by regression.
    """
    passed = [t for t in tested if t.p_corrected <= settings.alpha and t.share >= settings.least]
    passed.sort(key=lambda t: -t.share)
    picked: list[Tested] = []
    while passed:
        first = passed.pop(0)
        related = [t for t in passed if t.candidate.column == first.candidate.column and not _adds(t, first, samples)]
        smaller = [t for t in related if t.share >= SAME * first.share and _size(t) < _size(first)]
        picked.append(min(smaller, key=_size) if smaller else first)
        passed = [t for t in passed if t not in related]
    return picked


def _size(tested: Tested) -> int:
    one = tested.candidate
    return int(one.region.size if one.kind == "patch" else one.region.sum())


def _adds(one: Tested, other: Tested, samples: Samples) -> bool:
    both = np.stack([one.worth, other.worth])
    usable = ~np.isnan(both).any(0)
    if usable.sum() < 3:
        return True
    own, their = (values[usable] - values[usable].mean() for values in both)
    rest = own - their * (own @ their / max(their @ their, 1e-12))
    labels = samples.labels[one.donors[usable], one.candidate.column]
    difference, z = (float(of[0]) for of in mean_differences(rest[:, None], labels[:, None]))
    return z > NOTHING_MORE and difference > LITTLE_MORE * float(mean_differences(own[:, None], labels[:, None])[0][0])
