"""The Accuracy-Robustness Areas of a study: one table of all variants, one per kind by label, and the figures."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pellucid.report.charts import curves, frontier
from pellucid.report.tables.cells import Cell, PageTable, TableRow, across, estimate, line
from pellucid.report.tables.metrics import defined, metric, number, readable
from pellucid.report.tables.results_index import MEAN, ResultsIndex
from pellucid.utils.words import interval_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MATCHED = 0.03  # networks whose clean accuracies lie further apart are not called matched
ROUNDING = 1e-9
SHORT = {"attack": "attack", "btr": "BTR"}


def section(index: ResultsIndex) -> dict[str, Any]:
    """What the template shows of the areas; empty where the study measured none."""
    if not frontier.kinds(index):
        return {}
    area_results: Mapping[str, Any] = index.results.get("ara") or {}
    area_curves = curves.stored(area_results.get("curves", []))
    return {
        "protocol": area_results.get("protocol", "unknown"),
        "images": area_results.get("images"),
        "alarms": area_results.get("alarms", []),
        "frontier": frontier.charts(index),
        "overview": overview(index),
        "curves": curves.charts(area_curves, index.styles),
        "matched": matched(index, area_results.get("matched", []), area_curves),
        "by_label": by_label(index),
    }


def overview(index: ResultsIndex, first: str = "Recipe") -> PageTable:
    """Variants, called as `first` says, by accuracy, areas, share found and cost; under them published figures."""
    kinds, clean = frontier.kinds(index), frontier.clean_metric(index)
    names = [*([clean] if clean else []), *(frontier.AREA + kind for kind in kinds)]
    attacks = (index.results.get("ara") or {}).get("attacks", [])
    lines = []
    for variant in index.variants:
        row = across(variant, [estimate(index.row("ara", name, variant), metric(name)) for name in names])
        spent = [[a for a in attacks if (a["variant"], a["kind"]) == (variant, kind)] for kind in kinds]
        more = [share(s) for s in spent] + [cost(s) for s in spent] if attacks else []
        lines.append(replace(row, cells=(*row.cells, *more)))
    columns = [metric(name).label for name in names]
    notes = [f"{metric(name).label}: {metric(name).meaning}." for name in names]
    if attacks:
        columns += [f"Found, {SHORT.get(kind, kind)}" for kind in kinds]
        columns += [f"Gradients, {SHORT.get(kind, kind)}" for kind in kinds]
        unit = "image" if index.class_noun == "class" else "image and label"
        notes.append("Found: the share of attacks that found a perturbation, or needed none.")
        notes.append(f"Gradients: gradient evaluations per {unit}.")
    published = _published(index, kinds, clean, len(columns))
    notes += ["Published figures come without interval."] if published else []
    return PageTable("Accuracy and areas", tuple(columns), (*lines, *published), " ".join(notes), first)


def share(attacks: Sequence[Mapping[str, Any]]) -> Cell | None:
    """How many of a variant's attacks, of all its seeds, found a perturbation.

    Example:
        >>> cell = share([{"found": 98, "n": 100}, {"found": 100, "n": 100}])
        >>> cell.value, cell.reason
        ('99.0 %', '2 of 200 failed')
    """
    successes, n = (sum(a[key] for a in attacks) for key in ("found", "n"))
    if not n:
        return None
    return Cell(f"{100 * successes / n:.1f} %", reason=f"{n - successes:,} of {n:,} failed" if successes < n else "")


def cost(attacks: Sequence[Mapping[str, Any]]) -> Cell | None:
    """The gradient evaluations of a variant's attacks, of all its seeds, each on average."""
    spent, n = (sum(a[key] for a in attacks) for key in ("gradient_evaluations", "n"))
    return Cell(f"{spent / n:.1f}") if n else None


def _published(index: ResultsIndex, kinds: Sequence[str], clean: str, columns: int) -> list[TableRow]:
    """A heading a source, then its networks, with the areas of every kind that it gives."""
    by_source: dict[str, dict[str, Mapping[str, Any]]] = {}
    for kind in kinds:
        for one in index.comparators("ara", kind):
            by_source.setdefault(one["name"], {})[kind] = one
    lines = []
    for source, comparators in by_source.items():
        notes = dict.fromkeys(one["note"] for one in comparators.values() if one.get("note"))
        lines.append(TableRow(f"Published: {source}", "; ".join(notes)))
        for name in dict.fromkeys(name for one in comparators.values() for name in one["values"]):
            areas = [
                _figure(comparators.get(kind, {}).get("values", {}).get(name), frontier.AREA + kind) for kind in kinds
            ]
            accuracy = next(one["accuracy"][name] for one in comparators.values() if name in one["accuracy"])
            cells = [*([_figure(accuracy, clean)] if clean else []), *areas]
            lines.append(TableRow(f"{name} (published)", "", (*cells, *[None] * (columns - len(cells)))))
    return lines


def _figure(value: object, name: str) -> Cell:
    if not defined(value):
        return Cell("not published", undefined=True)
    return Cell(number(value, metric(name).decimals))


def by_label(index: ResultsIndex) -> list[PageTable]:
    """One table per figure, where there are several labels: labels by variants, the mean last."""
    tables = []
    for name in index.values("metric", "ara"):
        classes = index.class_names("ara", metric=name)
        if len(classes) < 2:
            continue
        lines = [
            line(
                "Mean over labels" if cls == MEAN else readable(cls),
                [index.row("ara", name, variant, cls=cls) for variant in index.variants],
                metric(name),
                strong=cls == MEAN,
            )
            for cls in classes
        ]
        meaning = metric(name).meaning
        note = meaning[:1].upper() + meaning[1:] + "."
        tables.append(PageTable(metric(name).label, tuple(index.variants), tuple(lines), note, first="Label"))
    return [t for t in tables if t]


def matched(
    index: ResultsIndex, labels: Sequence[str], area_curves: Sequence[curves.AraCurve]
) -> dict[str, Any] | None:
    """The curves of the variants that the study calls matched, and how well they are; None where it names none."""
    own = {label: style for label, style in index.styles.items() if label in labels}
    own_curves = [curve for curve in area_curves if curve.name in own]
    if not own_curves:
        return None
    return {
        "styles": own,
        "caption": how_well(index, list(own)),
        "charts": curves.charts(own_curves, own, name="matched"),
    }


def how_well(index: ResultsIndex, labels: Sequence[str]) -> str:
    """Each variant's clean accuracy, the spread between them, and whether that is a match."""
    name = frontier.clean_metric(index)
    rows = {label: index.row("ara", name, label) for label in labels} if name else {}
    defined_rows = {label: row for label, row in rows.items() if row is not None and defined(row["value"])}
    if len(defined_rows) < len(labels):
        lacking = ", ".join(label for label in labels if label not in defined_rows)
        return f"The accuracy of {lacking} without a perturbation is not known: whether these match cannot be said."
    accuracies = ", ".join(f"{label} {_percent(row['value'])}{_interval(row)}" for label, row in defined_rows.items())
    values = [row["value"] for row in defined_rows.values()]
    spread = max(values) - min(values)
    sentence = (
        f"{metric(name).label} without a perturbation, on the same images: {accuracies}. "
        f"Between the highest and the lowest lie {100 * spread:.1f} points."
    )
    if spread <= MATCHED + ROUNDING:
        return sentence
    return (
        f"{sentence} That is more than {100 * MATCHED:.0f}: these networks are not matched, and the more accurate "
        "of them start higher."
    )


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _interval(row: Mapping[str, Any]) -> str:
    interval = interval_text(row.get("low"), row.get("high"), lambda end: f"{100 * end:.1f}")
    return f" {interval}" if interval else ""
