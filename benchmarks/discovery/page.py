"""The page of results, from the files that the networks left."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from discovery.grid import JUDGING, PREVALENCES, STRENGTHS
from discovery.intervals import FEWEST, figure_by_seeds, share_text
from discovery.networks import GOES_BY, LEAVES, PAIRS, TEST, TRAIN
from discovery.retraining import MOST_LOST, summary
from discovery.scoring import DENSER, TELLS, is_shortcut
from discovery.scoring import FEWEST as FEWEST_IMAGES
from discovery.spray import LEVEL
from pellucid.data.readers.phantom.shortcuts import KINDS, WITH_REGION
from pellucid.utils.resources import whole_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

FIRST = 2  # places of the list that count
UNMARKED = "discover-unmarked"
RUNS, REGION = (60, 20), 0.5  # networks that the targets ask for without a shortcut, and of each kind

Record = dict[str, Any]


def plant_of(record: Record, kind: str) -> Record:
    """The plant of a kind."""
    return next(plant for plant in record["plants"] if plant["kind"] == kind)


def matches(record: Record, method: str, kind: str) -> list[Record]:
    """Of the first suspects, those that are the shortcut.

    Of `discover` the first two of its list, and the shortcut's finding is the class they move; of SpRAy, which has no
    list over classes, the first two clusters of the finding's class.
    """
    finding, suspects = plant_of(record, kind)["finding"], record[method]["suspects"]
    if method == "spray":
        suspects = [s for s in suspects if s["class"] == finding]
    return [s for s in suspects[:FIRST] if s["class"] == finding and is_shortcut(s[kind], kind)]


def matches_anywhere(record: Record, method: str, kind: str) -> list[Record]:
    """Of all suspects, of whatever class, those that are the shortcut."""
    return [s for s in record[method]["suspects"] if is_shortcut(s[kind], kind)]


# What a column counts: its name, the method, and which suspects a person would look at
READINGS: tuple[tuple[str, str, Callable[[Record, str, str], list[Record]]], ...] = (
    ("`discover`, first two", "discover", matches),
    ("SpRAy, first two of the finding", "spray", matches),
    ("`discover`, all suspects", "discover", matches_anywhere),
    ("SpRAy, all clusters", "spray", matches_anywhere),
)


def with_verdict(records: Iterable[Record], kind: str, verdict: str = "goes by it") -> list[Record]:
    """The networks whose use of a kind is as a verdict says."""
    return [r for r in records if r["use"].get(kind, {}).get("verdict") == verdict]


def unused(records: Iterable[Record]) -> list[Record]:
    """The networks without a shortcut: none was there, or all that were there they leave."""
    return [r for r in records if all(use["verdict"] == "leaves it" for use in r["use"].values())]


Pair = tuple[Record, str]


def pairs_of(records: Sequence[Record], kinds: Sequence[str], verdict: str = "goes by it") -> list[Pair]:
    """The pairs of a network and a kind that it goes by."""
    return [(r, kind) for kind in kinds for r in with_verdict(records, kind, verdict)]


def power_row(name: str, pairs: Sequence[Pair], readings: Sequence[Any]) -> str:
    """A line of the table: of pairs of a network and a kind, the share in which the kind is among the suspects."""
    cells = []
    for _, method, suspects_of in readings:
        own = [(r, kind) for r, kind in pairs if method in r]
        cells.append(share_text([bool(suspects_of(r, method, kind)) for r, kind in own], [r["seed"] for r, _ in own]))
    return f"| {name} | {' | '.join(cells)} |"


def power_table(records: Sequence[Record], readings: Sequence[Any]) -> list[str]:
    """How often a planted shortcut is found: by kind, by prevalence, by association, and what is between."""
    invisible = [kind for kind in KINDS if kind not in WITH_REGION]
    every = pairs_of(records, KINDS)
    rows = [("**kinds that a map can show**", pairs_of(records, WITH_REGION))]
    rows += [("**the others**", pairs_of(records, invisible))]
    rows += [(f"`{kind}`", pairs_of(records, (kind,))) for kind in KINDS]
    rows += [("one shortcut", [(r, k) for r, k in every if r["group"] == "one"])]
    rows += [("of two at a time", [(r, k) for r, k in every if r["group"] == "two"])]
    for prevalence in PREVALENCES:
        rows.append((f"findings on {prevalence:.0%}", [(r, k) for r, k in every if r["prevalence"] == prevalence]))
    for strength, elsewhere in STRENGTHS:
        own = [
            (r, k)
            for r, k in every
            if (plant_of(r, k)["strength"], plant_of(r, k)["elsewhere"]) == (strength, elsewhere)
        ]
        rows.append((f"on {strength:.0%} of the finding's images and {elsewhere:.0%} of the others", own))
    rows.append(("*between: neither goes by it nor leaves it*", pairs_of(records, KINDS, "between")))
    head = " | ".join(name for name, _, _ in readings)
    lines = [f"| found by | {head} |", f"|---|{'---|' * len(readings)}"]
    return lines + [power_row(name, pairs, readings) for name, pairs in rows]


def alarm(record: Record, method: str) -> bool:
    """Whether a method reports anything of a network."""
    if method == "spray":
        return any(suspect["p"] <= LEVEL for suspect in record[method]["suspects"])
    return bool(record[method]["count"] > 0)


def further(record: Record, method: str) -> bool:
    """Whether it reports anything that is no planted shortcut, beside what is."""
    others = [s for s in record[method]["suspects"] if not any(is_shortcut(s[k], k) for k in record["use"])]
    if method == "spray":
        others = [s for s in others if s["p"] <= LEVEL]
    return bool(others)


def alarm_table(records: Sequence[Record], methods: Sequence[tuple[str, str]]) -> list[str]:
    """How often anything is reported that is no planted shortcut."""
    quiet = unused(records)
    by_lot = [r for r in quiet if r["group"] == "unused"]
    associated = [r for r in quiet if r["group"] in ("one", "two")]
    rows: list[tuple[str, list[Record], Callable[[Record, str], bool]]] = [
        ("**any suspect, no shortcut or none used**", quiet, alarm),
        ("any suspect, no shortcut on the images", [r for r in quiet if r["group"] == "none"], alarm),
        ("any suspect, it lay there by lot in training and is left", by_lot, alarm),
        ("any suspect, it went with its finding and is left", associated, alarm),
        ("one that is no shortcut, beside a shortcut that is used", [r for r in records if _uses_all(r)], further),
    ]
    lines = [f"| networks with | {' | '.join(name for name, _ in methods)} |", f"|---|{'---|' * len(methods)}"]
    for name, own, count in rows:
        cells = []
        for _, method in methods:
            looked_at = [r for r in own if method in r]
            cells.append(share_text([count(r, method) for r in looked_at], [r["seed"] for r in looked_at]))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _uses_all(record: Record) -> bool:
    return bool(record["use"]) and all(use["verdict"] == "goes by it" for use in record["use"].values())


OVERLAPS = {
    "marked": "marked, image by image",
    "region": "pixels, image by image",
    "marked_union": "marked, all images",
    "region_union": "pixels, all images",
}


def overlap_table(records: Sequence[Record], method: str, names: Sequence[str], *, missed: bool) -> list[str]:
    """The median overlap of a method's suspects with what was planted.

    Args:
        records: all.
        method: whose suspects.
        names: of `OVERLAPS`.
        missed: whether a network of which the shortcut was not found counts, with 0.
    """
    lines = [f"| shortcut | {' | '.join(OVERLAPS[name] for name in names)} |", f"|---|{'---|' * len(names)}"]
    for title, kinds in [("**kinds that a map can show**", WITH_REGION), *((f"`{k}`", (k,)) for k in WITH_REGION)]:
        of = [(r, matches(r, method, k), k) for r, k in pairs_of(records, kinds) if method in r]
        of = [one for one in of if one[1] or missed]
        cells = []
        for name in names:
            values = np.array([own[0][k]["iou"][name] if own else 0.0 for _, own, k in of])
            cells.append(figure_by_seeds(values, [r["seed"] for r, _, _ in of], lambda v: float(np.median(v))))
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines


def page(records: Sequence[Record]) -> str:
    """All of it as Markdown."""
    verdicts = [use["verdict"] for r in records for use in r["use"].values()]
    readings = [reading for reading in READINGS if any(reading[1] in r for r in records)]
    unmarked = [r for r in records if UNMARKED in r]
    methods = [("`discover`", "discover"), ("SpRAy, classes with a gap beyond chance", "spray")]
    methods = [(name, method) for name, method in methods if any(method in r for r in records)]
    clusters = [len(r["spray"]["suspects"]) for r in records if "spray" in r]
    lines = [
        "# Does `discover` find a planted shortcut?",
        "",
        "Written by `python -m discovery --page` in [benchmarks](../discovery/__main__.py) from the files in "
        "[discovery](discovery), one for each network; not to be changed by hand.",
        "",
        f"{len(records)} small networks, each trained on {TRAIN:,} drawn radiographs of 64 × 64 and looked at on "
        f"{TEST} others, of {_seeds(records)}.{_judged(records)}",
        "",
        f"Whether a network goes by its shortcut is measured on {PAIRS} drawings with it and without it. It *goes by "
        f"it* where the 95 % interval of the rise of the finding's logit is above {GOES_BY:g} of the distance between "
        f"images with the finding and without. It *leaves it* where that interval lies within ± {LEAVES:g}, and where "
        "of every other class's distance no more than that can go through it (the rise times how much more often the "
        "class's images have it than the others). What is neither is between, and has a row of its own.",
        "",
        f"Shortcuts on the images looked at: {len(verdicts)}. Networks go by {verdicts.count('goes by it')}, leave "
        f"{verdicts.count('leaves it')}, and {verdicts.count('between')} are between.",
        "",
        "Intervals are of 95 % and respect seeds, whose networks share drawings and a parent: of shares Wilson's with "
        "the number of networks over the design effect of seeds and Student's quantile, and where all networks or none "
        "are hits a limit of 95 % that counts a seed as one network; of other figures 2,000 bootstrap samples of "
        f"seeds, of {FEWEST} at least.",
        "",
        "## Found",
        "",
        "A suspect is the shortcut where it tells the images that have it from the others at an AUROC of at least "
        f"{TELLS:g} *within* the images with its finding and within those without (the mean, weighted by pairs), so "
        "that a suspect which follows the finding itself does not count; and, of kinds that lie at a place, where what "
        f"is outlined or marked holds the shortcut's pixels at least {DENSER:g} times as densely as the whole image "
        "does (the mean over the images that have it). It must be of the shortcut's finding, and among the first two: "
        "of `discover` of its list of all classes, without those that people marked; of SpRAy of the clusters of the "
        "finding's class, smaller ones first. Under *all*, a person looks at every suspect of every class. SpRAy's "
        "clusters are of the same images; `discover` uses no heat maps."
        + (
            f" SpRAy has {np.mean(clusters):.0f} clusters a network in the mean; of so many, some tell a shortcut by "
            f"chance, though {FEWEST_IMAGES} images looked at must have it and {FEWEST_IMAGES} not."
            if clusters
            else ""
        ),
        "",
        "`discover` is given what a user can have: where people marked each finding, on every image. What it lists as "
        "not confirmed by the intervention counts neither as a find nor as an alarm. SpRAy uses no marks.",
        "",
        *power_table(records, readings),
        "",
        "## False alarms",
        "",
        f"SpRAy has no test of its own; here a class counts whose gap is beyond those of permuted maps at {LEVEL:g} of "
        "a class, of eight. It knows of no marks: the two sides on which a finding may lie are clusters to it.",
        "",
        *alarm_table(records, methods),
        "",
        *_overlapping(records),
        *_without_marks(unmarked),
        *_retrained(records),
        "## What is missing",
        "",
        *_missing(records, unused(records)),
        "",
    ]
    return "\n".join(lines)


def _seeds(records: Sequence[Record]) -> str:
    seeds = sorted({r["seed"] for r in records})
    return f"{len(seeds)} seeds, {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"


def _judged(records: Sequence[Record]) -> str:
    if all(r["seed"] >= JUDGING for r in records):
        return f" No setting was chosen on any of them. Seeds below {JUDGING} were seen, and none of them is here."
    return " **They were seen in development, and judge nothing.**"


def _overlapping(records: Sequence[Record]) -> list[str]:
    if not any("discover" in r for r in records):
        return []
    names = tuple(OVERLAPS)
    pixels = [name for name in names if name.startswith("region")]
    lines = [
        "## Where it lies",
        "",
        "Median of the intersection over union with what the shortcut covers, of networks that go by it: on each image "
        "that has it, then the mean of a network's images; or on any image, all at once. *Marked* is what a mark of "
        "the suspect covers (`pellucid annotate serve --suspect`), the pixels with the window that was exchanged; "
        "*pixels* are those that differ, which the page outlines.",
        "",
        "`discover`, all networks that go by the kind; one of which it was not found counts with 0:",
        "",
        *overlap_table(records, "discover", names, missed=True),
        "",
        "`discover`, those of which it was found:",
        "",
        *overlap_table(records, "discover", names, missed=False),
        "",
    ]
    if any("spray" in r for r in records):
        lines += [
            "SpRAy, all networks that go by the kind; the pixels are those where a cluster's mean map is hottest:"
        ]
        lines += ["", *overlap_table(records, "spray", pixels, missed=True), ""]
    return lines


def _without_marks(records: Sequence[Record]) -> list[str]:
    if not records:
        return []
    readings = [("without marks", UNMARKED, matches), ("with marks", "discover", matches)]
    readings += [("without marks, all suspects", UNMARKED, matches_anywhere)]
    invisible = [kind for kind in KINDS if kind not in WITH_REGION]
    return [
        "## Without marks of the findings",
        "",
        f"`discover` on {len(records)} of these networks once more, on images on which nobody marked a finding. What "
        "it then reports may be the finding itself, which is what a network should go by.",
        "",
        f"| found by | {' | '.join(name for name, _, _ in readings)} |",
        "|---|---|---|---|",
        power_row("kinds that a map can show", pairs_of(records, WITH_REGION), readings),
        power_row("the others", pairs_of(records, invisible), readings),
        "",
        *alarm_table(records, [("without marks", UNMARKED), ("with marks", "discover")]),
        "",
    ]


def _retrained(records: Sequence[Record]) -> list[str]:
    if not any("retraining" in r for r in records):
        return []
    return [
        "## With the suspect taken away",
        "",
        "Networks that go by a shortcut which is among the first suspects and lies at a place, trained further with it "
        "marked once (`pellucid train annotated --suspects`). The gap is that between the finding's AUROC on the test "
        "images where the shortcut tells and where it lies by lot, without its sign, summed over networks. *Worst* is "
        "the network whose other findings lose most, with the interval of a bootstrap of its images.",
        "",
        "| shortcut | share of the gap closed | change of AUROC, other findings | networks that lose "
        f"{MOST_LOST:g} at most | worst | change of the finding's AUROC, by lot | networks |",
        "|---|---|---|---|---|---|---|",
        f"| **kinds that a map can show** | {summary(records, WITH_REGION)} |",
        *(f"| `{kind}` | {summary(records, (kind,))} |" for kind in WITH_REGION),
        "",
    ]


def _missing(records: Sequence[Record], quiet: Sequence[Record]) -> list[str]:
    names = {"discover": "`discover`", "spray": "SpRAy"}
    lines = [
        f"- {name} was not run on {gap} of the networks."
        for method, name in names.items()
        if (gap := sum(method not in r for r in records))
    ]
    if len(quiet) < RUNS[0]:
        lines.append(f"- Networks without a shortcut: {len(quiet)}; a rate of .05 is told from .14 with {RUNS[0]}.")
    counts = {kind: len(with_verdict(records, kind)) for kind in KINDS}
    few = [f"`{kind}` {count}" for kind, count in counts.items() if count < RUNS[1]]
    if few:
        lines.append(f"- Networks that go by a kind, of the {RUNS[1]} that were aimed at: {', '.join(few)}.")
    if not any("retraining" in r for r in records):
        lines.append("- No network was trained further with its suspect marked.")
    return lines or ["- Nothing that was aimed at."]


def write_page(results: Path, path: Path, first: int = 0) -> None:
    """Read the networks' files and write the page.

    Args:
        results: folder of the files.
        path: of the page.
        first: the lowest seed that counts.

    Raises:
        SystemExit: where there are none.
    """
    records = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(results.glob("*.json"))]
    records = [record for record in records if record["seed"] >= first]
    if not records:
        raise SystemExit(f"{results} holds no results of seeds from {first} on: run the grid first.")
    with whole_file(path) as temporary:
        temporary.write_text(page(records), encoding="utf-8")
    print(f"wrote {path}")
