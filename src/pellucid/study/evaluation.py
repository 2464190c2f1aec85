"""What each trained network of a study says about the test images and its explanations; kept, so never done twice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.attacks.under_attack import logits_under_attack
from pellucid.data.cache.pixels import materialize
from pellucid.data.dataset import get_split
from pellucid.data.decoding.file_pixels import check_same_decoding, decoding_of
from pellucid.evaluation.metrics.explanations import (
    LocalizationTask,
    arrays_of,
    localization_task,
    score_explanations,
    scores_of,
)
from pellucid.evaluation.training_images import ImageCheck
from pellucid.models.inference import check_answers, predict, probabilities
from pellucid.models.weights import load_model, read_model_card
from pellucid.study.areas import measure_radii
from pellucid.study.runs import open_data
from pellucid.types import InputError
from pellucid.utils.progress import progress_bar
from pellucid.utils.results_store import ResultsStore, keyed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.metrics.explanations import ExplanationScores
    from pellucid.evaluation.robustness.radii import Radii
    from pellucid.evaluation.training_images import SeenImages
    from pellucid.models.classifier import ConvolutionalClassifier
    from pellucid.study.config import StudyConfig
    from pellucid.study.runs import PlannedRun
    from pellucid.types import Pixels


@dataclass(frozen=True)
class EvaluationData:
    """The images that all networks of a study are judged on.

    Attributes:
        whole: the test part.
        test: what of it is used; less than the whole only in a trial with --limit.
        images: its pixels, uint8 or uint16 (N, C, S, S).
        attacked: those of them that are attacked within given sizes.
        attacked_images: their pixels.
        measured: those of them whose smallest perturbations are looked for.
        measured_images: their pixels.
        tasks: where explanations are scored.
    """

    whole: Dataset
    test: Dataset
    images: Pixels
    attacked: Dataset
    attacked_images: Pixels
    measured: Dataset
    measured_images: Pixels
    tasks: tuple[LocalizationTask, ...]

    def parts(self) -> list[tuple[str, Dataset, Pixels]]:
        """The images that figures rest on, by name: the test images, of which others are drawn, and each task's."""
        return [("test", self.test, self.images), *((task.name, task.dataset, task.images) for task in self.tasks)]


@dataclass(frozen=True)
class RunEvaluation:
    """What one network gave.

    Attributes:
        logits: (N, K) on the test images.
        attacked: logits by size of the attack, `0` first.
        thresholds: a class's decision threshold, as a probability.
        scores: by task and method.
        radii: of the smallest perturbations, by kind of area.
        alarms: where they are not to be trusted, in words, by kind.
        seen: which of the test images, and of each task's, it was trained or selected on.
    """

    logits: npt.NDArray[np.float32]
    attacked: dict[str, npt.NDArray[np.float32]]
    thresholds: list[float]
    scores: dict[tuple[str, str], ExplanationScores]
    radii: dict[str, Radii]
    alarms: dict[str, str]
    seen: dict[str, SeenImages]


def prepare_evaluation_data(
    study: StudyConfig, root: Path | None, *, size: int, channels: int, limit: int | None, cache: Path | None
) -> EvaluationData:
    """Open and decode what the networks are judged on."""
    splits = open_data(study.data, root)
    whole = get_split(splits, "test")
    test = whole.limit(limit)
    classes = test.classes
    tasks = []
    learned = decoding_of(splits.get("train", whole))
    for target in study.evaluation.targets:
        dataset = test if target.data is None else get_split(open_data(target.data, root), "test")
        if dataset.regions is None and target.data is None:
            raise InputError(
                f"{dataset.card.name} marks no regions; name images with regions in evaluation.targets. "
                "evaluation.targets = [] leaves the scores of explanations out."
            )
        check_same_decoding(learned, dataset, study.name)
        task = localization_task(
            target.name,
            dataset,
            classes,
            size=size,
            channels=channels,
            regions=target.regions or None,
            limit=target.limit if limit is None else min(limit, target.limit or limit),
            cache=cache,
        )
        tasks.append(task)
    attacked = test.limit(study.evaluation.robustness.limit)
    measured = test.limit(study.evaluation.ara.limit)
    decode = partial(materialize, size=size, channels=channels, directory=cache, progress=True)
    images = decode(test)
    pixels = [images if part is test else decode(part) for part in (attacked, measured)]
    return EvaluationData(whole, test, images, attacked, pixels[0], measured, pixels[1], tuple(tasks))


def judge(study: StudyConfig, run: PlannedRun, stage: EvaluationData, folder: Path, device: str) -> RunEvaluation:
    """Evaluate one trained network, or read what was found before."""
    settings = study.evaluation
    store = ResultsStore(folder)
    loaded: list[ConvolutionalClassifier] = []

    def classifier() -> ConvolutionalClassifier:
        if not loaded:
            loaded.append(load_model(run.folder, device))
        return loaded[0]

    card = read_model_card(run.folder)

    def kept(name: str, images: Dataset, *asked: object) -> str:
        """A name that holds for these images, these weights and these settings only."""
        return keyed(name, images.fingerprint, card["weights_sha256"], *asked)

    thresholds = [float(t) for t in card["thresholds"]]
    seen = {name: seen_before(run, part, pixels) for name, part, pixels in stage.parts()}
    jobs = 1 + len(settings.robustness.sizes) + len(stage.tasks) * len(settings.methods)
    with progress_bar(f"judge {run.label}, seed {run.seed}", jobs, unit="job") as advance:
        logits = _logits(store, kept("logits", stage.test), lambda: predict(classifier(), stage.images))
        advance(1)
        attacked = {"0": logits if stage.attacked is stage.test else predict(classifier(), stage.attacked_images)}
        for size in settings.robustness.sizes:
            name = str(size)
            file = kept(f"attacked {name}", stage.attacked, settings.robustness.steps)
            attacked[name] = _logits(
                store,
                file,
                lambda size=size: logits_under_attack(  # type: ignore[misc]
                    classifier(),
                    stage.attacked_images,
                    stage.attacked.targets,
                    size=size,
                    steps=settings.robustness.steps,
                ),
            )
            advance(1)
        scores = {}
        for task, target in zip(stage.tasks, settings.targets, strict=True):
            predicted = _gate(classifier, task, thresholds)
            for method in settings.methods:
                boxes = target.boxes and method in settings.box_methods
                asked = (sorted(target.regions.items()), boxes, thresholds)

                def score(
                    task: LocalizationTask = task,
                    method: str = method,
                    boxes: bool = boxes,
                    predicted: Callable[[], npt.NDArray[np.bool_]] = predicted,
                ) -> dict[str, npt.NDArray[Any]]:
                    found = score_explanations(
                        classifier(),
                        task,
                        method,
                        boxes=boxes,
                        predicted=predicted() if boxes else None,
                        batch_size=settings.batch_size,
                    )
                    return arrays_of(found)

                name = kept(f"{task.name} {method}", task.dataset, *asked)
                scores[task.name, method] = scores_of(store.measured(name, score))
                advance(1)
    radii: dict[str, Radii] = {}
    alarms: dict[str, str] = {}
    if settings.ara.kinds:
        areas = settings.ara.model_copy(update={"matched": ()})  # what is drawn is not what is measured
        place = folder / kept("ara", stage.measured, stage.whole.fingerprint, card.get("best_constant"), areas)
        radii, alarms = measure_radii(study, stage, classifier(), card, place)
    return RunEvaluation(logits, attacked, thresholds, scores, radii, alarms, seen)


def seen_before(run: PlannedRun, dataset: Dataset, pixels: Pixels) -> SeenImages:
    """Which images a network has seen before: counted, not refused, since a study chooses its data itself."""
    check = ImageCheck(run.folder, refuse=False)
    check.look(dataset, pixels)
    return replace(check.found(), model=run.label)


def _gate(
    classifier: Callable[[], ConvolutionalClassifier], task: LocalizationTask, thresholds: list[float]
) -> Callable[[], npt.NDArray[np.bool_]]:
    def predicted() -> npt.NDArray[np.bool_]:
        network = classifier()
        logits = predict(network, task.images)
        check_answers(logits, "its explanations explain nothing", task.dataset.ids)
        chances = probabilities(logits, network.task)[:, task.outputs]
        return np.asarray(chances >= np.asarray(thresholds)[task.outputs])

    return predicted


def _logits(store: ResultsStore, name: str, compute: Callable[[], npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    logits: npt.NDArray[np.float32] = store.measured(name, lambda: {"logits": compute()})["logits"]
    return logits
