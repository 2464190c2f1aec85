"""What each ONNX operator computes, in torch: those that exported convolutional networks and transformers use.

Source:
    github.com/onnx/onnx, docs/Operators.md, opsets 11 to 23.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Inputs = Sequence[Any]  # tensors; None for an input that was left out
Attributes = Mapping[str, Any]
Operator = Callable[[Inputs, Attributes], Any]

TYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float32,  # half precision is computed with in single
    11: torch.float64,
    16: torch.float32,
}


RESIZE_MODES = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}
"""ONNX's names and torch's."""


FLAT_SOFTMAX = 13
"""The opset before which `Softmax` and `LogSoftmax` take their axis, 1 by default, and all after it for one."""


def numbers(tensor: Tensor) -> list[int]:
    """The values of a tensor of whole numbers."""
    return [int(value) for value in tensor.flatten().tolist()]


def _beside(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Two tensors on one device: whole numbers are computed with on the CPU, where shapes are needed."""
    if one.device == other.device:
        return one, other
    device = other.device if one.device.type == "cpu" else one.device
    return one.to(device), other.to(device)


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda x, _: function(*_beside(x[0], x[1]))


def _unary(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda x, _: function(x[0])


def _divide(one: Tensor, other: Tensor) -> Tensor:
    return one / other if one.is_floating_point() else torch.div(one, other, rounding_mode="trunc")


def _axes(x: Inputs, a: Attributes) -> list[int] | None:
    """Axes as an attribute, or in newer opsets as the second input."""
    if len(x) > 1 and x[1] is not None:
        return numbers(x[1])
    return list(a["axes"]) if "axes" in a else None


def _reduce(function: Callable[..., Tensor]) -> Operator:
    def run(x: Inputs, a: Attributes) -> Tensor:
        axes = _axes(x, a)
        if axes is None and a.get("noop_with_empty_axes"):
            return x[0]  # type: ignore[no-any-return]
        return function(x[0], dim=axes or list(range(x[0].ndim)), keepdim=bool(a.get("keepdims", 1)))

    return run


def _reshape(x: Inputs, a: Attributes) -> Tensor:
    shape = numbers(x[1])
    if not a.get("allowzero"):
        shape = [x[0].shape[k] if side == 0 else side for k, side in enumerate(shape)]
    return x[0].reshape(shape)  # type: ignore[no-any-return]


def _flatten(x: Inputs, a: Attributes) -> Tensor:
    axis = a.get("axis", 1) % (x[0].ndim + 1)
    return x[0].reshape(math.prod(x[0].shape[:axis]), -1)  # type: ignore[no-any-return]


def _squeeze(x: Inputs, a: Attributes) -> Tensor:
    axes = _axes(x, a)
    return x[0].squeeze() if axes is None else x[0].squeeze(tuple(axes))  # type: ignore[no-any-return]


def _unsqueeze(x: Inputs, a: Attributes) -> Tensor:
    axes, tensor = _axes(x, a) or [], x[0]
    for axis in sorted(axis % (tensor.ndim + len(axes)) for axis in axes):
        tensor = tensor.unsqueeze(axis)
    return tensor  # type: ignore[no-any-return]


def _slice(x: Inputs, _: Attributes) -> Tensor:
    starts, ends = (numbers(x[k]) for k in (1, 2))
    axes = numbers(x[3]) if len(x) > 3 and x[3] is not None else list(range(len(starts)))
    steps = numbers(x[4]) if len(x) > 4 and x[4] is not None else [1] * len(starts)
    tensor = x[0]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        places = range(
            *slice(start, None if step < 0 and end < -tensor.shape[axis] else end, step).indices(tensor.shape[axis])
        )
        if step > 0:
            index = [slice(None)] * (axis % tensor.ndim) + [slice(places.start, places.stop, step)]
            tensor = tensor[tuple(index)]
        else:
            tensor = tensor.index_select(axis, torch.tensor(list(places), device=tensor.device))
    return tensor  # type: ignore[no-any-return]


def _gather(x: Inputs, a: Attributes) -> Tensor:
    tensor, index, axis = x[0], x[1].long().to(x[0].device), a.get("axis", 0) % x[0].ndim
    index = torch.where(index < 0, index + tensor.shape[axis], index)
    picked = tensor.index_select(axis, index.flatten())
    return picked.reshape([*tensor.shape[:axis], *index.shape, *tensor.shape[axis + 1 :]])  # type: ignore[no-any-return]


def _split(x: Inputs, a: Attributes) -> Sequence[Tensor]:
    axis = a.get("axis", 0)
    if len(x) > 1 and x[1] is not None:
        sizes = numbers(x[1])
    elif "split" in a:
        sizes = list(a["split"])
    else:
        sizes = math.ceil(x[0].shape[axis] / a["outputs"])
    return torch.split(x[0], sizes, dim=axis)


def _expand(x: Inputs, _: Attributes) -> Tensor:
    shape: Sequence[int] = torch.broadcast_shapes(x[0].shape, numbers(x[1]))  # type: ignore[no-untyped-call]
    return x[0].expand(shape)  # type: ignore[no-any-return]


def _constant_of_shape(x: Inputs, a: Attributes) -> Tensor:
    value: Tensor = a.get("value", torch.zeros(1))
    return value.expand(numbers(x[0])).clone()


def _where(x: Inputs, _: Attributes) -> Tensor:
    device = next((t.device for t in x if t.device.type != "cpu"), x[0].device)
    condition, one, other = (t.to(device) for t in x)
    return torch.where(condition, one, other)


def _concat(x: Inputs, a: Attributes) -> Tensor:
    device = next((t.device for t in x if t.device.type != "cpu"), x[0].device)
    return torch.cat([t.to(device) for t in x], dim=a["axis"])


def _softmax(function: Callable[..., Tensor]) -> Operator:
    """Over one axis; in graphs of an opset before `FLAT_SOFTMAX` over that axis and all after it together."""

    def run(x: Inputs, a: Attributes) -> Tensor:
        if a.get("flat"):
            return function(x[0].flatten(a["axis"]), dim=-1).view(x[0].shape)
        return function(x[0], dim=a.get("axis", -1))

    return run


def _clip(x: Inputs, a: Attributes) -> Tensor:
    bounds = [float(x[k]) if len(x) > k and x[k] is not None else a.get(name) for k, name in ((1, "min"), (2, "max"))]
    return torch.clamp(x[0], *bounds)


def _pads(a: Attributes, sides: int) -> list[int]:
    """ONNX's (begin of each side, end of each side) as torch's (begin, end) from the last side on."""
    pads = list(a.get("pads") or [0] * 2 * sides)
    return [pads[k + end * sides] for k in reversed(range(sides)) for end in (0, 1)]


def _pooled(x: Inputs, a: Attributes, fill: float) -> tuple[Tensor, dict[str, Any]]:
    """The input padded as an operator's attributes say, and torch's own settings."""
    sides = x[0].ndim - 2
    pads = _pads(a, sides)
    same = a.get("auto_pad", "NOTSET")
    if same in ("SAME_UPPER", "SAME_LOWER"):
        pads = []
        strides, kernel = a.get("strides") or [1] * sides, a["kernel_shape"]
        for k in reversed(range(sides)):
            total = max((math.ceil(x[0].shape[k + 2] / strides[k]) - 1) * strides[k] + kernel[k] - x[0].shape[k + 2], 0)
            less, more = total // 2, total - total // 2
            pads += [less, more] if same == "SAME_UPPER" else [more, less]
    tensor = F.pad(x[0], pads, value=fill) if any(pads) else x[0]
    return tensor, {"stride": list(a.get("strides") or [1] * sides), "ceil_mode": bool(a.get("ceil_mode", 0))}


def _max_pool(x: Inputs, a: Attributes) -> Tensor:
    tensor, settings = _pooled(x, a, -math.inf)
    pool = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[x[0].ndim - 2]
    dilation = list(a.get("dilations") or [1] * (x[0].ndim - 2))
    return pool(tensor, list(a["kernel_shape"]), dilation=dilation, **settings)  # type: ignore[no-any-return]


def _average_pool(x: Inputs, a: Attributes) -> Tensor:
    tensor, settings = _pooled(x, a, 0.0)
    pool: Callable[..., Tensor] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[x[0].ndim - 2]
    mean = pool(tensor, list(a["kernel_shape"]), **settings)
    if a.get("count_include_pad"):
        return mean
    inside, _ = _pooled([torch.ones_like(x[0][:1, :1])], a, 0.0)
    return mean / pool(inside, list(a["kernel_shape"]), **settings)


def _pad(x: Inputs, a: Attributes) -> Tensor:
    pads = numbers(x[1]) if len(x) > 1 and x[1] is not None else list(a["pads"])
    sides = x[0].ndim
    if len(x) > 3 and x[3] is not None:
        axes, picked = [axis % sides for axis in numbers(x[3])], pads
        pads = [0] * 2 * sides
        for place, axis in enumerate(axes):
            pads[axis], pads[axis + sides] = picked[place], picked[place + len(axes)]
    ends = [pads[k + end * sides] for k in reversed(range(sides)) for end in (0, 1)]
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}[
        a.get("mode", "constant")
    ]
    if mode == "constant":
        value = float(x[2]) if len(x) > 2 and x[2] is not None else float(a.get("value", 0.0))
        return F.pad(x[0], ends, value=value)
    while ends and ends[-2:] == [0, 0]:
        ends = ends[:-2]
    return F.pad(x[0], ends, mode=mode)


def _resize(x: Inputs, a: Attributes) -> Tensor:
    scales = [float(v) for v in x[2].flatten().tolist()] if len(x) > 2 and x[2] is not None and x[2].numel() else None
    size = (
        numbers(x[3])
        if len(x) > 3 and x[3] is not None
        else [round(n * s) for n, s in zip(x[0].shape, scales or (), strict=True)]
    )
    mode = RESIZE_MODES[a.get("mode", "nearest")]
    if mode == "nearest":
        return F.interpolate(x[0], size[2:], mode=mode)
    corners = a.get("coordinate_transformation_mode", "half_pixel") == "align_corners"
    return F.interpolate(x[0], size[2:], mode=mode, align_corners=corners)


def _is_torchs_resize(a: Attributes) -> bool:
    """Whether torch resizes so: where it puts pixels, without antialiasing, all axes at once."""
    mode, place = a.get("mode", "nearest"), a.get("coordinate_transformation_mode", "half_pixel")
    if mode not in RESIZE_MODES or a.get("antialias") or a.get("exclude_outside") or "axes" in a:
        return False
    if mode == "nearest":
        return bool(place == "asymmetric" and a.get("nearest_mode", "round_prefer_floor") == "floor")
    return place in ("half_pixel", "pytorch_half_pixel", "align_corners")


def _gemm(x: Inputs, a: Attributes) -> Tensor:
    one = x[0].mT if a.get("transA") else x[0]
    other = x[1].mT if a.get("transB") else x[1]
    product: Tensor = a.get("alpha", 1.0) * (one @ other)
    bias = _optional(x, 2)
    return product if bias is None else product + a.get("beta", 1.0) * bias


def _optional(x: Inputs, place: int) -> Tensor | None:
    return x[place] if len(x) > place else None


def _conv(x: Inputs, a: Attributes) -> Tensor:
    sides = x[0].ndim - 2
    if a.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        a = {**a, "kernel_shape": list(x[1].shape[2:])}
    tensor, settings = _pooled(x, a, 0.0)
    function: Callable[..., Tensor] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[sides]
    dilation = list(a.get("dilations") or [1] * sides)
    return function(tensor, x[1], _optional(x, 2), settings["stride"], 0, dilation, int(a.get("group", 1)))


def _conv_transpose(x: Inputs, a: Attributes) -> Tensor:
    sides = x[0].ndim - 2
    pads = list(a.get("pads") or [0] * 2 * sides)
    function: Callable[..., Tensor] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[sides]
    return function(
        x[0],
        x[1],
        _optional(x, 2),
        stride=list(a.get("strides") or [1] * sides),
        padding=pads[:sides],
        output_padding=list(a.get("output_padding") or [0] * sides),
        groups=int(a.get("group", 1)),
        dilation=list(a.get("dilations") or [1] * sides),
    )


def _is_torchs_transposed_convolution(a: Attributes) -> bool:
    """Whether torch pads so: by given numbers, the same on both sides."""
    pads = list(a.get("pads") or ())
    half = len(pads) // 2
    return bool(a.get("auto_pad", "NOTSET") == "NOTSET" and "output_shape" not in a and pads[:half] == pads[half:])


def _layer_norm(x: Inputs, a: Attributes) -> Tensor:
    shape = x[0].shape[a.get("axis", -1) :]
    bias = _optional(x, 2)
    weight = x[1].expand(shape)
    return F.layer_norm(x[0], shape, weight, None if bias is None else bias.expand(shape), a.get("epsilon", 1e-5))


def _range(x: Inputs, _: Attributes) -> Tensor:
    return torch.arange(*(t.item() for t in x), dtype=x[0].dtype)


def _cast(x: Inputs, a: Attributes) -> Tensor:
    return x[0].to(TYPES[a["to"]])  # type: ignore[no-any-return]


OPERATORS: dict[str, Operator] = {
    "Abs": _unary(torch.abs),
    "Add": _binary(torch.add),
    "And": _binary(torch.logical_and),
    "ArgMax": lambda x, a: x[0].argmax(a.get("axis", 0), keepdim=bool(a.get("keepdims", 1))),
    "AveragePool": _average_pool,
    "BatchNormalization": lambda x, a: F.batch_norm(x[0], x[3], x[4], x[1], x[2], eps=a.get("epsilon", 1e-5)),
    "Cast": _cast,
    "Ceil": _unary(torch.ceil),
    "Clip": _clip,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Cos": _unary(torch.cos),
    "CumSum": lambda x, _: x[0].cumsum(int(x[1])),
    "Div": _binary(_divide),
    "Dropout": lambda x, _: x[0],
    "Einsum": lambda x, a: torch.einsum(a["equation"], *x),
    "Elu": lambda x, a: F.elu(x[0], a.get("alpha", 1.0)),
    "Equal": _binary(torch.eq),
    "Erf": _unary(torch.erf),
    "Exp": _unary(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Floor": _unary(torch.floor),
    "Gather": _gather,
    "Gelu": lambda x, a: F.gelu(x[0], approximate=a.get("approximate", "none")),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda x, _: x[0].mean(tuple(range(2, x[0].ndim)), keepdim=True),
    "GlobalMaxPool": lambda x, _: x[0].amax(tuple(range(2, x[0].ndim)), keepdim=True),
    "Greater": _binary(torch.gt),
    "GreaterOrEqual": _binary(torch.ge),
    "HardSigmoid": lambda x, a: (a.get("alpha", 0.2) * x[0] + a.get("beta", 0.5)).clamp(0, 1),
    "HardSwish": _unary(F.hardswish),
    "Identity": lambda x, _: x[0],
    "InstanceNormalization": lambda x, a: F.instance_norm(x[0], None, None, x[1], x[2], eps=a.get("epsilon", 1e-5)),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda x, a: F.leaky_relu(x[0], a.get("alpha", 0.01)),
    "Less": _binary(torch.lt),
    "LessOrEqual": _binary(torch.le),
    "Log": _unary(torch.log),
    "LogSoftmax": _softmax(torch.log_softmax),
    "MatMul": _binary(torch.matmul),
    "Max": lambda x, _: reduce(torch.maximum, x),
    "MaxPool": _max_pool,
    "Min": lambda x, _: reduce(torch.minimum, x),
    "Mish": _unary(F.mish),
    "Mod": _binary(torch.remainder),
    "Mul": _binary(torch.mul),
    "Neg": _unary(torch.neg),
    "Not": _unary(torch.logical_not),
    "Or": _binary(torch.logical_or),
    "PRelu": lambda x, _: torch.where(x[0] >= 0, x[0], x[0] * x[1]),
    "Pad": _pad,
    "Pow": _binary(torch.pow),
    "Range": _range,
    "Reciprocal": _unary(torch.reciprocal),
    "ReduceL2": _reduce(torch.linalg.vector_norm),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceMin": _reduce(torch.amin),
    "ReduceSum": _reduce(torch.sum),
    "Relu": _unary(torch.relu),
    "Reshape": _reshape,
    "Resize": _resize,
    "Selu": _unary(F.selu),
    "Shape": lambda x, a: torch.tensor(x[0].shape[a.get("start", 0) : a.get("end")]),
    "Sigmoid": _unary(torch.sigmoid),
    "Sign": _unary(torch.sign),
    "Sin": _unary(torch.sin),
    "Slice": _slice,
    "Softmax": _softmax(torch.softmax),
    "Softplus": _unary(F.softplus),
    "Split": _split,
    "Sqrt": _unary(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _binary(torch.sub),
    "Tanh": _unary(torch.tanh),
    "Tile": lambda x, _: x[0].tile(numbers(x[1])),
    "Transpose": lambda x, a: x[0].permute(a.get("perm") or list(range(x[0].ndim))[::-1]),
    "Unsqueeze": _unsqueeze,
    "Where": _where,
    "Xor": _binary(torch.logical_xor),
}

SINCE = {"Resize": 11, "Slice": 10}
"""Of operators that took other inputs before: the opset from which on they are as the table has them."""

FORMS: dict[str, Callable[[Attributes], bool]] = {
    "Cast": lambda a: a["to"] in TYPES,
    "ConvTranspose": _is_torchs_transposed_convolution,
    "Resize": _is_torchs_resize,
}
"""Of operators that the table computes for some attributes only: whether it does for these."""
