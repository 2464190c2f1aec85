"""The tables and curves of `manipulation.md`, from what `pellucid attack-explanation` has written.

`python manipulation_tables.py RUNS OUT`, where RUNS holds a folder a network, and in each a folder a command.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

from pellucid.report.pictures.manipulated import write_manipulation_curves
from pellucid.utils.csv_table import write_csv

DIGITS = 5


def main(runs: Path, out: Path) -> None:
    """Write tables/manipulation.csv, tables/manipulation-images.csv and a curve a goal."""
    found = {
        (folder.parent.name, folder.name): json.loads((folder / "attack-explanation.json").read_text(encoding="utf-8"))
        for folder in sorted(p.parent for p in runs.glob("*/*/attack-explanation.json"))
    }
    figures, images = [], []
    for (network, run), summary in found.items():
        about = {"network": network, "run": run, **{k: summary[k] for k in ("method", "goal", "tolerance", "steps")}}
        points = [
            (budget, name, curve[place])
            for place, budget in enumerate(summary["budgets"])
            for name, curve in summary["curves"].items()
        ]
        points += [("area", name, value) for name, value in summary["areas"].items()]
        figures += [
            {**about, "budget": budget, "figure": name, **{k: rounded(value[k]) for k in ("value", "low", "high", "n")}}
            for budget, name, value in points
        ]
        with (runs / network / run / "attack-explanation.csv").open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        images += [{"network": network, "run": run, **{k: rounded(v) for k, v in row.items()}} for row in rows]
    write_csv(out / "tables" / "manipulation.csv", figures)
    write_csv(out / "tables" / "manipulation-images.csv", images)
    for goal in ("same-decision", "same-map"):
        shown = {
            f"{network}, {summary['method']}": summary
            for (network, run), summary in found.items()
            if run == f"{summary['method']}-{goal}"
        }
        write_manipulation_curves(shown, out / f"manipulation-{goal}.png")


def rounded(value: float | str | None) -> str:
    """A number with few digits, anything else as it is."""
    try:
        return f"{float(value):.{DIGITS}g}"  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return "" if value is None else str(value)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
