"""Yardsticks: heat maps that know nothing of the network, or nothing of the image, and what they score all the same."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.evaluation.metrics.bootstrap import Values, as_array
from pellucid.evaluation.metrics.similarity import is_constant
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import numpy.typing as npt


def uniform(count: int, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Maps of ones, (count, H, W); read-only, without memory of its own.

    Example:
        >>> uniform(2, (3, 4)).shape
        (2, 3, 4)
    """
    return np.broadcast_to(np.float32(1), (count, *size))


def centred_gaussian(count: int, size: tuple[int, int], sigma: float = 0.25) -> npt.NDArray[np.float32]:
    """Maps with a Gaussian at the centre, (count, H, W), of a standard deviation of `sigma` of each side.

    The value is 1 at the centre. Read-only, without memory of its own.

    Example:
        >>> bool(centred_gaussian(1, (5, 5))[0, 2, 2] == 1)
        True
    """
    if not sigma > 0:
        raise InputError(f"sigma must be positive, a share of the image's side; found {sigma:g}.")
    down, across = (np.exp(-0.5 * (((np.arange(n) + 0.5) / n - 0.5) / sigma) ** 2) for n in size)
    return np.broadcast_to((down[:, None] * across).astype(np.float32), (count, *size))


def edges(images: Tensor) -> Tensor:
    """The size of Sobel's gradient over all channels, borders repeated: (N, C, H, W) → (N, H, W), not negative.

    Example:
        >>> edges(torch.tensor([[[[0.0, 1.0, 1.0]] * 3]]))[0, 1].tolist()
        [4.0, 4.0, 0.0]
    """
    smooth, slope = images.new_tensor([1.0, 2.0, 1.0]), images.new_tensor([-1.0, 0.0, 1.0])
    padded = F.pad(images.flatten(0, 1).unsqueeze(1), (1, 1, 1, 1), mode="replicate")
    filters = torch.stack([torch.outer(slope, smooth), torch.outer(smooth, slope)]).unsqueeze(1)
    power = F.conv2d(padded, filters).square().sum(1)
    return power.view(images.shape).sum(1).sqrt()


def mean_of_others(maps: Tensor, patients: Sequence[Hashable]) -> Tensor:
    """For each map, the mean of those of the other patients: what a method draws where it does not look at the image.

    Each map counts alike, divided by its mean size; maps that are the same everywhere are left out.

    Args:
        maps: (N, H, W).
        patients: (N,), whose each is.

    Returns:
        float32 (N, H, W); NaN where no other patient has a map that varies.

    Example:
        >>> maps = torch.tensor([[[2.0, 0.0]], [[0.0, 4.0]], [[0.0, 2.0]]])
        >>> mean_of_others(maps, ["ann", "bob", "bob"]).tolist()
        [[[0.0, 2.0]], [[2.0, 0.0]], [[2.0, 0.0]]]
    """
    numbers = {name: number for number, name in enumerate(dict.fromkeys(patients))}
    home = torch.tensor([numbers[name] for name in patients], dtype=torch.int64, device=maps.device)
    counted = ~is_constant(maps)
    flat = maps.float().flatten(1)
    scaled = torch.where(counted[:, None], flat / flat.abs().mean(1, keepdim=True), 0.0)
    own = scaled.new_zeros(len(numbers), flat.shape[1]).index_add_(0, home, scaled)
    counts = scaled.new_zeros(len(numbers)).index_add_(0, home, counted.float())
    others = (counts.sum() - counts)[:, None]
    means = torch.where(others > 0, (own.sum(0) - own) / others, torch.nan)
    return means[home].view(maps.shape)


def same_spectrum(maps: Tensor, seed: int = 0) -> Tensor:
    """Maps (N, H, W) with the spatial spectrum of these and phases of noise: as smooth, and somewhere else; float64.

    The size of every Fourier coefficient is the map's own, and so is the mean.

    Source:
        Theiler et al. 1992, Physica D 58, section 2.4.1 (surrogates by randomised phases), in two dimensions.
    """
    noise = torch.randn(maps.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    spectrum = torch.fft.rfft2(maps.double())
    turned = torch.polar(spectrum.abs(), torch.fft.rfft2(noise.to(maps.device)).angle())
    turned[:, :1, :1] = spectrum[:, :1, :1]
    surrogates: Tensor = torch.fft.irfft2(turned, s=maps.shape[1:])
    return surrogates


def patient_halves(patients: Sequence[Hashable], seed: int = 0) -> npt.NDArray[np.int64]:
    """Which half, 0 or 1, each image's patient falls into; the halves differ by at most one patient.

    Patients are ordered by a hash of `seed` and name, so the halves do not depend on the order of the images.

    Example:
        >>> halves = patient_halves(["ann", "bob", "ann", "eve"])
        >>> bool(halves[0] == halves[2])
        True
    """
    names = sorted(set(patients), key=lambda name: hashlib.sha256(f"{seed}|{name}".encode()).digest())
    half = {name: int(2 * i >= len(names)) for i, name in enumerate(names)}
    return np.array([half[name] for name in patients], dtype=np.int64)


def mean_box_atlas(
    masks: Values, mask_class: npt.NDArray[np.integer], halves: npt.NDArray[np.integer], classes: int
) -> npt.NDArray[np.float32]:
    """The mean region of every class, as drawn from each half of the patients: (2, classes, H, W).

    An image of half h is given ``atlas[h, class]``, which is the mean over the *other* half. NaN where the
    other half has no region of the class.

    Args:
        masks: boolean (M, H, W), the regions of (image, class) pairs.
        mask_class: (M,), the number of each region's class.
        halves: (M,), the half of each region's patient; see `patient_halves`.
        classes: how many classes there are.

    Raises:
        InputError: if the shapes do not fit.
    """
    region = as_array(masks)
    if region.ndim != 3 or np.shape(mask_class) != (len(region),) or np.shape(halves) != (len(region),):
        raise InputError(
            f"masks (M, H, W) need M classes and halves; found {region.shape}, {np.shape(mask_class)} "
            f"and {np.shape(halves)}."
        )
    atlas = np.full((2 * classes, *region.shape[1:]), np.nan, dtype=np.float32)
    cell = (1 - np.asarray(halves)) * classes + np.asarray(mask_class)  # regions of half 0 serve half 1
    order = np.argsort(cell, kind="stable")
    filled, starts, counts = np.unique(cell[order], return_index=True, return_counts=True)
    if filled.size:
        sums = np.add.reduceat(region[order], starts, axis=0, dtype=np.float32)
        atlas[filled] = sums / counts[:, None, None]
    return atlas.reshape(2, classes, *region.shape[1:])


def mean_box(
    masks: Values, mask_class: npt.NDArray[np.integer], patients: Sequence[Hashable], seed: int = 0
) -> npt.NDArray[np.float32]:
    """For each region, the mean of its class's regions over the other half of the patients, (M, H, W).

    NaN where the other half has none. For maps of pairs without a region, use `mean_box_atlas`.

    Example:
        >>> masks = np.array([[[True, False]], [[True, True]]])
        >>> mean_box(masks, np.array([0, 0]), ["ann", "bob"]).tolist()
        [[[1.0, 1.0]], [[1.0, 0.0]]]
    """
    halves, label = patient_halves(patients, seed), np.asarray(mask_class)
    return mean_box_atlas(masks, label, halves, int(label.max(initial=-1)) + 1)[halves, label]
