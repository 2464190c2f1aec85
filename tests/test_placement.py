"""Where an image lies in what a network takes: pixels as the sources' own pipelines make them, and places both ways."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pellucid.annotations.shapes import Brush, Polygon, Rectangle, shape_mask
from pellucid.data.decoding.fitting import fit
from pellucid.data.placement import Placement
from pellucid.data.regions import Region, Regions, rasterize, resize_mask
from pellucid.types import Box, Geometry, InputError, InputSpec

SIZES = [(60, 90), (90, 60), (64, 64), (31, 47), (20, 300), (13, 9), (48, 101)]
FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "nearest": Image.Resampling.NEAREST,
}


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_torchvision(image, resize, crop, interpolation):
    """Resize and CenterCrop as torchvision 0.20 writes them for a Pillow image (functional.py), without the package."""
    picture = Image.fromarray(image)
    width, height = picture.size
    short, long = (width, height) if width <= height else (height, width)
    new_short, new_long = resize, int(resize * long / short)
    new_width, new_height = (new_short, new_long) if width <= height else (new_long, new_short)
    picture = picture.resize((new_width, new_height), FILTERS[interpolation])
    top, left = (int(round((side - crop) / 2.0)) for side in (new_height, new_width))  # noqa: RUF046  # as it has it
    return np.asarray(picture.crop((left, top, left + crop, top + crop)))


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(("resize", "crop"), [(32, 28), (37, 28), (28, 28), (31, 24)])
def test_a_crop_is_torchvisions_on_8_bits(interpolation, resize, crop):
    spec = InputSpec.parse(f"crop:{resize}:{crop}:{interpolation}", channels=3)
    for size in SIZES:  # also images smaller than the crop, which are enlarged
        image = picture(*size)
        np.testing.assert_array_equal(
            fit(image, spec).transpose(1, 2, 0), by_torchvision(image, resize, crop, interpolation)
        )


@pytest.mark.parametrize(("size", "crop_pct"), [(224, 0.875), (240, 0.9), (299, 0.897), (224, 1.0), (288, 0.95)])
def test_timms_share_of_a_crop(size, crop_pct):
    """timm resizes to floor(size / crop_pct) before its centre crop (data/transforms_factory.py)."""
    geometry = Geometry.of_share(size, crop_pct, "bicubic")
    assert (geometry.fit, geometry.interpolation) == ("crop", "bicubic")
    assert geometry.resize == math.floor(size / crop_pct)


def test_where_transformers_rounds_down_and_torchvision_to_even():
    image = picture(35, 28)  # 7 rows are cut off, three and a half on each side
    even, down = (fit(image, InputSpec.parse(f"crop:28{word}", 3)) for word in ("", ":bilinear:floor"))
    np.testing.assert_array_equal(even, image[4:32].transpose(2, 0, 1))
    np.testing.assert_array_equal(down, image[3:31].transpose(2, 0, 1))


def by_torchxrayvision(image, side, interpolation):
    """Its XRayCenterCrop (datasets.py of 1.3), of one channel as it is there, and then Pillow's resize."""
    height, width = image.shape
    crop = min(height, width)
    left, top = width // 2 - crop // 2, height // 2 - crop // 2
    return np.asarray(Image.fromarray(image[top : top + crop, left : left + crop]).resize((side, side), interpolation))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_square_that_is_cut_out_first_is_torchxrayvisions(interpolation):
    for size in (*SIZES, (46, 31), (6, 5), (300, 21)):  # what is cut off is odd, and even
        image = picture(*size)[:, :, 0]
        found = fit(image, InputSpec.parse(f"cut:28:{interpolation}", 1))[0]
        np.testing.assert_array_equal(found, by_torchxrayvision(image, 28, FILTERS[interpolation]))


def test_what_lies_beside_a_cut_does_not_reach_into_it():
    image = np.full((40, 90), 10, dtype=np.uint8)
    image[:, :25] = image[:, 65:] = 255  # columns 25 to 64 are the square
    assert (fit(image, InputSpec.parse("cut:13", 1)) == 10).all()
    assert (fit(image, InputSpec.parse("crop:13", 1)) > 10).any()


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(5, 90), st.integers(5, 90)),
    st.tuples(st.integers(4, 40), st.integers(4, 40)),
    st.integers(0, 2**32 - 1),
)
def test_a_mask_under_a_cut_is_what_its_pixels_become(native, frame, seed):
    """As the pixels go: the mask's own part cut out, and then Pillow's resize of that."""
    mask = np.zeros(native, dtype=bool)
    rng = np.random.default_rng(seed)
    y, x = (int(rng.integers(0, side)) for side in native)
    mask[y : y + int(rng.integers(1, 30)), x : x + int(rng.integers(1, 30))] = True
    placement = Placement.of(InputSpec(1, *frame, Geometry("cut")), native)
    left, top, across, down = placement.seen
    height, width = native
    bounds = np.rint([top * height, left * width, (top + down) * height, (left + across) * width]).astype(int)
    part = mask[bounds[0] : bounds[2], bounds[1] : bounds[3]]
    small = Image.fromarray(part.astype(np.uint8) * 255).resize(frame[::-1], FILTERS["box"])
    found, covered = resize_mask(mask, placement), np.asarray(small) >= 128
    if covered.any():
        np.testing.assert_array_equal(found, covered)
    assert found.any() == part.any()


def test_a_square_that_is_stretched_first_and_then_cropped():
    """DeiT's processor in transformers: both sides to 256, whatever they were, then the centre 224."""
    image = picture(40, 70)
    expected = np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC))[2:30, 2:30]
    np.testing.assert_array_equal(
        fit(image, InputSpec.parse("stretch:32:28:bicubic:floor", 3)).transpose(1, 2, 0), expected
    )


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_without_antialiasing_it_is_torchs(mode, dtype):
    for size in SIZES[:4]:
        image = picture(*size).astype(dtype) * dtype(257 if dtype is np.uint16 else 1)
        exact = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
        by_torch = torch.nn.functional.interpolate(exact, size=(20, 24), mode=mode, align_corners=False)[0]
        found = fit(image, InputSpec(3, 20, 24, Geometry(interpolation=mode, antialias=False)))
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, by_torch.clamp(0, np.iinfo(dtype).max).round().numpy())
        if size[0] > 60:  # shrunk by three and more: it skips pixels that antialiasing averages over
            averaged = fit(image, InputSpec(3, 20, 24, Geometry(interpolation=mode)))
            assert np.abs(found.astype(int) - averaged).mean() > 10 * (257 if dtype is np.uint16 else 1)


def test_torchs_antialiasing_is_pillows_to_a_level():
    image = picture(60, 90)
    exact = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
    for mode in ("bilinear", "bicubic"):
        by_torch = torch.nn.functional.interpolate(exact, size=(28, 28), mode=mode, antialias=True)[0]
        found = fit(image, InputSpec.square(3, 28, Geometry(interpolation=mode)))
        assert np.abs(found - by_torch.clamp(0, 255).numpy()).max() <= 1


@pytest.mark.parametrize("size", SIZES)
def test_a_padded_image_lies_whole_in_the_middle(size):
    image = np.full((*size, 3), 200, dtype=np.uint8)
    spec = InputSpec(3, 40, 56, Geometry("pad", fill=1.0))
    found = fit(image, spec)[0]
    ratio = max(size[0] / 40, size[1] / 56)
    height, width = (round(side / ratio) for side in size)
    assert (height == 40) or (width == 56)
    rows, columns = np.flatnonzero((found == 200).any(1)), np.flatnonzero((found == 200).any(0))
    assert (len(rows), len(columns)) == (height, width)
    assert abs(rows[0] - (39 - rows[-1])) <= 1
    assert abs(columns[0] - (55 - columns[-1])) <= 1
    assert set(np.unique(found)) <= {200, 255}


def test_the_stretch_is_pillows_triangle_as_ever():
    image = picture(33, 57)
    expected = np.asarray(Image.fromarray(image).resize((24, 24), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(fit(image, InputSpec.square(3, 24)).transpose(1, 2, 0), expected)


def test_sixteen_bits_and_gray_follow():
    gray = 80 + picture(40, 60)[..., 0] // 3  # Pillow cuts overshoots off between rows and columns, on 8 bits alone
    wide = gray.astype(np.uint16) * np.uint16(257)
    for text in ("crop:24:20:bicubic", "pad:20:lanczos:fill=0.5"):
        fine, coarse = fit(wide, InputSpec.parse(text, 3)), fit(gray, InputSpec.parse(text, 3))
        assert fine.shape == (3, 20, 20)
        assert np.abs(fine / 257 - coarse).max() <= 2


def test_an_image_that_would_be_too_large_before_it_is_cut_is_refused(monkeypatch):
    monkeypatch.setenv("PELLUCID_MAX_PIXELS", "100000")
    with pytest.raises(InputError, match=r"an image of 2 × 600 pixels .* would have 28 × 8,400 before it is cut"):
        fit(np.zeros((2, 600), dtype=np.uint8), InputSpec.parse("crop:28", 1))


SPECS = st.one_of(
    st.tuples(st.integers(8, 40), st.integers(8, 40), st.integers(0, 30)).map(
        lambda v: InputSpec(1, v[0], v[1], Geometry("crop", resize=max(v[:2]) + v[2]))
    ),
    st.tuples(st.integers(8, 40), st.integers(8, 40)).map(lambda v: InputSpec(1, *v, Geometry("crop"))),
    st.tuples(st.integers(8, 40), st.integers(8, 40)).map(lambda v: InputSpec(1, *v, Geometry("cut"))),
    st.tuples(st.integers(8, 40), st.integers(8, 40)).map(lambda v: InputSpec(1, *v, Geometry("pad"))),
    st.tuples(st.integers(8, 40), st.integers(8, 40)).map(lambda v: InputSpec(1, *v)),
    st.tuples(st.integers(8, 40), st.integers(8, 40)).map(
        lambda v: InputSpec(1, *v, Geometry("stretch", resize=max(v) + 5))
    ),
)
NATIVE = st.tuples(st.integers(20, 120), st.integers(20, 120))


@settings(deadline=None, max_examples=60)
@given(SPECS, NATIVE, st.tuples(*[st.floats(0, 0.7)] * 2), st.tuples(*[st.floats(0.05, 0.3)] * 2))
def test_a_box_comes_back(spec, native, at, extent):
    placement = Placement.of(spec, native)
    height, width = native
    box = Box(at[0] * width, at[1] * height, extent[0] * width, extent[1] * height)
    np.testing.assert_allclose(placement.to_native(placement.to_input(box)), box, atol=1e-9)
    back = placement.to_fractions(placement.from_fractions((*at, *extent)))
    np.testing.assert_allclose(back, (*at, *extent), atol=1e-12)
    x, y, across, down = placement.seen
    assert x >= 0
    assert y >= 0
    assert x + across <= 1 + 1e-12
    assert y + down <= 1 + 1e-12


@settings(deadline=None, max_examples=60)
@given(SPECS, NATIVE, st.tuples(*[st.floats(0, 0.6)] * 2))
def test_a_painted_rectangle_is_found_where_its_box_says(spec, native, at):
    """Brute force: a bright rectangle is scaled, cropped and padded with its image, and lies where its box says."""
    height, width = native
    left, top = int(at[0] * width), int(at[1] * height)
    across, down = max(width // 3, 6), max(height // 3, 6)
    image = np.zeros(native, dtype=np.uint8)
    image[top : top + down, left : left + across] = 255
    across, down = min(across, width - left), min(down, height - top)
    placement = Placement.of(spec, native)
    bright = fit(image, spec)[0] / 255
    box = placement.cut(placement.to_input(Box(left, top, across, down)))
    if box is None:
        assert bright.max() <= 0.6  # the filter may smear half a pixel over the border
        return
    if min(box.width, box.height) < 3:
        return
    inside = np.argwhere(bright > 0.5)
    (y0, x0), (y1, x1) = inside.min(0), inside.max(0) + 1
    borders = np.array([x0, y0, x1, y1]) - [box.x, box.y, box.x + box.width, box.y + box.height]
    assert np.abs(borders).max() <= 0.5 + 1e-6
    mask = rasterize((left / width, top / height, across / width, down / height), placement)
    assert (mask != (bright > 0.5)).sum() <= mask.shape[0] + mask.shape[1]  # ties of a half, along the border alone
    by_mask = resize_mask(image > 0, placement)
    assert (by_mask != (bright > 0.5)).sum() <= 2 * sum(mask.shape)


@settings(deadline=None, max_examples=40)
@given(SPECS, NATIVE)
def test_a_map_goes_back_to_the_pixels_it_came_from(spec, native):
    """A map that holds each frame pixel's own place in the image: half a pixel right at each pixel that was seen."""
    placement = Placement.of(spec, native)
    height, width = native
    rows = np.array([placement.to_native(Box(0, y, 1, 1)).y for y in np.arange(spec.height) + 0.5])
    columns = np.array([placement.to_native(Box(x, 0, 1, 1)).x for x in np.arange(spec.width) + 0.5])
    down = placement.map_to_native(np.repeat(rows[:, None], spec.width, axis=1))
    across = placement.map_to_native(np.repeat(columns[None], spec.height, axis=0))
    seen = placement.seen_pixels()
    np.testing.assert_array_equal(np.isnan(down), ~seen)
    y, x = np.nonzero(seen)
    coarse = [max(side / scaled, 1) for side, scaled in zip(native, placement.scaled, strict=True)]  # pixels of a cell
    assert (np.abs(down[seen] - (y + 0.5)) <= coarse[0] / 2 + 1e-9).all()
    assert (np.abs(across[seen] - (x + 0.5)) <= coarse[1] / 2 + 1e-9).all()
    share = placement.seen[2] * placement.seen[3]
    assert abs(seen.mean() - share) <= 1 / height + 1 / width + 1e-9


def test_a_map_over_the_whole_image_is_resized_as_torch_does():
    heat = np.random.default_rng(3).random((5, 7))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(heat)[None, None], size=(31, 22), mode="bilinear", align_corners=False
    )[0, 0]
    found = Placement.whole(64, 64, native=(31, 22)).map_to_native(heat)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-12)


def test_coarse_maps_lie_over_the_whole_frame():
    placement = Placement.of(InputSpec.parse("crop:8:4", 1), (16, 16))  # sees rows and columns 4 to 12
    cells = placement.cells_to_native(np.array([[True, False], [False, False]]))
    assert np.argwhere(cells).tolist() == [[y, x] for y in range(4, 8) for x in range(4, 8)]
    heat = placement.map_to_native(np.array([[1.0, 0.0], [0.0, 0.0]]))
    assert np.nanargmax(heat) == 4 * 16 + 4
    assert np.isnan(heat[3]).all()


def test_regions_are_cut_and_said_to_be():
    seen = Placement.of(InputSpec.parse("crop:16", 1), (32, 64))  # the middle half, columns 16 to 48
    boxes = [(0.05, 0.25, 0.1, 0.5), (0.2, 0.25, 0.1, 0.5), (0.4, 0.25, 0.2, 0.5)]
    regions = Regions(tuple(Region(0, label, box) for label, box in zip("abc", boxes, strict=True)))
    assert regions.boxes(0, "a", seen) == []
    assert not regions.mask(0, "a", seen).any()
    np.testing.assert_allclose(regions.boxes(0, "b", seen), [(0, 4, 1.6, 8)])
    np.testing.assert_allclose(regions.boxes(0, "c", seen), [(4.8, 4, 6.4, 8)])
    assert [regions.is_cut(0, label, seen) for label in "abc"] == [True, True, False]
    assert regions.boxes(0, "b", 64) == [Box(0.2 * 64, 16, 6.4, 32)]  # a number: all of it is seen


def test_a_small_mask_vanishes_only_outside_the_frame():
    seen = Placement.of(InputSpec.parse("crop:16", 1), (320, 640))
    dot = np.zeros((320, 640), dtype=bool)
    dot[100, 200] = True
    assert np.argwhere(resize_mask(dot, seen)).tolist() == [[5, 2]]
    assert not resize_mask(np.roll(dot, -100, axis=1), seen).any()


@settings(deadline=None, max_examples=40)
@given(SPECS, NATIVE, st.tuples(*[st.floats(0.1, 0.9)] * 2), st.floats(0.05, 0.2))
def test_marks_of_people_lie_where_the_image_does(spec, native, at, radius):
    """Each kind of mark covers the pixels of the frame whose centres, taken back to the image, it covers."""
    placement = Placement.of(spec, native)
    x = (np.arange(spec.width) + 0.5 - placement.left) / placement.scaled[1]
    y = (np.arange(spec.height) + 0.5 - placement.top) / placement.scaled[0]
    ratio = native[0] / native[1]
    # a cell of the frame across the outline: where half a pixel decides
    reach = np.hypot(1 / placement.scaled[1], ratio / placement.scaled[0]) / 2 + 1e-9
    distance = np.hypot(x[None] - at[0], (y[:, None] - at[1]) * ratio)
    found = shape_mask(Brush((at,), radius, ratio), placement)
    assert found[distance < radius - reach].all()
    assert not found[distance > radius + reach].any() or (found.sum() <= 2 and not (distance < radius).any())
    low, high = (np.clip(np.array(at) + sign * radius, 0, 1) for sign in (-1, 1))
    corners_of = ((low[0], high[0]), (low[1], high[1]))
    across, down = np.abs(x - np.clip(x, low[0], high[0])), np.abs(y - np.clip(y, low[1], high[1]))
    frame = (down[:, None] == 0) & (across[None] == 0)
    far = [
        np.abs(side[:, None] - np.array(ends)).min(1) > 1e-9 for side, ends in ((y, corners_of[1]), (x, corners_of[0]))
    ]
    decided = np.outer(*far)  # no centre on the outline itself, where rounding decides
    box = shape_mask(Rectangle(low[0], low[1], high[0] - low[0], high[1] - low[1]), placement)
    if (frame & decided).any():
        np.testing.assert_array_equal(box[decided], frame[decided])
    else:
        assert box.sum() <= max(spec.height, spec.width)
    corners = ((low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1]))
    outline = shape_mask(Polygon(corners), placement)
    assert (outline != box).sum() <= 2 * (spec.height + spec.width)


def test_a_size_is_needed_only_where_the_place_depends_on_it():
    assert Placement.of(InputSpec.square(1, 8)).frame == (8, 8)
    with pytest.raises(InputError, match=r"depends on its own height and width for crop:8:bilinear"):
        Placement.of(InputSpec.parse("crop:8", 1))
    with pytest.raises(InputError, match="not known here"):
        Placement.of(InputSpec.square(1, 8)).to_native(Box(0, 0, 1, 1))
