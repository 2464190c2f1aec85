"""A layer of a classifier: what it puts out as a feature map, and how every class's logit answers to that."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pellucid.models.classifier import WrappedClassifier, frozen
from pellucid.models.find_layout import find_layout
from pellucid.models.layouts import FeatureLayout, leaf_at
from pellucid.types import InputError, check_images
from pellucid.utils.resources import nearest

if TYPE_CHECKING:
    from pellucid.types import Classifier

MOST_NAMED = 12  # layers in an error message; the networks have hundreds

_FOUND: WeakKeyDictionary[nn.Module, FeatureLayout] = WeakKeyDictionary()
"""Layouts that were found, by layer: finding one costs as much as twenty images, and does not depend on weights."""


def layer_named(classifier: Classifier, layer: str) -> nn.Module:
    """The part of a network of that name, as its `named_modules` calls it; of a wrapped module, that module's own.

    Raises:
        InputError: no such layer, with the nearest names and those where the last feature maps are; a classifier that
            is no torch module.

    Example:
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b"], task="multilabel")
        >>> layer_named(model, "backbone.acts")
        Traceback (most recent call last):
        ...
        pellucid.types.InputError: unknown layer 'backbone.acts'. Did you mean 'backbone.act'? Layers are called as \
in dict(module.named_modules()).
    """
    if not isinstance(classifier, nn.Module):
        raise InputError(f"only a torch module has layers to name; this classifier is {type(classifier).__name__}.")
    network: nn.Module = classifier
    module = network.module if isinstance(network, WrappedClassifier) else network
    layers: dict[str, nn.Module] = {name: part for name, part in module.named_modules() if name}
    if layer in layers:
        return layers[layer]
    hint = nearest(layer, layers)
    if len(layers) > MOST_NAMED:  # the list alone would fill a screen
        hint = hint.split("There are:")[0] + "Layers are called as in dict(module.named_modules())."
        last = last_layer(classifier)
        if last is not None:
            hint += f" The last feature map is put out by {last!r}."
    raise InputError(f"unknown layer {layer!r}. {hint}")


def last_layer(classifier: Classifier) -> str | None:
    """The layer that puts out a wrapped module's last feature map, where that is known by name."""
    return classifier.feature_layer if isinstance(classifier, WrappedClassifier) else None


def layout_of(classifier: Classifier, layer: str) -> FeatureLayout:
    """How a layer holds its feature map, found once; see `models.find_layout`.

    Raises:
        InputError: an unknown layer; one that holds no feature map, or whose layout cannot be told.
    """
    part = layer_named(classifier, layer)
    if isinstance(classifier, WrappedClassifier) and classifier.last_map and classifier.last_map.layer == layer:
        return classifier.last_map.layout
    if part not in _FOUND:
        assert isinstance(classifier, nn.Module)  # layer_named has looked
        _FOUND[part] = find_layout(classifier, part, layer)
    return _FOUND[part]


def layer_gradients(
    classifier: Classifier, images: Tensor, targets: Tensor | None, layer: str, layout: FeatureLayout | None = None
) -> tuple[Tensor, Tensor]:
    """A layer's feature map and the gradients of logits with respect to it.

    One forward pass, and a backward pass down to the layer for each class that is asked for.

    Args:
        classifier: a torch module.
        images: (N, C, H, W) in [0, 1].
        targets: (N,), or None for all classes.
        layer: its name.
        layout: how it holds its map; found by default.

    Returns:
        The map (N, D, h, w), and gradients (N, 1, D, h, w); (N, K, D, h, w) of all classes.

    Raises:
        InputError: an unknown layer; one that holds no map, whose layout cannot be told, or that does not run exactly
            once in a forward pass; images that are not pixels in [0, 1].
    """
    check_images(images, channels=classifier.input_spec.channels)
    part = layer_named(classifier, layer)
    layout = layout or layout_of(classifier, layer)
    size = (images.shape[2], images.shape[3])
    with frozen(classifier), torch.enable_grad(), leaf_at(part) as leaves:
        logits = classifier(images.detach().clone())
        if len(leaves) != 1:
            raise InputError(f"layer {layer!r} must run once in a forward pass; it ran {len(leaves)} times.")
        if targets is not None:
            scores = [logits.gather(1, targets.unsqueeze(1)).sum()]
        else:
            scores = [logits[:, c].sum() for c in range(logits.shape[1])]
        gradients = []
        for i, score in enumerate(scores):
            gradient = None
            if score.requires_grad:
                (gradient,) = torch.autograd.grad(score, leaves[0], retain_graph=i < len(scores) - 1, allow_unused=True)
            if gradient is None:
                raise InputError(f"the logits do not depend on layer {layer!r}: name one that they are computed from.")
            gradients.append(gradient)
    return (
        layout.to_map(leaves[0].detach(), size),
        torch.stack([layout.to_map(gradient, size) for gradient in gradients], dim=1),
    )
