"""What verbs that measure figures hand out: rows with their intervals, as files, as tables and as attributes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pellucid.evaluation.metrics.statistics import Estimate
from pellucid.report.tables.cells import estimate, size
from pellucid.report.tables.metrics import metric, number
from pellucid.report.tables.results_index import TRIVIAL, ResultsIndex
from pellucid.types import InputError
from pellucid.utils.resources import nearest
from pellucid.utils.result import Footnotes, Result
from pellucid.utils.words import figure_text, known_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pellucid.evaluation.metrics.comparison import Row
    from pellucid.evaluation.trust.rows import TrustRow

MEAN = "mean"
_OF_SEVERAL = ("seeds", "seed_spread", "difference", "variant")  # fields that only a comparison of recipes fills


@dataclass(frozen=True, eq=False, repr=False)
class Figures(Result):
    """Figures, each with its 95 % interval.

    Attributes:
        about: what was measured, on what, with which settings.
        measured: the figures.
        notes: what a reader must know before believing them.
        failure: why they are undefined where the model gives no answer on some of the images; None where it does.
    """

    about: dict[str, Any]
    measured: Sequence[Row]
    notes: Sequence[str] = ()
    failure: str | None = None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One record per figure; None where it is undefined, with the reason beside it."""
        return figure_records(self.measured)

    def to_json(self) -> dict[str, Any]:
        """What was measured, on what, with which settings, and the figures."""
        return self.about | {"rows": [row.to_json() for row in self.measured]}

    @property
    def warnings(self) -> list[str]:
        """What a reader must know: of classes that one side lacks, and of images that the model has seen before."""
        return list(self.notes)

    @property
    def problem(self) -> str | None:
        """Why figures are undefined; None where the model answers on every image."""
        return self.failure

    def figure(self, metric: str, class_name: str = "mean", **where: str) -> Estimate:
        """One figure with its interval.

        Args:
            metric: its name, as `auroc`.
            class_name: of one class; their mean by default.
            where: further fields of its row, as ``method="cam"`` or ``at="L∞ 0.01"``.

        Raises:
            InputError: no such figure, with those there are.
        """
        conditions = {"metric": metric, "class_name": class_name, **where}
        for row in self.measured:
            if all(getattr(row, key) == value for key, value in conditions.items()):
                counts, fewest = (row.positives, row.patients), is_over_several(row, self.measured)
                return Estimate(row.value, row.low, row.high, row.n, row.reason, *counts, fewest=fewest)
        metrics = dict.fromkeys(row.metric for row in self.measured)
        classes = dict.fromkeys(row.class_name for row in self.measured)
        raise InputError(
            f"there is no figure {conditions}. {nearest(metric, metrics)} Of: {', '.join(classes)}; see .rows."
        )


def index_of(label: str, measured: Sequence[Row], **results: Any) -> ResultsIndex:  # noqa: ANN401
    """The figures of one model as the report's charts take them.

    Args:
        label: of the model.
        measured: its figures, those of maps that look at no network beside them.
        results: more of what results.json has, as ``data={"task": "multiclass"}``.
    """
    rows = [row.to_json() | ({} if row.method.startswith(TRIVIAL) else {"variant": label}) for row in measured]
    return ResultsIndex({"variants": [{"label": label, "reference": True}], "rows": rows, **results})


def figure_records(measured: Sequence[Row]) -> list[dict[str, Any]]:
    """One flat record per figure of one model, without what only a comparison of recipes fills."""
    return [{k: v for k, v in row.to_json().items() if k not in _OF_SEVERAL} for row in measured]


def figure_cell(
    one: Estimate | Row | TrustRow, decimals: int, notes: Footnotes, reason: str | None, bars: Sequence[float] = ()
) -> str:
    """A figure with its interval; of one that is undefined or has none, the mark of the note that says why.

    Args:
        one: the figure.
        decimals: of its numbers, more where the ends of its interval would read the same, or as a bar.
        notes: what stands under the table.
        reason: why it is undefined or has no interval; None where that is not known.
        bars: values on whose side of them the interval lies decides what is said of it.

    Example:
        >>> notes = Footnotes()
        >>> figure_cell(Estimate(-0.5, -0.75, 0.25, 9), 2, notes, None)
        '−0.50 [−0.75, 0.25]'
        >>> figure_cell(Estimate(math.nan, math.nan, math.nan, 0), 2, notes, "no positives"), notes.lines
        ('undefined¹', ['¹ no positives'])
    """
    if one.value != one.value:
        return f"undefined{notes.mark(reason or 'no reason recorded')}"
    text_of = partial(number, decimals=decimals)
    if one.low != one.low and reason:
        return f"{text_of(one.value)} [no interval]{notes.mark(reason)}"
    return figure_text(one.value, one.low, one.high, text_of, bars)


def is_over_several(row: Row, measured: Sequence[Row]) -> bool:
    """Whether a figure is a mean over several classes, whose positives and patients are those of one of them.

    Args:
        row: the figure.
        measured: all figures, those of the classes among them.

    Example:
        >>> from pellucid.evaluation.metrics.comparison import Row
        >>> one, other, mean = (
        ...     Row("classification", "auroc", name, "", 0.8, 0.7, 0.9, 40, positives=12) for name in ("a", "b", "mean")
        ... )
        >>> is_over_several(mean, [one, mean]), is_over_several(mean, [one, other, mean])
        (False, True)
    """
    if row.class_name != MEAN or (row.positives is None and not row.target):
        return False
    of_classes = [one for one in measured if one.class_name != MEAN and one.metric == row.metric]
    alike = [one for one in of_classes if _place(one) == _place(row)] or of_classes
    return not alike or sum(not math.isnan(one.value) for one in alike) > 1


def radius_text(value: float | None) -> str:
    """A radius, or an area in its unit, as tables have it; None or NaN where it is unknown.

    Example:
        >>> radius_text(0.012345), radius_text(None), radius_text(math.inf)
        ('0.0123', 'unknown', 'unbounded')
    """
    return known_text(value, "{:.4f}".format)


class FigureCells:
    """Figures as a table has them; what they leave out, and why some have no interval, stands under it once.

    Attributes:
        notes: what stands under the table.
    """

    def __init__(self, measured: Sequence[Row]) -> None:
        self.notes = Footnotes()
        self._measured = measured
        self._of_classes: dict[tuple[object, ...], list[Row]] = {}
        for row in measured:
            if row.class_name != MEAN:
                self._of_classes.setdefault(_place(row), []).append(row)

    def text(self, row: Row | None) -> str:
        """A figure with its interval, and the mark of the note that says what is left out, or why there is none.

        Nothing where there is no row.
        """
        if row is None:
            return ""
        reason = None
        if row.value != row.value or (row.low == row.low and row.reason):
            reason = self._reason(row, lambda one: one.value, "undefined")
        elif row.low != row.low and row.reason:
            reason = self._reason(row, lambda one: one.low, "no interval")
        text = figure_cell(row, 3, self.notes, reason)
        return text + self.notes.mark(reason) if reason and row.low == row.low else text

    def size(self, row: Row | None) -> str:
        """How many images, positives and patients stand behind a figure; nothing where there is no row."""
        if row is None:
            return ""
        values = row.to_json()
        if not is_over_several(row, self._measured):
            values["class"] = ""  # not the fewest of several classes, but of one
        return size(estimate(values, metric(row.metric)))

    def _reason(self, row: Row, figure_of: Callable[[Row], float], what: str) -> str:
        """Of a mean over classes how many of them are to blame, where some are; the reasons are their own."""
        classes = self._of_classes.get(_place(row), []) if row.class_name == MEAN else []
        lacking = [one for one in classes if math.isnan(figure_of(one))]
        reasons = {one.reason for one in lacking}
        if not lacking or (len(reasons) == 1 and len(lacking) == len(classes)):
            return row.reason or "no reason recorded"
        why = f": {lacking[0].reason}" if len(reasons) == 1 else "; the row of each class says why"
        return f"{what} for {len(lacking)} of {len(classes)} classes{why}"


def _place(row: Row) -> tuple[object, ...]:
    """What a class's figure shares with the mean over the classes."""
    return (row.section, row.metric, row.variant, row.target, row.method, row.gate, row.at, row.threshold)
