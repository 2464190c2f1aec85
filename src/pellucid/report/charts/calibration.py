"""The reliability diagram: how sure a model is, against how often it is right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from pellucid.report.charts.drawing import COLOURS, QUIET, Chart, canvas, to_svg

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def reliability_diagram(bins: Sequence[Mapping[str, Any]], *, several: bool) -> Chart | None:
    """Each bin's share that came true over its mean confidence, with its interval; None without bins.

    Args:
        bins: as audit.json has them: `confidence`, `value`, `low` and `high`.
        several: whether an image may show several labels.
    """
    if not bins:
        return None
    sure, share, low, high = (
        np.array([np.nan if b[key] is None else b[key] for b in bins]) for key in ("confidence", "value", "low", "high")
    )
    with canvas(3.0) as (figure, (axes,)):
        axes.plot([0, 1], [0, 1], color=QUIET, lw=0.9, ls=(0, (4, 2)))
        axes.vlines(sure, low, high, color=COLOURS[1], lw=1.1)
        axes.plot(sure, share, "o-", color=COLOURS[1], lw=1.1, ms=3.6)
        axes.set_xlabel("how sure it is" if not several else "the probability that it gives")
        axes.set_ylabel("how often it is right" if not several else "how often the label is there")
        first = float(sure.min())
        axes.set_xlim(0.0 if first < 0.4 else first - 0.05, 1.02)
        axes.set_ylim(-0.02, 1.04)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(axis="both")
        alt = f"Reliability diagram of {len(bins)} bins; the table reliability.csv gives the numbers."
        svg = to_svg(figure, "reliability", alt)
    return Chart(
        svg, "Reliability", "on the dashed line, confidence is the share that comes true; below, it is too sure"
    )
