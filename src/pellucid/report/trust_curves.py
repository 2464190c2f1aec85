"""Curves of the table of trust: likeness against random layers, and the answer against what is replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from pellucid.report.drawing import QUIET, Chart, canvas, looks, to_svg
from pellucid.report.metrics import method_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from pellucid.evaluate.trust import Findings

RANDOMISATION = {"rank_by_depth": "rank correlation", "ssim_by_depth": "SSIM"}
REPLACEMENT = {"deletion": "hottest places go first", "insertion": "hottest places come first"}


def trust_charts(network: Findings, methods: Sequence[Findings]) -> list[Chart]:
    """Four charts: randomisation by two measures, deletion and insertion with random order in gray."""
    if not methods:
        return []
    seen = looks([f.method for f in methods], methods[0].method)
    charts = [_randomisation(methods, seen, key, label) for key, label in RANDOMISATION.items()]
    return charts + [_replacement(network, methods, seen, name, told) for name, told in REPLACEMENT.items()]


def _randomisation(methods: Sequence[Findings], seen: Any, key: str, label: str) -> Chart:  # noqa: ANN401
    with canvas(2.6 + 0.15 * len(methods)) as (figure, (axes,)):
        for found in methods:
            depths, values = found.curves["depths"], found.curves[key]
            _line(axes, np.arange(len(depths)), values, seen[found.method], method_label(found.method))
        ticks = methods[0].curves["depths"].tolist()
        axes.set_xticks(range(len(ticks)), [str(d) for d in ticks])
        axes.set_xlabel("layers made random, from the head downwards")
        axes.set_ylabel(label)
        axes.axhline(0, color=QUIET, lw=0.9, ls=(0, (4, 2)))
        axes.grid(axis="both")
        figure.legend(loc="outside lower left", frameon=False, ncols=2)
        alt = f"{label} of maps with those of the unchanged network, by the number of random layers."
        svg = to_svg(figure, f"trust-{key.replace('_', '-')}", alt)
    return Chart(svg, f"Likeness to the unchanged network’s map, {label}", "at 0 layers: explained twice")


def _replacement(network: Findings, methods: Sequence[Findings], seen: Any, name: str, told: str) -> Chart:  # noqa: ANN401
    with canvas(2.6 + 0.15 * (len(methods) + 1)) as (figure, (axes,)):
        for found in methods:
            share, score = found.curves[f"{name}_share"], found.curves[f"{name}_score"]
            _line(axes, share, score, seen[found.method], method_label(found.method))
        axes.plot(
            network.curves[f"{name}_share"],
            network.curves[f"{name}_score"],
            color=QUIET,
            lw=1.2,
            ls=(0, (4, 2)),
            label="random order",
        )
        axes.set_xlabel("share of the image replaced")
        axes.set_ylabel("probability of the class explained")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(axis="both")
        figure.legend(loc="outside lower left", frameon=False, ncols=2)
        alt = f"{name}: mean probability of the class explained by the share of the image replaced, {told}."
        svg = to_svg(figure, f"trust-{name}", alt)
    return Chart(svg, name.capitalize(), told)


def _line(axes: Axes, x: Any, y: Any, look: Any, label: str) -> None:  # noqa: ANN401
    axes.plot(
        x,
        y,
        color=look.colour,
        marker=look.marker,
        ls=look.line,
        lw=1.3,
        ms=3.6,
        markevery=max(1, len(x) // 8),
        label=label,
    )
