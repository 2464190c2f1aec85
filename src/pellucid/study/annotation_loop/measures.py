"""What is measured of every network of an annotation loop, kept so that it is never done twice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pellucid.data.cache.fitted_images import FittedImages
from pellucid.evaluation.metrics.explanations import SCORES_RULES
from pellucid.evaluation.trust.maps import Mapper
from pellucid.evaluation.trust.shortcut import ShortcutTask, removal_effects, shortcut_task
from pellucid.models.inference import LOGITS_RULES, as_pixels, predict
from pellucid.models.weights import load_trained, read_model_card
from pellucid.study.evaluation import evaluate_run, seen_before
from pellucid.study.evaluation_data import EvaluationData, RunEvaluation, prepare_evaluation_data
from pellucid.types import device_of
from pellucid.utils.results_store import ResultsStore, keyed

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from pellucid.data.dataset import Dataset
    from pellucid.data.readers.phantom.options import VisibleShortcut
    from pellucid.models.classifier import ConvolutionalClassifier
    from pellucid.study.config import EvaluationSettings
    from pellucid.study.context import StudyContext
    from pellucid.study.runs import PlannedRun
    from pellucid.types import Pixels


@dataclass(frozen=True)
class LoopData:
    """The images that the networks of a loop are judged on.

    Attributes:
        test: the test part, whose marker means nothing, as the other studies have it.
        telling: the validation part, whose marker goes with the finding as in training.
        telling_images: its pixels.
        shortcut: the test images that show both the finding and the marker.
    """

    test: EvaluationData
    telling: Dataset
    telling_images: Pixels
    shortcut: ShortcutTask


@dataclass(frozen=True)
class Measured:
    """What one network gave.

    Attributes:
        evaluation: on the test part; its training images are also those whose marker tells, as `telling`.
        telling: logits (N, K) on the images whose marker tells.
        shares: by (method, `marker` or `finding`): float (B,), the share of a map's positive part there; NaN of a map
            without any.
        effects: by `marker` or `finding`: float (B,), how far the finding's logit falls when it is painted over.
    """

    evaluation: RunEvaluation
    telling: npt.NDArray[np.float32]
    shares: dict[tuple[str, str], npt.NDArray[np.float64]]
    effects: dict[str, npt.NDArray[np.float64]]


def prepare_loop_data(context: StudyContext, planted: VisibleShortcut, telling: Dataset) -> LoopData:
    """Open and decode what the networks are judged on; `telling` is the validation part."""
    test = prepare_evaluation_data(context)
    images = FittedImages(test.test, context.spec, context.cache)
    shortcut = shortcut_task(images, planted, test.test.classes)
    return LoopData(test, telling, replace(images, dataset=telling).pixels, shortcut)


def measure(settings: EvaluationSettings, run: PlannedRun, data: LoopData, folder: Path, device: str) -> Measured:
    """Measure one network, or read what was found before."""
    evaluation = evaluate_run(settings, run, data.test, folder, device)
    methods = settings.methods
    key_parts = (
        (LOGITS_RULES, SCORES_RULES),
        data.test.test.fingerprint,
        data.telling.fingerprint,
        read_model_card(run.folder)["weights_sha256"],
        methods,
    )

    def found() -> dict[str, npt.NDArray[Any]]:
        network = load_trained(run.folder, device)
        arrays: dict[str, npt.NDArray[Any]] = {"telling": predict(network, data.telling_images)}
        for method in methods:
            arrays |= {f"share_{method}_{place}": s for place, s in _shares(network, data.shortcut, method).items()}
        effects = removal_effects(network, data.shortcut.marked(device_of(network)))
        return arrays | {f"effect_{place}": values for place, values in effects.items()}

    stored = ResultsStore(folder).measured(keyed("loop", *key_parts), found)
    places = ("marker", "finding")
    seen_images = {"telling": seen_before(run, data.telling, data.telling_images)}
    return Measured(
        replace(evaluation, training_images=evaluation.training_images | seen_images),
        stored["telling"],
        {(method, place): stored[f"share_{method}_{place}"] for method in methods for place in places},
        {place: stored[f"effect_{place}"] for place in places},
    )


def _shares(
    network: ConvolutionalClassifier, shortcut: ShortcutTask, method: str
) -> dict[str, npt.NDArray[np.float64]]:
    images = as_pixels(shortcut.images, device_of(network))
    targets = torch.full((len(images),), shortcut.output, device=images.device)
    heat = Mapper(method)(network, images, targets).clamp_min(0).double().cpu().numpy()
    whole = heat.sum((1, 2))
    inside = {"marker": (heat * shortcut.marker).sum((1, 2)), "finding": (heat * shortcut.finding).sum((1, 2))}
    return {place: np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan) for place, part in inside.items()}
