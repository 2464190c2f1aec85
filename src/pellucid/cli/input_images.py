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

    from pellucid.data.decoding.file_pixels import FilePixels
    from pellucid.data.dicom.header import Header
    from pellucid.evaluation.training_images import ImageCheck
    from pellucid.models.classifier import ConvolutionalClassifier
    from pellucid.types import Pixels


@dataclass(frozen=True, eq=False)
class InputImage:
    """One image.

    Attributes:
        source: where it comes from, for the record.
        title: what it is called in pictures.
        name: of its output files, without suffix; no two share one.
        picture: uint8 or uint16 (C, S, S), at the network's size.
        truth: the classes it shows; None where that is not known.
        shape: height and width in the file.
        dicom: what its DICOM file says; None for other files.
        reading: how its file was read.
    """

    source: str
    title: str
    name: str
    picture: Pixels
    truth: list[int] | None = None
    shape: tuple[int, int] = (0, 0)
    dicom: Header | None = None
    reading: FilePixels | None = None


def check_given(
    images: Sequence[Path] | None, data: str | None, root: Path | None, identifiers: Sequence[str] | None = None
) -> None:
    """Images are files, or of a dataset.

    Raises:
        InputError: both or neither are named; a place or images of the dataset without its name.
    """
    if bool(images) == (data is not None):
        raise InputError("name image files, or a dataset with --data: one of the two.")
    if root is not None and data is None:
        raise InputError("--root is where the dataset of --data lies; name the dataset too, or leave it out.")
    if identifiers and data is None:
        raise InputError("--id names images of a dataset; say which with --data.")


def find_subjects(
    check: ImageCheck,
    network: ConvolutionalClassifier,
    images: Sequence[Path] | None,
    data: str | None,
    root: Path | None,
    options: Sequence[str] | None,
    split: str,
    wanted: Sequence[str] | None,
    limit: int | None,
    seed: int,
) -> list[InputImage]:
    """The images that a command was given, read as the network was trained; says which of them it has seen before.

    Raises:
        InputError: as by `from_files` and `from_dataset`.
    """
    from pellucid.cli.options import tell_seen

    if data is None:
        found = from_files(image_files(images or [])[:limit], network, options, check)
    else:
        found = from_dataset(network, data, root, options, split, wanted, limit, seed, check)
    tell_seen(check.found(), judging=False)
    return found


def from_files(
    files: Sequence[Path],
    network: ConvolutionalClassifier,
    options: Sequence[str] | None = None,
    check: ImageCheck | None = None,
) -> list[InputImage]:
    """Image files, read as the network was trained, every one before any work. A DICOM file is called by a hash.

    Args:
        files: their places.
        network: whose size and channels they are brought to.
        options: `key=value`, see `FilePixels`.
        check: of the network, whose training record says how files are read; it looks at the images.

    Raises:
        InputError: for a file that cannot be read, options that are not of files, or one that contradicts the training.
    """
    from pellucid.cli.options import key_values
    from pellucid.cli.output_names import output_names
    from pellucid.data.decoding.file_pixels import file_pixels
    from pellucid.data.decoding.image import fit
    from pellucid.data.dicom.file import is_dicom
    from pellucid.data.dicom.header import read_header

    decoding, model = (None, "the network") if check is None else (check.decoding, check.model)
    chosen = file_pixels(decoding, key_values(options), model)
    spec = network.input_spec
    headers = [read_header(f, frame=chosen.frame) if is_dicom(f) else None for f in files]
    names = output_names([f.stem if h is None else h.name for f, h in zip(files, headers, strict=True)])
    found = []
    for file, header, name in zip(files, headers, names, strict=True):
        pixels = chosen.read(file)
        source, title = (str(file), file.name) if header is None else (header.name, header.name)
        picture = fit(pixels, spec.height, spec.channels)
        found.append(InputImage(source, title, name, picture, shape=pixels.shape[:2], dicom=header, reading=chosen))
    if check is not None and found:
        check.look_at_files([str(file) for file in files], [one.picture for one in found])
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
    check: ImageCheck | None = None,
) -> list[InputImage]:
    """Images of a dataset: those named, or at most `limit` of them, drawn with `seed`.

    Raises:
        InputError: for an unknown dataset, part or image, a dataset of other classes than the network's, or one that is
            read otherwise than the network was trained.
    """
    import typer

    from pellucid.cli.options import open_splits
    from pellucid.cli.output_names import output_names
    from pellucid.data.class_match import match_classes
    from pellucid.data.dataset import get_split
    from pellucid.data.decoding.file_pixels import FilePixels, fitted
    from pellucid.data.dicom.file import is_dicom
    from pellucid.data.dicom.header import read_header
    from pellucid.utils.resources import nearest

    dataset = get_split(open_splits(data, root, options), split)
    dataset, notes = match_classes(dataset, network.classes, network.task)
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    if wanted:
        rows = {name: row for row, name in enumerate(dataset.ids)}
        for name in wanted:
            if name not in rows:
                some = nearest(name, dataset.ids) if len(rows) <= 20 else f"They are called as {dataset.ids[0]!r}."
                raise InputError(f"{data}/{split} has no image {name!r}. {some}")
        dataset = dataset.subset([rows[name] for name in wanted])
    dataset = dataset.limit(limit, seed=seed)
    if check is not None:
        check.check_decoding(dataset)
    reading = FilePixels.model_validate({k: v for k, v in dataset.decoding.items() if v is not None})
    shape = network.input_spec
    names = output_names([re.sub(r"[^\w.-]", "_", name) for name in dataset.ids])
    found = []
    for row, name in enumerate(dataset.ids):
        picture, in_file = fitted(dataset, row, shape.height, shape.channels)
        file = dataset.files[row].path if dataset.files else None
        found.append(
            InputImage(
                f"{data}/{split}/{name}",
                name,
                names[row],
                picture,
                _present(dataset.targets[row]),
                in_file,
                read_header(file) if file is not None and is_dicom(file) else None,
                reading,
            )
        )
    if check is not None and found:
        check.look(dataset, [one.picture for one in found])
    return found


def _present(target: npt.NDArray[np.generic] | np.generic) -> list[int]:
    """The classes of one image: its own, or all labels that are known to be present."""
    import numpy as np

    values = np.asarray(target)
    return [int(values)] if values.ndim == 0 else [int(c) for c in np.flatnonzero(values == 1)]


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The image files that are named, and those in the folders that are named.

    Raises:
        InputError: for a path that is not there, or a folder without images.
    """
    from pellucid.data.readers.image_files import IMAGE_KINDS, LeftOut, list_images

    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            left_out = LeftOut(path)
            inside = list_images(path, left_out)
            if not inside:
                told = "".join(f" {remark.reason}." for remark in left_out.issues())
                raise InputError(f"{path} holds no images ({IMAGE_KINDS}).{told}")
            left_out.tell()
            files += [file.path for file in inside.values()]
        elif path.is_file():
            files.append(path)
        elif path.exists():
            raise InputError(f"{path}: a pipe, socket or device, not an image.")
        else:
            raise InputError(f"no such image or folder: {path}.")
    return files
