"""Accuracy-robustness curves: accuracy against the size of the perturbation, several networks in one figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from pellucid.report.charts.drawing import QUIET, Chart, Style, canvas, styles_of, to_svg
from pellucid.utils.resources import whole_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt
    from matplotlib.axes import Axes

    Numbers = npt.NDArray[np.float64]

PIXELS_PER_INCH = 220
BEYOND = 1.15  # how far the axis goes past the radius at which the last curve has fallen to the random guess
NORMS = {"rms": "root mean square per pixel", "linf": "largest change of a pixel (L∞)"}
TITLES = {"attack": "still right", "btr": "better than a constant guess"}


@dataclass(frozen=True, eq=False)
class AraCurve:
    """One network's curve of one kind.

    Attributes:
        name: of the network or recipe.
        kind: of the area, `attack` or `btr`.
        radius: ascending (M,), in `norm`, from 0.
        accuracy: (M,), the share of images that need more; constant up to the next radius.
        naive: the accuracy of the best constant answer.
        upper: (M,), the same where failed attacks count as never broken; `accuracy` by default.
        measure: what the accuracy is: `balanced accuracy` for several labels.
        norm: of the radii: `rms` or `linf`.
    """

    name: str
    kind: str
    radius: Numbers
    accuracy: Numbers
    naive: float
    upper: Numbers | None = None
    measure: str = "accuracy"
    norm: str = "rms"

    @property
    def end(self) -> float:
        """The radius at which it falls to the constant answer's accuracy."""
        below = np.nonzero(self.accuracy <= self.naive)[0]
        return float(self.radius[below[0]] if len(below) else self.radius[-1])


def write_curves(curves: Sequence[AraCurve], path: Path) -> None:
    """Draw the curves of all networks, one panel per kind, into a PNG; written whole or not at all.

    Source:
        Woods, Chen & Teuscher 2019, figures 3 and 6.
    """
    kinds = list(dict.fromkeys(c.kind for c in curves))
    names = list(dict.fromkeys(c.name for c in curves))
    styles = styles_of(names, names[0])
    with canvas(2.5 * len(kinds) + 0.2 * len(names), len(kinds)) as (figure, axes):
        for panel, kind in zip(axes, kinds, strict=True):
            _panel(panel, [c for c in curves if c.kind == kind], styles)
            panel.set_title(f"{kind}: {TITLES.get(kind, kind)}", loc="left")
        axes[-1].set_xlabel(f"size of the perturbation, {NORMS[curves[0].norm]}")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", frameon=False)
        with whole_file(path) as temporary:
            figure.savefig(temporary, format="png", dpi=PIXELS_PER_INCH, facecolor="white")


def chart(curves: Sequence[AraCurve], styles: Mapping[str, Style], kind: str, name: str = "ara") -> Chart:
    """The curves of one kind for the report's page, a thin line for each seed; `name` is this figure's alone there."""
    own = [c for c in curves if c.kind == kind]
    with canvas(2.4) as (figure, (axes,)):
        _panel(axes, own, styles)
        axes.set_xlabel("size of the perturbation, RMS per pixel")
        alt = f"Accuracy against the size of the smallest perturbation, {kind}, for {', '.join(styles)}."
        svg = to_svg(figure, f"{name}-{kind}", alt)
    return Chart(svg, f"Images {TITLES.get(kind, kind)}", "dashed: the best constant guess")


def charts(curves: Sequence[AraCurve], styles: Mapping[str, Style], name: str = "ara") -> list[Chart]:
    """One chart per kind; none where there are no curves."""
    return [chart(curves, styles, kind, name) for kind in dict.fromkeys(c.kind for c in curves)]


def stored(records: Sequence[Mapping[str, Any]]) -> list[AraCurve]:
    """The curves as results.json holds them."""
    return [
        AraCurve(c["variant"], c["kind"], radius, accuracy, c["naive"], upper, c["measure"])
        for c in records
        for radius, accuracy, upper in [[np.asarray(c[k], dtype=np.float64) for k in ("radius", "accuracy", "upper")]]
    ]


def _panel(axes: Axes, curves: Sequence[AraCurve], styles: Mapping[str, Style]) -> None:
    right = BEYOND * max(c.end for c in curves) or 1e-3
    labelled: set[str] = set()
    for index, curve in enumerate(curves):
        style = styles[curve.name]
        label = None if curve.name in labelled else curve.name
        labelled.add(curve.name)
        # the last step goes on to the edge: the accuracy does not end where the largest radius was found
        x = np.append(curve.radius, max(right, curve.radius[-1]))
        y = np.append(curve.accuracy, curve.accuracy[-1])
        marks: dict[str, Any] = {
            "marker": style.marker,
            "ls": style.line,
            "ms": 3.6,
            "markevery": (0.03 + 0.03 * (index % 5), 0.2),
        }  # for print in grey
        axes.step(x, y, where="post", color=style.colour, lw=1.3, label=label, **marks)
        if curve.upper is not None and bool((curve.upper > curve.accuracy).any()):
            top = np.append(curve.upper, curve.upper[-1])
            axes.fill_between(x, y, top, step="post", color=style.colour, alpha=0.16, lw=0)
    for number, naive in enumerate(sorted({c.naive for c in curves})):
        axes.axhline(naive, color=QUIET, lw=0.9, ls=(0, (4, 2)), label=None if number else "best constant guess")
    axes.set_xlim(0, right)
    axes.set_ylim(0, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylabel(curves[0].measure)
    axes.grid(axis="both")
