"""Where a module's last feature map and its linear head are, by the names that torchvision and timm give them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.models.classifier import WrappedClassifier, wrap
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEADS = ("fc", "classifier", "head")
POOLS = ("avgpool", "global_pool")


def find_split(model: WrappedClassifier) -> WrappedClassifier:
    """The model with its feature map and head, if they lie where torchvision or timm have them; else as it is.

    A guess counts only if it gives the module's own logits.
    """
    head = _head(model.module)
    if head is None:
        return model
    for features in _candidates(model.module):
        try:
            return wrap(
                model.module,
                mean=model.mean.flatten().tolist(),
                std=model.std.flatten().tolist(),
                task=model.task,
                classes=model.classes,
                input_spec=model.input_spec,
                outputs=model.outputs,
                features=features,
                head=head,
            )
        except (InputError, RuntimeError, TypeError, AttributeError, NotImplementedError):  # not these: try the next
            continue
    return model


def _head(module: nn.Module) -> nn.Module | None:
    """The linear layer that ends the module, as it is called; of a plain sequence, its last part."""
    named = [getattr(module, name, None) for name in HEADS]
    if isinstance(module, nn.Sequential):
        named.append(module)
    for part in named:
        found = part
        while isinstance(found, nn.Sequential) and len(found):
            found = found[-1]
        if isinstance(found, nn.Module) and not isinstance(found, nn.Linear):
            found = getattr(found, "fc", None)  # timm's heads with their own pooling
        if isinstance(found, nn.Linear):
            return found
    return None


def _activated(part: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """The feature map after an activation that stands outside `features`, as in torchvision's DenseNet."""
    return F.relu(part(images))


def _candidates(module: nn.Module) -> Iterator[Callable[[Tensor], Tensor]]:
    for name in ("forward_features", "features"):
        part = getattr(module, name, None)
        if callable(part):
            yield part
            yield partial(_activated, part)
    before: list[nn.Module] = []
    for name, child in module.named_children():
        if name in POOLS or isinstance(child, nn.AdaptiveAvgPool2d):
            yield nn.Sequential(*before)
        before.append(child)
