"""The cases of the report: regions and heat where they are, in pictures that stay small."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from helpers import report as sample
from helpers.charts import empty_charts
from pellucid.report import Panel
from pellucid.report.pages.study import render
from pellucid.report.pictures.panels import LIMIT, OUTLINE, adversarial_picture, heat_picture, picture
from pellucid.types import Box


def pixels(address):
    head, _, data = address.partition(",")
    assert head == "data:image/png;base64"
    raw = base64.b64decode(data)
    assert len(raw) <= LIMIT
    return np.asarray(Image.open(io.BytesIO(raw)).convert("RGB")).astype(int)


def panel(image, boxes=(), mask=None, heat=None):
    maps = {("a", "cam"): heat, ("a", "saliency"): heat}
    return Panel(image, list(boxes), maps, "t", "c", "i", "r", mask=mask)


def test_boxes_are_drawn_where_they_are_and_the_heat_where_it_is():
    heat = np.zeros((64, 64))
    heat[40:56, 8:24] = 1.0
    one = panel(np.full((64, 64), 100, np.uint8), [Box(32, 8, 16, 24)], heat=heat)
    shown = pixels(picture(one))
    assert shown.shape == (256, 256, 3)
    near = (shown == OUTLINE).all(axis=2)
    rows, columns = np.nonzero(near)
    assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (128, 192, 32, 128)
    warm = pixels(heat_picture(one, "a", "cam"))
    assert (warm[192, 64] - warm[192, 64].min()).max() > 60  # coloured where the map is hot
    assert np.ptp(warm[230, 230]) < 10  # grey where it is not
    alone = pixels(heat_picture(one, "a", "saliency"))
    assert alone[192, 64].sum() > 600
    assert alone[230, 230].sum() < 60


@pytest.mark.parametrize("method", ["occlusion", "lime", "kernel-shap", "rise"])
def test_a_signed_map_is_red_above_zero_blue_below_and_nothing_at_zero(method):
    """Whatever the largest and the least value are: zero leaves the image as it is."""
    heat = np.zeros((64, 64))
    heat[8:24, 8:24], heat[40:56, 40:56] = 1.0, -0.5
    one = Panel(np.full((64, 64), 100, np.uint8), [], {("a", method): heat}, "t", "c", "i", "r")
    shown = pixels(heat_picture(one, "a", method))
    above, below, zero = shown[64, 64], shown[192, 192], shown[230, 30]
    assert above[0] - above[2] > 50
    assert below[2] - below[0] > 20
    assert np.abs(zero - 100).max() <= 4  # a palette's error
    assert not np.array_equal(shown, pixels(heat_picture(panel(one.image, heat=heat), "a", "cam")))


def test_a_signed_map_that_is_too_fine_to_lie_over_the_image_is_white_at_zero():
    heat = np.zeros((64, 64))
    heat[8:24, 8:24], heat[40:56, 40:56] = 1.0, -1.0
    one = Panel(np.full((64, 64), 100, np.uint8), [], {("a", "integrated-gradients"): heat}, "t", "c", "i", "r")
    shown = pixels(heat_picture(one, "a", "integrated-gradients"))
    expected = [np.array(colormaps["RdBu_r"](value)[:3]) * 255 for value in (1.0, 0.0, 0.5)]
    for place, colour in zip((64, 192, 230), expected, strict=True):
        assert np.abs(shown[place, place] - colour).max() <= 6
    assert shown[230, 230].min() > 240


def test_an_outline_has_its_colour_on_an_image_of_many_others():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    shown = pixels(picture(panel(noise, [Box(50, 4, 8, 8)])))
    line = (shown == OUTLINE).all(axis=2)
    assert line.sum() == 32**2 - 28**2  # eight pixels, four times as large, in a line of two
    assert line[16:48, 200:232].sum() == line.sum()


def test_the_contour_of_a_mask_follows_it():
    mask = np.zeros((64, 64), bool)
    mask[16:48, 20:30] = True
    shown = pixels(picture(panel(np.full((64, 64), 100, np.uint8), mask=mask)))
    rows, columns = np.nonzero((shown == OUTLINE).all(axis=2))
    assert (
        np.abs(np.array([columns.min(), columns.max() + 1, rows.min(), rows.max() + 1]) - [80, 120, 64, 192]).max() <= 3
    )


@pytest.mark.parametrize(
    ("shape", "heat"),
    [
        ((1024, 800), np.ones((1024, 800))),
        ((300, 300, 3), np.full((300, 300), np.nan)),
        ((32, 32), np.random.default_rng(0).normal(size=(4, 4))),
    ],
)
def test_pictures_of_any_size_and_map_stay_small(shape, heat):
    noise = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    one = panel(noise, [Box(-5, -5, 5000, 5000)], heat=heat)
    for address in (picture(one), heat_picture(one, "a", "cam"), heat_picture(one, "a", "saliency")):
        assert max(pixels(address).shape) <= 256


@pytest.mark.slow
@empty_charts()
def test_the_summary_shows_a_case_and_what_each_network_would_have_to_see():
    shown = sample.panels(3)
    changed = {v: (np.full_like(shown[1].image, 40 * k), 0.05) for k, v in enumerate(sample.VARIANTS, 1)}
    shown[1] = replace(shown[1], adversarial=changed)
    few = sample.results()
    few["rows"] = [r for r in few["rows"] if (r["section"], r["class"]) == ("classification", "mean")]
    page = render(few, shown)
    summary = page[: page.index('id="compared"')]
    assert summary.count("altered to raise its confidence (ρ\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}0.05)") == len(
        sample.VARIANTS
    )
    assert [panel.image_id in summary for panel in shown] == [False, True, False]
    assert pixels(adversarial_picture(replace(shown[1], boxes=[], mask=None), sample.VARIANTS[0])).mean() == 40
