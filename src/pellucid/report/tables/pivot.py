"""Rows of a study pivoted to the tables that people read: recipes side by side, each figure with its n."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pellucid.report.tables.cells import Cell, PageTable, TableRow, estimate, line, size, size_once
from pellucid.report.tables.metrics import Metric, defined, method_label, metric, number, readable
from pellucid.report.tables.results_index import MEAN, ResultsIndex

HEADLINE_METRICS = ("pointing", "energy_share", "auprc")
LOCALIZATION_METRICS = (*HEADLINE_METRICS[:2], "energy_ratio", "auprc", "effective_heat_ratio", "otsu_iou")


def headline(index: ResultsIndex) -> PageTable:
    """The study at a glance: discrimination, scores under attack, where the first method's maps fall."""
    lines = [
        _across(index, "Mean AUROC", "classification", "auroc", strong=True),
        _across(index, metric("accuracy").label, "classification", "accuracy"),
    ]
    name, strength = attacked(index)
    if strength:
        label = f"{metric(name).label} under attack"
        lines.append(_across(index, label, "robustness", name, at=strength, hint=f"under attack, {strength}"))
    for n in index.values("metric", "ara"):
        hint = "" if n.startswith("ara_") else "of the images of the ARA, unchanged"
        lines.append(_across(index, metric(n).label, "ara", n, hint=hint))
    for target in index.targets:
        methods = index.known_methods("localization", target=target["name"])
        if not methods:
            continue
        lines.append(TableRow(f"{method_label(methods[0])} · {target['title']}"))
        for name in index.results.get("headline") or HEADLINE_METRICS:
            hint = yardstick(index, target["name"], name)
            where = {"target": target["name"], "method": methods[0]}
            lines.append(_across(index, metric(name).label, "localization", name, hint=hint, **where))
    rows = tuple(x for x in lines if _useful(x))
    return size_once(PageTable("The study at a glance", tuple(index.variants), rows, first="Mean over classes"))


def attacked(index: ResultsIndex) -> tuple[str, str]:
    """The metric and the strength at which the headline shows robustness: the last that the study names."""
    for name in ("accuracy", "auroc"):
        at = [a for a in index.values("at", "robustness", metric=name, class_=MEAN) if strength_of(a)[1] > 0]
        if at:
            return name, at[-1]
    return "", ""


ROUNDING = 1e-5
"""Sizes are written with six digits."""


def strength_of(at: str) -> tuple[str, float]:
    """The norm and size that a robustness row's `at` names.

    Example:
        >>> strength_of("L∞ 0.005"), strength_of("0")
        (('L∞', 0.005), ('', 0.0))
    """
    norm, _, size = at.strip().rpartition(" ")
    try:
        return norm, float(size)
    except ValueError:
        return at, 0.0


def attack_label(at: str) -> str:
    """What a table calls a robustness row's `at`: sizes that are whole grey levels of 255 as such.

    Example:
        >>> attack_label("0"), attack_label("PGD L∞ 0.0156863"), attack_label("L2 0.5"), attack_label("L∞ 0.005")
        ('no attack', 'PGD L∞ 4/255', 'L2 0.5', 'L∞ 0.005')
    """
    norm, size = strength_of(at)
    levels = round(255 * size)
    if norm.endswith("L∞") and levels and abs(255 * size - levels) < ROUNDING * levels:
        return f"{norm} {levels}/255"
    return "no attack" if at == "0" else at


def yardstick(index: ResultsIndex, target: str, name: str) -> str:
    """What the best trivial map scores, in words."""
    if (best := index.best_trivial(target, name)) is None:
        return ""
    value, which = best
    return f"best trivial map: {number(value, metric(name).decimals)} ({which})"


def classification(index: ResultsIndex) -> list[PageTable]:
    """One table per metric: classes by variants, the mean last, published figures beside."""
    tables = []
    for name in index.values("metric", "classification"):
        measure = metric(name)
        published = index.comparators("classification", name)
        lines = []
        for cls in index.class_names("classification", metric=name):
            rows = [index.row("classification", name, v, cls=cls) for v in index.variants]
            label = "Mean over classes" if cls == MEAN else readable(cls)
            row = line(label, rows, measure, strong=cls == MEAN)
            published_cells = tuple(_published(c["values"].get(cls), measure) for c in published)
            lines.append(replace(row, cells=row.cells + published_cells))
        notes = [measure.meaning.capitalize() + "."] if measure.meaning else []
        notes += ["Published figures come without interval."] if published else []
        notes += [f"{c['name']}: {c['note']}" for c in published if c.get("note")]
        columns = (*index.variants, *(c["name"] for c in published))
        tables.append(PageTable(measure.label, columns, tuple(lines), " ".join(notes), index.class_noun.capitalize()))
    return [t for t in tables if t]


def robustness(index: ResultsIndex) -> list[PageTable]:
    """One table per metric: strengths of the attack by variants."""
    tables = []
    for name in index.values("metric", "robustness"):
        strengths = sorted(index.values("at", "robustness", metric=name), key=strength_of)
        lines = [_across(index, attack_label(at), "robustness", name, at=at) for at in strengths]
        caption = f"{metric(name).label} under attack"
        tables.append(size_once(PageTable(caption, tuple(index.variants), tuple(lines), first="Attack")))
    return [t for t in tables if t]


def localization(index: ResultsIndex, target: str, cls: str = MEAN) -> PageTable:
    """Threshold-free scores of one target: each metric's methods, then the trivial maps as yardsticks."""
    names = index.values("metric", "localization", target=target)
    ordered = [
        *(m for m in LOCALIZATION_METRICS if m in names),
        *(m for m in names if m not in LOCALIZATION_METRICS),
    ]
    lines: list[TableRow] = []
    for name in ordered:
        measure = metric(name)
        lines.append(TableRow(measure.label, measure.meaning))
        lines.extend(
            _across(index, method_label(m), "localization", name, target=target, method=m, cls=cls)
            for m in index.known_methods("localization", target=target, metric=name)
        )
        for trivial in index.trivial_maps("localization", target=target, metric=name):
            row = index.row("localization", name, cls=cls, target=target, method=trivial)
            if cell := estimate(row, measure):
                spanning = replace(cell, span=len(index.variants))
                lines.append(TableRow(method_label(trivial), "", (spanning,), size(cell), muted=True))
    caption = "Mean over classes" if cls == MEAN else readable(cls)
    return size_once(PageTable(caption, tuple(index.variants), tuple(x for x in lines if _useful(x)), first="Map"))


def _across(
    index: ResultsIndex,
    label: str,
    section: str,
    name: str,
    *,
    hint: str = "",
    strong: bool = False,
    **where: Any,  # noqa: ANN401
) -> TableRow:
    rows = [index.row(section, name, variant, **where) for variant in index.variants]
    return line(label, rows, metric(name), hint=hint, strong=strong)


def _published(value: object, measure: Metric) -> Cell:
    if not (isinstance(value, (int, float)) and defined(value)):
        return Cell("not published", undefined=True)
    return Cell(number(value, measure.decimals))


def _useful(row: TableRow) -> bool:
    return not row.cells or any(cell is not None for cell in row.cells)
