"""The tables and curves of `manipulation.md`, from what `pellucid attack-explanation` measured of each image.

`python manipulation_tables.py` judges tables/manipulation-images.csv again by the rules of today.
`python manipulation_tables.py RUNS` makes that table first: RUNS holds a folder for each network, and in
each one a command.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np

from pellucid.evaluation.manipulation.summary import summarize_curves
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.report.pictures.manipulated import write_manipulation_curves
from pellucid.utils.csv_table import write_csv

HERE = Path(__file__).parent
IMAGES = HERE / "tables" / "manipulation-images.csv"
DIGITS, FIGURE_DIGITS = 5, 7  # of what an image gave, and of a mean: with 5 an interval near 1 would have no width
ABOUT = ("network", "run", "method", "goal", "tolerance", "steps")
SIMILARITIES = ("rank_correlation", "ssim", "top_k_overlap")
CURVES = (
    "constraint_met",
    "invalidated",
    *SIMILARITIES,
    *(f"{name}_under_noise" for name in SIMILARITIES),
    "probability",
)

Row = dict[str, str]


def main(runs: Path | None) -> None:
    """Write tables/manipulation.csv and a curve for each goal."""
    if runs is not None:
        write_csv(IMAGES, collected(runs))
    rows = read(IMAGES)
    figures, drawn = [], {}
    for network, run in sorted({(r["network"], r["run"]) for r in rows}):
        own = [r for r in rows if (r["network"], r["run"]) == (network, run)]
        about, summary = {name: own[0][name] for name in ABOUT}, summarized(own)
        drawn[network, run] = about | summary
        points = [
            (budget, name, curve[place])
            for place, budget in enumerate(summary["budgets"])
            for name, curve in summary["curves"].items()
        ]
        points += [("area", name, value) for name, value in summary["areas"].items()]
        figures += [
            about
            | {"budget": budget, "figure": name}
            | {k: rounded(value[k], FIGURE_DIGITS) for k in ("value", "low", "high", "n")}
            for budget, name, value in points
        ]
    write_csv(HERE / "tables" / "manipulation.csv", figures)
    for goal in ("same-decision", "same-map"):
        shown = {
            f"{network}, {summary['method']}": summary
            for (network, run), summary in drawn.items()
            if run == f"{summary['method']}-{goal}"
        }
        write_manipulation_curves(shown, HERE / f"manipulation-{goal}.png")


def collected(runs: Path) -> list[Row]:
    """What each command measured, image by image."""
    out = []
    for folder in sorted(p.parent for p in runs.glob("*/*/attack-explanation.json")):
        summary = json.loads((folder / "attack-explanation.json").read_text(encoding="utf-8"))
        about = {"network": folder.parent.name, "run": folder.name}
        about |= {name: rounded(summary[name]) for name in ("tolerance", "steps")}
        out += [about | {k: rounded(v) for k, v in row.items()} for row in read(folder / "attack-explanation.csv")]
    return out


def summarized(rows: list[Row]) -> dict[str, object]:
    """Curves and areas of one command, with intervals over its images."""
    budgets = list(dict.fromkeys(r["budget"] for r in rows))
    names = list(dict.fromkeys(r["image"] for r in rows))
    shape = len(budgets), len(names)  # the rows come budget by budget, in the order of the images
    columns = {name: "probability_after" if name == "probability" else name for name in CURVES}
    curves = {
        name: np.array([float(r[column] or "nan") for r in rows]).reshape(shape) for name, column in columns.items()
    }
    sizes = [float(budget) for budget in budgets]
    goal = rows[0]["goal"]
    return {"budgets": sizes} | summarize_curves(curves, sizes, goal, Bootstrap(names), "the constraint was never met")


def read(path: Path) -> list[Row]:
    """The rows of a table."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def rounded(value: float | str | None, digits: int = DIGITS) -> str:
    """A number with few digits, anything else as it is."""
    try:
        return f"{float(value):.{digits}g}"  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return "" if value is None else str(value)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
