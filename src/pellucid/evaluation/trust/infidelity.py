"""Infidelity: how badly the heat that a patch takes away foretells what its removal does to the answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from pellucid.evaluation.metrics.similarity import is_constant
from pellucid.evaluation.trust.faithfulness import WAYS, cell_numbers, mean_colour, target_scores
from pellucid.types import InputError
from pellucid.utils.progress import advance

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.types import Classifier

SAMPLES = 32  # squares


class SquareEffects(NamedTuple):
    """What removing squares does to the answer, whatever explains it.

    Attributes:
        removed: boolean (S, H, W), the squares.
        effect: float64 (S, N), how far the target's logit falls.
    """

    removed: Tensor
    effect: Tensor


def random_squares(samples: int, height: int, width: int, *, seed: int = 0) -> Tensor:
    """Boolean (samples, H, W): a square each, from one place to half of the image's side, anywhere inside.

    Of an image of one pixel, that pixel.
    """
    generator = torch.Generator().manual_seed(seed)
    cells = cell_numbers(height, width)
    right = int(cells[0].max()) + 1
    down = (int(cells.max()) + 1) // right
    masks = []
    for _ in range(samples):
        side = int(torch.randint(1, max(1, min(down, right) // 2) + 1, (), generator=generator))
        top = int(torch.randint(down - side + 1, (), generator=generator))
        left = int(torch.randint(right - side + 1, (), generator=generator))
        row, column = cells // right, cells % right
        masks.append((row >= top) & (row < top + side) & (column >= left) & (column < left + side))
    return torch.stack(masks)


def square_effects(
    classifier: Classifier,
    images: Tensor,
    targets: Tensor,
    *,
    masks: Tensor | None = None,
    seed: int = 0,
    batch_size: int = 64,
) -> SquareEffects:
    """How far the target's logit falls when each square takes the image's mean colour; S + 1 forward passes per image.

    Args:
        classifier: what is judged.
        images: (N, C, H, W) in [0, 1].
        targets: int64 (N,).
        masks: boolean (S, H, W), what is removed; `random_squares` by default.
        seed: of those.
        batch_size: images at a time.

    Raises:
        InputError: masks of another shape.
    """
    count, _, height, width = images.shape
    removed = random_squares(SAMPLES, height, width, seed=seed) if masks is None else masks
    if removed.ndim != 3 or removed.shape[1:] != (height, width):
        raise InputError(f"masks (S, {height}, {width}) are needed; found {tuple(removed.shape)}.")
    removed = removed.to(images.device)
    whole = target_scores(classifier, images, targets, "logit")
    colour = mean_colour(images)
    at_once = max(1, batch_size // max(1, count))
    effects = []
    for first in range(0, len(removed), at_once):
        part = removed[first : first + at_once]
        without = torch.where(part[:, None, None], colour, images)  # (s, N, C, H, W)
        scores = target_scores(classifier, without.flatten(0, 1), targets.repeat(len(part)), "logit")
        effects.append(whole - scores.view(len(part), count))
        advance(len(part) * count)
    return SquareEffects(removed, torch.cat(effects))


@dataclass(frozen=True, eq=False)
class SharedAnswers:
    """What a model says of some images with parts of them gone, measured once for all maps that are held against it.

    Attributes:
        model: what is judged.
        images: (N, C, H, W) in [0, 1].
        targets: int64 (N,).
        seed: of the squares.
    """

    model: Any  # a module, or anything that acts like one
    images: Tensor
    targets: Tensor
    seed: int = 0

    @cached_property
    def squares(self) -> SquareEffects:
        """What removing squares does to the answers."""
        return square_effects(self.model, self.images, self.targets, seed=self.seed)

    @cached_property
    def ends(self) -> dict[str, Tensor]:
        """By way of `WAYS`, the target's probability where its curves start and end, float64 (N, 2)."""
        whole = target_scores(self.model, self.images, self.targets)
        return {
            way: torch.stack(
                [
                    whole if part is self.images else target_scores(self.model, part, self.targets)
                    for part in start_and_end(self.images)
                ],
                1,
            )
            for way, start_and_end in WAYS.items()
        }


def infidelity(effects: SquareEffects, maps: Tensor) -> Tensor:
    """``min over β ≥ 0 of Σ_m (β Σ_m Φ − (f(x) − f(x without m)))² / Σ_m (f(x) − f(x without m))²``.

    Yeh et al.'s infidelity for removed squares (filled with the image's mean colour), on logits, with their optimal
    scaling β, because heat has no unit, and as a share of what there is to foretell: 0 for a map whose heat adds up to
    every square's effect, 1 for one that foretells no more than a map of zeros. β may not be negative: a map that
    is wrong everywhere explains nothing. Times the mean square effect it is `captum.metrics.infidelity` with
    `normalize=True` wherever β is positive.

    Args:
        effects: of N images, as `square_effects` gives them.
        maps: (N, H, W).

    Returns:
        float64 (N,) in [0, 1]; NaN where the map is the same everywhere or no removal changes the answer.

    Raises:
        InputError: shapes that do not fit.

    Source:
        Yeh et al. 2019, arXiv 1901.09392, definition 1, section 2.3 (square removal) and appendix (optimal scaling).
    """
    removed, effect = effects
    shape = (effect.shape[1], *removed.shape[1:])
    if maps.shape != shape:
        raise InputError(f"one map per image is needed, {shape}; found {tuple(maps.shape)}.")
    heat = torch.einsum("shw,nhw->sn", removed.double(), maps.double()).cpu()
    common = (heat * effect).sum(0).clamp_min(0)
    power, own = heat.square().sum(0), effect.square().sum(0)
    explained = torch.where(power > 0, common.square() / (power * own), 0.0)
    return (1 - explained).clamp(0, 1).masked_fill(is_constant(maps).cpu() | (own == 0), torch.nan)
