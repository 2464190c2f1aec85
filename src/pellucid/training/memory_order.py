"""What may be trained in the memory order `channels_last`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.models.memory_order import NARROW, narrow_layers
from pellucid.types import InputError
from pellucid.utils.words import listed

if TYPE_CHECKING:
    import torch
    from torch import nn


def check_memory_order(network: nn.Module, device: torch.device) -> None:
    """Refuse a network that a CPU cannot train in `channels_last`: with `narrow_layers`.

    Raises:
        InputError: with the layers.
    """
    layers = narrow_layers(network) if device.type == "cpu" else []
    if layers:
        raise InputError(
            f"training.channels_last = true, but a CPU cannot train {listed(layers, 3)} in this memory "
            f"order: a 1×1 convolution with a stride and fewer than {NARROW} input channels makes torch write "
            f"beyond its memory. Set training.channels_last=false, or give the network layers of at least "
            f"{NARROW} channels."
        )
