"""Heat maps for the measures of trust: any explainer behind one call, in batches, seeded, its cost counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pellucid.explainers import EXPLAINERS, HEATMAPS, explain
from pellucid.explainers.registry import layer_option
from pellucid.models.inference import in_batches
from pellucid.types import InputError
from pellucid.utils.resources import nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Draw = Callable[[Any, Tensor, Tensor, int], Tensor]  # (classifier, images, targets, seed) → maps (N, H, W)


class Mapper:
    """A method by name, or any function that draws maps; counts what it spends.

    Args:
        name: of the method.
        draw: the function; None for a method by name.
        batch_size: images at a time.
        layer: that a method by name explains at, where it has this option; None for its own choice.

    Attributes:
        name: of the method.
        explained: images explained so far.
        layer: as given.
        gradient_evaluations: backward passes through the network so far, over all images.
        forward_passes: forward passes through the network so far, over all images.

    Raises:
        InputError: a method that is unknown, or gives no heat maps.

    Example:
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b"], task="multiclass")
        >>> saliency = Mapper("saliency")
        >>> maps = saliency(model, torch.rand(3, 1, 32, 32), torch.tensor([0, 1, 0]))
        >>> maps.shape, saliency.gradient_evaluations
        (torch.Size([3, 32, 32]), 3)
    """

    def __init__(self, name: str, draw: Draw | None = None, *, batch_size: int = 16, layer: str | None = None) -> None:
        if draw is None and name not in HEATMAPS:
            raise InputError(f"only heat maps can be judged; found {name!r}. {nearest(name, HEATMAPS)}")
        if batch_size < 1:
            raise InputError(f"a batch holds at least one image; found batch_size={batch_size}.")
        self.name, self.layer = name, layer
        self.explained = self.gradient_evaluations = self.forward_passes = 0
        self._batch_size = batch_size
        self._draw = draw
        self._seeded = draw is None and EXPLAINERS[name].seeded
        self._options = layer_option(name, layer) if draw is None else {}

    def __call__(self, classifier: Any, images: Tensor, targets: Tensor, seed: int = 0) -> Tensor:  # noqa: ANN401
        """Maps (N, H, W) of images (N, C, H, W) in [0, 1] and class indices (N,).

        Raises:
            InputError: what the method refuses; a drawing function whose maps have another shape.
        """
        parts = [self._part(classifier, images[r], targets[r], seed) for r in in_batches(len(images), self._batch_size)]
        self.explained += len(images)
        return torch.cat(parts) if parts else images.new_zeros((0, *images.shape[2:]))

    def _part(self, classifier: Any, images: Tensor, targets: Tensor, seed: int) -> Tensor:  # noqa: ANN401
        if self._draw is None:
            options: dict[str, Any] = self._options | ({"seed": seed} if self._seeded else {})
            explanation = explain(self.name, classifier, images, targets, **options)
            self.gradient_evaluations += explanation.gradient_evaluations * len(images)
            self.forward_passes += explanation.forward_passes * len(images)
            return explanation.maps.detach().float()
        maps = self._draw(classifier, images, targets, seed)
        if maps.shape != (len(images), *images.shape[2:]):
            raise InputError(
                f"{self.name} must give one map per image, {(len(images), *images.shape[2:])}; "
                f"found {tuple(maps.shape)}."
            )
        return maps.detach().float()
