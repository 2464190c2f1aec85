"""Tables of trust for docs/results: python docs/make_trust_results.py OUT NAME=FOLDER [NAME=FOLDER …].

Each FOLDER is one that `pellucid trust` wrote. Writes to OUT tables/NAME.csv, pictures of the curves and of the maps
under attack, and trust.md: the networks side by side. What they mean is written by hand beside it.
"""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from pellucid.evaluation.trust.yardsticks import GAINS, TRIVIAL, yardstick_beside
from pellucid.report.tables.metrics import method_label
from pellucid.utils.csv_table import write_csv
from pellucid.utils.resources import write_text

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
    lines = ["*Written by `docs/make_trust_results.py`; [95 % intervals].*", "", *about, ""]
    lines += [f"| measure | explanation | {' | '.join(found)} |", f"|---|---|{'---|' * len(found)}"]
    rows = {name: {(r["measure"], r["method"]): r for r in reversed(one["rows"])} for name, one in found.items()}
    keys = dict.fromkeys((r["measure"], r["method"]) for one in found.values() for r in one["rows"])
    for measure in SHOWN:
        for _, method in (k for k in keys if k[0] == measure):
            own = [table.get((measure, method)) for table in rows.values()]
            known = [r for r in own if r is not None and r["value"] is not None]
            if known and _is_listed(measure, method):
                label = known[0]["label"].partition(": ")[0]
                lines.append(f"| {label} | {method_label(method)} | {' | '.join(_cell(r) for r in own)} |")
    reasons: dict[str, dict[str, None]] = {}
    for one in found.values():
        for r in one["rows"]:
            if r["measure"] in SHOWN and r["value"] is None and not r["method"].startswith(TRIVIAL):
                of = f"{r['label'].partition(': ')[0]} ({method_label(r['method'])})"
                reasons.setdefault(r["reason"], {})[of] = None
    missing = [f"- {reason}: {', '.join(of)}" for reason, of in reasons.items()]
    cost = [
        f"| {name} | {method_label(method)} | {spent['forward_passes']:,} | {spent['gradient_evaluations']:,} | "
        f"{spent.get('attack_gradient_evaluations', 0):,} |"
        for name, one in found.items()
        for method, spent in one["cost"].items()
    ]
    lines += ["", "Without a figure:", "", *missing, "", "What it took:", ""]
    lines += [
        "| network | explanation | forward passes | gradient evaluations | of the attacks |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *cost]) + "\n"


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
    interval = "" if row["low"] is None else f" [{row['low']:.2f}, {row['high']:.2f}]"
    told = {"yes": " **yes**", "no": " **no**"}.get(row["verdict"] or "", f" {row['verdict'] or ''}".rstrip())
    best = f" ({row['best']})" if row["best"] else ""
    return f"{row['value']:.2f}{interval}{told}{best}"


def _is_listed(measure: str, method: str) -> bool:
    """Trivial maps that are made of a method's own maps stand only where a verdict is against them; the CSV has all."""
    shared = not method.startswith(TRIVIAL) or yardstick_beside(method, "") is not None
    return shared or measure in {gain.figure for gain in GAINS.values()}


def _rounded(value: object) -> object:
    return "" if value is None else round(value, DIGITS) if isinstance(value, float) else value


if __name__ == "__main__":
    main(Path(sys.argv[1]), {name: Path(folder) for name, _, folder in (part.partition("=") for part in sys.argv[2:])})
