"""The share of cells of heat maps that are certified at a radius, method by method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from pellucid.report.charts.drawing import Chart, canvas, styles_of, to_svg
from pellucid.report.tables.metrics import method_label

if TYPE_CHECKING:
    from collections.abc import Mapping


def certified_cells_chart(summaries: Mapping[str, Mapping[str, Any]], name: str = "cells") -> Chart:
    """Share of certified cells against the radius, with a band for the 95 % interval.

    Args:
        summaries: by method, as `certified_summary` makes them.
        name: begins the names of the picture's parts, which must differ on one page.
    """
    styles = styles_of(list(summaries), next(iter(summaries)))
    with canvas(2.5 + 0.15 * len(summaries)) as (figure, (axes,)):
        for index, (method, summary) in enumerate(summaries.items()):
            style, curve = styles[method], summary["curve"]
            radius = np.asarray(curve["radius"])
            value, low, high = (
                np.array([np.nan if point[key] is None else point[key] for point in curve["share"]])
                for key in ("value", "low", "high")
            )
            axes.plot(radius, value, color=style.colour, marker=style.marker, ms=3.6, lw=1.3,
                      markevery=(index, 5), label=method_label(method))  # fmt: skip
            axes.fill_between(radius, low, high, color=style.colour, alpha=0.14, lw=0)
        axes.set_xlim(left=0)
        axes.set_ylim(0, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_xlabel("radius, L2")
        axes.set_ylabel("cells certified beyond it")
        axes.grid(axis="both")
        figure.legend(loc="outside lower left", frameon=False, ncols=2)
        svg = to_svg(figure, name, f"Share of certified cells against the radius, for {', '.join(summaries)}.")
    return Chart(svg, "How far the cells are certified", "the largest radius is what the number of samples allows")
