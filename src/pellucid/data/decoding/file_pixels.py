"""How the pixels of any image file are read: as a network was trained, or as is asked for where nobody knows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pellucid.data.decoding.fitting import fit
from pellucid.data.decoding.image import read_image, to_bits
from pellucid.data.dicom.file import DicomPixels, is_dicom, read_dicom
from pellucid.data.placement import Placement, is_plain_stretch
from pellucid.types import Geometry, InputError
from pellucid.utils.parallel import in_threads
from pellucid.utils.settings import validate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pellucid.data.dataset import Dataset
    from pellucid.types import InputSpec, Pixels

DEFAULT = "default"
"""In a training record: where no window, or no frame, was chosen."""


class FilePixels(DicomPixels):
    """How image files are to be read.

    Attributes:
        window: of DICOM files, see `DicomPixels`.
        frame: of DICOM files, see `DicomPixels`.
        bits: of other files: 16 keeps the depth of 16-bit grey images.
    """

    bits: Literal[8, 16] = 8

    def read(self, path: Path) -> Pixels:
        """The pixels of a file at its native size, (H, W) or (H, W, 3), as a dataset of such files has them.

        Raises:
            InputError: with the file's name, if it cannot be read.
        """
        if is_dicom(path):
            return to_bits(read_dicom(path, window=self.window, frame=self.frame), 16)
        return read_image(path, bits=self.bits)


def file_pixels(decoding: Mapping[str, int | str] | None, options: Mapping[str, Any], model: str) -> FilePixels:
    """How files are read for a network: as those that it was trained on.

    Args:
        decoding: of its training record; None where it has none.
        options: asked for now.
        model: the network, for messages.

    Raises:
        InputError: unknown options, or one that contradicts the training, showing both.

    Example:
        >>> file_pixels({"bits": 16}, {}, "runs/first").bits
        16
        >>> file_pixels({"bits": 16}, {"bits": 8}, "runs/first")
        Traceback (most recent call last):
        ...
        pellucid.types.InputError: runs/first was trained on images read with bits = 16; now bits = 8 is asked for. \
Leave it out: files are read as the network was trained.
    """
    own = validate(FilePixels, options, "options of image files (--data-option; in Python: file_options=)")
    if decoding is None:
        return own
    trained = {key: None if value == DEFAULT else value for key, value in decoding.items()}
    for key in own.model_fields_set:
        if key in trained and not _agree(key, trained[key], getattr(own, key)):
            raise InputError(
                f"{model} was trained on images read with {key} = {_shown(trained[key])}; now {key} = "
                f"{_shown(getattr(own, key))} is asked for. Leave it out: files are read as the network was trained."
            )
    own_values = own.model_dump(include=own.model_fields_set)
    return FilePixels.model_validate({**{k: v for k, v in trained.items() if v is not None}, **own_values})


def decoding_of(dataset: Dataset) -> dict[str, int | str]:
    """How a dataset's pixels are read, for a training record."""
    return {
        "bits": dataset.bits,
        **{key: DEFAULT if value is None else value for key, value in dataset.decoding.items()},
    }


def check_same_decoding(decoding: Mapping[str, int | str], dataset: Dataset, model: str) -> None:
    """Refuse a dataset whose options have it read otherwise than the images that a network was trained on.

    Only what is a choice is compared: a dataset that can be read in one way alone is taken as it is.

    Raises:
        InputError: showing both.
    """
    differing = []
    for key, value in dataset.decoding.items():
        before = decoding.get(key)
        if before is not None and not _agree(key, None if before == DEFAULT else before, value):
            differing.append((key, None if before == DEFAULT else before, value))
    if differing:
        old, new = (", ".join(f"{k} = {_shown(pair[side])}" for k, *pair in differing) for side in (0, 1))
        advice = " ".join(f"--data-option {k}={'none' if v is None else v}" for k, v, _ in differing)
        raise InputError(
            f"{model} was trained on images read with {old}; {dataset.card.name}/{dataset.split} is read with {new}, "
            f"which gives it other pixels. Give {advice} (in Python: an option of "
            "pl.dataset)."
        )


def fitted(dataset: Dataset, row: int, spec: InputSpec) -> tuple[Pixels, Placement]:
    """One image of a dataset as a network takes it, (channels, height, width), and where it lies in that.

    Of an image that was fitted before, whose own size nobody knows, places are in what the network takes.

    Raises:
        InputError: as by `Dataset.read` and `fit`; images that were fitted before, to another geometry.
    """
    check_fitted(dataset, spec)
    pixels = dataset.read(row)
    try:
        whole, native = to_bits(pixels, dataset.bits), (pixels.shape[0], pixels.shape[1])
        if dataset.fitted is not None and not is_plain_stretch(spec):
            return fit(whole, replace(spec, geometry=Geometry())), Placement.whole(*native, native=native)
        return fit(whole, spec), Placement.of(spec, native)
    except InputError as error:
        raise InputError(f"{dataset.card.name}/{dataset.split}/{dataset.ids[row]}: {error}") from error


def check_fitted(dataset: Dataset, spec: InputSpec) -> None:
    """Refuse images that were fitted before to what these cannot be made of.

    What was stretched may be stretched to another size; all else has to be the same.

    Raises:
        InputError: showing both geometries.
    """
    before = dataset.fitted
    if before is None:
        return
    same_size = (before.height, before.width) == (spec.height, spec.width)
    if before.geometry != spec.geometry or not (same_size or is_plain_stretch(spec)):
        raise InputError(
            f"{dataset.card.name}/{dataset.split}: its images were fitted by {before.preprocess} when they were "
            f"written; the model takes {spec.preprocess}, which cannot be made of them. Open the dataset that they "
            f"were written from, or write them anew with --preprocess {spec.preprocess}."
        )


def placements(dataset: Dataset, spec: InputSpec) -> list[Placement]:
    """Where each image of a dataset lies in what a network takes.

    Under a plain stretch that is the same for all, and none is read; else every image is, for its height and width.

    Raises:
        InputError: an image that cannot be read, or images that were fitted before, whose own size is not known.
    """
    if is_plain_stretch(spec):
        return [Placement.of(spec)] * len(dataset)

    def one(row: int) -> Placement:
        return placement_of(dataset, row, spec)

    return list(in_threads(one, len(dataset), title=f"sizes of {dataset.card.name}/{dataset.split}"))


def placement_of(dataset: Dataset, row: int, spec: InputSpec) -> Placement:
    """Where one image of a dataset lies in what a network takes; see `placements`."""
    if is_plain_stretch(spec):
        return Placement.of(spec)
    if dataset.fitted is not None:
        raise InputError(
            f"{dataset.card.name}/{dataset.split}: its images were fitted by {dataset.fitted.preprocess} when they "
            "were written, and what was cut off is not known: open the dataset that they were written from."
        )
    pixels = dataset.read(row)
    return Placement.of(spec, (pixels.shape[0], pixels.shape[1]))


def stacked(pictures: Sequence[Pixels]) -> Pixels:
    """Images (C, H, W) of 8 or 16 bits as one array, of 16 bits where any of them is: black and white stay."""
    deep = any(picture.dtype == np.uint16 for picture in pictures)
    return np.stack([to_bits(picture, 16 if deep else 8) for picture in pictures])


def _agree(key: str, trained: int | str | None, now: object) -> bool:
    if key == "frame" and trained is None:  # trained on files of one frame: which of several is a new question
        return True
    return trained == now


def _shown(value: object) -> str:
    return DEFAULT if value is None else str(value)
