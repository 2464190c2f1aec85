"""Convolutions of a network that stays as it is: their second derivative costs no gradient of the weights.

torch computes that gradient in every double backward, wanted or not, and one channel at a time where each channel has
a filter of its own: three quarters of the time of an attack on the saliency of an EfficientNet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")


class FrozenConvolution(TorchFunctionMode):
    """Inside, every 2-d convolution whose weights need no gradient is a linear map that is differentiated as one.

    Values and derivatives stay the same. A convolution that torch pads by name ("same"), of one image without a batch,
    or under autocast is left to torch.

    Example:
        >>> import torch.nn.functional as F
        >>> x, weight = torch.rand(1, 4, 5, 5, requires_grad=True), torch.rand(4, 1, 3, 3)
        >>> with FrozenConvolution():
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
        if func is not torch.conv2d:
            return func(*args, **options)
        arguments = dict(zip(_ARGUMENTS, args, strict=False)) | options
        images, weight, bias = arguments["input"], arguments["weight"], arguments.get("bias")
        padding = arguments.get("padding", 0)
        needs_gradient = weight.requires_grad or (bias is not None and bias.requires_grad)
        autocast = torch.is_autocast_enabled(images.device.type)
        if needs_gradient or autocast or images.ndim != 4 or isinstance(padding, str):
            return func(*args, **options)
        stride, dilation = _pair(arguments.get("stride", 1)), _pair(arguments.get("dilation", 1))
        geometry = _Geometry(stride, _pair(padding), dilation, arguments.get("groups", 1))
        return _Forward.apply(images, weight, bias, geometry)  # type: ignore[no-untyped-call]


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
        return torch.nn.functional.conv2d(images, weight, bias, *geometry)

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
