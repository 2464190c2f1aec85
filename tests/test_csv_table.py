"""CSV files: what a spreadsheet would run is escaped, numbers stay numbers, and everything comes back as it was."""

from __future__ import annotations

import ast
import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import pellucid
from pellucid.evaluation.robustness.radius_log import RadiusLog, RadiusRow
from pellucid.types import InputError
from pellucid.utils.csv_table import csv_line, csv_lines, read_csv, write_csv
from pellucid.utils.results_store import ResultsStore

# what a spreadsheet takes for a formula or a number, by the rules of OWASP's page on CSV injection
FORMULA = re.compile(r"^[=+\-@\t\r\n＝＋－＠]")
TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12) | st.builds(
    str.__add__,
    st.sampled_from(["=", "+", "-", "@", "\t", "\r", "\n", "'", "''", "＝"]),
    st.text("=+-@'1.5e,\"\r\n", max_size=6),
)


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


@given(st.lists(st.lists(TEXT, min_size=2, max_size=4), min_size=1, max_size=4))
@example([["=cmd|' /C calc'!A0", "-0.5"], ["'-0.5", "+1e-3"]])
@example([["", "\x0c@"], ["\u2028=1", "\x85+x"]])
def test_text_comes_back_and_no_cell_is_a_formula(rows):
    text = "".join(map(csv_line, rows))
    assert csv_lines(text) == rows
    for row in csv.reader(io.StringIO(text, newline="")):  # what a spreadsheet reads: a form feed ends no line
        for cell in row:
            assert not FORMULA.match(cell) or is_number(cell)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_a_number_is_the_same_number_for_every_reader(number):
    ((cell, _),) = csv.reader([csv_line([number, "x"])])
    assert type(number)(cell) == number
    ((cell, _),) = csv.reader([csv_line([repr(number), "x"])])  # as radii are written, in text that comes back exactly
    assert type(number)(cell) == number


def test_a_file_comes_back(tmp_path):
    rows = [
        {"=class": "=cmd|1!A0", "value": -0.5, "b": None},
        {"=class": 'a,\n"b"\r', "value": float("nan"), "b": "日本"},
    ]
    write_csv(tmp_path / "a.csv", rows)
    assert read_csv(tmp_path / "a.csv") == [
        {"=class": "=cmd|1!A0", "value": "-0.5", "b": ""},
        {"=class": 'a,\n"b"\r', "value": "", "b": "日本"},
    ]
    with pytest.raises(ValueError, match="no columns c"):
        write_csv(tmp_path / "b.csv", [{"a": 1}, {"a": 1, "c": 2}])
    assert not (tmp_path / "b.csv").exists()
    with pytest.raises(InputError, match=r"its columns are not a, b; found =class, value, b"):
        read_csv(tmp_path / "a.csv", ["a", "b"])
    (tmp_path / "c.csv").write_bytes(b"a,b\n1\n")
    with pytest.raises(InputError, match="record 1 does not have 2 cells"):
        read_csv(tmp_path / "c.csv")


def test_ids_and_classes_that_are_formulas_stay_what_they_are_in_radii(tmp_path):
    name, label = '=HYPERLINK("http://x","y")', "=cmd|1!A0"
    row = RadiusRow("attack", name, label, True, True, 0.25, 3, 4)
    RadiusLog(ResultsStore(tmp_path / "one", {})).append([row])
    raw = (tmp_path / "one" / "radii.csv").read_text()
    assert "\"'=HYPERLINK(" in raw
    assert ",'=cmd|1!A0," in raw
    again = RadiusLog(ResultsStore(tmp_path / "one", {}))
    again.read()
    assert list(again.rows.values()) == [row]


def test_nothing_else_in_the_package_writes_csv():
    here = Path(pellucid.__file__).parent
    names = ("writer", "DictWriter", "to_csv", "savetxt")
    texts = {path.relative_to(here).as_posix(): path.read_text(encoding="utf-8") for path in here.rglob("*.py")}
    found = {
        name
        for name, text in texts.items()
        if any(word in text for word in names)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute) and node.attr in names
    }
    assert found == {"utils/csv_table.py"}
