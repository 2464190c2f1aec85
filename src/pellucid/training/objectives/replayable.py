"""A forward pass that can be made again on other images: as a function of the images alone."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from pellucid.models.dual_norm import using_norm
from pellucid.training.objectives.same_side import KeptSides, NotedSides

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from torch import Tensor, nn


class ReplayableForward:
    """Calls a network, and again with the same dropout and without a trace on batch norm's running statistics.

    A finite difference compares two passes that may differ in the images only.

    Args:
        network: images → logits.
        norm: which of two sets of batch norm it uses; None for a network with one.
        notes_sides: whether the first pass notes on which side of its corner every ReLU's input lies.

    Example:
        >>> network = ReplayableForward(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5)))
        >>> images = torch.ones(2, 1, 8, 8)
        >>> first = network(images)
        >>> bool((network.again(images) == first).all())
        True
    """

    def __init__(self, network: nn.Module, *, norm: int | None = None, notes_sides: bool = False) -> None:
        self.network, self.norm, self.notes_sides = network, norm, notes_sides
        self._state: list[Tensor] = []
        self._noted = NotedSides()

    def __call__(self, images: Tensor) -> Tensor:
        """The logits (N, K) of images (N, C, H, W), in the network's own mode."""
        self._state = [torch.get_rng_state()]
        if images.is_cuda:
            self._state.append(torch.cuda.get_rng_state(images.device))
        self._noted = NotedSides()
        with self._set(), self._noted if self.notes_sides else nullcontext():
            logits: Tensor = self.network(images)
            return logits

    def again(self, images: Tensor, *, same_side: bool = False) -> Tensor:
        """The logits of other images under the same chance; torch's generators are afterwards as they were.

        Args:
            images: (N, C, H, W).
            same_side: whether every ReLU lets through what lay above its corner in the first pass, which noted it.
        """
        with (
            torch.random.fork_rng([images.device] if images.is_cuda else []),
            self._set(),
            statistics_kept(self.network),
            KeptSides(self._noted.sides) if same_side else nullcontext(),
        ):
            torch.set_rng_state(self._state[0])
            if images.is_cuda:
                torch.cuda.set_rng_state(self._state[1], images.device)
            logits: Tensor = self.network(images)
            return logits

    def _set(self) -> AbstractContextManager[None]:
        return nullcontext() if self.norm is None else using_norm(self.network, self.norm)


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """Forward passes inside use the batch's statistics where they did, but change no running ones."""
    tracking = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]
    try:
        for module in tracking:
            module.track_running_stats = False
        yield
    finally:
        for module in tracking:
            module.track_running_stats = True
