"""What an attack for the smallest perturbation hands out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pellucid.attacks.epsilon import lengths

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from pellucid.attacks.epsilon import Norm


@dataclass(frozen=True)
class AttackResult:
    """The smallest perturbations found, image by image.

    Attributes:
        images: (N, C, H, W), as given.
        perturbed: (N, C, H, W): where found, an image that meets the criterion; elsewhere the image as given. Never
            a failure handed out as a success.
        found: bool (N,), whether `perturbed` meets the criterion. True also for images that met it from the start.
        met_at_start: bool (N,), the images that met it unperturbed.
        gradient_evaluations: int64 (N,), backward passes through the network spent on each image.
        forward_passes: int64 (N,), forward passes spent on each image, those of the backward passes included.
        first_met: int64 (N,), the gradient evaluation before which the criterion was first met; −1 where it never was.
        method: the algorithm's name.
        norm: in which they are small: `rms` or `linf`.

    Example:
        >>> from torch import nn
        >>> from pellucid.attacks import Misclassified, minimal
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> images, labels = torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 0])
        >>> result = minimal(net, images, Misclassified(labels), method="ddn")
        >>> bool((net(result.perturbed).argmax(1) != labels)[result.found].all())
        True
        >>> bool((result.radius[result.met_at_start] == 0).all()), result.radius[~result.found].isnan().all().item()
        (True, True)
    """

    images: Tensor
    perturbed: Tensor
    found: Tensor
    met_at_start: Tensor
    gradient_evaluations: Tensor
    forward_passes: Tensor
    first_met: Tensor
    method: str
    norm: Norm = "rms"

    @property
    def perturbation(self) -> Tensor:
        """What was added to the images (N, C, H, W); zero where nothing was found."""
        return self.perturbed - self.images

    @property
    def radius(self) -> Tensor:
        """Length of the perturbation in `norm` (N,), float64; 0 where met at the start, NaN where not found."""
        radius = lengths(self.perturbed.double() - self.images.double(), self.norm)
        return radius.masked_fill(~self.found, torch.nan)

    def __len__(self) -> int:
        return len(self.found)

    @property
    def gradient_evaluations_per_image(self) -> float:
        """Mean over the images given, those that cost nothing included."""
        return float(self.gradient_evaluations.double().mean()) if len(self) else 0.0

    @property
    def gradient_evaluations_per_attacked(self) -> float:
        """Mean over the images that did not meet the criterion at the start."""
        attacked = self.gradient_evaluations[~self.met_at_start]
        return float(attacked.double().mean()) if len(attacked) else 0.0


def concatenate(parts: Sequence[AttackResult]) -> AttackResult:
    """The results of consecutive batches as one."""
    tensors = ("images", "perturbed", "found", "met_at_start", "gradient_evaluations", "forward_passes", "first_met")
    return AttackResult(
        **{name: torch.cat([getattr(part, name) for part in parts]) for name in tensors},
        method=parts[0].method,
        norm=parts[0].norm,
    )
