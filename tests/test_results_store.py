"""The store of what was measured: nothing is measured twice, no stranger's is taken, no damaged byte is read."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest

from pellucid.types import InputError
from pellucid.utils.results_store import ResultsStore, keyed

RECORD = {"weights": "one", "seed": 3, "sizes": (0.5, float("nan"))}
COLUMNS = ("id", "value")
ROWS = [("a, b", 0.5), ('"quoted"', -1.0), ("two\nlines", 2.0), ("=1+1", 3.0), ("日本", 4.0)]


def parse(cells):
    name, value = cells
    return name, float(value)


def table(folder, record=RECORD):
    return ResultsStore(folder, record).rows("rows.csv", COLUMNS, parse)


def test_arrays_are_measured_once_and_again_where_they_are_damaged(tmp_path):
    calls = []

    def measure():
        calls.append(1)
        return {"x": np.arange(3.0), "y": np.array(["a"])}

    for store in (ResultsStore(tmp_path, RECORD), ResultsStore(tmp_path, RECORD), ResultsStore(tmp_path)):
        found = store.measured("part", measure)
        np.testing.assert_array_equal(found["x"], [0, 1, 2])
        assert found["y"].tolist() == ["a"]
    assert len(calls) == 1
    path = tmp_path / "part.npz"
    content = path.read_bytes()
    for number, damaged in enumerate([b"", content[:-5], content[:40], b"x" * len(content)], 2):
        path.write_bytes(damaged)
        with pytest.warns(UserWarning, match=r"part\.npz is damaged .*measured again"):
            ResultsStore(tmp_path, RECORD).measured("part", measure)
        assert len(calls) == number
        assert path.read_bytes() == content


def test_a_strangers_record_is_refused_by_what_differs_and_an_adopted_key_is_not(tmp_path):
    ResultsStore(tmp_path, RECORD).write("part", {"x": [1.0]})
    with pytest.raises(InputError, match=r'another evaluation \(weights: "one" there, "two" here; seed: 3 there, 4'):
        ResultsStore(tmp_path, RECORD | {"weights": "two", "seed": 4})
    with pytest.raises(InputError, match="size: null there, 7 here"):
        ResultsStore(tmp_path, RECORD | {"size": 7})
    assert ResultsStore(tmp_path, RECORD | {"seed": 4}, adopted=["seed"]).record["seed"] == 3


def test_results_without_a_record_or_with_one_of_an_earlier_version_are_refused(tmp_path):
    ResultsStore(tmp_path, RECORD).write("part", {"x": [1.0]})
    (tmp_path / "evaluation.json").write_text('{"weights": "one", "seed": 3, "sizes": [0.5, null]}')
    with pytest.raises(InputError, match=r"earlier versions wrote none.* measure again with another --out"):
        ResultsStore(tmp_path, RECORD)
    (tmp_path / "evaluation.json").unlink()
    with pytest.raises(InputError, match=r"part\.npz has no evaluation\.json beside it"):
        ResultsStore(tmp_path, RECORD)


def test_rows_come_back_as_they_were_whoever_wrote_them(tmp_path):
    one, two = table(tmp_path), table(tmp_path)
    one.append(ROWS[:2])
    assert two.read() == ROWS[:2]
    two.append(ROWS[2:])
    two.append([])
    assert two.read() == ROWS[2:]
    assert one.read() == ROWS
    assert table(tmp_path).read() == ROWS
    with (tmp_path / "rows.csv").open("a") as stream:
        stream.write('"torn')
    assert one.read() == []
    one.append([("after", 5.0)])
    assert one.read() == two.read() == [("after", 5.0)]


def test_no_damaged_byte_of_a_table_is_read_and_the_rest_stays(tmp_path):
    """Every byte in turn: the rows that are read are a part of those that were written, and the file is clean again."""
    table(tmp_path).append(ROWS)
    path = tmp_path / "rows.csv"
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = table(tmp_path).read()
        assert set(found) <= set(ROWS)
        assert len(found) >= len(ROWS) - 4  # what a lost quote takes with it
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            again = table(tmp_path)
            assert again.read() == found
        again.append(row for row in ROWS if row not in found)
        assert sorted(table(tmp_path).read()) == sorted(ROWS)


def test_a_reader_that_was_further_on_sees_the_rows_of_a_mended_table(tmp_path):
    reader, writer = table(tmp_path), table(tmp_path)
    writer.append(ROWS)
    assert reader.read() == ROWS
    path = tmp_path / "rows.csv"
    path.write_bytes(path.read_bytes().replace(b"0.5", b"0.6"))
    with pytest.warns(UserWarning, match=r"rows\.csv is damaged \(1 line of it did not fit the digest\)"):
        table(tmp_path).read()
    writer.append([("after", 5.0)])
    assert reader.read() == [*ROWS[1:], ("after", 5.0)]


def test_a_note_of_time_is_added_up_or_unknown(tmp_path):
    store = ResultsStore(tmp_path)
    for name, seconds in (("x-1", 2.5), ("x-2", 0.25)):
        with store.claim(name) as claim:
            claim.spent(9.0)
            claim.spent(seconds)
    assert store.seconds("x-") == 2.75
    for damaged in (b"2.400 0123456789abcdef", b"\xff\xfe", b"\0" * 20, b"nan"):
        (tmp_path / ".locks" / "x-1").write_bytes(damaged)
        with pytest.warns(UserWarning, match="how long the search took is not known"):
            assert np.isnan(store.seconds("x-"))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_lock_that_cannot_be_is_told(tmp_path):
    (tmp_path / ".locks").write_text("a file where a folder is expected")
    with pytest.raises(InputError, match=r"cannot write .*\.locks"), ResultsStore(tmp_path).lock("x"):
        pass


def test_a_name_holds_for_what_it_depends_on():
    assert keyed("grad cam", "one", 3) != keyed("grad cam", "one", 4)
    assert keyed("grad cam", "one", 3).startswith("grad-cam-")
