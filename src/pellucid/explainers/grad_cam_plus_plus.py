"""Grad-CAM++: Grad-CAM whose channels count by the positions where more of them raises the class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pellucid.explainers.activation_maps import head_gradients, weighted_activations

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.explainers.explanation import Explanation, Targets
    from pellucid.models.layouts import FeatureLayout
    from pellucid.types import Classifier


def grad_cam_plus_plus(
    classifier: Classifier,
    images: Tensor,
    targets: Targets,
    *,
    layer: str | None = None,
    layout: FeatureLayout | None = None,
    batch_size: int | None = None,
) -> Explanation:
    """``ReLU(Σ_k w_k A_k)`` with ``w_k = Σ_ij α_kij ReLU(g_kij)``, ``α = g² / (2 g² + g³ Σ A_k)``, ``g = ∂f_c/∂A``.

    The paper takes the exponential of the logit as the score, whose higher derivatives then are powers of g; the
    exponential itself scales a whole map and is left out, as in the authors' code. On the last feature map g comes
    from the head alone and is the same at every position: all classes cost one forward pass.

    Args:
        classifier: with `features` and a `head` on their average, with a last feature map that is known by name, as
            that of a transformer, or any torch module where a layer is named.
        images: (N, C, H, W) in [0, 1].
        targets: class indices (N,), one index for all, or "all".
        layer: explain at the output of this layer instead, by its name in the network's `named_modules()`. Then, and
            where there is no head on the average, each class costs a backward pass down to the layer.
        layout: how that layer holds its feature map, where it cannot be told by itself.
        batch_size: images at a time; as many as fit in memory by default.

    Returns:
        Maps (N, h, w), not negative, at the feature map's resolution; (N, K, h, w) for "all".

    Raises:
        InputError: a classifier whose feature map is not known; images that are not pixels in [0, 1]; targets that are
            no classes; an unknown layer, or one that has no feature map.

    Source:
        Chattopadhay et al. 2018, "Grad-CAM++: generalized gradient-based visual explanations", arXiv 1710.11063,
        equations 5 and 19.
    """
    return weighted_activations(
        "grad-cam++", classifier, images, targets, _at_features, _at_layer, layer, layout, batch_size
    )


def _at_features(classifier: Classifier, images: Tensor, targets: Tensor | None) -> Tensor:
    """Maps (N, K, h, w), or (N, 1, h, w) of targets, from the head's gradient, which is the same at every position."""
    feature_map, pooled = head_gradients(classifier, images, targets, "Grad-CAM++")
    positions = feature_map.shape[2] * feature_map.shape[3]
    weights = positions * _counted(pooled / positions, feature_map.sum((2, 3)))
    return torch.einsum("knd,ndhw->nkhw", weights, feature_map).relu_()


def _at_layer(activations: Tensor, gradients: Tensor) -> Tensor:
    """Maps (N, K, h, w) of activations (N, D, h, w) and gradients (N, K, D, h, w)."""
    weights = _counted(gradients, activations.sum((2, 3))[:, None, :, None, None]).sum((3, 4))
    return torch.einsum("nkd,ndhw->nkhw", weights, activations).relu_()


def _counted(gradients: Tensor, amount: Tensor) -> Tensor:
    """``α ReLU(g)`` with ``α = 1 / (2 + g Σ A)``: g² is cancelled, which underflows in a deep network."""
    return (gradients.relu() / (2 + gradients.relu() * amount)).nan_to_num(0, 0, 0)
