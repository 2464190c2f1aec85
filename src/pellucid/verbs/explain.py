"""`pl.explain` and `pellucid explain`: why a model answers as it does, image by image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from pellucid.data.dataset import Dataset
from pellucid.explainers import EXPLAINERS
from pellucid.explainers.adversarial import RHO
from pellucid.explainers.fitting import split_by_fit
from pellucid.types import InputError
from pellucid.utils.progress import progress_context
from pellucid.utils.resources import check_known
from pellucid.utils.settings import name_list
from pellucid.verbs.explaining.adversarial import MIXED_RHO, PerturbationSettings, slide
from pellucid.verbs.explaining.array_store import ArrayStore
from pellucid.verbs.explaining.class_choice import parse_classes
from pellucid.verbs.explaining.dicom import dicom_output
from pellucid.verbs.explaining.heat_maps import share_options
from pellucid.verbs.explaining.result import ADVERSARIAL, COMPARED, Explanations
from pellucid.verbs.explaining.work import ExplainingWork
from pellucid.verbs.folders import model_names
from pellucid.verbs.input_images import input_images
from pellucid.verbs.session import check_model, name_of, path_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pellucid.report.pages.slider import Slide
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
    compare: Model | None = None,
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
        compare: another model of the same classes and size of image: the same classes of the same images are
            explained for it too, and drawn in rows under the first's.
        out: keep the maps of each image in this folder, where `save` expects them, instead of in memory.
        seed: of what a method or the choice of images leaves to chance.
        options: of the methods, as ``samples=50`` of `rise`; each method gets those that it has.

    Raises:
        InputError: images that are not pixels in [0, 1], or cannot be read; an unknown method, class or option; a model
            that none of the methods fits (one of several is left out, and a warning says why), or that gives no answer;
            one to compare with that has other classes or images.

    Example:
        >>> import torch
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
    models = [model] if compare is None else [model, _comparable(model, compare)]
    labels = _labels(models)
    own, refused = split_by_fit(dict(zip(labels, models, strict=True)), own)
    if refused and not own and moving is None:
        raise InputError(next(iter(refused.values())))
    names = [name for name in names if name not in refused]
    size = rho if rho is not None else MIXED_RHO if own else RHO
    settings = None if moving is None else PerturbationSettings(size, direction, optimiser, slider, moving)
    class_text = "predicted" if classes is None else classes
    choice = parse_classes(class_text, model.classes, model.task, truth=isinstance(images, Dataset))
    works: list[ExplainingWork] = []
    for one in models:
        inputs = input_images(one, images, ids=ids, limit=limit, seed=seed, file_options=file_options)
        dicom = dicom_output(output, one, inputs.images, list(own))
        batches = [inputs.images] if isinstance(images, Tensor) else [[image] for image in inputs.images]
        store = ArrayStore(None if out is None else Path(out) / COMPARED if works else Path(out))
        works.append(ExplainingWork(one, own, settings, choice, inputs, batches, store, dicom))
    probabilities = [work.probabilities() for work in works]
    class_lists = works[0].choose(np.concatenate(probabilities[0]), targets)
    on_page = 0 if settings is None else min(settings.sliders, len(class_lists))
    slides: list[Slide] = []
    steps = len(class_lists) + (on_page * len(settings.ladder) if settings else 0)
    with progress_context("explain", steps * len(works)):
        explained = [work.explain(own, class_lists) for work, own in zip(works, probabilities, strict=True)]
        for image in explained[0][:on_page]:
            assert settings is not None
            assert image.adversarial is not None
            named = dict(zip(labels, models, strict=True))
            slides.append(slide(named, image.image, image.adversarial.classes, settings))
    other = None if compare is None else works[1].result(names, explained[1], label=labels[1])
    return replace(works[0].result(names, explained[0], slides, other, labels[0]), refused=refused)


def _labels(models: Sequence[Model]) -> list[str]:
    """What each model is called beside the other; nothing where there is none."""
    if len(models) == 1:
        return [""]
    places = [path_of(one) for one in models]
    return ["first", "second"] if None in places else model_names(places)


def _comparable(model: Model, other: Model) -> Model:
    """The other model, where it explains the same classes of the same images.

    Raises:
        InputError: what is no model; other classes, channels or size.
    """
    check_model(other, "the model to compare with")
    if other.classes != model.classes or other.input_spec != model.input_spec:
        raise InputError(
            f"{name_of(other)} has other classes, channels or image size than {name_of(model)}: their explanations "
            "cannot be drawn side by side. Explain each on its own."
        )
    return other
