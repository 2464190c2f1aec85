"""LIME's map as a differentiable function of the image, with all that LIME chooses held fixed.

Superpixels, variants and their weights are those of the unchanged image. Then the linear model's weights are a fixed
linear function of the network's answers, and so is the map.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from pellucid.explainers.removal import baseline_of
from pellucid.explainers.superpixels import superpixels
from pellucid.explainers.surrogates import KERNEL_WIDTH, RIDGE, SAMPLES, SEGMENTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from pellucid.types import Classifier

AT_ONCE = 64  # variants whose activations are held at a time; they are computed again on the way back


class FixedSurrogate:
    """LIME around some images; see the file.

    Args:
        classifier: what is explained.
        images: (N, C, H, W) in [0, 1], unchanged.
        options: of `explainers.surrogates.lime`.

    Attributes:
        samples: variants per image.
    """

    def __init__(self, classifier: Classifier, images: Tensor, options: Mapping[str, Any]) -> None:
        self._classifier = classifier
        self.samples = int(options.get("samples", SAMPLES))
        self._filling = baseline_of(images, options.get("baseline", "mean"))
        self._parts = [superpixels(image, options.get("segments", SEGMENTS)) for image in images]
        self._kept, self._weighting = [], []
        for parts in self._parts:
            # the explainer draws the same from the same seed for every image
            generator = torch.Generator().manual_seed(int(options.get("seed", 0)))
            even = torch.full((1, int(parts.max()) + 1), 0.5)
            draws = torch.cat([torch.bernoulli(even, generator=generator) for _ in range(self.samples)])
            self._kept.append(draws.to(images.device))
            weighting = ridge_weighting(draws.double(), options.get("ridge", RIDGE))
            self._weighting.append(weighting.to(images.device, images.dtype))

    def maps(self, points: Tensor, targets: Tensor) -> Tensor:
        """The maps (N, H, W) of these images moved, differentiable."""
        maps = []
        for image, filling, parts, presence, weighting, target in zip(
            points, self._filling, self._parts, self._kept, self._weighting, targets, strict=True
        ):
            with set_checkpoint_early_stop(False):  # which is an exception that TorchScript does not let through
                answers = [
                    checkpoint(self._answer, image, filling, some[:, parts], target, use_reentrant=False)
                    for some in presence.split(AT_ONCE)
                ]
            maps.append((weighting @ torch.cat(answers))[parts])
        return torch.stack(maps)

    def _answer(self, image: Tensor, filling: Tensor, presence: Tensor, target: Tensor) -> Tensor:
        """The logit of a class for variants whose kept pixels are (n, H, W)."""
        mask = presence[:, None]
        return self._classifier(image * mask + filling * (1 - mask))[:, target]


def ridge_weighting(presence: Tensor, penalty: float) -> Tensor:
    """The matrix (M, n) from answers to the weights of superpixels, LIME's ridge regression with an intercept.

    ``(Zᵀ Ω Z + λ I)⁻¹ Zᵀ Ω`` with Z the kept superpixels (n, M) less their weighted mean, and Ω how much each variant
    counts, ``exp(−d² / 2w²)`` with d its cosine distance from the whole image.
    """
    distance = 1 - presence.mean(1).sqrt()
    weights = torch.exp(-(distance**2) / (2 * KERNEL_WIDTH**2))[:, None]
    centred = presence - (weights * presence).sum(0) / weights.sum()
    gram = centred.T @ (weights * centred) + penalty * torch.eye(presence.shape[1], dtype=presence.dtype)
    weighting: Tensor = torch.linalg.pinv(gram, hermitian=True) @ (weights * centred).T
    return weighting
