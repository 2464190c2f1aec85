"""`pl.dataset`: a dataset by name, as torch has datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from pellucid.data.dataset import get_split
from pellucid.data.registry import open_dataset
from pellucid.data.torch_dataset import ImageDataset

if TYPE_CHECKING:
    from pathlib import Path


@overload
def dataset(
    name: str, root: str | Path | None = None, split: None = None, *, seed: int = 0, **options: object
) -> dict[str, ImageDataset]: ...


@overload
def dataset(
    name: str, root: str | Path | None = None, *, split: str, seed: int = 0, **options: object
) -> ImageDataset: ...


@overload
def dataset(name: str, root: str | Path | None, split: str, *, seed: int = 0, **options: object) -> ImageDataset: ...


def dataset(
    name: str, root: str | Path | None = None, split: str | None = None, *, seed: int = 0, **options: object
) -> ImageDataset | dict[str, ImageDataset]:
    """Open a dataset; no pixels are read yet.

    Args:
        name: one of `pellucid data list`, as `folder` or `phantom`.
        root: the folder that holds it; left out for what is built in.
        split: `train`, `validation` or `test`; all parts, by name, by default.
        seed: chooses what a dataset leaves to chance, such as the patients of a validation part.
        options: the dataset's own, as ``positive="PNEUMONIA"`` of `folder`.

    Returns:
        A torch `Dataset` of (image, target) pairs that every verb takes; see `ImageDataset`.

    Raises:
        InputError: an unknown name, part or option, or files that are not as expected; with what is.

    Example:
        >>> test = dataset("phantom", split="test", size=32, train=8, validation=4, test=4)
        >>> image, target = test[0]
        >>> len(test), tuple(image.shape), tuple(target.shape)
        (4, (1, 32, 32), (8,))
    """
    splits = open_dataset(name, root, seed=seed, options=options)
    if split is not None:
        return ImageDataset.of(get_split(splits, split))
    return {part: ImageDataset.of(part_data) for part, part_data in splits.items()}
