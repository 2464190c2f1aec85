"""Fine-tuning a network of others: its own weights, normalisation and geometry, with a head for the data's classes."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from pellucid.models.card import GeometryFields
from pellucid.models.classifier import wrap
from pellucid.models.find_layout import probe_images
from pellucid.models.sources.source import NewHead
from pellucid.models.split import find_head
from pellucid.models.surgery import replace_linear
from pellucid.models.weights import tensors_sha256, weights_file
from pellucid.types import InputError
from pellucid.utils.words import first_line, listed

if TYPE_CHECKING:
    from pellucid.data.dataset import Dataset
    from pellucid.models.classifier import WrappedClassifier
    from pellucid.training.recipe import Recipe

AS_IT_IS = {"activation": "relu", "batch_norms": 1}
"""What a recipe may say of a network without changing it."""


def recipe_for(recipe: Recipe, start: WrappedClassifier) -> Recipe:
    """The recipe for a network of others that was trained before.

    Size, geometry, channels and normalisation are the network's own.

    Args:
        recipe: as `load_recipe(…, fine_tuning=True)` gives it.
        start: the network.

    Raises:
        InputError: a module that was wrapped in memory, which nothing on disk could build again; a network that has no
            weights, or whose weights no gradient reaches; a recipe that changes the network itself.
    """
    if start.source is None:
        raise InputError(
            "a module that was wrapped in memory cannot be trained: its run folder could not build it again. Import "
            "it: pellucid models import python mymodel.py:build."
        )
    changes = {k: v for k, v in recipe.model.options.items() if k in AS_IT_IS and v != AS_IT_IS[k]}
    for key, value in changes.items():
        raise InputError(
            f"{recipe.name} changes the network itself (model.options.{key} = {value!r}), which a network of others "
            f"cannot have built again. Leave {start.source.address} as it is with --set model.options.{key}="
            f"{AS_IT_IS[key]}, or choose another recipe."
        )
    _check_trainable(start)
    spec, weights = start.input_spec, start.source.address if start.path is None else weights_file(start.path).resolve()
    model = recipe.model.model_copy(
        update={
            "name": start.source.address,
            "size": spec.height,
            "width": None if spec.width == spec.height else spec.width,
            "geometry": GeometryFields.of(spec.geometry),
            "channels": spec.channels,
            "mean": tuple(start.mean.flatten().tolist()),
            "std": tuple(start.std.flatten().tolist()),
            "pretrained": str(weights),
            "sha256": tensors_sha256(start),
            "options": {},
        }
    )
    return recipe.model_copy(update={"model": model})


def with_head_for(start: WrappedClassifier, data: Dataset) -> WrappedClassifier:
    """A copy of a network of others for a dataset's classes; `start` stays as it is.

    Its head is kept where these are its own classes in its own order, and otherwise replaced by a linear layer drawn
    from torch's global generator.

    Raises:
        InputError: other classes, and a network whose head cannot be told.
    """
    module, source, last_map = copy.deepcopy(start.module), start.source, start.last_map
    assert source is not None  # recipe_for has looked
    if (start.classes, start.task) != (data.classes, data.task):
        layer = find_head(start)
        if layer is None:
            raise InputError(
                f"{source.address} tells {listed(start.classes, 6)} and {data.card.name} is labelled with "
                f"{listed(data.classes, 6)}, and its head cannot be replaced: its outputs are not those of one linear "
                "layer. It can be fine-tuned for its own classes alone."
            )
        replace_linear(module, layer, len(data.classes))
        source = replace(source, head=NewHead(layer, len(data.classes)))
    model = wrap(
        module,
        mean=start.mean.flatten().tolist(),
        std=start.std.flatten().tolist(),
        task=data.task,
        classes=data.classes,
        input_spec=start.input_spec,
        outputs=start.outputs,
        last_map=last_map,
    )
    model.source = source
    return model


def _check_trainable(model: WrappedClassifier) -> None:
    parameters = [p for p in model.module.parameters() if p.requires_grad]
    reason = "it has no weights that could be changed" if not parameters else ""
    if parameters:
        try:
            with torch.enable_grad():
                logits = model.eval()(probe_images(model, 2))
                slopes = torch.autograd.grad(logits.sum(), parameters, allow_unused=True)
            reason = "" if any(s is not None for s in slopes) else "no gradient reaches its weights"
        except (InputError, RuntimeError) as error:
            reason = first_line(error)
    if reason:
        assert model.source is not None
        raise InputError(f"{model.source.address} can be judged, and not trained further: {reason}.")
