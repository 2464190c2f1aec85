"""A suspect as a mark on images: where, on which, for which classes, and what cannot be marked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import pellucid as pl
from helpers.discovery import CLASSES, SIDE, N, estimate, make_discovery, make_suspect
from helpers.models import small
from pellucid.annotations.records import AnnotationSet
from pellucid.annotations.shapes import shape_mask
from pellucid.data.cache.fitted_images import FittedImages
from pellucid.data.dataset import Dataset, DatasetCard
from pellucid.data.placement import Placement
from pellucid.data.regions import Region, Regions
from pellucid.evaluation.discovery.showing import Showing
from pellucid.evaluation.discovery.suspect_marks import (
    markable,
    marks_on,
    moved_classes,
    outlines_of,
    save_mark,
    saved_boxes,
)
from pellucid.models.weights import save_model
from pellucid.types import Box, InputError, InputSpec
from pellucid.verbs.session import results_key_of

SPEC = InputSpec.square(1, SIDE)
PHANTOM = {"size": 32, "train": 48, "validation": 8, "test": 1, "prevalence": 0.4}


def images_of(regions=()):
    card = DatasetCard("hand", "By hand", "multilabel", CLASSES)
    ids = tuple(f"image-{i:02d}" for i in range(N))
    labels = np.zeros((N, 2), np.float32)
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    return FittedImages(Dataset(card, "train", ids, ids, labels, lambda _: pixels, Regions(tuple(regions))), SPEC)


def masks_of(marked, images):
    return AnnotationSet(marked.marks).masks(images.dataset.ids, CLASSES, images.places)


def test_the_window_is_irrelevant_to_the_class_on_the_images_that_show_it_and_nowhere_else():
    images, suspect = images_of(), make_suspect()
    showing = Showing(np.flatnonzero(suspect.present), None, 0)
    marked = marks_on(suspect, showing, images, None)
    relevant, irrelevant = masks_of(marked, images)
    assert not relevant.any()
    for column in range(2):
        expected = suspect.present[:, None, None] & (suspect.window | suspect.region)
        np.testing.assert_array_equal(irrelevant[:, column], expected)
    assert marked.sentence == (
        "suspect 1 (upper right corner), as it was found: irrelevant to Pneumonia, Mass on 8 of 24 images."
    )


def test_somebodys_rectangle_takes_the_place_of_the_region():
    images, suspect = images_of(), make_suspect()
    marked = marks_on(suspect, Showing(np.array([2]), None, 24), images, [Box(3, 2, 5, 4)])
    expected = np.zeros((SIDE, SIDE), bool)
    expected[2:6, 3:8] = True
    np.testing.assert_array_equal(masks_of(marked, images)[1][2, 0], expected)
    assert "as somebody marked it" in marked.sentence
    assert "on 1 of 24 images, those on which the network answers to it" in marked.sentence


def test_a_suspect_at_varying_places_is_marked_at_each_images_own():
    images, suspect = images_of(), make_suspect(kind="patch")
    boxes = (Box(0, 0, 4, 4), Box(8, 8, 4, 4))
    showing = Showing(np.array([1, 5]), boxes, 0)
    irrelevant = masks_of(marks_on(suspect, showing, images, None), images)[1][:, 0]
    assert [tuple(np.argwhere(irrelevant[row])[[0, -1]].ravel()) for row in (1, 5)] == [(0, 0, 3, 3), (8, 8, 11, 11)]
    assert irrelevant.sum() == 32
    with pytest.raises(InputError, match="lies elsewhere on each image"):
        marks_on(suspect, showing, images, [Box(0, 0, 4, 4)])


def test_where_people_marked_the_finding_it_is_not_called_irrelevant():
    suspect = make_suspect()
    inside, beside = (0.6, 0.1, 0.1, 0.1), (0.0, 0.8, 0.1, 0.1)
    images = images_of([Region(0, "Pneumonia", inside), Region(3, "Pneumonia", beside), Region(6, "Mass", inside)])
    marked = marks_on(suspect, Showing(np.array([0, 3, 6]), None, 0), images, None)
    pairs = [(mark.image, mark.class_name) for mark in marked.marks]
    assert pairs == [
        ("image-00", "Mass"),
        ("image-03", "Pneumonia"),
        ("image-03", "Mass"),
        ("image-06", "Pneumonia"),
    ]
    assert "; where people marked one of them on an image (2 images), it is left out." in marked.sentence


def test_classes_that_rise_with_it_and_fall_without_it_are_meant():
    suspect = make_suspect()
    assert moved_classes(suspect) == CLASSES
    for change in ({"put_in": estimate(-0.5)}, {"taken_away": estimate(0.5)}, {"p_put": 0.06}, {"p_taken": 0.06}):
        mass = replace(suspect.effects[1], **change)
        assert moved_classes(replace(suspect, effects=(suspect.effects[0], mass))) == ("Pneumonia",)
    one = replace(suspect.effects[1], p_taken=0.02)
    others = [replace(one, class_name=f"class {k}") for k in range(3)]
    assert moved_classes(replace(suspect, effects=(suspect.effects[0], *others[:2]))) == (
        "Pneumonia", "class 0", "class 1",
    )  # fmt: skip
    assert moved_classes(replace(suspect, effects=(suspect.effects[0], *others))) == ("Pneumonia",)  # 3 × .02 is .06


@pytest.mark.parametrize("preprocess", ["crop:20:16", "pad:16", "stretch:16"])
def test_outlines_come_back_as_the_pixels_that_lie_on_the_image(preprocess):
    region = np.zeros((16, 16), bool)
    region[0:5, 9:16], region[12:, :3], region[2, 11] = True, True, False
    placement = Placement.of(InputSpec.parse(preprocess, channels=1), (40, 100))
    drawn = np.any([shape_mask(shape, placement) for shape in outlines_of(region, placement)], axis=0)
    rows = np.arange(16) + 0.5
    on_image = (rows > placement.top) & (rows < placement.top + placement.scaled[0])
    np.testing.assert_array_equal(drawn, region & on_image[:, None])


def test_what_cannot_be_marked_is_refused_with_what_can_be_done():
    kinds = ("place", "whole image", "metadata", "patch", "marked")
    discovery = make_discovery(*(make_suspect(i, kind, expected=kind == "marked") for i, kind in enumerate(kinds, 1)))
    assert [one.number for one in markable(discovery, None)] == [1, 4]
    assert [one.number for one in markable(discovery, [4, 1, 4])] == [4, 1]
    for numbers, message in (
        ([9], r"runs/x holds no suspect 9: they are numbered from 1 to 5"),
        ([2], r"suspect 2 \(overall brightness\) is a property of whole images, .* augment\.brightness"),
        ([3], r"suspect 3 \(a metadata\) is a column of the metadata, .* train on data"),
        ([5], r"suspect 5 \(a marked\) is what people marked as the finding, which the network should go by"),
    ):
        with pytest.raises(InputError, match=message):
            markable(discovery, numbers, "runs/x")
    with pytest.raises(InputError, match="holds no suspect 1: nothing was found"):
        markable(make_discovery(), [1])
    with pytest.raises(InputError, match=r"no suspect that could be marked\. Suspect 2 \(overall"):
        markable(make_discovery(make_suspect(2, "whole image")), None)


def test_a_kept_mark_comes_back(tmp_path):
    assert saved_boxes(tmp_path, 3) is None
    save_mark(tmp_path, 3, [Box(1.5, 2.0, 3.25, 4.0)], "Ann")
    assert saved_boxes(tmp_path, 3) == (Box(1.5, 2.0, 3.25, 4.0),)
    save_mark(tmp_path, 3, None, "Ann")  # accepted as it was found
    assert saved_boxes(tmp_path, 3) is None
    (tmp_path / "3" / "mark.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        saved_boxes(tmp_path, 3)


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def splits():
    return pl.dataset("phantom", **PHANTOM)


@pytest.fixture(scope="module")
def first(splits, tmp_path_factory):
    return save_model(small(classes=splits["train"].classes), tmp_path_factory.mktemp("network") / "net")


@pytest.fixture
def suspects(first, splits, tmp_path):
    """A discovery on the training images, whose first suspect every third of them shows."""
    data, name = splits["train"], splits["train"].classes[1]
    one = make_suspect()
    region, window = np.zeros((32, 32), bool), np.zeros((32, 32), bool)
    region[1:3, 29:31], window[:4, 27:] = True, True
    effects = (
        replace(one.effects[0], class_name=name),
        replace(one.effects[1], class_name=data.classes[0], put_in=estimate(0.0)),
    )
    present = np.arange(len(data)) % 3 == 0
    one = replace(one, class_name=name, region=region, window=window, effects=effects, present=present, boxes={})
    about = {"data": "phantom", "split": "train", "origin": data.origin, "fingerprint": data.fingerprint}
    about |= {"model": str(first), "network": results_key_of(pl.load(first))}
    discovery = replace(make_discovery(one, make_suspect(2, "whole image")), about=about, ids=data.ids)
    discovery.save(tmp_path / "suspects")
    return tmp_path / "suspects"


def retrain(splits, first, suspects, out, **options):
    sentences = []
    options = {"only": [1], "device": "cpu", "overrides": ["training.epochs=1", "training.batch_size=24"]} | options
    run = pl.train("annotated", splits, out, init=first, suspects=suspects, announce=sentences.append, **options)
    return run, sentences


def test_training_says_what_is_marked_and_marks_it(splits, first, suspects, tmp_path):
    run, sentences = retrain(splits, first, suspects, tmp_path / "out")
    name = splits["train"].classes[1]
    assert sentences == [f"suspect 1 (upper right corner), as it was found: irrelevant to {name} on 16 of 48 images."]
    assert "16 annotated images, 16 of them marked: 0 relevant and 16 irrelevant regions" in run.learned
    assert run.run.read()["annotations"]["suspects"] == sentences


def test_the_mark_that_somebody_made_is_trained_with(splits, first, suspects, tmp_path):
    save_mark(suspects, 1, [Box(0, 0, 4, 4)], "Ann")
    digests = []
    for boxes in ([Box(0, 0, 4, 4)], None):
        save_mark(suspects, 1, boxes, "Ann")
        run, sentences = retrain(splits, first, suspects, tmp_path / f"{boxes is None}")
        assert ("as somebody marked it" in sentences[0]) == (boxes is not None)
        digests.append(run.run.read()["annotations"]["sha256"])
    assert digests[0] != digests[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"only": [2]}, "property of whole images"),
        ({"only": [7]}, "holds no suspect 7"),
        ({"init": None}, "name the network that goes by the suspects with --init"),
        ({"suspects": None}, "--only chooses among suspects: name their folder with --suspects"),
    ],
)
def test_suspects_that_cannot_be_taken_away_are_refused_before_any_work(
    options, message, splits, first, suspects, tmp_path
):
    options = {"init": first, "suspects": suspects, "only": [1], "device": "cpu"} | options
    recipe = "annotated" if options["init"] else "khakzar2019-robust"
    with pytest.raises(InputError, match=message):
        pl.train(recipe, splits, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_other_data_and_other_networks_are_refused(splits, first, suspects, tmp_path):
    other = pl.dataset("phantom", **(PHANTOM | {"prevalence": 0.3}))
    with pytest.raises(InputError, match=r"found on other images of phantom: made with .*prevalence"):
        retrain(other, first, suspects, tmp_path / "out")
    network = small(classes=splits["train"].classes)
    network.head.weight.data += 1
    second = save_model(network, tmp_path / "second")
    with pytest.raises(InputError, match=r"this is another network .*: run `pellucid discover` on this one first"):
        retrain(splits, second, suspects, tmp_path / "out")


def test_numbers_are_read_from_the_command_line(splits, first, suspects, tmp_path, pellucid):
    options = [f"--data-option={key}={value}" for key, value in PHANTOM.items()]
    command = ["train", "annotated", "--data", "phantom", *options, "--init", first, "--suspects", suspects]
    code, *_ = pellucid(*command, "--only", "first", "--out", tmp_path / "out")
    assert "--only is numbers with commas between them, as 3 or 1,3; found 'first'" in str(code)
    code, output, _ = pellucid(
        *command, "--only", "1", "--device", "cpu", "--set", "training.epochs=1", "--out", tmp_path / "out"
    )
    assert code in (0, None)
    assert "suspect 1 (upper right corner), as it was found" in output
