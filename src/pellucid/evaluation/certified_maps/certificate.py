"""Cells of a heat map under noise: how often each is in the top share, and how far around an image that must hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy  # its parts load when they are used
import torch

from pellucid.evaluation.certified_maps.cells import in_top
from pellucid.evaluation.robustness.certified import BLOCK, lower_bounds
from pellucid.models.inference import in_batches
from pellucid.models.smoothing import check_sigma
from pellucid.types import InputError

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from pellucid.evaluation.certified_maps.cells import CellMap


@dataclass(frozen=True)
class MapSmoothing:
    """The noise, how much of it is drawn, and what is asked of each cell.

    Attributes:
        sigma: standard deviation of the noise, on pixels in [0, 1].
        grid: cells on a side of the map, at most.
        top: the share of the cells that counts as the top.
        selection: draws that choose the label of each cell.
        samples: other draws, which estimate how often it has that label.
        alpha: all certificates of an image's map hold at once but with this probability; so do all confirmed attacks.
        attack_cells: cells of each map that are attacked, drawn from those certified; 0 for no attack.
        attack_steps: gradient steps of the attack on the whole map, for each length.
        attack_draws: draws that the attack sees, an even number: each with its negative.
        seed: of all draws.

    Raises:
        InputError: numbers that cannot be used.
    """

    sigma: float
    grid: int = 12
    top: float = 0.2
    selection: int = 100
    samples: int = 500
    alpha: float = 0.001
    attack_cells: int = 8
    attack_steps: int = 20
    attack_draws: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        check_sigma(self.sigma)
        for name in ("alpha", "top"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"{name} must lie between 0 and 1, both excluded; found {getattr(self, name)!r}.")
        least = {"selection": 1, "samples": 1, "attack_cells": 0, "attack_steps": 2, "attack_draws": 2}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise InputError(f"{name} must be at least {smallest}; found {getattr(self, name)}.")
        if self.attack_draws % 2:
            raise InputError(f"attack_draws come in pairs, an even number; found {self.attack_draws}.")

    def check_samples(self, cells: int) -> None:
        """Refuse so few draws that no cell of a map could be certified.

        Raises:
            InputError: with how many are needed.
        """
        fewest = math.floor(math.log(self.alpha / cells) / math.log(0.5)) + 1
        if self.samples < fewest:
            raise InputError(
                f"{self.samples} samples certify none of {cells} cells together at alpha {self.alpha:g}, even if all "
                f"agree: at least {fewest} are needed, and 500 or more for radii of any use."
            )

    def largest_radius(self, cells: int) -> float:
        """The radius of a cell on which all draws agree: more of them would be needed to certify more."""
        return self.sigma * float(scipy.special.ndtri((self.alpha / cells) ** (1 / self.samples)))

    def to_json(self) -> dict[str, Any]:
        """Everything that determines the results, as plain values."""
        return {
            "sigma": self.sigma,
            "grid": self.grid,
            "top": self.top,
            "selection_samples": self.selection,
            "samples": self.samples,
            "alpha": self.alpha,
            "confidence": 1 - self.alpha,
            "attack_cells": self.attack_cells,
            "attack_steps": self.attack_steps,
            "attack_draws": self.attack_draws,
            "seed": self.seed,
        }


@dataclass(frozen=True, eq=False)
class CellCertificates:
    """The smoothed map of one image.

    Attributes:
        inside: bool (G,), whether most selection draws have the cell in the top share.
        bound: float64 (G,), lower confidence bound of the probability that a draw has it on that side.
        radius: float64 (G,), the Euclidean length that no perturbation may reach without the cell keeping its side;
            0 where nothing is certified.
    """

    inside: npt.NDArray[np.bool_]
    bound: npt.NDArray[np.float64]
    radius: npt.NDArray[np.float64]


def top_votes(cell_map: CellMap, points: Tensor, target: int, sigma: float, draws: int, seed: int) -> Tensor:
    """How many noisy copies of each image have each cell in the top share.

    The copies are clipped to [0, 1] before they are explained: clipping is a part of what is smoothed, so the
    certificate is of it too, and every method gets the pixels that it takes. All images get the same draws.

    Args:
        cell_map: what explains.
        points: (P, C, H, W) in [0, 1].
        target: the class explained, whatever the network decides about a copy.
        sigma: standard deviation of the noise.
        draws: how many copies of each.
        seed: of the draws.

    Returns:
        int64 (P, G), on the CPU.
    """
    rows = int(cell_map.options.get("batch_size", BLOCK))
    generator = torch.Generator(points.device).manual_seed(seed)
    total = torch.zeros((len(points), cell_map.cells), dtype=torch.int64, device=points.device)
    for block in in_batches(draws, BLOCK):
        noise = torch.randn((BLOCK, *points.shape[1:]), generator=generator, device=points.device, dtype=points.dtype)
        copies = block.stop - block.start
        for part in in_batches(len(points) * copies, rows):
            place = torch.arange(part.start, part.stop, device=points.device)
            noisy = (points[place // copies] + sigma * noise[place % copies]).clamp_(0, 1)
            cells = cell_map(noisy, torch.full_like(place, target))
            total.index_add_(0, place // copies, in_top(cells, cell_map.count).long())
    return total.cpu()


def certified_cells(
    selection: npt.NDArray[np.int64], estimation: npt.NDArray[np.int64], smoothing: MapSmoothing
) -> CellCertificates:
    """The side that the selection's votes give each cell, certified with the estimation's.

    What is certified is the side of the *smoothed* map, the one that most noisy copies give the cell. It is no
    statement about the map of the image without noise, nor about how hot the cell is. All cells hold at once with a
    probability of 1 − alpha (Bonferroni: each at ``alpha / G``); a cell whose bound is no majority abstains.

    Args:
        selection: (G,), of `smoothing.selection` draws, how many have the cell in the top share.
        estimation: (G,), the same of `smoothing.samples` other draws.
        smoothing: noise, draws and confidence.

    Source:
        Cohen, Rosenfeld & Kolter 2019, CERTIFY, for each cell; Anani, Lorenz, Fritz & Schiele 2025 (ICML), who certify
        the pixels of an attribution as those of a segmentation.

    Example:
        >>> found = certified_cells(np.array([100, 0, 60]), np.array([500, 0, 280]), MapSmoothing(0.1))
        >>> found.inside.tolist(), found.radius.round(4).tolist()
        ([True, False, True], [0.2147, 0.2147, 0.0])
    """
    inside = 2 * selection > smoothing.selection
    votes = np.where(inside, estimation, smoothing.samples - estimation)
    bound = lower_bounds(votes, smoothing.samples, smoothing.alpha / len(votes))
    radius = np.where(bound > 0.5, smoothing.sigma * scipy.special.ndtri(np.maximum(bound, 0.5)), 0.0)
    return CellCertificates(inside, bound, radius)
