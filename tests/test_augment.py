"""Augmentation: what each option does, the range, and where its chance comes from."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from pellucid.data import Augmentation, AugmentOptions
from pellucid.types import InputError

EVERYTHING = AugmentOptions(
    pad=2, rotation=10, translation=0.1, scale=0.1, crop=0.2, flip=0.5, brightness=0.2, contrast=0.2
)


def batch(channels=1, count=16, size=32):
    return torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8)


def test_all_zero_changes_nothing_and_draws_nothing():
    images = batch()
    state = torch.get_rng_state()
    torch.testing.assert_close(Augmentation(AugmentOptions())(images), images / 255, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("channels", [1, 3])
def test_range_shape_and_chance(channels):
    images, augment = batch(channels), Augmentation(EVERYTHING)
    python, numpy = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    torch.manual_seed(5)
    first, second = augment(images), augment(images)
    torch.manual_seed(5)
    again = Augmentation(EVERYTHING)(images)  # as after resuming, in a new process
    assert first.shape == images.shape
    assert first.dtype == torch.float32
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert random.getstate() == python
    assert (np.random.get_state()[1] == numpy).all()  # noqa: NPY002


def test_float_images_go_the_same_way_and_stay_as_they_were():
    images = batch()
    floats = images / 255
    kept = floats.clone()
    torch.manual_seed(1)
    a = Augmentation(EVERYTHING)(images)
    torch.manual_seed(1)
    b = Augmentation(EVERYTHING)(floats)
    assert torch.equal(a, b)
    assert torch.equal(floats, kept)


def test_flip_mirrors_left_and_right_for_about_its_share():
    images = batch(count=400, size=4) / 255
    changed = Augmentation(AugmentOptions(flip=0.3))(images)
    mirrored = torch.tensor([torch.equal(c, i.flip(-1)) for c, i in zip(changed, images, strict=True)])
    same = torch.tensor([torch.equal(c, i) for c, i in zip(changed, images, strict=True)])
    assert (mirrored ^ same).all()
    assert mirrored.float().mean() == pytest.approx(0.3, abs=0.1)


def crops(image, pad):
    """Every crop of one padded image by brute force, plain and mirrored: (row, column, mirrored) → (C, H, W)."""
    padded = np.pad(image.numpy(), ((0, 0), (pad, pad), (pad, pad)), mode="edge")
    height, width = image.shape[1:]
    found = {}
    for row in range(2 * pad + 1):
        for column in range(2 * pad + 1):
            part = padded[:, row : row + height, column : column + width]
            found[row, column, False] = torch.from_numpy(part.copy())
            found[row, column, True] = torch.from_numpy(part[:, :, ::-1].copy())
    return found


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 6, 9), (3, 9, 6)])
@pytest.mark.parametrize("flip", [0.0, 0.3])
def test_pad_gives_exact_crops_of_the_padded_image_and_all_of_them(channels, height, width, flip):
    torch.manual_seed(0)
    pad, count = 2, 4000
    image = torch.randint(0, 256, (channels, height, width), dtype=torch.uint8)
    changed = Augmentation(AugmentOptions(pad=pad, flip=flip))(image.expand(count, channels, height, width))
    assert changed.dtype == torch.float32
    possible = {(crop.float() / 255).numpy().tobytes(): place for place, crop in crops(image, pad).items()}
    assert len(possible) == 2 * 25
    times = dict.fromkeys(possible.values(), 0)
    for one in changed:
        times[possible[one.numpy().tobytes()]] += 1  # bit for bit one of them
    for mirrored, share in ((False, 1 - flip), (True, flip)):
        found = np.array([n for place, n in times.items() if place[2] is mirrored])
        mean = count * share / 25
        assert abs(found - mean).max() <= 4.5 * mean**0.5  # each about as often: 4.5 standard deviations of 25 counts


def test_pad_and_flip_treat_each_image_by_itself_and_all_its_channels_alike():
    torch.manual_seed(3)
    images = batch(channels=3, count=32, size=12)
    changed = Augmentation(AugmentOptions(pad=3, flip=0.5))(images)
    places = []
    for one, image in zip(changed, images, strict=True):
        matching = [place for place, crop in crops(image, 3).items() if torch.equal(one, crop.float() / 255)]
        assert len(matching) == 1
        places += matching
    assert len(set(places)) > 16
    torch.manual_seed(3)
    assert torch.equal(Augmentation(AugmentOptions(pad=3, flip=0.5))(batch(channels=3, count=32, size=12)), changed)


def test_pad_must_be_smaller_than_the_image():
    images = batch(size=8)
    assert Augmentation(AugmentOptions(pad=7))(images).shape == images.shape
    for shape in ((2, 1, 8, 20), (2, 1, 20, 8)):
        with pytest.raises(InputError, match=rf"augment\.pad .* found 8 for images of {shape[2]} × {shape[3]} pixels"):
            Augmentation(AugmentOptions(pad=8))(torch.zeros(shape))
    with pytest.raises(ValueError, match="pad"):
        AugmentOptions(pad=-1)
    empty = torch.zeros(0, 3, 8, 8)
    assert Augmentation(AugmentOptions(pad=2, flip=0.5))(empty).shape == empty.shape


def test_pad_goes_together_with_the_other_changes():
    torch.manual_seed(0)
    changed = Augmentation(AugmentOptions(pad=4, brightness=0.1))(torch.full((50, 1, 16, 16), 0.5))
    assert torch.equal(changed, changed[:, :, :1, :1].expand_as(changed))  # the edge is copied: no black border
    assert changed.unique().numel() == 50


def test_brightness_and_contrast_stay_within_their_bounds():
    torch.manual_seed(0)
    flat = torch.full((500, 1, 2, 2), 0.5)
    for options, low, high in (
        (AugmentOptions(brightness=0.1), 0.4, 0.6),  # adds up to a tenth of full white
        (AugmentOptions(contrast=0.2), 0.4, 0.6),  # multiplies by 0.8 to 1.2
    ):
        changed = Augmentation(options)(flat)
        assert changed.min() == pytest.approx(low, abs=0.01)
        assert changed.max() == pytest.approx(high, abs=0.01)
        assert torch.equal(changed, changed[:, :, :1, :1].expand_as(changed))


def test_translation_moves_by_at_most_its_fraction():
    torch.manual_seed(0)
    images = torch.zeros(200, 1, 41, 41)
    images[:, :, 20, 20] = 1
    moved = Augmentation(AugmentOptions(translation=0.1))(images)
    weight = moved.flatten(1)
    grid = torch.stack(torch.meshgrid(torch.arange(41.0), torch.arange(41.0), indexing="ij")).flatten(1)
    centre = (weight @ grid.T) / weight.sum(1, keepdim=True) - 20
    assert 3 < centre.abs().max() <= 4.1 + 1e-3


def test_rotation_and_scale_keep_the_centre():
    torch.manual_seed(0)
    ramp = torch.linspace(0, 1, 33).expand(50, 1, 33, 33)
    for options in (AugmentOptions(rotation=15), AugmentOptions(scale=0.2)):
        changed = Augmentation(options)(ramp)
        torch.testing.assert_close(changed[:, 0, 16, 16], torch.full((50,), 0.5), atol=1e-3, rtol=0)
        assert not torch.equal(changed[0], changed[1])


def test_crop_shows_a_part_of_the_image():
    torch.manual_seed(0)
    ramp = torch.linspace(0, 1, 64).expand(100, 1, 64, 64)
    changed = Augmentation(AugmentOptions(crop=0.5))(ramp)
    shown = changed.amax((1, 2, 3)) - changed.amin((1, 2, 3))
    assert 0.5 < shown.min() < 0.9  # at least half the area, at most 4:3: 0.61 of the width
    assert shown.max() <= 1


def test_wrong_input_is_refused():
    augment = Augmentation(EVERYTHING)
    with pytest.raises(InputError, match=r"\(N, C, H, W\); found \(1, 8, 8\)"):
        augment(torch.zeros(1, 8, 8))
    with pytest.raises(InputError, match="int64"):
        augment(torch.zeros(1, 1, 8, 8, dtype=torch.int64))
    with pytest.raises(ValueError, match="flips"):
        AugmentOptions(flips=1)
    with pytest.raises(ValueError, match="rotation"):
        AugmentOptions(rotation=-1)


@pytest.mark.slow
def test_kornia_is_imported_only_when_it_is_used():
    code = (
        "import sys, torch; from pellucid.data.augment import *; "
        "Augmentation(AugmentOptions(pad=1, flip=0.5))(torch.zeros(2, 1, 4, 4)); "
        "sys.exit('kornia' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rotation_turns_by_no_more_than_its_angle_and_keeps_distances():
    """A spot 12 pixels right of the centre lands on the circle through it, at an angle of at most 20 degrees."""
    torch.manual_seed(0)
    images = torch.zeros(300, 1, 41, 41)
    images[:, :, 19:22, 31:34] = 1
    turned = Augmentation(AugmentOptions(rotation=20))(images)[:, 0]
    place = torch.arange(41.0) - 20
    total = turned.sum((1, 2))
    x, y = (turned.sum(1) * place).sum(1) / total, (turned.sum(2) * place).sum(1) / total
    torch.testing.assert_close(torch.hypot(x, y), torch.full((300,), 12.0), atol=0.1, rtol=0)
    angles = torch.rad2deg(torch.atan2(y, x))
    assert 18 < angles.abs().max() < 20.5
    assert angles.min() < -15
    assert angles.max() > 15


def test_16_bit_images_in_unit_range_are_changed_as_8_bit_ones_are():
    from pellucid.types import in_unit_range

    images = batch()
    wide = torch.from_numpy(images.numpy().astype(np.uint16) * np.uint16(257))
    torch.manual_seed(2)
    narrow = Augmentation(EVERYTHING)(in_unit_range(images))
    torch.manual_seed(2)
    changed = Augmentation(EVERYTHING)(in_unit_range(wide))
    torch.testing.assert_close(changed, narrow, atol=1e-6, rtol=0)
    assert changed.min() >= 0
    assert changed.max() <= 1
