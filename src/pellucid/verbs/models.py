"""`pl.load` and `pl.wrap`: a model from disk, and any torch module as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.models.classifier import wrap as wrap_module
from pellucid.models.split import find_split, input_settings
from pellucid.models.weights import load_model
from pellucid.types import InputSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import torch
    from torch import Tensor, nn

    from pellucid.models.classifier import ConvolutionalClassifier, WrappedClassifier
    from pellucid.types import Task


def load(path: str | Path, device: str | torch.device = "cpu") -> ConvolutionalClassifier:
    """The model of a run folder, or of a weights file with its `model.toml`; in evaluation mode.

    What its card says is in `.card`.

    Args:
        path: a run folder, or the weights file.
        device: where it computes, as ``"cuda"``.

    Raises:
        InputError: files that are missing, or weights of another model.
    """
    return load_model(path, device)


def wrap(
    module: nn.Module,
    classes: Sequence[str],
    *,
    task: Task = "multiclass",
    size: int | None = None,
    channels: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    features: Callable[[Tensor], Tensor] | None = None,
    head: nn.Module | None = None,
) -> WrappedClassifier:
    """Any torch module that returns logits, as a model that every verb takes.

    Size, channels and normalisation are taken from a timm model's own configuration where they are not given. Where
    the last feature map and the linear layer on its mean are called as torchvision and timm call them, they are found,
    and class activation maps are to be had; where not, give `features` and `head`, or use an explanation that needs
    neither, as `saliency`.

    Args:
        module: normalised images (N, C, H, W) → logits (N, K), not probabilities.
        classes: one name for each logit.
        task: `multiclass`, or `multilabel` for several labels at once.
        size: height and width of the images that it was made for.
        channels: of these images; those that its first convolution takes by default.
        mean: what to subtract from pixels in [0, 1], one value for each channel; zeros for a module that normalises
            by itself.
        std: what to divide by then; ones for a module that normalises by itself.
        features: normalised images → the feature map (N, D, h, w) that the module pools, a part or method of it.
        head: pooled features (N, D) → logits (N, K), a part of it.

    Raises:
        InputError: a setting that is neither given nor known; features and head that do not give the module's logits.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> model = wrap(net, ["cat", "dog"], size=32, mean=[0.5] * 3, std=[0.25] * 3)
        >>> model.has_linear_head, model.input_spec.shape
        (True, (3, 32, 32))
    """
    settings = input_settings(module, size, channels, mean, std)
    model = wrap_module(
        module,
        mean=settings.mean,
        std=settings.std,
        task=task,
        classes=classes,
        input_spec=InputSpec.square(settings.channels, settings.size),
        features=features,
        head=head,
    )
    return model if features is not None else find_split(model)
