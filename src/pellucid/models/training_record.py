"""The training record: which images a network was trained and selected on, and how their files were read.

It lies beside the weights: a table of `model.toml`, and a file with two hashes per image, whose SHA-256 it holds.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

TABLE = "training_record"
"""The table of `model.toml`."""
IMAGES = "training_images.npz"
"""The file of hashes beside it."""
_PARTS = ("trained", "selected")
_KINDS = ("content", "ids")
_BYTES = 16
_OF_NETWORK = ("channels", "preprocess")


@dataclass(frozen=True)
class ImageHashes:
    """What images are known by.

    Attributes:
        content: uint8 (N, 16), a hash of each image's pixels as the network takes them; zeros of a single shade.
        ids: uint8 (N, 16), a hash of each image's stable id; zeros where it has none.
    """

    content: npt.NDArray[np.uint8]
    ids: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.content)

    def __or__(self, other: ImageHashes) -> ImageHashes:
        """The images of both, each once; those that are known by nothing are left out."""
        both = np.concatenate([np.hstack([one.content, one.ids]) for one in (self, other)])
        _, first = np.unique(both, axis=0, return_index=True)
        rows = both[np.sort(first)]
        rows = rows[rows.any(1)]
        return ImageHashes(np.ascontiguousarray(rows[:, :_BYTES]), np.ascontiguousarray(rows[:, _BYTES:]))

    def hold(self, others: ImageHashes) -> npt.NDArray[np.bool_]:
        """Which of the others (M,) are among these images: by their content or by their stable id."""
        return (_among(others.content, self.content) & others.content.any(1)) | self.hold_ids(others.ids)

    def hold_ids(self, ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Which of the images with these ids (M, 16) are among these images."""
        return _among(ids, self.ids) & ids.any(1)


NOTHING = np.zeros((0, _BYTES), dtype=np.uint8)
NO_IMAGES = ImageHashes(NOTHING, NOTHING)


def _among(some: npt.NDArray[np.uint8], of: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    hashes = {row.tobytes() for row in of}
    return np.fromiter((row.tobytes() in hashes for row in some), dtype=np.bool_, count=len(some))


@dataclass(frozen=True)
class TrainingRecord:
    """What a network was trained and selected on.

    Attributes:
        stages: one a training, the first one first: `dataset`, `options`, `pixels` (what these depend on: `channels`
            and `preprocess` of the network, `bits`, and of DICOM files `window` and `frame`, which are `default` where
            none was chosen), `train` and `validation`, the last two with their number of `images` and `fingerprint`.
        trained: the images that its weights were trained on, in all stages.
        selected: the images that chose its checkpoint and thresholds, in all stages.
        unknown: where it is not known what it was trained on, a phrase each, as `started from published weights, …`.
    """

    stages: tuple[dict[str, Any], ...]
    trained: ImageHashes = NO_IMAGES
    selected: ImageHashes = NO_IMAGES
    unknown: tuple[str, ...] = ()

    @property
    def decoding(self) -> dict[str, int | str]:
        """How the files of the last training were read: its `pixels` without what the network says of itself."""
        return {key: value for key, value in self.stages[-1]["pixels"].items() if key not in _OF_NETWORK}

    @property
    def unrecognised(self) -> tuple[str, ...]:
        """A phrase for each earlier training whose images had other pixels, so that no hash of content finds them."""
        pixels = self.stages[-1]["pixels"]
        phrases = []
        for stage in self.stages[:-1]:
            before = stage["pixels"]
            keys = [key for key in before if key in pixels and before[key] != pixels[key]]
            if keys:
                then, now = (", ".join(f"{key} = {of[key]}" for key in keys) for of in (before, pixels))
                phrases.append(
                    f"was trained before on {stage['train']['images']:,} images of {stage['dataset']} with {then}, and "
                    f"takes images with {now} now: copies are recognised by an id in their dataset and not by pixels"
                )
        return tuple(phrases)

    def after(self, earlier: TrainingRecord) -> TrainingRecord:
        """This record of a network whose training started from that of the earlier record."""
        return TrainingRecord(
            (*earlier.stages, *self.stages),
            earlier.trained | self.trained,
            earlier.selected | self.selected,
            (*earlier.unknown, *self.unknown),
        )

    @cached_property
    def file(self) -> bytes:
        """The content of the file of hashes."""
        stream = io.BytesIO()
        np.savez(stream, **{f"{p}_{k}": getattr(getattr(self, p), k) for p in _PARTS for k in _KINDS})
        return stream.getvalue()

    def table(self) -> dict[str, Any]:
        """The table of `model.toml`."""
        return {
            "images": IMAGES,
            "images_sha256": hashlib.sha256(self.file).hexdigest(),
            "trained_on": len(self.trained),
            "selected_on": len(self.selected),
            "unknown": list(self.unknown),
            "stages": [_without_none(stage) for stage in self.stages],
        }


def parse_record(table: Mapping[str, Any], folder: Path) -> TrainingRecord:
    """The record that a table of `model.toml` and the file beside it hold.

    Args:
        table: as `read_model_card` gives it.
        folder: that holds `model.toml`.

    Raises:
        InputError: naming the file, for one that is missing or is not the one the table was written for.
    """
    path = folder / IMAGES
    what = f"which says what images the network of {folder} was trained on"
    remedy = "Put it back from where the network was trained, with model.toml and the weights"
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}, {what}, is not there. {remedy}.") from error
    except OSError as error:
        raise InputError(f"{path}, {what}, cannot be read ({error.strerror or error}).") from error
    if hashlib.sha256(content).hexdigest() != table["images_sha256"]:
        raise InputError(f"{path}, {what}, is not the file that model.toml was written for. {remedy}.")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        trained, selected = (ImageHashes(*(arrays[f"{part}_{kind}"] for kind in _KINDS)) for part in _PARTS)
    return TrainingRecord(tuple(table["stages"]), trained, selected, tuple(table["unknown"]))


def _without_none(value: Any) -> Any:  # noqa: ANN401
    """A value as TOML can hold it: what is None is left out."""
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(key): _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return value
