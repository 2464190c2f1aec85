"""Curves of the table of trust: likeness against random layers and attacks, the answer against what is replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from pellucid.evaluation.trust.rows import RANDOM_ORDER
from pellucid.report.charts.drawing import QUIET, Chart, canvas, styles_of, to_svg
from pellucid.report.tables.metrics import method_label

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    from matplotlib.axes import Axes

RANDOMISATION = {"rank_by_depth": "rank correlation", "ssim_by_depth": "SSIM"}
REPLACEMENT = {"deletion": "hottest places go first", "insertion": "hottest places come first"}


def trust_charts(curves: Mapping[str, Mapping[str, Any]], name: str = "trust") -> list[Chart]:
    """Randomisation by two measures, deletion and insertion with random order in grey, and the attack on the maps.

    Args:
        curves: by method and `RANDOM_ORDER`, as `Trust.to_json` gives them; None where undefined.
        name: begins the names of the pictures, which must differ on one page.
    """
    methods = {m: {k: _numbers(v) for k, v in own.items() if k != "layers"} for m, own in curves.items()}
    random = methods.pop(RANDOM_ORDER, {})
    if not methods:
        return []
    styles = styles_of(list(methods), next(iter(methods)))
    charts = []
    for key, label in RANDOMISATION.items():
        if with_curves := _with(methods, key):
            charts.append(_randomisation(with_curves, styles, key, label, name))
    for way, caption in REPLACEMENT.items():
        if with_curves := _with(methods, f"{way}_score"):
            charts.append(_replacement(random, with_curves, styles, way, caption, name))
    if with_curves := _with(methods, "attack_rank"):
        charts.append(_attack(with_curves, styles, name))
    return charts


Curves = dict[str, dict[str, "npt.NDArray[np.float64]"]]


def _with(methods: Curves, curve: str) -> Curves:
    """The methods that have a curve: one that cannot explain the network has none."""
    return {method: own for method, own in methods.items() if curve in own}


def _numbers(values: Any) -> npt.NDArray[np.float64]:  # noqa: ANN401
    return np.asarray(values, dtype=np.float64)  # None becomes NaN


def _randomisation(methods: Curves, styles: Any, key: str, label: str, name: str) -> Chart:  # noqa: ANN401
    with canvas(2.6 + 0.15 * len(methods)) as (figure, (axes,)):
        for method, own in methods.items():
            _line(axes, np.arange(len(own["depths"])), own[key], styles[method], method_label(method))
        ticks = next(iter(methods.values()))["depths"].astype(int).tolist()
        axes.set_xticks(range(len(ticks)), [str(d) for d in ticks])
        axes.set_xlabel("layers made random, from the head downwards")
        axes.set_ylabel(label)
        axes.axhline(0, color=QUIET, lw=0.9, ls=(0, (4, 2)))
        axes.grid(axis="both")
        figure.legend(loc="outside lower left", frameon=False, ncols=2)
        alt = f"{label} of maps with those of the unchanged network, by the number of random layers."
        svg = to_svg(figure, f"{name}-{key.replace('_', '-')}", alt)
    return Chart(svg, f"Likeness to the unchanged network’s map, {label}", "at 0 layers: explained twice")


def _replacement(
    random: dict[str, npt.NDArray[np.float64]],
    methods: Curves,
    styles: Any,  # noqa: ANN401
    way: str,
    caption: str,
    name: str,
) -> Chart:
    with canvas(2.6 + 0.15 * (len(methods) + 1)) as (figure, (axes,)):
        for method, own in methods.items():
            _line(axes, own[f"{way}_share"], own[f"{way}_score"], styles[method], method_label(method))
        dashed = (0, (4, 2))
        axes.plot(random[f"{way}_share"], random[f"{way}_score"], color=QUIET, lw=1.2, ls=dashed, label="random order")
        axes.set_xlabel("share of the image replaced")
        axes.set_ylabel("probability of the class explained")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(axis="both")
        figure.legend(loc="outside lower left", frameon=False, ncols=2)
        alt = f"{way}: mean probability of the class explained by the share of the image replaced, {caption}."
        svg = to_svg(figure, f"{name}-{way}", alt)
    return Chart(svg, way.capitalize(), caption)


def _attack(methods: Curves, styles: Any, name: str) -> Chart:  # noqa: ANN401
    with canvas(2.6 + 0.15 * len(methods)) as (figure, (axes,)):
        for method, own in methods.items():
            _line(axes, own["attack_budgets"], own["attack_rank"], styles[method], method_label(method))
            axes.plot(own["attack_budgets"], own["attack_noise"], color=styles[method].colour, lw=0.9, ls=(0, (1, 2)))
        ticks = [0.0, *next(iter(methods.values()))["attack_budgets"][-2:].tolist()]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xlabel("largest change of the image, root mean square per pixel")
        axes.set_ylabel("rank correlation")
        axes.axhline(0, color=QUIET, lw=0.9, ls=(0, (4, 2)))
        axes.grid(axis="both")
        figure.legend(loc="outside lower left", frameon=False, ncols=2)
        alt = "Rank correlation of the attacked with the original maps, by the size of the change of the image."
        svg = to_svg(figure, f"{name}-attack", alt)
    return Chart(svg, "Maps under attack", "decision and confidence stay; dotted: noise of the same size")


def _line(axes: Axes, x: Any, y: Any, style: Any, label: str) -> None:  # noqa: ANN401
    axes.plot(
        x,
        y,
        color=style.colour,
        marker=style.marker,
        ls=style.line,
        lw=1.3,
        ms=3.6,
        markevery=max(1, len(x) // 8),
        label=label,
    )
