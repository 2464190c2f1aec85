"""What a module in memory says of its images and classes: the configuration that timm and transformers keep in it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import nn

from pellucid.models.sources import huggingface, timm
from pellucid.models.sources.source import Built
from pellucid.types import Geometry, InputError, InputSpec

if TYPE_CHECKING:
    from collections.abc import Sequence


def read_module(
    module: nn.Module,
    *,
    processor: Any = None,  # noqa: ANN401
    preprocess: str | None = None,
    size: int | None = None,
    channels: int | None = None,
    classes: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Built:
    """What is given, and for what is not what the module itself says.

    Args:
        module: of timm, of transformers, or any other.
        processor: the image processor of transformers that belongs to it.
        preprocess: how an image becomes what it takes, as ``crop:256:224:bicubic``.
        size: height and width, to which images are stretched; in place of `preprocess`.
        channels: of the images.
        classes: one name for each output.
        mean: what is subtracted from pixels in [0, 1].
        std: what they are divided by then.

    Raises:
        InputError: naming what neither says; `size` beside `preprocess`.
    """
    if size is not None and preprocess is not None:
        raise InputError("size and preprocess say the same: give one of them.")
    first = next((m for m in module.modules() if isinstance(m, nn.Conv2d)), None)
    guess = channels or (None if first is None else first.in_channels)
    if hasattr(module, "pretrained_cfg"):
        built = timm.read_config(module, channels)
    elif _of_transformers(module):
        built = huggingface.read_config(module, processor)
    else:
        built = Built(module)
    if mean is not None:
        built = replace(built, mean=mean)
    if std is not None:
        built = replace(built, std=std)
    if classes is not None:
        built = replace(built, classes=classes)
    own = None if built.input_spec is None else built.input_spec.channels
    channels = channels or own or guess or (None if built.mean is None else len(built.mean))
    if channels is not None and preprocess is not None:
        built = replace(built, input_spec=InputSpec.parse(preprocess, channels))
    elif channels is not None and size is not None:
        built = replace(built, input_spec=InputSpec.square(channels, size, Geometry()))
    facts = {"classes": built.classes, "size": built.input_spec, "mean": built.mean, "std": built.std}
    missing = [f"{name}=" for name, value in facts.items() if value is None]
    if channels is None:
        missing.append("channels=")
    if missing:
        other = ""
        if "mean=" in missing and processor is None and _of_transformers(module):
            other = (
                "Of a network of transformers processor= says all but the classes: AutoImageProcessor.from_pretrained "
                "of the folder or name that it was loaded from. "
            )
        raise InputError(
            f"the module does not say how its images are made: give {', '.join(missing)}, as in its training. {other}"
            "Those of ImageNet are preprocess='crop:256:224:bilinear' (or size=224, which stretches), mean=[0.485, "
            "0.456, 0.406], std=[0.229, 0.224, 0.225]; a module that normalises by itself has mean=[0, 0, 0], "
            "std=[1, 1, 1]."
        )
    return built


def _of_transformers(module: nn.Module) -> bool:
    return hasattr(getattr(module, "config", None), "id2label")
