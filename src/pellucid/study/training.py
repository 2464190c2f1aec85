"""Training what a study compares: one network after the other, or several at a time in processes of their own."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch

from pellucid.study.runs import with_bases
from pellucid.study.workers import at_work
from pellucid.training.network import build_classifier, starting_from
from pellucid.training.objectives.objective import Objective
from pellucid.training.run import RunFolder
from pellucid.utils.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pellucid.data.dataset import Dataset
    from pellucid.study.context import StudyContext
    from pellucid.study.runs import PlannedRun
    from pellucid.training.recipe import Recipe


def check_recipe(recipe: Recipe, data: Dataset) -> None:
    """Refuse a recipe whose network cannot be built, or whose loss is not for the data, before any is trained."""
    Objective(build_classifier(recipe.model, data), recipe.objective, torch.from_numpy(data.targets))


def train_all(
    context: StudyContext,
    jobs: int,
    runs: Sequence[PlannedRun] | None = None,
    then: Callable[[PlannedRun], None] = lambda _: None,
) -> None:
    """Train what is not trained yet, bases before what starts from them; interrupted runs go on where they stopped.

    Args:
        context: the runs, and where to train them.
        jobs: runs at a time, each in a process of its own with its share of the processor's cores.
        runs: some of the context's; all by default.
        then: called with each run that is trained, in this process.
    """
    every = with_bases(context.runs if runs is None else runs)
    if jobs == 1:
        for run in every:
            train_one(context, run, 0)
            then(run)
        return
    for depth in sorted({run.depth for run in every}):
        _train_together(context, [run for run in every if run.depth == depth], jobs, then)


def _train_together(
    context: StudyContext, runs: list[PlannedRun], jobs: int, then: Callable[[PlannedRun], None]
) -> None:
    """Train runs of which none starts from another, several at a time; one alone has all cores."""
    unfinished = [run for run in runs if not RunFolder(run.folder).finished]
    for run in runs:
        if run not in unfinished or len(unfinished) == 1:  # a process takes longer to start than a look at the folder
            train_one(context, run, 0)
            then(run)
    if len(unfinished) < 2:
        return
    runs = unfinished
    jobs = min(jobs, len(runs))
    threads = max(torch.get_num_threads() // jobs, 1)
    run_of = {run.folder: run for run in runs}
    with (
        progress_bar(
            f"train {len(runs)} networks, {jobs} at a time",
            sum(r.recipe.training.epochs for r in runs),
            unit="epoch",
        ) as advance,
        at_work(jobs, train_one, ((replace(context), run, threads) for run in runs)) as started,  # each opens the data
    ):
        epochs_shown, waiting = 0, started
        while waiting:
            finished, waiting = wait(waiting, timeout=2.0, return_when=FIRST_COMPLETED)
            for future in finished:
                then(run_of[cast("Path", future.result())])
            epochs = sum(_epochs_done(run.folder) for run in runs)
            advance(epochs - epochs_shown)
            epochs_shown = epochs


def train_one(context: StudyContext, run: PlannedRun, threads: int) -> Path:
    """Train one network of the study and return its folder; a finished one is left as it is."""
    from pellucid.evaluation.metrics.validation import ValidationScorer
    from pellucid.training.loop import train

    if threads:  # one of several processes: its share of the cores, and no bar of its own
        import os

        os.environ["PELLUCID_PROGRESS"] = "0"
        torch.set_num_threads(threads)
    parts = context.parts_of(run.fold)
    train(
        run.recipe if run.base is None else starting_from(run.recipe, run.base.folder),
        parts["train"].limit(context.limit),
        parts["validation"].limit(context.limit),
        run.folder,
        scorer=ValidationScorer(),
        seed=run.seed,
        device=context.device,
        resume=True,
        cache=context.cache,
        log=context.log,
        project=context.study.name,
    )
    return run.folder


def _epochs_done(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0
