"""Projected gradient ascent on a loss within a norm ball (Madry et al. 2018), the attack of robust training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pellucid.attacks.magnitude import Magnitude, project, random_within, steepest
from pellucid.models.classifier import frozen
from pellucid.types import check_images

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    Loss = Callable[[Tensor, Tensor], Tensor]


def projected_gradient(
    classifier: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    loss: Loss,
    size: Magnitude,
    steps: int = 10,
    step_size: float | None = None,
    random_start: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Images within `size` of `images`, inside [0, 1], on which `loss` is as large as `steps` steps make it.

    Costs `steps` gradient evaluations. The classifier is in eval mode and its parameters are frozen meanwhile;
    mode, buffers and gradients are afterwards as they were. A bounded attack: it promises the size, not that the
    decision changes.

    Args:
        classifier: images (N, C, H, W) → logits (N, K).
        images: float (N, C, H, W) in [0, 1].
        targets: int64 (N,) or float (N, K), as the loss takes them.
        loss: (logits, targets) → scalar, to be maximised. It is summed or averaged over the batch: only the
            direction of each image's gradient matters.
        size: the largest perturbation.
        steps: number of gradient steps, at least 1.
        step_size: length of one step in the norm of `size`; 2.5 · size / steps where not given.
        random_start: start at a random point of the ball instead of the image.
        generator: source of the random start; torch's own where not given.

    Returns:
        The perturbed images (N, C, H, W), detached.

    Raises:
        InputError: for images that do not lie in [0, 1], with the range found.

    Source:
        Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks", section 2.1.
    """
    check_images(images)
    length = 2.5 * size.value / steps if step_size is None else step_size
    start = random_within(images, size.value, size.norm, generator) if random_start else torch.zeros_like(images)
    perturbed = (images + start).clamp(0, 1)
    with frozen(classifier), torch.enable_grad():
        for _ in range(steps):
            perturbed.requires_grad_(True)
            (gradient,) = torch.autograd.grad(loss(classifier(perturbed), targets), perturbed)
            moved = perturbed.detach() + length * steepest(gradient, size.norm)
            perturbed = (images + project(moved - images, size.value, size.norm)).clamp(0, 1)
    return perturbed.detach()
