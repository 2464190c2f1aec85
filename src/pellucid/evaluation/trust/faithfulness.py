"""Faithfulness: does the answer fall as the hottest places go, and rise as they come?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
import torch.nn.functional as F

from pellucid.evaluation.metrics.similarity import is_constant
from pellucid.models.classifier import frozen
from pellucid.models.inference import check_answers, in_batches
from pellucid.types import InputError
from pellucid.utils.progress import advance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from pellucid.types import Classifier

ACROSS = 16
"""Places along a side. Single pixels would flicker: any network answers to that, and random order looks best."""
STEPS = 16
Scale = Literal["probability", "logit"]


class ScoreCurve(NamedTuple):
    """The target's score as more and more of the image is replaced.

    Attributes:
        share: (N, S + 1), the share of the pixels replaced, from 0 to 1.
        score: (N, S + 1).
    """

    share: Tensor
    score: Tensor

    @property
    def area(self) -> Tensor:
        """The area under each curve by trapezoids, (N,): the mean score along the way."""
        return torch.trapezoid(self.score, self.share, dim=1)


def cell_numbers(height: int, width: int, across: int = ACROSS) -> Tensor:
    """The number of the place that each pixel belongs to, int64 (H, W): at most `across` places along a side.

    Sides that do not divide give places whose sides differ by one pixel.

    Example:
        >>> cell_numbers(2, 5, 2)
        tensor([[0, 0, 0, 1, 1],
                [2, 2, 2, 3, 3]])
    """
    if across < 1:
        raise InputError(f"there is at least one place along a side; found {across}.")
    down, right = min(across, height), min(across, width)
    row, column = torch.arange(height) * down // height, torch.arange(width) * right // width
    return row[:, None] * right + column


def random_ranks(count: int, cells: Tensor, seed: int = 0) -> Tensor:
    """When each pixel is replaced in random order: int64 (count, H, W), the same for the pixels of a place."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(count, int(cells.max()) + 1, generator=generator)
    return noise.argsort(1).argsort(1)[:, cells]


def hottest_first(maps: Tensor, cells: Tensor, seed: int = 0) -> Tensor:
    """When each pixel is replaced: int64 (N, H, W), from 0 for the place with the highest mean heat.

    Places of the same heat come in random order, as a map that tells them apart in no way must not profit from where
    they lie.
    """
    flat, home = maps.double().flatten(1), cells.flatten().to(maps.device)
    count = int(home.max()) + 1
    sizes = torch.bincount(home, minlength=count)
    heat = torch.zeros(len(maps), count, dtype=torch.float64, device=maps.device).index_add_(1, home, flat) / sizes
    shuffled = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).to(maps.device)
    order = shuffled[heat[:, shuffled].argsort(dim=1, descending=True, stable=True)]
    return order.argsort(1)[:, home].view_as(maps)


def replacement_curve(
    classifier: Classifier,
    images: Tensor,
    targets: Tensor,
    ranks: Tensor,
    *,
    start: Tensor,
    end: Tensor,
    steps: int = STEPS,
    scale: Scale = "probability",
    ends: Tensor | None = None,
    batch_size: int = 64,
) -> ScoreCurve:
    """The target's score while `start` becomes `end`, place by place in the order of `ranks`.

    Deletion starts with the image and ends with nothing; insertion starts with nothing and ends with the image
    (Petsiuk et al. 2018, arXiv 1806.07421; pixel flipping, Bach et al. 2015 and Samek et al. 2017, is the former).

    Args:
        classifier: what is judged.
        images: (N, C, H, W), only for their number.
        targets: int64 (N,).
        ranks: int64 (N, H, W), as `hottest_first` gives them.
        start: (N, C, H, W) in [0, 1].
        end: (N, C, H, W) in [0, 1].
        steps: points of the curve, less one; fewer where there are fewer places.
        scale: `probability` (softmax, or sigmoid of a multi-label network) or `logit`.
        ends: (N, 2), the scores of `start` and `end`, which no order changes; taken here where they are not given.
        batch_size: images at a time.

    Raises:
        InputError: no steps, or shapes that do not fit.
    """
    if steps < 1 or ranks.shape != (len(images), *start.shape[2:]) or start.shape != end.shape:
        raise InputError(
            f"ranks (N, H, W), start and end (N, C, H, W) of the same images are needed, and at least one step; found "
            f"{tuple(ranks.shape)}, {tuple(start.shape)}, {tuple(end.shape)} and {steps}."
        )
    places = int(ranks.max()) + 1 if ranks.numel() else 1
    counts = torch.linspace(0, places, min(steps, places) + 1).round().long().to(ranks.device)
    if ends is None:
        ends = torch.stack([target_scores(classifier, part, targets, scale) for part in (start, end)], 1)
    between = len(counts) - 2
    share = torch.zeros(len(images), len(counts), dtype=torch.float64)
    share[:, -1] = 1
    score = share.clone()
    score[:, 0], score[:, -1] = ends.T
    for rows in in_batches(len(images) * between, batch_size):
        at = torch.arange(rows.start, rows.stop, device=ranks.device)
        image, point = at // between, at % between + 1
        gone = ranks[image] < counts[point][:, None, None]
        mixed = torch.where(gone[:, None], end[image], start[image])
        place = (image.cpu(), point.cpu())
        score[place] = target_scores(classifier, mixed, targets[image], scale)
        share[place] = gone.double().mean((1, 2)).cpu()
        advance(rows.stop // between - rows.start // between)
    advance(0 if between else len(images))
    return ScoreCurve(share, score)


def target_scores(classifier: Classifier, images: Tensor, targets: Tensor, scale: Scale = "probability") -> Tensor:
    """The target's probability or logit, float64 (N,), on the CPU; no gradients."""
    with torch.no_grad(), frozen(classifier):
        logits = classifier(images).double()
    check_answers(logits, "nothing can be measured on it")
    if scale == "probability":
        logits = logits.softmax(1) if classifier.task == "multiclass" else logits.sigmoid()
    return logits.gather(1, targets[:, None]).squeeze(1).cpu()


def hottest_first_curve(
    way: str,
    classifier: Classifier,
    images: Tensor,
    targets: Tensor,
    maps: Tensor,
    *,
    across: int = ACROSS,
    steps: int = STEPS,
    ends: Tensor | None = None,
    seed: int = 0,
) -> ScoreCurve:
    """The target's score while places go or come, the hottest first; NaN for a map that is the same everywhere.

    Args:
        way: one of `WAYS`; a faithful map's area is small along `deletion` and large along `insertion`.
        classifier: what is judged.
        images: (N, C, H, W) in [0, 1].
        targets: int64 (N,).
        maps: (N, H, W).
        across: places along a side, at most.
        steps: points of the curve, less one; fewer where there are fewer places.
        ends: (N, 2), the scores with all places there and all gone, in the order of the way; measured by default.
        seed: of the order of places of the same heat.

    Raises:
        InputError: no steps, or shapes that do not fit.
    """
    ranks = hottest_first(maps, cell_numbers(images.shape[2], images.shape[3], across), seed)
    start, end = WAYS[way](images)
    curve = replacement_curve(classifier, images, targets, ranks, start=start, end=end, steps=steps, ends=ends)
    undefined = is_constant(maps).cpu()
    return ScoreCurve(curve.share, curve.score.masked_fill(undefined[:, None], torch.nan))


def mean_curve(name: str, curves: Sequence[ScoreCurve]) -> dict[str, npt.NDArray[np.float64]]:
    """The mean over curves and images, as `name_share` and `name_score`; images without a score are left out."""
    return {
        f"{name}_share": torch.stack([c.share for c in curves]).mean((0, 1)).numpy(),
        f"{name}_score": torch.stack([c.score for c in curves]).flatten(0, 1).nanmean(0).numpy(),
    }


def mean_colour(images: Tensor) -> Tensor:
    """Each image's own mean, channel by channel, as an image of one colour (N, C, H, W)."""
    return images.mean((2, 3), keepdim=True).expand_as(images)


def blurred(images: Tensor) -> Tensor:
    """Images behind frosted glass: a Gaussian of a tenth of the longer side, edges repeated.

    Example:
        >>> blurred(torch.full((1, 1, 3, 5), 0.25)).unique()
        tensor([0.2500])
    """
    height, width = images.shape[2:]
    sigma = max(1.0, 0.1 * max(height, width))
    reach = int(3 * sigma)
    offset = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    weights = torch.exp(-0.5 * (offset / sigma) ** 2)
    kernel = (weights / weights.sum()).expand(images.shape[1], 1, 1, -1)
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    across = F.conv2d(padded, kernel, groups=images.shape[1])
    return F.conv2d(across, kernel.transpose(2, 3), groups=images.shape[1]).clamp(0, 1)


WAYS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    "deletion": lambda images: (images, mean_colour(images)),
    "insertion": lambda images: (blurred(images), images),
}
"""What places are replaced in, and what comes there: an image loses to its own mean colour, or is won from its blur."""
