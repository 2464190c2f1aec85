"""A figure as text: value, interval, n, seeds and difference; an undefined one with its reason, never 0."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from pellucid.evaluation.metrics.verdicts import SHOWN, UNCLEAR, WORSE
from pellucid.report.tables.metrics import Metric, defined, metric, number, p_text
from pellucid.report.tables.results_index import MEAN
from pellucid.utils.words import decimals_for, interval_text, number_of, value_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from pellucid.report.tables.results_index import ResultRow

__all__ = [
    "Cell",
    "DifferenceText",
    "PageTable",
    "TableRow",
    "across",
    "bars_of",
    "compare",
    "estimate",
    "line",
    "metric",
    "reasons_once",
    "size",
    "size_once",
    "verdict_text",
]
NO_INTERVAL = "[no interval]"
OFTEN = 3  # cells of one reason, from which on it stands under the table
SMALL = 0.01  # of a difference where no margin is stated


@dataclass(frozen=True)
class DifferenceText:
    """A paired difference from the reference as text: of the recipes, and apart from it of these networks.

    Attributes:
        value: the difference.
        interval: of other trainings and patients; empty where recipes were trained too seldom.
        verdict: what the recipes' difference is called: `better`, `worse`, `differs`, `same` or `no worse`.
        p: its p value, raw and corrected.
        networks: the interval of other patients, these networks held fixed, what that says, and DeLong's p of AUROC.
        n: how many things it averages over.
        reason: why something is missing or left out.
        below: the trivial map that still scores higher, in words.
        undefined: whether there is no difference.
    """

    value: str
    interval: str = ""
    verdict: str = ""
    p: str = ""
    networks: str = ""
    n: int | None = None
    reason: str = ""
    below: str = ""
    undefined: bool = False


@dataclass(frozen=True)
class Cell:
    """One figure as text; an undefined one says so and why. `counted` says how many of n are positives, and of whom."""

    value: str
    interval: str = ""
    seeds: str = ""
    n: int | None = None
    reason: str = ""
    difference: DifferenceText | None = None
    span: int = 1
    undefined: bool = False
    counted: str = ""


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
class PageTable:
    """A table ready for the page; `size` is the n that all of its rows share, which stands above it."""

    caption: str
    columns: tuple[str, ...]
    lines: tuple[TableRow, ...]
    note: str = ""
    first: str = ""
    show_n: bool = True
    size: str = ""

    @property
    def wide(self) -> bool:
        """Whether it needs the width of a desk's screen: of many columns, or of three that say their differences."""
        differ = any(cell and cell.difference for line in self.lines for cell in line.cells)
        return len(self.columns) > 4 or (len(self.columns) > 2 and differ)

    def __bool__(self) -> bool:
        return any(cell is not None for line in self.lines for cell in line.cells)


def size_once(table: PageTable) -> PageTable:
    """The table with the n that all of its rows share above it, and not in each row.

    Published figures, which are muted and have no n, do not count.

    Example:
        >>> lines = tuple(TableRow(name, cells=(Cell("0.5"),), n="356 (46 patients)") for name in ("plain", "robust"))
        >>> table = size_once(PageTable("Mean over classes", ("Accuracy",), lines))
        >>> table.size, table.show_n
        ('356 (46 patients)', False)
    """
    sizes = {row.n for row in table.lines if row.cells and not (row.muted and not row.n)}
    if len(sizes) != 1 or not all(sizes) or not table.show_n:
        return table
    return replace(table, size=sizes.pop(), show_n=False)


def reasons_once(table: PageTable) -> PageTable:
    """The table with the reason that most of its figures share for having no interval under it, and not in each cell.

    Example:
        >>> few = Cell("1.000", "[no interval]", reason="1 image only, and an interval needs 5")
        >>> lines = tuple(TableRow(name, cells=(few,)) for name in ("jaguar", "alp", "puck"))
        >>> table = reasons_once(PageTable("Each class", ("Sensitivity",), lines, "The most probable class is said."))
        >>> table.note
        'The most probable class is said. [no interval]: 1 image only, and an interval needs 5.'
        >>> {cell.reason for line in table.lines for cell in line.cells}
        {''}
    """
    cells = [cell for line in table.lines for cell in line.cells]
    counts = Counter(cell.reason for cell in cells if cell and cell.interval == NO_INTERVAL and cell.reason)
    reason, count = counts.most_common(1)[0] if counts else ("", 0)
    if count < OFTEN:
        return table

    def without(cell: Cell | None) -> Cell | None:
        if cell is None or (cell.interval, cell.reason) != (NO_INTERVAL, reason):
            return cell
        return replace(cell, reason="")

    lines = tuple(replace(one, cells=tuple(without(cell) for cell in one.cells)) for one in table.lines)
    return replace(table, lines=lines, note=f"{table.note} {NO_INTERVAL}: {reason.rstrip('.')}.".strip())


def estimate(row: Mapping[str, Any] | None, measure: Metric) -> Cell | None:
    """A row of results as text; None where there is no such row.

    Example:
        >>> cell = estimate({"value": 0.8124, "low": 0.79, "high": 0.833, "n": 460}, metric("auroc"))
        >>> cell.value, cell.interval, cell.n
        ('0.812', '[0.790, 0.833]', 460)
        >>> few = {"value": 0.9, "low": 0.8, "high": 0.95, "n": 460, "positives": 12, "patients": 230}
        >>> estimate(few, metric("auroc")).counted
        '12 positives, 230 patients'
        >>> estimate({"value": None, "n": 0, "reason": "no positives"}, metric("auroc"))
        Cell(value='undefined', interval='', seeds='', n=0, reason='no positives', difference=None, span=1, \
undefined=True, counted='')
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
        return Cell("undefined", n=row.get("n"), reason=why, difference=delta, undefined=True, counted=_counted(row))
    spread = row.get("seed_spread")
    many = sum(defined(s) for s in row.get("seeds") or ()) > 1
    seeds = f"±{number(spread, measure.decimals)} between seeds" if many and defined(spread) else ""
    text_of = partial(number, decimals=measure.decimals)
    value, interval = value_text(row["value"], row.get("low"), row.get("high"), text_of), _interval(row, measure)
    return Cell(value, interval, seeds, row.get("n"), reason, delta, counted=_counted(row))


def _counted(row: Mapping[str, Any]) -> str:
    """How many of n show the class, and of how many patients they are; of a mean over classes the fewest of one."""
    counts = ((row.get("positives"), "positive(s)"), (row.get("patients"), "patient(s)"))
    text = ", ".join(
        number_of(count, things) for count, things in counts if count is not None and count != row.get("n")
    )
    is_over_classes = row.get("class") == MEAN and (row.get("positives") is not None or row.get("target"))
    return f"at least {text}" if text and is_over_classes else text


def compare(row: Mapping[str, Any] | None, measure: Metric) -> DifferenceText | None:
    """A paired difference as text, with the verdicts that its p values, corrected, allow.

    Example:
        >>> networks = {"low": -0.13, "high": -0.07, "verdict": "better", "reason": None}
        >>> recipes = {"low": -0.2, "high": 0.0, "p": 0.06, "p_corrected": 0.12, "verdict": "unclear"}
        >>> found = compare({"value": -0.1, "networks": networks, "recipes": recipes}, metric("afp"))
        >>> found.value, found.interval, found.verdict, found.p
        ('−0.100', '[−0.200, 0.000]', '', 'p 0.060, corrected 0.120')
        >>> found.networks
        'lower for these networks [−0.130, −0.070]'

        The difference has as many decimals as its intervals, and none that excludes 0 or the margin reads otherwise:

        >>> recipes = {"low": -0.0198, "high": 0.1, "p": 0.06, "p_corrected": 0.12, "verdict": "no worse"}
        >>> row = {"value": 0.0004, "margin": 0.02, "networks": networks, "recipes": recipes}
        >>> close = compare(row, metric("auroc"))
        >>> close.value, close.interval
        ('+0.0004', '[−0.0198, +0.1000]')
    """
    if row is None:
        return None
    if not defined(row.get("value")):
        why = row.get("reason") or "no reason recorded"
        return DifferenceText("undefined", n=row.get("n"), reason=why, undefined=True)
    networks, recipes = row["networks"], row["recipes"]
    below = row.get("below_trivial")
    answered = defined(recipes.get("low"))
    bars, text_of = bars_of(row), partial(number, decimals=measure.decimals, signed=True)
    ends = [(one.get("low"), one.get("high")) for one in (recipes, networks)]
    text_of = partial(number, decimals=decimals_for(ends, text_of, bars), signed=True)  # the three as precise
    return DifferenceText(
        text_of(row["value"]),
        interval_text(*ends[0], text_of, bars) if answered else "",
        verdict_text(recipes) if answered else "",
        _join(_p(recipes, row.get("aim")), no_margin(row, recipes)) if answered else "",
        _join(
            f"{_way(row, networks)}these networks {interval_text(*ends[1], text_of, bars) or NO_INTERVAL}",
            _delong(networks),
            "" if answered else no_margin(row, networks),
        ),
        row.get("n"),
        _join(row.get("reason") or "", networks.get("reason") or ""),
        f"still below the best trivial map ({below['map']})" if below and verdict_text(recipes) == "better" else "",
    )


def bars_of(difference: Mapping[str, Any]) -> tuple[float, ...]:
    """The values that a paired difference is held against: its margin, either way; 0 is one of every interval.

    Example:
        >>> bars_of({"margin": 0.02}), bars_of({"margin": None})
        ((-0.02, 0.02), ())
    """
    margin = difference.get("margin") or 0.0
    return (-margin, margin) if margin else ()


def verdict_text(answer: Mapping[str, Any]) -> str:
    """The verdict on a question as the page shows it: nothing where it is unclear or was not judged."""
    verdict = answer.get("verdict") or ""
    return "" if verdict == UNCLEAR else verdict


def no_margin(difference: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    """That no margin was stated, where a difference below the one that most scores have is called one.

    Args:
        difference: as `judge_family` gives it.
        answer: to one of its questions.

    Example:
        >>> no_margin({"value": -0.002, "margin": 0.0}, {"verdict": "worse"})
        'no margin stated'
        >>> no_margin({"value": -0.02, "margin": 0.0}, {"verdict": "worse"})
        ''
    """
    is_small = abs(difference["value"]) < SMALL and not difference.get("margin")
    return "no margin stated" if is_small and answer.get("verdict") in SHOWN else ""


def _way(row: Mapping[str, Any], networks: Mapping[str, Any]) -> str:
    """Of networks it is said which is higher, not which is better: that would be taken for the recipe's."""
    verdict = verdict_text(networks)
    if verdict in SHOWN:
        verdict = "higher" if row["value"] > 0 else "lower"
    return f"{verdict} for " if verdict else ""


def _p(answer: Mapping[str, Any], aim: object) -> str:
    raw, corrected, label = answer.get("p"), answer.get("p_corrected"), "p"
    if aim == "no worse" and answer.get("verdict") == WORSE:
        raw, corrected, label = answer.get("p_worse"), answer.get("p_worse_corrected"), "p of “worse”"
    elif aim == "no worse":
        raw, label = answer.get("p_no_worse"), "p of “no worse”"
    text = f"{label} {p_text(raw)}"
    return f"{text}, corrected {p_text(corrected)}" if defined(corrected) else text


def _delong(networks: Mapping[str, Any]) -> str:
    """DeLong's p with the corrected one; nothing where it was not tested."""
    raw, corrected = networks.get("p_delong"), networks.get("p_delong_corrected")
    if not defined(raw):
        return ""
    return f"DeLong p {p_text(raw)}" + (f", corrected {p_text(corrected)}" if defined(corrected) else "")


def _interval(row: Mapping[str, Any], measure: Metric) -> str:
    text_of = partial(number, decimals=measure.decimals)
    return interval_text(row.get("low"), row.get("high"), text_of) or NO_INTERVAL


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
    sizes = {size(cell) for cell in cells} - {""}
    if len(sizes) == 1:
        return TableRow(label, "", tuple(cells), sizes.pop())
    annotated = [
        replace(cell, reason=_join(f"n = {size(cell)}", cell.reason)) if cell is not None and size(cell) else cell
        for cell in cells
    ]
    return TableRow(label, "", tuple(annotated))


def size(cell: Cell | None) -> str:
    """Its n, and how many of them are positives, of how many patients; nothing where there is no n.

    Example:
        >>> size(Cell("0.812", n=460, counted="12 positives, 230 patients")), size(Cell("0.812"))
        ('460 (12 positives, 230 patients)', '')
    """
    if cell is None or cell.n is None:
        return ""
    return f"{cell.n:,} ({cell.counted})" if cell.counted else f"{cell.n:,}"


def _join(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
