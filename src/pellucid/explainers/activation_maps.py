"""Class activation maps: CAM in closed form and Grad-CAM through the head alone, all classes at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pellucid.explainers.budget import in_parts
from pellucid.explainers.explanation import Explanation, resolve_targets
from pellucid.explainers.layers import last_layer, layer_gradients
from pellucid.models.classifier import frozen
from pellucid.types import InputError, check_images

if TYPE_CHECKING:
    from collections.abc import Callable

    from pellucid.explainers.explanation import Targets
    from pellucid.models.layouts import FeatureLayout
    from pellucid.types import Classifier


def class_activation_maps(classifier: Classifier, images: Tensor, targets: Tensor | None = None) -> Tensor:
    """CAM of every class, ``M_c = Σ_k w_ck A_k``, from one forward pass (Zhou et al. 2016, arXiv 1512.04150).

    The mean of a map plus the class's bias is its logit.

    Args:
        classifier: convolution → global average pooling → linear.
        images: (N, C, H, W) in [0, 1].
        targets: int64 (N,), each image's one class; all by default.

    Returns:
        (N, K, h, w), at the resolution of the last feature map; negative where the class is spoken against. (N, 1, h,
        w) of targets.

    Raises:
        InputError: a classifier without a linear head, or images that are not pixels in [0, 1].

    Example:
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b", "c"], task="multilabel")
        >>> class_activation_maps(model, torch.rand(2, 1, 64, 64)).shape
        torch.Size([2, 3, 8, 8])
    """
    head = _head_of(classifier, "a class activation map")
    if not isinstance(head, nn.Linear):
        raise InputError(
            f"a class activation map needs a linear head; this one is {type(head).__name__}. Use grad-cam."
        )
    _check(classifier, images)
    with torch.no_grad(), frozen(classifier):
        feature_map = _features(classifier, images)
        if targets is None:
            return torch.einsum("kd,ndhw->nkhw", head.weight, feature_map)
        return torch.einsum("nd,ndhw->nhw", head.weight[targets], feature_map)[:, None]


def grad_cam_maps(
    classifier: Classifier, images: Tensor, targets: Tensor | None = None, *, relu: bool = True
) -> Tensor:
    """Grad-CAM of every class, ``M_c = ReLU(Σ_k α_ck A_k)`` (Selvaraju et al. 2017, arXiv 1610.02391).

    ``α_ck`` is the mean over positions of ``∂f_c/∂A_k``. On the last feature map these gradients come from
    the head alone, so all classes cost one forward pass and no backward pass through the convolutions. The
    head need not be linear; for a linear one, without the ReLU, this is CAM divided by h·w.

    Args:
        classifier: with `features` and a `head` on their average.
        images: (N, C, H, W) in [0, 1].
        targets: int64 (N,), each image's one class; all by default.
        relu: keep only what speaks for the class.

    Returns:
        (N, K, h, w), at the resolution of the last feature map; (N, 1, h, w) of targets.

    Raises:
        InputError: a classifier whose feature map is not known, or images that are not pixels in [0, 1].

    Example:
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b", "c"], task="multilabel")
        >>> maps = grad_cam_maps(model, torch.rand(2, 1, 64, 64))
        >>> maps.shape, bool((maps >= 0).all())
        (torch.Size([2, 3, 8, 8]), True)
    """
    feature_map, gradients = head_gradients(classifier, images, targets, "Grad-CAM")
    positions = feature_map.shape[2] * feature_map.shape[3]
    maps = torch.einsum("knd,ndhw->nkhw", gradients / positions, feature_map)
    return maps.relu_() if relu else maps


def head_gradients(classifier: Classifier, images: Tensor, targets: Tensor | None, what: str) -> tuple[Tensor, Tensor]:
    """The last feature map (N, D, h, w), and the gradients (K, N, D) of every logit in its means over positions.

    One forward pass; the gradients come from the head alone. (1, N, D) of targets (N,): of a thousand classes the
    others' would take several times as long as the network.

    Raises:
        InputError: as `grad_cam_maps`, in the name of `what`.
    """
    head = _head_of(classifier, what)
    _check(classifier, images)
    with frozen(classifier):
        with torch.no_grad():
            feature_map = _features(classifier, images)
        with torch.enable_grad():
            pooled = feature_map.mean((2, 3)).requires_grad_(True)
            logits = head(pooled)
            if targets is not None:
                (gradient,) = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), pooled)
                return feature_map, gradient[None]
            one_hot = torch.eye(logits.shape[1], dtype=logits.dtype, device=logits.device)
            rows = one_hot.unsqueeze(1).expand(-1, logits.shape[0], -1)  # (K, N, K): one backward pass each
            (gradients,) = torch.autograd.grad(logits, pooled, rows, is_grads_batched=True)
    return feature_map, gradients


def cam(classifier: Classifier, images: Tensor, targets: Targets, *, batch_size: int | None = None) -> Explanation:
    """CAM as an explanation; see `class_activation_maps`."""
    indices = resolve_targets(classifier, images, targets)
    maps = in_parts(
        lambda part, aims: _of(aims, class_activation_maps(classifier, part, aims)),
        classifier,
        images,
        indices,
        batch_size,
    )
    return Explanation(maps, "heatmap", "cam", indices, gradient_evaluations=0, forward_passes=1)


def grad_cam(
    classifier: Classifier,
    images: Tensor,
    targets: Targets,
    *,
    layer: str | None = None,
    layout: FeatureLayout | None = None,
    batch_size: int | None = None,
) -> Explanation:
    """Grad-CAM with its ReLU as an explanation; see `grad_cam_maps`.

    Args:
        classifier: with `features` and a `head` on their average, with a last feature map that is known by name, as
            that of a transformer, or any torch module where a layer is named.
        images: (N, C, H, W) in [0, 1].
        targets: class indices (N,), one index for all, or "all".
        layer: explain at the output of this layer instead, by its name in the network's `named_modules()`. Then, and
            where there is no head on the average, each class costs a backward pass down to the layer.
        layout: how that layer holds its feature map, where it cannot be told by itself.
        batch_size: images at a time; as many as fit in memory by default.

    Raises:
        InputError: as `grad_cam_maps`; an unknown layer, one that has no feature map, or whose layout cannot be told.
    """

    def at_layer(activations: Tensor, gradients: Tensor) -> Tensor:
        return torch.einsum("nkd,ndhw->nkhw", gradients.mean((3, 4)), activations).relu_()

    return weighted_activations(
        "grad-cam", classifier, images, targets, grad_cam_maps, at_layer, layer, layout, batch_size
    )


def weighted_activations(
    name: str,
    classifier: Classifier,
    images: Tensor,
    targets: Targets,
    at_features: Callable[[Classifier, Tensor, Tensor | None], Tensor],
    at_layer: Callable[[Tensor, Tensor], Tensor],
    layer: str | None,
    layout: FeatureLayout | None,
    batch_size: int | None,
) -> Explanation:
    """A method of Grad-CAM's family: at the last feature map through the head alone, or at a layer.

    Args:
        name: of the method.
        classifier: as for `grad_cam`.
        images: (N, C, H, W) in [0, 1].
        targets: class indices (N,), one index for all, or "all".
        at_features: classifier, images and targets → maps (N, K, h, w), or (N, 1, h, w) of targets.
        at_layer: activations (N, D, h, w) and gradients (N, K, D, h, w) → maps (N, K, h, w).
        layer: its name, or None for the last feature map.
        layout: of the layer, where it cannot be told.
        batch_size: images at a time; as many as fit in memory by default.

    Raises:
        InputError: a layout without a layer.
    """
    indices = resolve_targets(classifier, images, targets)
    if layout is not None and layer is None:
        raise InputError("layout= says how the layer that layer= names holds its map: name that layer as well.")
    if layer is None and not has_head(classifier):
        layer = last_layer(classifier)

    def maps_of(part: Tensor, aims: Tensor | None) -> Tensor:
        if layer is None:
            return _of(aims, at_features(classifier, part, aims))
        return _of(aims, at_layer(*layer_gradients(classifier, part, aims, layer, layout)))

    maps = in_parts(maps_of, classifier, images, indices, batch_size)
    cost = 0 if layer is None else len(classifier.classes) if indices is None else 1
    return Explanation(maps, "heatmap", name, indices, gradient_evaluations=cost, forward_passes=1)


def _of(targets: Tensor | None, maps: Tensor) -> Tensor:
    """Maps (N, K, h, w) of all classes, or (N, h, w) of targets, of which each image has one."""
    return maps if targets is None else maps[:, 0]


def has_head(classifier: Classifier) -> bool:
    """Whether the rest of a classifier after its feature map is known: what CAM needs, and makes Grad-CAM cheap."""
    return isinstance(getattr(classifier, "head", None), nn.Module) and hasattr(classifier, "features")


def _head_of(classifier: Classifier, what: str) -> nn.Module:
    head = getattr(classifier, "head", None)
    if isinstance(head, nn.Module) and hasattr(classifier, "features"):
        return head
    if last_layer(classifier) is not None:
        raise InputError(
            f"{what} needs a network that ends in pooling and one linear layer, and more follows this one's last "
            "feature map: use grad-cam."
        )
    check_parts(what, classifier)
    raise InputError(
        f"{what} needs the feature map that the network pools and the head behind it, which this "
        "classifier does not name: give wrap() features= and head=, name a layer for grad-cam (--layer, in "
        "Python layer=), or use saliency, which needs none."
    )


def check_parts(what: str, classifier: Classifier) -> None:
    """Refuse a network of another source that is one piece without layers, as those of TorchScript are.

    Raises:
        InputError: with methods that need no layer.
    """
    module = getattr(classifier, "module", None)
    if getattr(classifier, "source", None) is None or not isinstance(module, nn.Module) or any(module.children()):
        return
    raise InputError(
        f"{what} needs a layer's feature map, and a network of TorchScript or of onnxruntime runs as one piece whose "
        "layers cannot be watched: use rise or lime, which look at outputs alone, or saliency, which needs gradients; "
        "or bring the network as Python code or as ONNX with operators that Pellucid knows."
    )


def _features(classifier: Classifier, images: Tensor) -> Tensor:
    feature_map: Tensor = classifier.features(images)  # type: ignore[attr-defined]  # _head_of has looked
    return feature_map


def _check(classifier: Classifier, images: Tensor) -> None:
    check_images(images, channels=classifier.input_spec.channels)
