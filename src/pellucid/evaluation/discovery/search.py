"""Candidates are found on one half of the images and tested on the other; what is the same thing is told once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy  # its parts load when they are used

from pellucid.evaluation.discovery.candidates import (
    Candidate,
    Places,
    Squares,
    at_varying_places,
    beside,
    best_windows,
    overall_level,
    places,
    strongest,
)
from pellucid.evaluation.discovery.content.windows import all_windows, place_in_words
from pellucid.evaluation.discovery.exchange import Pairs, exchanged_log_odds
from pellucid.evaluation.discovery.inference import associations, mean_differences
from pellucid.utils.progress import progress_context

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pellucid.evaluation.discovery.exchange import Exchange
    from pellucid.evaluation.discovery.features import Carrier
    from pellucid.evaluation.discovery.samples import Rows, Samples
    from pellucid.evaluation.discovery.settings import DiscoverySettings
    from pellucid.evaluation.metrics.bootstrap import FloatArray
    from pellucid.models.classifier import AnyClassifier
    from pellucid.utils.results_store import ResultsStore

SAME = 0.85
"""A smaller window that holds this share of a larger one's effect is taken instead of it."""
NOTHING_MORE = 2.5
"""z of what a candidate adds to a stronger one, up to which it is the same thing."""
ROUNDING = 1e-12
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
        rows: (D,), the images that it was tested on.
        worth: (N,), what each of these was worth to the class, centred; NaN where it took no part, and of the others.
            What the feature that stands for it adds, where there is one.
        carrier: that feature; None without one.
    """

    candidate: Candidate
    share: float
    z: float
    p: float
    p_corrected: float
    rows: Rows
    worth: FloatArray
    carrier: Carrier | None = None

    @property
    def measured(self) -> FloatArray:
        """What an exchange moved on each image (N,), NaN where none was made."""
        return self.worth if self.carrier is None else self.carrier.effect


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
    every: list[Candidate] = []
    bands = np.arange(squares, len(windows))
    for column in map(int, columns):
        places_of = Places(samples, column)
        cover = places_of.cover(np.arange(len(samples)))
        picked = best_windows(z[:squares, column], windows[:squares], settings.per_class)
        picked += bands[best_windows(z[bands, column], windows[bands], 1)].tolist()
        every += [places_of.candidate(names[w], windows[w], cover) for w in picked]
        # a thing longer than a window, or one that lies now in this window, now in the next
        joined, count = scipy.ndimage.label(np.any(windows[:squares][z[:squares, column] >= STRONG], axis=0))
        for piece in (joined == number for number in range(1, count + 1)):
            every.append(places_of.candidate(place_in_words(piece), piece, cover))
        every.append(at_varying_places(samples, column, roaming))
    return every, {"forward_passes": min(settings.screened, len(rows)) * len(windows), "windows": len(windows)}


def test_exchanges(search: Search, rows: Rows, every: list[Candidate]) -> tuple[list[Tested], int]:
    """The association of what each candidate's exchange is worth with its class, all corrected together.

    Args:
        search: of which they are candidates.
        rows: images that they were not found on.
        every: the candidates.

    Returns:
        The tests, and how many forward passes they took.
    """
    samples, settings = search.samples, search.settings
    exchanges = {id(exchange): exchange for one in every for exchange in one.exchanges}
    passes = min(settings.tested, len(rows)) * len(exchanges)
    with progress_context("test them", passes):
        donors, worth = _worth_of_exchanges(search, rows, every, exchanges)
    columns = np.array([one.column for one in every])
    result = associations(
        worth,
        samples.labels[donors],
        columns,
        samples.patients[donors],
        permutations=settings.permutations,
        seed=settings.seed + 3,
    )
    shares = result.difference / samples.gaps[columns]
    on_all = np.full((len(samples), len(every)), np.nan)
    on_all[donors] = worth
    return [
        Tested(
            one,
            float(shares[i]),
            float(result.z[i]),
            float(result.p[i]),
            float(result.p_corrected[i]),
            donors,
            on_all[:, i],
        )
        for i, one in enumerate(every)
    ], passes


def _worth_of_exchanges(
    search: Search, rows: Rows, every: list[Candidate], exchanges: dict[int, Exchange]
) -> tuple[Rows, FloatArray]:
    """The images that give, of `rows` (D,), and what each candidate's exchange is worth (D, T)."""
    samples, settings = search.samples, search.settings
    rng = np.random.default_rng(settings.seed + 2)
    donors = samples.balanced(rows, settings.tested, rng)
    pairs = Pairs.of(donors, rng.choice(rows, min(settings.recipients, len(rows)), replace=False), rng)
    effects = pairs.centred(search.odds("tests", pairs, list(exchanges.values())))
    number = {one: place for place, one in enumerate(exchanges)}
    worth = np.empty((len(donors), len(every)))
    for i, one in enumerate(every):
        own = effects[:, [number[id(exchange)] for exchange in one.exchanges], one.column]
        worth[:, i] = own[:, 0]
        if one.squares is not None:
            own = beside(own, overall_level(samples, one.column)[donors])
            worth[:, i] = strongest(own, one.squares.free_of_marks(samples, one.column)[donors])[0]
        if one.takes_part is not None:
            worth[~one.takes_part[donors], i] = np.nan
    return donors, worth


def distinct(tested: list[Tested], samples: Samples, settings: DiscoverySettings) -> list[Tested]:
    """Of those that pass the test, each thing once, the largest share first.

    Those that a feature stands for come before the others, since it is told more surely which images have them. Of each
    thing it is the one with the largest effect, unless others that are told in the same way, and are as small or
    smaller, have it too: of these the smallest, and of the smallest the surest. What a candidate adds to another one of
    the same class is what is left of its worth once the other's is taken out of it by regression.
    """
    passed = [t for t in tested if t.p_corrected <= settings.alpha and t.share >= settings.least]
    passed.sort(key=lambda t: (t.carrier is None, -t.share))
    picked: list[Tested] = []
    while passed:
        first = passed.pop(0)
        related = [t for t in passed if t.candidate.column == first.candidate.column and not _adds(t, first, samples)]
        alike = [t for t in related if (t.carrier is None) == (first.carrier is None)]
        as_good = [t for t in alike if t.share >= SAME * first.share and _size(t) <= _size(first)]
        picked.append(min([first, *as_good], key=lambda t: (_size(t), -t.z)))
        passed = [t for t in passed if t not in related]
    return sorted(picked, key=lambda t: -t.share)


def _size(tested: Tested) -> int:
    one = tested.candidate
    return int(one.region.size if one.kind == "patch" else one.region.sum())


def _adds(one: Tested, other: Tested, samples: Samples) -> bool:
    both = np.stack([one.worth, other.worth])
    usable = np.flatnonzero(~np.isnan(both).any(0))
    if len(usable) < 3:
        return True
    own, their = (values[usable] - values[usable].mean() for values in both)
    rest = own - their * (own @ their / max(their @ their, ROUNDING))
    labels = samples.labels[usable, one.candidate.column]
    difference, z = (float(of[0]) for of in mean_differences(rest[:, None], labels[:, None]))
    return z > NOTHING_MORE and difference > LITTLE_MORE * float(mean_differences(own[:, None], labels[:, None])[0][0])
