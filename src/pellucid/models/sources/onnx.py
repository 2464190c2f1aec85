"""Networks exported to ONNX: `FILE.onnx`, as a torch module where its operators are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.models.sources.exported import read_facts
from pellucid.models.sources.onnx_graph.network import OnnxNetwork, missing_operators, stripped
from pellucid.models.sources.source import Built, Request, Source
from pellucid.types import InputError
from pellucid.utils.resources import optional
from pellucid.utils.words import first_line

GRAPH = "graph.onnx"
"""The file in a model folder with the graph, without its weights where a torch module holds these."""
_AGREE = 1e-3  # how far the module's outputs may lie from onnxruntime's, of their own spread


def build(request: Request) -> Built:
    """A graph of ONNX with its weights.

    Pixels, classes and geometry are asked for: such a file does not say them, unless Pellucid exported it.

    Operators are computed by torch, so that everything can be differentiated, and the outputs are compared with
    onnxruntime's where that is installed. A graph with an operator that is not known is run by onnxruntime: it can be
    evaluated, and what needs gradients is refused by the operator's name.

    Raises:
        InputError: no such file, or none of ONNX, or one whose weights are not beside it; a graph of several inputs or
            of batches of one size; outputs that differ from onnxruntime's.
    """
    onnx = optional("onnx", "onnx", "a network of ONNX")
    path = Path(request.name)
    if not path.is_file():
        raise InputError(f"no file {path}: give FILE.onnx.")
    if request.options:
        raise InputError(f"a graph of ONNX takes no options; found {', '.join(request.options)}.")
    try:
        lost = _lost_weights(onnx.load(path, load_external_data=False), path.parent)
        if not lost:
            model = onnx.load(path)
            onnx.checker.check_model(model)
    except Exception as error:  # of protobuf, of a damaged file with weights, of the checker
        raise InputError(f"{path} is no whole file of ONNX: {first_line(error)}") from error
    if lost:
        raise InputError(
            f"the weights of {path} are in {', '.join(lost)}, as its exporter wrote them, and that is not beside it: "
            "copy it there too."
        )
    facts = read_facts({entry.key: entry.value for entry in model.metadata_props}, str(path))
    missing = missing_operators(model)
    if missing:
        content = model.SerializeToString()
        return Built(RuntimeNetwork(content, missing), code={GRAPH: content}, loaded=True, name=path.name, **facts)
    network = OnnxNetwork(model).eval()
    batch, *rest = _input_shape(model)
    if batch not in (None, 1):
        raise InputError(f"{path} takes batches of {batch} images only: export it with a batch of any size.")
    sides = [side for side in rest if side is not None]
    if len(sides) == len(rest):
        images = torch.rand((2, *sides), generator=torch.Generator().manual_seed(0))
        network.one_by_one = batch == 1 and not _takes_two(network, images)
        _check_against_runtime(network, model, images, single=batch == 1)
    code = {GRAPH: stripped(model)}
    return Built(network, code=code, options=_options(network), loaded=True, name=path.name, **facts)


def _lost_weights(model: Any, folder: Path) -> list[str]:  # noqa: ANN401
    """The files with weights that a graph names and that are not there; torch's newer exporter writes one."""
    entries = [entry for tensor in model.graph.initializer for entry in tensor.external_data]
    names = {entry.value for entry in entries if entry.key == "location"}
    return sorted(name for name in names if not (folder / name).is_file())


def rebuild(source: Source, _folder: Path) -> nn.Module:
    """The module of a model folder's graph, without weights."""
    onnx = optional("onnx", "onnx", "a network of ONNX")
    model = onnx.load_from_string(source.code[GRAPH])
    missing = missing_operators(model)
    if missing:
        return RuntimeNetwork(source.code[GRAPH], missing)
    network = OnnxNetwork(model)
    network.one_by_one = bool(source.options.get("one_by_one", False))
    return network


class RuntimeNetwork(nn.Module):
    """A graph that onnxruntime runs: it gives outputs, and no gradients."""

    def __init__(self, content: bytes, operators: list[str]) -> None:
        super().__init__()
        runtime = optional("onnxruntime", "onnx", f"a graph of ONNX with the operators {', '.join(operators)}")
        self.session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
        self.operators = operators
        self.register_buffer("run_by_onnxruntime", torch.ones(1))  # a weights file has a tensor at least

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Normalised images (N, C, H, W) to the graph's outputs."""
        outputs: tuple[Tensor, ...] = _WithoutGradient.apply(images, self)  # type: ignore[no-untyped-call]
        return outputs


class _WithoutGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, network: RuntimeNetwork) -> tuple[Tensor, ...]:  # noqa: ANN401
        ctx.operators = network.operators
        name = network.session.get_inputs()[0].name
        outputs = network.session.run(None, {name: images.detach().cpu().numpy()})
        return tuple(torch.as_tensor(output).to(images.device) for output in outputs)

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:  # noqa: ANN401
        raise InputError(
            f"this network cannot be differentiated: its operators {', '.join(ctx.operators)} are run by onnxruntime. "
            "What needs gradients is not to be had of it; methods that only look at outputs are."
        )


def _options(network: OnnxNetwork) -> dict[str, Any]:
    return {"one_by_one": True} if network.one_by_one else {}


def _input_shape(model: Any) -> list[int | None]:  # noqa: ANN401
    """Of the image input: batch, channels, height and width; None where any will do."""
    constants = {tensor.name for tensor in model.graph.initializer}
    value = next(value for value in model.graph.input if value.name not in constants)
    sides = [d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim]
    if len(sides) != 4:
        raise InputError(f"a network of images takes (N, C, H, W); this graph's input has {len(sides)} dimensions.")
    return sides


def _takes_two(network: OnnxNetwork, images: Tensor) -> bool:
    """Whether a graph that was exported for one image gives the same for two at once."""
    with torch.no_grad():
        try:
            both = network(images)
            single = network(images[1:])
        except RuntimeError:
            return False
    pairs = zip(_several(both), _several(single), strict=True)
    return all(len(b) == 2 and torch.allclose(b[1:], s, atol=1e-4, rtol=1e-3) for b, s in pairs)


def _check_against_runtime(network: OnnxNetwork, model: Any, images: Tensor, *, single: bool) -> None:  # noqa: ANN401
    """Compare with onnxruntime, where it is installed."""
    try:
        import onnxruntime
    except ImportError:
        return
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    images = images[:1] if single else images
    expected = session.run(None, {network.input_name: images.numpy()})
    with torch.no_grad():
        outputs = _several(network(images))
    for one, other in zip(outputs, map(torch.as_tensor, expected), strict=True):
        spread = float((other.max() - other.min()).abs()) + 1e-6
        if one.shape != other.shape or not float((one - other).abs().max()) <= _AGREE * spread:
            raise InputError("the graph gives other outputs in torch than in onnxruntime: please report its operators.")


def _several(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)
