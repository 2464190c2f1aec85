"""Sending the figures of a run to TensorBoard, MLflow or Weights & Biases while it trains, through accelerate."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from pellucid.types import InputError
from pellucid.utils.resources import nearest, optional

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pellucid.training.run import RunFolder

TrackerName = Literal["tensorboard", "mlflow", "wandb"]
TRACKERS: tuple[TrackerName, ...] = get_args(TrackerName)
PROJECT = "pellucid"  # where a tracker files the runs of no study
LOG_EVERY = 16  # steps between two that are sent, since a server may be slower than a step


def check_tracker(name: str | None, project: str) -> None:
    """Refuse a tracker that cannot be used, before anything else is done.

    Args:
        name: as the user gave it; None for no tracker.
        project: the name under which the tracker files the runs.

    Raises:
        InputError: an unknown name, a package that is not installed, or an MLflow server that does not answer.
    """
    if name is None:
        return
    if name not in TRACKERS:
        raise InputError(f"--log must be one of {', '.join(TRACKERS)}; found {name!r}. {nearest(name, TRACKERS)}")
    module = optional(name, name, f"--log {name}")
    if name == "mlflow":
        try:  # here, in one process: several that train at a time would each try to make the experiment
            module.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", project))
        except Exception as error:
            raise _cannot_start(name, error) from error


class RunTracker:
    """One run in a tracker: its settings, and its figures as they come.

    A run that is resumed goes on in the same one: `run.toml` says which. TensorBoard's files lie in the run folder.

    Args:
        name: of the tracker.
        run: the run folder, whose name the run has in the tracker too.
        project: the name under which the tracker files the run.
        description: what `run.toml` says of it.
        step: the step that training goes on from; what was logged after it is logged again.

    Raises:
        InputError: the tracker does not start, as without its server or a login.
    """

    def __init__(
        self, name: TrackerName, run: RunFolder, project: str, description: Mapping[str, Any], *, step: int
    ) -> None:
        from accelerate import tracking

        self.name = name
        before = run.read().get("tracker", {}) if (run.path / "run.toml").is_file() else {}
        earlier = before if before.get("name") == name else {}
        run_id = earlier.get("run")
        self._tracker: Any
        if name == "tensorboard":
            self._tracker = tracking.TensorBoardTracker("tensorboard", run.path, purge_step=step + 1)
        elif name == "mlflow":
            self._tracker = tracking.MLflowTracker(project, run_id=run_id, run_name=run.path.name)
        else:
            self._tracker = tracking.WandBTracker(
                os.environ.get("WANDB_PROJECT", project), name=run.path.name, dir=run.path, id=run_id, resume="allow"
            )
        try:
            self._tracker.start()
            if not earlier:  # MLflow refuses another value of a setting, as of a version, and TensorBoard adds a run
                self._tracker.store_init_configuration(_flat(description))
        except Exception as error:
            raise _cannot_start(name, error) from error

    @property
    def record(self) -> dict[str, str]:
        """What `run.toml` keeps, so that a resumed run goes on in the same one."""
        started = self._tracker.tracker
        if self.name == "tensorboard":
            return {"name": self.name}
        return {"name": self.name, "run": started.info.run_id if self.name == "mlflow" else started.id}

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Send figures of one step; a tracker that fails is left out from then on, and training goes on."""
        if self._tracker is None:
            return
        try:
            self._tracker.log(dict(values), step=step)
        except Exception as error:  # days of training do not end because a server does
            self._tracker = None
            warnings.warn(
                f"{self.name} took no figures of step {step} ({error}) and gets none from here on. Training goes on; "
                "metrics.jsonl in the run folder has every epoch.",
                stacklevel=2,
            )

    def finish(self) -> None:
        """Close the run in the tracker, however training ended."""
        if self._tracker is not None:
            self._tracker.finish()


def open_tracker(
    name: str | None, run: RunFolder, project: str, description: Mapping[str, Any], *, step: int
) -> RunTracker | None:
    """The tracker that `check_tracker` has let through; None where none is wanted."""
    return None if name is None else RunTracker(cast("TrackerName", name), run, project, description, step=step)


def _cannot_start(name: str, error: Exception) -> InputError:
    return InputError(f"--log {name}: it did not start ({type(error).__name__}: {error}). Nothing was trained.")


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, bool | float | str]:
    """Nested settings as one level of `section.key`, in the types that every tracker takes; None is left out."""
    flat: dict[str, bool | float | str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{before}{key}.")
        elif value is not None:
            flat[before + key] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat
