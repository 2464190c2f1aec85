"""The half-Huber ReLU of Woods et al. 2019 as a function, with its first and second derivative written by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pellucid.types import InputError

_aten = torch.ops.aten
_NO_REDUCTION = 0


def half_huber(x: Tensor, delta: float = 0.5) -> Tensor:
    """0 below 0, x²/(2δ) up to δ, x − δ/2 beyond: twice differentiable, at most δ/2 below ReLU.

    Keeps its input alone for the backward pass. Works in float16, bfloat16, float32 and float64, gives what it was
    given (under autocast too), and under `torch.func.grad`, `vmap` and `jacrev`, but has no forward mode. Its third
    derivative counts as zero.

    Args:
        x: any shape, floating point.
        delta: width of the parabola, above 0.

    Raises:
        InputError: another `delta`, or whole numbers.

    Source:
        Woods, Chen & Teuscher 2019; the published code's own forward is right for δ = 0.5 only, this for every δ.

    Example:
        >>> half_huber(torch.tensor([0.25, 2.0]), 0.5)
        tensor([0.0625, 1.7500])
    """
    if not delta > 0:
        raise InputError(f"the half-Huber ReLU's delta must be above 0; found {delta!r}.")
    if not x.is_floating_point():
        raise InputError(f"the half-Huber ReLU takes floating point; found {x.dtype}.")
    if torch.compiler.is_compiling():  # somebody compiles the whole network: plain operations fuse best
        low = x.clamp(0, delta)
        return low * (x - low / 2) / delta
    result: Tensor = _HalfHuber.apply(x, delta)  # type: ignore[no-untyped-call]
    return result


def is_half_huber(node: Any) -> bool:  # noqa: ANN401
    """Whether a node of a graph of autograd is a half-Huber ReLU."""
    return getattr(type(node), "_forward_cls", None) is _HalfHuber


class _HalfHuber(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, delta: float) -> Any:  # noqa: ANN401
        return _value(x, delta)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:  # noqa: ANN401, ARG004
        x, ctx.delta = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (x,) = ctx.saved_tensors
        return _First.apply(gradients[0], x, ctx.delta), None  # type: ignore[no-untyped-call]

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, delta: float) -> tuple[Tensor, int]:  # noqa: ANN401, ARG004
        result: Tensor = _HalfHuber.apply(x, delta)  # type: ignore[no-untyped-call]
        return result, in_dims[0]


class _First(torch.autograd.Function):
    """`gradient · h'(x)`, the backward pass."""

    @staticmethod
    def forward(gradient: Tensor, x: Tensor, delta: float) -> Any:  # noqa: ANN401
        return _first(gradient, x, delta)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: Tensor) -> None:  # noqa: ANN401, ARG004
        *tensors, ctx.delta = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401
        gradient, x = ctx.saved_tensors
        to_gradient, to_x = _Second.apply(gradients[0], gradient, x, ctx.delta)  # type: ignore[no-untyped-call]
        return to_gradient, to_x, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> tuple[Tensor, int]:  # noqa: ANN401
        return _First.apply(*_batched(info.batch_size, in_dims, inputs)), 0  # type: ignore[no-untyped-call]


class _Second(torch.autograd.Function):
    """`outer · h'(x)` and `outer · gradient · h''(x)`, the backward pass of the backward pass."""

    @staticmethod
    def forward(outer: Tensor, gradient: Tensor, x: Tensor, delta: float) -> Any:  # noqa: ANN401
        return _second(outer, gradient, x, delta)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401, ARG004
        *tensors, ctx.delta = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # noqa: ANN401
        outer, gradient, x = ctx.saved_tensors
        slope, bend = x.clamp(0, ctx.delta) / ctx.delta, ((x > 0) & (x < ctx.delta)) / ctx.delta
        first, second = gradients
        return first * slope + second * gradient * bend, second * outer * bend, first * outer * bend, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:  # noqa: ANN401
        return _Second.apply(*_batched(info.batch_size, in_dims, inputs)), (0, 0)  # type: ignore[no-untyped-call]


def _batched(size: int, in_dims: tuple[int | None, ...], inputs: tuple[Any, ...]) -> list[Any]:
    """Every tensor with the mapped dimension in front; δ, the last, as it is."""
    tensors = [
        tensor.expand(size, *tensor.shape) if where is None else tensor.movedim(where, 0)
        for tensor, where in zip(inputs[:-1], in_dims[:-1], strict=True)
    ]
    return [*tensors, inputs[-1]]


# Two of torch's own kernels each, the second in place: two passes over memory. The forms with an output to write into
# also keep autocast out, which would have `smooth_l1_loss` in float32. With its target 0 that loss is the half-Huber
# function of the positive part.


def _value(x: Tensor, delta: float) -> Tensor:
    positive = x.relu()
    _aten.smooth_l1_loss.out(positive, _zero(x), _NO_REDUCTION, delta, out=positive)
    return positive


def _first(gradient: Tensor, x: Tensor, delta: float) -> Tensor:
    result = x.relu()
    zero = _zero(x)
    _aten.smooth_l1_loss_backward.grad_input(gradient, result, zero, _NO_REDUCTION, delta, grad_input=result)
    return result


def _second(outer: Tensor, gradient: Tensor, x: Tensor, delta: float) -> tuple[Tensor, Tensor]:
    bend = torch.addcmul(_zero(x), outer, gradient, value=1 / delta)
    _aten.hardtanh_backward.grad_input(bend, x, 0.0, delta, grad_input=bend)  # zero outside (0, δ)
    return _first(outer, x, delta), bend


def _zero(x: Tensor) -> Tensor:
    return x.new_zeros(())
