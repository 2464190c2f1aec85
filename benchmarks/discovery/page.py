"""The page of results, from the files that the networks left."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import binom, binomtest

from discovery.networks import GOES_BY, LEAVES, PAIRS, TEST, TRAIN
from discovery.retraining import summary
from pellucid.data.readers.phantom.shortcuts import KINDS, WITH_REGION
from pellucid.utils.resources import whole_file
from pellucid.utils.words import figure_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

TELLS = 0.8  # AUROC of telling the images with the shortcut, from which on a suspect is the shortcut
TWO_PLACES = "{:.2f}".format
FIRST = 2  # places of the list that count
NAMES = {"discover": "`discover`", "spray": "SpRAy"}
RUNS, REGION = (60, 20), 0.5  # networks that the targets ask for without a shortcut, and of each kind

Record = dict[str, Any]


def share(hits: int, n: int) -> str:
    """A share with its exact 95 % interval (Clopper & Pearson 1934); nothing of nothing."""
    if n == 0:
        return "– (0 networks)"
    low, high = binomtest(hits, n).proportion_ci(0.95, "exact")
    return f"{figure_text(hits / n, low, high, TWO_PLACES)} ({hits} of {n})"


def matches(record: Record, method: str, kind: str) -> list[Record]:
    """Of the first suspects, those that are the shortcut: of its finding, and on the images that have it."""
    finding = next(plant["finding"] for plant in record["plants"] if plant["kind"] == kind)
    first = record[method]["suspects"][:FIRST]
    return [s for s in first if s["class"] == finding and (s[kind]["tells"] or 0) >= TELLS]


def used(records: Iterable[Record], kind: str, group: str | None = None) -> list[Record]:
    """The networks that go by a shortcut of a kind."""
    return [
        r
        for r in records
        if r["use"].get(kind, {}).get("verdict") == "goes by it" and (group is None or r["group"] == group)
    ]


def unused(records: Iterable[Record]) -> list[Record]:
    """The networks without a shortcut: none was there, or all that were there they leave."""
    return [r for r in records if all(use["verdict"] == "leaves it" for use in r["use"].values())]


def power_row(records: Sequence[Record], kinds: Sequence[str], method: str, group: str | None = None) -> str:
    """The share of pairs of a network and a kind that it goes by, where the kind is among the first suspects."""
    pairs = [(r, kind) for kind in kinds for r in used(records, kind, group) if method in r]
    return share(sum(bool(matches(r, method, kind)) for r, kind in pairs), len(pairs))


def overlaps(records: Sequence[Record], kinds: Sequence[str], method: str) -> str:
    """The median overlap of the suspects that are the shortcut, with the interval of its order statistics."""
    first = [(matches(r, method, kind), kind) for kind in kinds for r in used(records, kind) if method in r]
    values = np.sort([one[0][kind]["iou"] for one, kind in first if one])
    n = len(values)
    if n < 6:  # of fewer no two values hold the median between them with 95 %
        return f"{np.median(values):.2f} (n = {n}: too few for an interval)" if n else "– (n = 0)"
    rank = int(binom.ppf(0.025, n, 0.5))
    return f"{figure_text(np.median(values), values[rank - 1], values[n - rank], TWO_PLACES)} (n = {n})"


def page(records: Sequence[Record]) -> str:
    """All of it as Markdown."""
    methods = [method for method in NAMES if any(method in r for r in records)]
    head = " | ".join(NAMES[m] for m in methods)
    rule = "---|" * len(methods)
    invisible = [kind for kind in KINDS if kind not in WITH_REGION]
    verdicts = [use["verdict"] for r in records for use in r["use"].values()]
    quiet = unused(records)
    lines = [
        "# Does `discover` find a planted shortcut?",
        "",
        "Written by `python -m discovery --page` in [benchmarks](../discovery/__main__.py) from the files in "
        "[discovery](discovery), one for each network; not to be changed by hand.",
        "",
        f"{len(records)} small networks, each trained on {TRAIN:,} drawn radiographs of 64 × 64 and looked at on "
        f"{TEST} others, of {_seeds(records)}; no setting was chosen on any of them.",
        "",
        f"Whether a network goes by its shortcut is measured on {PAIRS} drawings with it and without it. It *goes by "
        f"it* where the 95 % interval of the rise of the finding's logit is above {GOES_BY:g} of the distance between "
        f"images with the finding and without, and *leaves it* where the interval lies within ± {LEAVES:g}; the others "
        "are between and count nowhere.",
        "",
        f"Shortcuts on the images looked at: {len(verdicts)}. Networks go by {verdicts.count('goes by it')}, leave "
        f"{verdicts.count('leaves it')}, and {verdicts.count('between')} are between.",
        "",
        "A suspect is the shortcut where it is of the shortcut's finding and tells the images that have it from the "
        f"others at an AUROC of at least {TELLS:g} (of SpRAy, a cluster among the images of the class). It counts as "
        "found as first or second suspect; of `discover`, of those that nobody marked. Shares have exact 95 % "
        "intervals.",
        "",
        f"| found by | {head} |",
        f"|---|{rule}",
    ]
    groups = [("kinds that a map can show", WITH_REGION), ("the others", invisible)]
    rows = [(f"**{name}**", kinds, None) for name, kinds in groups]
    rows += [(f"`{kind}`", (kind,), None) for kind in KINDS]
    rows += [("of two at a time", KINDS, "two")]
    for name, kinds, group in rows:
        lines.append(f"| {name} | {' | '.join(power_row(records, kinds, m, group) for m in methods)} |")
    alarms = [share(sum(r[m]["count"] > 0 for r in quiet if m in r), sum(m in r for r in quiet)) for m in methods]
    lines += [
        "",
        f"| without a shortcut | {head} |",
        f"|---|{rule}",
        f"| networks with any suspect | {' | '.join(alarms)} |",
        "",
        "SpRAy knows of no marks: the two sides on which a finding may lie are clusters to it, and are counted as "
        "suspects here.",
        "",
        f"| region against all that the shortcut covers, median IoU | {head} |",
        f"|---|{rule}",
        f"| kinds that a map can show | {' | '.join(overlaps(records, WITH_REGION, m) for m in methods)} |",
        *(f"| `{kind}` | {' | '.join(overlaps(records, (kind,), m) for m in methods)} |" for kind in WITH_REGION),
        "",
        *_retrained(records),
        "## What is missing",
        "",
        *_missing(records, quiet),
        "",
    ]
    return "\n".join(lines)


def _seeds(records: Sequence[Record]) -> str:
    seeds = sorted({r["seed"] for r in records})
    return f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"


def _retrained(records: Sequence[Record]) -> list[str]:
    if not any("retraining" in r for r in records):
        return []
    return [
        "## With the suspect taken away",
        "",
        "Networks that go by a shortcut which is among the first suspects and lies at a place, trained further with it "
        "marked once (`pellucid train annotated --suspects`). The gap is that between the finding's AUROC on the test "
        "images where the shortcut tells and where it lies by lot, summed over networks; intervals are bootstrapped "
        "over them.",
        "",
        "| shortcut | share of the gap closed | change of AUROC, other findings | the finding, by lot | networks |",
        "|---|---|---|---|---|",
        f"| **kinds that a map can show** | {summary(records, WITH_REGION)} |",
        *(f"| `{kind}` | {summary(records, (kind,))} |" for kind in WITH_REGION),
        "",
    ]


def _missing(records: Sequence[Record], quiet: Sequence[Record]) -> list[str]:
    lines = [
        f"- {name} was not run on {gap} of the networks."
        for method, name in NAMES.items()
        if (gap := sum(method not in r for r in records))
    ]
    if len(quiet) < RUNS[0]:
        lines.append(f"- Networks without a shortcut: {len(quiet)}; a rate of .05 is told from .14 with {RUNS[0]}.")
    few = [f"`{kind}` {len(used(records, kind))}" for kind in KINDS if len(used(records, kind)) < RUNS[1]]
    if few:
        lines.append(f"- Networks that go by a kind, of the {RUNS[1]} that were aimed at: {', '.join(few)}.")
    if not any("retraining" in r for r in records):
        lines.append("- No network was trained further with its suspect marked.")
    return lines


def write_page(results: Path, path: Path) -> None:
    """Read the networks' files and write the page."""
    records = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(results.glob("*.json"))]
    if not records:
        raise SystemExit(f"{results} holds no results: run the grid first.")
    with whole_file(path) as temporary:
        temporary.write_text(page(records), encoding="utf-8")
    print(f"wrote {path}")
