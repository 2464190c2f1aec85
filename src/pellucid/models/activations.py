"""Activations by name; among them the half-Huber ReLU of Woods et al. 2019: a parabola where ReLU has its corner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from pellucid.models.architectures.half_huber import half_huber
from pellucid.types import InputError
from pellucid.utils.resources import check_known

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ACTIVATIONS", "HalfHuberReLU", "activation_named", "half_huber"]


class HalfHuberReLU(nn.Module):
    """The half-Huber ReLU as a module; see `half_huber`."""

    def __init__(self, delta: float = 0.5) -> None:
        super().__init__()
        if not delta > 0:
            raise InputError(f"the half-Huber ReLU's delta must be above 0; found {delta!r}.")
        self.delta = float(delta)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return half_huber(x, self.delta)

    def extra_repr(self) -> str:
        """Shown when printed."""
        return f"delta={self.delta:g}"


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "half-huber": HalfHuberReLU, "relu6": nn.ReLU6}
"""What every network's option `activation` can name."""


def activation_named(name: str) -> Callable[[], nn.Module]:
    """The activation of that name, to be made once for each place it stands in.

    Raises:
        InputError: an unknown name, with the nearest one.

    Example:
        >>> activation_named("half-huber")()
        HalfHuberReLU(delta=0.5)
    """
    check_known([name], ACTIVATIONS, "activation")
    return ACTIVATIONS[name]
