"""Training batches: gathered from a uint8 array in an order that depends on seed and epoch alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from pellucid.types import Batch, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    from torch import Tensor


@dataclass
class Batches:
    """Shuffled batches of one epoch, split over the processes; an incomplete last batch is left out.

    Attributes:
        images: uint8 (N, C, H, W), in memory or a memory map.
        targets: (N,) or (N, K), as the dataset has them.
        batch_size: images a step, over all processes together.
        device: where the batches go. On an accelerator with room, all images are kept there as uint8.
        rank: this process, of `world` processes.
        world: number of processes.
    """

    images: npt.NDArray[np.uint8]
    targets: npt.NDArray[np.generic]
    batch_size: int
    device: torch.device
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if len(self.images) == 0:
            raise InputError("there are no training images.")
        self.batch_size = min(self.batch_size, len(self.images))
        if self.batch_size % self.world:
            raise InputError(
                f"a batch of {self.batch_size} cannot be split over {self.world} processes; "
                "choose training.batch_size as a multiple of their number."
            )
        self._targets = torch.from_numpy(np.ascontiguousarray(self.targets)).to(self.device)
        self._resident: Tensor | None = None
        if self.device.type == "cuda" and self.images.nbytes < 0.4 * torch.cuda.mem_get_info(self.device)[0]:
            self._resident = torch.tensor(np.asarray(self.images), device=self.device)

    def __len__(self) -> int:
        """Steps an epoch."""
        return len(self.images) // self.batch_size

    def epoch(self, epoch: int, *, seed: int, start: int = 0) -> Iterator[Batch]:
        """This process's batches of one epoch, from step `start` on; images float32 in [0, 1]."""
        order = np.random.default_rng((seed, epoch)).permutation(len(self.images))
        share = self.batch_size // self.world
        for step in range(start, len(self)):
            first = step * self.batch_size + self.rank * share
            yield self._gather(order[first : first + share])

    def _gather(self, rows: npt.NDArray[np.integer]) -> Batch:
        indices = torch.from_numpy(rows.astype(np.int64)).to(self.device)
        if self._resident is not None:
            pixels = self._resident[indices]
        else:
            pixels = torch.tensor(np.asarray(self.images[rows]), device=self.device)
        return Batch(pixels.float().div_(255), self._targets[indices], indices)
