"""The memory order of a network and its images: what may be trained in `channels_last`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from pellucid.types import InputError
from pellucid.utils.words import listed

if TYPE_CHECKING:
    import torch

_CHANNELS = 8  # from so many input channels on, oneDNN computes the layer's gradient within bounds


def check_memory_order(network: nn.Module, device: torch.device) -> None:
    """Refuse a network that a CPU cannot train in `channels_last`.

    The backward pass of a 1×1 convolution with a stride and fewer than 8 input channels, in this memory order, writes
    beyond its memory in the oneDNN of torch 2.13 on processors with AVX2: the process dies, or its numbers are wrong
    (docs/decisions/0013-channels-last-on-a-cpu.md).

    Raises:
        InputError: with the layers.
    """
    if device.type != "cpu":
        return
    layers = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and max(module.stride) > 1
        and module.in_channels // module.groups < _CHANNELS
    ]
    if layers:
        raise InputError(
            f"training.channels_last = true, but a CPU cannot train {listed(layers, 3)} in this memory "
            f"order: a 1×1 convolution with a stride and fewer than {_CHANNELS} input channels makes torch write "
            f"beyond its memory. Set training.channels_last=false, or give the network layers of at least "
            f"{_CHANNELS} channels."
        )
