"""The run folder: what was trained, with what, and how far it is."""

from __future__ import annotations

import json
import platform
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tomli_w

from pellucid.resources import finite, version_of, write_text
from pellucid.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from pellucid.data.dataset import Dataset
    from pellucid.training.recipe import Recipe


@dataclass(frozen=True)
class RunFolder:
    """The files of one training run.

    `run.toml` (resolved configuration, versions, seed, data), `metrics.jsonl` (a line an epoch),
    `weights.safetensors` + `model.toml` (the best by validation), `last/` (the same for the last epoch), `state/`.
    """

    path: Path

    @property
    def state(self) -> Path:
        """Where the state for resuming is kept."""
        return self.path / "state"

    @property
    def finished(self) -> bool:
        """Whether the run went through to its end."""
        return bool(self.read().get("finished")) if (self.path / "run.toml").is_file() else False

    def read(self) -> dict[str, Any]:
        """The content of `run.toml`."""
        try:
            return tomllib.loads((self.path / "run.toml").read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise InputError(f"{self.path} is not a run folder: its run.toml cannot be read ({error}).") from error

    def write(self, values: dict[str, Any]) -> None:
        """Write `run.toml`, whole or not at all."""
        write_text(self.path / "run.toml", tomli_w.dumps(_without_none(values)))

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`, one an epoch."""
        path = self.path / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add (or replace) one epoch's line; later epochs, of an interrupted attempt, go."""
        rows = [r for r in self.metrics() if r["epoch"] < row["epoch"]]
        write_text(self.path / "metrics.jsonl", "".join(json.dumps(finite(r)) + "\n" for r in [*rows, row]))

    def check(self, values: dict[str, Any], *, resume: bool) -> None:
        """Whether a run described by `values` can start here, or go on; nothing is written.

        Raises:
            InputError: if the folder holds a run and `resume` is not asked for, or another run.
        """
        if self.path.is_file():
            raise InputError(f"{self.path} is a file; --out names a folder.")
        if not (self.path / "run.toml").is_file() or (resume and not self.finished and not self.state.is_dir()):
            return
        if not resume:
            raise InputError(
                f"{self.path} holds a run already. Add --resume to go on with it, or choose another --out."
            )
        known = self.read()
        for key in ("recipe", "seed", "data", "annotations"):
            if (old := known.get(key)) != (new := _without_none(values).get(key)):
                raise InputError(
                    f"{self.path} was started with another {key}: {_difference(old, new)}. "
                    "Resume with the same, or choose another --out."
                )

    def start(self, values: dict[str, Any]) -> None:
        """Make the folder with its `run.toml`; one that goes on keeps its own."""
        if not self.state.is_dir():
            self.write(values)


def describe_run(
    recipe: Recipe,
    train: Dataset,
    validation: Dataset,
    *,
    seed: int,
    device: str,
    processes: int,
    annotations: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of `run.toml` at the start of a run; `annotations` as `annotation_data.describe` gives them."""
    return {
        "seed": seed,
        "device": device,
        "processes": processes,
        "recipe": recipe.model_dump(mode="json"),
        "data": {
            part.split: {"name": part.card.name, "images": len(part), "fingerprint": part.fingerprint}
            for part in (train, validation)
        },
        "annotations": annotations,
        "versions": versions(),
        "finished": False,
    }


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in ("pellucid", "torch", "numpy", "scikit-learn", "kornia", "accelerate"):
        found[package] = version_of(package)
    return found


def _without_none(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, (list, tuple)):
        return [_without_none(v) for v in value]
    return value


def _difference(old: Any, new: Any, at: str = "") -> str:  # noqa: ANN401
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                return _difference(old.get(key), new.get(key), f"{at}.{key}" if at else str(key))
    return f"{at + ' ' if at else ''}was {old!r}, now {new!r}"
