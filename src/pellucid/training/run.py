"""The run folder: what was trained, with what, and how far it is."""

from __future__ import annotations

import json
import platform
import tomllib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tomli_w

from pellucid.data.decoding.file_pixels import decoding_of
from pellucid.models.weights import CARD, WEIGHTS, read_model_card, read_training_record
from pellucid.types import InputError
from pellucid.utils.digests import damaged, seal, unseal
from pellucid.utils.download import digest_of
from pellucid.utils.locks import hold
from pellucid.utils.resources import finite, version_of, write_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pellucid.data.dataset import Dataset
    from pellucid.training.objectives.gradient_penalty import Method
    from pellucid.training.recipe import Recipe

AFRESH = "Delete the folder of this run, or choose another --out, and start again without --resume."


@dataclass(frozen=True)
class RunFolder:
    """The files of one training run.

    `run.toml` (resolved configuration, versions, seed, data), `metrics.jsonl` (one line per epoch),
    `weights.safetensors` + `model.toml` (the best by validation), `last/` (the same for the last epoch), `state/`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = RunFolder(Path(folder))
        ...     run.write({"finished": True, "seed": 3})
        ...     run.finished, run.read()["seed"], run.metrics()
        (True, 3, [])
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

    @contextmanager
    def held(self, *, resume: bool, wait: bool, main: bool = True) -> Iterator[None]:
        """Nobody else trains in this folder until the block ends, or the process does.

        Args:
            resume: whether a run that is there may go on; a new one is refused at once where there is one.
            wait: for another process that trains here; otherwise it is refused.
            main: whether this process is the one that writes; the others of a joint training follow it.

        Raises:
            InputError: naming the process that trains here, or the run that is here.
        """
        if not main:
            yield
            return
        self._refuse_a_second(resume=resume)
        with hold(self.path, wait=wait):
            self._refuse_a_second(resume=resume)  # of one that was waited for
            yield

    def read(self) -> dict[str, Any]:
        """The content of `run.toml`.

        Raises:
            InputError: there is none, or it is not what was written.
        """
        path = self.path / "run.toml"
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{self.path} is not a run folder: its run.toml cannot be read ({error}).") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise damaged(path, f"it is not valid TOML: {error}", AFRESH) from error
        return unseal(values, path, AFRESH)

    def write(self, values: dict[str, Any]) -> None:
        """Write `run.toml` with its digest, whole or not at all."""
        write_text(self.path / "run.toml", tomli_w.dumps(seal(_without_none(values))))

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`, one per epoch.

        Raises:
            InputError: naming the line that is not what was written, or missing.
        """
        path = self.path / "metrics.jsonl"
        if not path.is_file():
            return []
        rows = []
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            where = f"{path}, line {number},"
            try:
                row = unseal(json.loads(line), where, AFRESH)
            except (ValueError, RecursionError) as error:
                if isinstance(error, InputError):
                    raise
                raise damaged(where, f"it is not valid JSON: {error}", AFRESH) from error
            if row.get("epoch") != number:
                raise damaged(where, f"epoch {number} is missing", AFRESH)
            rows.append(row)
        return rows

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add (or replace) one epoch's line; later epochs, of an interrupted attempt, go."""
        rows = [r for r in self.metrics() if r["epoch"] < row["epoch"]]
        text = "".join(json.dumps(seal(finite(r))) + "\n" for r in [*rows, row])
        write_text(self.path / "metrics.jsonl", text)

    def check_kept(self, epochs: int, weights_sha256: str | None = None) -> None:
        """Whether all that so many epochs left is still there: their metrics, and the best network.

        Args:
            epochs: that are done.
            weights_sha256: of the best network when the state was saved. A run that was killed later may have another,
                with its own card.

        Raises:
            InputError: naming the file that is missing or not what was written.
        """
        if epochs == 0:
            return
        count = len(self.metrics())
        if count < epochs:
            path = self.path / "metrics.jsonl"
            raise damaged(path, f"{epochs} epochs are done and it has the lines of {count}", AFRESH)
        weights = self.path / WEIGHTS
        for path in (weights, self.path / CARD):
            if not path.is_file():
                raise InputError(f"{path} is gone: the best network of the epochs that are done. {AFRESH}")
        if digest_of(weights) not in (weights_sha256, read_model_card(self.path).get("weights_sha256")):
            raise damaged(weights, f"it is not the file that {CARD} beside it was written for", AFRESH)

    def check_finished(self) -> None:
        """Whether a run that is finished still has what it left.

        Raises:
            InputError: naming the file that is missing or not what was written.
        """
        record = self.read()
        self.check_kept(record.get("collapsed_in_epoch") or record["recipe"]["training"]["epochs"])
        read_training_record(self.path)

    def check(self, values: dict[str, Any], *, resume: bool) -> None:
        """Whether a run described by `values` can start here, or go on; nothing is written.

        Raises:
            InputError: if the folder holds a run and `resume` is not asked for, or another run.
        """
        self._refuse_a_second(resume=resume)
        if not (self.path / "run.toml").is_file() or (not self.finished and not self.state.is_dir()):
            return
        record = self.read()
        for key in ("recipe", "seed", "data", "annotations"):
            old, new = (_wherever_it_lies(one.get(key)) for one in (record, _without_none(values)))
            if old != new:
                raise InputError(
                    f"{self.path} was started with another {key}: {_difference(old, new)}. "
                    "Resume with the same, or choose another --out."
                )

    def _refuse_a_second(self, *, resume: bool) -> None:
        if self.path.is_file():
            raise InputError(f"{self.path} is a file; --out names a folder.")
        if not resume and (self.path / "run.toml").is_file():
            raise InputError(
                f"{self.path} holds a run already. Add --resume to go on with it, or choose another --out."
            )
        if self.state.is_dir() and not (self.path / "run.toml").is_file():
            raise InputError(f"{self.path / 'run.toml'} is gone, and with it what {self.state} belongs to. {AFRESH}")

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
    penalty_method: Method | None = None,
) -> dict[str, Any]:
    """The content of `run.toml` at the start of a run; `annotations` as `annotation_data.describe` gives them."""
    return {
        "seed": seed,
        "device": device,
        "processes": processes,
        "recipe": recipe.model_dump(mode="json"),
        "data": {
            part.split: {
                "name": part.card.name,
                "images": len(part),
                "fingerprint": part.fingerprint,
                "decoding": decoding_of(part),
            }
            for part in (train, validation)
        },
        "annotations": annotations,
        "penalty_method": penalty_method._asdict() if penalty_method is not None else None,
        "versions": versions(),
        "finished": False,
    }


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    versions_of = {"python": platform.python_version(), "machine": platform.machine()}
    for package in ("pellucid", "torch", "numpy", "pillow", "kornia", "accelerate"):
        versions_of[package] = version_of(package)
    return versions_of


def _without_none(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, (list, tuple)):
        return [_without_none(v) for v in value]
    return value


def _wherever_it_lies(value: Any) -> Any:  # noqa: ANN401
    """A recipe without the path of the weights that it starts from, where their digest says which they are."""
    model = value.get("model") if isinstance(value, dict) else None
    if not isinstance(model, dict) or "sha256" not in model:
        return value
    return {**value, "model": {k: v for k, v in model.items() if k != "pretrained"}}


def _difference(old: Any, new: Any, at: str = "") -> str:  # noqa: ANN401
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                return _difference(old.get(key), new.get(key), f"{at}.{key}" if at else str(key))
    return f"{at + ' ' if at else ''}was {old!r}, now {new!r}"
