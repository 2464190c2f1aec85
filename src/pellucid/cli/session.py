"""What commands that judge a model begin with: the model on its device, and images, or one part of a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from pellucid.cli.options import open_splits, pick_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pellucid.data.dataset import Dataset
    from pellucid.models.classifier import AnyClassifier

ClassMap = Annotated[
    Optional[list[str]],  # noqa: UP045 (typer reads it at run time)
    typer.Option(
        "--map",
        metavar="MODEL=DATA",
        help="The data's name for a class that the model calls otherwise, as PNEUMONIA=Pneumonia; may be repeated.",
        show_default=False,
    ),
]

RegionNames = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--region",
        metavar="CLASS=LABEL",
        help="The marked label that a class should fall on, as PNEUMONIA=Lesions.",
        show_default=False,
    ),
]

GivenImages = Annotated[
    Optional[list[Path]],  # noqa: UP045
    typer.Argument(help="Image files, or folders of them; or name a dataset with --data.", show_default=False),
]
GivenData = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--data", help="Take images of this dataset, whose labels are known.", show_default=False),
]


def load(path: Path, device: str, trust_code: bool = False) -> AnyClassifier:
    """The model that an argument MODEL names, on the device that --device names."""
    from pellucid.models import load_model

    return load_model(path, pick_device(device), trust_code=trust_code)


def open_part(name: str, root: Path | None, options: Sequence[str] | None, split: str) -> Dataset:
    """The part of a dataset that the options name."""
    from pellucid.data.dataset import get_split

    return get_split(open_splits(name, root, options), split)


def given_images(
    images: list[Path] | None, data: str | None, root: Path | None, options: Sequence[str] | None, split: str
) -> list[Path] | Dataset:
    """The image files that a command was given, or the part of a dataset that was named instead.

    Raises:
        InputError: both or neither are named; a place without the dataset's name.
    """
    from pellucid.types import InputError

    if bool(images) == (data is not None):
        raise InputError("name image files, or a dataset with --data: one of the two.")
    if data is not None:
        return open_part(data, root, options, split)
    if root is not None:
        raise InputError("--root is where the dataset of --data lies; name the dataset too, or leave it out.")
    return list(images or ())


def name_pairs(texts: Sequence[str] | None, option: str) -> dict[str, list[str]]:
    """``["a=1", "a=2"]`` as ``{"a": ["1", "2"]}``: what stands on the right of each name on the left.

    Raises:
        InputError: a text without a name on either side.
    """
    from pellucid.types import InputError

    pairs: dict[str, list[str]] = {}
    for text in texts or ():
        left, _, right = text.partition("=")
        if not left.strip() or not right.strip():
            raise InputError(f"{option} {text!r}: expected two names with an equals sign between them, as A=B.")
        pairs.setdefault(left.strip(), []).append(right.strip())
    return pairs


def single_values(texts: Sequence[str] | None, option: str) -> dict[str, str]:
    """``["a=1", "b=2"]`` as ``{"a": "1", "b": "2"}``.

    Raises:
        InputError: a text without a name on either side; a name that is given more than once.
    """
    from pellucid.types import InputError

    pairs = name_pairs(texts, option)
    for name, others in pairs.items():
        if len(others) > 1:
            raise InputError(f"{option} names {name!r} more than once, with {' and '.join(others)}.")
    return {name: others[0] for name, others in pairs.items()}


def class_map(texts: Sequence[str] | None) -> dict[str, str]:
    """What --map says: the data's name for each of the model's classes that is named.

    Raises:
        InputError: a class of the model that is named twice.
    """
    return single_values(texts, "--map")
