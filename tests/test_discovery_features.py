"""What `discover` reads off images without the network, and the two tests that a feature has to pass."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import binomtest

import pellucid as pl
from pellucid.data.cache.fitted_images import FittedImages
from pellucid.data.regions import Region, Regions
from pellucid.evaluation.discovery import search
from pellucid.evaluation.discovery.candidates import MOST_MARKED, Places, marks_left_out, whole_images
from pellucid.evaluation.discovery.content.image_features import FEATURES, ImageFeatures
from pellucid.evaluation.discovery.content.whole_image import median
from pellucid.evaluation.discovery.content.windows import BANDS, MARGINS, all_windows, sides
from pellucid.evaluation.discovery.inference import associations
from pellucid.evaluation.discovery.mediation import slope_of, spread, within_labels
from pellucid.evaluation.discovery.run import two_classes
from pellucid.evaluation.discovery.samples import MarkedPairs, Samples
from pellucid.evaluation.discovery.showing import images_showing
from test_discover import CLASSES, QUICK, SIDE, N, dataset_of, model_of


def samples_of(**options):
    data, _ = dataset_of(**options)
    images = FittedImages(data, model_of().input_spec)
    return Samples.of(images, images.pixels, np.zeros((N, 2)), 1 / 24, {})


def by_hand(pixels, window, cover):
    """Level, and the mean of the brightest and of the darkest of the detail, one image and one pixel at a time."""
    features = []
    count = max(3, round(window.size / 400))
    for image, hidden in zip(pixels[:, 0] / 255, cover, strict=True):
        detail = image - gaussian_filter(image, SIDE / 32)
        at = [(y, x) for y, x in zip(*np.nonzero(window), strict=True) if not hidden[y, x]]
        fine = sorted(detail[place] for place in at)
        features.append((np.mean([image[place] for place in at]), np.mean(fine[-count:]), -np.mean(fine[:count])))
    return np.array(features)


def test_features_are_those_of_each_pixel_that_is_not_marked():
    samples = samples_of()
    window = sides(SIDE, SIDE, 6)[MARGINS]
    cover = np.zeros((N, SIDE, SIDE), bool)
    cover[::3, 5:8, :3] = True
    features = ImageFeatures(samples)
    everywhere = features.of_windows(window[None])[:, 0]
    np.testing.assert_allclose(everywhere, by_hand(samples.pixels, window, np.zeros_like(cover)), atol=1e-6)
    takes_part = np.arange(N) != 5
    own = features.without(everywhere, window, cover, takes_part)
    np.testing.assert_allclose(own[takes_part], by_hand(samples.pixels, window, cover)[takes_part], atol=1e-6)
    assert np.isnan(own[5]).all()
    assert own.shape == (N, len(FEATURES))


def test_what_is_cut_out_of_a_place_says_nothing_of_the_label():
    """Cut out is an image's own mark, or another's: as many, as large, with the class and without it."""
    samples = samples_of()
    places = Places(samples, 0)
    own = samples.marks.of_images(np.arange(N), 0)
    for row, others in enumerate(marks_left_out(samples, 0)):
        np.testing.assert_array_equal(places.cover[row], own[others].any(0))
    assert (places.cover.sum((1, 2)) == own.sum((1, 2)).max()).all()
    window = np.zeros((SIDE, SIDE), bool)
    window[8:16, 8:16] = True  # touches where all are marked
    assert not places.takes_part("middle of the image", window).any()
    band = sides(SIDE, SIDE, 6)[MARGINS]
    assert places.takes_part(MARGINS, band).all()
    few = replace(samples.marks, masks=samples.marks.masks | (np.arange(SIDE) < 1))
    touched = Places(replace(samples, marks=few), 0)
    assert touched.cover[:, band].mean() <= MOST_MARKED
    assert not touched.takes_part("left part of the image, in the middle", band).any()
    assert touched.takes_part(MARGINS, band).all()
    exchange = touched.candidate(MARGINS, band, None, {}).exchanges[0]
    assert not exchange.mask_of(np.arange(N))[:, :, 0].any()  # nothing of a mark is given to another image
    assert exchange.mask_of(np.arange(N))[:, :, 1].all()


def test_what_is_cut_out_of_a_place_says_nothing_of_the_label_where_both_of_two_classes_are_marked():
    """Of one class marks reach into a dark part of the left margin, of the other they lie elsewhere."""
    rng = np.random.default_rng(2)
    side, labels = 48, np.eye(2)[rng.integers(0, 2, 200)]
    pixels = rng.normal(90, 12, (200, 1, side, side))
    pixels[:, :, 20:30, :8] -= 50
    masks = np.zeros((200, side, side), bool)
    masks[labels[:, 1] == 1, 20:30, 4:16] = masks[labels[:, 1] == 0, 34:44, 10:24] = True
    marks = MarkedPairs(np.arange(200), labels.argmax(1), masks, (side, side))
    ids = tuple(map(str, range(200)))
    plain = Samples(
        pixels.clip(0, 255).astype(np.uint8), ids, labels, labels, np.arange(200), marks, CLASSES, "multiclass"
    )
    samples = two_classes(plain)
    windows, names, squares = all_windows(side, side, 12)
    places, numbers = Places(samples, 1), ImageFeatures(samples)
    bands = windows[squares:]
    everywhere = numbers.of_windows(bands)
    features = np.concatenate(
        [places.features_of(numbers, names[squares + i], band, everywhere[:, i]) for i, band in enumerate(bands)], 1
    )
    truth = np.repeat(samples.labels[:, 1:], features.shape[1], 1)
    result = associations(features, truth, samples.patients, two_sided=True, permutations=400)
    assert np.nanmin(result.p_corrected) > 0.05


def test_a_statistic_is_that_of_what_is_inside_and_nowhere_marked():
    samples = samples_of()
    every = {one.name: one for one in whole_images(samples, 0)}
    inside = np.zeros((SIDE, SIDE), bool)
    inside[2:-2, 2:-2] = True
    hidden = np.any([samples.marks.of_images(of) for of in marks_left_out(samples, 0).T], axis=0)
    pixels = samples.pixels[:, 0] / 255
    for row in (0, 7, 50):
        values = pixels[row][inside & ~hidden[row]]
        assert every["overall brightness"].features[row, 0] == pytest.approx(np.median(values), abs=1e-6)
        spread = np.subtract(*np.quantile(values, [0.75, 0.25]))
        assert every["overall contrast"].features[row, 0] == pytest.approx(spread, abs=1e-6)


def test_a_statistic_leaves_out_as_much_with_the_class_as_without_it_where_marks_of_another_exclude_it():
    """Each image has one of two findings, marked at different places, or none: nothing else differs."""
    rng = np.random.default_rng(4)
    kind = rng.integers(0, 3, N)
    labels = np.stack([kind == 0, kind == 1], 1).astype(np.float32)
    images = rng.normal(110, 12, (N, SIDE, SIDE))
    images[:, 3:12, 3:21] -= 60  # where the second lies, all are dark
    boxes = [(8, 14, 8, 4), (8, 5, 8, 4)]
    items = [
        Region(row, CLASSES[k], tuple(side / SIDE for side in boxes[k])) for row in range(N) for k in (0, 1)
        if labels[row, k]
    ]  # fmt: skip
    plain, _ = dataset_of()
    pixels = images.clip(0, 255).astype(np.uint8)
    data = replace(plain, targets=labels, read=lambda i: pixels[i], regions=Regions(tuple(items)), origin="exclusive")
    fitted = FittedImages(data, model_of().input_spec)
    samples = Samples.of(fitted, fitted.pixels, np.zeros((N, 2)), 1 / 24, {})
    for column in (0, 1):
        left_out = marks_left_out(samples, column)
        truth = samples.labels[:, column]
        assert (truth[left_out[:, 0]] == truth).all()
        assert (truth[left_out[:, 2]] == 1 - truth).all()
        values = np.concatenate([one.features for one in whole_images(samples, column)], 1)
        result = associations(values, np.repeat(truth[:, None], 4, 1), samples.patients, two_sided=True)
        assert result.p_corrected.min() > 0.05


def test_a_frame_is_no_brightness():
    """Of a white frame around some images nothing reaches the statistics of the whole."""
    samples = samples_of()
    framed = samples.pixels.copy()
    framed[::2, :, [0, -1], :] = framed[::2, :, :, [0, -1]] = 255
    plain, other = (whole_images(replace(samples, pixels=of), 0)[0] for of in (samples.pixels, framed))
    np.testing.assert_array_equal(plain.features, other.features)
    rows = np.arange(4)
    inner = []
    for pixels, exchange in ((samples.pixels, plain.exchanges[0]), (framed, other.exchanges[0])):
        images = torch.from_numpy(pixels[:4]).float() / 255
        inner.append(exchange(images, images.flip(0), rows, rows[::-1].copy())[:, :, 1:-1, 1:-1])
    torch.testing.assert_close(*inner, rtol=0, atol=0)


def test_two_sided_associations_are_those_of_the_larger_side():
    rng = np.random.default_rng(0)
    worth, groups = rng.normal(size=(40, 3)), np.arange(40)
    labels = np.repeat((np.arange(40) % 3 == 0).astype(float)[:, None], 3, 1)
    worth[labels[:, 0] == 1, 1] -= 2
    both, low = (
        associations(values, labels, groups, two_sided=two, permutations=500, seed=1)
        for values, two in ((worth, True), (-worth, False))
    )
    np.testing.assert_allclose(both.difference, -low.difference)
    assert both.p_corrected[1] < 0.01
    assert low.p[1] <= both.p[1] <= 2 * low.p[1] + 0.01
    np.testing.assert_array_equal(both.p, associations(
        -worth, labels, groups, two_sided=True, permutations=500, seed=1).p)  # fmt: skip


def test_a_slope_is_least_squares_within_labels_and_its_p_that_of_all_permutations():
    rng = np.random.default_rng(3)
    labels = np.repeat([0.0, 1.0], [7, 3])
    feature = rng.normal(size=10) + 3 * labels
    worth = 0.5 * feature - 4 * labels + rng.normal(size=10)
    slope = slope_of(worth, feature, labels, np.arange(10), permutations=4000, resamples=200)
    design = np.stack([labels == 0, labels == 1, feature], 1).astype(float)
    assert slope.value == pytest.approx(np.linalg.lstsq(design, worth, rcond=None)[0][2])
    own = within_labels(feature, labels)
    orders = [(*first, *second) for first in permutations(range(7)) for second in permutations(range(7, 10))]
    scores = np.abs(within_labels(worth, labels)[np.array(orders)] @ own)
    assert slope.p == pytest.approx((scores >= scores[0] - 1e-12).mean(), abs=0.03)
    assert np.quantile(slope.resampled, 0.05) < slope.value < np.quantile(slope.resampled, 0.95)
    nothing = slope_of(worth, labels, labels, np.arange(10), permutations=9, resamples=3)
    assert (nothing.value, nothing.p) == (0.0, 1.0)


def test_passes_are_spread_evenly_over_the_images():
    rng = np.random.default_rng(0)
    pairs = spread(np.arange(10, 40), np.arange(8), 100, rng)
    assert set(np.bincount(pairs.donors)[10:]) == {3}
    np.testing.assert_array_equal(pairs.donors.reshape(3, -1)[1], np.arange(10, 40))
    assert len(spread(np.arange(500), np.arange(8), 100, rng).donors) == 500  # one each at least
    assert (pairs.recipients != pairs.donors).all()


@pytest.mark.parametrize(("with_it", "without"), [((22, 4), (2, 32)), ((5, 5), (25, 65))])
def test_what_the_window_shows_otherwise_is_not_taken_for_what_the_feature_does(with_it, without):
    """Worth that has nothing to do with the feature, of images and of each exchange: 200 draws at the level of 5 %."""
    rng, wrong = np.random.default_rng(7), 0
    labels = np.repeat([1.0, 0.0, 1.0, 0.0], [*with_it, *without])
    feature = np.repeat([1.0, 0.0], [sum(with_it), sum(without)]) + rng.normal(0, 0.05, len(labels))
    for draw in range(200):
        worth = rng.standard_t(3, len(labels)) + 0.5 * rng.normal(size=len(labels))
        slope = slope_of(worth, feature, labels, np.arange(len(labels)), permutations=200, resamples=1, seed=draw)
        wrong += slope.p <= 0.05
    assert binomtest(wrong, 200, 0.05, alternative="greater").pvalue > 0.01


class SeesNoise(torch.nn.Module):
    """The finding is read in the middle, and as much from how rough the image is."""

    def __init__(self, rough):
        super().__init__()
        self.rough = torch.nn.Parameter(torch.tensor(float(rough)))

    def forward(self, images):
        middle = 6 * images[:, 0, 10:14, 10:14].mean((1, 2))
        roughness = (images[:, 0, 2:-2, 3:-2] - images[:, 0, 2:-2, 2:-3]).abs().mean((1, 2))
        return torch.stack([middle + self.rough * roughness, 6 * images[:, 0, 10:14, 10:14].mean((1, 2))], 1)


@pytest.mark.parametrize("rough", [20.0, 0.0])
def test_noise_that_goes_with_the_finding_is_found_where_it_is_gone_by_and_told_by_the_image_alone(rough):
    data, _ = dataset_of(marker=0.5)
    rng = np.random.default_rng(8)
    finding = data.targets[:, 0] == 1
    is_noisy = np.where(rng.random(N) < 0.9, finding, ~finding)
    grain = rng.normal(0, 30, (N, SIDE, SIDE)) * is_noisy[:, None, None]
    ramp = np.linspace(-80, 80, SIDE)  # of an anatomy, beside which grain is no contrast
    pixels = np.stack([np.clip(data.read(i) + ramp + grain[i], 0, 255).astype(np.uint8) for i in range(N)])
    noisy = replace(data, read=lambda i: pixels[i], origin="noisy")
    model = pl.wrap(
        SeesNoise(rough), CLASSES, size=SIDE, channels=1, mean=[0.0], std=[1.0], outputs="logits", task="multilabel"
    )
    discovery = pl.discover(model, noisy, settings=QUICK)
    assert bool(discovery.unexpected) == bool(rough)
    for suspect in discovery.unexpected[:1]:
        np.testing.assert_array_equal(suspect.present, is_noisy)


def test_another_parts_images_are_told_by_the_feature_and_its_cut_without_a_forward_pass(monkeypatch):
    data, _ = dataset_of()
    model = model_of(corner=8.0)
    discovery = pl.discover(model, data, settings=replace(QUICK, seed=1))
    suspect = discovery.unexpected[0]
    assert suspect.details["feature"] in FEATURES
    other, has_marker = dataset_of(seed=4, n=90)
    monkeypatch.setattr(type(model), "forward", lambda *_: pytest.fail("it needs no answer"))
    showing = images_showing(suspect, discovery, FittedImages(other, model.input_spec), model)
    np.testing.assert_array_equal(showing.rows, np.flatnonzero(has_marker))


@pytest.mark.parametrize(("side", "step"), [(60, 1), (127, 1), (200, 3)])
def test_quantiles_of_a_large_frame_are_of_every_so_many_rows_and_columns(side, step):
    images = torch.rand(3, 1, side, side, generator=torch.Generator().manual_seed(0))
    where = torch.rand(3, 1, side, side, generator=torch.Generator().manual_seed(1)) < 0.5
    expected = [np.median(x[0, ::step, ::step][m[0, ::step, ::step]]) for x, m in zip(images, where, strict=True)]
    np.testing.assert_allclose(median(images, where).flatten(), expected, atol=1e-6)


def test_what_is_picked_by_its_features_is_exchanged_once_it_passed(monkeypatch):
    """A window that only its features picked is not tested by its exchange; what that is worth is kept all the same."""
    data, has_marker = dataset_of()
    model = model_of(corner=8.0)
    monkeypatch.setattr(search, "best_windows", lambda strength, windows, count: [])
    monkeypatch.setattr(search, "STRONG", math.inf)
    first = next(one for one in pl.discover(model, data, settings=QUICK).unexpected if one.kind == "place")
    assert first.name in BANDS
    assert "feature" in first.details
    np.testing.assert_array_equal(first.present, has_marker)
    labels = data.targets[first.tested_rows, 0] == 1
    assert first.tested_worth[labels].mean() > first.tested_worth[~labels].mean() + 0.5
