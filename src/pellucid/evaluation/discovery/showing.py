"""Which images of a part show a suspect, and where: as `discover` saw them, or measured anew in the same way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pellucid.evaluation.discovery.candidates import Boxes, Places, Squares, at_varying_places
from pellucid.evaluation.discovery.content.presence import otsu
from pellucid.evaluation.discovery.exchange import Pairs
from pellucid.evaluation.discovery.features import Features
from pellucid.evaluation.discovery.measuring import worth_of_images
from pellucid.evaluation.discovery.run import InOrder, two_classes
from pellucid.evaluation.discovery.samples import Samples
from pellucid.types import InputError
from pellucid.utils.progress import progress_context

if TYPE_CHECKING:
    from pellucid.data.cache.fitted_images import FittedImages
    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.discovery.results import Discovery
    from pellucid.evaluation.discovery.samples import Rows
    from pellucid.evaluation.discovery.suspect import Suspect
    from pellucid.models.classifier import AnyClassifier
    from pellucid.types import Box

FEWEST = 40
"""Images from which on those that show it can be told from the others."""
RECIPIENTS = 8
"""Images that each gives its window to."""


@dataclass(frozen=True, eq=False)
class Showing:
    """Which images of a part show a suspect.

    Attributes:
        rows: int64 (n,), in order.
        boxes: of a suspect at varying places, of each of these images where, in pixels of the network's frame; None of
            one that lies at the same place on all.
        measured: how many images had to be looked at anew; 0 where they are those that `discover` saw.
    """

    rows: Rows
    boxes: tuple[Box, ...] | None
    measured: int


def check_same_dataset(discovery: Discovery, dataset: Dataset) -> None:
    """Refuse images of another dataset than the one whose suspects they are.

    Raises:
        InputError: another dataset, or other options.
    """
    name, origin = discovery.about["data"], discovery.about["origin"]
    if name != dataset.card.name:
        raise InputError(
            f"these suspects were found on images of {name}, and {dataset.card.name} was opened: name the same data."
        )
    if origin != dataset.origin:
        raise InputError(
            f"these suspects were found on other images of {name}: made with {origin or 'no options'}, opened with "
            f"{dataset.origin or 'no options'}. Give the same --data-option (in Python: options of pl.dataset) "
            "as `discover` had."
        )


def check_same_data(discovery: Discovery, dataset: Dataset, suspect: Suspect) -> None:
    """Refuse images of another dataset than the one whose suspects they are, or without the suspect's class.

    Raises:
        InputError: another dataset, other options, or one without the suspect's class.
    """
    check_same_dataset(discovery, dataset)
    if suspect.class_name not in dataset.classes:
        raise InputError(
            f"suspect {suspect.number} moves {suspect.class_name}, and {dataset.card.name} was opened with the classes "
            f"{', '.join(dataset.classes)}."
        )


def check_same_network(discovery: Discovery, key: str) -> None:
    """Refuse another network than the one that goes by the suspects, or the same on images that are fitted otherwise.

    Args:
        discovery: what was found.
        key: of the network, as results are kept under.

    Raises:
        InputError: another network.
    """
    if discovery.about["network"] != key:
        raise InputError(
            f"these suspects are of {discovery.about['model']} as it was ({discovery.about['network'][:8]}…), and this "
            f"is another network ({key[:8]}…), by its weights or by how it takes images: run `pellucid discover` on "
            "this one first."
        )


def images_showing(
    suspect: Suspect,
    discovery: Discovery,
    images: FittedImages,
    model: AnyClassifier,
    *,
    seed: int = 0,
    batch_size: int = 64,
) -> Showing:
    """The images of a part that show a suspect.

    Where the part is the one that `discover` looked at, its answer is taken. The images of another part are looked at
    as it looked at its own. Where a feature of the image stands for the suspect, those on its side of the cut show it,
    and no forward pass is made. Otherwise each gives what it shows there to a few others, and those that add the most,
    by Otsu's cut, show it: a forward pass an image, and of a suspect at varying places one for each of the frame's
    squares.

    Args:
        suspect: at a place, or at varying ones.
        discovery: it is of.
        images: of the same dataset, as the network takes them, their classes those of the network.
        model: the network that goes by it.
        seed: of who gives to whom.
        batch_size: images at a time.

    Raises:
        InputError: a network of another size; other images, and too few.
    """
    dataset = images.dataset
    if discovery.about["fingerprint"] == dataset.fingerprint and discovery.ids == dataset.ids:
        rows = np.flatnonzero(suspect.present)
        own = tuple(suspect.boxes[dataset.ids[row]][0] for row in rows) if suspect.kind == "patch" else None
        return Showing(rows, own, 0)
    if suspect.region.shape != (images.spec.height, images.spec.width):
        height, width = suspect.region.shape
        raise InputError(
            f"the suspects were found at {height} × {width} pixels, and the network takes {images.spec.size_text}: "
            "it is another network."
        )
    if len(dataset) < FEWEST:
        raise InputError(
            f"{len(dataset)} images are too few to tell which of them show suspect {suspect.number}: {FEWEST} are "
            "needed at least."
        )
    margin = discovery.settings["margin"]
    unknown = np.full((len(dataset), len(model.classes)), np.nan)
    samples = two_classes(Samples.of(images, images.pixels, unknown, margin, {}))
    column = samples.classes.index(suspect.class_name)
    if "feature" in suspect.details:
        table = Features(samples, discovery.settings["cells"])
        feature = table.of_suspect(suspect, column)
        sign = 1 if suspect.details["feature_more"] else -1
        rows = np.flatnonzero(sign * feature.values > sign * suspect.details["feature_cut"])
        own_boxes = feature.candidate(samples, table.numbers, discovery.settings["cells"]).boxes
        each = None if own_boxes is None else tuple(own_boxes.box(row) for row in rows.tolist())
        return Showing(rows, each, len(dataset))
    if suspect.kind == "patch":
        candidate = at_varying_places(samples, column, Squares.over(samples.frame, discovery.settings["cells"]))
    else:
        mask = suspect.region if suspect.window is None else suspect.window
        places = Places(samples, column)
        candidate = places.candidate(suspect.name, mask, places.cover(np.arange(len(samples))))
    rng = np.random.default_rng(seed)
    pairs = Pairs.of(np.arange(len(samples)), rng.choice(len(samples), RECIPIENTS, replace=False), rng)
    with progress_context(f"who shows suspect {suspect.number}", len(dataset) * len(candidate.exchanges)):
        arrays = worth_of_images(InOrder.of(model, samples.classes), samples, candidate, pairs, batch_size)
    rows = np.flatnonzero(arrays["worth"] > otsu(arrays["worth"]))
    boxes = None
    if candidate.squares is not None:
        own_boxes = Boxes(arrays["rectangles"].astype(np.int64), samples.frame)
        boxes = tuple(own_boxes.box(row) for row in rows.tolist())
    return Showing(rows, boxes, len(dataset))
