"""Tables of one's own: which columns are taken for what, parts, encodings, boxes, and training on one."""

from __future__ import annotations

import json
import math
import warnings

import numpy as np
import pytest
from PIL import Image

from helpers.table import ALL, TINY, faults, refused, rows, table_of_radiographs, writer_of_tables
from pellucid.data import check_dataset, open_dataset
from pellucid.data.issues import FaultyDataError

pytestmark = pytest.mark.filterwarnings("ignore:.*images from:UserWarning")


@pytest.fixture
def table(tmp_path):
    return writer_of_tables(tmp_path)


@pytest.fixture
def chests(real_data, tmp_path):
    return table_of_radiographs(real_data, tmp_path)


def test_one_class_an_image(table, tmp_path):
    path = table(rows("path,class", "dog", "cat", "dog", "emu"))
    with pytest.warns(UserWarning, match="images from 'path'; one class per image from 'class'; no patients, .*seed 0"):
        test = open_dataset("table", path, options=ALL)["test"]
    assert (test.task, test.classes) == ("multiclass", ("cat", "dog", "emu"))
    assert test.targets.tolist() == [1, 0, 1, 2]
    assert test.ids == test.patients == tuple(f"sub/{i}.png" for i in range(4))
    with Image.open(tmp_path / "sub" / "3.png") as image:
        np.testing.assert_array_equal(test.read(3), np.asarray(image))
    ordered = open_dataset("table", path, options={**ALL, "classes": ["emu", "dog", "cat"]})["test"]
    assert ordered.targets.tolist() == [1, 2, 1, 0]
    assert faults(path, classes=["dog", "cat"]) == ["line 5: class is 'emu'. There are: dog, cat."]
    numbers = open_dataset("table", table(rows("path,label", "10", "9", "2")), options=ALL)["test"]
    assert numbers.classes == ("2", "9", "10")  # as numbers, not as text


def test_a_list_of_findings(table):
    path = table(rows("Image Index,Finding Labels", "Mass|Nodule", "No Finding", "", "Edema; Mass"))
    test = open_dataset("table", path, options=ALL)["test"]
    assert (test.task, test.classes) == ("multilabel", ("Edema", "Mass", "Nodule"))
    nothing = [math.nan] * 3
    np.testing.assert_array_equal(test.targets, [[0, 1, 1], [0, 0, 0], nothing, [1, 1, 0]])
    empty = open_dataset("table", path, options={**ALL, "negative": "", "classes": ["Nodule"]})["test"]
    np.testing.assert_array_equal(empty.targets, [[1], [0], [0], [0]])
    slashed = open_dataset("table", path, options={**ALL, "separator": "/"})["test"]
    assert "Mass|Nodule" in slashed.classes
    with pytest.warns(UserWarning, match="no image has the class Nodul"):
        open_dataset("table", path, options={**ALL, "classes": ["Nodul", "Mass"]})


def test_lists_in_brackets_as_pandas_and_json_write_them(table):
    ends = ("\"['Mass', 'Nodule']\"", '"[""Mass""]"', "[]", "\"['No Finding']\"", '"[ \'Mass\' ,""A|B, C"" ]"', "")
    test = open_dataset("table", table(rows("path,findings", *ends)), options=ALL)["test"]
    assert test.classes == ("A|B, C", "Mass", "Nodule")
    expected = [[0, 1, 1], [0, 1, 0], [0, 0, 0], [0, 0, 0], [1, 1, 0], [np.nan] * 3]
    np.testing.assert_array_equal(test.targets, expected)
    for cell in ("\"['Mass' 'Nodule']\"", '"[Mass, Nodule]"', "\"['Mass', 'it\\'s']\"", "[1]"):
        (reason,) = faults(table(rows("path,findings", "Nodule", cell)), **ALL)
        assert reason.startswith("line 3: findings is ")
        assert "expected a list such as Mass|Nodule or ['Mass', 'Nodule']" in reason


def test_a_class_with_a_comma_names_the_option_for_lists(table):
    path = table(rows("path,findings", '"Mass, Nodule"', "Nodule"))
    with pytest.warns(UserWarning, match=r"a class in 'findings' is called 'Mass, Nodule'.*separator=','"):
        assert open_dataset("table", path, options=ALL)["test"].classes == ("Mass, Nodule", "Nodule")
    notes = [note.reason for note in check_dataset("table", path, options=ALL).notes]
    assert any("separator=','" in note for note in notes)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        several = open_dataset("table", path, options={**ALL, "separator": ","})["test"]
        open_dataset("table", path, options={**ALL, "classes": ["Mass, Nodule", "Nodule"]})
    assert several.classes == ("Mass", "Nodule")
    assert not any("separator=" in str(w.message) for w in caught)


def test_columns_of_labels(table):
    path = table(rows("file,Mass,Edema,patient", "1,0,a", "0.0,,a", "true,False,b", ",1.0,c"))
    test = open_dataset("table", path, options=ALL)["test"]
    assert test.classes == ("Mass", "Edema")
    np.testing.assert_array_equal(test.targets, [[1, 0], [0, math.nan], [1, 0], [math.nan, 1]])
    assert test.patients == ("a", "a", "b", "c")
    assert test.targets.dtype == np.float32
    one = open_dataset("table", path, options={**ALL, "labels": ["Edema"]})["test"]
    np.testing.assert_array_equal(one.targets, [[0], [math.nan], [0], [1]])
    odd = table(rows("file,Mass", "1", "9", "0", "9"))
    refused(odd, r"which columns are the labels\? Columns of 0 and 1: none; others: 'Mass'")
    assert faults(odd, labels=["Mass"], **ALL) == [
        f"line {line}: Mass is '9'; expected 0, 1, or nothing where it is unknown" for line in (3, 5)
    ]
    known = open_dataset("table", odd, options={**ALL, "unknown": ["9"]})["test"]
    np.testing.assert_array_equal(known.targets, [[1], [math.nan], [0], [math.nan]])


def test_columns_are_never_guessed_between_two(table):
    refused(table(rows("path,a,b", "1,x", "0,y")), r"columns are the labels\? Columns of 0 and 1: 'a'; others: 'b'")
    refused(table("path,file,class\n"), "no rows")
    refused(table(rows("path,file,class", "x,a", "y,b")), "'path' and 'file' could both be meant; .* path=path")
    refused(table(rows("path,label,labels", "x,a", "y,b")), "are the labels in 'label' .* or in 'labels'")
    refused(
        table(rows("picture,class", "x", "y")), r"no column 'path' or 'file' or 'filename'; found: 'picture', 'class'"
    )
    path = table(rows("picture,kind", "x", "y"))
    opened = open_dataset("table", path, options={**ALL, "path": "picture", "category": "kind"})
    assert opened["test"].classes == ("x", "y")
    refused(path, "no column 'Picture' .*Did you mean 'picture'", path="Picture")
    refused(path, "category and labels exclude each other", path="picture", category="kind", labels=["kind"])
    refused(table(rows("path;class", "x")), "divided by ';'")
    refused(table(rows("path,path", "x")), "two columns are called 'path'")
    refused(table(rows("path,class", "x", "x")), "has one class, 'x'; expected two or more")


def test_parts_of_the_table_and_parts_that_are_cut(table):
    given = rows(
        "path,class,split",
        *(f"{'ab'[i % 2]},{p}" for i, p in enumerate(["Train"] * 6 + ["val", "valid", "test", "TEST"])),
    )
    splits = open_dataset("table", table(given))
    assert {k: v.ids for k, v in splits.items()} == {
        "train": tuple(f"sub/{i}.png" for i in range(6)),
        "validation": ("sub/6.png", "sub/7.png"),
        "test": ("sub/8.png", "sub/9.png"),
    }
    without = open_dataset("table", table(given.replace("val\n", "train\n").replace("valid\n", "train\n")))
    assert len(without["train"]) + len(without["validation"]) == 8
    assert without["test"].ids == ("sub/8.png", "sub/9.png")
    people = table(rows("path,class,patient_id", *(f"{'ab'[i % 2]},p{i // 2}" for i in range(10))))
    cut = open_dataset("table", people, options={"test_fraction": 0.3, "validation_fraction": 0.3})
    assert list(cut) == ["train", "validation", "test"]
    assert sum(len(part) for part in cut.values()) == 10
    assert all(len(part) == 2 * len(set(part.patients)) for part in cut.values())
    with pytest.warns(UserWarning, match="no training image has the class c"):
        open_dataset(
            "table", table(rows("path,class,part", "a,train", "b,train", "c,test")), options={"validation_fraction": 0}
        )
    assert faults(table(rows("path,class,split", "a,train", "b,exam", "b,"))) == [
        "line 3: split is 'exam'; expected train, validation (or val, valid, dev) or test",
        "line 4: split is ''; expected train, validation (or val, valid, dev) or test",
        # the check goes on with the one usable row, of which no validation part can be cut
        "a validation part needs at least two patients; found 1. Set the fraction to 0, or give more images.",
    ]


def test_a_patient_in_two_parts_is_named_and_the_check_goes_on(table):
    path = table(rows("path,class,split,patient", "a,train,ann", "b,train,bob", "a,test,ann", "b,test,cid"))
    refused(path, r"1 patient both in train and in test \(ann\)", validation_fraction=0)
    report = check_dataset("table", path, options={"validation_fraction": 0})
    assert [(p.file, p.reason[:35]) for p in report.problems] == [
        ("patient ann", "occurs both in train and in test; a")
    ]
    assert report.found == 4
    assert report.content_hash


@pytest.mark.parametrize(
    ("encoding", "mark"), [("utf-8", ""), ("utf-8-sig", ""), ("utf-16", ""), ("utf-16-be", "\ufeff")]
)
def test_encodings_and_quoted_line_breaks(table, encoding, mark):
    text = mark + 'path,class,note\nsub/0.png,Ödem,"two\nlines, and a comma"\nsub/1.png,b,\n'
    assert open_dataset("table", table(text, encoding=encoding), options=ALL)["test"].classes == ("b", "Ödem")
    broken = text.replace("sub/1.png,b,\n", "sub/1.png,b\n")
    assert faults(table(broken, encoding=encoding))[0] == "line 4: 2 cells; the first line has 3"


def test_text_in_another_encoding_names_the_option(table):
    path = table(rows("path,class", "a", "Ödem"), encoding="latin-1")
    refused(
        path, r"not text in UTF-8 \(byte 0xd6 in line 3\)\. Save it as UTF-8, or name its encoding, as encoding=latin-1"
    )
    assert open_dataset("table", path, options={**ALL, "encoding": "latin-1"})["test"].classes == ("a", "Ödem")
    refused(path, "unknown encoding: klingon", encoding="klingon")
    refused(table("path,class\nsub/0.png,a\n", encoding="utf-16-le"), "without a byte-order mark.*encoding=")
    refused(table('path,class\nsub/0.png,"a\n'), r"labels\.csv, line 2: cannot be read as a CSV table")


def test_tabs_semicolons_and_a_folder_of_one_table(table, tmp_path):
    text = rows("path,class", "a", "b")
    path = table(text.replace(",", "\t"), "labels.tsv")
    assert len(open_dataset("table", path, options=ALL)["test"]) == 2
    assert len(open_dataset("table", tmp_path, options=ALL)["test"]) == 2
    table(text.replace(",", ";"), "other.csv")
    refused(tmp_path, r"2 tables: labels\.tsv, other\.csv; give the file itself")
    assert len(open_dataset("table", tmp_path / "other.csv", options={**ALL, "delimiter": ";"})["test"]) == 2
    refused(tmp_path / "other.csv", "no such folder.*option images", images="elsewhere", delimiter=";")
    moved = table(text.replace("sub/", ""), "moved.csv")
    assert open_dataset("table", moved, options={**ALL, "images": "sub"})["test"].ids == ("0.png", "1.png")


def test_paths_may_lead_out_where_asked(table, tmp_path):
    (tmp_path / "tables").mkdir()
    text = f"path,class\n../sub/0.png,a\n{tmp_path}/sub/1.png,b\n"
    path = table(text, "tables/labels.csv")
    assert len(faults(path)) == 2
    opened = open_dataset("table", path, options={**ALL, "outside": "true"})["test"]
    assert [opened.read(i).shape for i in range(2)] == [(10, 20)] * 2


def test_names_of_images(table):
    path = table(rows("path,class,id", "a,one", "b,two"))
    assert open_dataset("table", path, options=ALL)["test"].ids == ("one", "two")
    assert faults(table(rows("path,class,id", "a,one", "b,one", "b,", "a,x")), **ALL) == [
        "line 3: id 'one' is in line 2 too",
        "line 4: id is empty",
    ]
    assert faults(table(rows("path,class,patient", "a,p", "b,", "b,q")), **ALL) == ["line 3: patient is empty"]


def test_boxes_in_pixels_of_the_file(table):
    path = table(rows("path,labels", "Mass", "Mass|Lump", "No Finding", "Lump"))
    table(
        "path,label,x,y,width,height\nsub/0.png,Mass,5,2,10,4\nsub/1.png,Lung,0,0,20,10\nsub/3.png,,,,,\n", "boxes.csv"
    )
    with pytest.warns(UserWarning, match="boxes of Lung, which is no class"):
        test = open_dataset("table", path, options=ALL)["test"]
    assert [(r.image, r.label, r.box) for r in test.regions.items] == [
        (0, "Mass", (0.25, 0.2, 0.5, 0.4)),
        (1, "Lung", (0, 0, 1, 1)),
    ]
    table("path,label,x,y,w,h\nsub/2.png,Mass,0,0,2,1\n", "boxes.csv")
    with pytest.warns(UserWarning, match=r"1 box\(es\) of a class that the table does not give .* Mass on sub/2\.png"):
        open_dataset("table", path, options=ALL)
    refused(path, r"nowhere\.csv: no such file \(option boxes\)", boxes="nowhere.csv")
    table("path,label,x,y,w\nsub/2.png,Mass,0,0,1\n", "boxes.csv")
    refused(path, r"boxes\.csv: no column 'height' or 'h'; found: .* name the columns so\.$")
    table("path,label,xmin,ymin,xmax,ymax\nsub/2.png,Mass,0,0,5,5\n", "boxes.csv")
    refused(path, r"boxes\.csv: no column 'x'; found: .*name the columns so\. From two corners: width = xmax - xmin")
    table("scan,finding,x,y,w,h\n2.png,Mass,0,0,5,5\n", "boxes.csv")
    refused(path, r"boxes\.csv: no column 'path' .*\. Name a column of the table of boxes so\.$")
    for numbers in ("0.1,0.2,0.3,0.4", "0,0,1,1"):
        table(f"path,label,x,y,w,h\nsub/2.png,Mass,{numbers}\nsub/3.png,,,,,\n", "boxes.csv")
        refused(path, r"boxes\.csv: all boxes \(1\) lie within 1, .* fractions of the images' width and height")


def test_boxes_name_their_images_by_the_end_of_a_path(table):
    path = table(rows("path,class", "a", "b"))
    table("path,label,x,y,w,h\n0.png,a,0,0,5,5\ndata\\sub\\1.png,b,0,0,4,4\n", "boxes.csv")
    test = open_dataset("table", path, options=ALL)["test"]
    assert [(test.ids[r.image], r.label) for r in test.regions.items] == [("sub/0.png", "a"), ("sub/1.png", "b")]
    table("path,label,x,y,w,h\nother/0.png,a,0,0,5,5\n", "boxes.csv")
    assert "no such image; another with a name like it: sub/0.png" in faults(path, **ALL)[0]


def test_boxes_of_a_path_that_is_there_twice_are_the_first_rows(table):
    path = table(rows("path,class", "a", "b") + "sub/0.png,b\n")
    table("path,label,x,y,width,height\nsub/0.png,a,1,2,3,4\nsub/0.png,a,1,2,300,4\n", "boxes.csv")
    with pytest.raises(FaultyDataError) as caught:
        open_dataset("table", path, options=ALL)
    assert any("line 4: sub/0.png is in line 2 too" in r.reason for r in caught.value.issues)
    assert any("line 3" in r.reason and "lies outside" in r.reason for r in caught.value.issues)
    test = caught.value.usable["test"]
    assert [(test.ids[r.image], r.label) for r in test.regions.items] == [("sub/0.png", "a")]


def test_parquet_says_the_same_as_csv(table, tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    names = [f"sub/{i}.png" for i in range(4)]
    found = [["Mass", "Nodule"], [], None, ["Edema"]]
    columns = {"path": names, "findings": found, "patient": [7, 7, 8, 9], "pixels": [b"x"] * 4}
    parquet.write_table(arrow.table(columns), tmp_path / "labels.parquet")
    one = open_dataset("table", tmp_path / "labels.parquet", options=ALL)["test"]
    ends = ["Mass|Nodule,7", "No Finding,7", ",8", "Edema,9"]
    other = open_dataset("table", table(rows("path,findings,patient", *ends)), options=ALL)["test"]
    assert one.fingerprint == other.fingerprint
    indicators = {"path": names, "A": [1, 0, None, 1], "B": [1.0, math.nan, 0.0, 0.0], "C": [True, False, None, True]}
    parquet.write_table(arrow.table(indicators), tmp_path / "labels.parquet")
    test = open_dataset("table", tmp_path / "labels.parquet", options=ALL)["test"]
    nan = math.nan
    np.testing.assert_array_equal(test.targets, [[1, 1, 1], [0, nan, 0], [nan, 0, nan], [1, 0, 1]])
    assert faults(tmp_path / "labels.parquet", labels=["A"], id="A", **ALL) == [
        "row 3: A is empty",
        "row 4: A '1' is in row 1 too",
    ]


def test_sixteen_bits_are_kept_where_asked(table, tmp_path):
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    Image.fromarray(deep).save(tmp_path / "deep.png")
    path = table("path,class\ndeep.png,a\nsub/0.png,b\n")
    test = open_dataset("table", path, options={**ALL, "bits": 16})["test"]
    assert test.bits == 16
    np.testing.assert_array_equal(test.read(0), deep)
    assert open_dataset("table", path, options=ALL)["test"].read(0).dtype == np.uint8


def test_training_and_scoring_on_a_table_of_real_images(chests, tmp_path, pellucid):
    warnings.simplefilter("always", UserWarning)
    on = ["--data", "table", "--root", chests, "--device", "cpu"]
    run = tmp_path / "run"
    code, _, said = pellucid("train", "standard", *on, *TINY, "--out", run)
    assert code == 0, said
    assert "note: labels.csv: images from 'path'; one class per image from 'class'; patients from 'patient'" in said
    code, output, said = pellucid("evaluate", run, *on, "--out", tmp_path / "scores")
    assert code == 0, said
    code, output, _ = pellucid("data", "check", "table", "--root", chests, "--out", tmp_path / "checked")
    assert code == 0
    assert "60 of 60 images" in output
    report = json.loads((tmp_path / "checked" / "check.json").read_text())
    assert len(report["content_hash"]) == 64
