"""Convolutions and batch norms of a network that stays as it is: their second derivative costs no more than the first.

torch computes the gradient of a convolution's weights in every double backward, wanted or not, and one channel at a
time where each channel has a filter of its own: three quarters of the time of an attack on the saliency of one image by
an EfficientNet. The second derivative of a batch norm it puts together from many passes over the map, and a frozen norm
is a factor for each channel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

_OF_CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_OF_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")


class FrozenLayers(TorchFunctionMode):
    """Inside, 2-d convolutions and batch norms that need no gradient are differentiated as the linear maps they are.

    Values and derivatives stay the same. Left to torch is a convolution that it pads by name ("same"), or of one image
    without a batch; a norm that takes its statistics from the batch; and what runs under autocast.

    Example:
        >>> x, weight = torch.rand(1, 4, 5, 5, requires_grad=True), torch.rand(4, 1, 3, 3)
        >>> with FrozenLayers():
        ...     (slope,) = torch.autograd.grad(F.conv2d(x, weight, groups=4).square().sum(), x, create_graph=True)
        >>> torch.autograd.grad(slope.square().sum(), x)[0].shape
        torch.Size([1, 4, 5, 5])
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        options = kwargs or {}
        layer = None
        if func is torch.conv2d:
            layer = _convolution(dict(zip(_OF_CONVOLUTION, args, strict=False)) | options)
        elif func is F.batch_norm:
            layer = _norm(dict(zip(_OF_NORM, args, strict=False)) | options)
        return func(*args, **options) if layer is None else layer


def _convolution(arguments: Mapping[str, Any]) -> Tensor | None:
    """The convolved images; None for what is left to torch."""
    images, weight, bias = arguments["input"], arguments["weight"], arguments.get("bias")
    padding = arguments.get("padding", 0)
    if not _is_frozen(images, weight, bias) or images.ndim != 4 or isinstance(padding, str):
        return None
    stride, dilation = _pair(arguments.get("stride", 1)), _pair(arguments.get("dilation", 1))
    geometry = _Geometry(stride, _pair(padding), dilation, arguments.get("groups", 1))
    convolved: Tensor = _Forward.apply(images, weight, bias, geometry)  # type: ignore[no-untyped-call]
    return convolved


def _norm(arguments: Mapping[str, Any]) -> Tensor | None:
    """The normalised images; None for what is left to torch."""
    images, variance, weight = arguments["input"], arguments.get("running_var"), arguments.get("weight")
    statistics = arguments.get("running_mean"), variance
    if arguments.get("training", False) or variance is None or images.dtype != variance.dtype:
        return None
    if not _is_frozen(images, *statistics, weight, arguments.get("bias")):
        return None
    factor = (variance + arguments.get("eps", 1e-5)).rsqrt() * (1 if weight is None else weight)
    values = (*statistics, weight, arguments.get("bias"), arguments.get("eps", 1e-5))
    normalised: Tensor = _Normalised.apply(images, factor.view(-1, *[1] * (images.ndim - 2)), values)  # type: ignore[no-untyped-call]
    return normalised


def _is_frozen(images: Tensor, *tensors: Tensor | None) -> bool:
    needs_gradient = any(tensor is not None and tensor.requires_grad for tensor in tensors)
    return not needs_gradient and not torch.is_autocast_enabled(images.device.type)


class _Normalised(torch.autograd.Function):
    """Images to normalised images, whose gradient is multiplied by a factor for each channel."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, factor: Tensor, values: tuple[Any, ...]) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(factor)
        mean, variance, weight, bias, eps = values
        return F.batch_norm(images, mean, variance, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        return _Scaled.apply(gradients[0], *ctx.saved_tensors), None, None  # type: ignore[no-untyped-call]


class _Scaled(torch.autograd.Function):
    """Maps times a factor for each channel."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, factor: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(factor)
        return maps * factor

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return _Scaled.apply(gradients[0], *ctx.saved_tensors), None  # type: ignore[no-untyped-call]


class _Geometry(NamedTuple):
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


def _pair(side: int | tuple[int, ...]) -> tuple[int, int]:
    down, across = (side, side) if isinstance(side, int) else side * 2 if len(side) == 1 else side
    return down, across


class _Forward(torch.autograd.Function):
    """Images to convolved images."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, geometry: _Geometry) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(weight)
        ctx.shape, ctx.geometry = images.shape, geometry
        return F.conv2d(images, weight, bias, *geometry)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401
        (weight,) = ctx.saved_tensors
        return _Transposed.apply(gradients[0], weight, ctx.shape, ctx.geometry), None, None, None  # type: ignore[no-untyped-call]


class _Transposed(torch.autograd.Function):
    """The gradient with respect to convolved images to that with respect to the images."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, weight: Tensor, shape: torch.Size, geometry: _Geometry) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(weight)
        ctx.geometry = geometry
        stride, padding, dilation, groups = geometry
        images = gradient.new_empty(1).expand(shape)  # only their shape is looked at
        mask = [True, False, False]
        result: Tensor = torch.ops.aten.convolution_backward(
            gradient, images, weight, None, stride, padding, dilation, False, [0, 0], groups, mask
        )[0]
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401
        (weight,) = ctx.saved_tensors
        return _Forward.apply(gradients[0], weight, None, ctx.geometry), None, None, None  # type: ignore[no-untyped-call]
