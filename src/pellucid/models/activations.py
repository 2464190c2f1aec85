"""The half-Huber ReLU of Woods et al. 2019: a ReLU with a parabola where its corner was; and activations by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pellucid.resources import nearest
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable


class _HalfHuber(torch.autograd.Function):
    """Keeps only its input, where the composed form would keep three intermediate tensors."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, delta: float) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x)
        ctx.delta = delta
        low = x.clamp(0, delta)
        return low * (x - low / 2) / delta

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (x,) = ctx.saved_tensors
        # differentiable operations, so that a second derivative exists: 1/δ between 0 and δ
        return gradients[0] * (x.clamp(0, ctx.delta) / ctx.delta), None


def half_huber(x: Tensor, delta: float = 0.5) -> Tensor:
    """0 below 0, x²/(2δ) up to δ, x − δ/2 beyond: twice differentiable, at most δ/2 below ReLU.

    Args:
        x: any shape.
        delta: width of the parabola, above 0.

    Source:
        Woods, Chen & Teuscher 2019; the published code's own forward is right for δ = 0.5 only, this for every δ.

    Example:
        >>> half_huber(torch.tensor([0.25, 2.0]), 0.5)
        tensor([0.0625, 1.7500])
    """
    result: Tensor = _HalfHuber.apply(x, delta)  # type: ignore[no-untyped-call]
    return result


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


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "half-huber": HalfHuberReLU}
"""What a network's option `activation` can name."""


def activation_named(name: str) -> Callable[[], nn.Module]:
    """The activation of that name, to be made once for each place it stands in.

    Raises:
        InputError: an unknown name, with the nearest one.

    Example:
        >>> activation_named("half-huber")()
        HalfHuberReLU(delta=0.5)
    """
    if name not in ACTIVATIONS:
        raise InputError(f"unknown activation {name!r}. {nearest(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]
