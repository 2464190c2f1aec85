"""Published weights into a classifier: foreign names, one-channel images, another head."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from pellucid.models.dual_norm import for_both_norms
from pellucid.models.sources.download import fetch
from pellucid.types import InputError
from pellucid.utils.download import check_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from torch import nn

    from pellucid.models.classifier import ConvolutionalClassifier

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
NESTED = ("model_state_dict", "state_dict", "model_state", "model", "net", "network")
"""Where checkpoints hold their weights."""
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""What `DataParallel`, `torch.compile`, Lightning and others put before the names of all weights."""


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The named tensors of a weights file, on the CPU.

    `.safetensors` as such; anything else by `torch.load(weights_only=True)`, which runs no code of the file.
    Weights inside a checkpoint (`NESTED`, at any depth) are taken out of it, and what wrappers put before every name
    (`PREFIXES`) is taken off; a note says so.

    Raises:
        InputError: no such file, a file of another kind, or one that holds more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no weights file at {path}.")
    try:
        content: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} holds Python objects besides tensors, or is no checkpoint; it is not opened, since that "
            "could run code of the file. Save its state_dict() alone and give that."
        ) from error
    except Exception as error:  # a damaged pickle also raises IndexError, TypeError, struct.error …
        raise InputError(f"{path} is not a readable weights file: {error}") from error
    content, inside = _unwrapped(content)
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise InputError(f"{path} does not hold named tensors, as state_dict() gives them.")
    content, prefix = _without_prefix(content)
    done = [f"the weights are those under {inside!r}"] * bool(inside)
    done += [f"{prefix!r} before every name was taken off"] * bool(prefix)
    if done:
        warnings.warn(f"{path.name}: {'; '.join(done)}.", stacklevel=3)
    return dict(content)


def _unwrapped(content: Any) -> tuple[Any, str]:  # noqa: ANN401
    """The weights inside a checkpoint, and under which keys they were."""
    inside: list[str] = []
    while isinstance(content, dict):
        key = next((k for k in NESTED if isinstance(content.get(k), dict)), None)
        if key is None:
            break
        inside.append(key)
        content = content[key]
    return content, " → ".join(inside)


def _without_prefix(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The tensors without what wrappers put before every name, and what that was."""
    taken = ""
    while prefix := next((p for p in PREFIXES if all(str(name).startswith(p) for name in tensors)), ""):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        taken += prefix
    return tensors, taken


def load_exactly(model: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Load tensors that must be the model's, all of them and no others.

    Batch norm's `num_batches_tracked` may be missing, as in files of PyTorch before 0.4.1.

    Raises:
        InputError: names what is missing, unexpected or of another shape; the model is as before then.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in own]
    misshapen = [
        f"{name} ({_shape(state[name])} instead of {_shape(own[name])})"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if missing or unexpected or misshapen:
        problems = [
            f"{len(names)} {kind}: {_first(names)}"
            for kind, names in (
                ("missing", missing),
                ("unexpected", unexpected),
                ("of another shape", misshapen),
            )
            if names
        ]
        raise InputError(f"{source} holds the weights of another network. " + "; ".join(problems))
    model.load_state_dict(dict(state), strict=False)


def load_pretrained(
    model: ConvolutionalClassifier,
    source: str | Path,
    *,
    sha256: str | None = None,
    std: Sequence[float] = IMAGENET_STD,
) -> tuple[str, ...]:
    """Load published weights from a file or an http(s) address into a classifier, in place.

    A first convolution for three channels is adapted to a gray classifier: gray is three equal channels, so
    the weights are summed, each scaled from the published normalisation of its channel to the classifier's
    own, ``W = Σ_c W_c · std / std_c``. Where the published means differ from the classifier's own
    there would be a constant in each filter's output; it is left out, since zero padding keeps it from being
    folded in exactly. A head of another size, or none, is left as it was, with a warning.

    Args:
        model: receives the weights.
        source: `.safetensors`, `.pt` or `.pth`; downloads are cached and resumed.
        sha256: checksum; a download needs one, if only in its name.
        std: what the weights were published to have each channel divided by.

    Returns:
        What was adapted or left out, one sentence each.

    Raises:
        InputError: names the keys that do not fit; the model is as before then.
    """
    address = str(source)
    if address.startswith(("http://", "https://")):
        path = fetch(address, sha256=sha256)
    else:
        path = Path(source)
        if sha256 is not None and path.is_file():
            check_digest(path, sha256)
    state = read_tensors(path)
    rename = getattr(model.backbone, "published_names", None)
    if rename is not None and not any(name.startswith("backbone.") for name in state):
        state = rename(state)
    notices = []
    first = "backbone." + str(getattr(model.backbone, "first_convolution", ""))
    published = state.get(first)
    if published is not None and published.shape[1] == 3 and model.input_spec.channels == 1:
        scale = model.std.flatten().cpu() / torch.tensor(list(std))
        state[first] = (published * scale.view(1, -1, 1, 1)).sum(1, keepdim=True)
        notices.append("the first convolution was adapted from three channels to one")
    weight = state.get("head.weight")
    if weight is not None and weight.shape != model.head.weight.shape:
        notice = (
            f"the head of {path.name} gives {weight.shape[0]} logits from {weight.shape[1]} features; "
            f"this classifier's, {_shape(model.head.weight)}, was left as it is"
        )
        warnings.warn(notice, stacklevel=2)
        notices.append(notice)
    if weight is None:
        notice = f"{path.name} holds no head that this classifier could use: its own was left as it is"
        warnings.warn(notice, stacklevel=2)
        notices.append(notice)
    if weight is None or weight.shape != model.head.weight.shape:
        state.update({f"head.{name}": tensor for name, tensor in model.head.state_dict().items()})
    load_exactly(model, for_both_norms(model, state), source=str(path))
    return tuple(notices)


def _shape(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "scalar"


def _first(names: Iterable[str], count: int = 5) -> str:
    names = list(names)
    return ", ".join(names[:count]) + (", …" if len(names) > count else "")
