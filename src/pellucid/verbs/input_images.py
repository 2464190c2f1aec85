"""The images that a verb explains: tensors, files, whose classes nobody told, or images of a dataset with labels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from pellucid.data.class_match import match_classes
from pellucid.data.dataset import Dataset, classes_of
from pellucid.data.decoding.file_pixels import FilePixels, file_pixels, fitted, stacked
from pellucid.data.decoding.fitting import fit
from pellucid.data.dicom.file import DicomPixels, is_dicom
from pellucid.data.dicom.header import read_header
from pellucid.data.placement import Placement
from pellucid.data.readers.image_files import IMAGE_KINDS, LeftOut, list_images
from pellucid.evaluation.training_images import ImageCheck
from pellucid.types import InputError, check_images
from pellucid.utils.output_names import output_names
from pellucid.utils.resources import nearest
from pellucid.verbs.session import image_check, kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pellucid.data.dicom.header import Header
    from pellucid.evaluation.training_images import SeenImages
    from pellucid.types import Pixels
    from pellucid.verbs.session import Model


@dataclass(frozen=True, eq=False)
class InputImage:
    """One image.

    Attributes:
        source: where it comes from, for the record.
        title: what it is called in pictures.
        name: of its output files, without suffix; no two share one.
        picture: uint8, uint16, or float32 in [0, 1], (C, H, W), as the model takes it.
        truth: the classes it shows; None where that is not known.
        placement: where the image of the file lies in that.
        dicom: what its DICOM file says; None for other files.
        reading: how its file was read.
        unlabelled: the classes of which nobody knows whether it shows them.
    """

    source: str
    title: str
    name: str
    picture: Pixels
    placement: Placement
    truth: list[int] | None = None
    dicom: Header | None = None
    reading: FilePixels | None = None
    unlabelled: Sequence[int] = ()


@dataclass(frozen=True, eq=False)
class InputImages:
    """Images at a model's size, and what is known of them.

    Attributes:
        images: each with its name.
        seen_images: which of them the model has seen before.
        notes: what a reader must know of their classes.
        data: the dataset that they are of, or None.
        split: its part, or None.
    """

    images: Sequence[InputImage]
    seen_images: SeenImages
    notes: Sequence[str] = ()
    data: str | None = None
    split: str | None = None

    @property
    def pixels(self) -> Pixels:
        """The images as one array (N, C, H, W), in this order in memory too: the last bit of results depends on it."""
        return np.ascontiguousarray(joined(self.images))

    @property
    def sources(self) -> list[str]:
        """Where each comes from."""
        return [image.source for image in self.images]

    @property
    def warnings(self) -> list[str]:
        """What a reader must know: of classes that one side lacks, and of images that the model has seen before."""
        return [*self.notes, *self.seen_images.messages(judging=False)]


def joined(images: Sequence[InputImage]) -> Pixels:
    """Images of one size as one array (N, C, H, W)."""
    pictures = [image.picture for image in images]
    return np.stack(pictures) if pictures[0].dtype == np.float32 else stacked(pictures)


def input_images(
    model: Model,
    images: Tensor | Dataset | Path | str | Sequence[Path | str],
    *,
    ids: Sequence[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    file_options: Mapping[str, Any] | None = None,
) -> InputImages:
    """The images that a verb was given, each at the model's size and read as those that it was trained on.

    Args:
        model: what is to explain them.
        images: (N, C, H, W) in [0, 1], or one image (C, H, W); one part of a dataset; or files, and folders of them.
        ids: these images of the dataset.
        limit: at most so many: the first files, or images of the dataset that are drawn with `seed`.
        seed: of that choice.
        file_options: how files are read, as ``{"window": 1}``; see `FilePixels`.

    Raises:
        InputError: no image; something else than images; images that are not pixels in [0, 1], or cannot be read; an
            unknown id; options that none of the files has, or that contradict the training; a dataset of other classes
            than the model's.
    """
    files = [images] if isinstance(images, Path | str) else images
    if ids and not isinstance(images, Dataset):
        raise InputError("images are chosen by id from a dataset: name it, on the command line with --data.")
    if file_options and isinstance(images, Tensor | Dataset):
        raise InputError("file_options are of image files; a dataset is opened with its own options.")
    if isinstance(files, Tensor):
        inputs = _from_tensor(model, files[:limit] if files.ndim == 4 else files)
    elif isinstance(files, Dataset):
        inputs = _from_dataset(model, files, ids, limit, seed)
    else:
        inputs = _from_files(model, image_files(_paths(files))[:limit], file_options or {})
    if not inputs.images:
        raise InputError("there are no images to explain.")
    return inputs


def check_tensor(images: object, *others: str) -> None:
    """Refuse images that are no torch tensor.

    Args:
        images: what was given.
        others: what might have been given instead.

    Raises:
        InputError: with what was given, what is expected and how to get it.
    """
    if isinstance(images, Tensor):
        return
    advice = ""
    if isinstance(images, np.ndarray):
        advice = " torch.from_numpy makes a tensor of it; divide 8-bit pixels by 255."
    elif isinstance(images, Dataset):
        advice = " Of a part: torch.stack([image for image, _ in part.resize(SIZE, CHANNELS)])."
    elif isinstance(images, Mapping):
        advice = " Of all parts of a dataset give one, as data['test']."
    expected = " or ".join(["a float tensor (N, C, H, W) or (C, H, W) in [0, 1]", *others])
    raise InputError(f"images must be {expected}; found {kind_of(images)}.{advice}")


def _paths(files: object) -> list[Path]:
    """Files and folders that were named.

    Raises:
        InputError: something that names no file.
    """
    if isinstance(files, Iterable) and not isinstance(files, Mapping | np.ndarray):
        paths = [Path(path) if isinstance(path, str | Path) else None for path in files]
        named = [path for path in paths if path is not None]
        if len(named) == len(paths):
            return named
    check_tensor(files, "one part of a dataset", "image files")
    return []


def _from_tensor(model: Model, images: Tensor) -> InputImages:
    batch = images[None] if images.ndim == 3 else images
    check_images(batch, channels=model.input_spec.channels)
    pictures = batch.detach().float().cpu().numpy()
    names = [f"image-{i + 1}" for i in range(len(pictures))]
    seen_images = replace(ImageCheck(None, refuse=False).found(), unknown=())
    height, width = batch.shape[2:]
    placement = Placement.whole(height, width, native=(height, width))
    return InputImages(
        [InputImage(n, n, n, picture, placement) for n, picture in zip(names, pictures, strict=True)], seen_images
    )


def _from_files(model: Model, files: Sequence[Path], options: Mapping[str, Any]) -> InputImages:
    """Image files, every one read before any work. A DICOM file is called by a hash."""
    check = image_check(model, refuse=False)
    reading, spec = file_pixels(check.decoding, options, check.model), model.input_spec
    headers = [read_header(f, frame=reading.frame) if is_dicom(f) else None for f in files]
    _check_options_serve(options, headers)
    names = output_names([f.stem if h is None else h.name for f, h in zip(files, headers, strict=True)])
    images = []
    for file, header, name in zip(files, headers, names, strict=True):
        pixels = reading.read(file)
        source, title = (str(file), file.name) if header is None else (header.name, header.name)
        placement = Placement.of(spec, (pixels.shape[0], pixels.shape[1]))
        picture = fit(pixels, spec)
        images.append(InputImage(source, title, name, picture, placement, dicom=header, reading=reading))
    if images:
        check.check_files([str(file) for file in files], [image.picture for image in images])
    return InputImages(images, check.found())


def _check_options_serve(options: Mapping[str, Any], headers: Sequence[Header | None]) -> None:
    """Refuse an option that changes the reading of none of the files: whoever gave it thinks that it does."""
    for option in options:
        of_dicom = option in DicomPixels.model_fields
        if not any((header is not None) == of_dicom for header in headers):
            kind, others = ("DICOM files", "none of these is one") if of_dicom else ("other files", "these are DICOM")
            raise InputError(f"{option} says how {kind} are read, and {others}: leave it out.")


def _from_dataset(
    model: Model, dataset: Dataset, ids: Sequence[str] | None, limit: int | None, seed: int
) -> InputImages:
    """Images of a dataset: those named, or at most `limit` of them, drawn with `seed`."""
    check = image_check(model, refuse=False)
    where, spec = f"{dataset.card.name}/{dataset.split}", model.input_spec
    dataset, notes = match_classes(dataset, model.classes, model.task)
    dataset = _named(dataset, ids, where).limit(limit, seed=seed)
    check.check_decoding(dataset)
    reading = FilePixels.model_validate({k: v for k, v in dataset.decoding.items() if v is not None})
    names = output_names([re.sub(r"[^\w.-]", "_", name) for name in dataset.ids])
    images = []
    for row, name in enumerate(dataset.ids):
        picture, placement = fitted(dataset, row, spec)
        file = dataset.files[row].path if dataset.files else None
        header = read_header(file) if file is not None and is_dicom(file) else None
        target = dataset.targets[row]
        facts = classes_of(target), header, reading, np.flatnonzero(np.isnan(target)).tolist()
        images.append(InputImage(f"{where}/{name}", name, names[row], picture, placement, *facts))
    if images:
        check.check_pixels(dataset, [image.picture for image in images])
    return InputImages(images, check.found(), notes, dataset.card.name, dataset.split)


def _named(dataset: Dataset, ids: Sequence[str] | None, where: str) -> Dataset:
    """The images of these ids; all where none are given."""
    if not ids:
        return dataset
    rows = {name: row for row, name in enumerate(dataset.ids)}
    for name in ids:
        if name not in rows:
            some = nearest(name, dataset.ids) if len(rows) <= 20 else f"They are called as {dataset.ids[0]!r}."
            raise InputError(f"{where} has no image {name!r}. {some}")
    return dataset.subset([rows[name] for name in ids])


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The image files that are named, and those in the folders that are named.

    Raises:
        InputError: for a path that is not there, or a folder without images.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            left_out = LeftOut(path)
            inside = list_images(path, left_out)
            if not inside:
                left_out_text = "".join(f" {issue.reason}." for issue in left_out.issues())
                raise InputError(f"{path} holds no images ({IMAGE_KINDS}).{left_out_text}")
            left_out.tell()
            files += [file.path for file in inside.values()]
        elif path.is_file():
            files.append(path)
        elif path.exists():
            raise InputError(f"{path}: a pipe, socket or device, not an image.")
        else:
            raise InputError(f"no such image or folder: {path}.")
    return files
