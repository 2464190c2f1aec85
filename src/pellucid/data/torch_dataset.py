"""A part of a dataset as torch has datasets: pairs of an image and its target, for any `DataLoader`."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pellucid.data.dataset import Dataset
from pellucid.data.decoding.file_pixels import fitted
from pellucid.types import InputError, InputSpec, in_unit_range

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class ImageDataset(Dataset, torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """A `Dataset` whose items are (image, target).

    The image is float32 (C, H, W) in [0, 1], at its own size unless `resize` says another; the target int64 () of a
    multiclass task, float32 (K,) with NaN where unknown of a multi-label one.

    Attributes:
        item_spec: channels and size of the items; None for each image's own.
    """

    item_spec: InputSpec | None = None

    @classmethod
    def of(cls, dataset: Dataset) -> ImageDataset:
        """The same images and labels."""
        return cls(**{f.name: getattr(dataset, f.name) for f in fields(Dataset)})

    def resize(self, size: int | InputSpec, channels: int | None = None) -> ImageDataset:
        """The same images with items of one size, brought there as a model's images are, so that batches can be made.

        What a verb does with the images does not depend on it.

        Args:
            size: height and width of a square that the images are stretched to, or a model's `input_spec`.
            channels: 1 or 3; the dataset's own by default, or those of the `input_spec`.
        """
        own = InputSpec.square(self.card.native_channels, size) if isinstance(size, int) else size
        return replace(self, item_spec=own if channels is None else replace(own, channels=channels))

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """The image and the target at `index`; negative ones count from the end."""
        row = range(len(self))[index]
        return self._image(row), torch.from_numpy(np.array(self.targets[row]))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One pair after the other."""
        return (self[row] for row in range(len(self)))

    def __add__(self, other: torch.utils.data.Dataset[Any]) -> torch.utils.data.ConcatDataset[Any]:
        """Both, one after the other, if they have the same classes.

        Raises:
            InputError: classes that differ, whose targets would mean different things.
        """
        if isinstance(other, Dataset) and other.classes != self.classes:
            raise InputError(
                f"cannot join images of the classes {', '.join(self.classes)} with ones of {', '.join(other.classes)}."
            )
        return torch.utils.data.ConcatDataset([self, other])

    def _image(self, row: int) -> Tensor:
        if self.item_spec is not None:
            picture, _ = fitted(self, row, self.item_spec)
            return in_unit_range(torch.from_numpy(np.array(picture)))
        pixels = np.array(self.read(row))
        return in_unit_range(torch.from_numpy(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1).copy()))
