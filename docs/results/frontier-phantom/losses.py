"""What the networks of this study lose against plain training: python docs/results/frontier-phantom/losses.py.

Writes losses.md from the tables. A loss is a score of which more is better whose 95 % interval, these networks on
other patients, lies below 0, corrected or not, in the tables that are committed.
"""

from __future__ import annotations

import csv
from itertools import groupby
from pathlib import Path

from pellucid.evaluation.metrics.verdicts import ALPHA
from pellucid.report.tables.metrics import method_label, metric, p_text, readable

HERE = Path(__file__).parent
HEAD = """# What these networks lose

*Written by `losses.py` from [tables/](tables).*

Every figure of classification, under attack and of the explanations' threshold-free scores whose difference from plain
training for as long has a 95 % interval below 0: **of these networks, on other patients**. Wang et al.'s boxes and the
sweep of thresholds, which only the pictures show, are not among them. Three networks of each size. The intervals are of
one comparison each; p is corrected after Holm for all comparisons of its family, first of these networks, then of the
recipes. All but AUROC with L∞ 0.01 is exploratory.
"""

Row = dict[str, str]


def main() -> None:
    """Write the page."""
    (HERE / "losses.md").write_text(page(), encoding="utf-8")


def page() -> str:
    """The page as Markdown."""
    rows = {name: losses(name) for name in ("classification", "robustness", "localization")}
    parts = [
        HEAD,
        "## Classification, 300 images\n",
        *listed(rows["classification"]),
        "\n## Accuracy and AUROC under attack, 100 images\n",
        *listed(rows["robustness"]),
        "\n## Explanations, means over findings\n",
        *listed([row for row in rows["localization"] if row["class"] == "mean"]),
        "\n## Explanations of single findings\n",
        "How many of six scores of a method are lower; after the stroke those whose corrected p is at most .05.\n",
        *counted([row for row in rows["localization"] if row["class"] != "mean"]),
    ]
    return "\n".join(parts) + "\n"


def losses(name: str) -> list[Row]:
    """The rows of a table in which these networks are lower, where more is better."""
    with (HERE / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["networks_high"]]
    return [row for row in rows if metric(row["metric"]).better > 0 and float(row["networks_high"]) < 0]


def listed(rows: list[Row]) -> list[str]:
    """A table of losses, a line each."""
    lines = [
        "| score | of | size | from → to | difference | p, networks | p, recipes |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        what = metric(row["metric"])
        places = [method_label(row["method"]) if row["method"] else "", row["at"] if row["at"] != "0" else "no attack"]
        change, low, high = (float(row[name]) for name in ("difference", "networks_low", "networks_high"))
        value, digits = float(row["value"]), what.decimals
        cells = [
            " ".join([readable(what.label), *(f"({place})" for place in places if place)]),
            row["class"] if row["class"] == "mean" else readable(row["class"]),
            row["variant"].removeprefix("linf "),
            f"{value - change:.{digits}f} → {value:.{digits}f}",
            f"{change:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]".replace("-", "−"),
            *(p_text(float(row[f"{question}_p_corrected"])) for question in ("networks", "recipes")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def counted(rows: list[Row]) -> list[str]:
    """How many scores of a finding are lower, by method and size."""
    sizes = sorted({row["variant"] for row in rows})
    lines = [
        f"| method, finding | {' | '.join(s.removeprefix('linf ') for s in sizes)} |",
        "|---" * (len(sizes) + 1) + "|",
    ]

    def place(row: Row) -> tuple[str, str]:
        return row["method"], row["class"]

    for (method, finding), group in groupby(sorted(rows, key=place), key=place):
        lower = list(group)
        cells = []
        for size in sizes:
            there = [row for row in lower if row["variant"] == size]
            shown = sum(float(row["networks_p_corrected"]) <= ALPHA for row in there)
            cells.append(f"{len(there)} / {shown}" if there else "–")
        lines.append(f"| {method_label(method)}, {readable(finding)} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
