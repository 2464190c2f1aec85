"""The annotation loop from beginning to end: a network cheats, is marked, is trained again, is measured."""

from __future__ import annotations

import os
import time
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from pellucid.data.cache.pixels import materialize
from pellucid.data.placement import is_plain_stretch
from pellucid.data.readers.phantom.options import visible_shortcut
from pellucid.models.weights import load_trained
from pellucid.report.pages.annotation_loop import write_loop_report
from pellucid.study.annotation_loop.config import BASE
from pellucid.study.annotation_loop.measures import measure, prepare_loop_data
from pellucid.study.annotation_loop.panels import loop_panels
from pellucid.study.annotation_loop.per_image import write_loop_per_image
from pellucid.study.annotation_loop.results import LoopRun, loop_results, loop_runs
from pellucid.study.annotation_loop.session import hold_session, read_session
from pellucid.study.context import StudyContext, write_results
from pellucid.study.kept.per_image import FILE
from pellucid.study.runs import PlannedRun
from pellucid.study.training import check_recipe, train_all
from pellucid.study.workers import at_work
from pellucid.training.network import starting_from
from pellucid.training.recipe import load_recipe
from pellucid.utils.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pellucid.data.dataset import Dataset, Splits
    from pellucid.data.readers.phantom.options import VisibleShortcut
    from pellucid.study.annotation_loop.config import Acquisition, LoopSettings
    from pellucid.study.annotation_loop.measures import LoopData, Measured

Item = TypeVar("Item")


@dataclass(frozen=True)
class LoopContext(StudyContext):
    """Where a loop works; `cache` is a folder, by default one in `out`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cache", self.cache or self.out / "cache")

    @property
    def loop(self) -> LoopSettings:
        """The loop's own settings."""
        assert self.study.loop is not None
        return self.study.loop

    @property
    def planted(self) -> VisibleShortcut:
        """The marker, and the finding that it goes with."""
        planted = visible_shortcut(self.study.data.options)
        assert planted is not None  # a study without one is refused when it is read
        return planted

    @cached_property
    def parts(self) -> Splits:
        """The parts of the dataset, at most `limit` images of each."""
        return {name: part.limit(self.limit) for name, part in self.splits.items()}

    @cached_property
    def training(self) -> Dataset:
        """The training part, read from what was decoded, so that no subset of it is decoded again."""
        if not is_plain_stretch(self.spec):  # marks are of whole images
            return self.parts["train"]
        pixels = materialize(self.parts["train"], self.spec, directory=self.cache)
        gray = pixels.shape[1] == 1
        return replace(
            self.parts["train"],
            read=lambda row: np.asarray(pixels[row, 0] if gray else pixels[row].transpose(1, 2, 0)),
        )

    @cached_property
    def data(self) -> LoopData:
        """What the networks are judged on."""
        return prepare_loop_data(self, self.planted, self.parts["validation"])

    def base(self, seed: int) -> PlannedRun:
        """The run of the network that cheats."""
        return next(run for run in self.runs if run.seed == seed)

    def session(self, seed: int, acquisition: str) -> Path:
        """The annotation database of a session."""
        return self.out / "sessions" / f"{acquisition}-seed{seed}" / "annotations.db"

    def run_of(self, loop_run: LoopRun) -> PlannedRun:
        """The planned run of one of the loop, whose recipe starts from the network that cheats."""
        base = self.base(loop_run.seed)
        if loop_run.arm == BASE:
            return base
        recipe = load_recipe(self.loop.recipe, settings=self.loop.settings, fine_tuning=True)
        name = f"{loop_run.arm.replace(' ', '-')}-{loop_run.number}-seed{loop_run.seed}"
        return PlannedRun(loop_run.arm, loop_run.seed, starting_from(recipe, base.folder), self.out / "runs" / name)


def run_loop(work: StudyContext, jobs: int, command: str) -> Path:
    """Run an annotation loop; an interrupted one goes on where it stopped.

    Args:
        work: a study with a section `[loop]`; its folder gets `runs/`, `sessions/`, `evaluations/`, `results.json`,
            `per-image.npz`, `tables/` and `report.html`.
        jobs: trainings at a time.
        command: what the user typed, for the record.

    Returns:
        The report.
    """
    started = time.monotonic()
    context = LoopContext(**vars(replace(work)))
    study = context.study
    loop = context.loop
    load_recipe(loop.recipe, settings=loop.settings, fine_tuning=True)  # what is wrong with it is said at once
    check_recipe(context.base(study.seeds[0]).recipe, context.parts["train"])
    data = context.data
    train_all(context, min(jobs, len(study.seeds)))
    orders = list(dict.fromkeys(arm.acquisition for arm in loop.arms))
    sessions = [(seed, order) for seed in study.seeds for order in orders]
    _each("annotation sessions", _hold, context, sessions, jobs)
    networks = loop_runs(study)
    _each("train with annotations and measure", _train_and_measure, context, networks, jobs)
    measured = {loop_run: _measured(context, loop_run) for loop_run in networks}
    results = loop_results(
        study,
        data,
        measured,
        sessions={key: read_session(context.session(*key)) for key in sessions},
        runs={loop_run: context.run_of(loop_run) for loop_run in networks},
    )
    write_results(context, results, command, context.resolved_device, started)
    write_loop_per_image(context.out / FILE, study, data, measured)
    first = study.seeds[0]
    before_and_after = [LoopRun(first, BASE, 0), LoopRun(first, loop.control.label, loop.aim)]
    before_and_after.append(LoopRun(first, loop.marking[0].label, loop.aim))
    first_networks = {c.name: load_trained(context.run_of(c).folder, context.resolved_device) for c in before_and_after}
    return write_loop_report(results, loop_panels(study.evaluation, data, first_networks), context.out)


def _each(
    title: str, do: Callable[[LoopContext, Item], object], context: LoopContext, items: Sequence[Item], jobs: int
) -> None:
    """Do something for every item, `jobs` of them at a time, each with its share of the processor's cores."""
    with progress_bar(title, len(items), unit="job") as advance:
        if jobs == 1:
            for item in items:
                do(context, item)
                advance()
            return
        threads = max(torch.get_num_threads() // jobs, 1)
        alone = replace(context)  # each process opens the data itself
        arguments = ((do, item) for item in items)
        with at_work(jobs, _there, arguments, begin=_begin, initargs=(alone, threads)) as waiting:
            for future in as_completed(waiting):
                future.result()
                advance()


_contexts: list[LoopContext] = []
"""The context of this process, where it is one of several."""


def _begin(context: LoopContext, threads: int) -> None:
    """Begin as one of several processes: with its share of the cores, and no bar of its own."""
    os.environ["PELLUCID_PROGRESS"] = "0"
    torch.set_num_threads(threads)
    _contexts.append(context)


def _there(do: Callable[[LoopContext, Item], object], item: Item) -> None:
    do(_contexts[0], item)


def _hold(context: LoopContext, key: tuple[int, Acquisition]) -> None:
    """Hold one annotation session."""
    seed, order = key
    hold_session(
        context.training,
        load_trained(context.base(seed).folder, context.resolved_device),
        context.session(seed, order),
        order=order,
        planted=context.planted,
        count=context.loop.numbers[-1],
        seed=seed,
        cache=context.cache,
    )


def _train_and_measure(context: LoopContext, loop_run: LoopRun) -> None:
    """Train one run's network with annotations, but for the one that cheats, and measure it."""
    from pellucid.evaluation.metrics.validation import ValidationScorer
    from pellucid.training.loop import train

    if loop_run.arm != BASE:
        arm = next(a for a in context.loop.arms if a.label == loop_run.arm)
        annotations = read_session(context.session(loop_run.seed, arm.acquisition)).first(
            loop_run.number, marks=arm.marks
        )
        image_ids = _with_others(context.training, annotations.image_ids, context.loop.others, loop_run.seed)
        run = context.run_of(loop_run)
        train(
            run.recipe,
            context.training.subset(image_ids),
            context.parts["validation"],
            run.folder,
            scorer=ValidationScorer(),
            seed=run.seed,
            device=context.device,
            resume=True,
            annotations=annotations,
            log=context.log,
            project=context.study.name,
        )
    _measured(context, loop_run)


def _measured(context: LoopContext, loop_run: LoopRun) -> Measured:
    run = context.run_of(loop_run)
    return measure(context.study.evaluation, run, context.data, context.evaluations(run), context.resolved_device)


def _with_others(dataset: Dataset, annotated: Sequence[str], count: int, seed: int) -> list[int]:
    """The rows of the annotated images and of `count` others, the same others as far as possible whatever they are."""
    names = set(annotated)
    shuffled = np.random.default_rng(seed).permutation(len(dataset))
    others = [int(row) for row in shuffled if dataset.ids[row] not in names][:count]
    return sorted([row for row, name in enumerate(dataset.ids) if name in names] + others)
