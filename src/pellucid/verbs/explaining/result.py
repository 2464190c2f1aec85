"""What `explain` found, and how it is written: a picture per image, the maps as numbers, boxes, explain.json."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from pellucid.models.inference import as_pixels
from pellucid.report.pages.explanations import MOST, ExplainedPanel, write_explanations
from pellucid.report.pages.slider import write_slider
from pellucid.report.pictures.explanation_grid import Explained, explanation_grid
from pellucid.report.pictures.perturbed import explanation_pictures
from pellucid.report.tables.metrics import method_label
from pellucid.utils.csv_table import write_csv
from pellucid.utils.progress import advance, progress_context
from pellucid.utils.resources import write_json
from pellucid.utils.result import Result, Table
from pellucid.utils.words import heading_name, joined, number_of
from pellucid.verbs.explaining.array_store import file_name
from pellucid.verbs.explaining.dicom import found_boxes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    from torch import Tensor

    from pellucid.report.pages.slider import Slide
    from pellucid.report.pictures.perturbed import Moved
    from pellucid.types import Pixels, Task
    from pellucid.verbs.explaining.adversarial import MovedClasses, PerturbationSettings
    from pellucid.verbs.explaining.array_store import Arrays, ArrayStore
    from pellucid.verbs.explaining.dicom import DicomOutput
    from pellucid.verbs.input_images import InputImage, InputImages

    Maps = dict[tuple[str, str], npt.NDArray[np.floating]]

SHOWN = 4
"""How many images a notebook shows."""
LISTED = 20
"""How many rows a table has at most."""
ADVERSARIAL = "adversarial"
COMPARED = "compared"
"""The folder with the files of the model that the first is compared with."""


@dataclass(frozen=True, eq=False)
class ExplainedImage:
    """One image and what is known of its explanations; the maps themselves are in the store of arrays.

    Attributes:
        image: what was explained.
        probabilities: of every class.
        classes: those explained, by number.
        cost: gradient evaluations and forward passes of each method.
        adversarial: the adversarial explanations; None without them.
        decided: the classes that the model decides are present, or its one class; None where it has no thresholds.
    """

    image: InputImage
    probabilities: Sequence[float]
    classes: Sequence[int]
    cost: Mapping[str, Mapping[str, int]]
    adversarial: MovedClasses | None
    decided: Sequence[int] | None


@dataclass(frozen=True, eq=False, repr=False)
class Explanations(Result):
    """Heat maps and changed images, one for each image, method and class explained.

    Attributes:
        model: what the model is called.
        classes: the K names.
        task: whether an image shows one of them, `multiclass`, or any number, `multilabel`.
        preprocess: how its images are fitted, as `InputSpec.parse` reads it.
        methods: of explanation, in the order asked for.
        options: that each heat map was given.
        adversarial: how images were moved; None where they were not.
        inputs: the images, and which of them the model has seen before.
        explained: what is known of each.
        arrays: the maps of each image, by ``class|method``.
        slides: the images on the page with a slider.
        dicom: what writes DICOM objects; None without them.
        other: the same classes of the same images, explained for the model compared with; None without one.
        label: what the model is called beside another; empty where it is alone.
        refused: why a method that was asked for is left out, by its name.
    """

    name: ClassVar[str] = "explain"
    model: str
    classes: tuple[str, ...]
    task: Task
    preprocess: str
    methods: tuple[str, ...]
    options: Mapping[str, Mapping[str, Any]]
    adversarial: PerturbationSettings | None
    inputs: InputImages
    explained: Sequence[ExplainedImage]
    arrays: ArrayStore
    slides: Sequence[Slide]
    dicom: DicomOutput | None
    other: Explanations | None = None
    label: str = ""
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def maps(self) -> Tensor:
        """The maps of the first method, see `maps_of`."""
        return self.maps_of(self.methods[0])

    def maps_of(self, method: str) -> Tensor:
        """The maps of a method (P, H, W), more is more evidence; of `adversarial` images (P, C, H, W).

        One for each image and class explained: all of the first image, all of the second and so on, as `targets`.
        """
        return torch.from_numpy(
            np.stack(
                [self.arrays.arrays(one.image.name)[key] for one in self.explained for key in self._keys(one, method)]
            )
        )

    @property
    def targets(self) -> Tensor:
        """The class of each map, int64 (P,)."""
        return torch.tensor([c for one in self.explained for c in one.classes])

    @property
    def images(self) -> Tensor:
        """The images (N, C, H, W) in [0, 1]."""
        return as_pixels(self.inputs.pixels)

    @property
    def probabilities(self) -> Tensor:
        """Of every class on each image, float64 (N, K)."""
        return torch.tensor([list(one.probabilities) for one in self.explained], dtype=torch.float64)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """For each model, image, method and class explained its probability, and what the explanation cost."""
        own = [
            {
                "model": self.model,
                "image": one.image.source,
                "method": method,
                "class": self.classes[c],
                "probability": one.probabilities[c],
                **one.cost[method],
            }
            for one in self.explained
            for method in self.methods
            for c in one.classes
        ]
        return own if self.other is None else own + self.other.rows

    @property
    def warnings(self) -> list[str]:
        """Which methods are left out, what a reader must know of the classes, and which images were seen before."""
        others = [] if self.other is None else self.other.inputs.warnings
        return list(dict.fromkeys([*self._refusals, *self.inputs.warnings, *others]))

    def to_json(self) -> dict[str, Any]:
        """What explain.json holds, but for the DICOM objects, which are known once they are written."""
        record = self._about() | {"images": [self._record(one) for one in self.explained]}
        return record if self.other is None else record | {COMPARED: self.other.to_json()}

    def tables(self) -> list[Table]:
        """The classes explained on each image and their probabilities; of many images the first."""
        columns = ["probability"] if self.other is None else [f"probability, {name}" for name in self._labels()]
        explained = [self.explained] if self.other is None else [self.explained, self.other.explained]
        rows = [
            [ones[0].image.title, self.classes[c], *(f"{one.probabilities[c]:.3f}" for one in ones)]
            for ones in zip(*explained, strict=True)
            for c in ones[0].classes
        ]
        count, first = len(self.explained), f" (the first {LISTED} rows)" if len(rows) > LISTED else ""
        title = f"{', '.join(self.methods)} of {number_of(count, 'image(s)')}{first}"
        return [Table(title, ["image", "class", *columns], rows[:LISTED])]

    def save(self, folder: str | Path) -> list[Path]:
        """Write a panel and the maps of each image, explain.html with all, boxes.csv, slider.html, explain.json.

        For each image NAME.png is the panel of heat maps, class after class, NAME-adversarial.png that of moved images,
        and NAME.npz has everything as numbers, by ``class|method``; DICOM objects where they were asked for. A second
        model is in NAME.png and explain.html too, and all that is its own in the folder `COMPARED`.

        Returns:
            explain.json, and what there is once for all images.
        """
        folder, records, boxes = Path(folder), [], []
        panels: list[ExplainedPanel] = []
        on_page = min(len(self.explained), MOST if self.other is None else MOST // 2)
        with progress_context("draw", len(self.explained)):
            for index, one in enumerate(self.explained):
                arrays = self.arrays.arrays(one.image.name)
                maps = self._maps(one, arrays)
                self._draw(index, arrays, folder)
                if index < on_page:
                    panels += self._panels(index, arrays)
                boxes += found_boxes(one.image, maps)
                objects = None if self.dicom is None else self.dicom.write(one.image, maps, folder)
                self.arrays.write(one.image.name, folder)
                records.append(self._record(one, objects))
                advance(1)
        names = ["adversarial explanations" if m == "adversarial" else method_label(m) for m in self.methods]
        title = f"{joined(names)} from {joined([heading_name(label) for label in self._labels()])}"
        title = title[:1].upper() + title[1:]
        page = folder / "explain.html"
        count, methods = len(self.explained), list(self.options)
        write_explanations(
            panels,
            page,
            title=title,
            count=count,
            left_out=count - on_page,
            methods=methods,
            several=self.task == "multilabel",
            networks=len(self._labels()),
            refusals=self._refusals,
        )
        paths = [folder / "explain.json", page]
        if self.options:
            paths.append(folder / "boxes.csv")
            write_csv(paths[-1], boxes)
        if self.slides:
            title = "What the network would have to see"
            paths.append(write_slider(self.slides, folder / "slider.html", title=title))
        record = self._about() | {"images": records}
        if self.other is not None:
            self.other.save(folder / COMPARED)
            record[COMPARED] = {"model": self.other.model, "folder": COMPARED}
        write_json(paths[0], record)
        return paths

    @property
    def _refusals(self) -> list[str]:
        return [f"{method_label(method)} is left out: {why}" for method, why in self.refused.items()]

    def _labels(self) -> list[str]:
        """What the models are called over their pictures; the whole name of one alone."""
        return [self.model] if self.other is None else [self.label, self.other.label]

    def _about(self) -> dict[str, Any]:
        about: dict[str, Any] = {"model": self.model, "methods": list(self.methods), "preprocess": self.preprocess}
        if self.refused:
            about["refused_methods"] = dict(self.refused)
        about["training_images"] = self.inputs.seen_images.to_json()
        if self.options:
            about["options"] = {method: own for method, own in self.options.items() if own}
        if self.adversarial:
            about["adversarial"] = self.adversarial.to_json()
        return about

    def _record(self, one: ExplainedImage, objects: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """What explain.json says of an image; `objects` are its DICOM objects."""
        image, names = one.image, self.classes
        record: dict[str, Any] = {
            "image": image.source,
            "probabilities": dict(zip(names, one.probabilities, strict=True)),
            "explained": [names[c] for c in one.classes],
        }
        if image.truth is not None:
            record["true"] = [names[c] for c in image.truth]
        if one.adversarial:
            panel = f"{image.name}-adversarial.png"
            record[ADVERSARIAL] = {"panel": panel, "classes": one.adversarial.to_json(names), **one.cost[ADVERSARIAL]}
        if self._has_panel:
            record["panel"] = f"{image.name}.png"
        if self.options:
            record["cost"] = {method: one.cost[method] for method in self.options}
        if objects is not None:
            record["dicom"] = objects
        return record | {"maps": file_name(image.name)}

    def _panels(self, index: int, arrays: Arrays) -> list[ExplainedPanel]:
        """An image on explain.html, once for each model."""
        if self.other is None:
            return [self._panel(self.explained[index], arrays)]
        second = self.other.explained[index]
        theirs = self.other.arrays.arrays(second.image.name)
        first_name, second_name = self._labels()
        return [
            self._panel(self.explained[index], arrays, first_name),
            self.other._panel(second, theirs, second_name),
        ]

    def _panel(self, one: ExplainedImage, arrays: Arrays, model: str = "") -> ExplainedPanel:
        """An image on explain.html, explained by a model of this name."""
        return ExplainedPanel.of(
            f"{one.image.title}, {model}" if model else one.image.title,
            _as_integers(one.image.picture),
            dict(zip(self.classes, one.probabilities, strict=True)),
            truth=None if one.image.truth is None else [self.classes[c] for c in one.image.truth],
            decided=None if one.decided is None else [self.classes[c] for c in one.decided],
            unlabelled=[self.classes[c] for c in one.image.unlabelled],
            maps=self._maps(one, arrays),
            changes=self._changes(one, arrays),
            rho=self.adversarial.rho if self.adversarial else 0.0,
        )

    def _draw(self, index: int, arrays: Arrays, folder: Path) -> list[Path]:
        """Draw the panels of an image."""
        one, paths = self.explained[index], []
        image, rho = one.image, self.adversarial.rho if self.adversarial else 0.0
        if self.adversarial:
            direction = "raised" if self.adversarial.direction == "raise" else "lowered"
            spent = one.cost[ADVERSARIAL]["gradient_evaluations"]
            note = f"{direction} at ρ = {rho:g} ({self.adversarial.optimiser}, {spent} gradient evaluations each)"
            paths.append(folder / f"{image.name}-adversarial.png")
            pixels, changes = as_pixels(image.picture[None])[0].numpy(), list(self._changes(one, arrays).values())
            explanation_pictures(pixels, changes, rho=rho, title=image.title, note=note, path=paths[-1])
        if self._has_panel:
            explained = [self._explained(index, arrays)]
            if self.other is not None:
                theirs = self.other.arrays.arrays(self.other.explained[index].image.name)
                both = [explained[0], self.other._explained(index, theirs)]
                explained = [replace(own, network=name) for own, name in zip(both, self._labels(), strict=True)]
            paths.append(folder / f"{image.name}.png")
            explanation_grid(_as_integers(image.picture), explained, title=image.title, path=paths[-1], rho=rho)
        return paths

    @property
    def _has_panel(self) -> bool:
        """Whether an image has a panel beside that of moved images."""
        return bool(self.options) or self.other is not None

    def _explained(self, index: int, arrays: Arrays) -> Explained:
        """An image in the panel."""
        one = self.explained[index]
        probability_of = {self.classes[c]: one.probabilities[c] for c in one.classes}
        return Explained(self._maps(one, arrays), probability_of, self._changes(one, arrays))

    def _changes(self, one: ExplainedImage, arrays: Arrays) -> dict[str, Moved]:
        """The moved images of an image by class, in the order shown."""
        changes = one.adversarial.pictures(self.classes, arrays) if one.adversarial else []
        return {own.class_name: own for own in changes}

    def _maps(self, one: ExplainedImage, arrays: Arrays) -> Maps:
        """The heat maps of an image by class and method, method after method."""
        return {
            (self.classes[c], method): arrays[key]
            for method in self.options
            for c, key in zip(one.classes, self._keys(one, method), strict=True)
        }

    def _keys(self, one: ExplainedImage, method: str) -> list[str]:
        """What the arrays of an image by a method are called, one per class."""
        return [f"{self.classes[c]}|{method}" for c in one.classes]

    def draw(self, folder: Path) -> dict[Path, str]:
        """The first images with their maps."""
        return {
            path: f"{one.image.title}: {', '.join(self.methods)}"
            for index, one in enumerate(self.explained[:SHOWN])
            for path in self._draw(index, self.arrays.arrays(one.image.name), folder)
        }


def _as_integers(picture: Pixels) -> Pixels:
    """A picture as files have it, uint8 or uint16."""
    if picture.dtype != np.float32:
        return picture
    deep: Pixels = np.rint(np.clip(picture, 0, 1) * np.float32(65535)).astype(np.uint16)
    return deep
