"""The half-Huber ReLU of Woods et al. 2019 as a function, with its first and second derivative written by hand.

Three elementwise kernels, `_value`, `_first` and `_second`, run eagerly in two passes over memory each, or compiled in
one (`compiled_kernels`).
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import cache
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_aten = torch.ops.aten
_NO_REDUCTION = 0
_compiled = False  # a global and no context variable: the backward pass of a GPU runs in a thread of its own


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
        return _fused_value(x, x.new_tensor([delta, 1 / delta]))
    result: Tensor = _HalfHuber.apply(x, delta)  # type: ignore[no-untyped-call]
    return result


@contextmanager
def compiled_kernels(on: bool = True, *, device: str | torch.device = "cpu") -> Iterator[None]:
    """Inside, half-Huber ReLUs run compiled: one pass over memory for the value and for each derivative.

    The first use on a machine compiles for some seconds; shapes and δ may change without compiling again. Which
    kernels a backward pass uses is decided when it runs.

    Args:
        on: False leaves everything as it is, so that a setting can be handed in.
        device: where the network is: compiling is tried out there at once.

    Raises:
        InputError: compiling fails, as it does without a C++ compiler.

    Example:
        >>> with compiled_kernels(False):
        ...     half_huber(torch.tensor(2.0))
        tensor(1.7500)
    """
    global _compiled  # noqa: PLW0603
    before = _compiled
    try:
        if on:
            _try_out(torch.device(device))
            _compiled = True
        yield
    finally:
        _compiled = before


class _HalfHuber(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, delta: float) -> Any:  # noqa: ANN401
        return _run(_fused_value, _value, x, delta=delta)

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
        return _run(_fused_first, _first, gradient, x, delta=delta)

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
        return _run(_fused_second, _second, outer, gradient, x, delta=delta)

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


# -- eager: torch's own kernels, the second of each pair in place. The forms with an output to write into also keep
# autocast out, which would have `smooth_l1_loss` in float32. With its target 0 that loss is the half-Huber function of
# the positive part.


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


# -- compiled: the same as formulas of one pass, `width` being δ and 1/δ. In a tensor, because as a number that may
# change torch 2.13 compiles the first δ into `clamp` for good; both, because a division takes longer than the memory.


def _fused_value(x: Tensor, width: Tensor) -> Tensor:
    low = torch.minimum(x.relu(), width[0])
    return low * (x - low * 0.5) * width[1]


def _fused_first(gradient: Tensor, x: Tensor, width: Tensor) -> Tensor:
    return gradient * (torch.minimum(x.relu(), width[0]) * width[1])


def _fused_second(outer: Tensor, gradient: Tensor, x: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    inside = (x > 0) & (x < width[0])
    return _fused_first(outer, x, width), torch.where(inside, outer * gradient * width[1], 0)


@cache
def _compile(formula: FunctionType, dtype: torch.dtype, device: torch.device, inference: bool) -> Callable[..., Any]:
    """The formula compiled for one kind of tensors; sizes and δ may change.

    Each kind has code of its own, because torch counts how often one code is compiled and gives up at the eighth time.
    `fullgraph` makes giving up an error instead of a silent detour.
    """
    name = "_".join((formula.__name__, *re.findall(r"\w+", f"{dtype} {device} {inference}")))
    own = FunctionType(formula.__code__.replace(co_name=name), formula.__globals__, name)
    compiled = torch.compile(own, dynamic=True, fullgraph=True)
    # the first tensors decide whether the code uses several threads: large ones, of the same kind
    with torch.inference_mode(inference), torch.no_grad():
        large = [torch.zeros(2**20, dtype=dtype, device=device) for _ in range(formula.__code__.co_argcount - 1)]
        compiled(*large, _width(0.5, dtype, device))
    return compiled


def _run_compiled(formula: Any, tensors: Sequence[Tensor], delta: float) -> Any:  # noqa: ANN401
    """On flat tensors that are no views and outside autograd: nothing to compile again for but their kind."""
    with torch.no_grad():
        flat = [tensor.as_strided((tensor.numel(),), (1,)).data for tensor in tensors]
        first = flat[0]
        compiled = _compile(formula, first.dtype, first.device, first.is_inference())
        return compiled(*flat, _width(delta, first.dtype, first.device))


@cache
def _width(delta: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor([delta, 1 / delta], dtype=torch.promote_types(dtype, torch.float32), device=device)


def _run(fused: Callable[..., Any], eager: Callable[..., Any], *tensors: Tensor, delta: float) -> Any:  # noqa: ANN401
    """The kernel that is asked for, without a graph."""
    last = tensors[-1]
    if not _compiled or last.numel() < 2:
        return eager(*tensors, delta)
    order = torch.contiguous_format
    if last.ndim == 4 and not last.is_contiguous() and last.is_contiguous(memory_format=torch.channels_last):
        order = torch.channels_last
    ordered = [tensor.contiguous(memory_format=order) for tensor in tensors]
    shape, strides = last.shape, ordered[-1].stride()
    results = _run_compiled(fused, ordered, delta)
    if isinstance(results, tuple):
        return tuple(result.as_strided(shape, strides) for result in results)
    return results.as_strided(shape, strides)


def _try_out(device: torch.device) -> None:
    """Compile the three kernels.

    Raises:
        InputError: that fails.
    """
    try:
        for formula in (_fused_value, _fused_first, _fused_second):
            _compile(formula, torch.float32, device, False)
    except Exception as error:  # of dynamo, inductor, the compiler, the operating system
        reason = " ".join(str(error).split("\n\n", maxsplit=1)[0].split()) or type(error).__name__
        raise InputError(
            f"the half-Huber ReLU's kernels cannot be compiled for {device.type}: {reason.rstrip('.')}. It takes a C++ "
            "compiler (g++, or the one that the environment variable CXX names) and Python's headers, on a GPU triton "
            "too. Install them, or leave compiled kernels off."
        ) from error
