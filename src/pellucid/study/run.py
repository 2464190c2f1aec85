"""A study from beginning to end: train, evaluate, assemble, report. Whatever is done already is not done again."""

from __future__ import annotations

import os
import platform
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch

from pellucid.data.dataset import get_split
from pellucid.models.inference import check_answers
from pellucid.report import write_report
from pellucid.study.cases import make_panels
from pellucid.study.conclusions import check_primary
from pellucid.study.context import StudyContext, write_results
from pellucid.study.evaluation_data import prepare_evaluation_data
from pellucid.study.folds import data_of_fold, pool
from pellucid.study.kept.finished import FinishedRuns
from pellucid.study.kept.per_image import FILE, write_per_image
from pellucid.study.results import assemble
from pellucid.study.runs import first_runs, folds_of, with_bases
from pellucid.study.slides import make_slides
from pellucid.study.training import check_recipe, train_all
from pellucid.study.trust import judge_trust
from pellucid.training.distributed import is_first_process, leave_process_group
from pellucid.training.trackers import check_tracker
from pellucid.types import InputError
from pellucid.utils.locks import hold
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pellucid.study.config import StudyConfig
    from pellucid.study.evaluation_data import EvaluationData, RunEvaluation
    from pellucid.study.kept.finished import FinishedRun

AWAY = "The networks are not here: they were judged in an earlier sitting, and no cases and no sliders are shown."


def run_study(
    study: StudyConfig,
    root: Path | None,
    out: Path,
    *,
    device: str = "auto",
    jobs: int | None = None,
    limit: int | None = None,
    cache: Path | None = None,
    command: str = "",
    wait: bool = False,
    log: str | None = None,
) -> Path:
    """Run a study; an interrupted one goes on where it stopped.

    Everything that can be wrong with configuration and data is found before the first network is trained. Started as
    one of several processes (`torchrun`, `accelerate launch`), it trains each network together with the others.

    Args:
        study: what to do.
        root: where its data is; None for built-in data.
        out: the study's folder: `runs/`, `evaluations/`, `finished/`, `results.json`, `per-image.npz`, `tables/`,
            `report.html`.
        device: `auto`, `cpu`, `cuda` or `mps`.
        jobs: trainings at a time; by default one on an accelerator and one per core on a CPU.
        limit: at most so many images per part, for a quick look.
        cache: folder for decoded images.
        command: what the user typed, for the record.
        wait: for another process that works on a study in `out`; otherwise it is refused.
        log: a tracker that gets the figures of every training as well.

    Returns:
        The report.

    Raises:
        InputError: also where another process works on a study in `out`, naming it.
    """
    context = StudyContext(study, root, out, device, limit, cache, log)
    check_tracker(log, study.name)
    with hold(out, wait=wait) if is_first_process() else nullcontext():  # the first holds it for all
        return _run_there(context, jobs, command)


def _run_there(context: StudyContext, jobs: int | None, command: str) -> Path:
    """Run a study in a folder that no other study is run in."""
    started = time.monotonic()
    together = int(os.environ.get("WORLD_SIZE", "1"))
    if not is_first_process():
        os.environ["PELLUCID_PROGRESS"] = "0"
    study, runs, out = context.study, context.runs, context.out
    if study.loop is not None:
        from pellucid.study.annotation_loop.run import run_loop

        if together > 1:
            raise InputError("a study with [loop] trains small networks: start it as one process, with --jobs.")
        return run_loop(context, jobs or (torch.get_num_threads() if context.is_on_cpu else 1), command)
    context.spec  # noqa: B018 (what is wrong with it is said before any data is opened)
    folds = folds_of(study)
    for recipe in {run.label: run.recipe for run in with_bases(runs)}.values():
        check_recipe(recipe, get_split(context.parts_of(folds[0]), "train"))
    data = prepare_evaluation_data(context)
    data_of = {fold: data if fold is None else data_of_fold(data, fold) for fold in folds}
    check_primary(study, data)
    finished = FinishedRuns(context, data_of)
    jobs = 1 if together > 1 else jobs or (min(torch.get_num_threads(), len(runs)) if context.is_on_cpu else 1)
    # of several processes that train each network together, one judges, when all networks are trained
    train_all(context, jobs, finished.unfinished(), *([finished.judge] if together == 1 else []))
    leave_process_group()
    if not is_first_process():
        return out / "report.html"
    for run in runs:
        finished.judge(run)
    return _report(context, data, data_of[folds[0]], {r.folder: finished.finished(r) for r in runs}, command, started)


def _report(
    context: StudyContext,
    data: EvaluationData,
    first: EvaluationData,
    finished_runs: Mapping[Path, FinishedRun],
    command: str,
    started: float,
) -> Path:
    """Write what came out of a study whose runs are finished; cases, sliders and trust are of the first fold's."""
    study, runs, out = context.study, context.runs, context.out
    by_fold: dict[str, list[list[RunEvaluation]]] = {}
    for variant in study.variants:
        own = [[r for r in runs if (r.label, r.seed) == (variant.label, seed)] for seed in study.seeds]
        by_fold[variant.label] = [[finished_runs[r.folder].evaluation for r in of_seed] for of_seed in own]
    of_first = {label: [of_seed[0] for of_seed in seeds] for label, seeds in by_fold.items()}
    evaluations = of_first
    if study.folds is not None:
        evaluations = {label: [pool(of_seed, data) for of_seed in seeds] for label, seeds in by_fold.items()}
    records = {v.label: [finished_runs[r.folder].record for r in runs if r.label == v.label] for v in study.variants}
    results = assemble(context, data, evaluations, records)
    are_here = all(run.folder.is_dir() for run in first_runs(runs).values())
    results["trust"], of_trust = judge_trust(context, first) if are_here else ([], {})
    if not are_here:
        results["limits"].append(AWAY)
    write_results(context, results, command, device_name(context.resolved_device), started)
    write_per_image(out / FILE, study, data, evaluations, of_trust)
    panels = make_panels(study.evaluation, first, of_first, runs, context.resolved_device) if are_here else []
    slides = make_slides(study.evaluation.adversarial, first, runs, context.resolved_device) if are_here else []
    report = write_report(results, panels, out, slides)
    for label, seeds in evaluations.items():  # after writing, so that what is undefined stands there with its reason
        for evaluation in seeds:
            for logits in (evaluation.logits, *evaluation.attacked.values()):
                check_answers(logits, f"what is measured of {label} is undefined in {report}")
    return report


def device_name(device: str) -> str:
    """The device in words, for the record."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    if device == "mps":
        return "Apple GPU"
    return f"CPU, {number_of(torch.get_num_threads(), 'thread(s)')}, {platform.machine()}"
