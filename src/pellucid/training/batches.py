"""Training batches: gathered from an array of pixels in an order that depends on seed and epoch alone."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import torch

from pellucid.types import Batch, InputError, in_unit_range

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    from torch import Tensor

    from pellucid.training.annotation_data import AnnotatedImages
    from pellucid.types import Pixels


@dataclass
class Batches:
    """Shuffled batches of one epoch, split over the processes; an incomplete last batch is left out.

    Attributes:
        images: uint8 or uint16 (N, C, H, W), in memory or a memory map.
        targets: (N,) or (N, K), as the dataset has them.
        batch_size: images per step, over all processes together.
        device: where the batches go. On an accelerator with room, all images are kept there as uint8.
        rank: this process, of `world` processes.
        world: number of processes.
        annotated: which images are annotated, and what is marked on them.
        annotated_share: of every batch, annotated images: in turn, and more often than others where they are few; with
            0, as often as the others. An epoch goes once through the others.
    """

    images: Pixels
    targets: npt.NDArray[np.generic]
    batch_size: int
    device: torch.device
    rank: int = 0
    world: int = 1
    annotated: AnnotatedImages | None = None
    annotated_share: float = 0.0

    def __post_init__(self) -> None:
        if len(self.images) == 0:
            raise InputError("there are no training images.")
        self.batch_size = min(self.batch_size, len(self.images))
        check_share(self.batch_size, self.world)
        self._chosen = self._annotated_in_a_batch()
        self._others = len(self.images) - (len(self.annotated.rows) if self._chosen and self.annotated else 0)
        self._targets = torch.from_numpy(np.ascontiguousarray(self.targets)).to(self.device)
        self._resident: Tensor | None = None
        if self.device.type == "cuda" and self.images.nbytes < 0.4 * torch.cuda.mem_get_info(self.device)[0]:
            self._resident = torch.tensor(np.asarray(self.images), device=self.device)

    def __len__(self) -> int:
        """Steps per epoch."""
        return self._others // (self.batch_size - self._chosen)

    def epoch(self, epoch: int, *, seed: int, start: int = 0) -> Iterator[Batch]:
        """This process's batches of one epoch, from step `start` on; images float32 in [0, 1]."""
        order = self._order(np.random.default_rng((seed, epoch)))
        share = self.batch_size // self.world
        for rows in order[start:, self.rank * share : (self.rank + 1) * share]:
            yield self._gather(rows)

    def _annotated_in_a_batch(self) -> int:
        """How many images of each joint batch are annotated ones; 0 where they come as all others do."""
        available = 0 if self.annotated is None else len(self.annotated.rows)
        if not 0 < available < len(self.images) or not self.annotated_share or self.batch_size == 1:
            return 0
        count = min(max(round(self.annotated_share * self.batch_size), 1), self.batch_size - 1)
        return max(count, self.batch_size - (len(self.images) - available))  # the others may not fill the rest

    def _order(self, generator: np.random.Generator) -> npt.NDArray[np.int64]:
        """The rows of an epoch's joint batches, (steps, batch size)."""
        steps = len(self)
        if not self._chosen:
            return generator.permutation(len(self.images))[: steps * self.batch_size].reshape(steps, -1)
        assert self.annotated is not None
        rows = self.annotated.rows
        others = generator.permutation(np.setdiff1d(np.arange(len(self.images)), rows))
        rounds = ceil(steps * self._chosen / len(rows))
        annotated_rows = np.concatenate([generator.permutation(rows) for _ in range(rounds)])
        counts = self._chosen, self.batch_size - self._chosen
        both = [part[: steps * n].reshape(steps, n) for part, n in zip((annotated_rows, others), counts, strict=True)]
        return generator.permuted(np.hstack(both), axis=1)  # so that every process has its part of each

    def _gather(self, rows: npt.NDArray[np.integer]) -> Batch:
        indices = torch.from_numpy(rows.astype(np.int64)).to(self.device)
        if self._resident is not None:
            pixels = self._resident[indices]
        else:
            pixels = torch.from_numpy(np.asarray(self.images[rows])).to(self.device)
        marks = None if self.annotated is None else self.annotated.marks(rows, self.device)
        return Batch(in_unit_range(pixels), self._targets[indices], indices, marks)


def check_share(batch_size: int, world: int) -> None:
    """Refuse a batch that several processes cannot share equally.

    Raises:
        InputError: with both numbers.
    """
    if batch_size % world:
        raise InputError(
            f"a batch of {batch_size} cannot be split over {world} processes; "
            "choose training.batch_size as a multiple of their number."
        )
