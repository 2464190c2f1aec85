"""Networks of torchvision: `resnet50`, or `resnet50.IMAGENET1K_V1` for other weights than its best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.models.sources.source import Built, Request, Source, class_names, similar
from pellucid.types import Geometry, InputError, InputSpec
from pellucid.utils.resources import nearest, optional

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn


def build(request: Request) -> Built:
    """A network of torchvision; with its own weights also their classes, normalisation and geometry.

    With a file of one's own these are known where the name says whose weights it was made from, as
    `resnet50.IMAGENET1K_V1`: torchvision prepares images for each set of weights in another way.

    Raises:
        InputError: torchvision is missing, does not know the name, or cannot fetch its weights.
    """
    models = _library()
    name, weights = _find(models, request.name)
    options = dict(request.options)
    if request.count is not None:
        options["num_classes"] = request.count
    weight_set = weights if weights is not None or not request.weights else models.get_model_weights(name).DEFAULT
    try:
        module = models.get_model(name, weights=weight_set if request.weights else None, **options)
    except Exception as error:  # of an option, or of the network between here and the server
        raise InputError(f"torchvision could not make {request.name}: {error}") from error
    for option in ("transform_input", "aux_logits"):  # Inception's and GoogLeNet's, which their weights set
        if hasattr(module, option):
            options.setdefault(option, getattr(module, option))
    if weight_set is None:
        return Built(module, options=options)
    names = weight_set.meta.get("categories")
    own = names is not None and options.get("num_classes") in (None, len(names))
    spec, mean, std = _preparation(weight_set.transforms())
    return Built(
        module,
        options=options,
        classes=class_names(list(names)) if names is not None and own else None,
        task="multiclass" if own else None,
        input_spec=spec,
        mean=mean,
        std=std,
        loaded=request.weights,
    )


def rebuild(source: Source, _folder: Path) -> nn.Module:
    """The module of a card, without weights."""
    models = _library()
    name, _ = _find(models, source.name)
    module: nn.Module = models.get_model(name, weights=None, **source.options)
    return module


def _library() -> Any:  # noqa: ANN401
    return optional("torchvision", "torchvision", "a network of torchvision").models


def _find(models: Any, full: str) -> tuple[str, Any]:  # noqa: ANN401
    """The network's name, and the weights that stand behind it."""
    name, _, which = full.partition(".")
    names = models.list_models(module=models)
    if name not in names:
        raise InputError(f"torchvision has no classifier {name!r}. {similar(name, names)}")
    if not which:
        return name, None
    there = {weights.name: weights for weights in models.get_model_weights(name)}
    if which not in there:
        raise InputError(f"torchvision has no weights {which!r} for {name}. {nearest(which, there)}")
    return name, there[which]


def _preparation(transform: Any) -> tuple[InputSpec | None, list[float] | None, list[float] | None]:  # noqa: ANN401
    """Images and normalisation of `torchvision.transforms._presets.ImageClassification`; None of anything else."""
    if type(transform).__name__ != "ImageClassification":
        return None, None, None
    (crop,), (resize,) = transform.crop_size, transform.resize_size
    geometry = Geometry("crop", resize=resize, interpolation=transform.interpolation.value)
    return InputSpec.square(len(transform.mean), crop, geometry), list(transform.mean), list(transform.std)
