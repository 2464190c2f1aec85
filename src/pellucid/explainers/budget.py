"""How many images go through a network at a time, so that no explanation runs out of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pellucid.attacks.engine import images_that_fit
from pellucid.models.classifier import frozen
from pellucid.models.inference import in_batches
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pellucid.types import Classifier

NOT_A_MODULE = 32  # images at a time of a classifier whose memory cannot be measured
WORTH_MEASURING = 4  # fewer images than these go at once: measuring costs a pass of its own


def rows_that_fit(classifier: Classifier, images: Tensor, batch_size: int | None) -> int:
    """What the caller asked for, or as many images as one gradient evaluation can hold in the memory budget.

    The budget is the attacks' (`attacks.engine.images_that_fit`): 1 GiB on a CPU, 60 % of what is free on a GPU.

    Raises:
        InputError: a batch size below 1.
    """
    if batch_size is not None:
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1; found {batch_size}.")
        return batch_size
    if not isinstance(classifier, nn.Module) or len(images) == 0:
        return NOT_A_MODULE
    with frozen(classifier):
        return images_that_fit(classifier, images[:1].detach().clone())


def in_parts(
    work: Callable[[Tensor, Tensor | None], Tensor],
    classifier: Classifier,
    images: Tensor,
    targets: Tensor | None,
    batch_size: int | None,
) -> Tensor:
    """Maps of a whole batch, made in parts that fit in memory.

    Args:
        work: images (n, C, H, W) and their targets (n,), or None for all classes, to maps.
        classifier: what is explained.
        images: (N, C, H, W).
        targets: (N,), or None for all classes.
        batch_size: images at a time; as many as fit by default.
    """
    if len(images) == 0:  # transformers take no empty batch; what cannot be explained is refused here as well
        gray = images.new_full((1, *images.shape[1:]), 0.5)
        return work(gray, None if targets is None else targets.new_zeros(1))[:0]
    if batch_size is None and len(images) < WORTH_MEASURING:
        return work(images, targets)
    parts = [
        work(images[rows], None if targets is None else targets[rows])
        for rows in in_batches(len(images), rows_that_fit(classifier, images, batch_size))
    ]
    return torch.cat(parts)
