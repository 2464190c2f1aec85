"""How a classifier decides under attack: its logits on images that PGD moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from pellucid.attacks.pgd import pgd
from pellucid.models.classifier import frozen
from pellucid.models.inference import as_pixels, in_batches
from pellucid.types import device_of
from pellucid.utils.progress import advance

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor, nn

    from pellucid.attacks.epsilon import Epsilon
    from pellucid.attacks.pgd import Loss
    from pellucid.types import Pixels


def task_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The plain loss of a task, summed: cross entropy for int64 (N,), binary cross entropy for float (N, K)."""
    if not targets.is_floating_point():
        return F.cross_entropy(logits, targets, reduction="sum")
    is_known = ~targets.isnan()
    losses = F.binary_cross_entropy_with_logits(logits, targets.nan_to_num(0.0), reduction="none")
    return (losses * is_known).sum()


def logits_under_attack(
    classifier: nn.Module,
    images: Pixels,
    targets: npt.NDArray[np.generic],
    *,
    size: Epsilon,
    loss: Loss = task_loss,
    steps: int = 20,
    seed: int = 0,
    batch_size: int = 64,
) -> npt.NDArray[np.float32]:
    """Logits (N, K) of images perturbed by PGD against their own targets.

    The attack raises the loss from a random start; an upper bound on the accuracy under the worst perturbation of
    that size.

    Args:
        classifier: images → logits.
        images: uint8 or uint16 (N, C, H, W).
        targets: int64 (N,) or float (N, K), NaN where unknown.
        size: the largest perturbation.
        loss: of logits and targets, summed over images; the task's plain one by default.
        steps: gradient steps, each 2.5 · size / steps long.
        seed: of the random starts, drawn batch by batch.
        batch_size: images at a time.
    """
    device = device_of(classifier)
    logits: list[Tensor] = []
    for rows in in_batches(len(images), batch_size):
        pixels = as_pixels(images[rows], device)
        labels = torch.from_numpy(np.ascontiguousarray(targets[rows])).to(device)
        generator = torch.Generator(device).manual_seed(seed + rows.start)
        attacked = pgd(classifier, pixels, labels, loss=loss, size=size, steps=steps, generator=generator)
        with frozen(classifier), torch.no_grad():
            logits.append(classifier(attacked).float())
        advance(rows.stop - rows.start)
    return torch.cat(logits).cpu().numpy()
