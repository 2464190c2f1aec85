"""COCO: what the released files say comes back image by image, outlines as drawn by hand."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as official

from helpers.coco import HEIGHT, RECTANGLE, WIDTH, annotation, content, write_release
from pellucid.data import check_dataset, materialize, open_dataset
from pellucid.data.readers.coco.masks import draw_mask
from pellucid.study import load_study, run_study
from pellucid.types import InputError, InputSpec

SAMPLE = "coco-sample"


@pytest.fixture
def written(tmp_path):
    return partial(write_release, tmp_path)


def test_the_sample_says_what_its_files_say(real_data):
    splits = open_dataset("coco", real_data / SAMPLE)
    assert list(splits) == ["train", "validation", "test"]
    assert len(splits["train"]) + len(splits["validation"]) == len(splits["test"]) == 128
    for parts, name in ((("train", "validation"), "train2017"), (("test",), "val2017")):
        said = json.loads((real_data / SAMPLE / "annotations" / f"instances_{name}.json").read_text())
        labels = {entry["id"]: entry["name"] for entry in said["categories"]}
        images = {f"{name}/{entry['file_name']}": entry for entry in said["images"]}
        seen = set()
        for part in parts:
            dataset = splits[part]
            assert dataset.classes == tuple(labels[i] for i in sorted(labels))
            assert len(dataset.classes) == 80
            for i, image in enumerate(dataset.ids):
                seen.add(image)
                entry = images[image]
                mine = [a for a in said["annotations"] if a["image_id"] == entry["id"]]
                shown = {c for c, there in zip(dataset.classes, dataset.targets[i], strict=True) if there == 1}
                assert shown == {labels[a["category_id"]] for a in mine}
                assert dataset.read(i).shape[:2] == (entry["height"], entry["width"])
                regions = [r for r in dataset.regions.items if r.image == i]
                assert all(r.mask is None for r in regions)  # the sample has no outlines
                found = Counter((r.label, *np.round(r.box, 4)) for r in regions)
                frame = np.array([entry["width"], entry["height"]] * 2)
                expected = Counter((labels[a["category_id"]], *np.round(a["bbox"] / frame, 4)) for a in mine)
                assert sum(found.values()) == sum(expected.values())
                for label, *box in expected:  # boxes stick out by a hundredth of a pixel at most
                    assert any(label == other[0] and np.allclose(box, other[1:], atol=2e-4) for other in found)
        assert seen == set(images)
    report = check_dataset("coco", real_data / SAMPLE)
    assert report.ok
    assert [note.reason for note in report.notes] == [
        "names 128 of the 118,287 official images: a part of the dataset",
        "names 128 of the 5,000 official images: a part of the dataset",
    ]


def test_categories_go_by_their_ids_and_the_released_frame_holds_for_smaller_files(written):
    folder = written(content(annotation(1, 1, 90), annotation(2, 1, 1), annotation(3, 3, 7)))
    Image.new("RGB", (WIDTH // 2, HEIGHT // 2)).save(folder / "val2017" / "000000000001.jpg")
    test = open_dataset("coco", folder)["test"]
    assert test.classes == ("person", "train", "toothbrush")
    assert test.targets.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert [r.box for r in test.regions.items] == [(4 / WIDTH, 6 / HEIGHT, 12 / WIDTH, 14 / HEIGHT)] * 3
    assert test.patients == test.ids
    assert materialize(test, InputSpec.square(3, 8)).shape == (4, 3, 8, 8)


def test_outlines_of_every_kind_are_the_masks_that_were_drawn(written):
    rng = np.random.default_rng(0)
    blob = rng.random((HEIGHT, WIDTH)) < 0.3
    runs, value = [0], 0
    for pixel in blob.T.ravel().tolist():  # down the columns, zeros first
        if pixel == value:
            runs[-1] += 1
        else:
            runs.append(1)
            value = pixel
    text = official.encode(np.asfortranarray(blob.astype(np.uint8)))["counts"].decode()
    other = [20.0, 6.0, 24.0, 6.0, 24.0, 20.0, 20.0, 20.0]
    folder = written(
        content(
            annotation(1, 1, 1, segmentation=[RECTANGLE]),
            annotation(2, 2, 1, segmentation=[RECTANGLE, other]),
            annotation(3, 3, 1, segmentation={"size": [HEIGHT, WIDTH], "counts": runs}),
            annotation(4, 4, 1, segmentation={"size": [HEIGHT, WIDTH], "counts": text}),
            annotation(5, 4, 7),
        )
    )
    regions = open_dataset("coco", folder)["test"].regions.items
    rectangle = np.zeros((HEIGHT, WIDTH), dtype=bool)
    rectangle[6:20, 4:16] = True
    both = rectangle.copy()
    both[6:20, 20:24] = True
    for region, expected in zip(regions, (rectangle, both, blob, blob), strict=False):
        assert np.array_equal(region.mask(), expected)
    assert regions[4].mask is None
    assert check_dataset("coco", folder).ok  # which draws every mask
    plain = open_dataset("coco", folder, options={"masks": False})["test"].regions.items
    assert all(region.mask is None for region in plain)
    assert [r.box for r in plain] == [r.box for r in regions]


def test_an_outline_without_a_pixel_marks_its_box():
    from array import array

    thin = [array("d", [4, 6, 4, 6, 4, 6])]
    assert not official.decode(official.frPyObjects([p.tolist() for p in thin], HEIGHT, WIDTH)).any()
    mask = draw_mask(thin, (WIDTH, HEIGHT), (4, 6, 0.3, 2.5), "a")
    assert np.argwhere(mask).tolist() == [[6, 4], [7, 4], [8, 4]]


def test_a_crowd_is_present_and_no_region(written):
    crowd = {"size": [HEIGHT, WIDTH], "counts": [0, WIDTH * HEIGHT]}
    folder = written(
        content(annotation(1, 1, 1, crowd=1, segmentation=crowd), annotation(2, 1, 7), annotation(3, 2, 1, crowd=1))
    )
    test = open_dataset("coco", folder)["test"]
    assert test.targets[:, 0].tolist() == [1, 1, 0, 0]
    assert [(r.image, r.label) for r in test.regions.items] == [(0, "train")]


def test_a_box_without_area_is_left_out_with_a_note(written):
    folder = written(content(annotation(1, 1, 1), annotation(2, 2, 1, box=(10, 10, 0, 5))))
    test = open_dataset("coco", folder)["test"]
    assert test.targets[:, 0].tolist() == [1, 1, 0, 0]
    assert [r.image for r in test.regions.items] == [0]
    report = check_dataset("coco", folder)
    assert report.ok
    assert "annotation 2 on 000000000002.jpg: the box (10, 10, 0, 5) has no area; it marks nothing" in [
        note.reason for note in report.notes
    ]


def test_fingerprints_tell_outlines_and_boxes_apart(written):
    def prints(outline, **options):
        folder = written(content(annotation(1, 1, 1, segmentation=outline), annotation(2, 2, 7)))
        test = open_dataset("coco", folder, options=options)["test"]
        assert test.subset(range(4)).fingerprint == test.fingerprint
        return test.fingerprint

    other = [*RECTANGLE[:-1], 19.0]
    runs = {"size": [HEIGHT, WIDTH], "counts": [WIDTH * HEIGHT - 5, 5]}
    with_masks = [prints([RECTANGLE]), prints([other]), prints([RECTANGLE[:6], RECTANGLE[2:]]), prints(runs)]
    assert len(set(with_masks)) == 4
    assert prints([RECTANGLE]) == with_masks[0]
    boxes = {prints(outline, masks=False) for outline in ([RECTANGLE], [other], runs)}
    assert len(boxes) == 1
    assert boxes.isdisjoint(with_masks)


def test_the_cut_is_the_seeds_and_each_images_own(written):
    folder = written(content(images=5), content(images=200, first=1000))
    first, again, other = (
        open_dataset("coco", folder, seed=seed, options={"validation_fraction": 0.2}) for seed in (0, 0, 1)
    )
    assert {k: v.fingerprint for k, v in first.items()} == {k: v.fingerprint for k, v in again.items()}
    assert first["validation"].ids != other["validation"].ids
    assert 20 <= len(first["validation"]) <= 60  # 40 of 200, give or take three and a half standard deviations
    assert "validation" not in open_dataset("coco", folder, options={"validation_fraction": 0})
    for name in first["train"].ids[:50]:
        (folder / name).unlink()
    with pytest.warns(UserWarning, match="150 of 200 images found"):
        part = open_dataset("coco", folder, options={"validation_fraction": 0.2})
    assert part["validation"].ids == first["validation"].ids
    assert part["train"].ids == first["train"].ids[50:]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_compressed_run_lengths_are_read_as_the_official_code_reads_them(data):
    height, width = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    pixels = np.array(data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width)))
    mask = pixels.reshape(height, width)
    text = official.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    outline = {"size": [height, width], "counts": text}
    if mask.any():
        assert np.array_equal(draw_mask(outline, (width, height), (0, 0, 1, 1), "a"), mask)
    text = data.draw(st.text(st.characters(min_codepoint=40, max_codepoint=130), max_size=20))
    try:
        drawn = draw_mask(outline | {"counts": text}, (width, height), (0, 0, 1, 1), "a")
    except InputError:
        return
    assert drawn.shape == (height, width)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_check", "empty_charts")
def test_the_study_runs_on_the_sample(real_data, tmp_path):
    tiny = [
        "settings.model={name='small', size=32, options={widths=[8, 16], blocks=[1, 1], strides=[1, 2]}}",
        "settings.training={epochs=1, batch_size=32, mixed_precision='no'}",
        "evaluation.methods=['cam', 'saliency']",
        "evaluation.resamples=100",
        "evaluation.ara={kinds=['attack'], limit=20}",
        "evaluation.targets=[{name='objects', boxes=false, limit=20}]",
        "evaluation.adversarial={cases=2, classes=2, rhos=[0.075]}",
    ]
    report = run_study(load_study("coco", tiny), real_data / SAMPLE, tmp_path, device="cpu", jobs=1)
    results = json.loads((tmp_path / "results.json").read_text())
    assert [variant["label"] for variant in results["variants"]] == ["standard", "robust", "all"]
    assert {row["variant"] for row in results["ara"]["attacks"]} == {"standard", "robust", "all"}
    assert report.read_text().count('class="slide-rho"') == 2


def test_only_the_release_s_own_names_mean_the_same_image_everywhere(tmp_path):
    """Two people's own sets may both have a photo1.jpg: one is not the other."""
    value = content(*(annotation(i, i, 7) for i in (1, 2, 3, 4)))
    value["images"][1]["file_name"] = "photo2.jpg"
    part = open_dataset("coco", write_release(tmp_path, val=value))["test"]
    stable = dict(zip(part.ids, part.stable_ids, strict=True))
    assert stable["val2017/photo2.jpg"] == ""
    assert stable["val2017/000000000001.jpg"] == "coco/val2017/000000000001.jpg"
