"""A figure as text: value, interval, n, seeds and difference; an undefined one with its reason, never 0."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pellucid.report.tables.metrics import Metric, defined, metric, number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from pellucid.report.tables.results_index import ResultRow

__all__ = ["Cell", "Difference", "Table", "TableRow", "across", "compare", "estimate", "line", "metric", "verdict"]


@dataclass(frozen=True)
class Difference:
    """A paired difference from the reference as text; `verdict` says what an interval without 0 means."""

    value: str
    interval: str = ""
    verdict: str = ""
    seeds: str = ""
    n: int | None = None
    reason: str = ""
    undefined: bool = False


@dataclass(frozen=True)
class Cell:
    """One figure as text; an undefined one says so and why."""

    value: str
    interval: str = ""
    seeds: str = ""
    n: int | None = None
    reason: str = ""
    difference: Difference | None = None
    span: int = 1
    undefined: bool = False


@dataclass(frozen=True)
class TableRow:
    """A row of a table; one without cells is the heading of those below it."""

    label: str
    hint: str = ""
    cells: tuple[Cell | None, ...] = ()
    n: str = ""
    strong: bool = False
    muted: bool = False


@dataclass(frozen=True)
class Table:
    """A table ready for the page."""

    caption: str
    columns: tuple[str, ...]
    lines: tuple[TableRow, ...]
    note: str = ""
    first: str = ""
    show_n: bool = True

    def __bool__(self) -> bool:
        return any(cell is not None for line in self.lines for cell in line.cells)


def estimate(row: Mapping[str, Any] | None, measure: Metric) -> Cell | None:
    """A row of results as text; None where there is no such row.

    Example:
        >>> cell = estimate({"value": 0.8124, "low": 0.79, "high": 0.833, "n": 460}, metric("auroc"))
        >>> cell.value, cell.interval, cell.n
        ('0.812', '[0.790, 0.833]', 460)
        >>> estimate({"value": None, "n": 0, "reason": "no positives"}, metric("auroc"))
        Cell(value='undefined', interval='', seeds='', n=0, reason='no positives', difference=None, span=1, \
undefined=True)
    """
    if row is None:
        return None
    delta, reason = compare(row.get("difference"), measure), row.get("reason") or ""
    if delta and delta.n not in (None, row.get("n")):
        delta = replace(delta, reason=_join(f"n = {delta.n:,}", delta.reason))
    if delta and not delta.undefined and delta.reason == reason:
        delta = replace(delta, reason="")  # said once, of the figure itself
    if not defined(row.get("value")):
        why = reason or "no reason recorded"
        if delta and delta.undefined:
            delta = None  # it goes without saying
        return Cell("undefined", n=row.get("n"), reason=why, difference=delta, undefined=True)
    spread = row.get("seed_spread")
    many = sum(defined(s) for s in row.get("seeds") or ()) > 1
    seeds = f"±{number(spread, measure.decimals)} between seeds" if many and defined(spread) else ""
    return Cell(number(row["value"], measure.decimals), _interval(row, measure), seeds, row.get("n"), reason, delta)


def compare(row: Mapping[str, Any] | None, measure: Metric) -> Difference | None:
    """A paired difference as text, with a verdict only where its interval excludes 0.

    Example:
        >>> row = {"value": -0.1, "low": -0.2, "high": -0.05, "seeds": [-0.12, -0.08]}
        >>> found = compare(row, metric("afp"))
        >>> found.value, found.interval, found.verdict, found.seeds
        ('−0.100', '[−0.200, −0.050]', 'better', 'seeds −0.120 to −0.080')
    """
    if row is None:
        return None
    if not defined(row.get("value")):
        why = row.get("reason") or "no reason recorded"
        return Difference("undefined", n=row.get("n"), reason=why, undefined=True)
    seeds = [s for s in row.get("seeds") or () if defined(s)]
    spread = (min(seeds), max(seeds)) if len(seeds) > 1 else ()
    ends = [number(seed, measure.decimals, signed=True) for seed in spread]
    return Difference(
        number(row["value"], measure.decimals, signed=True),
        _interval(row, measure, signed=True),
        verdict(row, measure.better),
        f"seeds {ends[0]} to {ends[1]}" if ends else "",
        row.get("n"),
        row.get("reason") or "",
    )


def verdict(row: Mapping[str, Any], better: int) -> str:
    """What an interval that excludes 0 says: `better`, `worse`, or `differs` for a metric without direction.

    Empty where the interval holds 0 or is missing.
    """
    low, high = row.get("low"), row.get("high")
    if not (defined(low) and defined(high)) or low <= 0 <= high:
        return ""
    if better == 0:
        return "differs"
    return "better" if (low > 0) == (better > 0) else "worse"


def _interval(row: Mapping[str, Any], measure: Metric, *, signed: bool = False) -> str:
    low, high = row.get("low"), row.get("high")
    if not (defined(low) and defined(high)):
        return "[no interval]"
    ends = [number(end, measure.decimals, signed=signed) for end in (low, high)]
    return f"[{ends[0]}, {ends[1]}]"


def line(
    label: str,
    rows: Sequence[ResultRow | None],
    measure: Metric,
    *,
    hint: str = "",
    strong: bool = False,
) -> TableRow:
    """A row of figures of one metric."""
    return replace(across(label, [estimate(row, measure) for row in rows]), hint=hint, strong=strong)


def across(label: str, cells: Sequence[Cell | None]) -> TableRow:
    """A row of figures that share their n, or say their own where they do not."""
    sizes = {cell.n for cell in cells if cell is not None and cell.n is not None}
    if len(sizes) == 1:
        return TableRow(label, "", tuple(cells), f"{sizes.pop():,}")
    annotated = [
        cell if cell is None or cell.n is None else replace(cell, reason=_join(f"n = {cell.n:,}", cell.reason))
        for cell in cells
    ]
    return TableRow(label, "", tuple(annotated))


def _join(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
