"""What is measured of a suspect once it passed its test, by further exchanges."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pellucid.evaluation.discovery.candidates import Boxes, beside, overall_level, strongest
from pellucid.evaluation.discovery.content.presence import otsu
from pellucid.evaluation.discovery.content.whole_image import can_be_undone
from pellucid.evaluation.discovery.exchange import Pairs, Window, exchanged_log_odds

if TYPE_CHECKING:
    import numpy.typing as npt

    from pellucid.evaluation.discovery.candidates import Candidate
    from pellucid.evaluation.discovery.samples import Rows, Samples
    from pellucid.evaluation.discovery.search import Tested
    from pellucid.evaluation.metrics.bootstrap import FloatArray
    from pellucid.models.classifier import AnyClassifier

EXCHANGED = 60
"""Images that a suspect is taken away from, and put into, at most."""
NEUTRALISED = 300
"""Images whose suspect is exchanged at random, at most."""


def worth_of_images(
    model: AnyClassifier, samples: Samples, candidate: Candidate, pairs: Pairs, batch_size: int
) -> dict[str, npt.NDArray[np.float64]]:
    """What a candidate is worth to its class on each donor, and where it lies if it lies at varying places.

    Returns:
        `worth` (D,), NaN where it takes no part, and of what lies at varying places `rectangles` (D, 4) of its `Boxes`.
    """
    odds = exchanged_log_odds(model, samples.pixels, pairs, candidate.exchanges, samples.task, batch_size=batch_size)
    effects = pairs.centred(odds[..., candidate.column])
    if candidate.squares is None:
        takes_part = np.ones(len(samples), bool) if candidate.takes_part is None else candidate.takes_part
        return {"worth": np.where(takes_part[pairs.donors], effects[:, 0], np.nan)}
    effects = beside(effects, overall_level(samples, candidate.column)[pairs.donors])
    worth, best = strongest(effects, candidate.squares.free_of_marks(samples, candidate.column)[pairs.donors])
    return {"worth": worth, "rectangles": candidate.squares.boxes(best).rectangles.astype(np.float64)}


def measure_suspect(
    model: AnyClassifier, samples: Samples, tested: Tested, rows: Rows, seed: int, batch_size: int
) -> dict[str, npt.NDArray[np.float64]]:
    """What is measured of one candidate, by exchanges between the images `rows` that it was tested on.

    Returns:
        `worth` (N,) of all images, from the feature that stands for it where there is one, and of what lies at varying
        places `rectangles` (N, 4); `taken_rows`, `taken` (n, K) and `put_rows`, `put` (n, K), changes of the log-odds;
        `neutral_rows` and `neutral` (n, K), the log-odds of images that have what some other image has. Of what cannot
        be undone n is 0 of `taken` and of `neutral`.
    """
    rng = np.random.default_rng(seed)
    candidate = tested.candidate
    if tested.carrier is None:
        pairs = Pairs.of(np.arange(len(samples)), rng.choice(rows, min(8, len(rows)), replace=False), rng)
        arrays = worth_of_images(model, samples, candidate, pairs, batch_size)
    else:
        arrays = {"worth": tested.worth}
        if candidate.boxes is not None:
            arrays["rectangles"] = candidate.boxes.rectangles.astype(np.float64)
    exchange = candidate.exchanges[0]
    if candidate.squares is not None:
        exchange = Window(Boxes(arrays["rectangles"].astype(np.int64), samples.frame).masks)
    taking = replace(exchange, of_recipient=True) if isinstance(exchange, Window) else exchange

    def odds(pairs: Pairs, take: bool = False) -> FloatArray:
        way = [taking if take else exchange]
        return exchanged_log_odds(model, samples.pixels, pairs, way, samples.task, batch_size=batch_size)[:, 0]

    present = arrays["worth"] > otsu(arrays["worth"])
    absent = ~present & ~np.isnan(arrays["worth"])
    have, lack = rows[present[rows]], rows[absent[rows]]
    is_undone = can_be_undone(exchange)
    for name, onto, of, take in (("taken", have, lack, True), ("put", lack, have, False)):
        count = min(EXCHANGED, len(onto)) if len(of) and (is_undone or not take) else 0
        picked = rng.choice(onto, count, replace=False) if count else np.array([], np.int64)
        donors = rng.choice(of, count) if count else picked
        arrays[f"{name}_rows"] = picked.astype(np.float64)
        change = (
            odds(Pairs(donors, picked), take) - samples.odds[picked] if count else np.zeros((0, len(samples.classes)))
        )
        arrays[name] = change
    picked = rows_to_judge(samples.labels[:, candidate.column], rows if is_undone else rows[:0], rng)
    arrays["neutral_rows"] = picked.astype(np.float64)
    nothing = np.zeros((0, len(samples.classes)))
    arrays["neutral"] = odds(Pairs(np.roll(picked, 1), picked), take=True) if len(picked) else nothing
    return arrays


def rows_to_judge(labels: FloatArray, rows: Rows, rng: np.random.Generator) -> Rows:
    """Of the rows whose label is known at most `NEUTRALISED` in random order, with positives and negatives up to half.

    Args:
        labels: (N,), 0 or 1, NaN where unknown.
        rows: of these.
        rng: of the draw.
    """
    groups = [rng.permutation(rows[labels[rows] == value]) for value in (1, 0)]
    half = NEUTRALISED // 2
    counts = [min(len(own), max(half, NEUTRALISED - len(other))) for own, other in (groups, groups[::-1])]
    return rng.permutation(np.concatenate([group[:count] for group, count in zip(groups, counts, strict=True)]))
