"""The cells of a smoothed heat map attacked: the shortest perturbations found after which a cell has changed sides."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn

from pellucid.attacks import minimal
from pellucid.attacks.criteria import label_flipped
from pellucid.evaluation.certified_maps.cells import top_margin
from pellucid.evaluation.certified_maps.certificate import top_votes
from pellucid.evaluation.manipulation.attack import manipulate
from pellucid.evaluation.manipulation.gradient_maps import gradient_map
from pellucid.evaluation.manipulation.settings import Attack
from pellucid.evaluation.robustness.certified import BLOCK, lower_bounds, seed_of
from pellucid.explainers.registry import layer_option

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from pellucid.evaluation.certified_maps.cells import CellMap
    from pellucid.evaluation.certified_maps.certificate import CellCertificates, MapSmoothing

RULES = 2
"""Counted up whenever cells are attacked otherwise, so that what was kept before is not read as this."""
FACTORS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.6, 2.0)
"""Lengths along what was found."""
CONFIRMATIONS = 3
"""So many of them are tried in turn until one is confirmed, beginning with the shortest that scouts call for."""
BUDGETS = (2.0, 8.0)
"""Of the attack on explanations: L2, in standard deviations of the noise."""
SCOUTS = 100  # draws that choose a length, and prove nothing
CALL = 0.6  # of the scouts: then enough of the draws that confirm are likely to agree
DRAWS = 1000  # that confirm a candidate aimed at a cell
DRAWS_BY_CHANCE = 200  # that vote on one aimed at the whole map
BEYOND = 0.5
"""How far beyond the limit a perturbation is sought, in standard deviations of the cell's margin: there some two thirds
of the draws have the cell on the other side, so that it is there on other draws too."""


class SmoothedCells(nn.Module):
    """The margins of a smoothed map's cells as the logits of a multi-label classifier, which any attack can follow.

    The logit of a cell is its mean margin over fixed draws (above 0 in the top share), and further from 0 by `BEYOND`
    standard deviations of it, on the side where the certificate has the cell: it changes its sign where most draws
    have the cell on the other side.

    Attributes:
        cost: gradient evaluations of the network, for each draw, of a map and its gradient.
    """

    def __init__(
        self, cell_map: CellMap, image: Tensor, target: int, inside: Tensor, smoothing: MapSmoothing, seed: int
    ) -> None:
        """Smooth the map around an image (C, H, W), whose cells are inside the top share or not (G,)."""
        super().__init__()
        network: Any = cell_map.classifier
        self.classifier = network
        self.task, self.input_spec = "multilabel", network.input_spec
        self.classes = tuple(f"cell {number}" for number in range(cell_map.cells))
        self._cell_map, self._target = cell_map, target
        self._away = BEYOND * torch.where(inside, 1.0, -1.0).to(image)
        options = layer_option(cell_map.method, cell_map.options.get("layer"))
        differentiable = gradient_map(cell_map.method, network, image[None], options)
        self.cost, self._maps = differentiable.cost, differentiable.maps
        generator = torch.Generator(image.device).manual_seed(seed)
        shape = (smoothing.attack_draws // 2, *image.shape)
        half = smoothing.sigma * torch.randn(shape, generator=generator, device=image.device, dtype=image.dtype)
        self._noise = torch.cat([half, -half])  # what is linear in the noise cancels out: fewer draws tell the mean
        spread = cell_map(image[None], torch.tensor([target], device=image.device)).std()
        self._unit = spread if spread > 0 else torch.ones_like(spread)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to the logits (N, G) of their cells."""
        with torch.enable_grad():  # some maps are gradients themselves
            points = images if images.requires_grad else images.detach().requires_grad_(True)
            noisy = (points[:, None] + self._noise).clamp(0, 1).flatten(0, 1)
            targets = torch.full((len(noisy),), self._target, device=images.device)
            cells = self._cell_map.pooled(self._maps(noisy, targets).to(images.dtype)) / self._unit
            margins = top_margin(cells, self._cell_map.count).view(len(images), len(self._noise), -1)
            logits = margins.mean(1) + self._away * margins.std(1)
        return logits if torch.is_grad_enabled() else logits.detach()


class CellsAttacked(NamedTuple):
    """What attacks on the cells of one image's map came to.

    Attributes:
        attacked: bool (G,), which cells an attack aimed at; the others may have changed sides on the way.
        length: float64 (G,), the shortest L2 length at which a cell is certain to be on the other side; infinite where
            none was found.
        candidates: how many perturbed images were voted on.
        gradient_evaluations: of the network.
        maps: that were drawn.
    """

    attacked: npt.NDArray[np.bool_]
    length: npt.NDArray[np.float64]
    candidates: int
    gradient_evaluations: int
    maps: int


def attack_cells(
    cell_map: CellMap,
    image: Tensor,
    target: int,
    certificates: CellCertificates,
    smoothing: MapSmoothing,
    *,
    name: str,
) -> CellsAttacked:
    """The shortest perturbation found, cell by cell, with which the smoothed map has the cell on the other side.

    `tight` follows each attacked cell's mean margin over fixed draws (`SmoothedCells`) to the shortest perturbation
    beyond its limit; along it a few other draws choose the shortest length at which most of them have the cell on the
    other side, which is the candidate. The attack on explanations (`manipulate`) gives candidates of its own. Fresh
    draws then vote on each, on every cell at once, so a candidate also counts for cells that it did not aim at. All
    verdicts on an image are right together with probability 1 − alpha: half of alpha is shared by the attacked cells'
    own verdicts, half by those on the way.

    Args:
        cell_map: what explains, by a method with a differentiable form.
        image: (C, H, W) in [0, 1].
        target: the class explained.
        certificates: of the image.
        smoothing: noise, draws, confidence, and how much is spent.
        name: of the image, which its draws belong to.

    Raises:
        InputError: a method without a differentiable form.

    Source:
        Salman et al. 2019 for attacking a mean over draws; Cohen et al. 2019 for the vote.
    """
    return _Search(cell_map, image, target, certificates, smoothing, name).run()


class _Search:
    def __init__(
        self,
        cell_map: CellMap,
        image: Tensor,
        target: int,
        certificates: CellCertificates,
        smoothing: MapSmoothing,
        name: str,
    ) -> None:
        self.cell_map, self.image, self.target, self.smoothing = cell_map, image, target, smoothing
        self.certificates, self.name = certificates, name
        self.length = np.full(cell_map.cells, math.inf)
        self.candidates = self.gradient_evaluations = self.maps = 0
        certified = np.flatnonzero(certificates.radius > 0)
        generator = np.random.default_rng(self._seed("cells"))
        count = min(smoothing.attack_cells, len(certified))
        self.aims = np.sort(generator.choice(certified, count, replace=False))
        looks = CONFIRMATIONS * count + len(BUDGETS)
        self.alpha_aimed = smoothing.alpha / 2 / max(1, CONFIRMATIONS * count)
        self.alpha_on_the_way = smoothing.alpha / 2 / (looks * cell_map.cells)

    def run(self) -> CellsAttacked:
        if len(self.aims):
            for attempt, points in enumerate(self._manipulated()):
                self._vote(points[None], np.full(1, -1), DRAWS_BY_CHANCE, f"manipulated {attempt}")
            directions = self._closest()
            pending = np.flatnonzero(directions.flatten(1).any(1).cpu().numpy())
            numbers = self._scouted(directions, pending)
            for attempt in range(CONFIRMATIONS):
                if len(pending) == 0:
                    break
                points = self._along(directions, pending, numbers)
                confirmed = self._vote(points, self.aims[pending], DRAWS, f"try {attempt}")
                pending, numbers = pending[~confirmed], np.minimum(numbers[~confirmed] + 1, len(FACTORS) - 1)
        attacked = np.zeros(self.cell_map.cells, dtype=bool)
        attacked[self.aims] = True
        return CellsAttacked(attacked, self.length, self.candidates, self.gradient_evaluations, self.maps)

    def _seed(self, *uses: object) -> int:
        return seed_of(self.smoothing.seed, self.name, self.cell_map.method, "attack", *uses)

    def _along(self, directions: Tensor, pending: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64]) -> Tensor:
        """Points (P, C, H, W) along some of the directions, at the lengths of these numbers in `FACTORS`."""
        factors = torch.tensor(FACTORS, dtype=directions.dtype, device=directions.device)[torch.from_numpy(numbers)]
        return (self.image + factors.view(-1, 1, 1, 1) * directions[pending]).clamp(0, 1)

    def _scouted(self, directions: Tensor, pending: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The number in `FACTORS` of the shortest length (P,) that scouts call for, by bisection; the last if none."""
        low, high = np.zeros(len(pending), dtype=np.int64), np.full(len(pending), len(FACTORS) - 1)
        for _ in range(math.ceil(math.log2(len(FACTORS)))):
            middle = (low + high) // 2
            inside = self._inside(self._along(directions, pending, middle), SCOUTS, "scouts")
            own = inside[np.arange(len(pending)), self.aims[pending]]
            other = np.where(self.certificates.inside[self.aims[pending]], SCOUTS - own, own)
            is_called = other >= CALL * SCOUTS
            low, high = np.where(is_called, low, middle + 1), np.where(is_called, middle, high)
            low = np.minimum(low, high)
        return high

    def _inside(self, points: Tensor, draws: int, use: str) -> npt.NDArray[np.int64]:
        """How many draws have each cell in the top share, at each of some points: (P, G)."""
        seed = self._seed("votes", use)
        self.maps += len(points) * draws
        votes = top_votes(self.cell_map, points, self.target, self.smoothing.sigma, draws, seed)
        return np.asarray(votes.numpy())

    def _vote(self, points: Tensor, aims: npt.NDArray[np.int64], draws: int, use: str) -> npt.NDArray[np.bool_]:
        """Have fresh draws vote on candidates (P, C, H, W); whether the cell that each aims at changed sides."""
        length = (points.double() - self.image.double()).flatten(1).norm(dim=1).cpu().numpy()
        inside = self._inside(points, draws, use)
        other = np.where(self.certificates.inside, draws - inside, inside)
        aimed = np.arange(self.cell_map.cells) == aims[:, None]
        changed = np.where(
            aimed,
            lower_bounds(other, draws, self.alpha_aimed) > 0.5,
            lower_bounds(other, draws, self.alpha_on_the_way) > 0.5,
        )
        changed &= (self.certificates.radius > 0) & (length > 0)[:, None]
        self.length = np.minimum(self.length, np.where(changed, length[:, None], math.inf).min(0))
        self.candidates += len(points)
        confirmed: npt.NDArray[np.bool_] = (changed & aimed).any(1)
        return confirmed

    def _closest(self) -> Tensor:
        """For each attacked cell the shortest perturbation (A, C, H, W) found beyond the limit; 0 where none is."""
        draws = self.smoothing.attack_draws
        device, inside = self.image.device, torch.from_numpy(self.certificates.inside)
        smoothed = SmoothedCells(self.cell_map, self.image, self.target, inside, self.smoothing, self._seed("draws"))
        aims = torch.from_numpy(self.aims).to(device)
        result = minimal(
            smoothed,
            self.image.expand(len(aims), -1, -1, -1).contiguous(),
            label_flipped(aims, inside.to(device)[aims], [0.5] * self.cell_map.cells),
            batch_size=max(1, int(self.cell_map.options.get("batch_size", BLOCK)) // draws),
        )
        self.gradient_evaluations += draws * smoothed.cost * int(result.gradient_evaluations.sum())
        return result.perturbation

    def _manipulated(self) -> Tensor:
        """What the attack on explanations makes of the image within a few lengths (B, C, H, W)."""
        unit = self.smoothing.sigma / math.sqrt(self.image.numel())
        budgets = tuple(budget * unit for budget in BUDGETS if budget * unit <= 1)
        steps, seed = self.smoothing.attack_steps, self._seed("maps") % 2**31
        options = layer_option(self.cell_map.method, self.cell_map.options.get("layer"))
        attack = Attack(self.cell_map.method, "same-decision", budgets, steps=steps, seed=seed, options=options)
        result = manipulate(self.cell_map.classifier, self.image[None], attack, targets=self.target)
        self.gradient_evaluations += int(result.gradient_evaluations[-1].sum())
        return result.perturbed[:, 0]
