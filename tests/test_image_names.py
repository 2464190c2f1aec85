"""Which image a name means: the whole of a path or nothing, compared with every pair of paths, one by one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pellucid.data import open_dataset
from pellucid.data.readers.image_names import faults_message, match_names
from pellucid.types import InputError

FOLDER = ["train/cat/1.png", "train/cat/3.png", "train/dog/0.png", "train/dog/2.png", "train/dog/3.png"]
CIFAR = ["data_batch_1/16", "data_batch_5/17"]


def of(ids):
    return [[name] for name in ids]


@pytest.mark.parametrize(
    ("name", "ids", "row"),
    [
        ("dog/0.png", FOLDER, 2),  # as CVAT writes it
        ("./dog/0.png", FOLDER, 2),
        ("dog\\0.png", FOLDER, 2),  # as Label Studio writes it on Windows
        ("C:\\data\\train\\dog\\0.png", FOLDER, 2),
        ("/data/train/dog/0.png", FOLDER, 2),
        ("dog//0.png", FOLDER, 2),
        ("0.png", FOLDER, 2),  # the only one of this name
        ("images_001/images/a.png", ["a.png"], 0),
        ("data_batch_5/17.png", CIFAR, 1),
        ("cafe\u0301.png", ["caf\u00e9.png"], 0),
        ("0.png", ["0.png", "dog/0.png"], 0),  # exactly so
        ("x/dog/0.png", ["0.png", "dog/0.png"], 1),  # the longest
        ("a.png", ["a.jpg", "a.png"], 1),
    ],
)
def test_a_name_that_means_one_image(name, ids, row):
    found = match_names([name], of(ids))
    assert (found.rows, found.faults, found.notes) == ({name: row}, {}, [])


@pytest.mark.parametrize(
    ("name", "ids", "said"),
    [
        ("cat/0.png", FOLDER, "no such image; another with a name like it: train/dog/0.png"),
        ("test/cat/3.png", FOLDER, "no such image; others with a name like it: train/cat/3.png and train/dog/3.png"),
        ("hospitalB/2.dcm", FOLDER, "no such image; another with a name like it: train/dog/2.png"),
        ("data_batch_1/17.png", CIFAR, "no such image; another with a name like it: data_batch_5/17"),
        ("3.png", FOLDER, "could be train/cat/3.png or train/dog/3.png"),
        ("cat/0.png", ["0.png", "dog/0.png"], "could be 0.png or dog/0.png"),
        ("a.bmp", ["a.jpg", "a.png"], "could be a.jpg or a.png"),
        ("og/0.png", FOLDER, "no such image"),  # no whole component
        ("../../etc/passwd", FOLDER, "there is no such image"),
        ("", FOLDER, "there is no such image"),
        ("dog/", FOLDER, "there is no such image"),
    ],
)
def test_a_name_that_means_none_or_several(name, ids, said):
    found = match_names([name], of(ids))
    assert found.rows == {}
    assert said in found.faults[name]


def test_what_is_taken_for_the_same_is_said():
    found = match_names(["DOG/0.png", "cat/1.jpg", "Dog/2.JPG"], of(FOLDER))
    assert found.rows == {"DOG/0.png": 2, "cat/1.jpg": 0, "Dog/2.JPG": 3}
    assert sorted(found.notes) == [
        "1 name matched with an image whose name differs in capitals and the file's ending, as Dog/2.JPG with "
        "train/dog/2.png",
        "1 name matched with an image whose name differs in capitals, as DOG/0.png with train/dog/0.png",
        "1 name matched with an image whose name differs in the file's ending, as cat/1.jpg with train/cat/1.png",
    ]


def test_two_names_of_one_image_are_refused():
    found = match_names(["cat/0.png", "dog/0.png"], of(["0.png", "1.png"]))
    assert found.rows == {}
    assert found.faults["cat/0.png"] == "would be 0.png, as would dog/0.png"
    same = match_names(["0.png", "./0.png"], of(["0.png"]))  # one path, written twice
    assert same.rows == {"0.png": 0, "./0.png": 0}
    both = match_names(["scan-a", "images/a.png"], [["scan-a", "images/a.png"]])  # an id and a path of one image
    assert both.rows == {"scan-a": 0, "images/a.png": 0}
    crossed = match_names(["b.png"], [["b.png", "a.png"], ["a.png", "b.png"]])  # the id of one is the path of another
    assert crossed.faults == {"b.png": "could be b.png or a.png"}


def test_all_names_are_told_at_once():
    faults = match_names(["cat/0.png", "3.png", "dog/0.png", "x.png"], of(FOLDER)).faults
    message = faults_message(faults, "folder/train", FOLDER[0])
    assert re.match(r"(?s)^3 of the images .* folder/train; nothing was taken", message)
    assert all(repr(name) in message for name in ("cat/0.png", "3.png", "x.png"))


PATHS = st.lists(
    st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map("/".join), min_size=1, max_size=8, unique=True
)


@given(PATHS, st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map("/".join))
def test_brute_force(ids, name):
    """Of all pairs: the same; else those whose end the name is; else the longest that the name ends with."""
    ends = [i for i, one in enumerate(ids) if f"/{one}".endswith(f"/{name}")]
    starts = [i for i, one in enumerate(ids) if f"/{name}".endswith(f"/{one}")]
    expected = [ids.index(name)] if name in ids else ends
    if not expected and starts:
        longest = max(starts, key=lambda i: len(ids[i]))
        expected = [longest] + [i for i, one in enumerate(ids) if one.endswith(f"/{ids[longest]}")]
    found = match_names([name], of(ids))
    assert found.rows == ({name: expected[0]} if len(expected) == 1 else {})


def test_masks_of_a_name_that_two_images_have(tmp_path):
    for place in ("images/a.png", "images/a.jpg", "masks/a__Consolidation.png"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8), 255).save(tmp_path / place)
    with pytest.raises(InputError, match=r"images: masks name their image without .* of a\.jpg and a\.png\. Rename"):
        open_dataset("covid-findings", tmp_path)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["a.png,PA,X-ray", "a.jpg,L,X-ray"], ["a"]),  # the file's own name counts
        (["a.jpg,PA,X-ray"], ["a"]),  # another ending
        (["a.jpg,PA,X-ray", "a.tif,L,X-ray"], None),
        (["a.png,PA,X-ray", "a.png,L,X-ray"], None),
    ],
)
def test_views_of_a_name_that_several_rows_have(tmp_path, rows, said):
    for place in ("images/a.png", "masks/a__Consolidation.png"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8), 255).save(tmp_path / place)
    (tmp_path / "metadata.csv").write_text("\n".join(["filename,view,modality", *rows, ""]))
    if said is None:
        with pytest.raises(InputError, match=r"cannot be said whether these are frontal: a\.png"):
            open_dataset("covid-findings", tmp_path)
    else:
        assert list(open_dataset("covid-findings", tmp_path)["test"].ids) == said
