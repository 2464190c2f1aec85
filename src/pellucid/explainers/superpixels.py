"""Superpixels: an image cut into connected parts of about equal size that follow its edges."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import scipy  # its parts load when they are used
import torch
from torch import Tensor

from pellucid.types import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Labels = NDArray[np.int64]

ROUNDS = 10  # as in the paper: the centres hardly move any more
POINTS_AT_ONCE = 2**16  # pixels whose distances to all centres are held at a time
STEADY = 1e-6  # spread of colours below which an image counts as constant, and is cut by a grid


def superpixels(image: Tensor, segments: int = 50, *, compactness: float = 1.0) -> Tensor:
    """Which part every pixel belongs to, after SLIC (Achanta et al. 2012, IEEE TPAMI 34(11), algorithm 1).

    k-means in colour and place, from centres on a grid. Colours are measured in standard deviations of the image's own,
    so that a grey image of little contrast is cut along its edges too; a constant one is cut into a grid. Unlike the
    paper every centre sees every pixel, and colours are the channels themselves, not Lab. Loose pieces go to the part
    beside them.

    Args:
        image: (C, H, W) in [0, 1].
        segments: about how many parts.
        compactness: weight of place against colour; the larger, the squarer the parts.

    Returns:
        int64 (H, W), parts numbered from 0 without gaps.

    Raises:
        InputError: another shape, fewer than two segments, an image of one pixel, a compactness that is not above 0.

    Example:
        >>> superpixels(torch.zeros(1, 2, 4), 2)
        tensor([[0, 0, 1, 1],
                [0, 0, 1, 1]])
    """
    if image.ndim != 3:
        raise InputError(f"an image must have shape (C, H, W); found {tuple(image.shape)}.")
    channels, height, width = image.shape
    if segments < 2:
        raise InputError(f"segments must be at least 2, or there is nothing to compare; found {segments}.")
    if height * width < 2:
        raise InputError("an image of one pixel has no parts to take away: use saliency or integrated-gradients.")
    if not compactness > 0:
        raise InputError(f"compactness must be above 0; found {compactness!r}.")
    rows, columns = _grid(height, width, min(segments, height * width))
    down, across = torch.meshgrid(
        torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64), indexing="ij"
    )
    row = (down * rows / height).long()
    column = (across * columns / width).long()
    labels = (row * columns + column).flatten()
    colours = image.detach().to("cpu", torch.float64).reshape(channels, -1).T
    spread = float(colours.std(0, correction=0).square().sum().sqrt())
    if spread < STEADY:
        return labels.view(height, width).to(image.device)
    step = math.sqrt(height * width / (rows * columns))
    place = torch.stack([down.flatten(), across.flatten()], 1) * (compactness / step)
    points = torch.cat([colours / spread, place], 1)
    for _ in range(ROUNDS):
        centres = _centres(points, labels)
        labels = torch.cat([torch.cdist(part, centres).argmin(1) for part in torch.split(points, POINTS_AT_ONCE)])
    whole = _connected(labels.view(height, width).numpy())
    return torch.from_numpy(np.unique(whole, return_inverse=True)[1].reshape(height, width)).to(image.device)


def _grid(height: int, width: int, segments: int) -> tuple[int, int]:
    """Rows and columns of about square cells, about as many as asked for and at least two."""
    rows = min(height, max(1, round(math.sqrt(segments * height / width))))
    columns = min(width, max(1, round(segments / rows)))
    if rows * columns < 2:
        return (2, 1) if height >= width else (1, 2)
    return rows, columns


def _centres(points: Tensor, labels: Tensor) -> Tensor:
    """The mean of every part that has points."""
    _, labels, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    sums = points.new_zeros(len(counts), points.shape[1]).index_add_(0, labels, points)
    means: Tensor = sums / counts.unsqueeze(1)
    return means


def _connected(labels: Labels) -> Labels:
    """Keep the largest piece of every part; the others go to the part that is nearest."""
    for _ in range(ROUNDS):  # a piece that was given away may not touch its new part: then it is given away again
        largest = np.full(labels.shape, -1, dtype=np.int64)
        for part, box in enumerate(scipy.ndimage.find_objects(labels + 1)):
            if box is not None:
                pieces, _ = scipy.ndimage.label(labels[box] == part)
                largest[box][pieces == np.bincount(pieces.ravel())[1:].argmax() + 1] = part
        if (largest >= 0).all():
            break
        nearest = scipy.ndimage.distance_transform_edt(largest < 0, return_distances=False, return_indices=True)
        labels = largest[tuple(nearest)]
    return labels
