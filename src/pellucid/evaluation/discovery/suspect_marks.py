"""A suspect as what people mark: one region where the network should not look, on all images that show it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.annotations.records import Mark
from pellucid.annotations.shapes import MAX_POINTS, Polygon
from pellucid.data.readers.coco.outlines import mask_outlines
from pellucid.evaluation.metrics.paired_tests import holm
from pellucid.types import Box, InputError
from pellucid.utils.digests import damaged
from pellucid.utils.resources import write_json
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pellucid.annotations.shapes import Shape
    from pellucid.data.cache.fitted_images import FittedImages
    from pellucid.data.placement import Placement
    from pellucid.evaluation.discovery.results import Discovery
    from pellucid.evaluation.discovery.samples import Masks
    from pellucid.evaluation.discovery.showing import Showing
    from pellucid.evaluation.discovery.suspect import Suspect

LEVEL = 0.05
"""Corrected p value up to which a suspect moves a further class."""
FILE = "mark.json"
"""In the folder of a suspect's number: the region that somebody marked."""
NO_PLACE = {
    "whole image": "is a property of whole images, which have no region to mark for it: train on images in which it "
    "says nothing of the class, as with --set augment.brightness and augment.contrast, or balance the data by it",
    "metadata": "is a column of the metadata, which has no region to mark: train on data in which it says "
    "nothing of the class, or mark what it shows as on the images, where that was found as a suspect of its own",
    "marked": "is what people marked as the finding, which the network should go by: it is not taken away",
}


@dataclass(frozen=True, eq=False)
class SuspectMarks:
    """What one suspect's mark puts on images.

    Attributes:
        suspect: which one.
        marks: one or more of each image and class.
        images: how many images are marked.
        part: how many there are.
        left_out: images that show it and are not marked for one of the classes, since people marked its finding there.
        adjusted: whether somebody drew the region; otherwise it is the one that was found.
        measured: see `Showing`.
    """

    suspect: Suspect
    marks: tuple[Mark, ...]
    images: int
    part: int
    left_out: int
    adjusted: bool
    measured: int

    @property
    def sentence(self) -> str:
        """What is marked on how many images."""
        classes = ", ".join(dict.fromkeys(mark.class_name for mark in self.marks))
        one = self.suspect
        where = "as somebody marked it" if self.adjusted else "as it was found"
        text = (
            f"suspect {one.number} ({one.name}), {where}: irrelevant to {classes or one.class_name} on {self.images:,} "
            f"of {number_of(self.part, 'image(s)')}"
        )
        if self.measured:
            text += ", those on which the network answers to it"
        if self.left_out:
            few = number_of(self.left_out, "image(s)")
            text += f"; where people marked one of them on an image ({few}), it is left out"
        return f"{text}."


def markable(discovery: Discovery, numbers: Sequence[int] | None, place: str = "the folder") -> list[Suspect]:
    """The suspects that can be marked, of those that are named; all that can, where none are.

    Args:
        discovery: what was found.
        numbers: of the suspects.
        place: of the discovery, for messages.

    Raises:
        InputError: a number that there is not; a suspect that lies at no place, or that people marked as the finding,
            with what can be done instead; no suspect that can be marked.
    """
    by_number = {suspect.number: suspect for suspect in discovery.suspects}
    if numbers is None:
        suspects = [one for one in discovery.suspects if one.kind not in NO_PLACE]
        if not suspects:
            others = "".join(
                f" Suspect {one.number} ({one.name}) {NO_PLACE[one.kind]}." for one in discovery.unexpected
            )
            raise InputError(f"{place} holds no suspect that could be marked.{others}")
        return suspects
    for number in numbers:
        if number not in by_number:
            range_text = f"they are numbered from 1 to {len(by_number)}" if by_number else "nothing was found"
            raise InputError(f"{place} holds no suspect {number}: {range_text}.")
        if by_number[number].kind in NO_PLACE:
            one = by_number[number]
            raise InputError(f"suspect {number} ({one.name}) {NO_PLACE[one.kind]}.")
    return [by_number[number] for number in dict.fromkeys(numbers)]


def suspect_numbers(text: str) -> list[int]:
    """Numbers with commas between them.

    Raises:
        InputError: for anything else.

    Example:
        >>> suspect_numbers("3, 1")
        [3, 1]
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--only is numbers with commas between them, as 3 or 1,3; found {text!r}.") from error


def region_of(suspect: Suspect, boxes: Sequence[Box] | None) -> Masks:
    """What is marked of a suspect, boolean (H, W): somebody's rectangles, or what was exchanged to test it.

    The pixels in which images with it differ from those without are a part of that window, and often the smaller part:
    a letter that lies a little elsewhere on each image differs everywhere in the window.

    Args:
        suspect: at a place.
        boxes: rectangles in pixels of the frame; None for the region as it was found.
    """
    if boxes is None:
        return suspect.outline
    region = np.zeros_like(suspect.region)
    for box in boxes:
        top, left = max(round(box.y), 0), max(round(box.x), 0)
        region[top : round(box.y + box.height), left : round(box.x + box.width)] = True
    if not region.any():
        raise InputError("the rectangle holds no pixel of the network's frame.")
    return region


def marks_on(
    suspect: Suspect,
    showing: Showing,
    images: FittedImages,
    boxes: Sequence[Box] | None,
    annotator: str = "discover",
) -> SuspectMarks:
    """A suspect's mark on all images that show it: irrelevant to each class that it moves.

    An image on which people marked a class's finding where the suspect lies is left out for that class: what is there
    is not irrelevant to it.

    Args:
        suspect: at a place, or at varying ones.
        showing: which images.
        images: of the part that `showing` speaks of.
        boxes: of the region that somebody drew, in pixels of the network's frame; None for the one that was found.
        annotator: who accepted or drew it.

    Raises:
        InputError: a region for a suspect at varying places.
    """
    dataset = images.dataset
    if boxes is not None and showing.boxes is not None:
        raise InputError(
            f"suspect {suspect.number} lies elsewhere on each image: accept it as it was found, or mark images one by "
            "one (pellucid annotate serve, without --suspect)."
        )
    regions = dataset.regions
    shapes: dict[tuple[Placement, Any], tuple[Shape, ...]] = {}
    marks: list[Mark] = []
    left_out = set()
    fixed = region_of(suspect, boxes) if showing.boxes is None else None
    classes = [name for name in moved_classes(suspect) if name in dataset.classes]
    people = set() if regions is None else set(regions.pairs(classes))
    for place, row in enumerate(showing.rows.tolist()):
        own = None if showing.boxes is None else showing.boxes[place]
        region = fixed if own is None else region_of(suspect, [own])
        assert region is not None
        placement = images.places[row]
        key = (placement, own)
        if key not in shapes:
            shapes[key] = outlines_of(region, placement)
        for name in classes:
            if (row, name) in people and regions is not None and (regions.mask(row, name, placement) & region).any():
                left_out.add(row)
                continue
            marks += [Mark(dataset.ids[row], name, "irrelevant", shape, annotator) for shape in shapes[key]]
    count = len({mark.image for mark in marks})
    return SuspectMarks(suspect, tuple(marks), count, len(dataset), len(left_out), boxes is not None, showing.measured)


def moved_classes(suspect: Suspect) -> tuple[str, ...]:
    """The classes that a suspect moves: the one it was tested for, and those that rise with it and fall without it.

    Of these both p values must be small, after Holm's correction over the classes.
    """
    others = suspect.effects[1:]
    corrected = holm([max(one.p_taken, one.p_put) for one in others])
    names = [
        one.class_name
        for one, p in zip(others, corrected, strict=True)
        if p <= LEVEL and one.put_in.value > 0 > one.taken_away.value
    ]
    return (suspect.class_name, *names)


def outlines_of(region: Masks, placement: Placement) -> tuple[Shape, ...]:
    """A region (H, W) of the network's frame as outlines in fractions of the image; none of what lies beside it."""
    height, width = placement.scaled
    shapes = []
    for outline in mask_outlines(region, MAX_POINTS):
        corners = (np.array(outline, np.float64) - [placement.left, placement.top]) / [width, height]
        corners = np.clip(corners, 0, 1)  # of upright edges what is left is exactly what lies on the image
        if (np.ptp(corners, axis=0) > 0).all():
            shapes.append(Polygon(tuple(map(tuple, corners.tolist()))))
    return tuple(shapes)


def save_mark(folder: Path, number: int, boxes: Sequence[Box] | None, annotator: str) -> Path:
    """Keep what somebody marked of a suspect in its folder, where training looks for it."""
    path = folder / str(number) / FILE
    when = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(
        path,
        {"boxes": None if boxes is None else [tuple(box) for box in boxes], "annotator": annotator, "created": when},
    )
    return path


def saved_boxes(folder: Path, number: int) -> tuple[Box, ...] | None:
    """The region that somebody drew for a suspect; None where nobody did, or accepted it as it was found.

    Raises:
        InputError: a file that is damaged.
    """
    path = folder / str(number) / FILE
    try:
        boxes = json.loads(path.read_text(encoding="utf-8"))["boxes"]
        return None if boxes is None else tuple(Box(*map(float, box)) for box in boxes)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(path, error) from error
