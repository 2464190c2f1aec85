"""The one rule by which heat maps are coloured, in every picture and report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pellucid.explainers.registry import is_fine, is_signed

if TYPE_CHECKING:
    import numpy.typing as npt

WEIGHT, SIGNED_COLOURS = "inferno", "RdBu_r"
OVER = 0.5  # how strongly a coarse map covers the image that it lies over


def placed(heat: npt.NDArray[np.floating], method: str) -> tuple[npt.NDArray[np.float64], str]:
    """A heat map in [0, 1] and the colours to draw it in; 0 of a signed map becomes a half.

    Signed maps are red where they speak for the class, blue where against it, and white at 0; the others go from their
    least to their largest value. The largest value of a fine map is its 99th percentile.

    Example:
        >>> placed(np.array([[-1.0, 0.0, 2.0]]), "lime")
        (array([[0.25, 0.5 , 1.  ]]), 'RdBu_r')
    """
    if not is_signed(method):
        return scaled(heat, fine=is_fine(method)), WEIGHT
    values = np.asarray(heat, dtype=np.float64)
    sizes = np.abs(values)
    reach = float(np.percentile(sizes, 99) if is_fine(method) else sizes.max())
    if not np.isfinite(sizes).all() or reach <= 0:
        return np.full_like(values, 0.5), SIGNED_COLOURS
    return np.clip(0.5 + values / (2 * reach), 0, 1), SIGNED_COLOURS


def strength(values: npt.NDArray[np.float64], method: str) -> npt.NDArray[np.float64]:
    """How much a map, as `placed` gives it, has to say at each pixel, in [0, 1]; a signed map at 0 has nothing.

    Example:
        >>> strength(np.array([0.25, 0.5, 1.0]), "lime"), strength(np.array([0.25, 0.5, 1.0]), "cam")
        (array([0.5, 0. , 1. ]), array([0.25, 0.5 , 1.  ]))
    """
    return 2 * np.abs(values - 0.5) if is_signed(method) else values


def scaled(heat: npt.NDArray[np.floating], *, fine: bool = False) -> npt.NDArray[np.float64]:
    """A heat map in [0, 1]: from its least to its largest value, or up to its 99th percentile where it is fine.

    A map that is the same everywhere, or not finite, becomes 0.

    Example:
        >>> scaled(np.array([[2.0, 4.0]])).tolist(), scaled(np.ones((2, 2))).max()
        ([[0.0, 1.0]], np.float64(0.0))
    """
    values = np.asarray(heat, dtype=np.float64)
    if not np.isfinite(values).all():
        return np.zeros_like(values)
    low = values.min()
    high = np.percentile(values, 99) if fine else values.max()
    if high <= low:
        return np.zeros_like(values)
    shares: npt.NDArray[np.float64] = np.clip((values - low) / (high - low), 0, 1)
    return shares
