"""Wang et al.'s localisation and its threshold sweep as tables: accuracy never without AFP and box area."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.report.tables.cells import Cell, PageTable, TableRow, estimate, size, size_once
from pellucid.report.tables.metrics import defined, metric, number, readable
from pellucid.report.tables.results_index import MEAN, ResultsIndex

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SHOWN = ("IoBB > 0.1", "IoBB > 0.5", "IoU > 0.1", "IoU > 0.3")
FIRST = ("IoBB > 0.1", "IoU > 0.1")  # of which a report shows the figures at once, of the others when asked
PUBLISHED = (*SHOWN[:1], "IoBB > 0.25", *SHOWN[1:], "IoU > 0.5")  # what Wang et al. tabulate with AFP
GATES = {
    "annotated": "every annotated finding, whatever the classifier predicts",
    "predicted": "findings that the classifier predicts",
}
_TOGETHER = ("accuracy", "afp", "mean_box_area", "boxes_per_map")


def criteria(index: ResultsIndex, target: str) -> list[str]:
    """The overlaps that count as a hit, as the study names them."""
    return [at for at in index.values("at", "wang", target=target, metric="accuracy") if at]


def among(preferred: Sequence[str], measured: Sequence[str]) -> list[str]:
    """Those criteria that were measured; all measured ones where none of them was."""
    return [at for at in preferred if at in measured] or list(measured)


def wang(
    index: ResultsIndex, target: str, method: str, *, gate: str, ats: Sequence[str], cls: str = MEAN
) -> list[PageTable]:
    """Accuracy and AFP, for each criterion one row per variant; then once what no criterion changes: the boxes."""
    where: dict[str, Any] = {"cls": cls, "target": target, "method": method, "gate": gate}
    columns = _columns(index, "wang", target, method, gate=gate)
    of_hits = [c for c in columns if any(index.row("wang", c, v, at=at, **where) for at in ats for v in index.variants)]
    caption = "Mean over classes" if cls == MEAN else readable(cls)
    lines: list[TableRow] = []
    for at in ats:
        lines.append(TableRow(at))
        for variant in index.variants:
            rows = [index.row("wang", name, variant, at=at, **where) for name in of_hits]
            lines.append(_together(variant, [estimate(r, metric(c)) for r, c in zip(rows, of_hits, strict=True)]))
        lines.extend(_published(index, at, cls, of_hits))
    of_boxes = [c for c in columns if c not in of_hits]
    alone = [
        _together(variant, [estimate(index.row("wang", c, variant, **where), metric(c)) for c in of_boxes])
        for variant in index.variants
    ]
    tables = [
        PageTable(title, tuple(metric(c).label for c in names), tuple(table_rows), first="Recipe")
        for title, names, table_rows in (
            (f"{caption}: what is hit", of_hits, lines),
            (f"{caption}: the boxes, whatever counts as a hit", of_boxes, alone),
        )
        if names
    ]
    return [size_once(table) for table in tables]


def sweep(index: ResultsIndex, target: str, method: str, *, at: str, gate: str = "") -> PageTable:
    """For each threshold one row per variant, with the same figures together."""
    columns = _columns(index, "sweep", target, method, gate=gate)
    lines: list[TableRow] = []
    for threshold in thresholds(index, target, method):
        lines.append(TableRow(f"threshold {threshold:g}"))
        for variant in index.variants:
            where: dict[str, Any] = {"target": target, "method": method, "gate": gate}
            rows = [sweep_row(index, c, variant, at=at, threshold=threshold, **where) for c in columns]
            lines.append(_together(variant, [estimate(r, metric(c)) for r, c in zip(rows, columns, strict=True)]))
    return size_once(PageTable(at, tuple(metric(c).label for c in columns), tuple(lines), first="Recipe"))


def sweep_row(
    index: ResultsIndex, name: str, variant: str, *, target: str, method: str, at: str, threshold: float, gate: str
) -> dict[str, Any] | None:
    """One figure of the sweep; the area and the number of boxes do not depend on the criterion."""
    where: dict[str, Any] = {"target": target, "method": method, "threshold": threshold, "gate": gate}
    return index.row("sweep", name, variant, at=at, **where) or index.row("sweep", name, variant, **where)


def thresholds(index: ResultsIndex, target: str, method: str) -> list[float]:
    """The thresholds that were swept, ascending."""
    values = index.values("threshold", "sweep", target=target, method=method)
    return sorted(t for t in values if defined(t))


def _columns(index: ResultsIndex, section: str, target: str, method: str, gate: str = "") -> list[str]:
    names = index.values("metric", section, target=target, method=method, gate=gate)
    return [name for name in _TOGETHER if name in names]


def _together(variant: str, cells: Sequence[Cell | None]) -> TableRow:
    return TableRow(variant, "", tuple(cells), size(cells[0]) if cells else "")


def _published(index: ResultsIndex, at: str, cls: str, columns: Iterable[str]) -> list[TableRow]:
    values: dict[str, dict[str, float]] = {}
    for name in columns:
        for one in index.comparators("wang", name, at):
            if defined(one["values"].get(cls)):
                values.setdefault(one["name"], {})[name] = one["values"][cls]
    return [
        TableRow(
            who,
            "published",
            tuple(
                Cell(number(figures[name], metric(name).decimals))
                if name in figures
                else Cell("not published", undefined=True)
                for name in columns
            ),
            muted=True,
        )
        for who, figures in values.items()
    ]
