"""What is left under each common corruption, against its severity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.evaluation.robustness.corruptions import corruption_label
from pellucid.report.charts.drawing import COLOURS, QUIET, Chart, canvas, to_svg
from pellucid.report.tables.metrics import defined, metric

if TYPE_CHECKING:
    from collections.abc import Mapping


def corruption_charts(figures: Mapping[str, Any]) -> list[Chart]:
    """A curve with its band of 95 % for each corruption; dashed what a constant answer has, dotted halfway to it.

    Args:
        figures: as audit.json has it under `elsewhere`.
    """
    label = metric(figures["metric"]).label
    charts = []
    for name in figures["lost"]:
        rows = [figures["clean"] | {"severity": 0}, *(r for r in figures["rows"] if r["corruption"] == name)]
        points = [r for r in rows if defined(r["value"])]
        with canvas(1.9) as (figure, (axes,)):
            axes.axhline(figures["base"], color=QUIET, lw=0.9, ls=(0, (4, 2)))
            if defined(figures["bar"]):
                axes.axhline(figures["bar"], color=QUIET, lw=0.9, ls=":")
            severities, values = [r["severity"] for r in points], [r["value"] for r in points]
            axes.plot(severities, values, "o-", color=COLOURS[1], ms=3, lw=1.2)
            banded = [(r["severity"], r["low"], r["high"]) for r in points if defined(r["low"]) and defined(r["high"])]
            if banded:
                x, low, high = zip(*banded, strict=True)
                axes.fill_between(x, low, high, color=COLOURS[1], alpha=0.16, lw=0)
            axes.set_ylim(0, 1.02)
            axes.set_xticks(range(6))
            axes.set_xlabel("severity")
            axes.set_ylabel(label)
            axes.grid(axis="both")
            svg = to_svg(figure, f"corrupted-{name}", f"{label} against the severity of {name}; the table has it.")
        charts.append(Chart(svg, corruption_label(name, title=True)))
    return charts
