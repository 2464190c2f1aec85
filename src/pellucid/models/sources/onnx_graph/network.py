"""A graph of ONNX as a torch module: torch's own layers, and functions of the table for every other node."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.models.sources.onnx_graph.operators import FLAT_SOFTMAX, FORMS, OPERATORS, SINCE, TYPES
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_INLINE = 64
"""Constants of more numbers are weights, which a model folder keeps apart from the graph."""


class OperatorNode(nn.Module):
    """One node of the graph that torch has no layer for; constants of it are its parameters."""

    def __init__(self, kind: str, attributes: Mapping[str, Any]) -> None:
        super().__init__()
        self.kind, self.attributes = kind, dict(attributes)

    def forward(self, *inputs: Any) -> Any:  # noqa: ANN401
        """What the operator computes."""
        return OPERATORS[self.kind](inputs, self.attributes)

    def extra_repr(self) -> str:
        """The operator's name, for people."""
        return self.kind


class _BatchNorm(nn.BatchNorm2d):
    """Batch normalisation of any number of dimensions, as ONNX has one operator for all."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 (torch's name)
        pass


@dataclass(frozen=True)
class Step:
    """A module of the network, and which values it takes and gives.

    Attributes:
        module: its name.
        inputs: names of values; empty for one that was left out.
        outputs: names of values.
    """

    module: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class OnnxNetwork(nn.Module):
    """A graph of ONNX with one image input, node by node in the order of the file.

    Args:
        model: the file's content, `onnx.ModelProto`.

    Attributes:
        one_by_one: whether the graph is one of a single image at a time, so that batches are run image by image.

    Raises:
        InputError: a graph with several inputs, or with operators that are not in the table, which are named.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401
        super().__init__()
        graph, opset = model.graph, _opset(model)
        missing = missing_operators(model)
        if missing:
            raise InputError(f"no operator {', '.join(missing)} is known.")
        constants = {tensor.name: _tensor(tensor) for tensor in graph.initializer}
        images = [value.name for value in graph.input if value.name not in constants]
        if len(images) != 1:
            raise InputError(f"a network of images has one input; this one has {len(images)}: {', '.join(images)}.")
        self.input_name, self.output_names = images[0], [value.name for value in graph.output]
        self.one_by_one = False
        self.constant_names: dict[str, str] = {}
        self.steps: list[Step] = []
        uses = Counter(name for node in graph.node for name in node.input)
        nodes, skipped = list(graph.node), set()
        for place, node in enumerate(nodes):
            if place in skipped:
                continue
            attributes = _attributes(node, opset)
            constant = _constant(node, attributes, constants)
            if constant is not None:
                constants[node.output[0]] = constant
                continue
            follower = _bias(nodes, place, node, constants, uses)
            outputs = nodes[follower].output if follower else node.output
            module, own = _layer(node, attributes, constants, nodes[follower] if follower else None)
            skipped |= {follower} if follower else set()
            name = self._name(node.op_type, place)
            self.add_module(name, module)
            inputs = tuple(part for k, part in enumerate(node.input) if k not in own)
            self.steps.append(Step(name, inputs, tuple(outputs)))
        self.integers = {name: tensor for name, tensor in constants.items() if not tensor.is_floating_point()}
        used = {name for step in self.steps for name in step.inputs} | set(self.output_names)
        for place, (name, tensor) in enumerate(constants.items()):
            if tensor.is_floating_point() and name in used:
                plain = f"constant_{place}"
                if tensor.numel() > 1:
                    self.register_parameter(plain, nn.Parameter(tensor))
                else:
                    self.register_buffer(plain, tensor)
                self.constant_names[name] = plain
        last = {name: k for k, step in enumerate(self.steps) for name in step.inputs}
        keep = set(self.output_names)
        self.finished = [
            [name for name in step.inputs if last[name] == k and name not in keep] for k, step in enumerate(self.steps)
        ]

    def _name(self, kind: str, place: int) -> str:
        return f"{re.sub(r'[^A-Za-z0-9]', '_', kind).lower()}_{place}"

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Normalised images (N, C, H, W) to what the graph puts out."""
        if not self.one_by_one or len(images) == 1:
            return self._run(images)
        results = [self._run(image[None]) for image in images]
        if isinstance(results[0], Tensor):
            return torch.cat(results)  # type: ignore[arg-type]  # all are tensors, or none is
        return tuple(torch.cat(parts) for parts in zip(*results, strict=True))

    def _run(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        values: dict[str, Any] = {self.input_name: images, "": None, **self.integers}
        values |= {name: getattr(self, plain) for name, plain in self.constant_names.items()}
        for step, finished in zip(self.steps, self.finished, strict=True):
            results = self.get_submodule(step.module)(*(values[name] for name in step.inputs))
            several = results if isinstance(results, tuple | list) else (results,)
            for name, value in zip(step.outputs, several, strict=False):  # a mask of dropout is not computed
                values[name] = value
            for name in finished:
                if name:
                    values.pop(name, None)
        outputs = tuple(values[name] for name in self.output_names)
        return outputs[0] if len(outputs) == 1 else outputs


def stripped(model: Any) -> bytes:  # noqa: ANN401
    """A file's content without its weights, which `OnnxNetwork` then has as zeros, to be loaded."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    tensors = [*copy.graph.initializer]
    tensors += [part.t for node in copy.graph.node if node.op_type == "Constant" for part in node.attribute]
    for tensor in tensors:
        if tensor.data_type in TYPES and TYPES[tensor.data_type].is_floating_point and _count(tensor) > MOST_INLINE:
            for name in ("raw_data", "float_data", "double_data", "int32_data", "external_data", "data_location"):
                tensor.ClearField(name)
    serialized: bytes = copy.SerializeToString()
    return serialized


def _count(proto: Any) -> int:  # noqa: ANN401
    return int(np.prod(tuple(proto.dims), dtype=np.int64))


def missing_operators(model: Any) -> list[str]:  # noqa: ANN401
    """The operators of a file that no module can stand for, by name; with attributes where it is for these."""
    names = {*OPERATORS, "Constant"}
    strange = {node.op_type for node in model.graph.node if node.op_type not in names}
    strange |= {f"{node.domain}.{node.op_type}" for node in model.graph.node if node.domain not in ("", "ai.onnx")}
    opset = _opset(model)
    strange |= {f"{node.op_type} of opset {opset}" for node in model.graph.node if opset < SINCE.get(node.op_type, 0)}
    for node in model.graph.node:
        if node.op_type in FORMS and not FORMS[node.op_type](attributes := _attributes(node, opset)):
            strange.add(f"{node.op_type} ({', '.join(f'{name} = {value}' for name, value in attributes.items())})")
    return sorted(strange)


def _tensor(proto: Any) -> Tensor:  # noqa: ANN401
    """A constant; zeros where the file was stripped of it, half precision as single."""
    from onnx import numpy_helper

    shape = tuple(proto.dims)
    content = proto.raw_data or proto.float_data or proto.int32_data or proto.int64_data or proto.double_data
    if not content and proto.data_type in TYPES and _count(proto):
        return torch.zeros(shape, dtype=TYPES[proto.data_type])
    values = numpy_helper.to_array(proto)
    return torch.tensor(values.astype(np.float32) if proto.data_type in (10, 16) else values)


def _constant(node: Any, attributes: Mapping[str, Any], constants: Mapping[str, Tensor]) -> Tensor | None:  # noqa: ANN401
    """What a node gives that depends on constants alone; None of any other."""
    if node.op_type == "Constant":
        (value,) = attributes.values()
        return value if isinstance(value, Tensor) else torch.tensor(value)
    if not node.input or len(node.output) != 1 or any(name and name not in constants for name in node.input):
        return None
    result = OPERATORS[node.op_type]([constants.get(name) for name in node.input], attributes)
    return result if isinstance(result, Tensor) else None


def _opset(model: Any) -> int:  # noqa: ANN401
    """The version of ONNX's own operators that a graph is written in."""
    return max((int(one.version) for one in model.opset_import if one.domain in ("", "ai.onnx")), default=1)


def _attributes(node: Any, opset: int) -> dict[str, Any]:  # noqa: ANN401
    """What a node's attributes say, with what its operator goes by beside them."""
    import onnx

    values: dict[str, Any] = {"outputs": len(node.output)} if node.op_type == "Split" else {}
    if opset < FLAT_SOFTMAX and node.op_type in ("Softmax", "LogSoftmax"):
        values = {"axis": 1, "flat": True}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, onnx.TensorProto):
            value = _tensor(value)
        values[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return values


def _bias(
    nodes: Sequence[Any],
    place: int,
    node: Any,  # noqa: ANN401
    constants: Mapping[str, Tensor],
    uses: Counter[str],
) -> int | None:
    """The place of a later Add that is the bias of this product with a constant matrix; None where there is none."""
    weight = constants.get(node.input[1]) if node.op_type == "MatMul" else None
    if weight is None or weight.ndim != 2 or uses[node.output[0]] != 1:
        return None
    for later in range(place + 1, len(nodes)):
        if node.output[0] in nodes[later].input:
            if nodes[later].op_type != "Add":
                return None
            other = next(name for name in nodes[later].input if name != node.output[0])
            return later if other in constants and constants[other].shape == weight.shape[1:] else None
    return None


def _layer(
    node: Any,  # noqa: ANN401
    a: Mapping[str, Any],
    constants: Mapping[str, Tensor],
    bias_node: Any,  # noqa: ANN401
) -> tuple[nn.Module, set[int]]:
    """The module of a node, and which of its inputs it holds itself: all but the first, where these are constants."""
    weights = [constants.get(name) if name else None for name in node.input]
    own = {k for k, name in enumerate(node.input) if k and name}
    layer: nn.Module | None = None
    if own and all(weights[k] is not None for k in own) and weights[0] is None:
        tensors = [tensor for tensor in weights[1:] if tensor is not None]
        if bias_node is not None:
            tensors.append(constants[next(name for name in bias_node.input if name != node.output[0])])
        layer = _of_torch(node.op_type, a, tensors)
    if layer is not None:
        return layer, own
    return nn.ReLU() if node.op_type == "Relu" else OperatorNode(node.op_type, a), set()


def _of_torch(kind: str, a: Mapping[str, Any], tensors: Sequence[Tensor]) -> nn.Module | None:
    """Torch's own layer for an operator with these weights; None where it has none that is the same."""
    weight, bias = tensors[0], tensors[1] if len(tensors) > 1 else None
    if kind == "Conv" and weight.ndim == 4 and _plain_conv(a):
        return _convolution(weight, bias, a)
    if kind == "Gemm" and a.get("alpha", 1.0) == a.get("beta", 1.0) == 1.0 and not a.get("transA"):
        same = bias is None or bias.shape == weight.shape[:1] if a.get("transB") else bias is None or bias.ndim == 1
        return _linear(weight if a.get("transB") else weight.T, bias) if same else None
    if kind == "MatMul" and weight.ndim == 2:
        return _linear(weight.T, bias)
    layer: nn.Module | None = None
    if kind == "LayerNormalization" and a.get("axis", -1) == -1:
        layer = nn.LayerNorm(weight.shape[0], eps=a.get("epsilon", 1e-5), bias=bias is not None)
        _fill(layer, weight=weight, bias=bias)
    elif kind == "BatchNormalization":
        layer = _BatchNorm(len(weight), eps=a.get("epsilon", 1e-5))
        _fill(layer, weight=weight, bias=bias, running_mean=tensors[2], running_var=tensors[3])
    return layer


def _plain_conv(a: Mapping[str, Any]) -> bool:
    pads = list(a.get("pads") or [0] * 4)
    return a.get("auto_pad", "NOTSET") in ("NOTSET", "VALID") and pads[:2] == pads[2:]


def _convolution(weight: Tensor, bias: Tensor | None, a: Mapping[str, Any]) -> nn.Conv2d:
    groups = int(a.get("group", 1))
    layer = nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        (weight.shape[2], weight.shape[3]),
        stride=tuple(a.get("strides") or (1, 1)),
        padding=tuple((a.get("pads") or [0] * 4)[:2]),
        dilation=tuple(a.get("dilations") or (1, 1)),
        groups=groups,
        bias=bias is not None,
    )
    _fill(layer, weight=weight, bias=bias)
    return layer


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    _fill(layer, weight=weight, bias=bias)
    return layer


def _fill(layer: nn.Module, **tensors: Tensor | None) -> None:
    with torch.no_grad():
        for name, tensor in tensors.items():
            if tensor is not None:
                getattr(layer, name).copy_(tensor)
