"""The training runs of a study: every variant with every seed and fold, and the data that they are trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pellucid.data.registry import open_dataset
from pellucid.study.stages import as_folder, stages_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pellucid.data.dataset import Splits
    from pellucid.study.config import DataSettings, StudyConfig
    from pellucid.study.stages import Stage
    from pellucid.training.recipe import Recipe


@dataclass(frozen=True)
class PlannedRun:
    """One network to train: a variant of the study, or a base of variants, with one seed.

    Attributes:
        label: of the variant; of a base that is none, the name of its recipe.
        seed: of the training; a base has that of the runs that start from it, and their fold.
        recipe: as planned: what a base brings with it is put in once that is trained.
        folder: of the run.
        base: the run whose network it starts from; None where it starts afresh.
        fold: whose images it does not see; None where the dataset has parts of its own.
    """

    label: str
    seed: int
    recipe: Recipe
    folder: Path
    base: PlannedRun | None = None
    fold: int | None = None

    @property
    def depth(self) -> int:
        """How many trainings come before it."""
        return 0 if self.base is None else self.base.depth + 1


def plan(study: StudyConfig, out: Path) -> list[PlannedRun]:
    """The run of every variant with every seed and fold, so ordered that an interrupted study has whole comparisons.

    Raises:
        InputError: a recipe or a base that cannot be.
    """
    stages = stages_of(study)
    return [_run(stage, seed, fold, out) for seed in study.seeds for fold in folds_of(study) for stage in stages]


def folds_of(study: StudyConfig) -> tuple[int | None, ...]:
    """The folds of a study; None, once, where the dataset's own parts are used."""
    return (None,) if study.folds is None else tuple(range(study.folds))


def with_bases(runs: Iterable[PlannedRun]) -> list[PlannedRun]:
    """The runs, and before them those that they start from, each once."""
    ordered: dict[Path, PlannedRun] = {}

    def add(run: PlannedRun) -> None:
        if run.base is not None:
            add(run.base)
        ordered.setdefault(run.folder, run)

    for run in runs:
        add(run)
    return list(ordered.values())


def first_runs(runs: Iterable[PlannedRun]) -> dict[str, PlannedRun]:
    """The run of each variant's first seed and fold, by label, in the order of the variants."""
    firsts: dict[str, PlannedRun] = {}
    for run in runs:
        firsts.setdefault(run.label, run)
    return firsts


def open_data(data: DataSettings, root: Path | None) -> Splits:
    """The dataset that a study names, at its place under `root`; the seeds of training never change its split."""
    folder = root / data.path if root is not None and data.path else root
    return open_dataset(data.name, folder, seed=data.seed, options=data.options)


def _run(stage: Stage, seed: int, fold: int | None, out: Path) -> PlannedRun:
    name = f"{as_folder(stage.label)}-seed{seed}" + ("" if fold is None else f"-fold{fold}")
    base = None if stage.base is None else _run(stage.base, seed, fold, out)
    return PlannedRun(stage.label, seed, stage.recipe, out / "runs" / name, base, fold)
