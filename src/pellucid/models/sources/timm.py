"""Networks of timm: `resnet50.a1_in1k`, with the weights that timm fetches or with a file of one's own.

A name without what stands behind the point, as `resnet50`, is that of timm's default weights.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pellucid.models.sources.source import Built, Request, Source, distinct, similar
from pellucid.types import Geometry, InputError, InputSpec, Interpolation
from pellucid.utils.resources import optional

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn


def build(request: Request) -> Built:
    """A network of timm with its own classes, normalisation and geometry, as its evaluation reads them.

    Raises:
        InputError: timm is missing, does not know the name, or cannot fetch its weights.
    """
    timm = _library()
    options = dict(request.options)
    if request.count is not None:
        options["num_classes"] = request.count
    try:
        module = timm.create_model(request.name, pretrained=request.weights, **options)
    except Exception as error:  # of the name, an option, or of the network between here and the hub
        own = " With weights of your own, name their file with --weights." if request.weights else ""
        raise InputError(f"timm could not make {request.name}: {error}{_similar(timm, request.name)}{own}") from error
    config = dict(getattr(module, "pretrained_cfg", {}))
    if config.get("architecture"):
        options["architecture"] = config["architecture"]
    options["num_classes"] = int(module.num_classes)
    channels = int(options.get("in_chans", 3))
    built = read_config(module, channels)
    tag = config.get("tag")
    default = f"{request.name}.{tag}" if tag and not re.search(r"[.:]", request.name) else ""
    own = default if request.weights else ""
    return replace(built, options=options, loaded=request.weights, name=own, default=default)


def read_config(module: nn.Module, channels: int | None = None) -> Built:
    """What a network of timm says of itself in its `pretrained_cfg`, as timm's own evaluation understands it.

    The classes are the names in the configuration, or those of ImageNet where timm takes it for a network of it; None
    where the network has another number of outputs than these.

    Args:
        module: of timm.
        channels: of its images; those of its configuration by default.
    """
    config: dict[str, Any] = dict(getattr(module, "pretrained_cfg", None) or {})
    shape = config.get("input_size") or (None, None, None)
    channels = channels or shape[0]
    mean, std = config.get("mean"), config.get("std")
    own = mean is not None and std is not None and channels == len(mean)
    named = list(map(str, config.get("label_names") or ()))
    same = bool(named) and len(named) == getattr(module, "num_classes", None)
    return Built(
        module,
        classes=distinct(named) if same else _imagenet(config, module),
        input_spec=None if None in shape or channels is None else _input_spec(config, channels),
        mean=mean if own else None,
        std=std if own else None,
    )


def rebuild(source: Source, _folder: Path) -> nn.Module:
    """The module of a card, without weights."""
    options = dict(source.options)
    module: nn.Module = _library().create_model(options.pop("architecture", source.name), pretrained=False, **options)
    return module


def _library() -> Any:  # noqa: ANN401
    return optional("timm", "timm", "a network of timm")


def _similar(timm: Any, name: str) -> str:  # noqa: ANN401
    names = timm.list_models(pretrained=True) + timm.list_models()
    return "" if name in names or ":" in name else f". {similar(name, names)}"


def _imagenet(config: dict[str, Any], module: nn.Module) -> tuple[str, ...] | None:
    """Of a network of ImageNet the WordNet ids, as the folders of its images are called; None without timm."""
    try:
        from timm.data import ImageNetInfo, infer_imagenet_subset
    except ImportError:  # a module that only calls its configuration as timm does
        return None
    subset = infer_imagenet_subset(config)
    names = ImageNetInfo(subset).label_names() if subset else []
    return tuple(names) if len(names) == getattr(module, "num_classes", None) else None


def _input_spec(config: dict[str, Any], channels: int) -> InputSpec | None:
    """The images of timm's own evaluation; None where it prepares them in a way that Pellucid does not know."""
    _, height, width = config["input_size"]
    part = float(config.get("crop_pct") or 0.875)  # timm's own default
    scale = [math.floor(side / part) for side in (height, width)]
    kind: Interpolation = config.get("interpolation") or "bicubic"
    mode, mean = config.get("crop_mode") or "center", list(config.get("mean") or ())
    if mode == "center" and scale[0] == scale[1]:
        geometry = Geometry("crop", resize=scale[0], interpolation=kind)
    elif mode == "squash" and scale[0] == scale[1]:
        geometry = Geometry("stretch", resize=scale[0] if scale[0] != height else None, interpolation=kind)
    elif mode == "border" and part == 1 and len(set(mean)) == 1:
        geometry = Geometry("pad", fill=round(255 * mean[0]) / 255, interpolation=kind)
    else:
        return None
    return InputSpec(channels, height, width, geometry)
