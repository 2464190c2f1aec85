"""What each trained network of a study says about the test images and its explanations; kept, so never done twice."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pellucid.attacks.under_attack import ANSWERS_RULES, AnswersUnderAttack, answers_under_attack
from pellucid.evaluation.metrics.explanations import (
    SCORES_RULES,
    ExplanationScores,
    LocalizationTask,
    kept_scores,
    score_explanations,
)
from pellucid.evaluation.robustness.consistency import KIND, Withstood, broken, shortened
from pellucid.evaluation.training_images import ImageCheck
from pellucid.models.inference import LOGITS_RULES, check_answers, predict, probabilities
from pellucid.models.weights import load_trained, read_model_card
from pellucid.study.areas import measure_radii
from pellucid.study.evaluation_data import RunEvaluation
from pellucid.types import InputError
from pellucid.utils.progress import progress_bar
from pellucid.utils.results_store import ResultsStore, keyed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from pellucid.attacks import BoundedAttack
    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.robustness.radii import Radii
    from pellucid.evaluation.training_images import SeenImages
    from pellucid.models.classifier import ConvolutionalClassifier
    from pellucid.study.config import EvaluationSettings
    from pellucid.study.evaluation_data import EvaluationData
    from pellucid.study.runs import PlannedRun
    from pellucid.types import Pixels

RULES = {"logits": LOGITS_RULES, "answers": ANSWERS_RULES, "scores": SCORES_RULES}
"""By which each was measured."""


def evaluate_run(
    settings: EvaluationSettings, run: PlannedRun, data: EvaluationData, folder: Path, device: str
) -> RunEvaluation:
    """Evaluate one trained network, or read what was found before."""
    store = ResultsStore(folder)
    loaded: list[ConvolutionalClassifier] = []

    def classifier() -> ConvolutionalClassifier:
        if not loaded:
            loaded.append(load_trained(run.folder, device))
        return loaded[0]

    card = read_model_card(run.folder)

    def kept(name: str, images: Dataset, *parts: object) -> str:
        """A name that holds for these images, these weights and these settings only."""
        return keyed(name, images.fingerprint, card["weights_sha256"], *parts)

    thresholds = [float(t) for t in card["thresholds"]]
    seen_images = {name: seen_before(run, part, pixels) for name, part, pixels in data.parts()}
    jobs = 1 + len(settings.robustness.sizes) + len(data.tasks) * len(settings.methods)
    of_fold = "" if run.fold is None else f", fold {run.fold}"
    with progress_bar(f"evaluate {run.label}, seed {run.seed}{of_fold}", jobs, unit="job") as advance:
        logits = _logits(store, kept("logits", data.test, RULES["logits"]), lambda: predict(classifier(), data.images))
        advance(1)
        attacked = {"0": logits if data.attacked is data.test else predict(classifier(), data.attacked_images)}
        outcomes: list[AnswersUnderAttack] = []
        for attack in settings.robustness.sizes:

            def answers(attack: BoundedAttack = attack) -> dict[str, npt.NDArray[np.generic]]:
                return answers_under_attack(
                    classifier(),
                    data.attacked_images,
                    data.attacked.targets,
                    attack,
                    thresholds=thresholds,
                    steps=settings.robustness.steps,
                ).arrays()

            name = str(attack)
            file = kept(f"answers {name}", data.attacked, RULES["answers"], thresholds, settings.robustness.steps)
            outcomes.append(AnswersUnderAttack(**store.measured(file, answers)))
            attacked[name] = outcomes[-1].logits
            advance(1)
        scores: dict[tuple[str, str], ExplanationScores] = {}
        refused: dict[tuple[str, str], str] = {}
        for task, target in zip(data.tasks, settings.targets, strict=True):
            predicted = _gate(classifier, task, thresholds)
            for method in settings.methods:
                boxes = target.boxes and method in settings.box_methods
                key_parts = (RULES["scores"], list(target.regions.items()), boxes, thresholds)

                def score(
                    task: LocalizationTask = task,
                    method: str = method,
                    boxes: bool = boxes,
                    predicted: Callable[[], npt.NDArray[np.bool_]] = predicted,
                ) -> ExplanationScores:
                    return score_explanations(
                        classifier(),
                        task,
                        method,
                        boxes=boxes,
                        predicted=predicted() if boxes else None,
                        batch_size=settings.batch_size,
                    )

                name = kept(f"{task.name} {method}", task.dataset, *key_parts)
                result = kept_scores(store, name, score)
                if isinstance(result, InputError):
                    refused[task.name, method] = str(result)
                else:
                    scores[task.name, method] = result
                advance(1)
    radii: dict[str, Radii] = {}
    alarms: dict[str, str] = {}
    if settings.ara.kinds:
        areas = settings.ara.model_copy(update={"matched": ()})  # what is drawn is not what is measured
        place = folder / kept("ara", data.measured, data.whole.fingerprint, card.get("best_constant"), areas)
        radii, alarms = measure_radii(settings, data, classifier(), card, place)
    fallen: dict[str, npt.NDArray[np.bool_]] = {}
    if outcomes and KIND in radii:
        ids, withstood = data.measured.ids, Withstood(data.attacked.ids, settings.robustness.sizes, outcomes)
        values = math.prod(data.images.shape[1:])
        fallen = broken(radii[KIND], ids, settings.ara.protocol, withstood, values)
        radii = radii | {KIND: shortened(radii[KIND], ids, withstood)}
    return RunEvaluation(logits, attacked, fallen, np.array(thresholds), scores, refused, radii, alarms, seen_images)


def seen_before(run: PlannedRun, dataset: Dataset, pixels: Pixels) -> SeenImages:
    """Which images a network has seen before: counted, not refused, since a study chooses its data itself."""
    check = ImageCheck(run.folder, refuse=False)
    check.check_pixels(dataset, pixels)
    return replace(check.found(), model=run.label)


def _gate(
    classifier: Callable[[], ConvolutionalClassifier], task: LocalizationTask, thresholds: list[float]
) -> Callable[[], npt.NDArray[np.bool_]]:
    def predicted() -> npt.NDArray[np.bool_]:
        network = classifier()
        logits = predict(network, task.images)
        check_answers(logits, "its explanations explain nothing", task.dataset.ids)
        of_outputs = probabilities(logits, network.task)[:, task.outputs]
        return np.asarray(of_outputs >= np.asarray(thresholds)[task.outputs])

    return predicted


def _logits(store: ResultsStore, name: str, compute: Callable[[], npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    logits: npt.NDArray[np.float32] = store.measured(name, lambda: {"logits": compute()})["logits"]
    return logits
