"""The training runs of a study: every variant with every seed, one after the other or several at a time."""

from __future__ import annotations

import json
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pellucid.data.registry import open_dataset
from pellucid.study.workers import at_work
from pellucid.training.network import build_classifier
from pellucid.training.objectives.objective import Objective
from pellucid.training.recipe import Recipe, load_recipe
from pellucid.utils.progress import progress_bar

if TYPE_CHECKING:
    from pathlib import Path

    from pellucid.data.dataset import Dataset, Splits
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


def check_recipe(recipe: Recipe, data: Dataset) -> None:
    """Refuse a recipe whose network cannot be built, or whose loss is not for the data, before any is trained."""
    Objective(build_classifier(recipe.model, data), recipe.objective, torch.from_numpy(data.targets))


def open_data(data: DataSettings, root: Path | None) -> Splits:
    """The dataset that a study names, at its place under `root`; the seeds of training never change its split."""
    folder = root / data.path if root is not None and data.path else root
    return open_dataset(data.name, folder, seed=data.seed, options=data.options)


def train_all(
    study: StudyConfig,
    root: Path | None,
    out: Path,
    *,
    device: str,
    jobs: int,
    limit: int | None,
    cache: Path | None,
) -> None:
    """Train what is not trained yet; interrupted runs go on where they stopped.

    Args:
        study: what to train.
        root: where its data is.
        out: the study's folder.
        device: `auto`, `cpu`, `cuda` or `mps`.
        jobs: runs at a time, each in a process of its own with its share of the processor's cores.
        limit: at most so many images per part.
        cache: folder for decoded images.
    """
    runs = plan(study, out)
    if jobs == 1:
        for run in runs:
            train_one(study, root, run, device, limit, cache, 0)
        return
    threads = max(torch.get_num_threads() // jobs, 1)
    with (
        progress_bar(
            f"train {len(runs)} networks, {jobs} at a time",
            sum(r.recipe.training.epochs for r in runs),
            unit="epoch",
        ) as advance,
        at_work(jobs, train_one, ((study, root, run, device, limit, cache, threads) for run in runs)) as started,
    ):
        epochs_shown, waiting = 0, started
        while waiting:
            finished, waiting = wait(waiting, timeout=2.0, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
            epochs = sum(_epochs_done(run.folder) for run in runs)
            advance(epochs - epochs_shown)
            epochs_shown = epochs


def train_one(
    study: StudyConfig,
    root: Path | None,
    run: PlannedRun,
    device: str,
    limit: int | None,
    cache: Path | None,
    threads: int,
) -> None:
    """Train one network of the study; a finished one is left as it is."""
    from pellucid.evaluation.metrics.validation import ValidationScorer
    from pellucid.training.loop import train

    if threads:  # one of several processes: its share of the cores, and no bar of its own
        import os

        os.environ["PELLUCID_PROGRESS"] = "0"
        torch.set_num_threads(threads)
    splits = open_data(study.data, root)
    train(
        run.recipe,
        splits["train"].limit(limit),
        splits["validation"].limit(limit),
        run.folder,
        scorer=ValidationScorer(),
        seed=run.seed,
        device=device,
        resume=True,
        cache=cache,
    )


def _layers(*layers: dict[str, object]) -> dict[str, object]:
    from pellucid.utils.settings import merge

    joined: dict[str, object] = {}
    for layer in layers:
        merge(joined, json.loads(json.dumps(layer)))
    return joined


def _epochs_done(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0
