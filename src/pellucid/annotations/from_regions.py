"""The boxes and masks that a dataset comes with, as marks that training can read."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, uuid5

from pellucid.annotations.content import StoreContent, StoreInfo
from pellucid.annotations.records import Mark
from pellucid.annotations.shapes import Rectangle
from pellucid.types import InputError

if TYPE_CHECKING:
    from pellucid.annotations.records import Kind
    from pellucid.data.dataset import Dataset


def regions_as_marks(dataset: Dataset, *, annotator: str, kind: Kind = "relevant") -> StoreContent:
    """A dataset's own regions as rectangles that somebody marked; of a mask, the box around it.

    The regions of labels that are no class of the dataset are left out. Called again, it gives the same marks with the
    same ids, so that they are not doubled in a database.

    Args:
        dataset: the part whose regions are meant.
        annotator: who is said to have drawn them.
        kind: what they are to their class.

    Raises:
        InputError: if the part has no regions of its classes.

    Example:
        >>> from pellucid.data.readers.phantom.reader import open_phantom
        >>> part = open_phantom(options={"size": 64, "train": 8, "validation": 1, "test": 1})["train"]
        >>> found = regions_as_marks(part, annotator="truth")
        >>> len(found.marks) == len(part.regions), found.marks[0].kind
        (True, 'relevant')
    """
    regions = () if dataset.regions is None else dataset.regions.items
    marks: dict[str, Mark] = {}
    for region in regions:
        if region.label in dataset.classes:
            image, shape = dataset.ids[region.image], Rectangle(*region.box)
            unique = str(uuid5(NAMESPACE_URL, f"{image}|{region.label}|{kind}|{shape}|{annotator}"))
            marks[unique] = Mark(image, region.label, kind, shape, annotator, id=unique)
    if not marks:
        others = ", ".join(sorted({region.label for region in regions}))
        only = f", only of {others}" if others else ""
        raise InputError(
            f"{dataset.card.name}/{dataset.split} has no regions of its classes{only}. Name a file of annotations, or "
            "another part (--split, --data-option; in Python: split= and the options of pl.dataset)."
        )
    sizes: dict[str, tuple[int, int] | None] = dict.fromkeys(mark.image for mark in marks.values())
    return StoreContent(StoreInfo.of(dataset), sizes, tuple(marks.values()))
