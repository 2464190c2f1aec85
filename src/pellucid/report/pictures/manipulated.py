"""Attacks on explanations as pictures: image pairs with their maps, and similarity against the budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from pellucid.explainers.registry import is_fine
from pellucid.report.charts.drawing import QUIET, canvas, styles_of
from pellucid.report.heat_colours import OVER, placed
from pellucid.report.pictures.perturbed import BARE, REACH, as_picture, difference_picture, percent
from pellucid.utils.resources import whole_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

PIXELS_PER_INCH = 220
ENDS = {"same-map": "invalidated: other decision, same map", "same-decision": "invalidated: other map, same decision"}


@dataclass(frozen=True, eq=False)
class Pair:
    """What an attack made of an image within one budget.

    Attributes:
        budget: root mean square per pixel and channel.
        image: (C, H, W) in [0, 1].
        map: its heat map (H, W).
        decided: the class then decided.
        probability: of the class explained.
        rank_correlation: of the map to the original one.
        verdict: `invalidated`, `not invalidated`, or why there is no pair.
    """

    budget: float
    image: NDArray[np.floating]
    map: NDArray[np.floating]
    decided: str
    probability: float
    rank_correlation: float
    verdict: str


def manipulation_pictures(original: Pair, pairs: Sequence[Pair], *, method: str, title: str, path: Path) -> None:
    """Write a PNG: the image and what it was made into, the maps under them, and the differences under these."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.85 * (1 + len(pairs)), 6.1), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=9)
    axes = figure.subplots(3, 1 + len(pairs), squeeze=False, subplot_kw=BARE)
    for axis in axes.flat:
        axis.set_axis_off()
    for column, pair in enumerate([original, *pairs]):
        heading = "original" if column == 0 else f"RMS ≤ {pair.budget:g}"
        _show(axes[0, column], as_picture(pair.image), f"{heading}\n{pair.decided}, {percent(pair.probability)}")
        has_rank = not np.isnan(pair.rank_correlation)  # it has none where the attack failed
        agreement = f"rank correlation {pair.rank_correlation:.2f}\n{pair.verdict}" if has_rank else pair.verdict
        if column == 0:
            agreement = "its map"
        if not is_fine(method):
            _show(axes[1, column], as_picture(pair.image), "")
        heat, colours = placed(pair.map, method)
        axes[1, column].imshow(heat, cmap=colours, vmin=0, vmax=1, alpha=1.0 if is_fine(method) else OVER)
        axes[1, column].set_title(agreement, fontsize=7.5)
        if column:
            change = difference_picture(pair.image - original.image, pair.budget)
            _show(axes[2, column], change, f"change, ends at ±{REACH * pair.budget:g}")
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png")


def write_manipulation_curves(results: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Write a PNG: how alike the maps are, and the share invalidated, against the budget, with 95 % intervals.

    Args:
        results: summaries of one goal by name, as `manipulation_summary` makes them.
        path: where to write.
    """
    styles = styles_of(list(results), next(iter(results)))
    with canvas(4.6 + 0.2 * len(results), 2) as (figure, axes):
        for name, result in results.items():
            x = np.array([0.0, *result["budgets"]])
            style = styles[name]
            curves = result["curves"]
            start = 1.0 if result["goal"] == "same-decision" else np.nan
            _line(axes[0], x, curves["rank_correlation"], start, style.colour, marker=style.marker, label=name, ms=4)
            _line(axes[0], x, curves["rank_correlation_under_noise"], 1.0, style.colour, ls=(0, (2, 1.5)), lw=0.9)
            _line(axes[1], x, curves["invalidated"], 0.0, style.colour, marker=style.marker, ms=4)
        axes[0].plot([], [], color=QUIET, ls=(0, (2, 1.5)), lw=0.9, label="under random noise of that size")
        axes[0].set_title("rank correlation with the original map", loc="left")
        axes[0].set_ylim(top=1.05)
        axes[1].set_title(f"share {ENDS[next(iter(results.values()))['goal']]}", loc="left")
        axes[1].set_ylim(-0.03, 1.05)
        for panel in axes:
            panel.set_xlim(left=0)
            panel.xaxis.set_major_locator(MaxNLocator(5))
            panel.grid(axis="both")
        axes[1].set_xlabel("budget: root mean square of the change per pixel")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", frameon=False)
        with whole_file(path) as temporary:
            figure.savefig(temporary, format="png", dpi=PIXELS_PER_INCH, facecolor="white")


def _line(
    axes: Axes,
    x: NDArray[np.float64],
    curve: Sequence[Mapping[str, Any]],
    start: float,
    colour: str,
    **how: Any,  # noqa: ANN401
) -> None:
    value, low, high = (
        np.array([start, *(np.nan if point[key] is None else point[key] for point in curve)], dtype=np.float64)
        for key in ("value", "low", "high")
    )
    axes.plot(x, value, color=colour, **{"lw": 1.3, **how})
    if "marker" in how:
        axes.fill_between(x, low, high, color=colour, alpha=0.13, lw=0)


def _show(axis: Axes, picture: NDArray[np.uint8], title: str) -> None:
    axis.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axis.set_title(title, fontsize=7.5)
