"""What every verb returns: its figures as records, tables to read, and one way to keep and to show them."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from base64 import b64encode
from dataclasses import dataclass
from html import escape
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.utils.csv_table import write_csv
from pellucid.utils.resources import optional, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

NUMBER = re.compile(r"[-−+<>≥≤±]*[.\d∞]|(?:NaN|none|undefined|–)")  # how the cell of a column of numbers begins
MEDIA = {".png": "image/png", ".svg": "image/svg+xml"}
SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def numeric(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[bool]:
    """Which columns hold numbers, and are aligned at the right: never the first, and none of prose.

    Example:
        >>> numeric(["verdict", "what was found", "n"], [["holds", "It is right.", "12"]])
        [False, False, True]
    """
    cells = list(zip_longest(*rows, fillvalue="")) or [()] * len(
        columns
    )  # a last row may only say how many are left out
    return [i > 0 and all(NUMBER.match(cell) for cell in column if cell) for i, column in enumerate(cells)]


@dataclass(frozen=True)
class Table:
    """A few figures as people read them: a title, column headings, rows of text, and notes that stand under them."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def to_html(self) -> str:
        """As an HTML table; columns of numbers are right-aligned.

        Example:
            >>> Table("n", ["a"], [["<1"]]).to_html()
            '<table><caption>n</caption><thead><tr><th>a</th></tr></thead><tbody><tr><td>&lt;1</td></tr></tbody></table>'
        """
        side = [' style="text-align:right"' if number else "" for number in numeric(self.columns, self.rows)]
        head = "".join(f"<th{s}>{escape(c)}</th>" for c, s in zip(self.columns, side, strict=True))
        body = "".join(
            "<tr>" + "".join(f"<td{s}>{escape(c)}</td>" for c, s in zip(row, side, strict=True)) + "</tr>"
            for row in self.rows
        )
        caption = f"<caption>{escape(self.title)}</caption>"
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"

    def to_text(self) -> str:
        """As lines of text, the columns aligned.

        Example:
            >>> print(Table("areas", ["model", "ARA"], [["plain", "0.004"], ["robust", "0.013"]]).to_text())
            areas
            model   ARA
            plain   0.004
            robust  0.013
        """
        lines = [self.columns, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        texts = ("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)
        return "\n".join([self.title, *texts, *self.notes])


class Footnotes:
    """What a table says of some of its cells, each once: a mark in the cell, and a line under the table.

    Example:
        >>> notes = Footnotes()
        >>> notes.mark("no positives"), notes.mark("no negatives"), notes.mark("no positives"), notes.lines
        ('¹', '²', '¹', ['¹ no positives', '² no negatives'])
    """

    def __init__(self) -> None:
        self._marks: dict[str, str] = {}

    def mark(self, text: str) -> str:
        """The mark of a text; it gets the next number where it is new."""
        number = str(len(self._marks) + 1).translate(SUPERSCRIPT)
        return self._marks.setdefault(text, number)

    @property
    def lines(self) -> list[str]:
        """Each text once, with its mark before it."""
        return [f"{mark} {text}" for text, mark in self._marks.items()]


class Result(ABC):
    """What a verb measured. Its figures are attributes; `rows` has all of them as flat records.

    A notebook and Python's prompt show the tables; `pellucid` prints the same ones. Subclasses are dataclasses with
    ``repr=False``, whose own text would be every array.

    Example:
        >>> import pellucid as pl
        >>> data = pl.dataset("phantom", split="test", size=32, train=1, validation=1, test=24, prevalence=0.5)
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=data.classes[:1], task="multilabel", size=32)
        >>> result = pl.evaluate(model, data)
        >>> result.rows[0]["metric"], result.tables()[0].columns[:2]
        ('auroc', ['class', 'auroc'])
        >>> with TemporaryDirectory() as folder:
        ...     [path.name for path in result.save(folder)]
        ['classification.json', 'classification.csv']
    """

    name: ClassVar[str]
    """The stem of its files: `evaluation` for evaluation.json and evaluation.csv."""

    @property
    @abstractmethod
    def rows(self) -> list[dict[str, Any]]:
        """One record per figure: plain values, None where a figure is undefined, with the reason beside it."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON can hold it: what was measured, on what, with which settings, and the rows."""

    @abstractmethod
    def tables(self) -> list[Table]:
        """The main figures as people read them."""

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before believing the figures; empty where there is nothing to say."""
        return []

    @property
    def problem(self) -> str | None:
        """Why its figures are undefined, with which a command ends as an error; None where there is none."""
        return None

    def to_dataframe(self) -> Any:  # noqa: ANN401 (pandas is an extra)
        """The rows as a pandas DataFrame.

        Raises:
            InputError: where pandas is not installed.
        """
        return optional("pandas", "dataframe", "to_dataframe()").DataFrame(self.rows)

    def save(self, folder: str | Path) -> list[Path]:
        """Write NAME.json and NAME.csv, each whole or not at all; returns what was written."""
        folder = Path(folder)
        paths = [folder / f"{self.name}.json", folder / f"{self.name}.csv"]
        write_json(paths[0], self.to_json())
        write_csv(paths[1], [{k: "" if v is None else v for k, v in row.items()} for row in self.rows])
        return paths

    def draw(self, folder: Path) -> dict[Path, str]:  # noqa: ARG002 (of those that have pictures)
        """Draw what a notebook shows under the tables into a folder, PNG and SVG files, each with what it shows."""
        return {}

    def __repr__(self) -> str:
        return "\n\n".join(
            [*self.warnings, *filter(None, [self.problem]), *(table.to_text() for table in self.tables())]
        )

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{escape(text)}</p>" for text in [*self.warnings, *filter(None, [self.problem])])
        tables = "".join(table.to_html() for table in self.tables())
        with TemporaryDirectory(prefix="pellucid-") as folder:
            pictures = "".join(_picture(path, alt) for path, alt in self.draw(Path(folder)).items())
        return notes + tables + pictures


def _picture(path: Path, text: str) -> str:
    """A picture as HTML; a chart, which has no title of its own, with the text under it."""
    data = b64encode(path.read_bytes()).decode()
    image = f'<img alt="{escape(text)}" src="data:{MEDIA[path.suffix]};base64,{data}">'
    if path.suffix != ".svg":
        return image
    return f'<figure style="margin:0 0 1em">{image}<figcaption>{escape(text)}</figcaption></figure>'
