"""Occlusion, LIME, Kernel SHAP and RISE: captum called directly, closed forms, brute force, and bad input."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from captum.attr import KernelShap, Lime, Occlusion
from torch import nn

from pellucid.explainers import explain, superpixels
from pellucid.explainers.rise import random_masks
from pellucid.explainers.surrogates import _closeness, _Ridge
from pellucid.models import wrap
from pellucid.types import InputError, InputSpec

REMOVERS = ("occlusion", "lime", "kernel-shap", "rise")


def linear(channels=1, size=9):
    torch.manual_seed(4)
    net = nn.Sequential(nn.Flatten(), nn.Linear(channels * size * size, 3))
    parts = {"mean": [0.3] * channels, "std": [0.5] * channels, "classes": list("abc")}
    return wrap(net, task="multilabel", input_spec=InputSpec.square(channels, size), **parts)


def slopes(model, channels=1, size=9):
    """∂f/∂x of a linear classifier (K, C, H, W)."""
    return (model.module[1].weight / 0.5).view(3, channels, size, size).detach()


def curved(size=9):
    torch.manual_seed(5)
    net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Tanh(), nn.Flatten(), nn.Linear(5 * (size - 2) ** 2, 3))
    parts = {"mean": [0.4] * 3, "std": [0.2] * 3, "classes": list("abc"), "input_spec": InputSpec.square(3, size)}
    return wrap(net, task="multiclass", **parts)


@pytest.fixture
def colour():
    return torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def gray():
    return torch.rand(2, 1, 9, 9, generator=torch.Generator().manual_seed(2))


def test_occlusion_is_captums(colour):
    model = curved()
    found = explain("occlusion", model, colour, "all", window=4, stride=3, baseline=0.2).maps
    for c in range(3):
        theirs = Occlusion(model).attribute(
            colour, sliding_window_shapes=(3, 4, 4), strides=(3, 3, 3), baselines=0.2, target=c
        )
        torch.testing.assert_close(found[:, c], theirs[:, 0].detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window", [1, 2, 4, 9])
def test_occlusion_of_a_linear_classifier(gray, window):
    """A window takes away Σ w (x − b); a pixel gets the mean over its windows. 2 and 4 do not divide 9."""
    model = linear()
    found = explain("occlusion", model, gray, 1, window=window, stride=window, baseline="mean").maps
    for image, heat in zip(gray, found, strict=True):
        effect = (slopes(model)[1] * (image - image.mean()))[0]
        total, count = torch.zeros(9, 9), torch.zeros(9, 9)
        starts = range(0, 9, window)  # the edge cuts off the last window
        for y, x in itertools.product(starts, starts):
            place = np.s_[y : y + window, x : x + window]
            total[place] += effect[place].sum()
            count[place] += 1
        torch.testing.assert_close(heat, total / count, rtol=1e-4, atol=1e-5)


def by_segment(values, parts):
    return torch.stack([values[parts == one].sum() for one in range(int(parts.max()) + 1)])


def of_segments(heat, parts):
    found = []
    for one in range(int(parts.max()) + 1):
        inside = heat[parts == one]
        assert (inside == inside[0]).all()
        found.append(inside[0])
    return torch.stack(found)


@pytest.mark.parametrize("name", ["lime", "kernel-shap"])
def test_a_linear_classifier_is_its_own_surrogate(gray, name):
    """The weight of a superpixel is what it adds, Σ w (x − b), exactly: nothing is left to the samples."""
    model = linear()
    options = {"segments": 6, "samples": 40, "baseline": 0.1} | ({"ridge": 0.0} if name == "lime" else {})
    found = explain(name, model, gray, "all", **options).maps
    for image, maps in zip(gray, found, strict=True):
        parts = superpixels(image, 6)
        for c in range(3):
            expected = by_segment((slopes(model)[c] * (image - 0.1))[0], parts)
            torch.testing.assert_close(of_segments(maps[c], parts), expected, rtol=1e-4, atol=1e-5)


def test_kernel_shap_adds_up_and_nears_the_shapley_values(colour):
    model, image = curved(), colour[:1]
    found = explain("kernel-shap", model, image, "all", segments=4, samples=1500).maps[0]
    parts = superpixels(image[0], 4)
    count = int(parts.max()) + 1
    mean = image.mean((2, 3), keepdim=True).expand_as(image)

    def answer(kept):
        mask = torch.isin(parts, torch.tensor(kept, dtype=torch.int64))
        with torch.no_grad():
            return model(torch.where(mask, image, mean))[0]

    exact = torch.zeros(3, count)
    for one in range(count):
        others = [o for o in range(count) if o != one]
        for size in range(count):
            for kept in itertools.combinations(others, size):
                share = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
                exact[:, one] += share * (answer([*kept, one]) - answer(list(kept)))
    everything = answer(list(range(count))) - answer([])
    for c in range(3):
        values = of_segments(found[c], parts)
        torch.testing.assert_close(values.sum(), everything[c], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(values, exact[c], rtol=0, atol=0.05 * float(exact.abs().max()))
        assert (values - exact[c]).abs().max() < 0.5 * (everything[c] / count - exact[c]).abs().max()


@pytest.mark.parametrize("name", ["lime", "kernel-shap"])
def test_surrogates_are_captums(colour, name):
    model = curved()
    found = explain(name, model, colour, torch.tensor([2, 0]), segments=5, samples=30, baseline=0.0, seed=9).maps
    for i, c in enumerate([2, 0]):
        ours = {"interpretable_model": _Ridge(1.0), "similarity_func": _closeness}
        method = Lime(model, **ours) if name == "lime" else KernelShap(model)
        torch.manual_seed(9)
        image = colour[i : i + 1]
        mask = superpixels(image[0], 5)[None, None]
        theirs = method.attribute(image, target=c, feature_mask=mask, n_samples=30)[0, 0]
        close = 1e-5 if name == "lime" else 1e-3  # captum's own regression is in single precision
        torch.testing.assert_close(found[i], theirs, rtol=close, atol=close)


def test_the_ridge_is_scikit_learns():
    from sklearn.linear_model import Ridge

    random = np.random.default_rng(0)
    kept, answers, weights = random.integers(0, 2, (40, 7)), random.normal(size=40), random.uniform(0.1, 1, 40)
    ours = _Ridge(0.7)
    ours.fit([tuple(torch.tensor(part) for part in (kept, answers, weights))])
    theirs = Ridge(alpha=0.7).fit(kept, answers, sample_weight=weights)
    np.testing.assert_allclose(ours.representation()[0].numpy(), theirs.coef_, rtol=1e-8)


def test_lime_counts_near_variants_as_its_authors_do():
    """`lime_base`: the root of exp(−d² / w²), d the cosine distance of the kept parts from all of them."""
    from sklearn.metrics import pairwise_distances

    rows = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 0, 0], [0, 0, 0, 1, 0]])
    distances = pairwise_distances(rows, rows[:1], metric="cosine").ravel()
    found = [_closeness(torch.empty(0), torch.empty(0), torch.tensor(row)[None]) for row in rows]
    np.testing.assert_allclose(found, np.sqrt(np.exp(-(distances**2) / 0.25**2)), rtol=1e-6)


def test_rise_is_its_formula_one_mask_after_the_other(colour):
    for task in ("multiclass", "multilabel"):
        model = curved()
        model.task = task
        found = explain("rise", model, colour, "all", samples=25, cells=3, chance=0.4, seed=2).maps
        masks = random_masks(9, 9, 25, cells=3, chance=0.4, seed=2)
        for i, image in enumerate(colour):
            papers, mean = torch.zeros(3, 9, 9), torch.zeros(3)
            for mask in masks:
                with torch.no_grad():
                    logits = model((image * mask)[None])[0]
                probabilities = logits.softmax(0) if task == "multiclass" else logits.sigmoid()
                papers += probabilities[:, None, None] * mask / (0.4 * 25)
                mean += probabilities / 25
            expected = papers - mean[:, None, None] * masks.mean(0) / 0.4  # what equal probabilities would have given
            torch.testing.assert_close(found[i], expected, rtol=1e-5, atol=1e-6)


def test_rise_finds_the_pixels_that_count():
    """A classifier that sees one corner alone: its map is above the rest there, by the expectation E[f | M = 1]."""
    model = linear(size=12)
    with torch.no_grad():
        weight = torch.zeros(3, 1, 12, 12)
        weight[0, 0, :3, :3] = 1.0
        model.module[1].weight.copy_(weight.view(3, -1))
        model.module[1].bias.zero_()
    heat = explain("rise", model, torch.ones(1, 1, 12, 12), 0, samples=400, cells=4).maps[0]
    assert heat[:2, :2].min() > 5 * heat[6:, 6:].abs().max()
    assert heat[6:, 6:].abs().max() < 0.05  # near nothing, not near the mean probability


@pytest.mark.parametrize(("height", "width", "cells"), [(7, 7, 7), (10, 13, 4), (5, 3, 8), (1, 1, 2)])
def test_random_masks_see_every_pixel_alike(height, width, cells):
    masks = random_masks(height, width, 3000, cells=cells, chance=0.3)
    assert masks.shape == (3000, height, width)
    assert (masks.min() >= 0) & (masks.max() <= 1)
    assert (masks.mean(0) - 0.3).abs().max() < 5 * 0.46 / math.sqrt(3000)  # five standard errors


@pytest.mark.parametrize("name", REMOVERS)
def test_a_constant_image_has_nothing_to_remove(name, gray):
    """Not even roundings, which would be drawn, ranked and attacked as if they were evidence."""
    few = {"samples": 60} if name != "occlusion" else {}
    grays = torch.tensor([0.0, 0.1, 0.2, 1 / 3, 0.4, 0.55, 0.7, 0.9, 0.99, 1.0]).view(-1, 1, 1, 1)
    constant = grays.expand(-1, *gray.shape[1:]).clone()
    maps = explain(name, linear(), constant, 0, **few, **({"baseline": "mean"} if name == "rise" else {})).maps
    assert torch.equal(maps, torch.zeros_like(maps))


def test_one_pixel(gray):
    model, pixel = linear(size=1), gray[:, :, :1, :1]
    effect = (slopes(model, size=1)[2] * pixel)[:, 0]
    torch.testing.assert_close(explain("occlusion", model, pixel, 2, baseline=0.0).maps, effect, rtol=1e-5, atol=1e-6)
    assert explain("rise", model, pixel, 2, samples=8).maps.shape == (2, 1, 1)
    for name in ("lime", "kernel-shap"):
        with pytest.raises(InputError, match=r"one pixel has no parts.*saliency"):
            explain(name, model, pixel, 2)


@pytest.mark.parametrize("name", REMOVERS)
def test_logits_that_are_no_numbers_are_refused(name, gray):
    model = linear()
    with torch.no_grad():
        model.module[1].bias[1] = float("nan")
    with pytest.raises(InputError, match="logits that are not finite"):
        explain(name, model, gray, 0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("occlusion", {"window": 10}, "window must be from 1 to the image's smaller side, 9; found 10"),
        ("occlusion", {"window": 0}, "window must be from 1"),
        ("occlusion", {"window": 3, "stride": 4}, "stride must be from 1 to the window's side, 3"),
        ("lime", {"samples": 1}, "samples must be at least 2"),
        ("lime", {"segments": 1}, "segments must be at least 2"),
        ("lime", {"ridge": -1}, "ridge must not be negative"),
        ("lime", {"baseline": -0.1}, r"grey in \[0, 1\]"),
        ("kernel-shap", {"segments": 1}, "segments must be at least 2"),
        ("kernel-shap", {"segments": 16, "samples": 10}, "superpixels need at least .* samples"),
        ("rise", {"samples": 0}, "samples and cells must be at least 1"),
        ("rise", {"cells": 0}, "samples and cells must be at least 1"),
        ("rise", {"chance": 1.0}, r"chance must be inside \(0, 1\)"),
    ],
)
def test_options_that_cannot_be(gray, name, options, message):
    with pytest.raises(InputError, match=message):
        explain(name, linear(), gray, 0, **options)
