"""What every verb returns: records, tables, files and a data frame from the same figures."""

from __future__ import annotations

import json
import math
import sys

import pytest

from pellucid.types import InputError
from pellucid.utils.csv_table import read_csv
from pellucid.utils.result import Result, Table

ROWS = [{"metric": "auroc", "value": 0.75, "reason": None}, {"metric": "=1+1", "value": None, "reason": "no positives"}]


class Found(Result):
    name = "found"
    rows = ROWS

    def to_json(self):
        return {"n": 4, "rows": self.rows}

    def tables(self):
        return [Table("figures <of> n", ["metric", "value"], [["auroc", "0.750"], ["=1+1", "undefined"]])]

    @property
    def warnings(self):
        return ["a & b"]


def test_the_files_hold_what_the_rows_say(tmp_path):
    paths = Found().save(tmp_path)
    assert [path.name for path in paths] == ["found.json", "found.csv"]
    assert json.loads(paths[0].read_text()) == {"n": 4, "rows": ROWS}
    found = read_csv(paths[1])
    assert [row["metric"] for row in found] == ["auroc", "=1+1"]
    assert [row["value"] for row in found] == ["0.75", ""]


def test_a_data_frame_has_a_row_per_record():
    frame = Found().to_dataframe()
    assert list(frame.columns) == ["metric", "value", "reason"]
    assert frame["value"][0] == 0.75
    assert math.isnan(frame["value"][1])


def test_without_pandas_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"pellucid\[dataframe\]"):
        Found().to_dataframe()


def test_a_notebook_shows_the_tables_escaped():
    page = Found()._repr_html_()
    assert "figures &lt;of&gt; n" in page
    assert page.index("a &amp; b") < page.index("<table>")
    assert page.count("<tr>") == 3
