"""What `discover` found, on disk and back."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from PIL import Image

from helpers.discovery import make_discovery, make_suspect
from pellucid.evaluation.discovery.results import Discovery
from pellucid.evaluation.discovery.suspect import KINDS
from pellucid.types import InputError
from pellucid.utils.csv_table import read_csv


@pytest.fixture
def discovery():
    return make_discovery(*(make_suspect(i, kind, expected=kind == "marked") for i, kind in enumerate(KINDS, 1)))


def test_a_folder_gives_back_what_was_saved(discovery, tmp_path):
    discovery.save(tmp_path)
    loaded = Discovery.load(tmp_path)
    assert loaded.to_json() == discovery.to_json()
    assert loaded.rows == discovery.rows
    for one, other in zip(loaded.suspects, discovery.suspects, strict=True):
        assert one.to_json() == other.to_json()
        assert one.arrays().keys() == other.arrays().keys()
        for name, array in one.arrays().items():
            np.testing.assert_array_equal(array, other.arrays()[name])
    assert {k: v.tolist() for k, v in loaded.pictures.items()} == {k: v.tolist() for k, v in discovery.pictures.items()}
    assert math.isnan(loaded.suspects[3].effects[0].put_in.value)  # null in the file


def test_the_pictures_are_those_of_the_arrays(discovery, tmp_path):
    discovery.save(tmp_path)
    region = np.asarray(Image.open(tmp_path / "1" / "region.png")) > 0
    np.testing.assert_array_equal(region, discovery.suspects[0].region)
    assert np.asarray(Image.open(tmp_path / "1" / "with.png")).tolist() == [[191] * 6] * 6
    assert not (tmp_path / "3" / "with.png").exists()  # a whole image is at no place


def test_the_table_has_a_row_per_suspect_and_class(discovery, tmp_path):
    discovery.save(tmp_path)
    rows = read_csv(tmp_path / "suspects.csv")
    assert [(row["suspect"], row["class"]) for row in rows[:3]] == [
        ("1", "Pneumonia"),
        ("1", "Mass"),
        ("2", "Pneumonia"),
    ]
    assert rows[6]["taken_away"] == ""  # of metadata
    assert [line[0] for line in discovery.tables()[0].rows][-1] == "5 a marked (marked)"


def test_the_headline_counts_what_nobody_marked():
    assert make_discovery().headline.startswith("In 24 images we found no cue ")
    assert make_discovery(make_suspect(expected=True)).headline.startswith("In 24 images we found no cue ")
    assert make_discovery(make_suspect()).headline == (
        "1 suspect: upper right corner, for Pneumonia, with 40 % [35 %, 45 %] of the answer."
    )


def test_files_of_two_discoveries_are_refused(discovery, tmp_path):
    discovery.save(tmp_path / "a")
    make_discovery(make_suspect()).save(tmp_path / "b")
    (tmp_path / "b" / "suspects.npz").replace(tmp_path / "a" / "suspects.npz")
    with pytest.raises(InputError, match=r"not the one that suspects\.json was written with"):
        Discovery.load(tmp_path / "a")


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "holds no suspects.json"), ("{", "is damaged"), (json.dumps({"format": 8}), "has format 8")],
)
def test_a_folder_without_a_discovery_is_refused(content, message, tmp_path):
    if content is not None:
        (tmp_path / "suspects.json").write_text(content)
    with pytest.raises(InputError, match=message):
        Discovery.load(tmp_path)
