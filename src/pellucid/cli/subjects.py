"""The images that a command explains: files, whose classes nobody told, or images of a dataset with their labels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from pellucid.data.dicom_header import Header
    from pellucid.models.classifier import ConvolutionalClassifier
    from pellucid.types import Pixels


@dataclass(frozen=True, eq=False)
class Subject:
    """One image.

    Attributes:
        source: where it comes from, for the record.
        title: what it is called in pictures.
        name: of its output files, without suffix; no two share one.
        picture: uint8 or uint16 (C, S, S), at the network's size.
        truth: the classes it shows; None where that is not known.
        shape: height and width in the file.
        dicom: what its DICOM file says; None for other files.
    """

    source: str
    title: str
    name: str
    picture: Pixels
    truth: list[int] | None = None
    shape: tuple[int, int] = (0, 0)
    dicom: Header | None = None


def check_given(images: Sequence[Path] | None, data: str | None, root: Path | None) -> None:
    """Images are files, or of a dataset.

    Raises:
        InputError: both or neither are named; a place of the dataset without its name.
    """
    if bool(images) == (data is not None):
        raise InputError("name image files, or a dataset with --data: one of the two.")
    if root is not None and data is None:
        raise InputError("--root is where the dataset of --data lies; name the dataset too, or leave it out.")


def from_files(
    files: Sequence[Path], network: ConvolutionalClassifier, options: Sequence[str] | None = None
) -> list[Subject]:
    """Image files; every one is read before any work. A DICOM file is called by a hash, not by its name.

    Args:
        files: their places.
        network: whose size and channels they are brought to.
        options: `key=value` for DICOM files, see `DicomPixels`.

    Raises:
        InputError: for a file that cannot be read, or options that are not of files.
    """
    from pellucid.cli.options import key_values
    from pellucid.cli.output_names import output_names
    from pellucid.data.decode import fit, read_image
    from pellucid.data.dicom_file import DicomPixels, is_dicom, read_dicom
    from pellucid.data.dicom_header import read_header
    from pellucid.settings import validate

    chosen = validate(DicomPixels, key_values(options), "options of DICOM files (--data-option)")
    spec = network.input_spec
    headers = [read_header(f, frame=chosen.frame) if is_dicom(f) else None for f in files]
    names = output_names([f.stem if h is None else h.name for f, h in zip(files, headers, strict=True)])
    found = []
    for file, header, name in zip(files, headers, names, strict=True):
        pixels = read_image(file) if header is None else read_dicom(file, window=chosen.window, frame=chosen.frame)
        source, title = (str(file), file.name) if header is None else (header.name, header.name)
        picture = fit(pixels, spec.size, spec.channels)
        found.append(Subject(source, title, name, picture, shape=pixels.shape[:2], dicom=header))
    return found


def from_dataset(
    network: ConvolutionalClassifier,
    data: str,
    root: Path | None,
    options: Sequence[str] | None,
    split: str,
    wanted: Sequence[str] | None,
    limit: int | None,
    seed: int,
) -> list[Subject]:
    """Images of a dataset: those named, or at most `limit` of them, drawn with `seed`.

    Raises:
        InputError: for an unknown dataset, part or image, or a dataset of other classes than the network's.
    """
    from pellucid.cli.evaluate import _same_classes
    from pellucid.cli.options import open_splits
    from pellucid.cli.output_names import output_names
    from pellucid.data.dataset import get_split
    from pellucid.data.decode import fit
    from pellucid.data.dicom_file import is_dicom
    from pellucid.data.dicom_header import read_header
    from pellucid.resources import nearest

    dataset = get_split(open_splits(data, root, options), split)
    _same_classes(network.classes, dataset.classes, data)
    if wanted:
        rows = {name: row for row, name in enumerate(dataset.ids)}
        for name in wanted:
            if name not in rows:
                some = nearest(name, dataset.ids) if len(rows) <= 20 else f"They are called as {dataset.ids[0]!r}."
                raise InputError(f"{data}/{split} has no image {name!r}. {some}")
        dataset = dataset.subset([rows[name] for name in wanted])
    dataset = dataset.limit(limit, seed=seed)
    shape = network.input_spec
    names = output_names([re.sub(r"[^\w.-]", "_", name) for name in dataset.ids])
    found = []
    for row, name in enumerate(dataset.ids):
        pixels = dataset.read(row)
        file = dataset.files[row].path if dataset.files else None
        found.append(
            Subject(
                f"{data}/{split}/{name}",
                name,
                names[row],
                fit(pixels, shape.size, shape.channels),
                _present(dataset.targets[row]),
                pixels.shape[:2],
                read_header(file) if file is not None and is_dicom(file) else None,
            )
        )
    return found


def _present(target: npt.NDArray[np.generic] | np.generic) -> list[int]:
    """The classes of one image: its own, or all labels that are known to be present."""
    import numpy as np

    values = np.asarray(target)
    return [int(values)] if values.ndim == 0 else [int(c) for c in np.flatnonzero(values == 1)]
