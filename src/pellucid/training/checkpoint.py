"""The state of a run on disk: enough to go on exactly where a killed process stopped, and nothing unpickled.

`state/` holds one folder a saved step: tensors as safetensors, and `progress.json`, written last, with the digests of
the others and its own. So a folder is whole once `progress.json` is there, and the newest whole one counts: a kill at
any moment leaves one.
"""

from __future__ import annotations

import shutil
import warnings
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load, save

from pellucid.types import InputError
from pellucid.utils.digests import DamageError, damaged, digest, read_sealed, write_sealed
from pellucid.utils.resources import whole_file

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn
    from torch.optim import Optimizer

MODEL, OPTIMIZER, PROGRESS = "model.safetensors", "optimizer.safetensors", "progress.json"
ADVICE = "Delete the folder of this run, or choose another --out, and start again without --resume."


def save_state(folder: Path, model: nn.Module, optimizer: Optimizer, progress: dict[str, Any]) -> None:
    """Save a run's state; `progress` is JSON: epoch, step within it, running sums, best score.

    Raises:
        InputError: if the disk is full; the state before this one is kept, and nothing of this one.
    """
    step = folder / f"step-{progress['global_step']:08d}"
    again = step.is_dir()  # the end of an epoch may be saved at a step that was saved within it
    tensors, scalars = _flatten(optimizer)
    # copies, since tensors that share their memory cannot be written
    weights = {k: v.detach().cpu().clone().contiguous() for k, v in model.state_dict().items()}
    try:
        digests = {name: _save(step / name, part) for name, part in ((MODEL, weights), (OPTIMIZER, tensors))}
        write_sealed(step / PROGRESS, progress | {"optimizer": scalars, "files": digests})
    except (InputError, OSError):
        if not again:
            shutil.rmtree(step, ignore_errors=True)
        raise
    for old in folder.glob("step-*"):
        if old != step:
            shutil.rmtree(old, ignore_errors=True)


def load_state(folder: Path, model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """Load the newest state into `model` and `optimizer`; returns its `progress`.

    A damaged one is told, and an older one taken where there is one: the steps after it are made again.

    Raises:
        InputError: if there is none that can be read, naming the damaged files.
    """
    damages: list[DamageError] = []
    for step in _steps(folder):
        try:
            progress, tensors = _read(step)
        except DamageError as error:
            damages.append(error)
            continue
        for trouble in damages:
            warnings.warn(f"{trouble} An older state is there, {step.name}: the run goes on from that.", stacklevel=2)
        try:
            model.load_state_dict(tensors[MODEL])
            _restore(optimizer, tensors[OPTIMIZER], progress.pop("optimizer"))
        except (KeyError, ValueError, RuntimeError) as error:
            raise InputError(f"{step} holds the state of another network ({error}). {ADVICE}") from error
        return progress
    if damages:
        raise InputError(" ".join(map(str, damages)) + f" {ADVICE}")
    raise InputError(f"{folder} holds no state to resume from. Start again without --resume.")


def has_state(folder: Path) -> bool:
    """Whether a run was interrupted and can go on."""
    return bool(_steps(folder))


def _steps(folder: Path) -> list[Path]:
    """The folders that are whole, but for damage, the newest first."""
    return sorted((path.parent for path in folder.glob(f"step-*/{PROGRESS}")), key=lambda p: p.name, reverse=True)


def _read(step: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """What a folder holds: its progress, and the tensors of both files, after their digests were compared."""
    try:
        progress = read_sealed(step / PROGRESS, "")
        contents = {name: (step / name, (step / name).read_bytes()) for name in (MODEL, OPTIMIZER)}
    except OSError as error:
        raise damaged(error.filename or step, error.strerror or error, "") from error
    digests = progress.pop("files")
    for name, (path, content) in contents.items():
        if digest(content) != digests[name]:
            raise damaged(path, f"it does not fit its digest in {PROGRESS}", "")
    return progress, {name: load(content) for name, (_, content) in contents.items()}


def _save(path: Path, tensors: dict[str, Tensor]) -> str:
    """Write tensors; returns the file's digest."""
    content = save(tensors)  # save_file would hide that the disk is full in an error of its own
    with whole_file(path) as temporary:
        temporary.write_bytes(content)
    return digest(content)


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
