"""How alike two heat maps are: rank correlation, structural similarity, and how far their hottest pixels agree.

All three ignore a map's unit: a map times a positive number, plus another, is the same map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from pellucid.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

MEASURES = ("rank_correlation", "ssim", "top_k_overlap")
"""The names of the measures in `similarities`; 1 is alike in each of them."""
TOP = 0.1
"""The share of the pixels whose overlap is measured."""
CONSTANT = 1e-6
"""A map that varies by less than so much of its largest value is constant: resizing a constant map leaves that."""
CONSTANT_MAP = "the map is the same everywhere"
WINDOW, SIGMA = 11, 1.5  # of Wang et al. 2004
K1, K2 = 0.01, 0.03


def similarities(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """All measures of this module, pair by pair.

    Args:
        a: heat maps (N, H, W), any finite values.
        b: as many, of the same size.

    Returns:
        float64 (N,), named as in `MEASURES`; NaN where `undefined` says why.

    Raises:
        InputError: other shapes.

    Example:
        >>> a = torch.arange(16.0).view(1, 4, 4)
        >>> {name: round(float(value), 3) for name, value in similarities(a, 2 * a + 1).items()}
        {'rank_correlation': 1.0, 'ssim': 1.0, 'top_k_overlap': 1.0}
    """
    return {"rank_correlation": spearman(a, b), "ssim": ssim(a, b), "top_k_overlap": top_k_overlap(a, b)}


def is_constant(maps: Tensor) -> Tensor:
    """Which maps (N, H, W) are the same everywhere, or not finite: boolean (N,). No measure is defined on them.

    Example:
        >>> is_constant(torch.tensor([[[1.0, 1.0]], [[1.0, 2.0]], [[0.0, torch.nan]]]))
        tensor([ True, False,  True])
    """
    flat = maps.flatten(1)
    if flat.shape[1] == 0:
        return torch.ones(len(flat), dtype=torch.bool, device=maps.device)
    low, high = flat.amin(1), flat.amax(1)
    same = high - low <= CONSTANT * torch.maximum(low.abs(), high.abs())
    return same | ~flat.isfinite().all(1)


def undefined(a: Tensor, b: Tensor, names: tuple[str, str] = ("first", "second")) -> list[str | None]:
    """Why a pair of maps (N, H, W) has no similarity, or None where it has one.

    Example:
        >>> undefined(torch.zeros(1, 2, 2), torch.rand(1, 2, 2))
        ['the first map is the same everywhere']
    """
    _check(a, b)
    reasons: list[str | None] = [None] * len(a)
    for name, maps in zip(names, (a, b), strict=True):
        finite, same = maps.flatten(1).isfinite().all(1).tolist(), is_constant(maps).tolist()
        for row in range(len(reasons)):
            if reasons[row] is None and not finite[row]:
                reasons[row] = f"the {name} map has values that are not finite"
            elif reasons[row] is None and same[row]:
                reasons[row] = CONSTANT_MAP.replace("the map", f"the {name} map")
    return reasons


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's rank correlation of maps (N, H, W) pixel by pixel, float64 (N,) in [−1, 1]; ties share their rank.

    NaN for a map that is constant or not finite. Maps whose ReLU has left most pixels at 0 agree on those pixels: two
    such maps correlate by their zeros alone, so read it beside the other measures.

    Example:
        >>> round(spearman(torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[[9.0, 4.0, 1.0]]])).item(), 6)
        -1.0
    """
    _check(a, b)
    x, y = (_centred(_ranks(maps.flatten(1))) for maps in (a, b))
    lengths = x.norm(dim=1) * y.norm(dim=1)
    return _where_defined(a, b, ((x * y).sum(1) / lengths.clamp_min(1e-30)).clamp(-1, 1))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """The mean structural similarity of maps (N, H, W), each scaled from its least to its largest value; float64 (N,).

    A Gaussian window of 11 × 11 with σ = 1.5, at the places where it lies inside the map wholly; of smaller maps the
    largest odd window that fits. Population variances, K₁ = 0.01, K₂ = 0.03 and a range of 1, as scikit-image's
    ``structural_similarity(gaussian_weights=True, use_sample_covariance=False, data_range=1)``.

    NaN for a map that is constant or not finite.

    Source:
        Wang, Bovik, Sheikh & Simoncelli 2004, IEEE TIP 13(4), equation 13 and section III.C.
    """
    _check(a, b)
    if a.numel() == 0:
        return a.new_zeros(len(a), dtype=torch.float64)
    x, y = (_scaled(maps).unsqueeze(1) for maps in (a, b))
    weights = _window(min(WINDOW, *(side - 1 + side % 2 for side in a.shape[1:]))).to(a.device)

    def local(values: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(values, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))

    mean_x, mean_y = local(x), local(y)
    variance_x, variance_y = local(x * x) - mean_x**2, local(y * y) - mean_y**2
    covariance = local(x * y) - mean_x * mean_y
    c1, c2 = K1**2, K2**2
    above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    below = (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return _where_defined(a, b, (above / below).mean((1, 2, 3)))


def top_k_overlap(a: Tensor, b: Tensor, share: float = TOP) -> Tensor:
    """The share of the k hottest pixels of one map that are among the k hottest of the other; float64 (N,) in [0, 1].

    k is `share` of the pixels, at least one. Where several pixels tie for the last places each holds an equal part of
    them, so that equal maps overlap wholly. Two unrelated maps overlap by about `share`.

    NaN for a map that is constant or not finite.

    Raises:
        InputError: a share outside (0, 1].

    Example:
        >>> a = torch.tensor([[[4.0, 3.0, 2.0, 1.0]]])
        >>> top_k_overlap(a, a.flip(2), 0.5).item(), top_k_overlap(a, a.roll(1, 2), 0.5).item()
        (0.0, 0.5)
    """
    _check(a, b)
    if not 0 < share <= 1:
        raise InputError(f"the share of the hottest pixels must be above 0 and at most 1; found {share!r}.")
    count = max(1, round(share * a[0].numel())) if len(a) else 1
    common = torch.minimum(_membership(a.flatten(1), count), _membership(b.flatten(1), count)).sum(1)
    return _where_defined(a, b, common / count)


def _check(a: Tensor, b: Tensor) -> None:
    if a.ndim != 3 or a.shape != b.shape:
        raise InputError(f"maps to compare must both be (N, H, W); found {tuple(a.shape)} and {tuple(b.shape)}.")


def _where_defined(a: Tensor, b: Tensor, values: Tensor) -> Tensor:
    return values.double().masked_fill(is_constant(a) | is_constant(b), torch.nan)


def _ranks(flat: Tensor) -> Tensor:
    """Ranks from 0 (N, P), float64; equal values share the mean of theirs."""
    ordered, order = flat.sort(dim=1)
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    group = new.cumsum(1) - 1
    size = torch.zeros_like(ordered, dtype=torch.float64).scatter_add_(1, group, torch.ones_like(ordered).double())
    last = size.cumsum(1)
    mean = last - (size + 1) / 2  # of the ranks of a group, which end at last − 1
    return torch.empty_like(size).scatter_(1, order, mean.gather(1, group))


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(1, keepdim=True)


def _scaled(maps: Tensor) -> Tensor:
    """From 0 to 1, float64."""
    values = maps.double()
    low, high = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
    return (values - low) / (high - low).clamp_min(1e-300)


def _window(size: int) -> Tensor:
    places = torch.arange(size, dtype=torch.float64) - size // 2
    weights = torch.exp(-(places**2) / (2 * SIGMA**2))
    return weights / weights.sum()


def _membership(flat: Tensor, count: int) -> Tensor:
    """How much of each pixel (N, P) is among the `count` hottest: 1, 0, or an equal part where several tie."""
    values = flat.double().nan_to_num()
    threshold = values.topk(count, dim=1).values[:, -1:]
    above, tied = values > threshold, values == threshold
    part = (count - above.sum(1, keepdim=True)) / tied.sum(1, keepdim=True)
    return above.double() + tied * part
