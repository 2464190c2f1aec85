"""Candidates are found on one half of the images and tested on the other; what is the same thing is told once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy  # its parts load when they are used

from pellucid.evaluation.discovery.candidates import (
    Candidate,
    Squares,
    at_varying_places,
    best_windows,
    places,
    strongest,
    whole_images,
)
from pellucid.evaluation.discovery.exchange import Pairs, Window, exchanged_log_odds
from pellucid.evaluation.discovery.inference import associations, mean_differences
from pellucid.evaluation.discovery.windows import all_windows, place_in_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from pellucid.evaluation.discovery.samples import Masks, Rows, Samples
    from pellucid.evaluation.discovery.settings import DiscoverySettings
    from pellucid.evaluation.metrics.bootstrap import FloatArray
    from pellucid.models.classifier import AnyClassifier
    from pellucid.utils.results_store import ResultsStore

SAME = 0.85
"""A smaller window that holds this share of a larger one's effect is taken instead of it."""
NOTHING_MORE = 2.5
"""z of what a candidate adds to a stronger one, up to which it is the same thing."""
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
        worth: (D,), what each was worth to the class, centred; NaN where it took no part.
    """

    candidate: Candidate
    share: float
    z: float
    p: float
    p_corrected: float
    donors: Rows
    worth: FloatArray


def candidates(
    model: AnyClassifier,
    samples: Samples,
    rows: Rows,
    columns: Rows,
    settings: DiscoverySettings,
    store: ResultsStore,
    key: Callable[[str], str],
    batch_size: int,
) -> tuple[list[Candidate], dict[str, int]]:
    """What may be a suspect, found on the images `rows`, and what that cost."""
    windows, names, squares = all_windows(*samples.frame, settings.cells)

    def screen() -> dict[str, Any]:
        return {"z": places(model, samples, rows, columns, windows, settings, batch_size)}

    z = store.measured(key("places"), screen)["z"]
    roaming = Squares.over(samples.frame, settings.cells)
    # the exchange of a place serves every class that is tested by it
    exchanges: dict[bytes, Window] = {}

    def at(name: str, column: int, mask: Masks) -> Candidate:
        return Candidate.place(name, column, exchanges.setdefault(mask.tobytes(), Window.fixed(mask)), mask)

    every: list[Candidate] = []
    for column in map(int, columns):
        for group in (np.arange(squares), np.arange(squares, len(windows))):
            count = settings.per_class if len(group) == squares else 1
            best = group[best_windows(z[group, column], windows[group], count)]
            every += [at(names[window], column, windows[window]) for window in best]
        # a thing longer than a window, or one that lies now in this window, now in the next
        joined, count = scipy.ndimage.label(np.any(windows[:squares][z[:squares, column] >= STRONG], axis=0))
        pieces = [joined == number for number in range(1, count + 1)]
        every += [at(place_in_words(piece), column, piece) for piece in pieces]
        every.append(at_varying_places(samples, column, roaming))
        every += whole_images(samples, column)
    return every, {"forward_passes": min(settings.screened, len(rows)) * len(windows), "windows": len(windows)}


def test_candidates(
    model: AnyClassifier,
    samples: Samples,
    rows: Rows,
    every: list[Candidate],
    settings: DiscoverySettings,
    store: ResultsStore,
    key: Callable[[str], str],
    batch_size: int,
) -> list[Tested]:
    """Each candidate's association with its class, on images that it was not found on, all corrected together."""
    rng = np.random.default_rng(settings.seed + 2)
    donors = samples.balanced(rows, settings.tested, rng)
    pairs = Pairs.of(donors, rng.choice(rows, min(settings.recipients, len(rows)), replace=False), rng)
    exchanges = {id(exchange): exchange for one in every for exchange in one.exchanges}
    number = {name: place for place, name in enumerate(exchanges)}

    def measure() -> dict[str, Any]:
        picked = list(exchanges.values())
        return {"odds": exchanged_log_odds(model, samples.pixels, pairs, picked, samples.task, batch_size=batch_size)}

    effects = pairs.centred(store.measured(key("tests"), measure)["odds"])
    worth = np.empty((len(donors), len(every)))
    for i, one in enumerate(every):
        own = effects[:, [number[id(exchange)] for exchange in one.exchanges], one.column]
        worth[:, i] = own[:, 0]
        if one.squares is not None:
            worth[:, i] = strongest(own, one.squares.free_of_marks(samples, one.column)[donors])[0]
    fixed = [i for i, one in enumerate(every) if one.kind == "place"]
    touched = samples.marks.touched(np.stack([every[i].region for i in fixed]), samples.labels) if fixed else None
    for place, i in enumerate(fixed):
        assert touched is not None
        worth[touched[donors, place, every[i].column], i] = np.nan
    labels = samples.labels[donors][:, [one.column for one in every]]
    result = associations(
        worth, labels, samples.patients[donors], permutations=settings.permutations, seed=settings.seed + 3
    )
    shares = result.difference / samples.gaps[[one.column for one in every]]
    return [
        Tested(
            one,
            float(shares[i]),
            float(result.z[i]),
            float(result.p[i]),
            float(result.p_corrected[i]),
            donors,
            worth[:, i],
        )
        for i, one in enumerate(every)
    ]


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
