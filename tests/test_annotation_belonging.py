"""Annotations of one folder of images never join, or teach with, those of another whose images have the same names."""

import json

import numpy as np
import pytest
from PIL import Image

from pellucid.annotations.files import export_annotations, import_annotations
from pellucid.annotations.loading import load_annotations
from pellucid.annotations.records import Mark
from pellucid.annotations.shapes import Rectangle
from pellucid.annotations.store import open_store
from pellucid.data import open_dataset
from pellucid.types import InputError

ID = "train/cat/0.png"


def pictures(root, size=(40, 30), seed=0, part="train", classes=("cat", "dog"), count=2):
    """A folder dataset, opened."""
    for number, name in enumerate(f"{c}/{i}" for c in classes for i in range(count)):
        path = root / part / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng((seed, number)).integers(0, 4 if seed else 256, size[::-1], dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return open_dataset("folder", root, options={"validation_fraction": 0})[part]


def annotated(dataset, path, annotator, size=None):
    """A database with one mark, and its export."""
    with open_store(path, create=dataset) as store:
        if size is not None:
            store.put_image(dataset.ids[0], *size)
        store.add_mark(Mark(dataset.ids[0], "cat", "relevant", Rectangle(0.1, 0.2, 0.3, 0.4), annotator))
    export_annotations(path, path.with_suffix(".json"), "coco")
    return path


def people(path):
    with open_store(path) as store:
        return [mark.annotator for mark in store.marks()]


def test_two_people_of_one_dataset_are_joined(tmp_path):
    part = pictures(tmp_path / "a")
    ann, bob = (annotated(part, tmp_path / f"{who}.db", who, (40, 30)) for who in ("Ann", "Bob"))
    import_annotations(bob.with_suffix(".json"), ann, None)
    assert people(ann) == ["Ann", "Bob"]


OTHERS = {
    "pixels": ({"seed": 1}, "fingerprints differ"),
    "proportion": ({"size": (30, 40)}, r"1 have another proportion.*\(30 × 40 pixels, in the database 40 × 30\)"),
    "part": ({"part": "test"}, "its part is test, that of the database train"),
    "classes": ({"classes": ("cat", "cow", "dog")}, "other classes: cow; the database has cat, dog"),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", OTHERS)
@pytest.mark.parametrize("kind", ["coco", "csv"])
def test_marks_of_another_dataset_are_refused_and_nothing_is_kept(tmp_path, pellucid, how, kind):
    other, told = OTHERS[how]
    ann = annotated(pictures(tmp_path / "a"), tmp_path / "ann.db", "Ann", (40, 30))
    there = pictures(tmp_path / "b", **other)
    bob = annotated(there, tmp_path / "bob.db", "Bob", other.get("size", (40, 30)))
    file = tmp_path / ("bob.json" if kind == "coco" else "bob.csv")
    export_annotations(bob, file, kind)
    with pytest.raises(InputError, match=told):
        import_annotations(file, ann, None)
    assert "pellucid: " in pellucid("annotate", "import", file, "--store", ann)[0]
    assert people(ann) == ["Ann"]


def test_a_dataset_that_grew_is_held_against_both(tmp_path):
    part = pictures(tmp_path / "a")
    ann = annotated(part, tmp_path / "ann.db", "Ann", (40, 30))
    grown = pictures(tmp_path / "a", count=3)
    bob = annotated(grown, tmp_path / "bob.db", "Bob", (40, 30))
    with pytest.raises(InputError, match="--data"):
        import_annotations(bob.with_suffix(".json"), ann, None)
    with pytest.warns(UserWarning, match=r"ann\.db: folder/train is not what was annotated.* its 1 annotated images"):
        import_annotations(bob.with_suffix(".json"), ann, grown)
    assert people(ann) == ["Ann", "Bob"]


def test_a_file_that_is_held_against_other_images_is_refused(tmp_path):
    ann = annotated(pictures(tmp_path / "a"), tmp_path / "ann.db", "Ann", (40, 30))
    other = pictures(tmp_path / "b", size=(30, 40))
    new = tmp_path / "new.db"
    with pytest.raises(InputError, match=r"1 of 1 annotated images have the names of images of folder/train, and are"):
        import_annotations(ann.with_suffix(".json"), new, other)
    assert not new.exists()
    foreign = tmp_path / "foreign.json"
    foreign.write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": ID, "width": 30, "height": 40}],
                "categories": [{"id": 1, "name": "cat"}],
                "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [3, 4, 10, 10]}],
            }
        )
    )
    with pytest.raises(InputError, match="another proportion"):  # the file is of these images, the database is not
        import_annotations(foreign, ann, other)
    assert people(ann) == ["Ann"]


def test_training_takes_no_marks_of_other_images(tmp_path):
    part = pictures(tmp_path / "a")
    ann = annotated(part, tmp_path / "ann.db", "Ann", (40, 30))
    assert load_annotations(ann, part).image_ids == (ID,)
    with pytest.raises(InputError, match=r"train/cat/0\.png: said to be 40 × 30 pixels; its file holds 30 × 40"):
        load_annotations(ann, pictures(tmp_path / "b", size=(30, 40)))
    with pytest.warns(UserWarning, match="is not what was annotated, or was changed since"):
        reduced = load_annotations(ann, pictures(tmp_path / "c", size=(20, 15)))  # a copy in proportion
    assert reduced.image_ids == (ID,)


def test_unknown_sizes_do_not_hinder(tmp_path):
    ann = annotated(pictures(tmp_path / "a"), tmp_path / "ann.db", "Ann")
    with pytest.warns(UserWarning, match="is not what was annotated"):
        assert load_annotations(ann, pictures(tmp_path / "b", size=(30, 40))).image_ids == (ID,)
