"""Training batches from shards that are fetched as they are needed: for data larger than this machine's disk."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from pellucid.data.cache.shards import LANES
from pellucid.training.batches import check_share
from pellucid.types import Batch, InputError, in_unit_range

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from pellucid.data.cache.shard_store import Shards
    from pellucid.types import Pixels


@dataclass(frozen=True)
class _Lane:
    """One shard that is being fetched, or was, and the order of its images in this epoch."""

    pixels: Future[Pixels]
    order: npt.NDArray[np.int64]
    first: int


@dataclass
class StreamedBatches:
    """Shuffled batches of one epoch from shards, each process reading its own.

    The order depends on seed and epoch alone. The shards are shuffled and taken in windows of `LANES`, whose images
    are shuffled shard by shard and then dealt in turn, one of each: position p of the epoch comes from lane p mod
    LANES, and process r of w has the lanes r, r + w, …. So the joint batches are the same for 1, 2, 4 or 8 processes.
    A process holds its shards of one window, and fetches those of the next meanwhile. From every shard as many images
    are taken as the smallest has: one less than it has, at most; which one is left out changes from epoch to epoch.

    Attributes:
        shards: the pixels.
        targets: (N,) or (N, K), as the dataset has them.
        batch_size: images per step, over all processes together.
        device: where the batches go.
        rank: this process, of `world` processes.
        world: number of processes.
    """

    shards: Shards
    targets: npt.NDArray[np.generic]
    batch_size: int
    device: torch.device
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        count = len(self.shards.manifest.files)
        if count % LANES:
            raise InputError(
                f"streaming takes shards {LANES} at a time; found {count}. Name a folder with --cache, to fetch them "
                "all first."
            )
        if LANES % self.world:
            raise InputError(f"1, 2, 4 or {LANES} processes can share shards; found {self.world}. Name a --cache.")
        self._each = int(np.diff(self.shards.starts).min())
        self.batch_size = min(self.batch_size, count * self._each)
        check_share(self.batch_size, self.world)
        self._targets = torch.from_numpy(np.ascontiguousarray(self.targets)).to(self.device)

    def __len__(self) -> int:
        """Steps per epoch."""
        return len(self.shards.manifest.files) * self._each // self.batch_size

    def epoch(self, epoch: int, *, seed: int, start: int = 0) -> Iterator[Batch]:
        """This process's batches of one epoch, from step `start` on; images float32 in [0, 1].

        Raises:
            InputError: if a shard cannot be read, or is not what was written.
        """
        order = np.random.default_rng((seed, epoch)).permutation(len(self.shards.manifest.files))
        windows = order.reshape(-1, LANES)
        span = LANES * self._each  # positions of a window
        with ThreadPoolExecutor(LANES // self.world, thread_name_prefix="pellucid-shards") as pool:
            lanes_of: dict[int, dict[int, _Lane]] = {}  # window → lane
            try:
                for step in range(start, len(self)):
                    positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
                    mine = positions[positions % self.world == self.rank]
                    first, last = int(mine[0]) // span, int(mine[-1]) // span
                    for window in range(first, min(last + 2, len(windows))):  # one more than is needed now
                        if window not in lanes_of:
                            lanes = range(self.rank, LANES, self.world)
                            lanes_of[window] = {
                                k: self._lane(int(windows[window][k]), (seed, epoch), pool) for k in lanes
                            }
                    for window in [w for w in lanes_of if w < first]:
                        del lanes_of[window]
                    yield self._gather(mine, lanes_of, span)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _lane(self, shard: int, seed: tuple[int, int], pool: ThreadPoolExecutor) -> _Lane:
        order = np.random.default_rng((*seed, shard)).permutation(self.shards.manifest.files[shard].images)
        return _Lane(pool.submit(self.shards.fetch, shard), order, int(self.shards.starts[shard]))

    def _gather(self, positions: npt.NDArray[np.int64], lanes_of: dict[int, dict[int, _Lane]], span: int) -> Batch:
        rows, pixels = [], []
        for position in positions.tolist():
            window, inside = divmod(position, span)
            lane = lanes_of[window][inside % LANES]
            place = int(lane.order[inside // LANES])
            rows.append(lane.first + place)
            pixels.append(lane.pixels.result()[place])
        indices = torch.tensor(rows, device=self.device)
        images = in_unit_range(torch.from_numpy(np.stack(pixels)).to(self.device))
        return Batch(images, self._targets[indices], indices)
