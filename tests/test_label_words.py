"""Labels that are not known, and no findings, in the spellings that people and programs use."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from pyarrow.csv import ConvertOptions

from helpers.table import ALL, faults, refused, rows, writer_of_tables
from pellucid.data import open_dataset
from pellucid.data.readers.chestxray14.tables import LABELS, _encode
from pellucid.data.readers.label_words import UNKNOWN as OURS
from pellucid.data.readers.label_words import plain

# what Arrow reads as nothing in a CSV file is a list that others made; the rest is ours
UNKNOWN = [*ConvertOptions().null_values, "<NA>", "NAN", "n.a.", "nil", "?", "-", "Unknown", "missing", "-1", "-1.0"]


@pytest.fixture
def table(tmp_path):
    return writer_of_tables(tmp_path)


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.filterwarnings("error", message=".*(a class is called|differ in their spelling)")
        yield


@pytest.mark.parametrize("word", UNKNOWN)
def test_unknown_is_unknown_in_a_column_of_0_and_1_and_in_a_list(word, table):
    path = table(rows("file,Mass,Edema", "1,0", "0,1", f"{word},1", f"0,{word}"))
    found = open_dataset("table", path, options=ALL)["test"]
    assert found.classes == ("Mass", "Edema")
    np.testing.assert_array_equal(found.targets, [[1, 0], [0, 1], [math.nan, 1], [0, math.nan]])
    path = table(rows("file,findings", "Mass|Edema", "No Finding", word))
    found = open_dataset("table", path, options=ALL)["test"]
    assert found.classes == ("Edema", "Mass")
    np.testing.assert_array_equal(found.targets, [[1, 1], [0, 0], [math.nan, math.nan]])
    row = _encode(word, "")
    assert row.shape == (len(LABELS),)
    assert np.isnan(row).all()


@pytest.mark.parametrize("word", UNKNOWN[1:])
def test_unknown_is_no_class_unless_it_is_named_as_one(word, table):
    path = table(rows("file,class", "a", "b", word))
    assert faults(path, **ALL) == [
        f"line 4: class is {word!r}: not known. Leave the row out; if it is a class, name all of them with the option "
        "classes"
    ]
    named = open_dataset("table", path, options={**ALL, "classes": ["a", "b", word]})["test"]
    assert named.targets.tolist() == [0, 1, 2]
    path = table(rows("file,findings", f"a|{word}", word, "No Finding"))
    named = open_dataset("table", path, options={**ALL, "classes": ["a", word]})["test"]
    np.testing.assert_array_equal(named.targets, [[1, 1], [0, 1], [0, 0]])
    assert faults(path, **ALL)[0].startswith(f"line 2: findings lists {word!r}, not known, beside other findings")


@pytest.mark.parametrize(
    "word", ["No Finding", "no finding", "NO FINDINGS", "No_Finding", "no-finding", " No  finding "]
)
def test_no_finding_is_the_absence_of_findings(word, table):
    path = table(rows("file,findings", "Mass", word, f"Mass|{word}"))
    found = open_dataset("table", path, options=ALL)["test"]
    assert found.classes == ("Mass",)
    np.testing.assert_array_equal(found.targets, [[1], [0], [1]])
    assert not _encode(word, "").any()
    named = open_dataset("table", path, options={**ALL, "classes": ["Mass", word.strip()]})["test"]
    np.testing.assert_array_equal(named.targets, [[1, 0], [0, 1], [1, 1]])


def test_another_word_for_nothing_and_an_empty_cell_that_says_so(table):
    path = table(rows("file,findings", "Mass", "normal", "no finding", "", "nan"))
    found = open_dataset("table", path, options={**ALL, "negative": "Normal"})["test"]
    np.testing.assert_array_equal(found.targets, [[1], [0], [0], [math.nan], [math.nan]])
    path = table(rows("file,findings", "Mass", "no finding", "", "nan"))
    found = open_dataset("table", path, options={**ALL, "negative": ""})["test"]
    np.testing.assert_array_equal(found.targets, [[1], [0], [0], [math.nan]])


@pytest.mark.parametrize(
    ("header", "cells", "match"),
    [
        ("file,findings", ["Mass", "none"], r"a class is called 'none'"),
        ("file,findings", ["Mass", "Normal"], r"a class is called 'Normal'"),
        ("file,class", ["a", "none"], r"a class is called 'none'"),
        ("file,Mass,No Finding", ["1,0", "0,1"], r"a class is called 'No Finding'"),
        ("file,class", ["Mass", "mass"], r"the classes 'Mass' and 'mass' differ in their spelling only"),
        ("file,findings", ["Pleural_Thickening", "Pleural Thickening"], r"differ in their spelling only"),
    ],
)
def test_a_class_that_looks_like_none_is_said(header, cells, match, table):
    with pytest.warns(UserWarning, match=match):
        open_dataset("table", table(rows(header, *cells)), options=ALL)


def test_a_normal_class_among_others_is_nothing_to_speak_of(table):
    found = open_dataset("table", table(rows("file,class", "normal", "No Finding", "Mass")), options=ALL)["test"]
    assert found.classes == ("Mass", "No Finding", "normal")


def test_one_and_minus_one_alone_may_mean_either(table):
    path = table(rows("file,Mass", "1", "-1", "-1.0"))
    refused(path, r"'Mass' holds 1 and -1 and no 0\..*unknown=\[\"-1\"\]", **ALL)
    found = open_dataset("table", path, options={**ALL, "unknown": ["-1"]})["test"]
    np.testing.assert_array_equal(found.targets, [[1], [math.nan], [math.nan]])
    other = open_dataset("table", table(rows("file,Mass", "1", "0.00", "9.0")), options={**ALL, "unknown": ["9"]})
    np.testing.assert_array_equal(other["test"].targets, [[1], [0], [math.nan]])


def test_the_documentation_lists_them_all():
    said = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8").casefold()
    assert [word for word in OURS if f"`{word}`" not in said] == []


def test_large_numbers_are_not_one_word():
    assert plain("1234567") != plain("1234568")
    assert plain("1234567890123456789") != plain("1234567890123456788")
