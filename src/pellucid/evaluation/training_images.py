"""Whether images that a network is judged on are among those that it was trained or selected on; one check for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.data.checks.image_hashes import content_hashes, id_hashes
from pellucid.data.decoding.file_pixels import check_same_decoding
from pellucid.models.training_record import ImageHashes
from pellucid.models.weights import read_training_record
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pellucid.data.cache.fitted_images import FittedImages
    from pellucid.data.dataset import Dataset
    from pellucid.models.training_record import TrainingRecord
    from pellucid.types import Pixels

COUNTS = ("train", "validation", "test")  # of the phantom: how many images a part has, which changes none of them
OPTION = "--allow-training-images (in Python: allow_training_images=True)"


@dataclass(frozen=True)
class SeenImages:
    """How many images a network has seen before.

    Attributes:
        model: which network.
        images: how many were looked at.
        trained_on: those of them that its weights were trained on.
        selected_on: the others that chose its checkpoint and thresholds.
        unknown: what is not known of it, a phrase each that its name stands before.
        other_options: where the same dataset was opened otherwise than for training, an option each.
    """

    model: str
    images: int
    trained_on: int
    selected_on: int
    unknown: tuple[str, ...] = ()
    other_options: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As a result has it; the numbers are None where there is no record at all."""
        return {
            "images": self.images,
            "trained_on": self.trained_on if self.images else None,
            "selected_on": self.selected_on if self.images else None,
            "unknown": list(self.unknown),
            "other_options": list(self.other_options),
        }

    def messages(self, *, judging: bool = True) -> list[str]:
        """What a person should know, a sentence each."""
        lines = []
        of = f"of the {self.images:,} images"
        if self.trained_on:
            so = ", and are counted in: these are no figures of new images" if judging else ""
            lines.append(f"{self.trained_on:,} {of} are images that {self.model} was trained on{so}.")
        if self.selected_on:
            so = ": figures of them flatter it a little" if judging else ""
            lines.append(f"{self.selected_on:,} {of} chose the checkpoint and thresholds of {self.model}{so}.")
        if self.other_options:
            lines.append(f"the data are opened with other options than in training: {'; '.join(self.other_options)}.")
        so = "so whether some of these are among them is not known"
        return [*lines, *(f"{self.model} {phrase}, {so}." for phrase in self.unknown)]


class ImageCheck:
    """Looks for a network's own training images among those that it is now given.

    Args:
        model: a run folder, or a weights file with its `model.toml`; None for a model that was not loaded from one.
        refuse: whether images that it was trained on are refused; they are counted in any case.
        name: what a model is called that was not loaded from one.

    Raises:
        InputError: a training record whose file is missing or was altered.
    """

    def __init__(self, model: str | Path | None, *, refuse: bool, name: str = "the model") -> None:
        self.model, self.refuse = name if model is None else str(model), refuse
        self.record: TrainingRecord | None = None if model is None else read_training_record(model)
        self._seen: dict[tuple[str, str, str], str] = {}  # each image once, however often it is looked at
        self._other: tuple[str, ...] = ()

    @property
    def decoding(self) -> dict[str, int | str] | None:
        """How the pixels were read that it was trained on; None where nobody knows."""
        return None if self.record is None else self.record.decoding

    def check_decoding(self, dataset: Dataset) -> None:
        """Refuse a dataset whose pixels are read otherwise than those of the training.

        Raises:
            InputError: showing both.
        """
        if self.record is not None:
            self._other = other_options(self.record.stages, dataset)
            check_same_decoding(self.record.decoding, dataset, self.model)

    def check_ids(self, dataset: Dataset) -> None:
        """Look at how the images are read and at their stable ids alone, which takes no decoding.

        Raises:
            InputError: as by `check_decoding`, or if it was trained on some of them, and that is to be refused.
        """
        self.check_decoding(dataset)
        if self.record is not None and self.refuse:
            trained = int(self.record.trained.hold_ids(id_hashes(dataset)).sum())
            if trained:
                raise self._refusal(trained, len(dataset), f"{dataset.card.name}/{dataset.split}")

    def check_pixels(self, dataset: Dataset, pixels: Pixels | Sequence[Pixels]) -> None:
        """Look at images, by their pixels (N, C, H, W) as the network takes them, and by their stable ids.

        Raises:
            InputError: if it was trained on some of them, and that is to be refused; other decoding.
        """
        self.check_decoding(dataset)
        if self.record is not None:
            hashes = ImageHashes(content_hashes(pixels), id_hashes(dataset))
            where = f"{dataset.card.name}/{dataset.split}"
            self._take(hashes, [(dataset.card.name, dataset.split, name) for name in dataset.ids], where)

    def check_files(self, names: Sequence[str], pixels: Sequence[Pixels]) -> None:
        """Look at images that are of no dataset, by their pixels (C, H, W), of 8 or 16 bits each."""
        if self.record is not None:
            content = content_hashes(pixels)
            self._take(ImageHashes(content, np.zeros_like(content)), [("", "", name) for name in names], "files")

    def pixels(self, images: FittedImages) -> Pixels:
        """The pixels of images that are to be judged, looked at: by id before they are decoded, then by content.

        Raises:
            InputError: as by `check_ids` and `check_pixels`, or for images that cannot be read.
        """
        self.check_ids(images.dataset)
        self.check_pixels(images.dataset, images.pixels)
        return images.pixels

    def found(self) -> SeenImages:
        """What was found so far."""
        if self.record is None:
            return SeenImages(self.model, 0, 0, 0, ("has no record of the images that it was trained on",))
        states = list(self._seen.values())
        unknown = (*self.record.unknown, *self.record.unrecognised)
        return SeenImages(
            self.model, len(states), states.count("trained"), states.count("selected"), unknown, self._other
        )

    def _take(self, hashes: ImageHashes, keys: Sequence[tuple[str, str, str]], where: str) -> None:
        assert self.record is not None
        trained = self.record.trained.hold(hashes)
        selected = self.record.selected.hold(hashes) & ~trained
        if self.refuse and trained.any():
            raise self._refusal(int(trained.sum()), len(keys), where)
        for key, was_trained, was_selected in zip(keys, trained.tolist(), selected.tolist(), strict=True):
            self._seen[key] = "trained" if was_trained else "selected" if was_selected else ""

    def _refusal(self, trained: int, images: int, where: str) -> InputError:
        differing = ""
        if self._other:
            differing = f" The data are opened with other options than in training: {'; '.join(self._other)}."
        return InputError(
            f"{self.model} was trained on {trained:,} of the {images:,} images of {where} that it is to be judged on: "
            f"figures of them say nothing of new images.{differing} Give the same data options as for training "
            f"(`pellucid models show {self.model}` has them) and a part that it was not trained on, or count them in "
            f"with {OPTION}."
        )


def other_options(stages: Sequence[Mapping[str, Any]], dataset: Dataset) -> tuple[str, ...]:
    """The options with which a dataset is opened otherwise than for the last training on it, as `key = old → new`.

    How many images a part of a drawn dataset has is left out: the images are the same.
    """
    own = [stage for stage in stages if stage.get("dataset") == dataset.card.name]
    if not own or not dataset.options:
        return ()
    old, new = own[-1]["options"], dataset.options
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    if dataset.card.name == "phantom":
        keys = [key for key in keys if key not in COUNTS]
    return tuple(f"{key} = {_shown(old.get(key))} → {_shown(new.get(key))}" for key in keys)


def _shown(value: object) -> str:
    return "none" if value is None else str(value)
