"""The network that a training starts from: of a recipe, fresh or with published weights, or one trained before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.models.card import GeometryFields, card_input
from pellucid.models.registry import create_model
from pellucid.models.sources.pretrained import load_pretrained
from pellucid.models.weights import card_of_weights, load_trained, read_model_card, weights_file
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pellucid.data.dataset import Dataset
    from pellucid.models.classifier import ConvolutionalClassifier
    from pellucid.training.recipe import ModelSettings, Recipe

REPLACED = ("activation", "batch_norms")
"""What a recipe changes in a network that it fine-tunes; the rest stays as it was trained."""


_OF_RECIPE = {
    "classes",
    "task",
    "in_channels",
    "size",
    "geometry",
    "pretrained",
    "mean",
    "std",
}  # arguments of create_model


def build_classifier(settings: ModelSettings, data: Dataset) -> ConvolutionalClassifier:
    """The network of a recipe for a dataset's classes, its weights drawn from torch's global generator."""
    if fixed := sorted(_OF_RECIPE & set(settings.options)):
        raise InputError(
            f"model.options.{fixed[0]}: not an option of {settings.name}; the data or the recipe's own key "
            f"(model.{fixed[0].removeprefix('in_')}) sets it."
        )
    own_weights = isinstance(settings.pretrained, str)
    classifier = create_model(
        settings.name,
        classes=data.classes,
        task=data.task,
        in_channels=settings.channels,
        size=(settings.input_spec.height, settings.input_spec.width),
        geometry=settings.input_spec.geometry,
        pretrained=settings.pretrained is True,
        mean=settings.mean,
        std=settings.std,
        **settings.options,
    )
    if own_weights:
        weights = str(settings.pretrained)
        keep_head = _has_head_for(Path(weights), data)
        load_pretrained(classifier, weights, sha256=settings.sha256, keep_head=keep_head)
    return classifier


def _has_head_for(weights: Path, data: Dataset) -> bool:
    """Whether a head is for a dataset's classes, as the card beside the weights says; without one nobody says no."""
    card = card_of_weights(weights)
    return card is None or (tuple(card["classes"]), card["task"]) == (data.classes, data.task)


def refuse_of_model(overrides: Iterable[str]) -> None:
    """Refuse changes of what a trained network brings with it.

    Raises:
        InputError: an override ``model.…`` that is not one of `REPLACED`.
    """
    allowed = tuple(f"model.options.{key}" for key in REPLACED)
    for text in overrides:
        key = text.partition("=")[0].strip()
        if key.startswith("model") and key not in allowed:
            raise InputError(
                f"--init brings its own network: {key} cannot be set beside it, only {' and '.join(allowed)}."
            )


def starting_from(recipe: Recipe, trained: str | Path) -> Recipe:
    """The recipe for a network that was trained before, with its weights.

    Architecture, size, geometry, channels and normalisation are the trained network's; the recipe's own activation and
    number of batch norms are put in (`REPLACED`), all weights are kept, and the head too where the classes are its own.

    Args:
        recipe: as `load_recipe(…, fine_tuning=True)` gives it.
        trained: a run folder, or a weights file with its `model.toml`.

    Raises:
        InputError: no such network, or files that do not fit each other.
    """
    load_trained(trained)  # whole and what its card says
    card = read_model_card(trained)
    options: dict[str, Any] = dict(card["architecture"].get("options", {}))
    options |= {key: recipe.model.options[key] for key in REPLACED if key in recipe.model.options}
    spec = card_input(card)
    path = Path(trained)
    model = recipe.model.model_copy(
        update={
            "name": card["architecture"]["name"],
            "size": spec.height,
            "width": None if spec.width == spec.height else spec.width,
            "geometry": GeometryFields.of(spec.geometry),
            "channels": spec.channels,
            "mean": tuple(card["input"]["mean"]),
            "std": tuple(card["input"]["std"]),
            "pretrained": str(weights_file(path).resolve()),
            "sha256": card["weights_sha256"],
            "options": options,
        }
    )
    return recipe.model_copy(update={"model": model})
