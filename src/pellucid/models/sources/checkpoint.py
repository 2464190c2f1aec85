"""The named tensors of a weights file, also of a checkpoint or a whole pickled network, whose code is not run."""

from __future__ import annotations

import pickle
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from pellucid.types import InputError
from pellucid.utils.words import first_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractContextManager

    from torch import nn

NESTED = ("model_state_dict", "state_dict", "model_state", "model", "net", "network")
"""Where checkpoints hold their weights."""
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""What `DataParallel`, `torch.compile`, Lightning and others put before the names of all weights."""

_DANGEROUS = ("subprocess", "runpy", "pty", "shutil", "socket", "importlib", "ctypes", "webbrowser", "pickle", "code")
_PLAIN = ("object", "getattr", "slice", "range", "frozenset", "type", "int", "float", "str", "list", "dict", "tuple")
_DICTS = ("collections.defaultdict", "AttributeDict")


class StandIn:
    """Takes the place of every class and function that a pickle names: it holds what it is given and does nothing."""

    def __init__(self, *_: object) -> None:
        """Whatever the pickle calls it with is left."""

    def __new__(cls, *_: object) -> StandIn:  # noqa: D102
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.__dict__.update({str(key): value for key, value in state.items()})


def _empty_dict(*_: object) -> dict[Any, Any]:
    """Stands for classes of dicts, which a pickle fills item by item."""
    return {}


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The named tensors of a weights file, on the CPU.

    `.safetensors` as such; anything else by `torch.load(weights_only=True)`, which runs no code of the file: classes
    that it names, as those of a whole pickled network or of Lightning's settings, become objects that do nothing, and
    a network's tensors are taken out of them. Weights inside a checkpoint (`NESTED`, at any depth) are taken out of it,
    and what wrappers put before every name (`PREFIXES`) is taken off; a note says so.

    Raises:
        InputError: no such file, a file of another kind, or one that calls what only an attack would.
    """
    tensors, inside = read_nested(path)
    tensors, prefix = _without_prefix(tensors)
    changes = [inside] * bool(inside)
    changes += [f"{prefix!r} before every name was taken off"] * bool(prefix)
    if changes:
        warnings.warn(f"{Path(path).name}: {'; '.join(changes)}.", stacklevel=3)
    return tensors


def read_nested(path: str | Path) -> tuple[dict[str, Tensor], str]:
    """The named tensors under the names that the file gives them, and where in it they were; see `read_tensors`."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no weights file at {path}{', which is a folder' if path.is_dir() else ''}.")
    if not path.stat().st_size:
        raise InputError(f"{path} is empty: copy or download it again.")
    try:
        content: Any = load_file(path) if path.suffix == ".safetensors" else _load(path)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} holds Python objects besides tensors, or is no checkpoint; it is not opened, since that "
            "could run code of the file. Save its state_dict() alone and give that."
        ) from error
    except Exception as error:  # a damaged pickle also raises IndexError, TypeError, struct.error …
        raise InputError(
            f"{path} is not a readable weights file ({type(error).__name__}: {error}): it is cut off, damaged, or of "
            "another kind. Give a .safetensors file, or what torch.save made of a state_dict() or a checkpoint."
        ) from error
    content, inside = _unwrapped(content)
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise InputError(
            f"{path} does not hold named tensors, as state_dict() gives them; it holds {_described(content)}. Save the "
            f"weights alone, or in a dict under one of {', '.join(map(repr, NESTED))}."
        )
    return {str(name): tensor for name, tensor in content.items()}, inside


def _described(content: Any) -> str:  # noqa: ANN401
    """What a file holds, for a message: of a dict its keys that are no tensors."""
    if not isinstance(content, dict) or not content:
        return f"{'an empty' if content == {} else 'a'} {type(content).__name__}"
    others = [f"{key!r} ({type(value).__name__})" for key, value in content.items() if not isinstance(value, Tensor)]
    return f"a dict with {first_of(others)}"


def _load(path: Path) -> Any:  # noqa: ANN401
    with _stand_ins(path):
        return torch.load(path, map_location="cpu", weights_only=True)


def _stand_ins(path: Path) -> AbstractContextManager[None]:
    """Inside, what a checkpoint names besides tensors is read as `StandIn`.

    Raises:
        pickle.UnpicklingError: names that no network has any use for.
    """
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # no zip archive: a file of PyTorch before 1.6, of tensors alone, or of something else
        return nullcontext()
    for name in names:
        module, _, last = name.rpartition(".")
        if module.split(".")[0] in _DANGEROUS or (module == "builtins" and last not in _PLAIN):
            raise pickle.UnpicklingError(f"the file names {name}")
    pairs: list[Any] = [(_empty_dict if name.endswith(_DICTS) else StandIn, name) for name in names]
    return torch.serialization.safe_globals(pairs)


def _unwrapped(content: Any) -> tuple[Any, str]:  # noqa: ANN401
    """The weights inside a checkpoint, and where they were."""
    inside: list[str] = []
    while isinstance(content, dict):
        key = next((k for k in NESTED if isinstance(content.get(k), dict) or _is_network(content.get(k))), None)
        if key is None:
            break
        inside.append(key)
        content = content[key]
    where = f"the weights are those under {' → '.join(inside)!r}" if inside else ""
    if _is_network(content):
        note = "the weights are those of the whole network in it, whose code was not run"
        where = f"{where}; {note}" if where else note
        content = dict(_tensors_of(content))
    return content, where


def _is_network(value: object) -> bool:
    return isinstance(value, StandIn) and isinstance(value.__dict__.get("_modules"), dict)


def _tensors_of(network: StandIn, prefix: str = "") -> Iterable[tuple[str, Tensor]]:
    """As `state_dict()` of a pickled network would give them."""
    attributes = network.__dict__
    passing = attributes.get("_non_persistent_buffers_set") or ()
    for name, tensor in {**(attributes.get("_parameters") or {}), **(attributes.get("_buffers") or {})}.items():
        if isinstance(tensor, Tensor) and name not in passing:
            yield prefix + str(name), tensor.detach()
    for name, part in attributes["_modules"].items():
        if _is_network(part):
            yield from _tensors_of(part, f"{prefix}{name}.")


def _without_prefix(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The tensors without what wrappers put before every name, and what that was."""
    removed = ""
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in tensors)), ""):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        removed += prefix
    return tensors, removed


def fit_to(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> tuple[dict[str, Tensor], list[str]]:
    """A checkpoint's tensors under the names that a network gives its own.

    Whatever stands before all of the network's names in the file is taken off; what stands beside it there, as the
    weights of a loss, is left out.

    Args:
        module: the network.
        tensors: as `read_nested` gives them.
        source: the file, for messages.

    Returns:
        The tensors, and what was taken off or left out, one sentence each. Where no prefix makes all names fit, the
        tensors without those that wrappers use, for `load_exactly` to say what does not fit.

    Raises:
        InputError: two networks in the file that fit, as a teacher and a student.
    """
    own = [name for name in module.state_dict() if not name.endswith("num_batches_tracked")]
    if not own:
        return dict(tensors), []
    longest = max(own, key=len)
    # where a wrapper is part of the network itself, its own names are the longer ones
    own_prefix = next((p for p in PREFIXES if all(name.startswith(p) for name in own)), "")
    fits: list[tuple[str, str]] = []
    for added in dict.fromkeys(("", own_prefix)):
        ending = longest.removeprefix(added)
        prefixes = [name.removesuffix(ending) for name in tensors if name.endswith(ending)]
        fits += [
            (prefix, added)
            for prefix in prefixes
            if (not prefix or prefix.endswith("."))
            and all(prefix + name.removeprefix(added) in tensors for name in own)
        ]
        if fits:
            break
    if len(fits) > 1:
        named = ", ".join(repr(prefix) for prefix, _ in fits)
        raise InputError(
            f"{source} holds {len(fits)} networks that fit, under {named}: save the weights of one of them alone."
        )
    if not fits:
        return _without_prefix(dict(tensors))[0], []
    prefix, added = fits[0]
    fitting = {added + name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    beside = [name for name in tensors if not name.startswith(prefix)]
    notes = [f"{prefix!r} before the network's names was taken off"] if prefix else []
    if beside:
        notes.append(f"what stands beside the network was left out: {first_of(beside)}")
    return fitting, notes


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """A module's `state_dict` without what is no tensor in it."""
    return {name: tensor for name, tensor in module.state_dict().items() if isinstance(tensor, Tensor)}


def load_exactly(model: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Load tensors that must be the model's, all of them and no others.

    Batch norm's `num_batches_tracked` may be missing, as in files of PyTorch before 0.4.1.

    Raises:
        InputError: names what is missing, unexpected or of another shape; the model is as before then.
    """
    own = tensors_of(model)
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in own]
    misshapen = [
        f"{name} ({shape_of(state[name])} instead of {shape_of(own[name])})"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if missing or unexpected or misshapen:
        problems = [
            f"{len(names)} {kind}: {first_of(names)}"
            for kind, names in (
                ("missing", missing),
                ("unexpected", unexpected),
                ("of another shape", misshapen),
            )
            if names
        ]
        raise InputError(
            f"{source} holds the weights of another network. {'; '.join(problems)}. Give the weights of this one, or "
            "make the network as it was when they were saved, with the same classes and options."
        )
    model.load_state_dict(dict(state), strict=False)


def shape_of(tensor: Tensor) -> str:
    """A tensor's shape for people."""
    return " × ".join(map(str, tensor.shape)) or "scalar"
