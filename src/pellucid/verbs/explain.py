"""`pl.explain` and `pellucid explain`: why a model answers as it does, image by image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pellucid.data.dataset import Dataset
from pellucid.explainers import EXPLAINERS, resolve_targets
from pellucid.explainers.adversarial import RHO
from pellucid.explainers.fitting import check_fits
from pellucid.models.inference import as_pixels, check_answers, predict
from pellucid.models.inference import probabilities as to_probabilities
from pellucid.types import InputError, device_of
from pellucid.utils.progress import progress_context, step
from pellucid.utils.resources import check_known
from pellucid.utils.settings import name_list
from pellucid.verbs.explaining.adversarial import MIXED_RHO, AdversarialSettings, MovedClasses, in_order, slide
from pellucid.verbs.explaining.array_store import ArrayStore
from pellucid.verbs.explaining.class_choice import parse_classes
from pellucid.verbs.explaining.dicom import dicom_output
from pellucid.verbs.explaining.heat_maps import heat_maps, share_options
from pellucid.verbs.explaining.result import ADVERSARIAL, ExplainedImage, Explanations
from pellucid.verbs.input_images import input_images, joined
from pellucid.verbs.session import check_model, name_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pellucid.explainers.explanation import Explanation
    from pellucid.report.pages.slider import Slide
    from pellucid.verbs.explaining.class_choice import ClassChoice
    from pellucid.verbs.input_images import InputImage
    from pellucid.verbs.session import Model


def explain(
    model: Model,
    images: Tensor | Dataset | Path | str | Sequence[Path | str],
    methods: str | Sequence[str] = "grad-cam",
    *,
    targets: Tensor | int | str | Sequence[int] | Sequence[str] | None = None,
    classes: str | Sequence[str] | None = None,
    rho: float | None = None,
    direction: str = "raise",
    optimiser: str = "tight",
    slider: int = 0,
    ids: Sequence[str] | None = None,
    limit: int | None = None,
    file_options: Mapping[str, Any] | None = None,
    output: str = "png",
    out: str | Path | None = None,
    seed: int = 0,
    **options: Any,  # noqa: ANN401
) -> Explanations:
    """Explain images: for each image, class and method a heat map, or the image moved until the model is sure.

    Args:
        model: what is explained.
        images: float (N, C, H, W) in [0, 1], or one image (C, H, W), of any device, which are explained in one batch;
            image files, or folders of them; or one part of a dataset. These are explained one by one.
        methods: of explanation, one or several, as in `pellucid explain --help`.
        targets: one class per image, by number (N,) or by name, or one for all images.
        classes: instead, one or several classes on each image: names, `all`, `top3` for the three most probable,
            `predicted`, `second` for the most confident other class, `true` for images of a dataset; the class that
            the model finds most probable by default.
        rho: `adversarial`: size of the change, root mean square per pixel in [0, 1]; 0.1, or 0.075 beside heat maps.
        direction: `adversarial`: raise or lower the class's confidence.
        optimiser: `adversarial`: tight, or woods2019 as the paper has it.
        slider: `adversarial`: so many images are put on a page with a slider over rho.
        ids: these images of the dataset.
        limit: at most so many images, of a dataset drawn with `seed`.
        file_options: how image files are read, as ``{"window": 1}``; as those that the model was trained on by default.
        output: `png`, or `dicom`: `save` writes heat maps as objects of the study that a DICOM file is of as well.
        out: keep the maps of each image in this folder, where `save` expects them, instead of in memory.
        seed: of what a method or the choice of images leaves to chance.
        options: of the methods, as ``samples=50`` of `rise`; each method gets those that it has.

    Raises:
        InputError: images that are not pixels in [0, 1], or cannot be read; an unknown method, class or option; a model
            that the method does not fit, or that gives no answer.

    Example:
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b"], task="multiclass", size=32)
        >>> explain(model, torch.rand(2, 1, 32, 32), "cam", targets="b").maps.shape
        torch.Size([2, 32, 32])
        >>> found = explain(model, torch.rand(2, 1, 32, 32), ["cam", "adversarial"], classes="all")
        >>> found.maps.shape, found.maps_of("adversarial").shape, found.targets.tolist()
        (torch.Size([4, 32, 32]), torch.Size([4, 1, 32, 32]), [0, 1, 0, 1])
    """
    check_model(model)
    names = name_list(methods)
    own = share_options(check_known(names, EXPLAINERS, "method"), options | {"seed": seed})
    moving = own.pop(ADVERSARIAL, None)
    if targets is not None and classes is not None:
        raise InputError("give targets, one class per image, or classes, those explained on each: one of the two.")
    if moving is None and rho is not None:
        raise InputError("rho is an option of none of the methods asked for. This has it: adversarial.")
    size = rho if rho is not None else MIXED_RHO if own else RHO
    settings = None if moving is None else AdversarialSettings(size, direction, optimiser, slider, moving)
    class_text = "predicted" if classes is None else classes
    choice = parse_classes(class_text, model.classes, model.task, truth=isinstance(images, Dataset))
    check_fits(model, own)
    inputs = input_images(model, images, ids=ids, limit=limit, seed=seed, file_options=file_options)
    dicom = dicom_output(output, model, inputs.images, list(own))
    work = _Work(model, own, settings, choice, ArrayStore(None if out is None else Path(out)))
    batches = [inputs.images] if isinstance(images, Tensor) else [[image] for image in inputs.images]
    probabilities = [work.probabilities(batch) for batch in batches]
    class_lists = work.choose(inputs.images, np.concatenate(probabilities), targets)
    on_page = 0 if settings is None else min(settings.sliders, len(class_lists))
    explained: list[ExplainedImage] = []
    slides: list[Slide] = []
    with progress_context("explain", len(class_lists) + (on_page * len(settings.ladder) if settings else 0)):
        for batch, own_probabilities in zip(batches, probabilities, strict=True):
            with step(len(batch)):  # an image counts once it is explained
                first = len(explained)
                explained += work.explain(batch, own_probabilities, class_lists[first : first + len(batch)])
        for one in explained[:on_page]:
            assert settings is not None
            assert one.adversarial is not None
            slides.append(slide(model, one.image, one.adversarial.classes, settings))
    return Explanations(
        name_of(model),
        model.classes,
        model.input_spec.preprocess,
        tuple(names),
        own,
        settings,
        inputs,
        explained,
        work.arrays,
        slides,
        dicom,
    )


@dataclass(frozen=True, eq=False)
class _Work:
    """What is done with each batch of images.

    Attributes:
        model: what is explained.
        options: of each heat map, by its method.
        settings: how images are moved; None where they are not.
        choice: which classes are meant.
        arrays: where the maps are kept.
    """

    model: Model
    options: Mapping[str, Mapping[str, Any]]
    settings: AdversarialSettings | None
    choice: ClassChoice
    arrays: ArrayStore

    def probabilities(self, images: Sequence[InputImage]) -> npt.NDArray[np.float64]:
        """The probability of every class on every image (N, K).

        Raises:
            InputError: a model that gives no answer.
        """
        logits = predict(self.model, joined(images))
        check_answers(logits, "there is nothing to explain", [image.source for image in images])
        return to_probabilities(logits, self.model.task)

    def choose(
        self,
        images: Sequence[InputImage],
        probabilities: npt.NDArray[np.float64],
        targets: Tensor | int | str | Sequence[int] | Sequence[str] | None,
    ) -> list[list[int]]:
        """The classes that are explained on each image.

        Raises:
            InputError: targets that are no classes, or not one per image; an image on which no class is meant.
        """
        if targets is not None:
            return [[c] for c in _numbers(self.model, targets, len(images))]
        rows = probabilities.tolist()
        class_lists = [self.choice.of(row, image.truth) for image, row in zip(images, rows, strict=True)]
        for image, classes in zip(images, class_lists, strict=True):
            if not classes:
                raise InputError(f"{image.source} shows none of the classes: name others beside true, as true,second.")
        return class_lists

    def explain(
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
            ExplainedImage(image, row, classes, cost, own)
            for image, row, classes, own in zip(images, probabilities.tolist(), class_lists, adversarial, strict=True)
        ]

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
