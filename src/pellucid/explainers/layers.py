"""A layer that the user names: what it puts out, and how every class's logit answers to that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pellucid.models.classifier import frozen
from pellucid.types import InputError, check_images
from pellucid.utils.resources import nearest

if TYPE_CHECKING:
    from pellucid.types import Classifier

MOST_NAMED = 12  # layers in an error message; the networks have hundreds


def layer_named(classifier: Classifier, layer: str) -> nn.Module:
    """The part of a network of that name, as `named_modules` calls it.

    Raises:
        InputError: no such layer, with the nearest names; a classifier that is no torch module.

    Example:
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b"], task="multilabel")
        >>> layer_named(model, "backbone.acts")
        Traceback (most recent call last):
        ...
        pellucid.types.InputError: unknown layer 'backbone.acts'. Did you mean 'backbone.act'? Layers are called as \
in dict(classifier.named_modules()).
    """
    if not isinstance(classifier, nn.Module):
        raise InputError(f"only a torch module has layers to name; this classifier is {type(classifier).__name__}.")
    known: dict[str, nn.Module] = {name: module for name, module in classifier.named_modules() if name}
    if layer in known:
        return known[layer]
    hint = nearest(layer, known)
    if len(known) > MOST_NAMED:  # the list alone would fill a screen
        hint = hint.split("There are:")[0] + "Layers are called as in dict(classifier.named_modules())."
    raise InputError(f"unknown layer {layer!r}. {hint}")


def layer_gradients(
    classifier: Classifier, images: Tensor, targets: Tensor | None, layer: str
) -> tuple[Tensor, Tensor]:
    """A layer's activations and the gradients of logits with respect to them.

    One forward pass, and a backward pass down to the layer for each class that is asked for.

    Args:
        classifier: a torch module.
        images: (N, C, H, W) in [0, 1].
        targets: (N,), or None for all classes.
        layer: its name.

    Returns:
        Activations (N, D, h, w), and gradients (N, 1, D, h, w); (N, K, D, h, w) of all classes.

    Raises:
        InputError: an unknown layer; one that has no map (N, D, h, w) or that does not run exactly once in a forward
            pass; images that are not pixels in [0, 1].
    """
    check_images(images, channels=classifier.input_spec.channels)
    found: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: object) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 4:
            told = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise InputError(f"layer {layer!r} must put out a map (N, D, h, w) to be explained; found {told}.")
        found.append(output.detach().clone().requires_grad_(True))
        return found[-1].clone()  # what follows may change its input in place

    with frozen(classifier), torch.enable_grad():
        handle = layer_named(classifier, layer).register_forward_hook(keep)
        try:
            logits = classifier(images.detach().clone())
        finally:
            handle.remove()
        if len(found) != 1:
            raise InputError(f"layer {layer!r} must run once in a forward pass; it ran {len(found)} times.")
        if targets is not None:
            wanted = [logits.gather(1, targets.unsqueeze(1)).sum()]
        else:
            wanted = [logits[:, c].sum() for c in range(logits.shape[1])]
        gradients = [
            torch.autograd.grad(one, found[0], retain_graph=i < len(wanted) - 1)[0] for i, one in enumerate(wanted)
        ]
    return found[0].detach(), torch.stack(gradients, dim=1)
