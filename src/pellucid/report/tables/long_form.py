"""A study's figures as CSV and JSON for machines: one file per section, one line per figure, nothing left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pellucid.utils.csv_table import write_csv
from pellucid.utils.resources import write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PLAIN = (
    "section", "target", "method", "gate", "metric", "at", "threshold", "class", "variant",
    "value", "low", "high", "n", "positives", "patients", "reason", "seed_spread",
)  # fmt: skip
_ANSWER = (
    "low",
    "high",
    "error_below",
    "error_above",
    "p",
    "p_no_worse",
    "p_worse",
    "p_corrected",
    "p_worse_corrected",
    "tests",
    "verdict",
    "reason",
)


class LongTable(NamedTuple):
    """One table: its lines for CSV, and the whole of it for JSON."""

    lines: list[dict[str, Any]]
    whole: dict[str, Any]


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """One result as a line of CSV; seeds in one field, separated by semicolons, an undefined one empty.

    Example:
        >>> line = flat({"section": "wang", "value": 0.8, "seeds": [0.79, None], "difference": None})
        >>> line["value"], line["seeds"], line["difference"], line["class"]
        (0.8, '0.79;', '', '')
    """
    line = {key: "" if row.get(key) is None else row[key] for key in _PLAIN}
    line["seeds"] = _seeds(row)
    difference = row.get("difference") or {}
    line["difference"] = _or_empty(difference.get("value"))
    for key in ("n", "reason", "family", "aim", "margin"):
        line[f"difference_{key}"] = _or_empty(difference.get(key))
    for question in ("networks", "recipes"):
        answer = difference.get(question) or {}
        for key in _ANSWER:
            line[f"{question}_{key}"] = _or_empty(answer.get(key))
    recipes = difference.get("recipes") or {}
    for key in ("trainings_squared", "trainings_df"):
        line[f"recipes_{key}"] = ";".join(map(str, recipes.get(key, ())))
    for key in ("p_delong", "p_delong_corrected"):
        line[f"networks_{key}"] = _or_empty((difference.get("networks") or {}).get(key))
    return line


def long_tables(results: Mapping[str, Any]) -> dict[str, LongTable]:
    """Every section's rows, the published figures and the training curves, by the name of their files."""
    reference = next((v["label"] for v in results["variants"] if v.get("reference")), None)
    sections: dict[str, list[Mapping[str, Any]]] = {}
    for row in results["rows"]:
        sections.setdefault(row["section"], []).append(row)
    tables: dict[str, LongTable] = {}
    for name, rows in sections.items():
        about = {"study": results["name"], "section": name, "reference": reference}
        tables[name] = LongTable([flat(row) for row in rows], {**about, "rows": rows})
    if published := results.get("comparators"):
        lines = [
            {
                **{key: one.get(key, "") for key in ("section", "metric", "at", "name")},
                "class": cls,
                "value": value,
                "accuracy": (one.get("accuracy") or {}).get(cls, ""),
                "note": one.get("note", ""),
            }
            for one in published
            for cls, value in one["values"].items()
        ]
        tables["comparators"] = LongTable(lines, {"study": results["name"], "comparators": published})
    if trust := results.get("trust"):
        judged = [{"variant": one["variant"], "seed": one["seed"], **row} for one in trust for row in one["rows"]]
        lines = [{key: _or_empty(value) for key, value in row.items()} for row in judged]
        tables["trust"] = LongTable(lines, {"study": results["name"], "rows": judged})
    epochs = [
        {"variant": variant["label"], "seed": run["seed"], **epoch}
        for variant in results["variants"]
        for run in variant.get("runs", [])
        for epoch in run.get("history", [])
    ]
    if epochs:
        columns = dict.fromkeys(key for epoch in epochs for key in epoch)
        lines = [{key: _or_empty(epoch.get(key)) for key in columns} for epoch in epochs]
        tables["training"] = LongTable(lines, {"study": results["name"], "epochs": epochs})
    return tables


def write_tables(tables: Mapping[str, LongTable], folder: Path) -> None:
    """Write each table as CSV and as JSON, each file whole."""
    for name, table in tables.items():
        write_csv(folder / f"{name}.csv", table.lines)
        write_json(folder / f"{name}.json", table.whole)


def _seeds(row: Mapping[str, Any]) -> str:
    return ";".join("" if seed is None else str(seed) for seed in row.get("seeds") or ())


def _or_empty(value: object) -> object:
    return "" if value is None else value
