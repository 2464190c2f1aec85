"""The grid pointing game: of four images of different classes put together, does the map find the one it explains?"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from pellucid.evaluation.metrics.heatmap_scores import energy_share
from pellucid.evaluation.metrics.similarity import is_constant
from pellucid.types import InputError

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

CHANCE = 0.25


class Mosaics(NamedTuple):
    """2 × 2 images, one of which shows the class explained.

    Attributes:
        rows: int64 (G, 4), the images at the top left, top right, bottom left and bottom right.
        quarter: int64 (G,), which of the four is the one explained.
        targets: int64 (G,), its class.
    """

    rows: npt.NDArray[np.int64]
    quarter: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]


def compose(
    labels: npt.NDArray[np.integer], predicted: npt.NDArray[np.integer], *, limit: int | None = None, seed: int = 0
) -> Mosaics:
    """One mosaic for each image that is classified rightly, beside three such images of other classes.

    The other three are of different classes where there are four classes. The image's place is drawn.

    Args:
        labels: (N,), the true classes.
        predicted: (N,), the network's.
        limit: at most so many mosaics.
        seed: of the draws.

    Returns:
        Mosaics; none where fewer than two classes are ever classified rightly.

    Raises:
        InputError: shapes that do not fit.

    Source:
        Böhle et al. 2021, arXiv 2104.00032; Rao et al. 2022, arXiv 2205.10435 (GridPG).
    """
    truth, guess = np.asarray(labels), np.asarray(predicted)
    if truth.ndim != 1 or truth.shape != guess.shape:
        raise InputError(f"one class per image is needed, true and predicted; found {truth.shape} and {guess.shape}.")
    rng = np.random.default_rng(seed)
    right = np.flatnonzero(truth == guess)
    of_class = {int(c): right[truth[right] == c] for c in np.unique(truth[right])}
    mosaics, quarters = [], []
    for row in rng.permutation(right)[:limit] if len(of_class) > 1 else ():
        others = [c for c in of_class if c != truth[row]]
        other_classes = rng.permutation(others)[:3].tolist()
        other_classes += rng.choice(others, 3 - len(other_classes)).tolist()
        neighbours = [int(rng.choice(of_class[c])) for c in other_classes]
        quarter = int(rng.integers(4))
        mosaics.append([*neighbours[:quarter], int(row), *neighbours[quarter:]])
        quarters.append(quarter)
    rows, spots = np.array(mosaics, dtype=np.int64).reshape(-1, 4), np.array(quarters, dtype=np.int64)
    return Mosaics(rows, spots, truth[rows[np.arange(len(rows)), spots]].astype(np.int64))


def assemble(images: Tensor, rows: npt.NDArray[np.int64]) -> Tensor:
    """The mosaics (G, C, 2H, 2W) of images (N, C, H, W), each image at its own size."""
    top, bottom = (torch.cat([images[rows[:, a]], images[rows[:, a + 1]]], dim=3) for a in (0, 2))
    return torch.cat([top, bottom], dim=2)


def quarter_share(maps: Tensor, quarter: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The share of a map's positive heat in the right quarter, (G,): 1/4 by chance.

    Args:
        maps: (G, 2H, 2W).
        quarter: (G,), the right quarter.

    Returns:
        0 where the map has no positive heat, NaN where it is the same everywhere otherwise.

    Example:
        >>> maps = torch.tensor([[[0.0, 3.0], [1.0, -5.0]]])
        >>> quarter_share(maps, np.array([1])).tolist()
        [0.75]
    """
    height, width = maps.shape[1] // 2, maps.shape[2] // 2
    inside = np.zeros(maps.shape, dtype=bool)
    for mosaic, spot in enumerate(quarter):
        top, left = divmod(int(spot), 2)
        inside[mosaic, top * height : (top + 1) * height, left * width : (left + 1) * width] = True
    shares = energy_share(maps, inside)
    return np.where(np.isnan(shares), 0.0, np.where(is_constant(maps).cpu().numpy(), np.nan, shares))
