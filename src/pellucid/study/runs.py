"""The training runs of a study: every variant with every seed, and the data that they are trained on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pellucid.data.registry import open_dataset
from pellucid.training.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pellucid.data.dataset import Splits
    from pellucid.study.config import DataSettings, StudyConfig


@dataclass(frozen=True)
class PlannedRun:
    """One network to train: a variant of the study with one seed."""

    label: str
    seed: int
    recipe: Recipe
    folder: Path


def plan(study: StudyConfig, out: Path) -> list[PlannedRun]:
    """All runs of a study, seed by seed, so that an interrupted study has whole comparisons."""
    recipes = {v.label: load_recipe(v.recipe, settings=_layers(study.settings, v.settings)) for v in study.variants}
    return [
        PlannedRun(label, seed, recipe, out / "runs" / f"{label.replace(' ', '-')}-seed{seed}")
        for seed in study.seeds
        for label, recipe in recipes.items()
    ]


def first_runs(runs: Iterable[PlannedRun]) -> dict[str, PlannedRun]:
    """The run of each variant's first seed, by label, in the order of the variants."""
    firsts: dict[str, PlannedRun] = {}
    for run in runs:
        firsts.setdefault(run.label, run)
    return firsts


def open_data(data: DataSettings, root: Path | None) -> Splits:
    """The dataset that a study names, at its place under `root`; the seeds of training never change its split."""
    folder = root / data.path if root is not None and data.path else root
    return open_dataset(data.name, folder, seed=data.seed, options=data.options)


def _layers(*layers: dict[str, object]) -> dict[str, object]:
    from pellucid.utils.settings import merge

    joined: dict[str, object] = {}
    for layer in layers:
        merge(joined, json.loads(json.dumps(layer)))
    return joined
