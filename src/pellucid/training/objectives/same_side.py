"""ReLUs that keep to one side of their corner, so that a difference of two passes does not step across it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pellucid.models.classifier import frozen
from pellucid.models.kinks import kinks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

_IN_PLACE = frozenset({F.relu_, torch.relu_, Tensor.relu_})
_RELUS = frozenset({F.relu, torch.relu, Tensor.relu}) | _IN_PLACE
_KEPT = {"Where", "MaskedFill"}
"""What stands for a ReLU that keeps to its side, as autograd names it."""


class NotedSides(TorchFunctionMode):
    """Notes of every ReLU, in the order in which they act, which values lay above the corner.

    Attributes:
        sides: boolean, one tensor for each ReLU, of its shape.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sides: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        result = func(*args, **(kwargs or {}))
        if func in _RELUS:
            self.sides.append(result.detach() > 0)
        return result


class KeptSides(TorchFunctionMode):
    """ReLUs that let through what lay above the corner when it was noted, and nothing else, whatever its sign now.

    Example:
        >>> relu = torch.nn.ReLU()
        >>> with NotedSides() as noted:
        ...     first = relu(torch.tensor([-1.0, 1.0]))
        >>> with KeptSides(noted.sides):
        ...     relu(torch.tensor([1.0, -1.0]))
        tensor([ 0., -1.])
    """

    def __init__(self, sides: Iterable[Tensor]) -> None:
        super().__init__()
        self._sides = iter(sides)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        named = kwargs or {}
        if func not in _RELUS:
            return func(*args, **named)
        values: Tensor = args[0] if args else named["input"]
        side = next(self._sides)
        if func in _IN_PLACE or named.get("inplace") or True in args[1:]:
            return values.masked_fill_(~side, 0.0)
        return torch.where(side, values, 0.0)


def sides_can_be_kept(network: nn.Module, images: Tensor) -> bool:
    """Whether the network has kinks, all of them ReLUs' that torch lets us see: not such as compiled code has.

    Args:
        network: any; it is left as it is.
        images: float (N, C, H, W) on its device; one is enough.

    Example:
        >>> first = torch.nn.Conv2d(1, 2, 3)
        >>> sides_can_be_kept(torch.nn.Sequential(first, torch.nn.ReLU()), torch.rand(1, 1, 8, 8))
        True
        >>> sides_can_be_kept(torch.nn.Sequential(first, torch.nn.ReLU6()), torch.rand(1, 1, 8, 8))
        False
    """
    if kinks(network, images) != ["Relu"]:
        return False
    with torch.no_grad(), frozen(network), NotedSides() as noted:
        network(images)
    with KeptSides(noted.sides):
        return set(kinks(network, images)) <= _KEPT
