"""What became of another discovery's suspects: each measured anew in the network of now, and what the change cost."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.evaluation.discovery.candidates import Candidate, Places, Squares, at_varying_places
from pellucid.evaluation.discovery.description import FEWEST, difference_of
from pellucid.evaluation.discovery.features import Features
from pellucid.evaluation.discovery.mediation import moves_further, swaps
from pellucid.evaluation.discovery.metadata import worth_of_column
from pellucid.evaluation.discovery.run import InOrder
from pellucid.evaluation.discovery.search import RESAMPLES, Search, test_exchanges
from pellucid.evaluation.discovery.shares import share_estimate, shares_by_feature, shares_of_worth
from pellucid.evaluation.metrics.classification import auroc
from pellucid.evaluation.metrics.paired_tests import holm
from pellucid.evaluation.metrics.statistics import Bootstrap, Estimate
from pellucid.utils.resources import finite
from pellucid.utils.words import figure_text, whole_percent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pellucid.evaluation.discovery.results import Discovery
    from pellucid.evaluation.discovery.samples import Rows, Samples
    from pellucid.evaluation.discovery.settings import DiscoverySettings
    from pellucid.evaluation.discovery.suspect import Suspect
    from pellucid.evaluation.metrics.bootstrap import FloatArray
    from pellucid.models.classifier import AnyClassifier
    from pellucid.utils.results_store import ResultsStore


def compare_discoveries(
    before: Discovery,
    model: AnyClassifier,
    samples: Samples,
    settings: DiscoverySettings,
    store: ResultsStore,
    key: Callable[[str], str],
    batch_size: int,
) -> dict[str, Any]:
    """What became of each suspect of before that nobody marked, and what that cost.

    What was exchanged to test a suspect then is exchanged again, as it was then, and the network of now answers. Where
    the images are those of before, the two shares and the two AUROCs are paired.

    Args:
        before: what was found in another network.
        model: the network of now.
        samples: images of the same dataset, of two classes as `two_classes` gives them.
        settings: of now: the corrected p value and the share from which on a suspect is reported.
        store: where what was measured is kept.
        key: the name under which a part is kept.
        batch_size: images at a time.

    Returns:
        Plain values: `before` (the model), `same_images`, `suspects` with a record each (`number`, `name`, `class`,
        `share_before`, `share_now`, `share_change`, `p`, `p_corrected`, `verdict`, and `auroc` on the images with the
        suspect and without it), and `auroc` of each class.
    """
    names = ("seed", "tested", "recipients", "cells")
    plan = replace(settings, **{name: before.settings[name] for name in names if name in before.settings})
    olds = before.unexpected
    first, second = samples.halves(plan.seed)
    bootstrap = Bootstrap(samples.patients.tolist(), RESAMPLES)
    search = Search(InOrder.of(model, samples.classes), samples, plan, store, key, batch_size)

    worths, reasons = _measured(olds, search, (first, second), bootstrap)
    places = sorted(worths)
    corrected = dict(zip(places, holm([worths[place].p for place in places]), strict=True))
    same = before.ids == samples.ids and before.odds is not None
    former = _odds_in_order(before, samples) if same else None
    records = []
    for place, old in enumerate(olds):
        share = change = _unknown(reasons.get(place, ""))
        share_before, p, of_sets = old.effects[0].share, math.nan, []
        if old.class_name in samples.classes:
            column = samples.classes.index(old.class_name)
            labels, odds = samples.labels[:, column], samples.odds[:, column]
            of_sets = [
                {"images": name} | _areas(former[:, column], odds, labels, np.flatnonzero(of), bootstrap)
                for name, of in (("with it", old.present), ("without it", ~old.present))
                if former is not None
            ]
        if place in worths:
            now = worths[place]
            p = now.p
            share = share_estimate(now.shares, now.n)
            change = _unknown("the images of before are others, or were drawn otherwise")
            earlier = now.in_another(old)
            if former is not None and earlier is not None:
                # by the same exchange as now
                shares = now.shares_of(earlier, labels, former[:, column], bootstrap)
                share_before = share_estimate(shares, now.n)
                change = share_estimate(now.shares - shares, now.n)
        records.append(
            {
                "number": old.number,
                "name": old.name,
                "class": old.class_name,
                "share_before": share_before.to_json(),
                "share_now": share.to_json(),
                "share_change": change.to_json(),
                "p": p,
                "p_corrected": corrected.get(place, math.nan),
                "verdict": _verdict(share_before, share, corrected.get(place, math.nan), settings),
                "auroc": of_sets,
            }
        )
    everything = np.arange(len(samples))
    areas = [] if former is None else [
        {"class": name} | _areas(former[:, k], samples.odds[:, k], samples.labels[:, k], everything, bootstrap)
        for k, name in enumerate(samples.classes)
        if not np.isnan(former[:, k]).all()
    ]  # fmt: skip
    plain: dict[str, Any] = finite(
        {"before": before.about["model"], "same_images": same, "suspects": records, "auroc": areas}
    )
    return plain


@dataclass(frozen=True, eq=False)
class Remeasured:
    """A suspect of before, measured in the network of now.

    Attributes:
        rows: (D,), the images that it was tested on.
        changes: (N,), what an exchange changed on each, NaN where none was made.
        shares: (1 + R,), as `shares_of_worth` gives them.
        n: images behind them.
        p: of the test alone.
        feature: (N,), what stands for it; None without one.
    """

    rows: Rows
    changes: FloatArray
    shares: FloatArray
    n: int
    p: float
    feature: FloatArray | None = None

    def shares_of(self, changes: FloatArray, labels: FloatArray, odds: FloatArray, bootstrap: Bootstrap) -> FloatArray:
        """Its shares (1 + R,) where the exchange moves the answers otherwise."""
        if self.feature is None:
            return shares_of_worth(changes, labels, odds, bootstrap)
        return shares_by_feature(self.feature, changes, labels, odds, bootstrap)

    def in_another(self, old: Suspect) -> FloatArray | None:
        """What the same exchanges changed (N,) in the network of before; None where others were made."""
        if old.tested_rows is None or old.tested_worth is None or not np.array_equal(old.tested_rows, self.rows):
            return None
        changes = np.full(len(self.changes), math.nan)
        changes[self.rows] = old.tested_worth
        return changes if np.array_equal(np.isnan(changes), np.isnan(self.changes)) else None


def _measured(
    olds: Sequence[Suspect], search: Search, halves: tuple[Rows, Rows], bootstrap: Bootstrap
) -> tuple[dict[int, Remeasured], dict[int, str]]:
    """By a suspect's place in the list what it is now, or why that cannot be told."""
    samples, plan = search.samples, search.settings
    measured: dict[int, Remeasured] = {}
    reasons: dict[int, str] = {}
    every: dict[int, Candidate] = {}
    carried: dict[int, int] = {}

    def keep(place: int, column: int, worth: FloatArray, rows: Rows, p: float) -> None:
        shares = shares_of_worth(worth, samples.labels[:, column], samples.odds[:, column], bootstrap)
        n = int((~np.isnan(worth) & ~np.isnan(samples.labels[:, column])).sum())
        measured[place] = Remeasured(rows, worth, shares, n, p)

    for place, old in enumerate(olds):
        reason = _cannot_be_told(old, samples)
        if reason is not None:
            reasons[place] = reason
            continue
        column = samples.classes.index(old.class_name)
        if old.kind == "metadata":
            worth, p = worth_of_column(samples, str(old.details["column"]), column, *halves, plan)
            rows = halves[1]
            keep(place, column, np.where(np.isin(np.arange(len(samples)), rows), worth, math.nan), rows, p)
        elif "feature" in old.details:
            carried[place] = column
        else:
            every[place] = _candidate(old, samples, column, plan.cells)
    if every:
        tested, _ = test_exchanges(search, halves[1], list(every.values()))
        for place, one in zip(every, tested, strict=True):
            keep(place, one.candidate.column, one.worth, one.rows, one.p)
    if carried:
        table = Features(samples, plan.cells)
        features = [table.of_suspect(olds[place], column) for place, column in carried.items()]
        swapped = swaps(search, table, features, [int(olds[place].details["passes"]) for place in carried], 1)
        further = moves_further(search, swapped)
        for i, (place, column) in enumerate(carried.items()):
            carrier = swapped.carriers[i]
            if carrier is None:
                reasons[place] = "too few of these images have it, or lack it"
            else:
                rows = np.flatnonzero(~np.isnan(carrier.effect))
                shares = carrier.shares(samples.labels[:, column], samples.odds[:, column], bootstrap)
                p = float(further.p[i])
                measured[place] = Remeasured(rows, carrier.effect, shares, len(rows), p, carrier.values)
    return measured, reasons


def _cannot_be_told(old: Suspect, samples: Samples) -> str | None:
    if old.class_name not in samples.classes:
        return f"this network has no class {old.class_name}"
    if old.kind == "metadata":
        name = str(old.details["column"])
        return None if name in samples.columns else f"these images have no column {name}"
    if old.region.shape != samples.frame:
        sizes = [" × ".join(map(str, size)) for size in (old.region.shape, samples.frame)]
        return f"it was found at {sizes[0]} pixels, and this network takes {sizes[1]}"
    return None


def _candidate(old: Suspect, samples: Samples, column: int, cells: int) -> Candidate:
    """What was exchanged to test a suspect."""
    if old.kind == "patch":
        return at_varying_places(samples, column, Squares.over(samples.frame, cells))
    mask = old.region if old.window is None else old.window
    places = Places(samples, column)
    return places.candidate(old.name, mask, places.cover(np.arange(len(samples))))


def _odds_in_order(before: Discovery, samples: Samples) -> FloatArray:
    """The log-odds of before, (N, K) of the classes of now; NaN of a class that it did not have."""
    assert before.odds is not None
    odds = np.full(samples.odds.shape, math.nan)
    for column, name in enumerate(samples.classes):
        if name in before.classes:
            odds[:, column] = before.odds[:, before.classes.index(name)]
    return odds


def _areas(former: FloatArray, now: FloatArray, labels: FloatArray, rows: Rows, bootstrap: Bootstrap) -> dict[str, Any]:
    """AUROC of one class before and now on the same images, and the paired difference."""
    counts = [int((labels[rows] == value).sum()) for value in (1, 0)]
    if min(counts) < FEWEST:
        few = f"{counts[0]} positives and {counts[1]} negatives, and {FEWEST} of each are needed"
        return dict.fromkeys(("before", "now", "change"), _unknown(few, len(rows)).to_json())
    draws = bootstrap.take(rows)
    one, other = (auroc(odds[rows], labels[rows], draws) for odds in (former, now))
    return {"before": one.estimate().to_json(), "now": other.estimate().to_json()} | {
        "change": difference_of(other, one, len(rows))[0].to_json()
    }


def _verdict(then: Estimate, now: Estimate, p_corrected: float, settings: DiscoverySettings) -> str:
    if math.isnan(now.value):
        return f"not told: {now.reason}"
    least = whole_percent(settings.least)
    bars = [settings.least]
    shares = f"its share was {_percent(then, bars)} and is {_percent(now, bars)}"
    if now.high < -settings.least:
        return f"turned: {shares}, so that it now speaks against the class"
    if now.high < settings.least:
        return f"no longer found: {shares}, below the {least} from which on a suspect is reported"
    if now.value >= settings.least and p_corrected <= settings.alpha:
        return f"still there: {shares}"
    return f"not told: {shares}, which neither lies below {least} nor is shown to be there"


def _percent(share: Estimate, bars: Sequence[float]) -> str:
    if math.isnan(share.value):
        return "unknown"
    return figure_text(share.value, share.low, share.high, whole_percent, bars)


def _unknown(reason: str, n: int = 0) -> Estimate:
    return Estimate(math.nan, math.nan, math.nan, n, reason)
