"""The report of an annotation loop: one page that needs nothing but itself, and its tables for machines."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.report.charts.drawing import QUIET, Chart, Style, canvas, styles_of, to_svg
from pellucid.report.pages.page_templates import PAGES, style_sheet
from pellucid.report.pictures.panels import heat_picture, picture
from pellucid.report.tables.cells import PageTable, across, estimate
from pellucid.report.tables.long_form import LongTable, flat, write_tables
from pellucid.report.tables.metrics import METRICS, Metric, defined, duration, method_label, number
from pellucid.utils.resources import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pellucid.report.pictures.panels import Panel

SHIFT = 0.07  # of the arms beside each other at the same number, in numbers
GOALS = {"half": "half or less", "rise": "a rise", "keep": "no fall by more than the margin"}
WAYS = {1: "more is better", -1: "less is better"}
SIGNS = {True: "✓ met", False: "✗ not met", None: "– undefined"}
FIXED = {
    "auroc_without": Metric("AUROC, marker means nothing", 1, 3, "AUROC of the finding on the test images"),
    "auroc_with": Metric("AUROC, marker tells", 0, 3, "AUROC of the finding where the marker goes with it"),
    "auroc_gap": Metric("Gap between the two", -1, 3, "how much better the network seems where the marker tells"),
    "auroc_others": Metric("AUROC, other findings", 1, 3, "mean over the other findings, on the test images"),
    "effect_marker": Metric("Logit hanging on the marker", -1, 2, "how far it falls when the marker is painted over"),
    "effect_finding": Metric("Logit hanging on the finding", 1, 2, "how far it falls when the finding is painted over"),
}


def loop_metric(name: str) -> Metric:
    """How a loop's figure is shown.

    Example:
        >>> loop_metric("saliency_marker").label, loop_metric("saliency_marker").better
        ('Saliency on the marker', -1)
    """
    if name in FIXED:
        return FIXED[name]
    if name.startswith("ara_"):
        kind = METRICS[name.removesuffix("_finding")]
        return Metric(f"{kind.label}, finding" if name.endswith("_finding") else kind.label, 1, 4, kind.meaning)
    method, _, place = name.rpartition("_")
    meaning = f"share of the map's positive part on the {place}, of images that show both"
    return Metric(f"{method_label(method)} on the {place}", -1 if place == "marker" else 1, 4, meaning)


def write_loop_report(results: Mapping[str, Any], panels: Sequence[Panel], out: Path) -> Path:
    """Write `out`/report.html and `out`/tables/*, each whole or not at all.

    Args:
        results: what the loop found, as it writes it to results.json.
        panels: images with the maps of some of its networks.
        out: the study's folder.

    Returns:
        The path of report.html.
    """
    tables = _long_tables(results)
    styles = _styles(results)
    text = PAGES.get_template("annotation_loop.html.j2").render(
        r=results,
        css=style_sheet("report.css"),
        styles=styles,
        paragraphs=[p.strip() for p in results["description"].split("\n\n") if p.strip()],
        about=_about(results),
        aims=_aims(results),
        charts=loop_charts(results),
        tables=_tables(results),
        looked=_looked_at(results),
        cases=[_case(panel) for panel in panels],
        files=[f"{name}.{kind}" for name in tables for kind in ("csv", "json")],
        meanings=[(loop_metric(m).label, loop_metric(m).meaning) for m in _metrics(results)],
    )
    write_tables(tables, out / "tables")
    write_text(out / "report.html", text)
    return out / "report.html"


def glance(results: Mapping[str, Any]) -> PageTable:
    """Every figure of the network that all arms begin with and of each arm after the number of images of the aim."""
    return _table(results, results["aim"], "difference", results["base"])


def _metrics(results: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(row["metric"] for row in results["rows"]))


def _styles(results: Mapping[str, Any]) -> dict[str, Style]:
    """The control is grey, as the reference of other studies is; the cheating network is where all curves begin."""
    control = results["control"]
    return styles_of([arm["label"] for arm in results["arms"]], control)


def _row(results: Mapping[str, Any], metric: str, arm: str, at: int) -> dict[str, Any] | None:
    rows = (r for r in results["rows"] if (r["metric"], r["variant"], r["at"]) == (metric, arm, str(at)))
    return next(rows, None)


def _about(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    data, images = results["data"], results["data"]["images"]
    return [
        ("Data", f"{data['name']}, drawn with seed {data['seed']}; the marker goes with {data['finding']}"),
        (
            "Images",
            f"{images['test']:,} where the marker means nothing, {images['telling']:,} where it tells, "
            f"{images['shown']:,} of the first that show both"
            + (f", {images['ara']} for ARA" if images["ara"] else ""),
        ),
        ("Seeds", ", ".join(map(str, results["seeds"]))),
        ("Made", f"{results['created']}, {results['device']}, {duration(results['seconds'])} in the last session"),
        ("Command", results["command"]),
    ]


def _aims(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One line an aim, with a cell for each arm and whom it is held against."""
    metrics = list(dict.fromkeys((a["metric"], a["goal"]) for a in results["aims"]))
    lines = []
    for name, goal in metrics:
        loop, cells = loop_metric(name), []
        for one in (a for a in results["aims"] if a["metric"] == name):
            for against, verdict in one["against"].items():
                before, after = (
                    number(verdict[k], loop.decimals) if defined(verdict[k]) else "–" for k in ("before", "after")
                )
                unsure = " (left open)" if verdict["shown"] == "unclear" and verdict["met"] is not None else ""
                head = f"{one['arm']} against {against}"
                cells.append({"head": head, "text": f"{before} → {after}", "sign": SIGNS[verdict["met"]] + unsure})
        lines.append({"label": loop.label, "goal": GOALS[goal], "cells": cells})
    return lines


def _tables(results: Mapping[str, Any]) -> list[list[PageTable]]:
    """All figures of all networks, a list for each number of images, that of the aim first."""
    numbers = sorted(results["numbers"], key=lambda n: (n != results["aim"], n))
    against = {"difference": results["base"], "against_control": results["control"]}
    return [[_table(results, n, difference, other) for difference, other in against.items()] for n in numbers]


def _table(results: Mapping[str, Any], at: int, difference: str, against: str) -> PageTable:
    """All figures of the networks trained with one number of images, with their differences from one of them."""
    arms = [arm["label"] for arm in results["arms"]]
    lines = []
    for name in _metrics(results):
        measure = loop_metric(name)
        rows = [_row(results, name, results["base"], 0), *(_row(results, name, arm, at) for arm in arms)]
        cells = [estimate(row and {**row, "difference": row[difference]}, measure) for row in rows]
        lines.append(replace(across(measure.label, cells), hint=WAYS.get(measure.better, "")))
    caption = f"{at} images, and the difference from “{against}”"
    return PageTable(caption, (results["base"], *arms), tuple(lines), first="Figure")


def loop_charts(results: Mapping[str, Any]) -> list[Chart]:
    """Each figure against the number of images annotated, an arm a line."""
    styles = _styles(results)
    metrics = dict.fromkeys(row["metric"] for row in results["rows"] if defined(row["value"]))
    return [_chart(results, styles, name) for name in metrics if name not in ("auroc_with", "effect_finding")]


def _chart(results: Mapping[str, Any], styles: Mapping[str, Style], name: str) -> Chart:
    """One figure against the number of images, from the cheating network on, with 95 % intervals."""
    measure, numbers = loop_metric(name), results["numbers"]
    start = _row(results, name, results["base"], 0)
    with canvas(2.2) as (figure, (axes,)):
        for place, (arm, style) in enumerate(styles.items()):
            rows = [start, *(_row(results, name, arm, n) for n in numbers)]
            value, low, high = (_column(rows, key) for key in ("value", "low", "high"))
            x = np.arange(len(rows)) + SHIFT * (place - (len(styles) - 1) / 2) * (np.arange(len(rows)) > 0)
            axes.plot(x, value, color=style.colour, marker=style.marker, ls=style.line, lw=1.3, ms=4, label=arm)
            axes.vlines(x, low, high, color=style.colour, lw=1.0)
        if start is not None and defined(start["value"]):
            axes.axhline(start["value"], color=QUIET, lw=0.8, ls=(0, (4, 2)))
        axes.set_xticks(range(len(numbers) + 1), ["none", *map(str, numbers)])
        axes.set_xlabel("images annotated")
        axes.grid(axis="both")
        svg = to_svg(
            figure,
            f"loop-{name.replace('_', '-')}",
            f"{measure.label} by the number of images annotated, a line for each arm.",
        )
    return Chart(svg, measure.label, WAYS.get(measure.better, ""))


def _column(rows: Sequence[Mapping[str, Any] | None], key: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([np.nan if r is None or r[key] is None else r[key] for r in rows], dtype=np.float64)


def _looked_at(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How many images the annotator had to look at, an order of images per line."""
    orders = dict.fromkeys(s["acquisition"] for s in results["sessions"])
    return [
        {
            "order": order,
            "cells": [
                ", ".join(
                    str(s["looked_at"]) for s in results["sessions"] if (s["acquisition"], s["number"]) == (order, n)
                )
                for n in results["numbers"]
            ],
        }
        for order in orders
    ]


def _case(panel: Panel) -> dict[str, Any]:
    """An image and the maps of every network, method by method."""
    height, width = panel.image.shape[:2]
    names, methods = (list(dict.fromkeys(key[i] for key in panel.maps)) for i in (0, 1))
    return {
        "class_name": panel.class_name,
        "image_id": panel.image_id,
        "image": picture(panel),
        "alt": f"Image with the {panel.class_name} outlined and a rectangle around the marker",
        "regions": f"{panel.class_name} (outline), marker (rectangle)",
        "width": width,
        "height": height,
        "networks": len(names),
        "maps": [
            {
                "image": heat_picture(panel, name, method),
                "label": f"{method_label(method)}, {name}: probability {panel.probabilities[name]:.2f}",
            }
            for method in methods
            for name in names
        ],
    }


def _difference(difference: Mapping[str, Any] | None) -> dict[str, Any]:
    """A difference as fields of a line of CSV."""
    line = flat({"difference": difference})
    return {key: line[key] for key in line if key.startswith(("difference", "networks", "recipes"))}


def _long_tables(results: Mapping[str, Any]) -> dict[str, LongTable]:
    """Figures, aims, sessions and training curves for machines."""
    lines = []
    for row in results["rows"]:
        control = {f"control_{key}": value for key, value in _difference(row["against_control"]).items()}
        lines.append(flat(row) | control)
    reached = [
        {
            **{key: one[key] for key in ("arm", "metric", "goal")},
            "against": against,
            **{key: verdict[key] for key in ("before", "after", "met", "shown")},
        }
        for one in results["aims"]
        for against, verdict in one["against"].items()
    ]
    orders = [
        {**{k: one[k] for k in ("arm", "other", "number", "metric")}, **_difference(one["difference"])}
        for one in results["orders"]
    ]
    epochs = [
        {"arm": run["arm"], "number": run["number"], "seed": run["seed"], **epoch}
        for run in results["runs"]
        for epoch in run["history"]
    ]
    columns = dict.fromkeys(key for epoch in epochs for key in epoch)
    curves = [{key: "" if epoch.get(key) is None else epoch[key] for key in columns} for epoch in epochs]
    about = {"study": results["name"]}
    return {
        "loop": LongTable(lines, {**about, "rows": results["rows"]}),
        "aims": LongTable(reached, {**about, "aims": results["aims"]}),
        "orders": LongTable(orders, {**about, "orders": results["orders"]}),
        "sessions": LongTable(results["sessions"], {**about, "sessions": results["sessions"]}),
        "training": LongTable(curves, {**about, "epochs": epochs}),
    }
