"""The classes of a dataset as a model has them."""

from dataclasses import replace

import numpy as np
import pytest

from pellucid.data import open_dataset
from pellucid.data.class_match import match_classes
from pellucid.data.regions import Regions
from pellucid.types import InputError

SMALL = {"size": 32, "train": 12, "validation": 4, "test": 12}


@pytest.fixture(scope="module")
def labels():
    return open_dataset("phantom", options=SMALL)["test"]


@pytest.fixture(scope="module")
def animals(labels):
    """Twelve images of a cat, a dog or a bird."""
    card = replace(labels.card, name="animals", task="multiclass", classes=("bird", "cat", "dog"))
    return replace(labels, card=card, targets=np.arange(12) % 3, regions=None)


def test_the_fingerprint_follows_whatever_is_exchanged(labels):
    """But for labels that people corrected, which go with the data as they came."""
    twins = [
        replace(labels, regions=Regions(())),
        replace(labels, ids=labels.ids[::-1]),
        replace(labels, targets=1 - labels.targets),
        labels.subset([1, 0, *range(2, len(labels))]),
    ]
    assert len({labels.fingerprint, *(one.fingerprint for one in twins)}) == 1 + len(twins)
    corrected = replace(labels, targets=1 - labels.targets, uncorrected=labels.targets)
    assert corrected.fingerprint == labels.fingerprint
    assert corrected.subset([2, 3]).fingerprint == labels.subset([2, 3]).fingerprint


def names_shown(dataset):
    return [dataset.classes[t] for t in dataset.targets]


def test_the_same_classes_leave_the_dataset_as_it_is(labels, animals):
    assert match_classes(labels, labels.classes, "multilabel") == (labels, [])
    assert match_classes(animals, animals.classes, "multiclass")[0] is animals


def test_exclusive_classes_in_any_order_name_the_same_images(animals):
    found, notes = match_classes(animals, ("dog", "cat", "bird"), "multiclass")
    assert names_shown(found) == names_shown(animals)
    assert found.classes == ("dog", "cat", "bird")
    assert notes == []
    assert found.fingerprint != animals.fingerprint


def test_labels_in_any_order_keep_their_columns(labels):
    turned = labels.classes[::-1]
    found, notes = match_classes(labels, turned, "multilabel")
    for k, name in enumerate(turned):
        np.testing.assert_array_equal(found.targets[:, k], labels.targets[:, labels.classes.index(name)])
    assert notes == []


def test_other_names_are_matched_by_the_map(animals):
    found, notes = match_classes(animals, ("cat", "hound", "bird"), "multiclass", {"hound": "dog"})
    assert [n.replace("hound", "dog") for n in names_shown(found)] == names_shown(animals)
    assert notes == []
    same_order, _ = match_classes(animals, ("fowl", "cat", "dog"), "multiclass", {"fowl": "bird"})
    assert same_order.classes == ("fowl", "cat", "dog")
    np.testing.assert_array_equal(same_order.targets, animals.targets)


def test_what_the_data_lack_is_said(animals, labels):
    found, notes = match_classes(animals, ("cow", "bird", "cat", "dog"), "multiclass")
    assert names_shown(found) == names_shown(animals)
    assert len(notes) == 1
    assert "animals/test has no cow" in notes[0]
    found, notes = match_classes(labels, ("Fracture", *labels.classes), "multilabel")
    assert np.isnan(found.targets[:, 0]).all()
    np.testing.assert_array_equal(found.targets[:, 1:], labels.targets)
    assert "has no Fracture" in notes[0]


def test_labels_that_the_model_lacks_are_left_out_and_said(labels):
    found, notes = match_classes(labels, labels.classes[:1], "multilabel")
    np.testing.assert_array_equal(found.targets, labels.targets[:, :1])
    assert all(c in notes[0] for c in labels.classes[1:])


def test_an_image_of_a_class_that_the_model_lacks_is_refused_and_an_absent_class_is_not(animals):
    with pytest.raises(InputError, match=r"bird \(4 images\).*--map"):
        match_classes(animals, ("cat", "dog"), "multiclass")
    found, _ = match_classes(animals.subset([1, 2, 4]), ("dog", "cat"), "multiclass")
    assert names_shown(found) == ["cat", "dog", "cat"]


@pytest.mark.parametrize(
    ("classes", "names", "message"),
    [
        (("lion", "tiger"), {}, r"no class in common.*--map NAME_IN_MODEL=NAME_IN_DATA \(in Python: class_map="),
        (("sick",), {}, r"no class in common.*--map sick=NAME_IN_DATA"),
        (
            tuple(f"kind {k}" for k in range(1000)),
            {},
            r"^the model tells apart (kind \d, ){7}kind 7 and 992 more, and animals is labelled .*no class in common",
        ),
        (("zebra", "dogs"), {}, r"no class in common.*--map dogs=dog \(in Python: class_map=\{'dogs': 'dog'\}\)"),
        (("cat", "dog", "bird"), {"cats": "cat"}, "the model has no class 'cats'"),
        (("cat", "dog", "bird"), {"cat": "kat"}, "animals has no class 'kat'"),
        (("cat", "dog", "bird"), {"dog": "cat"}, "two classes of the model are matched with 'cat'"),
    ],
)
def test_what_cannot_be_matched_is_refused(animals, classes, names, message):
    with pytest.raises(InputError, match=message):
        match_classes(animals, classes, "multiclass", names)


def test_one_logit_on_folders_finds_its_positive_class_in_the_message(animals):
    with pytest.raises(InputError, match=r"the model is multilabel.*animals is multiclass.*positive=cat"):
        match_classes(animals, ("cat",), "multilabel")
    with pytest.raises(InputError, match=r"positive=…, one of bird, cat, dog"):
        match_classes(animals, ("Felis",), "multilabel")
