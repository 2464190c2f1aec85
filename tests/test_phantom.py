"""The phantom: the same everywhere, and masks that are where the image changes."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.data.readers.phantom.findings import change
from pellucid.data.readers.phantom.reader import PHANTOM_CLASSES, PhantomOptions, open_phantom, render
from pellucid.data.readers.phantom.scene import boxes, draw_scene, full_mask, make_scene
from pellucid.data.regions import rasterize
from pellucid.types import InputError

OFTEN = PhantomOptions.parse({"prevalence": 0.5, "shortcuts": {"letter": {"finding": "Effusion"}}})

# sha256 of the pixels and of the masks of images drawn on x86-64 with numpy 2.4
PINNED = {
    (0, 0, "train"): "e3759808439defd1de9adb1e72d1c4aad0827d4e211d8c5123e2cf58021cb064",
    (7, 3, "test"): "bf0bd01920fc48fb906e05a03386448652c6f6087ca03b96dc3599d35cc52356",
    (11, 12345, "validation"): "01fc6de90262bb0257ced7e9ecd41239d4881a714cdf86f7b0a392c352283eb6",
}


def fingerprint(index: int, seed: int, split: str) -> str:
    image = render(index, seed=seed, options=OFTEN, split=split)
    digest = hashlib.sha256(image.pixels.tobytes())
    for label in sorted(image.masks):
        name = "Shortcut" if label == "letter" else label  # as it was called when these were drawn
        digest.update(name.encode() + np.packbits(image.masks[label]).tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize(("index", "seed", "split"), sorted(PINNED))
def test_images_are_the_pinned_ones(index, seed, split):
    assert fingerprint(index, seed, split) == PINNED[index, seed, split]


def test_another_process_draws_the_same_image():
    code = (
        "import hashlib; from pellucid.data.readers.phantom.reader import render;"
        "print(hashlib.sha256(render(7, seed=3, split='test').pixels.tobytes()).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert there == hashlib.sha256(render(7, seed=3, split="test").pixels.tobytes()).hexdigest()


def test_an_image_does_not_depend_on_the_number_of_images():
    few = open_phantom(seed=1, options={"train": 5, "validation": 1, "test": 1})["train"]
    many = open_phantom(seed=1, options={"train": 9, "validation": 1, "test": 1})["train"]
    np.testing.assert_array_equal(few.read(4), many.read(4))
    np.testing.assert_array_equal(few.read(4), render(4, seed=1, split="train").pixels)


@pytest.mark.parametrize("change_of", [{"seed": 1}, {"split": "test"}, {"index": 1}])
def test_seed_part_and_index_each_change_the_image(change_of):
    base = {"index": 0, "seed": 0, "split": "train"}
    assert not np.array_equal(render(**base).pixels, render(**{**base, **change_of}).pixels)


@pytest.mark.parametrize("size", [32, 64, 100, 128, 257])
def test_boxes_are_tight_around_masks_at_every_size(size):
    options = OFTEN.model_copy(update={"size": size})
    for index in range(6):
        image = render(index, options=options)
        assert image.pixels.shape == (size, size)
        assert image.pixels.dtype == np.uint8
        assert set(image.masks) == set(image.boxes)
        for label, mask in image.masks.items():
            rows, columns = np.nonzero(mask)
            box = image.boxes[label]
            expected = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
            assert box == expected, label


def test_regions_are_the_labels_and_their_masks_and_boxes_agree():
    data = open_phantom(options=OFTEN.model_copy(update={"train": 24, "validation": 2, "test": 2}))["train"]
    pairs = {(i, label) for i, label in data.regions.pairs() if label != "letter"}
    rows, columns = np.nonzero(data.targets == 1)
    assert pairs == {(int(i), PHANTOM_CLASSES[k]) for i, k in zip(rows, columns, strict=True)}
    assert any(r.label == "letter" for r in data.regions.items)
    for region in data.regions.items:
        mask = region.mask()
        image = render(region.image, options=OFTEN)
        np.testing.assert_array_equal(mask, image.masks[region.label])
        frame = rasterize(region.box, 128)
        assert not mask[~frame].any()
        for axis in (0, 1):
            covered, framed = np.flatnonzero(mask.any(axis)), np.flatnonzero(frame.any(axis))
            assert (covered[0], covered[-1]) == (framed[0], framed[-1])
    assert data.targets.dtype == np.float32
    assert data.card.classes == PHANTOM_CLASSES


@pytest.mark.parametrize("label", PHANTOM_CLASSES)
def test_a_finding_changes_the_image_inside_its_mask_and_hardly_outside(label):
    """Draws the same chest, with the same noise, with and without the finding."""
    options = PhantomOptions()
    for index in range(0, 96, 12):
        seen = make_scene(index, seed=5, options=options, split="test", present={label})
        clear = make_scene(index, seed=5, options=options, split="test", present=set())
        assert [f.label for f in seen.findings] == [label]
        change_seen = np.abs(draw_scene(seen, 128).astype(int) - draw_scene(clear, 128))
        mask = full_mask(change(seen.findings[0], seen.anatomy, 128))
        assert 4 <= mask.sum() < 0.25 * mask.size
        # the film is nearly white at the heart, where a change of attenuation shows less
        assert change_seen[mask].mean() > 10, index
        assert change_seen[~mask].mean() < 0.35, index
        assert np.quantile(change_seen[~mask], 0.999) <= 14, index


@pytest.mark.parametrize("label", PHANTOM_CLASSES)
def test_contrast_scales_the_change_and_leaves_the_mask(label):
    def shown(contrast):
        scene = make_scene(3, seed=2, options=PhantomOptions(), split="train", present={label})
        clear = make_scene(3, seed=2, options=PhantomOptions(), split="train", present=set())
        change_seen = np.abs(draw_scene(scene, 128, contrast).astype(int) - draw_scene(clear, 128))
        return change_seen[full_mask(change(scene.findings[0], scene.anatomy, 128))].mean()

    assert shown(0.25) < 0.6 * shown(1.0) < shown(1.0) < shown(1.5)
    faint, strong = (render(3, options={"contrast": c, "prevalence": 0.6}) for c in (0.3, 2.0))
    assert faint.boxes == strong.boxes


def test_cardiothoracic_ratios():
    options = PhantomOptions()
    for index in range(40):
        normal = make_scene(index, seed=0, options=options, split="train", present=set()).anatomy
        large = make_scene(index, seed=0, options=options, split="train", present={"Cardiomegaly"})
        assert 0.38 <= normal.heart.width / (2 * normal.half) < 0.5
        box = boxes(large, 512)["Cardiomegaly"]
        assert box.width / 512 / (2 * normal.half) > 0.55


def test_a_nodule_is_under_and_a_mass_over_30_mm():
    def box(name, index):
        scene = make_scene(index, seed=0, options=PhantomOptions(), split="train", present={name})
        return boxes(scene, 512)[name]

    for index in range(20):
        nodule, mass = box("Nodule", index), box("Mass", index)
        assert max(nodule.width, nodule.height) * 400 / 512 < 36  # a soft edge and a lobe beyond the diameter
        assert max(mass.width, mass.height) * 400 / 512 > 30


def test_effusion_lies_on_one_side_and_low_pneumothorax_high():
    for index in range(20):
        for name in ("Effusion", "Pneumothorax"):
            scene = make_scene(index, seed=0, options=PhantomOptions(), split="train", present={name})
            box = boxes(scene, 128)[name]
            assert box.x + box.width < 70 or box.x > 58
            centre = box.y + box.height / 2
            assert centre > 70 if name == "Effusion" else centre < 66


def test_patients_have_several_images_and_stay_in_one_part():
    splits = open_phantom(options={"train": 120, "validation": 60, "test": 60})
    patients = {name: set(data.patients) for name, data in splits.items()}
    assert not patients["train"] & patients["validation"]
    assert not (patients["train"] | patients["validation"]) & patients["test"]
    assert len(patients["train"]) == 80
    assert len({*splits["train"].ids, *splits["validation"].ids, *splits["test"].ids}) == 240
    first, second = (make_scene(i, seed=0, options=PhantomOptions(), split="train").anatomy for i in (5, 6))
    assert splits["train"].patients[5] == splits["train"].patients[6]
    assert (first.half, first.traits) == (second.half, second.traits)
    assert first.exposure != second.exposure


def labels_of(options, split, count):
    scenes = [make_scene(i, seed=0, options=options, split=split) for i in range(count)]
    present = np.array([[c in {f.label for f in s.findings} for c in PHANTOM_CLASSES] for s in scenes])
    return present, np.array([bool(s.shortcuts) for s in scenes])


def test_prevalence_is_as_asked_and_findings_are_independent():
    present, markers = labels_of(PhantomOptions(prevalence=0.3), "train", 900)
    # five deviations of a share of 900
    assert np.abs(present.mean(0) - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / 900)
    correlations = np.corrcoef(present.T)[np.triu_indices(8, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(900)
    assert not markers.any()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size": 16}, "size: .*greater than or equal to 32; found 16"),
        ({"prevalence": 1.0}, "prevalence: .*less than 1; found 1.0"),
        ({"contrast": 0}, "contrast: .*greater than 0; found 0"),
        ({"train": 0}, "train: "),
        ({"contast": 1}, "unknown key 'contast'. Did you mean 'contrast'"),
        ({"size": "big"}, "size: .*integer.*found 'big'"),
        ([("size", 64)], "expected keys and values; found list"),
    ],
)
def test_bad_options_say_how_to_mend_them(options, says):
    with pytest.raises(InputError, match=f"(?s){says}"):
        open_phantom(options=options)


def test_bad_part_index_and_seed_are_refused():
    with pytest.raises(InputError, match=r"'valid'.*train, validation, test"):
        render(0, split="valid")
    with pytest.raises(InputError, match="index -1"):
        render(-1)
    with pytest.raises(InputError, match="seed -2"):
        open_phantom(seed=-2)


@settings(max_examples=25, deadline=None)
@given(
    index=st.integers(0, 10**6),
    seed=st.integers(0, 2**63),
    size=st.integers(32, 80),
    prevalence=st.floats(0.01, 0.99),
)
def test_any_image_is_whole(index, seed, size, prevalence):
    image = render(index, seed=seed, options={"size": size, "prevalence": prevalence}, split="validation")
    assert image.pixels.std() > 30
    assert set(image.masks) == {name for name, y in zip(PHANTOM_CLASSES, image.labels, strict=True) if y}
    assert all(mask.any() for mask in image.masks.values())
