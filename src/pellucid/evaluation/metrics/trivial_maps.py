"""Yardsticks: heat maps that know nothing of the image, and what they score all the same."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from pellucid.evaluation.metrics.bootstrap import Values, as_array
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
