"""The charts of a report: AUROC by finding, localisation, differences, attacks, thresholds and training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from pellucid.evaluation.metrics.verdicts import SHOWN, answered
from pellucid.report.charts.drawing import QUIET, Chart, Style, canvas, to_svg
from pellucid.report.pictures.panels import Panel
from pellucid.report.tables.boxes import sweep_row, thresholds
from pellucid.report.tables.cells import verdict_text
from pellucid.report.tables.metrics import defined, method_label, metric, readable
from pellucid.report.tables.pivot import LOCALIZATION_METRICS, strength_of
from pellucid.report.tables.results_index import MEAN, TRIVIAL, ResultRow, ResultsIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

    Found = Callable[[str, str], ResultRow | None]

__all__ = ["Panel", "classification", "differences", "localization", "robustness", "sweep", "training"]

PUBLISHED_MARKS = (("x", "×"), ("+", "+"), ("*", "★"))  # more would hide the study; the table has all
MOST_CLASSES = 100
"""A chart of more rows is metres long, and takes minutes to draw: it shows the mean, and the table has all."""
TRIVIAL_STYLES = {"uniform": (0, (1, 1.5)), "centred": (0, (5, 2)), "mean box": (0, (6, 2, 1, 2))}


def classification(index: ResultsIndex) -> list[Chart]:
    """Each metric of each finding with intervals, and the first published figures."""
    return [_classification_chart(index, name) for name in index.values("metric", "classification")]


def _classification_chart(index: ResultsIndex, name: str) -> Chart:
    classes = index.class_names("classification", metric=name)
    if len(classes) > MOST_CLASSES and MEAN in classes:
        classes = [MEAN]
    by_name = {"Mean" if c == MEAN else readable(c): c for c in classes}
    styles, published = index.styles, index.comparators("classification", name)
    with canvas(_height(len(classes), len(styles))) as (figure, (axes,)):
        _dots(axes, list(by_name), styles, lambda c, v: index.row("classification", name, v, cls=by_name[c]))
        for one, (mark, _) in zip(published, PUBLISHED_MARKS, strict=False):
            points = [(one["values"][c], i) for i, c in enumerate(classes) if defined(one["values"].get(c))]
            axes.plot([x for x, _ in points], [y for _, y in points], mark, color="#111", ms=4.5, mew=1, zorder=4)
        if MEAN in classes and len(classes) > 1:
            axes.axhline(len(classes) - 1.5, color="#8a8a8a", lw=0.7)
        if name == "auroc" and axes.get_xlim()[0] < 0.55:
            axes.axvline(0.5, color=QUIET, lw=0.9, ls=(0, (4, 2)))
        axes.set_xlabel(f"{metric(name).label} with 95 % interval")
        alt = f"{metric(name).label} by {index.class_noun} for {', '.join(styles)}; the table gives the numbers."
        svg = to_svg(figure, _id("class", name), alt)
    legend = [f"{glyph} {one['name']}" for one, (_, glyph) in zip(published, PUBLISHED_MARKS, strict=False)]
    return Chart(svg, f"{metric(name).label} by {index.class_noun}", ", ".join(legend))


def localization(index: ResultsIndex, target: str) -> list[Chart]:
    """One chart per metric: each method's dots per variant, trivial maps as vertical lines."""
    return [_localization_chart(index, target, name) for name in _metrics(index, target)]


def _localization_chart(index: ResultsIndex, target: str, name: str) -> Chart:
    styles = index.styles
    here: dict[str, str] = {"target": target, "metric": name}
    methods = {method_label(m): m for m in index.known_methods("localization", **here)}
    with canvas(_height(len(methods), len(styles))) as (figure, (axes,)):
        for trivial in index.trivial_maps("localization", **here):
            row = index.row("localization", name, target=target, method=trivial)
            if row and defined(row["value"]):
                line = TRIVIAL_STYLES.get(trivial.removeprefix(TRIVIAL), ":")
                axes.axvline(row["value"], color="#333", lw=1.1, ls=line, zorder=1)
        _dots(
            axes,
            list(methods),
            styles,
            lambda m, v: index.row("localization", name, v, target=target, method=methods[m]),
        )
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
        alt = f"{metric(name).label} of {', '.join(methods)} for {', '.join(styles)}; trivial maps as lines."
        svg = to_svg(figure, _id("loc", target, name), alt)
    return Chart(svg, metric(name).label, metric(name).meaning)


def differences(index: ResultsIndex, target: str) -> list[Chart]:
    """One chart per method: paired differences from the reference by metric; filled where 0 is excluded."""
    charts = []
    styles = {v: style for v, style in index.styles.items() if v != index.reference}
    for method in index.known_methods("localization", target=target):
        names = {metric(m).label: m for m in _metrics(index, target)}

        def found(label: str, variant: str, method: str = method, names: dict[str, str] = names) -> ResultRow | None:
            row = index.row("localization", names[label], variant, target=target, method=method)
            return None if row is None else _answered(row.get("difference"))

        # a ratio over chance has another scale than a share: it gets an axis of its own
        shares = [label for label, m in names.items() if m != "energy_ratio"]
        ratios = [label for label, m in names.items() if m == "energy_ratio"]
        groups = [g for g in (shares, ratios) if g]
        heights = [_height(len(g), len(styles)) for g in groups]
        with canvas(sum(heights), len(groups), ratios=heights) as (figure, axes):
            for panel, labels in zip(axes, groups, strict=True):
                panel.axvline(0, color="#333", lw=0.9)
                _dots(panel, labels, styles, found, hollow=lambda row: verdict_text(row) not in SHOWN)
                reach = max(abs(x) for x in panel.get_xlim())
                panel.set_xlim(-reach, reach)
            axes[-1].set_xlabel(f"difference from {index.reference} (right: better)")
            alt = f"Differences from {index.reference} for {method_label(method)}, with 95 % intervals."
            svg = to_svg(figure, _id("diff", target, method), alt)
        charts.append(Chart(svg, method_label(method)))
    return charts


def _answered(difference: ResultRow | None) -> ResultRow | None:
    """A difference with the interval and the verdict of the recipes, or of the networks where there is none."""
    if difference is None or not defined(difference["value"]):
        return difference
    return {"value": difference["value"], **answered(difference)[1]}


def robustness(index: ResultsIndex) -> list[Chart]:
    """One chart per metric and norm: the metric against the size of the attack."""
    charts = []
    for name in index.values("metric", "robustness", class_=MEAN):
        strengths = index.values("at", "robustness", metric=name, class_=MEAN)
        for norm in dict.fromkeys(strength_of(at)[0] for at in strengths if strength_of(at)[1] > 0):
            steps = sorted(
                (size, at) for at in strengths for own, size in [strength_of(at)] if own == norm or size == 0
            )
            with canvas(2.4) as (figure, (axes,)):
                for variant, style in index.styles.items():
                    rows = [(x, index.row("robustness", name, variant, at=at)) for x, at in steps]
                    _curve(axes, rows, style)
                axes.set_xlabel(f"size of the perturbation, {norm}")
                axes.set_ylabel(metric(name).label)
                axes.grid(axis="both")
                axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
                svg = to_svg(figure, _id("rob", name, norm), f"{metric(name).label} against the size of the attack.")
            charts.append(Chart(svg, f"{metric(name).label} under attack, {norm}"))
    return charts


def sweep(index: ResultsIndex, target: str, method: str, *, at: str, gate: str = "") -> Chart:
    """Accuracy, false positives and box area against the threshold, aligned so that none is read alone."""
    measured = index.values("metric", "sweep", target=target)
    names = [n for n in ("accuracy", "afp", "mean_box_area") if n in measured]
    where: dict[str, Any] = {"target": target, "method": method, "at": at, "gate": gate}
    steps = thresholds(index, target, method)
    with canvas(1.25 * len(names) + 0.3, len(names)) as (figure, axes):
        for panel, name in zip(axes, names, strict=True):
            for variant, style in index.styles.items():
                _curve(panel, [(t, sweep_row(index, name, variant, threshold=t, **where)) for t in steps], style)
            panel.set_ylabel(metric(name).label)
            panel.set_ylim(bottom=0)
            panel.grid(axis="both")
            panel.label_outer()
        axes[-1].set_xlabel("threshold on the map scaled to 0–255")
        labels = ", ".join(metric(n).label for n in names)
        alt = f"{labels} against the threshold for {method_label(method)}, a hit at {at}."
        svg = to_svg(figure, _id("sweep", target, method, at, gate), alt)
    return Chart(svg, f"{method_label(method)}, a hit at {at}")


def training(index: ResultsIndex) -> list[Chart]:
    """Loss on clean (solid) and adversarial images (dashed), and validation scores: a thin line for each seed."""
    charts = []
    panels = (
        ("Training loss", "loss, each recipe's own", {"loss_clean": "-", "loss_adversarial": (0, (3, 1.5))}),
        ("Validation AUROC", "AUROC", {"validation_auroc": "-"}),
        ("Validation accuracy", "accuracy", {"validation_accuracy": "-"}),
    )
    for title, label, lines in panels:
        has_lines = False
        with canvas(2.4) as (figure, (axes,)):
            for variant in index.results["variants"]:
                for run in variant.get("runs", []):
                    for key, line in lines.items():
                        has_lines |= _history(axes, run, key, index.styles[variant["label"]], line)
            axes.set_xlabel("epoch")
            axes.set_ylabel(label)
            axes.grid(axis="both")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            svg = to_svg(figure, _id("train", title), f"{title} by epoch, one line per seed.")
        if has_lines:
            note = (
                "solid: clean images; dashed: adversarial images"
                if "loss_adversarial" in lines
                else "large mark: chosen epoch"
            )
            charts.append(Chart(svg, title, note))
    return charts


def _history(axes: Axes, run: dict[str, Any], key: str, style: Style, line: Any) -> bool:  # noqa: ANN401
    points = [(e["epoch"], e.get(key)) for e in run.get("history", [])]
    points = [(x, y) for x, y in points if defined(y)]
    if not points:
        return False
    marks: dict[str, Any] = {"marker": style.marker, "ms": 2.6, "markevery": (0.05, 0.25)}  # families share a colour
    axes.plot([x for x, _ in points], [y for _, y in points], color=style.colour, lw=0.9, ls=line, alpha=0.85, **marks)
    best = [(x, y) for x, y in points if x == run.get("best_epoch")]
    if key.startswith("validation") and best:
        axes.plot(*best[0], style.marker, color=style.colour, ms=5)
    return True


def _dots(
    axes: Axes,
    names: Sequence[str],
    styles: dict[str, Style],
    row_of: Found,
    hollow: Callable[[ResultRow], bool] = lambda _row: False,
) -> None:
    step = min(0.2, 0.72 / len(styles))  # the marks of one row stay nearer to each other than to the next row
    offsets = step * (np.arange(len(styles)) - (len(styles) - 1) / 2)
    for place, name in enumerate(names):
        for offset, (variant, style) in zip(offsets, styles.items(), strict=True):
            row, y = row_of(name, variant), place + float(offset)
            if row is None:
                continue
            if not defined(row["value"]):
                axes.annotate(
                    "undefined", (0, y), (3, 0), ("axes fraction", "data"), textcoords="offset points",
                    va="center", fontsize=6.5, color=style.colour,
                )  # fmt: skip
                continue
            if defined(row.get("low")) and defined(row.get("high")):
                axes.plot([row["low"], row["high"]], [y, y], color=style.colour, lw=1.3, solid_capstyle="butt")
            face = "white" if hollow(row) else style.colour
            axes.plot([row["value"]], [y], style.marker, color=style.colour, mfc=face, ms=4.2, mew=1.1, zorder=5)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.grid(axis="x")


def _curve(axes: Axes, rows: Sequence[tuple[float, ResultRow | None]], style: Style) -> None:
    points = [(x, row) for x, row in rows if row is not None and defined(row["value"])]
    xs = [x for x, _ in points]
    axes.plot(xs, [r["value"] for _, r in points], color=style.colour, marker=style.marker, ms=3.4, lw=1.2)
    banded = [(x, r["low"], r["high"]) for x, r in points if defined(r.get("low")) and defined(r.get("high"))]
    if banded:
        x, low, high = zip(*banded, strict=True)
        axes.fill_between(x, low, high, color=style.colour, alpha=0.16, lw=0)


def _metrics(index: ResultsIndex, target: str) -> list[str]:
    names = index.values("metric", "localization", target=target, class_=MEAN)
    return [
        *(m for m in LOCALIZATION_METRICS if m in names),
        *(m for m in names if m not in LOCALIZATION_METRICS),
    ]


def _height(rows: int, variants: int) -> float:
    return 0.52 + rows * max(0.24, 0.085 * variants + 0.13)


def _id(*parts: str) -> str:
    return "-".join("".join(c if c.isalnum() and c.isascii() else "_" for c in part) for part in parts if part)
