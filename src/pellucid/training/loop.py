"""Training one network after a recipe: everything that can be wrong is looked at before the first step."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pellucid.data.cache.pixels import materialize
from pellucid.models.find_layout import probe_images
from pellucid.training.annotation_data import annotated_images, check_annotations, corrected, describe
from pellucid.training.distributed import Processes
from pellucid.training.fine_tuning import with_head_for
from pellucid.training.loading import load_batches
from pellucid.training.memory_order import check_memory_order
from pellucid.training.network import build_classifier
from pellucid.training.objectives.objective import Objective
from pellucid.training.recipe import resolve
from pellucid.training.record import make_record, record_of_start
from pellucid.training.run import RunFolder, describe_run
from pellucid.training.session import TrainingSession
from pellucid.training.trackers import PROJECT, check_tracker, open_tracker
from pellucid.training.validation import Validation, check_selection
from pellucid.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from accelerate import Accelerator

    from pellucid.annotations.records import AnnotationSet
    from pellucid.data.dataset import Dataset
    from pellucid.models.classifier import AnyClassifier, WrappedClassifier
    from pellucid.training.annotation_data import AnnotatedImages
    from pellucid.training.recipe import Recipe
    from pellucid.training.validation import MetricFn


def train(
    recipe: Recipe,
    train_data: Dataset,
    validation_data: Dataset,
    out: Path,
    *,
    scorer: MetricFn,
    seed: int = 0,
    device: str = "auto",
    resume: bool = False,
    cache: Path | None = None,
    annotations: AnnotationSet | None = None,
    wait: bool = False,
    start: WrappedClassifier | None = None,
    log: str | None = None,
    project: str = PROJECT,
) -> RunFolder:
    """Train one network after a recipe, into a run folder.

    Every step draws its randomness from its own seed (run seed, step), so a run that was killed and resumed gives
    the same weights and metrics as an unbroken one on the same device.

    Args:
        recipe: what and how.
        train_data: images to learn from.
        validation_data: images that choose the checkpoint and the thresholds.
        out: the run folder.
        scorer: metrics and thresholds on the validation images.
        seed: of initialisation, order, augmentation and attacks.
        device: `auto`, `cpu`, `cuda` or `mps`.
        resume: go on with an interrupted run in `out`; a finished one is returned as it is.
        cache: a folder for decoded images; in memory by default.
        annotations: what people said of the training images, for a recipe with `objective.annotations`.
        wait: for another process that trains in `out`; otherwise it is refused.
        start: a network of others to fine-tune, for which `fine_tuning.recipe_for` made the recipe.
        log: a tracker that gets the figures as well: `tensorboard`, `mlflow` or `wandb`.
        project: the name under which the tracker files the run.

    Raises:
        InputError: before anything long starts, for a configuration that cannot work, a folder that another process
            trains in, a tracker that is not there, or a run to go on with of which something is missing or damaged.
        TrainingError: if the loss stops being finite, or the network gives no answer on a validation image.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pellucid.data import open_dataset
        >>> from pellucid.evaluation.metrics.validation import ValidationScorer
        >>> from pellucid.training import load_recipe
        >>> parts = open_dataset("phantom", options={"size": 32, "train": 8, "validation": 8, "prevalence": 0.5})
        >>> recipe = load_recipe("standard", ["model.size=32", "training.epochs=1"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = train(recipe, parts["train"], parts["validation"], Path(folder), scorer=ValidationScorer())
        ...     run.finished, len(run.metrics())
        (True, 1)
    """
    run = RunFolder(out)
    check_tracker(log, project)
    recipe = resolve(recipe, train_data.card)
    check_annotations(recipe, annotations)
    annotated, annotation_record = None, None
    if annotations is not None:
        annotated = annotated_images(annotations, train_data, recipe.model.input_spec)
        train_data, changed = corrected(annotations, train_data)
        annotation_record = describe(annotated, train_data, changed, annotations.suspects)
    accelerator = _accelerator(recipe, device)
    with run.held(resume=resume, wait=wait, main=accelerator.is_main_process):
        accelerator.wait_for_everyone()  # for the one that holds the folder
        _train_there(
            run,
            recipe,
            train_data,
            validation_data,
            accelerator,
            scorer,
            seed,
            resume,
            cache,
            annotated,
            annotation_record,
            start,
            log,
            project,
        )
    return run


def _train_there(
    run: RunFolder,
    recipe: Recipe,
    train_data: Dataset,
    validation_data: Dataset,
    accelerator: Accelerator,
    scorer: MetricFn,
    seed: int,
    resume: bool,
    cache: Path | None,
    annotated: AnnotatedImages | None,
    annotation_record: dict[str, Any] | None,
    start: WrappedClassifier | None,
    log: str | None,
    project: str,
) -> None:
    """Train in a folder that nobody else trains in; `annotation_record` is of the annotations."""
    torch.manual_seed(seed)
    classifier: AnyClassifier
    classifier = build_classifier(recipe.model, train_data) if start is None else with_head_for(start, train_data)
    if recipe.training.channels_last:
        check_memory_order(classifier, accelerator.device)
    processes = Processes(
        accelerator.process_index, accelerator.num_processes, partial(accelerator.reduce, reduction="mean")
    )
    labels = torch.from_numpy(np.ascontiguousarray(train_data.targets))
    objective = Objective(classifier, recipe.objective, labels, processes=processes)
    bfloat16 = recipe.training.mixed_precision == "bf16"
    method = objective.resolve_method(probe_images(classifier, 1), bfloat16=bfloat16)
    recipe = recipe.model_copy(update={"objective": objective.settings})
    check_selection(recipe, scorer, validation_data)
    before = record_of_start(recipe.model)
    description = describe_run(
        recipe,
        train_data,
        validation_data,
        seed=seed,
        device=str(accelerator.device),
        processes=accelerator.num_processes,
        annotations=annotation_record,
        penalty_method=method,
    )
    run.check(description, resume=resume)
    if resume and run.finished:
        run.check_finished()
        return
    with accelerator.main_process_first():  # one process decodes, the others find the cache
        decode = partial(materialize, spec=recipe.model.input_spec, directory=cache, progress=True)
        batches = load_batches(train_data, recipe, accelerator, decode, cache=cache, annotated=annotated)
        validation_images = decode(validation_data)
    record, tracker = None, None
    if accelerator.is_main_process:
        record = make_record(train_data, batches, validation_data, validation_images, recipe.model.input_spec, before)
    session = TrainingSession(run, recipe, objective, accelerator, seed, record)
    if resume:
        session.load()
    if accelerator.is_main_process:
        tracker = open_tracker(log, run, project, description, step=session.global_step)
        run.start(description)  # nothing is written before everything that can be wrong has been looked at
        if tracker is not None:
            run.write(run.read() | {"tracker": tracker.record})
    held_out = Validation(validation_data, validation_images, scorer, recipe)
    try:
        session.fit(batches, train_data, held_out, tracker)
    finally:
        if tracker is not None:
            tracker.finish()


def _accelerator(recipe: Recipe, device: str) -> Accelerator:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    if device not in ("auto", "cpu", "cuda", "mps"):
        raise InputError(f"--device must be auto, cpu, cuda or mps; found {device!r}.")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda, but torch sees no CUDA device. Use --device cpu or auto.")
    if device == "mps" and not torch.backends.mps.is_available():
        raise InputError("--device mps, but torch sees no Apple GPU. Use --device cpu or auto.")
    AcceleratorState._reset_state(
        reset_partial_state=False
    )  # an earlier run of this process may have had another precision
    if torch.cuda.is_available():
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    # said in words, since several processes without a GPU would otherwise not know of each other
    on_cpu = device == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())
    return Accelerator(mixed_precision=recipe.training.mixed_precision, cpu=on_cpu)
