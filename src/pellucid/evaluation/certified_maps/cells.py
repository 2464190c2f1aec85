"""A heat map in cells: which of them are in the map's top share, and how far each is from changing sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from pellucid.explainers import EXPLAINERS
from pellucid.types import InputError, device_of

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.models.classifier import AnyClassifier


@dataclass(frozen=True, eq=False)
class CellMap:
    """One method's heat maps of a classifier, each as the means of its cells.

    Attributes:
        classifier: what is explained.
        method: of explanation.
        options: of the method.
        shape: rows and columns of cells, G cells in all.
        count: so many of them are in the top share.
    """

    classifier: AnyClassifier
    method: str
    options: dict[str, Any]
    shape: tuple[int, int]
    count: int

    @property
    def cells(self) -> int:
        """How many cells a map has."""
        return self.shape[0] * self.shape[1]

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """The cells (N, G) of the maps of images (N, C, H, W) in [0, 1] for classes int64 (N,).

        Raises:
            InputError: maps that are not finite.
        """
        explanation = EXPLAINERS[self.method].explainer(self.classifier, images, targets, **self.options)
        cells = self.pooled(explanation.maps.detach().float())
        if not bool(cells.isfinite().all()):
            raise InputError(
                f"{self.method} drew maps with values that are not finite, and no cell of such a map can be certified. "
                "Look at the network's weights and at its normalisation."
            )
        return cells

    def pooled(self, maps: Tensor) -> Tensor:
        """The cells (N, G) of maps (N, h, w): means, over windows that overlap by a row where h is no multiple."""
        return F.adaptive_avg_pool2d(maps[:, None], self.shape).flatten(1)


def cell_map(
    classifier: AnyClassifier, method: str, *, grid: int, top: float, seed: int = 0, rows: int, layer: str | None = None
) -> CellMap:
    """A method's map in at most `grid` × `grid` cells, or as many as the map itself has on a side, if fewer.

    One grey image is explained, to see how large the method's maps are.

    Args:
        classifier: what is explained.
        method: a heat map by name.
        grid: cells on a side.
        top: the share of the cells that counts as the top.
        seed: of a method that leaves something to chance: it draws alike for every image, so that its map is a function
            of the image.
        rows: images at a time.
        layer: that the method explains at, where it has this option.

    Raises:
        InputError: a method that the classifier does not serve; a grid that is finer than the image; a share with no
            cell in it, or all of them.
    """
    height, width = classifier.input_spec.shape[1:]
    if not 2 <= grid <= min(height, width):
        raise InputError(
            f"a grid has from 2 cells on a side to as many as the image has pixels ({min(height, width)}); found "
            f"{grid}."
        )
    entry = EXPLAINERS[method]
    settings = {"seed": seed, "batch_size": rows, "layer": layer}
    options = {name: settings[name] for name in entry.options if settings.get(name) is not None}
    gray = torch.full((1, *classifier.input_spec.shape), 0.5, device=device_of(classifier))
    maps = entry.explainer(classifier, gray, torch.zeros(1, dtype=torch.int64, device=gray.device), **options).maps
    shape = (min(grid, maps.shape[1]), min(grid, maps.shape[2]))
    count = round(top * shape[0] * shape[1])
    if not 0 < count < shape[0] * shape[1]:
        raise InputError(
            f"the top {top:g} of the {shape[0] * shape[1]} cells of a {method} map is {count} of them: take a share "
            "that leaves some cells inside and some outside."
        )
    return CellMap(classifier, method, options, shape, count)


def in_top(cells: Tensor, count: int) -> Tensor:
    """Whether each cell is one of the `count` hottest: bool (N, G).

    A cell must be hotter than the hottest one outside, so of cells that are alike at the limit none is inside, and of
    a map that is the same everywhere no cell at all.

    Args:
        cells: (N, G).
        count: from 1 to G − 1.

    Example:
        >>> in_top(torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 1.0]]), 2).tolist()
        [[True, False, True], [False, False, False]]
    """
    return cells > cells.topk(count + 1, dim=1).values[:, -1:]


def top_margin(cells: Tensor, count: int) -> Tensor:
    """How far (N, G) each cell is above the `count`-th hottest of the others: above 0 exactly where it is in the top.

    Example:
        >>> top_margin(torch.tensor([[3.0, 1.0, 2.0]]), 1).tolist()
        [[1.0, -2.0, -1.0]]
    """
    hottest = cells.topk(count + 1, dim=1).values
    last_inside, first_outside = hottest[:, -2:-1], hottest[:, -1:]
    return cells - torch.where(cells > first_outside, first_outside, last_inside)
