"""The state of a run on disk: enough to go on exactly where a killed process stopped, and nothing unpickled.

`state/` holds one folder a saved step (tensors as safetensors, the rest as JSON) and `latest.json`, which names
the folder that counts. The name is replaced only when the folder is whole, so a kill at any moment leaves a state.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from pellucid.resources import whole_file, write_json
from pellucid.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn
    from torch.optim import Optimizer


def save_state(folder: Path, model: nn.Module, optimizer: Optimizer, progress: dict[str, Any]) -> None:
    """Save a run's state; `progress` is JSON: epoch, step within it, running sums, best score.

    Raises:
        InputError: if the disk is full; the state before this one is kept, and nothing of this one.
    """
    step = folder / f"step-{progress['global_step']:08d}"
    again = step.is_dir()  # the end of an epoch may be saved at a step that was saved within it
    tensors, scalars = _flatten(optimizer)
    try:
        _save(step / "model.safetensors", {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()})
        _save(step / "optimizer.safetensors", tensors)
        write_json(step / "progress.json", progress | {"optimizer": scalars})
        write_json(folder / "latest.json", {"folder": step.name})
    except (InputError, OSError):
        if not again:
            shutil.rmtree(step, ignore_errors=True)
        raise
    for old in folder.glob("step-*"):
        if old != step:
            shutil.rmtree(old, ignore_errors=True)


def load_state(folder: Path, model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """Load the newest state into `model` and `optimizer`; returns its `progress`.

    Raises:
        InputError: if there is none, or a file of it cannot be read.
    """
    try:
        step = folder / json.loads((folder / "latest.json").read_text())["folder"]
        progress: dict[str, Any] = json.loads((step / "progress.json").read_text())
        model.load_state_dict(load_file(step / "model.safetensors"))
        _restore(optimizer, load_file(step / "optimizer.safetensors"), progress.pop("optimizer"))
    except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder} holds no state to resume from ({error}). Start again without --resume.") from error
    return progress


def has_state(folder: Path) -> bool:
    """Whether a run was interrupted and can go on."""
    return (folder / "latest.json").is_file()


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    with whole_file(path) as temporary:
        temporary.write_bytes(save(tensors))  # save_file would hide that the disk is full in an error of its own


def _flatten(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    for index, values in optimizer.state_dict()["state"].items():
        for key, value in values.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{key}"] = value.detach().cpu().contiguous().clone()
            else:
                scalars[f"{index}.{key}"] = value
    return tensors, scalars


def _restore(optimizer: Optimizer, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
    state: dict[int, dict[str, Any]] = {}
    for name, value in (*tensors.items(), *scalars.items()):
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
