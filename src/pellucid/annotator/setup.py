"""Setting up the annotation service: the network looks at every image that may be offered, before the first one is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from pellucid.annotations.belonging import check_images
from pellucid.annotations.store import open_store
from pellucid.annotator.acquisition import ORDERS
from pellucid.annotator.explanations import RHOS, ExplanationPictures
from pellucid.annotator.ranking import Ranking, heat_of
from pellucid.annotator.service import AnnotationService, ServiceSettings
from pellucid.data.cache.pixels import materialize
from pellucid.data.class_match import match_classes
from pellucid.data.decoding.file_pixels import placement_of
from pellucid.evaluation.training_images import ImageCheck
from pellucid.explainers.adversarial import check_settings
from pellucid.models.inference import check_answers, predict, probabilities
from pellucid.types import InputError
from pellucid.utils.progress import progress_context
from pellucid.utils.resources import check_known

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from pellucid.annotator.acquisition import Order
    from pellucid.annotator.suspect import OpenSuspect
    from pellucid.data.dataset import Dataset
    from pellucid.data.placement import Placement
    from pellucid.models.classifier import AnyClassifier
    from pellucid.types import Pixels


@dataclass(frozen=True)
class ServiceOptions:
    """What may be chosen about an annotation service.

    Attributes:
        order: which images come first, one of `acquisition.ORDERS`.
        per_image: how many people annotate each image.
        limit: how many images may be offered at most, drawn with `seed`; None for all.
        seed: of everything left to chance.
        hold_minutes: how long an image stays reserved without a sign of life.
        rhos: sizes of the adversarial explanations.
        memory: bytes of finished pictures to keep.
        cache: a folder for decoded images; None keeps them in memory.

    Raises:
        InputError: an unknown order, or a size that is none.
    """

    order: Order = "mixed"
    per_image: int = 1
    limit: int | None = None
    seed: int = 0
    hold_minutes: float = 10.0
    rhos: tuple[float, ...] = RHOS
    memory: int = 256 << 20
    cache: Path | None = None

    def __post_init__(self) -> None:
        check_known([self.order], ORDERS, "order")
        for rho in self.rhos:
            check_settings(rho, "raise", "tight")


def open_service(
    dataset: Dataset,
    network: AnyClassifier,
    source: str | Path,
    *,
    name: str = "",
    compare: AnyClassifier | None = None,
    options: ServiceOptions | None = None,
    check: ImageCheck | None = None,
    suspect: OpenSuspect | None = None,
) -> AnnotationService:
    """An annotation service for the images of one part of a dataset; the annotation database is made where it is new.

    Args:
        dataset: the whole part; `options.limit` draws from it.
        network: what explains itself.
        source: the annotation database.
        name: of the network, for the page.
        compare: a second network, which the order `disagreement` needs.
        options: what may be chosen.
        check: of the network: it looks at the images, so that what it has seen of them can be told.
        suspect: the one that is to be marked: only images that show it are offered.

    Raises:
        InputError: a network of other classes, a bad option, a database of another dataset, or images that are read
            otherwise than those of the training.
    """
    options = options or ServiceOptions()
    for other in (network, compare):
        if other is not None and set(other.classes) != set(dataset.classes):
            raise InputError(
                f"the network tells {', '.join(other.classes)}; {dataset.card.name} is labelled with "
                f"{', '.join(dataset.classes)}. Annotate data with its own classes (see --data-option; in Python: the "
                "options of pl.dataset)."
            )
    if options.order == "disagreement" and compare is None:
        raise InputError("the order 'disagreement' compares two networks: give the second one with --compare.")
    if check is not None:
        check.check_decoding(dataset)
    if compare is not None:
        ImageCheck(compare.path, refuse=False).check_decoding(dataset)
    store = open_store(source, create=dataset)
    sizes, names = store.image_sizes(), set(dataset.ids)
    check_images(store.info, sizes, names & set(sizes), dataset, store.name)
    dataset, _ = match_classes(dataset, network.classes, network.task)  # in the network's order
    some = dataset
    if suspect is not None:
        showing = set(suspect.names)
        some = dataset.subset([row for row, name in enumerate(dataset.ids) if name in showing])
    offered = some.limit(options.limit, seed=options.seed)
    placement_of(offered, 0, network.input_spec)  # what was fitted before cannot be marked under every geometry
    pictures = _pictures(offered, network, options.cache)
    if check is not None:
        check.check_pixels(offered, pictures)
    with progress_context("look at images", len(offered) * (1 if compare is None else 2), patience=1.0):
        probabilities = _probabilities(network, pictures, offered)
        second = None
        if compare is not None:
            theirs = (
                pictures if compare.input_spec == network.input_spec else _pictures(offered, compare, options.cache)
            )
            order = [compare.classes.index(name) for name in network.classes]
            second = _probabilities(compare, theirs, offered)[:, order]
    heat: npt.NDArray[np.float16] | None = None
    if options.order in ("outside", "mixed"):
        with progress_context("heat maps", len(offered), patience=1.0):
            heat = heat_of(network, pictures)
    rows = {name: row for row, name in enumerate(dataset.ids)}

    @cache
    def place(name: str) -> Placement:
        return placement_of(dataset, rows[name], network.input_spec)

    ranking = Ranking(offered, probabilities, options.order, options.seed, heat=heat, compare=second, place=place)
    explanations = ExplanationPictures(
        offered, pictures, network, probabilities, rhos=options.rhos, memory=options.memory
    )
    hold = timedelta(minutes=options.hold_minutes)
    settings = ServiceSettings(name, network.input_spec, options.per_image, hold)
    return AnnotationService(offered, probabilities, store, ranking, explanations, settings, dataset)


def _probabilities(network: AnyClassifier, pictures: Pixels, offered: Dataset) -> npt.NDArray[np.float64]:
    """The probability of every class of every image.

    Raises:
        InputError: a network that gives no answer: there would be nothing to order images by.
    """
    logits = predict(network, pictures)
    check_answers(logits, "there is nothing to annotate", offered.ids)
    return probabilities(logits, network.task)


def _pictures(dataset: Dataset, network: AnyClassifier, cache: Path | None) -> Pixels:
    return materialize(dataset, network.input_spec, directory=cache, progress=True)
