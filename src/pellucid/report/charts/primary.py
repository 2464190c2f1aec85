"""The comparison that a study was made for, as one figure: each recipe's value, and the differences below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.evaluation.metrics.verdicts import answered
from pellucid.report.charts.drawing import QUIET, Chart, canvas, to_svg
from pellucid.report.tables.metrics import defined, method_label, metric, readable
from pellucid.report.tables.results_index import MEAN, ResultRow, ResultsIndex

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PRIMARY = "primary"


def primary_chart(index: ResultsIndex) -> Chart | None:
    """The first primary comparison of the study; of a study that named none, the first mean that was compared.

    Above: the value of each variant. Below: the paired differences from the reference, with 0 and, dashed, the margin
    of use.
    """
    compared = [row for row in index.results["rows"] if row["difference"] and defined(row["difference"]["value"])]
    named = [row for row in compared if row["difference"].get("family") == PRIMARY]
    first = next(iter(named or [row for row in compared if row["class"] == MEAN]), None)
    if first is None:
        return None
    where = {key: first[key] for key in ("target", "method", "gate", "at", "threshold")}
    rows = {v: index.row(first["section"], first["metric"], v, cls=first["class"], **where) for v in index.variants}
    values = {v: row for v, row in rows.items() if row and defined(row["value"])}
    changes = {v: _difference(row) for v, row in values.items() if row["difference"]}
    heights = [0.35 + 0.2 * len(values), 0.55 + 0.2 * len(changes)]
    label = metric(first["metric"]).label
    with canvas(sum(heights), 2, ratios=heights) as (figure, (above, below)):
        _intervals(index, above, values)
        _intervals(index, below, changes)
        margin = first["difference"].get("margin") or 0.0
        below.axvline(0, color="#333333", lw=0.9)
        for bound in (-margin, margin) if margin else ():
            below.axvline(bound, color=QUIET, lw=0.9, ls=(0, (4, 2)))
        reach = max(abs(x) for x in below.get_xlim())
        below.set_xlim(-reach, reach)
        below.set_xlabel(f"difference from {index.reference}")
        alt = (
            f"{label} of {', '.join(values)}, and the differences from {index.reference}; the table gives the numbers."
        )
        svg = to_svg(figure, "primary", alt)
    place = [
        method_label(first["method"]) if first["method"] else "",
        first["at"],
        "mean over classes" if first["class"] == MEAN else readable(first["class"]),
    ]
    notes = ["with 95 % intervals", *([f"dashed: the margin of use, {margin:g}"] if margin else [])]
    return Chart(svg, ", ".join([label, *filter(None, place)]), "; ".join(notes))


def _difference(row: ResultRow) -> ResultRow:
    return {"value": row["difference"]["value"], **answered(row["difference"])[1]}


def _intervals(index: ResultsIndex, axes: Axes, rows: dict[str, ResultRow]) -> None:
    for place, (variant, row) in enumerate(rows.items()):
        style = index.styles[variant]
        if defined(row.get("low")) and defined(row.get("high")):
            axes.plot([row["low"], row["high"]], [place, place], color=style.colour, lw=1.6, solid_capstyle="butt")
        axes.plot([row["value"]], [place], style.marker, color=style.colour, ms=5)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="x")
