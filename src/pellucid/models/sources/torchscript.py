"""Networks saved as TorchScript: `FILE.pt` of `torch.jit.save`, whose graph brings its weights."""

from __future__ import annotations

import copy
import io
import json
import warnings
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from pellucid.models.sources.exported import EXTRA_FILE, read_facts
from pellucid.models.sources.source import Built, Request, Source
from pellucid.types import InputError
from pellucid.utils.words import first_line

NETWORK = "network.pt"
"""The file in a model folder with the graph."""


def build(request: Request) -> Built:
    """A network of TorchScript with its weights.

    Pixels, classes and geometry are asked for: such a file does not say them, unless Pellucid exported it.

    Its parts cannot be watched from outside, so no layer's feature map is to be had: explanations that need one are
    refused, those by gradients or by changed images are not.

    Raises:
        InputError: no such file, or none of TorchScript.
    """
    path = Path(request.name)
    if not path.is_file():
        raise InputError(f"no file {path}: give the file that torch.jit.save wrote.")
    if request.options:
        raise InputError(f"a network of TorchScript takes no options; found {', '.join(request.options)}.")
    content = path.read_bytes()
    network, facts = _read(content, str(path))
    return Built(network, code={NETWORK: content}, loaded=True, name=path.name, **read_facts(facts, str(path)))


def rebuild(source: Source, folder: Path) -> nn.Module:
    """The module of a model folder's graph."""
    if NETWORK not in source.code:
        raise InputError(f"the card of {folder} names no {NETWORK}: import the model again.")
    return load_script(source.code[NETWORK], str(folder))


class ScriptNetwork(nn.Module):
    """A network of TorchScript in evaluation mode, with its weights under names without dots.

    It stands in a tuple, because its parts can be neither watched nor, where it is frozen, put into any mode.
    """

    def __init__(self, script: Any) -> None:  # noqa: ANN401
        super().__init__()
        self._script = (script,)
        self._names = [name for name, _ in (*script.named_parameters(), *script.named_buffers())]
        for name, tensor in script.named_parameters():
            tensor._is_param = True  # the graph's own tensors, so that gradients reach what an optimiser changes
            self.register_parameter(name.replace(".", "__"), tensor.requires_grad_(tensor.is_floating_point()))
        for name, tensor in script.named_buffers():
            self.register_buffer(name.replace(".", "__"), tensor)
        if not list(self.state_dict()):  # frozen: the weights are constants of the graph
            self.register_buffer("frozen", torch.ones(1))

    def forward(self, images: Tensor) -> Any:  # noqa: ANN401
        """Normalised images (N, C, H, W) to what the graph returns."""
        script = self._script[0]
        if self._names:
            theirs = dict((*script.named_parameters(), *script.named_buffers()))
            for name in self._names:  # apart where they went to another device or precision
                own = getattr(self, name.replace(".", "__"))
                if theirs[name].data_ptr() != own.data_ptr() or theirs[name].dtype != own.dtype:
                    theirs[name].data = own.data
        return script(images)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy of the graph with weights of its own."""
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore", DeprecationWarning)
            return type(self)(copy.deepcopy(self._script[0], memo)).train(self.training)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:  # noqa: ANN401
        self._script[0]._apply(fn)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


def load_script(content: bytes, place: str) -> ScriptNetwork:
    """The network in a file of TorchScript; `place` is for messages.

    Raises:
        InputError: no file of TorchScript.
    """
    return _read(content, place)[0]


def _read(content: bytes, place: str) -> tuple[ScriptNetwork, dict[str, str]]:
    """The network, and what Pellucid wrote beside it, name → JSON; empty in a file of other programs."""
    extra: dict[str, str | bytes] = {EXTRA_FILE: ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # PyTorch makes no new ones, and people have old ones
        try:
            load: Any = torch.jit.load
            script = load(io.BytesIO(content), map_location="cpu", _extra_files=extra)
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"{place} is no file of TorchScript, as torch.jit.save writes them: {first_line(error)}"
            ) from error
    if hasattr(script, "training"):
        script.eval()
    try:
        facts = json.loads(extra[EXTRA_FILE] or "{}")
    except ValueError as error:
        raise InputError(f"{EXTRA_FILE} in {place} is no JSON: export it again.") from error
    entries = {key: json.dumps(value) for key, value in facts.items()} if isinstance(facts, dict) else {}
    return ScriptNetwork(script), entries
