"""What the processes of one training have in common: averages, and chance that does not depend on their number."""

from __future__ import annotations

import os
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def _alone(value: Tensor) -> Tensor:
    return value


@dataclass(frozen=True)
class Processes:
    """One of several processes, each with an equal share of every batch.

    Attributes:
        rank: which.
        world: of how many.
        mean: the mean of a tensor over all of them, the same in each.
    """

    rank: int = 0
    world: int = 1
    mean: Callable[[Tensor], Tensor] = _alone


class BatchRandom:
    """Random numbers for the images of one step: drawn for the joint batch, of which a process takes its rows.

    So the outputs that a penalty looks at, and the images that are attacked, are the same for one process as for
    several with the joint batch. What is drawn image by image in large amounts (noise, augmentation, random starts)
    comes from torch's own generator, seeded for every step and process.

    Args:
        seed: of the step.
        processes: who asks.

    Example:
        >>> whole = BatchRandom(3).uniform(4)
        >>> second = BatchRandom(3, Processes(rank=1, world=2)).uniform(2)
        >>> bool((whole[2:] == second).all())
        True
    """

    def __init__(self, seed: int, processes: Processes | None = None) -> None:
        self.processes = processes or Processes()
        self._generator = torch.Generator().manual_seed(seed)
        self._copies = 1

    def of_copies(self, copies: int) -> BatchRandom:
        """The same chance for batches that hold an image of each kind for every image: first all of one kind."""
        other = copy(self)
        other._copies = copies
        return other

    def uniform(self, *shape: int) -> Tensor:
        """Numbers (N, …) from [0, 1) for this process's N images, on the CPU."""
        return self._rows(torch.rand, shape)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers (N, …) for this process's N images, on the CPU."""
        return self._rows(torch.randn, shape)

    def _rows(self, draw: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        count, *rest = shape
        each = count // self._copies  # in the joint batch a kind's images stand together, those of all processes
        values = draw(self._copies, self.processes.world, each, *rest, generator=self._generator)
        return values[:, self.processes.rank].flatten(0, 1)


def is_first_process() -> bool:
    """Whether this is the first, or the only, of the processes that one command was started in: it alone speaks."""
    return os.environ.get("RANK", "0") == "0"


def leave_process_group() -> None:
    """Leave the process group, if there is one: its threads must end before the process does."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def step_seed(seed: int, step: int, rank: int) -> int:
    """A seed for one step of one process, the same whenever that step is run."""
    return _seed(seed, step, rank)


def joint_seed(seed: int, step: int) -> int:
    """A seed for one step, the same in every process."""
    return _seed(seed, step, 2**31)  # no rank


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
