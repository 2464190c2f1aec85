"""RISE: how much more probable a class is while a pixel is to be seen, over random masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.explainers.budget import rows_that_fit
from pellucid.explainers.explanation import Explanation, resolve_targets
from pellucid.explainers.removal import baseline_of, finite_logits
from pellucid.models.classifier import frozen
from pellucid.models.inference import in_batches
from pellucid.types import InputError, check_images

if TYPE_CHECKING:
    from pellucid.explainers.explanation import Targets
    from pellucid.explainers.removal import Baseline
    from pellucid.types import Classifier

SAMPLES = 512  # the paper takes 4000 to 8000
CELLS = 7
CHANCE = 0.5


def rise(
    classifier: Classifier,
    images: Tensor,
    targets: Targets,
    *,
    samples: int = SAMPLES,
    cells: int = CELLS,
    chance: float = CHANCE,
    baseline: Baseline = 0.0,
    seed: int = 0,
    batch_size: int | None = None,
) -> Explanation:
    """``S = 1 / (p · n) Σ_i (p_c(x ⊙ M_i) − p̄_c) M_i``, with p_c the class's probability: softmax, or its own sigmoid.

    p̄_c is the mean probability over the masks. The paper's map is this one plus ``p̄_c · 1/(p · n) Σ_i M_i``, which is
    about p̄_c everywhere, and otherwise what chance made of the masks. Without it, 0 means what it means in other maps:
    seeing the pixel makes no difference.

    The same masks serve every image and every class: all classes cost as much as one. No library that is kept well
    has it for torch without numpy loops, hence it is written here.

    Args:
        classifier: any.
        images: (N, C, H, W) in [0, 1].
        targets: class indices (N,), one index for all, or "all".
        samples: masks.
        cells: a mask's cells along each side before it is enlarged.
        chance: p, that a cell is seen.
        baseline: what stands behind a mask: a grey in [0, 1] (black, as in the paper), an image, or `mean` for each
            image's own mean colour.
        seed: of the masks; torch's global generator is neither read nor moved.
        batch_size: masked images at a time; as many as fit in memory by default.

    Returns:
        Maps (N, H, W), signed; (N, K, H, W) for "all".

    Raises:
        InputError: images that are not pixels in [0, 1], targets that are no classes, no sample or cell, a chance that
            is not inside (0, 1), an unknown baseline, logits that are not finite.

    Source:
        Petsiuk, Das & Saenko 2018, "RISE: randomized input sampling for explanation of black-box models", arXiv
        1806.07421, equation 6 and section 3.2 for the masks.

    Example:
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b", "c"], task="multilabel")
        >>> rise(model, torch.rand(1, 1, 64, 64), "all", samples=8).forward_passes
        8
    """
    check_images(images, channels=classifier.input_spec.channels)
    indices = resolve_targets(classifier, images, targets)
    at_once = rows_that_fit(classifier, images, batch_size)
    height, width = images.shape[2:]
    maps = []
    with torch.no_grad(), frozen(classifier):
        originals = images.detach().clone()
        behind = baseline_of(originals, baseline)
        masks = random_masks(height, width, samples, cells=cells, chance=chance, seed=seed).to(originals)
        for index in range(len(originals)):
            image, cover = originals[index], behind[index]
            if torch.equal(image, cover):  # no mask takes anything away
                maps.append(image.new_zeros(len(classifier.classes), height, width))
                continue
            parts = []
            for rows in in_batches(samples, at_once):
                visible = masks[rows].unsqueeze(1)
                logits = finite_logits(classifier(visible * image + (1 - visible) * cover))
                parts.append(logits.softmax(1) if classifier.task == "multiclass" else logits.sigmoid())
            probabilities = torch.cat(parts)
            heat = (probabilities - probabilities.mean(0)).T @ masks.flatten(1) / (chance * samples)  # (K, H·W)
            maps.append(heat.view(-1, height, width))
        every = torch.stack(maps) if maps else originals.new_zeros((0, len(classifier.classes), height, width))
        if indices is not None:
            every = every[torch.arange(len(every), device=every.device), indices]
    return Explanation(every, "heatmap", "rise", indices, gradient_evaluations=0, forward_passes=samples)


def random_masks(
    height: int, width: int, samples: int, *, cells: int = CELLS, chance: float = CHANCE, seed: int = 0
) -> Tensor:
    """Smooth masks (samples, height, width) in [0, 1]: random cells, enlarged bilinearly and cut out at random.

    Every pixel's mean over masks is `chance`. The size need not divide by the cells.

    Raises:
        InputError: no sample or cell, or a chance that is not inside (0, 1).

    Example:
        >>> random_masks(5, 9, 2).shape
        torch.Size([2, 5, 9])
    """
    if samples < 1 or cells < 1:
        raise InputError(f"samples and cells must be at least 1; found {samples} and {cells}.")
    if not 0 < chance < 1:
        raise InputError(f"chance must be inside (0, 1); found {chance!r}.")
    generator = torch.Generator("cpu").manual_seed(seed)  # the CPU's, so that every device sees the same masks
    down, across = -(-height // cells), -(-width // cells)
    grid = (torch.rand((samples, 1, cells + 1, cells + 1), generator=generator) < chance).float()
    top = torch.randint(0, down, (samples,), generator=generator).tolist()
    left = torch.randint(0, across, (samples,), generator=generator).tolist()
    size = ((cells + 1) * down, (cells + 1) * across)
    masks = torch.empty(samples, height, width)
    for index, (y, x) in enumerate(zip(top, left, strict=True)):
        large = F.interpolate(grid[index : index + 1], size=size, mode="bilinear", align_corners=False)
        masks[index] = large[0, 0, y : y + height, x : x + width]
    return masks
