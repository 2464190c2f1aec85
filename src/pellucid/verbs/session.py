"""A model and the images that it is judged on: what every judging verb begins with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from pellucid.data.cache.fitted_images import FittedImages
from pellucid.data.class_match import match_classes
from pellucid.data.dataset import Dataset
from pellucid.evaluation.training_images import ImageCheck
from pellucid.models.card import thresholds_of
from pellucid.models.classifier import AnyClassifier
from pellucid.models.weights import tensors_sha256, weights_sha256_of
from pellucid.types import InputError

if TYPE_CHECKING:
    from pellucid.types import Pixels

    Model = AnyClassifier


@dataclass(frozen=True, eq=False)
class Session:
    """A model, the images it is judged on, and whether it has seen them before.

    Attributes:
        model: what is judged.
        part: the part of the dataset as the model takes it, its classes those of the model.
        images: of these, the images that are used.
        check: of the model's own training images.
        notes: what a reader must know of the classes.
    """

    model: Model
    part: FittedImages
    images: FittedImages
    check: ImageCheck
    notes: list[str]

    @property
    def whole(self) -> Dataset:
        """The part of the dataset."""
        return self.part.dataset

    @property
    def dataset(self) -> Dataset:
        """Of the part, the images that are used."""
        return self.images.dataset

    def pixels(self) -> Pixels:
        """The images at the model's size, uint8 or uint16 (N, C, H, W), looked at before and after they are decoded.

        Raises:
            InputError: images that the model was trained on, unless that is allowed; an image that cannot be read.
        """
        return self.check.pixels(self.images)

    @property
    def thresholds(self) -> list[float]:
        """The probability of each class from which on it counts as predicted; a half where the card has none."""
        return thresholds_of(self.model.card, len(self.model.classes))

    @property
    def name(self) -> str:
        """What results call the model."""
        return name_of(self.model)

    @property
    def weights_sha256(self) -> str:
        """The hash of the weights: of their file, or of the one that they would be written to."""
        return weights_sha256_of(self.model)

    @property
    def results_key(self) -> str:
        """What results of the model are kept under."""
        return results_key_of(self.model)

    def about(self, dataset: Dataset | None = None) -> dict[str, Any]:
        """Model, data, part and fingerprint, as every result says them."""
        return {
            "model": self.name,
            "data": self.whole.card.name,
            "split": self.whole.split,
            "fingerprint": (dataset or self.dataset).fingerprint,
        }

    def seen(self) -> dict[str, Any]:
        """How many of the images looked at so far the model has seen before, as every result says it."""
        return self.check.found().to_json()

    @property
    def warnings(self) -> list[str]:
        """What a reader must know: of classes that one side lacks, and of images that the model has seen before."""
        return [*self.notes, *self.check.found().messages()]


def open_session(
    model: Model,
    data: Dataset,
    *,
    limit: int | None = None,
    seed: int = 0,
    cache: Path | None = None,
    allow_training_images: bool = False,
    class_map: Mapping[str, str] | None = None,
    match: bool = True,
) -> Session:
    """Begin to judge a model; nothing is decoded yet.

    Args:
        model: what is judged.
        data: one part of a dataset.
        limit: at most so many images, chosen with `seed`; all by default.
        seed: of that choice.
        cache: keep decoded images in this folder.
        allow_training_images: count images that the model was trained on in, instead of refusing them.
        class_map: the data's name for each of the model's classes that has another one there.
        match: whether the labels are matched with the model's classes at all.

    Raises:
        InputError: something that is no model or no part of a dataset; classes that do not fit, see `match_classes`; a
            training record that is missing or was altered.
    """
    check_arguments(model, data)
    if class_map is not None and not isinstance(class_map, Mapping):
        raise InputError(f"class_map is a dict of the model's class to the data's; found {kind_of(class_map)}.")
    notes: list[str] = []
    if match:
        data, notes = match_classes(data, model.classes, model.task, class_map)
    check = image_check(model, refuse=not allow_training_images)
    part = FittedImages(data, model.input_spec, cache)
    return Session(model, part, part.limit(limit, seed=seed), check, notes)


def check_arguments(model: object, data: object) -> None:
    """Refuse what is no model, and what is no part of a dataset.

    Raises:
        InputError: with what was given, what is expected and how to get it.
    """
    if isinstance(model, Dataset) and isinstance(data, nn.Module):
        raise InputError("the model comes first, then the data: exchange the two.")
    check_model(model)
    check_part(data)


def check_model(model: object, name: str = "the model") -> None:
    """Refuse what is no model, as a path or a torch module.

    Raises:
        InputError: with what was given and how to make a model of it.
    """
    if isinstance(model, AnyClassifier):
        return
    advice = "pl.load and pl.wrap give one."
    if isinstance(model, str | Path):
        advice = f"load it, as pl.load({str(model)!r})."
    elif isinstance(model, nn.Module):
        advice = "wrap it, as pl.wrap(module, classes=[…], size=…, mean=[…], std=[…])."
    raise InputError(f"{name} is expected as pl.load or pl.wrap gives it; found {kind_of(model)}: {advice}")


def check_part(data: object, name: str = "the data") -> None:
    """Refuse what is no part of a dataset, as all its parts or its name.

    Raises:
        InputError: with what was given and how to get a part.
    """
    if isinstance(data, Dataset):
        return
    advice = "pl.dataset(NAME, split='test') gives one."
    if isinstance(data, Mapping) and data and all(isinstance(part, Dataset) for part in data.values()):
        parts = list(data)
        one = "test" if "test" in parts else parts[0]
        description, advice = f"all parts, {', '.join(map(repr, parts))}", f"give one, as data[{one!r}]."
    else:
        description = kind_of(data)
        if isinstance(data, str):
            advice = f"open it, as pl.dataset({data!r}, split='test')."
        elif isinstance(data, Path):
            advice = f"open it, as pl.dataset('folder', {str(data)!r}, split='test')."
    raise InputError(f"{name} must be one part of a dataset; found {description}: {advice}")


def check_settings(value: object, kind: type, name: str = "settings") -> None:
    """Refuse what is neither None nor of a class of settings.

    Raises:
        InputError: with what was given, and where the class is to be had.
    """
    if value is not None and not isinstance(value, kind):
        raise InputError(f"{name}= takes a {kind.__name__} (of {kind.__module__}); found {kind_of(value)}.")


def kind_of(value: object) -> str:
    """What a value is, for a message.

    Example:
        >>> kind_of("runs/first"), kind_of([1]), kind_of(None)
        ("the text 'runs/first'", 'list', 'None')
    """
    if value is None:
        return "None"
    if isinstance(value, str):
        return f"the text {value!r}"
    if isinstance(value, Path):
        return f"the path {str(value)!r}"
    if isinstance(value, nn.Module):
        return f"the torch module {type(value).__name__}"
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    return {"ndarray": "a numpy array"}.get(type(value).__name__, type(value).__name__)


def name_of(model: Model) -> str:
    """What results call a model: where it was loaded from, or that it was not."""
    if model.path is None:
        return "a model in memory" if model.source is None else model.source.address
    return str(model.path)


def image_check(model: Model, *, refuse: bool) -> ImageCheck:
    """What looks for a model's own training images; one that was named at its source is called so."""
    name = "the model" if model.source is None else model.source.address
    return ImageCheck(model.path, refuse=refuse, name=name)


def path_of(model: Model) -> Path | None:
    """Where a model comes from, as a path that it can be called after: its folder, or its name at its source."""
    return Path(model.source.name) if model.path is None and model.source is not None else model.path


def results_key_of(model: Model) -> str:
    """What results of a model are kept under: the hash of its weights and of all else that its answers depend on.

    The same weights see other pixels under another geometry or normalisation, and are another function with another
    activation. Where they lie changes nothing: a network that is judged as ``huggingface:DIR`` is the one that was
    imported from there.
    """
    built = [type(module).__qualname__ for module in model.modules()]
    numbers = model.mean.tolist(), model.std.tolist()
    settings = (str(model.input_spec), model.task, model.architecture, getattr(model, "outputs", ""), built, numbers)
    source = None if model.source is None else json.dumps(model.source.built_from, sort_keys=True, default=repr)
    return hashlib.sha256(f"{tensors_sha256(model)}|{settings!r}|{source}".encode()).hexdigest()
