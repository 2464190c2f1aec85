"""Tables of trust for docs/results: python docs/make_trust_results.py OUT NAME=FOLDER [NAME=FOLDER …].

Each FOLDER is one that `pellucid trust` wrote. Writes to OUT tables/NAME.csv, pictures of the curves and of the maps
under attack, and trust.md: the networks side by side. What they mean is written by hand beside it. With OUT alone the
table of figures in OUT/trust.md is made again from OUT/tables.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from playwright.sync_api import sync_playwright

from pellucid.evaluation.trust.yardsticks import GAINS, TRIVIAL, yardstick_beside
from pellucid.report.tables.metrics import method_label
from pellucid.utils.csv_table import write_csv
from pellucid.utils.resources import write_text
from pellucid.utils.words import figure_text

if TYPE_CHECKING:
    from collections.abc import Callable

SHOWN = (
    "dependence_rank",
    "dependence_ssim",
    "max_sensitivity",
    "attacked_rank",
    "map_invalidated",
    "decision_invalidated",
    "agreement",
    "flipping_gain",
    "insertion_gain",
    "deletion_area",
    "insertion_area",
    "infidelity",
    "place_gain",
    "auprc",
    "pointing",
    "energy_ratio",
    "marker_effect",
    "finding_effect",
    "marker_share",
    "finding_share",
    "alignment",
    "alignment_cosine",
    "grid_gain",
    "grid_pointing",
)
ATTACKED = ("attacked_rank", "map_invalidated", "decision_invalidated")
"""Measures of trivial maps on the images that attack a method's map."""
DIGITS = 5
TALLEST = 2400  # pixels of a picture; a taller section is cut


def main(out: Path, folders: dict[str, Path]) -> None:
    """Write everything."""
    found = {name: json.loads((folder / "trust.json").read_text(encoding="utf-8")) for name, folder in folders.items()}
    for name, one in found.items():
        kept = (
            "question",
            "measure",
            "label",
            "method",
            "value",
            "low",
            "high",
            "n",
            "bar",
            "verdict",
            "best",
            "reason",
        )
        write_csv(out / "tables" / f"{name}.csv", [{k: _rounded(row[k]) for k in kept} for row in one["rows"]])
        picture(folders[name] / "trust.html", out, name)
    write_text(out / "trust.md", page(found))


def page(found: dict[str, Any]) -> str:
    """The networks side by side, as Markdown."""
    about = [
        f"- `{name}`: {one['images']} images of {one['data']}/{one['split']} (fingerprint {one['fingerprint'][:12]}), "
        f"{min(one['images'], one['attacked'])} of them attacked with {one['attack_steps']} steps per budget, seed "
        f"{one['seed']}, weights {one['weights'][:12]}"
        for name, one in found.items()
    ]
    lines = ["*Written by `docs/make_trust_results.py`; [95 % intervals].*", "", *about, "", *table(found)]
    without = _reasons(found, lambda r: r["value"] is None and not r["method"].startswith(TRIVIAL))
    no_interval = _reasons(found, lambda r: r["value"] is not None and r["low"] is None)
    cost = [
        f"| {name} | {method_label(method)} | {spent['forward_passes']:,} | {spent['gradient_evaluations']:,} | "
        f"{spent.get('attack_gradient_evaluations', 0):,} |"
        for name, one in found.items()
        for method, spent in one["cost"].items()
    ]
    lines += ["", "Without a figure:", "", *without, "", "Without an interval:", "", *no_interval]
    lines += ["", "What it took:", ""]
    lines += [
        "| network | explanation | forward passes | gradient evaluations | of the attacks |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *cost]) + "\n"


def table(found: dict[str, Any]) -> list[str]:
    """The figures of SHOWN, a row a measure and explanation, a column a network."""
    lines = [f"| measure | explanation | {' | '.join(found)} |", f"|---|---|{'---|' * len(found)}"]
    rows = {name: {(r["measure"], r["method"]): r for r in reversed(one["rows"])} for name, one in found.items()}
    keys = dict.fromkeys((r["measure"], r["method"]) for one in found.values() for r in one["rows"])
    for measure in SHOWN:
        for _, method in (k for k in keys if k[0] == measure):
            own = [of.get((measure, method)) for of in rows.values()]
            known = [r for r in own if r is not None and r["value"] is not None]
            if known and _is_listed(measure, method):
                label = known[0]["label"].partition(": ")[0]
                lines.append(f"| {label} | {method_label(method)} | {' | '.join(_cell(r) for r in own)} |")
    return lines


def _reasons(found: dict[str, Any], lacks: Callable[[dict[str, Any]], bool]) -> list[str]:
    """Why figures of SHOWN lack something, a line a reason."""
    reasons: dict[str, dict[str, None]] = {}
    for r in (r for one in found.values() for r in one["rows"] if r["measure"] in SHOWN):
        if lacks(r) and _is_listed(r["measure"], r["method"]):
            of = f"{r['label'].partition(': ')[0]} ({method_label(r['method'])})"
            reasons.setdefault(r["reason"], {})[of] = None
    return [f"- {reason}: {', '.join(of)}" for reason, of in reasons.items()]


def again(out: Path) -> str:
    """OUT/trust.md with its table made again from OUT/tables."""
    text = (out / "trust.md").read_text(encoding="utf-8")
    whole = re.search(r"^\| measure \| explanation \|(.*)\|\n(?:\|.*\n)+", text, re.MULTILINE)
    found = {name: {"rows": _read(out / "tables" / f"{name}.csv")} for name in whole[1].strip().split(" | ")}
    return text.replace(whole[0], "\n".join([*table(found), ""]))


def _read(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    numbers = ("value", "low", "high", "bar")
    return [{"best": "", **row, **{k: float(row[k]) if row[k] else None for k in numbers}} for row in rows]


def picture(report: Path, out: Path, name: str) -> None:
    """Curves and attacked maps, each a PNG of at most 256 colours."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": 1100, "height": 900})
        shown.goto(report.resolve().as_uri())
        for section in ("curves", "forged"):
            place = shown.locator(f"section#{section}")
            if place.count():
                drawn = Image.open(io.BytesIO(place.first.screenshot())).convert("RGB")
                drawn = drawn.crop((0, 0, drawn.width, min(drawn.height, TALLEST)))
                drawn.quantize(256, dither=Image.Dither.NONE).save(out / f"{section}-{name}.png", optimize=True)
        browser.close()


def _cell(row: dict[str, Any] | None) -> str:
    if row is None or row["value"] is None:
        return "–"
    bars = [] if row["bar"] is None else [row["bar"]]
    figure = figure_text(row["value"], row["low"], row["high"], "{:.2f}".format, bars)
    lack = "[no interval]" if row["low"] is None else ""
    verdict = {"yes": "**yes**", "no": "**no**"}.get(row["verdict"] or "", row["verdict"])
    best = f"({row['best']})" if row["best"] else ""
    return " ".join(filter(None, [figure, lack, verdict, best]))


def _is_listed(measure: str, method: str) -> bool:
    """A method's own trivial maps stand only where a verdict is against them, and beside attacks; the CSV has all."""
    shared = not method.startswith(TRIVIAL) or yardstick_beside(method, "") is not None
    return shared or measure in {*ATTACKED, *(gain.figure for gain in GAINS.values())}


def _rounded(value: object) -> object:
    return "" if value is None else round(value, DIGITS) if isinstance(value, float) else value


if __name__ == "__main__":
    target, folders = Path(sys.argv[1]), [part.partition("=") for part in sys.argv[2:]]
    if folders:
        main(target, {name: Path(folder) for name, _, folder in folders})
    else:
        write_text(target / "trust.md", again(target))
