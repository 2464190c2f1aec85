"""Where a study works: its configuration, its data, its folder and the device, in one object for all its steps."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pellucid.data.folds import assign_folds, fold_parts, join
from pellucid.study.runs import PlannedRun, open_data, plan
from pellucid.types import InputError
from pellucid.utils.resources import write_json
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy.typing as npt

    from pellucid.data.dataset import Dataset, Splits
    from pellucid.study.config import DataSettings, StudyConfig
    from pellucid.types import InputSpec


@dataclass(frozen=True)
class StudyContext:
    """What every process of a study needs to know, and the data that each opens once.

    Attributes:
        study: what to do.
        root: where its data is; None for built-in data.
        out: the study's folder.
        device: `auto`, `cpu`, `cuda` or `mps`.
        limit: at most so many images per part, for a quick look.
        cache: folder for decoded images.
        log: the tracker of its trainings, under the study's name.
    """

    study: StudyConfig
    root: Path | None
    out: Path
    device: str = "auto"
    limit: int | None = None
    cache: Path | None = None
    log: str | None = None

    @property
    def is_on_cpu(self) -> bool:
        """Whether there is no accelerator to work on, or none is asked for."""
        return self.device == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())

    @property
    def resolved_device(self) -> str:
        """The device as PyTorch calls it: `cpu`, `cuda` or `mps`."""
        if self.is_on_cpu:
            return "cpu"
        return "cuda" if torch.cuda.is_available() and self.device != "mps" else "mps"

    @cached_property
    def runs(self) -> list[PlannedRun]:
        """The training runs, seed by seed and fold by fold."""
        return plan(self.study, self.out)

    @cached_property
    def splits(self) -> Splits:
        """The parts of the dataset."""
        return self.open(self.study.data)

    @cached_property
    def whole(self) -> Dataset:
        """All images of the dataset, whatever part they are in; for folds."""
        return join(list(self.splits.values()))

    @cached_property
    def folds(self) -> npt.NDArray[np.int64]:
        """The fold of each of them; the seeds of training never change it.

        Raises:
            InputError: fewer patients than folds.
        """
        assert self.study.folds is not None
        return assign_folds(self.whole, self.study.folds, self.study.data.seed)

    def folds_of(self, ids: Iterable[str]) -> npt.NDArray[np.int64]:
        """The fold of each of some images, by id."""
        fold_of = dict(zip(self.whole.ids, self.folds.tolist(), strict=True))
        return np.array([fold_of[name] for name in ids], dtype=np.int64)

    def parts_of(self, fold: int | None) -> Splits:
        """The parts that the networks of a fold are trained on, chosen by and judged on; of None the dataset's own."""
        if fold is None:
            return self.splits
        if fold not in self._parts:
            fraction, seed = self.study.validation_fraction, self.study.data.seed
            self._parts[fold] = fold_parts(self.whole, self.folds, fold, validation_fraction=fraction, seed=seed)
        return self._parts[fold]

    @cached_property
    def _parts(self) -> dict[int, Splits]:
        return {}

    @property
    def spec(self) -> InputSpec:
        """What the networks take.

        Raises:
            InputError: recipes whose networks take images of several kinds.
        """
        specs = {run.recipe.model.input_spec for run in self.runs}
        if len(specs) > 1:
            kinds = sorted(f"{number_of(spec.channels, 'channel(s)')}, {spec.preprocess}" for spec in specs)
            raise InputError(f"the recipes of a study must take images of one size and kind; found {'; '.join(kinds)}.")
        return specs.pop()

    def open(self, data: DataSettings) -> Splits:
        """A dataset at its place under `root`."""
        return open_data(data, self.root)

    def evaluations(self, run: PlannedRun) -> Path:
        """The folder where what is measured of a run is kept."""
        return self.out / "evaluations" / run.folder.name


def write_results(context: StudyContext, results: dict[str, Any], command: str, device: str, started: float) -> None:
    """Write results.json, with how it came about.

    Args:
        context: of the study.
        results: what was measured; what is said here is added to it.
        command: what the user typed.
        device: in words.
        started: when, by the monotonic clock.
    """
    results |= {
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device,
        "seconds": time.monotonic() - started,
        "limit": context.limit,
    }
    if context.limit is not None:
        trial = f"Only {context.limit} images per part were used (--limit): a trial, not a result."
        results["limits"].insert(0, trial)
    write_json(context.out / "results.json", results)
