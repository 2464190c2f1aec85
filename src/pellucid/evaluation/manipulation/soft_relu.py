"""A ReLU with a soft corner: values and first derivatives stay the network's own, only the second derivative is smooth.

The gradient of a ReLU network is constant on pieces, so its own derivative is zero and nothing shows how to change a
saliency map. Ghorbani et al. 2019 and Dombrowski et al. 2019 replace each ReLU by a softplus and attack that other
network. Here only the second derivative is the softplus's, so the map that is being changed is always the real one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

SHARPNESS = 10.0
"""β of the softplus whose second derivative stands in: ``β σ(βx) (1 − σ(βx))``."""


class SoftReLU(TorchFunctionMode):
    """Inside, every ReLU and ReLU6 that torch is asked for is one with a soft corner, module or function.

    Nothing is replaced in the network, so one that calls ``F.relu`` needs no surgery. Other activations stay as they
    are: a half-Huber ReLU, a sigmoid or a SiLU has a second derivative of its own.

    Args:
        sharpness: β, above 0.

    Example:
        >>> x = torch.tensor([-1.0, 0.0, 0.5], requires_grad=True)
        >>> with SoftReLU():
        ...     (slope,) = torch.autograd.grad(F.relu(x).sum(), x, create_graph=True)
        >>> slope.detach(), [round(float(v), 3) for v in torch.autograd.grad(slope.sum(), x)[0]]
        (tensor([0., 0., 1.]), [0.0, 2.5, 0.066])
    """

    def __init__(self, sharpness: float = SHARPNESS) -> None:
        super().__init__()
        self.sharpness = sharpness

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        options = kwargs or {}
        ceiling = _ceiling(func, args, options)
        if ceiling is None:
            return func(*args, **options)
        x: Tensor = args[0] if args else options["input"]
        place = 3 if func is F.hardtanh else 1  # of `inplace` among the arguments
        writes = func in _IN_PLACE or bool(args[place] if len(args) > place else options.get("inplace", False))
        soft: Tensor = _SoftReLU.apply(x.clone() if writes else x, self.sharpness, ceiling)  # type: ignore[no-untyped-call]
        return x.copy_(soft) if writes else soft


_IN_PLACE = frozenset({torch.relu_, torch.Tensor.relu_, torch._C._nn.relu6_})
_CEILINGS: dict[Any, float] = {
    **dict.fromkeys((F.relu, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_), math.inf),
    **dict.fromkeys((F.relu6, torch._C._nn.relu6, torch._C._nn.relu6_), 6.0),
}


def _ceiling(func: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> float | None:
    """Where a call's ReLU ends; None for whatever is no ReLU. `nn.ReLU6` is a hardtanh from 0."""
    if func is not F.hardtanh:
        return _CEILINGS.get(func)
    low, high = (
        args[place] if len(args) > place else options.get(name, default)
        for place, name, default in ((1, "min_val", -1.0), (2, "max_val", 1.0))
    )
    return float(high) if low == 0 else None


class _SoftReLU(torch.autograd.Function):
    """clamp(x, 0, ceiling); its gradient is differentiable in turn."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sharpness: float, ceiling: float) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x)
        ctx.shape = sharpness, ceiling
        return x.clamp(0, ceiling)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        slope: Tensor = _Slope.apply(*ctx.saved_tensors, *ctx.shape)  # type: ignore[no-untyped-call]
        return gradients[0] * slope, None, None


class _Slope(torch.autograd.Function):
    """1 where clamp rises, else 0; its gradient is the softplus's second derivative at each corner."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sharpness: float, ceiling: float) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x)
        ctx.shape = sharpness, ceiling
        return ((x > 0) & (x < ceiling)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        (x,), (sharpness, ceiling) = ctx.saved_tensors, ctx.shape
        bend = _bump(x.clone(), sharpness)
        if ceiling < math.inf:
            bend -= _bump(x - ceiling, sharpness)
        return bend.mul_(gradients[0]), None, None


def _bump(x: Tensor, sharpness: float) -> Tensor:
    """``β σ(βx) (1 − σ(βx))``; writes over x, since these passes over memory are a good part of an attack's time."""
    chance = x.mul_(sharpness).sigmoid_()
    return chance.mul(sharpness).mul_(chance.neg_().add_(1))
