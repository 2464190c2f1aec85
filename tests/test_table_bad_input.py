"""Tables that are no use: rows, boxes and files that are refused by name, any bytes, and training on broken images."""

from __future__ import annotations

import contextlib
import shutil
import sys
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.table import ALL, TINY, faults, refused, rows, table_of_radiographs, writer_of_tables
from pellucid.data import check_dataset, open_dataset
from pellucid.data.issues import MISSING
from pellucid.types import InputError

pytestmark = pytest.mark.filterwarnings("ignore:.*images from:UserWarning")


@pytest.fixture
def table(tmp_path):
    return writer_of_tables(tmp_path)


@pytest.fixture
def chests(real_data, tmp_path):
    return table_of_radiographs(real_data, tmp_path)


def test_rows_that_cannot_be_used_are_all_named_and_the_check_goes_on(table, tmp_path):
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "sub" / "5.png").write_bytes((tmp_path / "sub" / "5.png").read_bytes()[:60])
    (tmp_path / "sub" / "6.png").write_bytes(b"")
    shutil.copy(tmp_path / "sub" / "7.png", tmp_path / "named.jpg")  # a PNG
    outside = tmp_path.parent / "outside.png"
    names = (
        "sub/0.png", "sub/1.png", "sub/0.png", "./sub//1.png", "gone.png", "../outside.png", "sub/../../outside.png",
        str(outside), "loop.png", "folder.png", "", "x" * 300, "sub/5.png", "sub/6.png", "named.jpg",
    )  # fmt: skip
    path = table("path,class\n" + "".join(f"{name},{'ab'[i % 2]}\n" for i, name in enumerate(names)) + "sub/8.png\n")
    said = "\n".join(faults(path))
    for expected in (
        "line 17: 1 cell; the first line has 2", "line 4: sub/0.png is in line 2 too", "line 5: ./sub//1.png is in",
        "line 7: ../outside.png leads out of", "line 8: sub/../../outside.png leads out of", f"line 9: {outside} leads",
        "line 10: 'loop.png' cannot be read (Too many levels", "line 11: folder.png is not a file",
        "line 12: path is empty", "line 13: 'xxx", "File name too long", MISSING,
    ):  # fmt: skip
        assert expected in said
    report = check_dataset("table", path, options=ALL)
    assert [p.file for p in report.problems if p.reason == MISSING] == ["gone.png (labels.csv, line 6)"]
    assert (report.found, report.expected) == (5, 6)
    broken = [p for p in report.problems if p.file.startswith(str(tmp_path / "sub"))]
    assert [p.file for p in broken] == [str(tmp_path / "sub" / f"{i}.png") for i in (5, 6)]
    assert "the file is empty" in broken[1].reason
    assert report.content_hash == ""
    assert any("images from 'path'" in note.reason for note in report.notes)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("sub/0.png,Mass,nan,0,5,5", "a box needs finite x, y"),
        ("sub/0.png,Mass,0,0,inf,5", "a box needs finite x, y"),
        ("sub/0.png,Mass,0,0,0,5", "positive width and height"),
        ("sub/0.png,Mass,0,0,-3,5", "positive width and height"),
        ("sub/0.png,Mass,18,0,5,5", "lies outside its image of 20 × 10 pixels"),
        ("sub/0.png,Mass,0,0,five,5", "expected x, y, width and height; found '0, 0, five, 5'"),
        ("sub/0.png,Mass,0,0,,5", "expected x, y, width and height"),
        ("sub/0.png,,0,0,5,5", "a box without a label"),
        ("sub/99.png,Mass,0,0,5,5", "'sub/99.png' is not in the table of images"),
        ("sub/0.png,Mass,0,0,5", "5 cells; the first line has 6"),
    ],
)
def test_boxes_that_are_none(table, tmp_path, row, reason):
    path = table(rows("path,labels", "Mass", "Lump"))
    table(f"path,label,x,y,width,height\nsub/1.png,Lump,1,1,2,2\n{row}\n", "boxes.csv")
    (said,) = faults(path, **ALL)
    assert said.startswith("line 3: ")
    assert reason in said
    report = check_dataset("table", path, options=ALL)
    assert [p.file for p in report.problems] == [str(tmp_path / "boxes.csv")]
    assert report.parts["test"].regions == {"Lump": 1}  # the other box is still looked at


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\0" * 40 + b"PAR1", b"path,class\na,b\n"])
def test_a_file_that_is_no_parquet(tmp_path, content):
    pytest.importorskip("pyarrow")
    (tmp_path / "labels.parquet").write_bytes(content)
    refused(tmp_path / "labels.parquet", r"labels\.parquet: cannot be read as a Parquet table")


@pytest.mark.parametrize("name", ["path", "label", "x", "height"])
def test_a_column_of_lists_among_the_boxes_is_refused(table, tmp_path, name):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"path": ["sub/0.png"], "label": ["a"], "x": [1], "y": [1], "width": [2], "height": [2]}
    parquet.write_table(arrow.table(columns | {name: [columns[name]]}), tmp_path / "boxes.parquet")
    path = table(rows("path,class", "a", "b"))
    refused(path, rf"boxes\.parquet: '{name}' is a column of lists; expected one value per row", boxes="boxes.parquet")


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "labels.parquet").write_bytes(b"PAR1")
    refused(tmp_path / "labels.parquet", r"-e '\.\[parquet\]'")


text = st.one_of(st.text(max_size=80), st.text('path,class\n";|01.png', max_size=80))
fuzz = settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])


def opens_or_says_why(path, **options):
    with warnings.catch_warnings(), contextlib.suppress(InputError):
        warnings.simplefilter("ignore")
        for part in open_dataset("table", path, options=options).values():
            for region in part.regions.items if part.regions is not None else ():
                x, y, width, height = region.box
                assert 0 <= x < x + width <= 1 + 1e-9
                assert 0 <= y < y + height <= 1 + 1e-9


@fuzz
@given(st.one_of(st.binary(max_size=120), text.map(lambda t: t.encode("utf-8", "replace"))), st.booleans())
def test_any_bytes_as_a_table_give_an_input_error(tmp_path, content, headed):
    (tmp_path / "labels.csv").write_bytes((b"path,class\n" if headed else b"") + content)
    opens_or_says_why(tmp_path / "labels.csv", **ALL)


cell = st.one_of(
    st.text(max_size=8), st.sampled_from(["nan", "inf", "-1", "1e400", "3", "sub/0.png", "Mass", "1_0", ""])
)


@fuzz
@given(st.lists(st.lists(cell, min_size=5, max_size=7), max_size=4), st.booleans())
def test_any_boxes_give_an_input_error_or_lie_in_their_image(table, lines, quoted):
    path = table(rows("path,labels", "Mass", "Lump"))
    quote = (lambda c: '"' + c.replace('"', '""') + '"') if quoted else str
    body = "".join(",".join(map(quote, line)) + "\n" for line in [["sub/1.png", "Lump", "1", "1", "2", "2"], *lines])
    (path.parent / "boxes.csv").write_bytes(("path,label,x,y,width,height\n" + body).encode("utf-8", "replace"))
    opens_or_says_why(path, **ALL)


def test_training_refuses_broken_files_before_the_first_epoch(chests, tmp_path, pellucid):
    broken = sorted((tmp_path / "images").iterdir())[::20]
    for file in broken:
        file.write_bytes(file.read_bytes()[:200])
    run = tmp_path / "run"
    said, _, _ = pellucid(
        "train", "standard", "--data", "table", "--root", chests, "--device", "cpu", *TINY, "--out", run
    )
    learnt = {file.path for file in open_dataset("table", chests)["train"].files}
    assert len(learnt & {*broken}) > 1
    assert all(str(file) in said for file in learnt & {*broken})  # all of them at once
    assert not run.exists()
    assert {p.file for p in check_dataset("table", chests).problems} == {str(file) for file in broken}
