"""Networks of timm: `resnet50.a1_in1k`, with the weights that timm fetches or with a file of one's own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pellucid.models.sources.source import Built, Request, Source, distinct, similar
from pellucid.types import Geometry, InputError, InputSpec
from pellucid.utils.resources import optional

if TYPE_CHECKING:
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
        raise InputError(f"timm could not make {request.name}: {error}{_similar(timm, request.name)}") from error
    config = dict(getattr(module, "pretrained_cfg", {}))
    if config.get("architecture"):
        options["architecture"] = config["architecture"]
    channels = int(options.get("in_chans", 3))
    own = channels == len(config.get("mean") or ())
    count = int(module.num_classes)
    return Built(
        module,
        options=options | {"num_classes": count},
        classes=_classes(config) if count == config.get("num_classes") else None,
        task="multiclass" if count == config.get("num_classes") else None,
        input_spec=_input_spec(timm, module, channels),
        mean=config["mean"] if own else None,
        std=config["std"] if own else None,
        loaded=request.weights,
    )


def rebuild(source: Source) -> nn.Module:
    """The module of a card, without weights."""
    options = dict(source.options)
    module: nn.Module = _library().create_model(options.pop("architecture", source.name), pretrained=False, **options)
    return module


def _library() -> Any:  # noqa: ANN401
    return optional("timm", "timm", "a network of timm")


def _similar(timm: Any, name: str) -> str:  # noqa: ANN401
    known = timm.list_models(pretrained=True) + timm.list_models()
    return "" if name in known or ":" in name else f". {similar(name, known)}"


def _classes(config: dict[str, Any]) -> tuple[str, ...] | None:
    """The names that the configuration has, or of ImageNet the WordNet ids, as folders of its images are called."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    if config.get("label_names"):
        return distinct(list(map(str, config["label_names"])))
    subset = infer_imagenet_subset(config)
    names = ImageNetInfo(subset).label_names() if subset else []
    return tuple(names) if len(names) == config["num_classes"] else None


def _input_spec(timm: Any, module: nn.Module, channels: int) -> InputSpec | None:  # noqa: ANN401
    """The images of timm's own evaluation; None where it prepares them in a way that Pellucid does not know."""
    from timm.data import resolve_model_data_config

    config = resolve_model_data_config(module)
    _, height, width = config["input_size"]
    scale = [math.floor(side / config["crop_pct"]) for side in (height, width)]
    filters = {"interpolation": config["interpolation"]}
    if config["crop_mode"] == "center" and scale[0] == scale[1]:
        geometry = Geometry("crop", resize=scale[0], **filters)
    elif config["crop_mode"] == "squash" and scale[0] == scale[1]:
        geometry = Geometry("stretch", resize=scale[0] if scale[0] != height else None, **filters)
    elif config["crop_mode"] == "border" and config["crop_pct"] == 1 and len({*config["mean"]}) == 1:
        geometry = Geometry("pad", fill=config["mean"][0], **filters)
    else:
        return None
    return InputSpec(channels, height, width, geometry)
