"""What `discover` reads off images without the network, and the two tests that a feature has to pass."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import permutation_test

import pellucid as pl
from pellucid.data.cache.fitted_images import FittedImages
from pellucid.data.readers.phantom.shortcuts import jpeg_trace
from pellucid.data.regions import Region, Regions
from pellucid.evaluation.discovery import search
from pellucid.evaluation.discovery.candidates import MOST_MARKED, Places, marks_left_out, whole_images
from pellucid.evaluation.discovery.content.image_features import FEATURES, ImageFeatures
from pellucid.evaluation.discovery.content.presence import otsu
from pellucid.evaluation.discovery.content.whole_image import blocks, compression, median
from pellucid.evaluation.discovery.content.windows import BANDS, MARGINS, SIDES, sides
from pellucid.evaluation.discovery.features import DARKEST, EVERYWHERE, Carrier, Feature, Features
from pellucid.evaluation.discovery.inference import Association, associations
from pellucid.evaluation.discovery.mediation import (
    adds_more,
    exchanged_pairs,
    moves_further,
    picked_features,
    sign_flips,
    swaps,
)
from pellucid.evaluation.discovery.results import Discovery
from pellucid.evaluation.discovery.run import two_classes
from pellucid.evaluation.discovery.samples import MarkedPairs, Samples
from pellucid.evaluation.discovery.showing import images_showing
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.utils.results_store import ResultsStore
from test_discover import CLASSES, QUICK, SIDE, N, dataset_of, model_of


def wrapped(network):
    return pl.wrap(network, CLASSES, size=SIDE, channels=1, mean=[0.0], std=[1.0], outputs="logits", task="multilabel")


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
    cover = places.cover(np.arange(N))
    for row, others in enumerate(marks_left_out(samples, 0)):
        np.testing.assert_array_equal(cover[row], own[others].any(0))
    assert (cover.sum((1, 2)) == own.sum((1, 2)).max()).all()
    window = np.zeros((SIDE, SIDE), bool)
    window[8:16, 8:16] = True  # touches where all are marked
    assert not places.takes_part("middle of the image", window, cover).any()
    band = sides(SIDE, SIDE, 6)[MARGINS]
    assert places.takes_part(MARGINS, band, cover).all()
    few = replace(samples.marks, masks=samples.marks.masks | (np.arange(SIDE) < 1))
    touched = Places(replace(samples, marks=few), 0)
    cover = touched.cover(np.arange(N))
    assert cover[:, band].mean() <= MOST_MARKED
    assert not touched.takes_part("left part of the image, in the middle", band, cover).any()
    assert touched.takes_part(MARGINS, band, cover).all()
    exchange = touched.candidate(MARGINS, band, cover).exchanges[0]
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
    features = [one for one in Features(samples, 12).of_class(1) if one.place in BANDS]
    assert len(features) == len(BANDS) * len(FEATURES)
    values = np.stack([one.values for one in features], 1)
    columns = np.full(len(features), 1)
    result = associations(values, samples.labels, columns, samples.patients, two_sided=True, permutations=400)
    assert np.nanmin(result.p_corrected) > 0.05


def test_a_statistic_is_that_of_what_is_inside_and_nowhere_marked():
    samples = samples_of()
    every = {one.name: one.values for one in Features(samples, 12).statistics(0)}
    inside = np.zeros((SIDE, SIDE), bool)
    inside[2:-2, 2:-2] = True
    hidden = np.any([samples.marks.of_images(of) for of in marks_left_out(samples, 0).T], axis=0)
    pixels = samples.pixels[:, 0] / 255
    for row in (0, 7, 50):
        values = pixels[row][inside & ~hidden[row]]
        assert every["overall brightness"][row] == pytest.approx(np.median(values), abs=1e-6)
        spread = np.subtract(*np.quantile(values, [0.75, 0.25]))
        assert every["overall contrast"][row] == pytest.approx(spread, abs=1e-6)


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
        values = np.stack([one.values for one in Features(samples, 12).statistics(column)], 1)
        result = associations(
            values, samples.labels, np.full(values.shape[1], column), samples.patients, two_sided=True
        )
        assert result.p_corrected.min() > 0.05


def test_a_frame_is_no_brightness():
    """Of a white frame around some images nothing reaches the statistics of the whole."""
    samples = samples_of()
    framed = samples.pixels.copy()
    framed[::2, :, [0, -1], :] = framed[::2, :, :, [0, -1]] = 255
    shown = [replace(samples, pixels=of) for of in (samples.pixels, framed)]
    plain, other = (whole_images(of, 0)[0] for of in shown)
    np.testing.assert_array_equal(*(Features(of, 12).statistics(0)[0].values for of in shown))
    rows = np.arange(4)
    inner = []
    for pixels, exchange in ((samples.pixels, plain.exchanges[0]), (framed, other.exchanges[0])):
        images = torch.from_numpy(pixels[:4]).float() / 255
        inner.append(exchange(images, images.flip(0), rows, rows[::-1].copy())[:, :, 1:-1, 1:-1])
    torch.testing.assert_close(*inner, rtol=0, atol=0)


def test_two_sided_associations_are_those_of_the_larger_side():
    rng = np.random.default_rng(0)
    worth, groups = rng.normal(size=(40, 3)), np.arange(40)
    labels, columns = (np.arange(40) % 3 == 0).astype(float)[:, None], np.zeros(3, int)
    worth[labels[:, 0] == 1, 1] -= 2
    both, low = (
        associations(values, labels, columns, groups, two_sided=two, permutations=500, seed=1)
        for values, two in ((worth, True), (-worth, False))
    )
    np.testing.assert_allclose(both.difference, -low.difference)
    assert both.p_corrected[1] < 0.01
    assert low.p[1] <= both.p[1] <= 2 * low.p[1] + 0.01
    np.testing.assert_array_equal(both.p, associations(
        -worth, labels, columns, groups, two_sided=True, permutations=500, seed=1).p)  # fmt: skip


def test_what_roams_is_exchanged_in_a_square_around_it_on_each_image():
    """Of each image the pixel of the largest detail that is not marked, found one pixel at a time."""
    samples = samples_of()
    made = Features(samples, 6)
    window = sides(SIDE, SIDE, 6)[MARGINS]
    cover = Places(samples, 0).cover(np.arange(N))
    for name, sign in (("brightest detail", 1), ("darkest detail", -1)):
        feature = next(one for one in made.of_class(0) if (one.name, one.place) == (name, MARGINS))
        assert feature.roams
        candidate = feature.candidate(samples, made.numbers, 6)
        assert candidate.kind == "patch"
        assert candidate.name == f"{name} of the {MARGINS}"
        side = round(2 * SIDE / 6)
        for row in range(0, N, 9):
            image = samples.pixels[row, 0] / 255
            detail = sign * (image - gaussian_filter(image, SIDE / 32))
            free = [(detail[y, x], y, x) for y, x in zip(*np.nonzero(window & ~cover[row]), strict=True)]
            _, y, x = max(free)
            corner = [min(max(place - side // 2, 0), SIDE - side) for place in (y, x)]
            np.testing.assert_array_equal(candidate.boxes.rectangles[row], [*corner, side, side])
            own = np.zeros((SIDE, SIDE), bool)
            own[corner[0] : corner[0] + side, corner[1] : corner[1] + side] = True
            np.testing.assert_array_equal(candidate.exchanges[0].mask_of(np.array([row]))[0], own & ~cover[row])
    places = {one.place: one for one in made.of_class(0) if one.name == "level"}
    assert EVERYWHERE not in places  # it is a statistic
    assert places[MARGINS].candidate(samples, made.numbers, 6).kind == "place"


def test_who_gives_shows_no_more_than_is_usual_and_has_not_the_class():
    samples = samples_of()
    labels = samples.labels[:, 0]
    values = np.random.default_rng(0).normal(size=N) + labels
    values[:5] = np.nan
    for name, place in (("brightest detail", MARGINS), ("level", MARGINS), ("overall contrast", "")):
        feature = Feature(0, name, place, np.ones((SIDE, SIDE), bool), values)
        pairs = exchanged_pairs(samples, feature, 400, np.random.default_rng(1))
        negatives = values[(labels == 0) & ~np.isnan(values)]
        middle = np.median(negatives)
        far = pairs.donors[:0] if name == "brightest detail" else np.abs(values[pairs.donors] - middle)
        assert (labels[pairs.donors] == 0).all()
        assert (
            (values[pairs.donors] <= middle).all()
            if not len(far)
            else (far <= np.median(np.abs(negatives - middle)) + 1e-12).all()
        )
        assert (pairs.donors != pairs.recipients).all()
        assert set(np.bincount(pairs.recipients)[5:]) == {400 // (N - 5)}
        turns = pairs.recipients.reshape(-1, N - 5)
        assert (turns == turns[0]).all()


def test_the_signs_of_what_patients_contribute_are_turned_in_all_ways():
    rng = np.random.default_rng(3)
    scores = rng.normal(0.4, 1, (11, 3)) * np.array([1, 5, 0])
    z, p, corrected = sign_flips(scores, 20000, 0)
    assert (z[2], p[2], corrected[2]) == (0, 1, 1)
    signs = np.array(list(product([-1.0, 1.0], repeat=11)))
    sizes = np.sqrt((scores[:, :2] ** 2).sum(0))
    ways = signs @ (scores[:, :2] / sizes)
    np.testing.assert_allclose(z[:2], scores[:, :2].sum(0) / sizes)
    np.testing.assert_allclose(p[:2], (ways >= z[:2] - 1e-9).mean(0), atol=0.012)
    best = int(np.argmax(z[:2]))
    assert corrected[best] == pytest.approx((ways.max(1) >= z[best] - 1e-9).mean(), abs=0.012)


def test_a_feature_is_measured_by_what_its_place_moves_when_others_take_it(tmp_path):
    """Slope, difference, p and share are those of the falls and rises of a network that can be read, pair by pair."""
    data, _ = dataset_of()
    model = model_of(corner=8.0)
    images = FittedImages(data, model.input_spec)
    odds = model(torch.from_numpy(images.pixels).float() / 255).detach().double().numpy()
    samples = Samples.of(images, images.pixels, odds, 1 / 24, {})
    made = Features(samples, QUICK.cells)
    feature = next(one for one in made.of_class(0) if (one.name, one.place) == ("brightest detail", "right side"))
    pairs = exchanged_pairs(samples, feature, 400, np.random.default_rng([QUICK.seed + 5, 1, feature.number(samples)]))
    whole = search.Search(model, samples, QUICK, ResultsStore(tmp_path), lambda name: name, 64)
    swapped = swaps(whole, made, [feature, feature], [800, 800], 1)
    carrier = swapped.carriers[0]
    assert swapped.spent == 2 * 2 * len(pairs.donors)
    further = moves_further(whole, swapped)
    masks = feature.candidate(samples, made.numbers, QUICK.cells).exchanges[0].mask_of(pairs.recipients)

    def answers(onto, of):  # what `of` shows there, brought to the level of the image
        shift = (feature.levels[onto] - feature.levels[of])[:, None, None, None]
        changed = np.where(masks[:, None], (samples.pixels[of] / 255 + shift).clip(0, 1), samples.pixels[onto] / 255)
        with torch.no_grad():
            return model(torch.from_numpy(changed).float()).double().numpy()[:, 0]

    own, other = pairs.recipients, pairs.donors
    fall = (odds[own, 0] - answers(own, other) + answers(other, own) - odds[other, 0]) / 2
    fall = fall.reshape(-1, N).mean(0)
    np.testing.assert_allclose(carrier.effect, fall, atol=1e-6)
    labels = samples.labels[:, 0]
    cut = otsu(feature.values)
    limits = [np.median(feature.values[side]) for side in (feature.values <= cut, feature.values > cut)]
    design = np.stack([labels == 0, labels == 1, np.clip(feature.values, *limits)], 1).astype(float)
    assert carrier.slope == pytest.approx(np.linalg.lstsq(design, fall, rcond=None)[0][2], rel=1e-6)
    p = permutation_test(
        (fall[labels == 1], fall[labels == 0]), lambda a, b, axis: a.mean(axis) - b.mean(axis), vectorized=True,
        n_resamples=2000, alternative="greater", rng=0,
    ).pvalue  # fmt: skip
    assert p < 0.01
    assert further.p[0] < 0.01  # the larger of this and that by turned signs
    slopes = adds_more(whole, swapped, np.array([1.0, -1.0]))
    assert slopes.z[0] == -slopes.z[1] > 3
    assert slopes.p[0] < 0.01
    assert slopes.p[1] > 0.99  # the positives have more of it
    more = design[labels == 1, 2].mean() - design[labels == 0, 2].mean()
    draws = Bootstrap(list(range(N)), 3)
    shares = carrier.shares(labels, odds[:, 0], draws)
    assert shares[0] == pytest.approx(carrier.slope * more / samples.gaps[0])
    for drawn, weights in zip(shares[1:], draws.weights.astype(int), strict=True):
        rows = np.repeat(np.arange(N), weights)
        slope = np.linalg.lstsq(design[rows], fall[rows], rcond=None)[0][2]
        means = [[of[rows][labels[rows] == value].mean() for value in (1, 0)] for of in (design[:, 2], odds[:, 0])]
        assert drawn == pytest.approx(slope * (means[0][0] - means[0][1]) / (means[1][0] - means[1][1]), rel=1e-5)


def test_the_surest_features_of_each_class_are_measured_and_no_copies_of_one_square():
    rng, frame = np.random.default_rng(0), np.ones((4, 4), bool)
    values = rng.normal(size=(30, 8))
    values[:, 1] = values[:, 0] + rng.normal(0, 0.1, 30)
    kinds = [
        ("level", "upper left corner"), ("level", "lower left corner"), ("darkest detail", MARGINS), ("level", MARGINS),
        ("overall contrast", ""), ("overall brightness", ""), ("level", "middle of the image"), ("level", MARGINS),
    ]  # fmt: skip
    columns = [0, 0, 0, 0, 0, 0, 0, 1]
    features = [Feature(k, *kind, frame, values[:, t]) for t, (k, kind) in enumerate(zip(columns, kinds, strict=True))]
    z = np.array([9.0, -8.0, 7.0, 6.0, 5.0, -4.0, 3.0, 2.0])
    p = np.array([0.001] * 6 + [0.5, 0.01])
    assert picked_features(features, Association(z, z, p, p), 0.05) == [0, 7, 2, 4, 5]


def test_a_few_images_with_very_much_of_a_feature_do_not_decide():
    values = np.concatenate([np.linspace(0, 1, 30), np.linspace(9, 11, 9), [400.0]])
    feature = Feature(0, "level", MARGINS, np.ones((2, 2), bool), values)
    low, high = np.median(values[:30]), np.median(values[30:])
    carrier = Carrier(feature, (low, high), 2.0, np.zeros(40), 800)
    assert carrier.values.max() == high
    assert carrier.strength.mean() == pytest.approx(0, abs=1e-9)
    np.testing.assert_array_equal(values > carrier.cut(), np.arange(40) >= 30)


class ReadsBeside(torch.nn.Module):
    """The finding is read in the middle, and beside it what lies next to the marker, which is ignored."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(8.0))

    def forward(self, images):
        middle = 6 * images[:, 0, 10:14, 10:14].mean((1, 2))
        return torch.stack([middle + self.weight * images[:, 0, 4:8, 20:24].mean((1, 2)), middle], 1)


@pytest.mark.parametrize("seed", range(3))
def test_what_lies_beside_something_that_goes_with_the_label_is_no_suspect(seed):
    """Of one window one part goes with the label and is ignored; the other is gone by and says nothing of the label."""
    data, _ = dataset_of(seed=seed)
    rng = np.random.default_rng(seed)
    pixels = np.stack([data.read(i) for i in range(N)]).astype(float)
    pixels[:, 4:8, 20:24] += rng.normal(0, 40, N)[:, None, None]
    shown = pixels.clip(0, 255).astype(np.uint8)
    beside = replace(data, read=lambda i: shown[i], origin=f"beside-{seed}")
    model = wrapped(ReadsBeside())
    assert not pl.discover(model, beside, settings=QUICK).unexpected


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
    model = wrapped(SeesNoise(rough))
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


class SeesDots(torch.nn.Module):
    """The finding is read in the middle, and as much from the brightest dot in the margins."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(6.0))

    def forward(self, images):
        dots = torch.nn.functional.avg_pool2d(images, 2, 1)
        dots = torch.cat([dots[..., :7], dots[..., -7:]], 3).amax((1, 2, 3))
        middle = 6 * images[:, 0, 10:14, 10:14].mean((1, 2))
        return torch.stack([middle + self.weight * dots, middle], 1)


def with_dots(seed, n):
    """A dot of two by two pixels, now here, now there in the margins, that goes with the finding."""
    data, _ = dataset_of(marker=0.5, seed=seed + 20, n=n)
    rng = np.random.default_rng(seed)
    finding = data.targets[:, 0] == 1
    has_dot = np.where(rng.random(n) < 0.9, finding, ~finding)
    places = np.stack([rng.integers(6, SIDE - 4, n), np.where(rng.random(n) < 0.5, 2, SIDE - 5)], 1)
    pixels = np.stack([data.read(i) for i in range(n)])
    for row in np.flatnonzero(has_dot):
        y, x = places[row]
        pixels[row, y : y + 2, x : x + 2] = 255
    return replace(data, read=lambda i: pixels[i], origin="dots"), has_dot, places


def test_a_dot_that_lies_elsewhere_on_each_image_is_found_by_its_feature_alone(monkeypatch):
    """On the left or on the right, high or low: on each image its own square is outlined, also on other images."""
    model = wrapped(SeesDots())
    data, has_dot, places = with_dots(0, 240)
    monkeypatch.setattr(
        "pellucid.evaluation.discovery.run.candidates", lambda *_: ([], {"forward_passes": 0, "windows": 0})
    )
    monkeypatch.setattr("pellucid.evaluation.discovery.run.test_exchanges", lambda *_: ([], 0))
    discovery = pl.discover(model, data, settings=QUICK)
    first = discovery.unexpected[0]
    assert first.kind == "patch"
    assert first.details["feature"] == "brightest detail"
    np.testing.assert_array_equal(first.present, has_dot)
    for row in np.flatnonzero(has_dot):
        (box,) = first.boxes[data.ids[row]]
        y, x = places[row]
        assert box.x <= x <= box.x + box.width - 2
        assert box.y <= y <= box.y + box.height - 2
    assert first.confirmed
    other, has_too, _ = with_dots(1, 90)
    showing = images_showing(first, discovery, FittedImages(other, model.input_spec), model)
    np.testing.assert_array_equal(showing.rows, np.flatnonzero(has_too))
    assert len(showing.boxes) == has_too.sum()


def test_blocks_are_the_steps_between_them_and_come_from_compression_alone():
    rng = np.random.default_rng(1)
    images = gaussian_filter(rng.normal(0, 1, (6, 1, 64, 64)), (0, 0, 1.5, 1.5))
    images = torch.from_numpy(np.clip(0.5 + 0.6 * images, 0, 1)).float()
    everywhere = torch.ones_like(images, dtype=torch.bool)
    row = (images[0, 0] * 255).double().numpy()
    steps = [np.abs(np.diff(row, axis=axis)).mean(1 - axis) for axis in (0, 1)]
    logs = [np.log((s[7::8].mean() + 0.25) / (np.delete(s, np.s_[7::8]).mean() + 0.25)) for s in steps]
    assert blocks(images, everywhere)[0].item() == pytest.approx(np.mean(logs), abs=1e-5)
    traced = torch.stack([torch.from_numpy(jpeg_trace((x[0] * 255).byte().numpy(), 20)[None]) / 255 for x in images])
    assert (blocks(traced, everywhere) > blocks(images, everywhere) + 0.2).all()
    # an image without it leaves others as they are; one with it makes them like itself, by another encoder
    kept = compression(images, images.flip(0), everywhere, everywhere)
    assert (blocks(kept, everywhere) - blocks(images, everywhere)).abs().max() < 0.25
    like = compression(images, traced.flip(0), everywhere, everywhere)
    assert (blocks(like, everywhere) - blocks(traced.flip(0), everywhere)).abs().max() < 0.2


def test_the_darkest_side_is_that_furthest_below_its_usual_level():
    samples = samples_of()
    pixels = samples.pixels.copy()
    rng = np.random.default_rng(0)
    which = rng.integers(0, 4, N)
    bands = sides(SIDE, SIDE, 6)
    for row, side in enumerate(which):
        if row % 2:
            pixels[row, 0][bands[SIDES[side]]] //= 4
    made = Features(replace(samples, pixels=pixels), 6)
    feature = next(one for one in made.of_class(0) if one.name == DARKEST)
    of_sides = np.stack([[image[bands[name]].mean() / 255 for name in SIDES] for image in pixels[:, 0]])
    relative = of_sides - feature.levels[:, None]
    below = np.median(relative, 0) - relative
    np.testing.assert_allclose(feature.values, below.max(1), atol=1e-6)
    candidate = feature.candidate(made.samples, made.numbers, 6)
    assert candidate.kind == "patch"
    for row in range(1, N, 2):
        assert feature.sides[row] == which[row]
        mask = candidate.exchanges[0].mask_of(np.array([row]))[0]
        np.testing.assert_array_equal(mask, bands[SIDES[which[row]]])
    assert cut_in_two(feature.values)[1::2].all()


def cut_in_two(values):
    return values > otsu(values)


def test_what_cannot_be_undone_is_given_to_others(tmp_path):
    """A network that sees the blocks: what it adds is what it adds when put in, and nothing is taken away."""

    class SeesBlocks(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(8.0))

        def forward(self, images):
            middle = 6 * images[:, 0, 10:14, 10:14].mean((1, 2))
            return torch.stack([middle + self.weight * blocks(images, images > -1).flatten(), middle], 1)

    plain, _ = dataset_of(marker=0.5, n=160)
    rng = np.random.default_rng(8)
    finding = plain.targets[:, 0] == 1
    has = np.where(rng.random(160) < 0.85, finding, ~finding)
    smooth = [gaussian_filter(plain.read(i).astype(float), 0.7) for i in range(160)]
    pixels = [np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8) for image in smooth]
    pixels = [jpeg_trace(image, 8) if of else image for image, of in zip(pixels, has, strict=True)]
    data = replace(plain, read=lambda i: pixels[i], origin="compressed")
    model = wrapped(SeesBlocks())
    discovery = pl.discover(model, data, settings=QUICK, out=tmp_path)
    suspect = next(one for one in discovery.unexpected if one.name == "blocks of JPEG compression")
    assert (suspect.present == has).mean() > 0.9
    effect = suspect.effects[0]
    assert (effect.taken_away.n, effect.taken_away.reason) == (0, "it cannot be undone")
    assert effect.put_in.low > 0
    assert suspect.confirmed
    change = next(one for one in suspect.consequences if one.metric == "auroc").change
    assert (np.isnan(change.value), change.reason) == (True, "it cannot be undone")
    discovery.save(tmp_path)
    again = Discovery.load(tmp_path).unexpected[discovery.unexpected.index(suspect)]
    assert again.effects[0].taken_away.reason == "it cannot be undone"


class LevelOfTheTop(torch.nn.Module):
    """The finding is read in the middle; of the level of the whole the top adds as much as the bottom takes away."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(20.0))

    def forward(self, images):
        middle = 6 * images[:, 0, 10:14, 10:14].mean((1, 2)) - 6 * images[:, 0, 4:8].mean((1, 2))
        top, bottom = images[:, 0, :4].mean((1, 2)), images[:, 0, -4:].mean((1, 2))
        return torch.stack([middle + self.weight * (top - bottom), middle], 1)


def test_a_part_whose_level_is_that_of_the_whole_is_no_suspect_where_the_network_makes_up_for_it():
    """Images with the finding are brighter. Brightness moves nothing, though a brighter top alone would."""
    data, _ = dataset_of(marker=0.5, brighter=25)
    model = wrapped(LevelOfTheTop())
    assert not pl.discover(model, data, settings=replace(QUICK, cells=12)).unexpected
