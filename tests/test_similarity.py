"""Similarities of heat maps against scipy, against sums written out, and against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.ndimage import gaussian_filter

from pellucid.evaluation.metrics.similarity import MEASURES, similarities, spearman, ssim, top_k_overlap, undefined
from pellucid.types import InputError


def maps(count=6, height=24, width=17, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, height, width, generator=generator)


def test_rank_correlation_is_scipys_with_and_without_ties():
    a = maps()
    b = 0.5 * a + maps(seed=1)
    a[3:], b[3:] = a[3:].relu(), (2 * b[3:]).round()  # half zeros; few values
    expected = [stats.spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    assert spearman(a, b).numpy() == pytest.approx(expected, abs=1e-12)


def scikit_image_ssim(x, y):
    """What scikit-image computes with gaussian_weights, population covariance and data_range 1, in its own words."""
    x, y = ((v - v.min()) / (v.max() - v.min()) for v in (x, y))

    def blur(v):
        return gaussian_filter(v, 1.5, truncate=3.5)

    ux, uy = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - ux * ux, blur(y * y) - uy * uy, blur(x * y) - ux * uy
    c1, c2 = 0.01**2, 0.03**2
    local = (2 * ux * uy + c1) * (2 * vxy + c2) / ((ux**2 + uy**2 + c1) * (vx + vy + c2))
    return local[5:-5, 5:-5].mean()


def test_ssim_is_that_of_scikit_image():
    a = maps()
    b = a + torch.tensor([0.0, 0.1, 0.5, 1.0, 3.0, -1.0]).view(-1, 1, 1) * maps(seed=2)
    expected = [scikit_image_ssim(x, y) for x, y in zip(a.double().numpy(), b.double().numpy(), strict=True)]
    assert ssim(a, b).numpy() == pytest.approx(expected, abs=1e-10)
    assert ssim(a, b)[0] == pytest.approx(1)


def test_ssim_of_a_small_map_is_one_window():
    a, b = maps(1, 3, 4), maps(1, 3, 4, seed=1)
    x, y = ((m[0].double() - m.min()) / (m.max() - m.min()) for m in (a, b))
    kernel = torch.exp(-torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64) / (2 * 1.5**2))
    window = torch.outer(kernel, kernel) / kernel.sum() ** 2
    found = []
    for left in (0, 1):
        u, v = x[:, left : left + 3], y[:, left : left + 3]
        mu, mv = (window * u).sum(), (window * v).sum()
        vu, vv, cov = (
            (window * p * q).sum() - mp * mq for p, mp, q, mq in [(u, mu, u, mu), (v, mv, v, mv), (u, mu, v, mv)]
        )
        found.append((2 * mu * mv + 1e-4) * (2 * cov + 9e-4) / ((mu**2 + mv**2 + 1e-4) * (vu + vv + 9e-4)))
    assert ssim(a, b).item() == pytest.approx(float(sum(found) / 2), abs=1e-10)


def test_overlap_counts_pixels():
    a, b = maps(), maps(seed=3)
    k = round(0.1 * 24 * 17)
    expected = [
        len(set(np.argsort(-x.ravel())[:k]) & set(np.argsort(-y.ravel())[:k])) / k
        for x, y in zip(a.numpy(), b.numpy(), strict=True)
    ]
    assert top_k_overlap(a, b).tolist() == pytest.approx(expected)


def test_tied_pixels_share_the_last_places():
    a = torch.tensor([[[5.0, 0, 0, 0, 0]]])  # two places: one for the 5, a quarter for each of the others
    b = torch.tensor([[[5.0, 1, 0, 0, 0]]])
    assert top_k_overlap(a, b, 0.4).item() == pytest.approx((1 + 0.25) / 2)
    assert top_k_overlap(a, a, 0.4).item() == 1


def test_the_unit_of_a_map_does_not_count():
    a, b = maps(), maps(seed=4)
    one, other = similarities(a, b), similarities(3 * a + 7, 0.1 * b - 2)
    for name in MEASURES:
        assert one[name].numpy() == pytest.approx(other[name].numpy(), abs=1e-5)
        assert (similarities(a, a)[name] > 1 - 1e-9).all()


def test_a_map_without_contrast_has_no_similarity():
    a = maps(4)
    a[1] = 0.3
    a[2, 0, 0] = math.inf
    b = maps(4, seed=1)
    b[3] = 0
    found = similarities(a, b)
    for name in MEASURES:
        assert found[name].isnan().tolist() == [False, True, True, True]
    told = undefined(a, b, ("original", "new"))
    assert told[0] is None
    assert told[1] == "the original map is the same everywhere"
    assert "not finite" in told[2]
    assert told[3] == "the new map is the same everywhere"


def test_one_pixel_and_no_map():
    assert all(v.isnan().all() for v in similarities(torch.ones(1, 1, 1), torch.rand(1, 1, 1)).values())
    assert all(len(v) == 0 for v in similarities(torch.ones(0, 4, 4), torch.ones(0, 4, 4)).values())


def test_bad_input():
    with pytest.raises(InputError, match=r"both be \(N, H, W\)"):
        similarities(maps(2), maps(3))
    with pytest.raises(InputError, match=r"both be \(N, H, W\)"):
        undefined(maps()[0], maps()[0])
    with pytest.raises(InputError, match="above 0 and at most 1"):
        top_k_overlap(maps(), maps(), 0)
