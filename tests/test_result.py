"""What every verb returns: records, tables, files and a data frame from the same figures."""

from __future__ import annotations

import json
import math
import sys
from importlib import import_module

import pytest

import pellucid
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
    with pytest.raises(InputError, match=r"-e '\.\[dataframe\]'"):
        Found().to_dataframe()


def test_a_notebook_shows_the_tables_escaped():
    page = Found()._repr_html_()
    assert "figures &lt;of&gt; n" in page
    assert page.index("a &amp; b") < page.index("<table>")
    assert page.count("<tr>") == 3


def test_the_prompt_shows_the_tables_and_no_array():
    assert repr(Found()).splitlines() == [
        "a & b",
        "",
        "figures <of> n",
        "metric  value",
        "auroc   0.750",
        "=1+1    undefined",
    ]


def test_columns_of_numbers_are_right_aligned_and_text_is_not():
    rows = [["auroc", "0.750 [0.7, 0.8]", "−0.1", "good"], ["ece", "undefined", "<0.001", "12 images missing"]]
    page = Table("t", ["metric", "value", "p", "advice"], rows).to_html()
    heads = page.partition("</thead>")[0]
    assert [text.count("right") for text in heads.split("<th")[1:]][-4:] == [0, 1, 1, 0]
    assert page.count('style="text-align:right"') == 2 * 3


def test_no_result_of_a_verb_writes_its_arrays_out():
    for place in {place.partition(":")[0] for place in pellucid.VERBS.values()}:
        import_module(place)

    def below(kind):
        return [kind, *(one for sub in kind.__subclasses__() for one in below(sub))]

    kinds = [kind for kind in below(Result) if kind.__module__.startswith("pellucid.")]
    assert len(kinds) > 10
    assert [kind.__name__ for kind in kinds if "__repr__" in vars(kind) and kind is not Result] == []
