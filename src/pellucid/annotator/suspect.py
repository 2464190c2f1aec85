"""One suspect of `discover`, to be marked once for all images that show it."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.annotations.batches import PREFIX, batch_of, new_id, replace_batch
from pellucid.data.cache.fitted_images import FittedImages
from pellucid.data.class_match import match_classes
from pellucid.data.decoding.image import in_8_bits
from pellucid.data.readers.coco.outlines import mask_outlines
from pellucid.evaluation.discovery.results import Discovery
from pellucid.evaluation.discovery.showing import check_same_data, check_same_network, images_showing
from pellucid.evaluation.discovery.suspect_marks import (
    FILE,
    markable,
    marks_on,
    moved_classes,
    region_of,
    save_mark,
    saved_boxes,
)
from pellucid.types import Box, InputError
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pellucid.annotations.store import AnnotationStore
    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.discovery.samples import Masks
    from pellucid.evaluation.discovery.showing import Showing
    from pellucid.evaluation.discovery.suspect import Suspect
    from pellucid.models.classifier import AnyClassifier

EXAMPLES = 8
MOST_POINTS = 10_000


@dataclass(frozen=True, eq=False)
class OpenSuspect:
    """A suspect, and the images of a part that show it.

    Attributes:
        folder: of the discovery.
        discovery: all of it.
        suspect: the one that is meant.
        showing: which images show it.
        images: of the part, as the network takes them.
    """

    folder: Path
    discovery: Discovery
    suspect: Suspect
    showing: Showing
    images: FittedImages

    @classmethod
    def open(
        cls, place: str | Path, network: AnyClassifier, key: str, dataset: Dataset, cache: Path | None = None
    ) -> OpenSuspect:
        """A suspect by its folder; which images show it is looked for where they are others than `discover` saw.

        Args:
            place: the folder of a discovery, and in it the suspect's number, as ``suspects/3``.
            network: that goes by it.
            key: of the network, as results are kept under.
            dataset: the part that is to be marked.
            cache: a folder for decoded images.

        Raises:
            InputError: no such suspect, or one that cannot be marked, with what can be done instead; another network
                or other data than were searched; no image shows it.
        """
        path = Path(place)
        if not path.name.isdecimal():
            raise InputError(
                f"--suspect is the folder of a discovery and a suspect's number, as suspects/3; found {place}."
            )
        discovery = Discovery.load(path.parent)
        (suspect,) = markable(discovery, [int(path.name)], str(path.parent))
        check_same_network(discovery, key)
        check_same_data(discovery, dataset, suspect)
        images = FittedImages(match_classes(dataset, network.classes, network.task)[0], network.input_spec, cache)
        showing = images_showing(suspect, discovery, images, network)
        if not len(showing.rows):
            raise InputError(f"none of the {len(dataset):,} images of {dataset.split} shows suspect {suspect.number}.")
        return cls(path.parent, discovery, suspect, showing, images)

    @property
    def names(self) -> list[str]:
        """Of the images that show it."""
        return [self.images.dataset.ids[row] for row in self.showing.rows]

    @property
    def sentence(self) -> str:
        """How many images show it."""
        part = self.images.dataset
        return (
            f"suspect {self.suspect.number} ({self.suspect.name}) is shown by {len(self.showing.rows):,} of "
            f"{number_of(len(part), 'image(s)')} of {part.card.name}/{part.split}"
        )


@dataclass(frozen=True)
class SuspectPage:
    """What the page of one suspect is made of, and what it does.

    Attributes:
        opened: the suspect.
        store: where annotations are kept.
    """

    opened: OpenSuspect
    store: AnnotationStore

    @cached_property
    def _prefix(self) -> str:
        """What the ids of its marks begin with: the same after another start, and of no other suspect."""
        discovery, one = self.opened.discovery, self.opened.suspect
        about = (discovery.about["network"], discovery.about["fingerprint"], discovery.settings, one.number, one.name)
        return hashlib.sha256(repr(about).encode()).hexdigest()[:PREFIX]

    def about(self, annotator: str | None) -> dict[str, Any]:
        """What the page shows."""
        one, opened = self.opened.suspect, self.opened
        height, width = one.region.shape
        count, by = batch_of(self.store, self._prefix)
        boxes = saved_boxes(opened.folder, one.number) if count else None
        effect, dataset = one.effects[0], opened.images.dataset
        return {
            "annotator": annotator,
            "dataset": dataset.card.name,
            "split": dataset.split,
            "number": one.number,
            "name": one.name,
            "class": one.class_name,
            "classes": list(moved_classes(one)),
            "verdict": one.verdict,
            "put_in": effect.put_in.value,
            "taken_away": effect.taken_away.value,
            "sentence": opened.sentence,
            "width": width,
            "height": height,
            "adjustable": opened.showing.boxes is None,
            "found": _path(region_of(one, None)) if opened.showing.boxes is None else "",
            "differs": _path(one.region) if opened.showing.boxes is None else "",
            "boxes": boxes and [list(box) for box in boxes],
            "images": len(opened.showing.rows),
            "marked": {"images": count, "by": by} if count else None,
            "examples": [
                {"name": name, "boxes": [list(box) for box in one.boxes.get(name, ())] if one.kind == "patch" else []}
                for name in self._examples
            ],
        }

    @property
    def _examples(self) -> list[str]:
        one, pictures = self.opened.suspect, self.opened.discovery.pictures
        return [name for name in one.exemplars if name in pictures][:EXAMPLES]

    def picture(self, place: int) -> bytes | None:
        """An example as PNG; None where there is none."""
        from PIL import Image

        if not 0 <= place < len(self._examples):
            return None
        pixels = np.asarray(self.opened.discovery.pictures[self._examples[place]])
        levels = in_8_bits(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
        stream = io.BytesIO()
        Image.fromarray(levels).save(stream, "PNG")
        return stream.getvalue()

    def accept(self, boxes: Sequence[Box] | None, annotator: str) -> dict[str, Any]:
        """Mark all images that show it, in the place of what was marked before.

        Args:
            boxes: the rectangle that somebody drew, in pixels of the network's frame; None for the region as it was
                found.
            annotator: who accepts it.

        Raises:
            ForeignMarkError: somebody else marked it.
            InputError: a rectangle beside the frame.
        """
        opened = self.opened
        marked = marks_on(opened.suspect, opened.showing, opened.images, boxes, annotator)
        if not marked.marks:
            raise InputError("people marked the finding there on each of these images: nothing can be marked.")
        marks = [replace(mark, id=new_id(self._prefix)) for mark in marked.marks]
        replace_batch(self.store, self._prefix, marks, annotator)
        save_mark(opened.folder, opened.suspect.number, boxes, annotator)
        return self.about(annotator) | {"told": marked.sentence}

    def undo(self, annotator: str) -> dict[str, Any]:
        """Take the mark back from all images.

        Raises:
            ForeignMarkError: somebody else made it.
        """
        replace_batch(self.store, self._prefix, (), annotator)
        (self.opened.folder / str(self.opened.suspect.number) / FILE).unlink(missing_ok=True)
        return self.about(annotator)


def _path(region: Masks) -> str:
    """The outlines of a region in pixels of the frame, as SVG's path data."""
    outlines = mask_outlines(region, MOST_POINTS)
    return " ".join("M" + " L".join(f"{x} {y}" for x, y in outline) + " Z" for outline in outlines)
