"""All that the server's answers are made of: images, what the network says, what people said, who gets what next."""

from __future__ import annotations

import hashlib
import logging
import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pellucid.annotations.agreement import agreement
from pellucid.annotations.records import KINDS, Visit
from pellucid.annotations.reservations import held_by_others, reserve
from pellucid.annotations.shapes import MAX_POINTS, MAX_RADIUS, shape_to_json
from pellucid.annotations.views import closed_counts, one_image
from pellucid.annotator.worker import IDLE
from pellucid.data.placement import Placement
from pellucid.explainers.registry import label_of
from pellucid.types import Box

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pellucid.annotations.records import Mark, State
    from pellucid.annotations.store import AnnotationStore
    from pellucid.annotator.explanations import ExplanationPictures
    from pellucid.annotator.ranking import Ranking
    from pellucid.data.dataset import Dataset
    from pellucid.types import InputSpec

log = logging.getLogger("pellucid.annotator")

MAX_NOTE = 10_000  # characters
CLOSED = ("done", "skipped")  # states of an image that somebody is through with


@dataclass(frozen=True)
class ServiceSettings:
    """How images are given out.

    Attributes:
        name: of the network, for the page.
        spec: of the network's images.
        per_image: how many people annotate each image.
        hold: how long an image stays reserved without a sign of life.
    """

    name: str
    spec: InputSpec
    per_image: int = 1
    hold: timedelta = timedelta(minutes=10)


class AnnotationService:
    """Gives images out and takes annotations in.

    Args:
        dataset: the images that are offered.
        probabilities: of the network, (N, K).
        store: where annotations are kept.
        ranking: the order in which images are offered.
        explanations: the network's, of the same images.
        settings: how images are given out.
        part: all images that were ever offered, as after a start with a smaller limit; those of `dataset` by default.
    """

    def __init__(
        self,
        dataset: Dataset,
        probabilities: npt.NDArray[np.floating],
        store: AnnotationStore,
        ranking: Ranking,
        explanations: ExplanationPictures,
        settings: ServiceSettings,
        part: Dataset | None = None,
    ) -> None:
        self.dataset, self.store, self.ranking = dataset, store, ranking
        self.explanations, self.settings = explanations, settings
        self._probabilities = probabilities
        self._rows = {name: row for row, name in enumerate(dataset.ids)}
        self._part = part or dataset
        self._places = {name: place for place, name in enumerate(self._part.ids)}
        self._by_key = {self.key_of(name): name for name in self._part.ids}
        self._sizes = {image: size for image, size in store.image_sizes().items() if size is not None}
        self.rearrange()

    def key_of(self, image: str) -> str:
        """The name of an image in addresses, which tells nothing of files or patients."""
        place = f"{self.dataset.card.name}|{self.dataset.split}|{image}"
        return hashlib.sha256(place.encode()).hexdigest()[:16]

    def image_of(self, key: str) -> str | None:
        """The id of the image of that key, or None."""
        return self._by_key.get(key)

    def row_of(self, image: str) -> int:
        """The row of an image that is offered."""
        return self._rows[image]

    def offers(self, image: str) -> bool:
        """Whether an image is among those offered now."""
        return image in self._rows

    def size_of(self, image: str) -> tuple[int, int]:
        """Width and height of an image in its own pixels."""
        if image not in self._sizes:
            height, width = self._part.read(self._places[image]).shape[:2]
            self._sizes[image] = (width, height)
            self.store.put_image(image, width, height)
        return self._sizes[image]

    def about(self, annotator: str | None) -> dict[str, Any]:
        """What the page needs to know once."""
        settings, explanations = self.settings, self.explanations
        return {
            "annotator": annotator,
            "dataset": self.dataset.card.name,
            "split": self.dataset.split,
            "task": self.dataset.task,
            "scope": self._scope(),
            "classes": list(self.dataset.classes),
            "network": {
                "name": settings.name,
                "preprocess": settings.spec.preprocess,
                "channels": settings.spec.channels,
                "fingerprint": explanations.fingerprint,
            },
            "methods": list(explanations.methods),
            "labels": {method: label_of(method) for method in explanations.methods},
            "rhos": list(explanations.rhos),
            "order": self.ranking.order,
            "per_image": settings.per_image,
            "kinds": list(KINDS),
            "limits": {"points": MAX_POINTS, "radius": MAX_RADIUS, "note": MAX_NOTE},
        }

    def _scope(self) -> str:
        """What strokes that wait in a browser belong to: images that are drawn otherwise are others of the same ids."""
        card, origin = self.dataset.card, self.dataset.origin
        suffix = f"/{hashlib.sha256(origin.encode()).hexdigest()[:8]}" if origin else ""
        return f"{card.name}/{self.dataset.split}{suffix}"

    def queue(self, annotator: str, count: int) -> list[str]:
        """The images reserved for a person; their explanations are made meanwhile."""
        images = reserve(
            self.store,
            annotator,
            self.ranking.ids,
            count=count,
            per_image=self.settings.per_image,
            hold=self.settings.hold,
        )
        self.explanations.make_ahead([self._rows[image] for image in images])
        return images

    def away(self, annotator: str) -> int:
        """How many images a person may still get once others who hold them have left them."""
        settings = self.settings
        return held_by_others(self.store, annotator, self.ranking.ids, per_image=settings.per_image, hold=settings.hold)

    def close_image(self, image: str, annotator: str, state: State) -> None:
        """Take an image from a person's queue, or put it back, and arrange what follows by what was marked."""
        self.store.put_visit(Visit(image, state, annotator))
        if state == "done" and self.ranking.follows_marks:
            self.explanations.worker.submit(self.rearrange, IDLE)

    def rearrange(self) -> None:
        """Arrange the images again where their order follows the marks."""
        if self.ranking.follows_marks:
            self.ranking.refresh(self.store.annotations())

    def describe(self, image: str, annotator: str) -> dict[str, Any]:
        """All that one person sees of an image: what the network says, the label, and that person's own annotations."""
        row = self._rows.get(image)
        width, height = self.size_of(image)
        labels = self._labels_of(image)
        view = one_image(self.store, image, annotator)
        return {
            "id": self.key_of(image),
            "width": width,
            "height": height,
            "frame": self._frame_of(height, width),
            "state": view.state,
            "classes": [
                {
                    "class": name,
                    "index": index,
                    "probability": None if row is None else round(float(self._probabilities[row, index]), 6),
                    "label": labels[index],
                    "verdict": view.verdicts.get(name),
                }
                for index, name in enumerate(self.dataset.classes)
            ],
            "marks": [mark_to_json(mark) for mark in view.marks],
            "note": view.note,
        }

    def _frame_of(self, height: int, width: int) -> list[float]:
        """What the network takes of an image, as fractions of it: x, y, width, height; padding lies beyond 0 and 1."""
        placement = Placement.of(self.settings.spec, (height, width))
        down, across = placement.frame
        return list(placement.to_fractions(Box(0, 0, across, down)))

    def _labels_of(self, image: str) -> list[str | None]:
        """What the dataset says of every class of an image: yes, no, or None where it is not known."""
        target = self._part.targets[self._places[image]]
        if self._part.task == "multiclass":
            return ["yes" if c == int(target) else "no" for c in range(len(self._part.classes))]
        return [{1.0: "yes", 0.0: "no"}.get(float(value)) for value in target]

    def finished(self, annotator: str) -> list[dict[str, Any]]:
        """The images that a person is done with or skipped, the latest first, with the number of marks on each."""
        marks = self.store.mark_counts(annotator)
        return [
            {"id": self.key_of(visit.image), "state": visit.state, "marks": marks.get(visit.image, 0)}
            for visit in self.store.visits(annotator)
            if visit.state in CLOSED and visit.image in self._rows
        ]

    def progress(self, annotator: str) -> dict[str, Any]:
        """How many images are done, and by whom."""
        people = {name: {**counts, "marks": 0} for name, counts in closed_counts(self.store, self._rows).items()}
        for name, count in self.store.mark_counts().items():
            people.setdefault(name, {"done": 0, "skipped": 0, "marks": 0})["marks"] = count
        mine = people.get(annotator, {"done": 0, "skipped": 0})
        return {
            "images": len(self.dataset),
            "wanted": len(self.dataset) * self.settings.per_image,
            "done": sum(p["done"] for p in people.values()),
            "skipped": sum(p["skipped"] for p in people.values()),
            "mine": {"done": mine["done"], "skipped": mine["skipped"]},
            "annotators": [{"name": name, **counts} for name, counts in sorted(people.items())],
        }

    def agreement(self) -> dict[str, Any]:
        """How far annotators agree, class by class; null where it is undefined."""
        annotations = self.store.annotations()
        people: dict[str, set[str]] = {}
        for mark in annotations.marks:
            people.setdefault(mark.image, set()).add(mark.annotator)
        for verdict in annotations.verdicts:
            people.setdefault(verdict.image, set()).add(verdict.annotator)
        spoken = [name for name in self.dataset.classes if name in annotations.classes]
        return {
            "images": sum(len(names) > 1 for names in people.values()),
            "classes": [
                {
                    "class": row.class_name,
                    "verdicts": row.verdicts,
                    "kappa": _or_none(row.kappa),
                    **{kind: {"pairs": pairs, "iou": _or_none(iou)} for kind, (pairs, iou) in row.regions.items()},
                }
                for row in agreement(annotations, spoken)
            ],
        }

    def close(self) -> None:
        """Stop the work and let go of the database."""
        self.explanations.worker.stop()
        self.store.close()


def mark_to_json(mark: Mark) -> dict[str, Any]:
    """A mark as the page sees it."""
    return {
        "id": mark.id,
        "class": mark.class_name,
        "kind": mark.kind,
        "shape": shape_to_json(mark.shape),
        "created": mark.created.isoformat(timespec="microseconds"),
        "undone": mark.undone,
    }


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
