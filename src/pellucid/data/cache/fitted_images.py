"""Images of a dataset as a network takes them: one object instead of a dataset, a shape and a folder everywhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from pellucid.data.cache.pixels import counted_pixels
from pellucid.data.decoding.file_pixels import placements

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pellucid.data.cache.small_images import SmallImages
    from pellucid.data.dataset import Dataset
    from pellucid.data.placement import Placement
    from pellucid.types import InputSpec, Pixels


@dataclass(frozen=True, eq=False)
class FittedImages:
    """Images, and what they are fitted to; decoded once, when their pixels are first used.

    Attributes:
        dataset: the N images.
        spec: channels, height, width and geometry of what the network takes.
        cache: the folder of decoded images; None keeps them in memory.

    Example:
        >>> from pellucid.data import open_dataset
        >>> from pellucid.types import InputSpec
        >>> test = open_dataset("phantom", options={"train": 1, "test": 4})["test"]
        >>> images = FittedImages(test, InputSpec.square(1, 32))
        >>> images.limit(2).pixels.shape
        (2, 1, 32, 32)
    """

    dataset: Dataset
    spec: InputSpec
    cache: Path | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def pixels(self) -> Pixels:
        """uint8 or uint16 (N, C, H, W).

        Raises:
            InputError: as by `materialize`.
        """
        return self._decoded[0]

    @property
    def small(self) -> SmallImages | None:
        """How many of the images are small for what they are fitted to; None where that is not known.

        Raises:
            InputError: as by `materialize`.
        """
        return self._decoded[1]

    @cached_property
    def _decoded(self) -> tuple[Pixels, SmallImages | None]:
        return counted_pixels(self.dataset, self.spec, directory=self.cache, progress=True)

    @cached_property
    def places(self) -> list[Placement]:
        """Where each image lies in what the network takes.

        Raises:
            InputError: as by `placements`.
        """
        return placements(self.dataset, self.spec)

    def subset(self, rows: Sequence[int]) -> FittedImages:
        """The images of these rows."""
        return replace(self, dataset=self.dataset.subset(rows))

    def limit(self, count: int | None, *, seed: int = 0) -> FittedImages:
        """At most `count` images, chosen as by `Dataset.limit`; the same object where that is all of them."""
        limited = self.dataset.limit(count, seed=seed)
        return self if limited is self.dataset else replace(self, dataset=limited)
