"""A model as a file that other programs run: ONNX or TorchScript, pixels in [0, 1] to logits, normalisation inside."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn

from pellucid.models.classifier import frozen
from pellucid.models.probe import TOLERANCE, probe_images
from pellucid.models.sources.exported import EXTRA_FILE, facts_of
from pellucid.types import InputError, device_of
from pellucid.utils.resources import check_known, optional, whole_file
from pellucid.utils.words import first_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from pellucid.models.classifier import AnyClassifier

ExportFormat = Literal["onnx", "torchscript"]
FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)


class _Logits(nn.Module):
    """A classifier as a plain module."""

    def __init__(self, model: AnyClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.model(pixels)
        return logits


def export_model(model: AnyClassifier, path: str | Path, form: ExportFormat = "onnx") -> Path:
    """Write a model for other programs, and compare what they will get with what it gives here.

    The file takes `pixels`, float32 (N, C, H, W) in [0, 1], N as large as wanted, and gives `logits` (N, K). Resizing
    is not in it: the file says as metadata (ONNX's `metadata_props`; `pellucid.json` in TorchScript) how images are
    prepared, the classes in their order, the task, and thresholds where there are some. The sources `onnx` and
    `torchscript` read this when the file is brought back.

    Args:
        model: is left as it is.
        path: of the file.
        form: `onnx` or `torchscript`.

    Returns:
        The path.

    Raises:
        InputError: an unknown format; a missing extra; a network that cannot be written in it, or gives other outputs
            there; nothing is written then.
    """
    check_known([form], FORMATS, "format")
    path = Path(path)
    facts = facts_of(model)
    images = probe_images(*model.input_spec.shape).to(device_of(model))
    write = _onnx if form == "onnx" else _torchscript
    with frozen(model), torch.no_grad(), warnings.catch_warnings():
        # deprecated in PyTorch without a successor that needs no further package; tracing warns of checks of shapes
        warnings.simplefilter("ignore")
        others = images.flip(0)[:3]  # not those that are traced, and more of them
        expected = model(others).cpu()
        try:
            content, run = write(_Logits(model).eval(), images, facts)
        except InputError:
            raise
        except Exception as error:  # of the exporter: anything that it has no operator for
            raise InputError(f"the model cannot be written as {form}: {first_line(error)}") from error
        outputs = run(others.cpu())
    spread = max(float(expected.max() - expected.min()), 1e-6)
    if not float((outputs - expected).abs().max()) <= TOLERANCE * spread:
        raise InputError(f"as {form} the model gives other outputs than here: it does something that tracing loses.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        part.write_bytes(content)
    return path


def _onnx(module: nn.Module, images: Tensor, facts: dict[str, Any]) -> tuple[bytes, Callable[[Tensor], Tensor]]:
    """The file's content, and how another program runs it."""
    onnx = optional("onnx", "onnx", "--format onnx")
    runtime = optional("onnxruntime", "onnx", "--format onnx")
    buffer = io.BytesIO()
    axes = {"pixels": {0: "images"}, "logits": {0: "images"}}
    export: Any = torch.onnx.export
    export(
        module,
        (images[:2],),
        buffer,
        dynamo=False,
        input_names=["pixels"],
        output_names=["logits"],
        dynamic_axes=axes,
    )
    proto = onnx.load_from_string(buffer.getvalue())
    for key, value in facts.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, json.dumps(value)
    content: bytes = proto.SerializeToString()
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return content, lambda pixels: torch.as_tensor(session.run(None, {"pixels": pixels.numpy()})[0])


def _torchscript(module: nn.Module, images: Tensor, facts: dict[str, Any]) -> tuple[bytes, Callable[[Tensor], Tensor]]:
    """The file's content, and how another program runs it."""
    trace: Any = torch.jit.trace
    buffer = io.BytesIO()
    save: Any = torch.jit.save
    save(trace(module, images[:2], check_trace=False), buffer, _extra_files={EXTRA_FILE: json.dumps(facts)})
    content = buffer.getvalue()
    load: Any = torch.jit.load
    return content, load(io.BytesIO(content), map_location="cpu")
