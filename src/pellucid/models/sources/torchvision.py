"""Networks of torchvision: `resnet50`, or `resnet50.IMAGENET1K_V1` for other weights than its default."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pellucid.models.sources.source import Built, Request, Source, class_names, similar
from pellucid.types import Geometry, InputError, InputSpec
from pellucid.utils.download import digest_of
from pellucid.utils.resources import nearest, optional

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn


def build(request: Request) -> Built:
    """A network of torchvision with the classes, normalisation and geometry of a set of its weights.

    torchvision prepares images for each set of weights in another way. Which set it is, the name says, as
    `resnet50.IMAGENET1K_V1`; or a file that torchvision published itself, by its SHA-256; or else it is the default. A
    name and a file that torchvision published for other weights do not go together.

    Raises:
        InputError: torchvision is missing, does not know the name, or cannot fetch its weights; the file is that of
            other weights than those named.
    """
    models = _library()
    name, weights = _find(models, request.name)
    options = dict(request.options)
    if request.count is not None:
        options["num_classes"] = request.count
    published = _published(models, name, request.file)
    if None not in (weights, published) and weights.url != published.url:
        raise InputError(
            f"{request.name} names the weights {weights.name}, and {request.file} is what torchvision published as "
            f"{published.name}; each may take images prepared in another way. Ask for {name}.{published.name}, or "
            f"give the file of {weights.name}, {weights.url.rpartition('/')[2]}."
        )
    published = weights or published
    weight_set = published or models.get_model_weights(name).DEFAULT
    full = f"{name}.{weight_set.name}"
    try:
        module = models.get_model(name, weights=weight_set if request.weights else None, **options)
    except Exception as error:  # of an option, or of the network between here and the server
        raise InputError(f"torchvision could not make {request.name}: {error}") from error
    for option in ("transform_input", "aux_logits"):  # Inception's and GoogLeNet's, which their weights set
        if hasattr(module, option):
            options.setdefault(option, getattr(module, option))
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
        name=full if published is not None or request.weights else "",
        default="" if published is not None else full,
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


def _published(models: Any, name: str, file: Path | None) -> Any:  # noqa: ANN401
    """The set of weights that a file of torchvision's own is, whose address has the beginning of its SHA-256."""
    digest = "" if file is None else digest_of(file)
    for weights in models.get_model_weights(name):
        ending = re.search(r"-([0-9a-f]{8,})\.pth$", weights.url)
        if ending is not None and digest.startswith(ending[1]):
            return weights
    return None


def _preparation(transform: Any) -> tuple[InputSpec | None, list[float] | None, list[float] | None]:  # noqa: ANN401
    """Images and normalisation of `torchvision.transforms._presets.ImageClassification`; None of anything else."""
    if type(transform).__name__ != "ImageClassification":
        return None, None, None
    (crop,), (resize,) = transform.crop_size, transform.resize_size
    geometry = Geometry("crop", resize=resize, interpolation=transform.interpolation.value)
    return InputSpec.square(len(transform.mean), crop, geometry), list(transform.mean), list(transform.std)
