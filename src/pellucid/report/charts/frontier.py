"""What each variant pays in accuracy: for its robustness, beside what others published, and for its explanations."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any, NamedTuple

from matplotlib.ticker import FuncFormatter, MaxNLocator

from pellucid.report.charts.drawing import Chart, canvas, to_svg
from pellucid.report.tables.metrics import defined, method_label, metric

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from pellucid.report.tables.results_index import ResultRow, ResultsIndex

AREA = "ara_"  # before the kind, in the metric's name
HOLLOW = (("o", "○"), ("s", "□"), ("^", "△"), ("D", "◇"))
NEAR = 0.3  # of the axes' width: names of nearer marks could cover each other
Place = tuple["ResultRow | None", "ResultRow | None"]  # what a variant has across and along
PLOT, LINE = 150.0, 8.5  # points: the height of the axes, and of a line of text


class Point(NamedTuple):
    """A published network's place, and its name."""

    accuracy: float
    area: float
    name: str


def kinds(index: ResultsIndex) -> list[str]:
    """The kinds of area that the study measured."""
    return [name.removeprefix(AREA) for name in index.values("metric", "ara") if name.startswith(AREA)]


def clean_metric(index: ResultsIndex) -> str:
    """What the accuracy without a perturbation is called in the rows; empty where the results have none."""
    return next((name for name in index.values("metric", "ara") if not name.startswith(AREA)), "")


def charts(index: ResultsIndex) -> list[Chart]:
    """One chart per kind of area: every variant's mean over the seeds with both intervals, families joined."""
    return [_chart(index, kind) for kind in kinds(index)] if clean_metric(index) else []


def explanation_charts(index: ResultsIndex, target: str) -> list[Chart]:
    """Scores of the explanations against AUROC, one chart per score and method; none where no variants form a family.

    Expected of such a family over the size of its perturbations: an optimum (Srinivas et al. 2023).

    Args:
        index: the results.
        target: where the explanations are scored.
    """
    if not _joined(index):
        return []
    methods = index.known_methods("localization", target=target)
    names = [n for n in index.results.get("headline", []) if metric(n).better > 0]
    return [_explanation_chart(index, target, name, method) for name in names for method in methods]


def _explanation_chart(index: ResultsIndex, target: str, name: str, method: str) -> Chart:
    rows = {
        v: (index.row("classification", "auroc", v), index.row("localization", name, v, target=target, method=method))
        for v in index.variants
    }
    up = f"{method_label(method)}: {metric(name).label}"
    with canvas(2.9) as (figure, (axes,)):
        variants = _draw_variants(axes, index, rows)
        notes = _notes(index, rows, variants)
        if best := index.best_trivial(target, name):
            axes.axhline(best[0], color="#555", lw=1.0, ls=(0, (4, 3)), zorder=1)
            notes.append(f"dashed: the best map that looks at no network ({best[1]})")
        axes.margins(0.09)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel(metric("auroc").label)
        axes.set_ylabel(up)
        axes.grid(axis="both")
        alt = f"{up} against {metric('auroc').label} for {', '.join(variants)}."
        svg = to_svg(figure, f"frontier-{target}-{name}-{method}", alt)
    return Chart(svg, f"{up}, and {metric('auroc').label}", "; ".join(notes))


def _chart(index: ResultsIndex, kind: str) -> Chart:
    across, along = clean_metric(index), AREA + kind
    rows = {v: (index.row("ara", across, v), index.row("ara", along, v)) for v in index.variants}
    published = index.comparators("ara", kind)
    with canvas(2.9) as (figure, (axes,)):
        variants = _draw_variants(axes, index, rows)
        points = []
        for one, (mark, _) in zip(published, cycle(HOLLOW), strict=False):
            published_points = [Point(one["accuracy"][name], area, name) for name, area in one["values"].items()]
            xs, ys = [point.accuracy for point in published_points], [point.area for point in published_points]
            axes.plot(xs, ys, mark, color="#111", mfc="none", ms=5, zorder=5)
            points += published_points
        axes.margins(0.09)
        axes.set_ylim(bottom=0)
        _name(axes, points)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))
        axes.set_xlabel(f"{metric(across).label.lower()} without a perturbation")
        axes.set_ylabel(metric(along).label)
        axes.grid(axis="both")
        alt = f"{metric(along).label} against {metric(across).label.lower()} for {', '.join(variants)}."
        svg = to_svg(figure, f"frontier-{kind}", alt)
    notes = _notes(index, rows, variants)
    notes += [f"{glyph} published: {one['name']}" for one, (_, glyph) in zip(published, cycle(HOLLOW), strict=False)]
    return Chart(svg, f"{metric(along).label} and {metric(across).label.lower()}", "; ".join(notes))


def _draw_variants(axes: Axes, index: ResultsIndex, rows: Mapping[str, Place]) -> list[str]:
    """A mark with both intervals for each variant that has both figures, families joined; the variants drawn."""
    places = {v: (x, y) for v, (x, y) in rows.items() if x and y and defined(x["value"]) and defined(y["value"])}
    for joined in _joined(index):
        members = [places[v] for v in joined if v in places]
        xs, ys = [[member[i]["value"] for member in members] for i in (0, 1)]
        axes.plot(xs, ys, "-", color=index.styles[joined[0]].colour, lw=1.1, alpha=0.6, zorder=2)
    for variant, (x, y) in places.items():
        style = index.styles[variant]
        _cross(axes, x, y, style.colour)
        axes.plot([x["value"]], [y["value"]], style.marker, color=style.colour, ms=5, zorder=4)
    return list(places)


def _notes(index: ResultsIndex, rows: Mapping[str, Place], variants: Sequence[str]) -> list[str]:
    notes = ["up and right is better"]
    notes += ["lines join a family"] if _joined(index) else []
    return [*notes, *(f"not drawn: {v} ({_why(*rows[v])})" for v in rows if v not in variants)]


def _why(*rows: ResultRow | None) -> str:
    reasons = [row.get("reason") or "undefined" for row in rows if row is not None and not defined(row["value"])]
    return "; ".join(dict.fromkeys(reasons)) or "not measured"


def _joined(index: ResultsIndex) -> list[list[str]]:
    """The families of more than one variant, in the study's order, which is that of their strength."""
    families: dict[str, list[str]] = {}
    for variant, family in index.families.items():
        families.setdefault(family, []).append(variant)
    return [members for members in families.values() if len(members) > 1]


def _cross(axes: Axes, x: ResultRow, y: ResultRow, colour: str) -> None:
    style: dict[str, Any] = {"color": colour, "lw": 1.0, "alpha": 0.6, "solid_capstyle": "butt", "zorder": 3}
    if defined(x.get("low")) and defined(x.get("high")):
        axes.plot([x["low"], x["high"]], [y["value"]] * 2, **style)
    if defined(y.get("low")) and defined(y.get("high")):
        axes.plot([x["value"]] * 2, [y["low"], y["high"]], **style)


def _name(axes: Axes, points: Sequence[Point]) -> None:
    """Names beside the published marks, on the side where there is room; under the one before where they are close."""
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    scale = PLOT / (top - bottom)
    placed: list[tuple[Point, float]] = []
    for point in sorted(points, key=lambda p: -p.area):
        after = point.accuracy < (left + right) / 2
        near = [y for other, y in placed if abs(other.accuracy - point.accuracy) < NEAR * (right - left)]
        height = min([point.area * scale, *(y - LINE for y in near)])
        placed.append((point, height))
        axes.annotate(
            point.name, (point.accuracy, point.area), (5 if after else -5, height - point.area * scale),
            textcoords="offset points", ha="left" if after else "right", va="center", fontsize=7.5, color="#333",
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.4}, zorder=3.5,
        )  # fmt: skip
