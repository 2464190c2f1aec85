"""What `explain` does with images: the classes of each, their heat maps and moved images, kept one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pellucid.explainers import resolve_targets
from pellucid.models.card import thresholds_of
from pellucid.models.inference import as_pixels, check_answers, predict
from pellucid.models.inference import probabilities as to_probabilities
from pellucid.types import InputError, device_of
from pellucid.utils.progress import step
from pellucid.utils.resources import check_known
from pellucid.verbs.explaining.adversarial import MovedClasses, in_order
from pellucid.verbs.explaining.heat_maps import heat_maps
from pellucid.verbs.explaining.result import ADVERSARIAL, ExplainedImage, Explanations
from pellucid.verbs.input_images import joined
from pellucid.verbs.session import name_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pellucid.explainers.explanation import Explanation
    from pellucid.report.pages.slider import Slide
    from pellucid.verbs.explaining.adversarial import PerturbationSettings
    from pellucid.verbs.explaining.array_store import ArrayStore
    from pellucid.verbs.explaining.class_choice import ClassChoice
    from pellucid.verbs.explaining.dicom import DicomOutput
    from pellucid.verbs.input_images import InputImage, InputImages
    from pellucid.verbs.session import Model


@dataclass(frozen=True, eq=False)
class ExplainingWork:
    """What one model does with the images.

    Attributes:
        model: what is explained.
        options: of each heat map, by its method.
        settings: how images are moved; None where they are not.
        choice: which classes are meant.
        inputs: the images, as the model takes them.
        batches: the same, those together that are explained in one batch.
        arrays: where the maps are kept.
        dicom: what writes DICOM objects; None without them.
    """

    model: Model
    options: Mapping[str, Mapping[str, Any]]
    settings: PerturbationSettings | None
    choice: ClassChoice
    inputs: InputImages
    batches: Sequence[Sequence[InputImage]]
    arrays: ArrayStore
    dicom: DicomOutput | None

    def probabilities(self) -> list[npt.NDArray[np.float64]]:
        """The probability of every class on each image (N, K), batch by batch.

        Raises:
            InputError: a model that gives no answer.
        """
        answers = []
        for batch in self.batches:
            logits = predict(self.model, joined(batch))
            check_answers(logits, "there is nothing to explain", [image.source for image in batch])
            answers.append(to_probabilities(logits, self.model.task))
        return answers

    def choose(
        self,
        probabilities: npt.NDArray[np.float64],
        targets: Tensor | int | str | Sequence[int] | Sequence[str] | None,
    ) -> list[list[int]]:
        """The classes that are explained on each image, with these probabilities (N, K).

        Raises:
            InputError: targets that are no classes, or not one per image; an image on which no class is meant.
        """
        images = self.inputs.images
        if targets is not None:
            return [[c] for c in _numbers(self.model, targets, len(images))]
        rows = probabilities.tolist()
        class_lists = [self.choice.of(row, image.truth) for image, row in zip(images, rows, strict=True)]
        for image, classes in zip(images, class_lists, strict=True):
            if not classes:
                raise InputError(f"{image.source} shows none of the classes: name others beside true, as true,second.")
        return class_lists

    def explain(
        self, probabilities: Sequence[npt.NDArray[np.float64]], class_lists: Sequence[Sequence[int]]
    ) -> list[ExplainedImage]:
        """Explain the classes of each image and keep the maps; an image is a step of the progress bar."""
        explained: list[ExplainedImage] = []
        for batch, own in zip(self.batches, probabilities, strict=True):
            with step(len(batch)):  # an image counts once it is explained
                first = len(explained)
                explained += self._batch(batch, own, class_lists[first : first + len(batch)])
        return explained

    def result(
        self,
        methods: Sequence[str],
        explained: Sequence[ExplainedImage],
        slides: Sequence[Slide] = (),
        other: Explanations | None = None,
        label: str = "",
    ) -> Explanations:
        """What was explained by these methods; `other` is of the model beside it, where this one is called `label`."""
        return Explanations(
            name_of(self.model),
            self.model.classes,
            self.model.task,
            self.model.input_spec.preprocess,
            tuple(methods),
            self.options,
            self.settings,
            self.inputs,
            explained,
            self.arrays,
            slides,
            self.dicom,
            other,
            label,
        )

    def _batch(
        self, images: Sequence[InputImage], probabilities: npt.NDArray[np.float64], class_lists: Sequence[Sequence[int]]
    ) -> list[ExplainedImage]:
        """Explain some images in one batch of each method, and keep their maps."""
        pixels = as_pixels(joined(images), device_of(self.model))
        arrays: list[dict[str, npt.NDArray[np.floating]]] = [{} for _ in images]
        cost = {}
        rows, targets = _pairs(class_lists, pixels.device)
        for method, explanation in heat_maps(self.model, pixels[rows], targets, self.options).items():
            self._share(explanation, rows, targets, arrays)
            cost[method] = _cost(explanation)
        adversarial: list[MovedClasses | None] = [None] * len(images)
        if self.settings is not None:
            roles = [self.choice.roles(c, i.truth) for c, i in zip(probabilities.tolist(), images, strict=True)]
            ordered = [in_order(classes, own) for classes, own in zip(class_lists, roles, strict=True)]
            rows, targets = _pairs([classes for classes, _ in ordered], pixels.device)
            explanation = self.settings.move(self.model, pixels[rows], targets)
            self._share(explanation, rows, targets, arrays)
            cost[ADVERSARIAL] = _cost(explanation)
            adversarial = [MovedClasses.of(explanation, rows == i, *own) for i, own in enumerate(ordered)]
        for image, own in zip(images, arrays, strict=True):
            self.arrays.add(image.name, own)
        return [
            ExplainedImage(image, row, classes, cost, own, self._decided(row))
            for image, row, classes, own in zip(images, probabilities.tolist(), class_lists, adversarial, strict=True)
        ]

    def _decided(self, probabilities: Sequence[float]) -> list[int] | None:
        """The classes decided for an image: its most probable, or of several labels those from their thresholds on.

        None where a model of several labels has no thresholds.
        """
        if self.model.task == "multiclass":
            return [int(np.argmax(probabilities))]
        if not self.model.card.get("thresholds"):
            return None
        thresholds = thresholds_of(self.model.card, len(self.model.classes))
        return [c for c, cut in enumerate(thresholds) if probabilities[c] >= cut]

    def _share(
        self,
        explanation: Explanation,
        rows: Tensor,
        targets: Tensor,
        arrays: Sequence[dict[str, npt.NDArray[np.floating]]],
    ) -> None:
        """Give each image its own maps of an explanation of several."""
        maps = explanation.maps.detach().cpu().numpy()
        for i, c, one in zip(rows.tolist(), targets.tolist(), maps, strict=True):
            arrays[i][f"{self.model.classes[c]}|{explanation.name}"] = one


def _cost(explanation: Explanation) -> dict[str, int]:
    spent = explanation.gradient_evaluations, explanation.forward_passes
    return dict(zip(("gradient_evaluations", "forward_passes"), spent, strict=True))


def _pairs(class_lists: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """For each class on each image the image's number, and the class's, int64 (P,) both.

    Example:
        >>> _pairs([[2, 0], [1]], torch.device("cpu"))
        (tensor([0, 0, 1]), tensor([2, 0, 1]))
    """
    rows = [i for i, classes in enumerate(class_lists) for _ in classes]
    targets = [c for classes in class_lists for c in classes]
    return torch.tensor(rows, device=device), torch.tensor(targets, device=device)


def _numbers(model: Model, targets: Tensor | int | str | Sequence[int] | Sequence[str], count: int) -> list[int]:
    """Targets by number, one per image."""
    if not isinstance(targets, Tensor | int):
        values = [targets] * count if isinstance(targets, str) else list(targets)
        numbers = [value for value in values if isinstance(value, int | np.integer)]
        if len(numbers) < len(values):
            numbers = [model.classes.index(n) for n in check_known(map(str, values), model.classes, "class")]
        targets = torch.tensor(numbers)
    resolved = resolve_targets(model, torch.empty(count), targets)
    assert resolved is not None
    return resolved.tolist()
