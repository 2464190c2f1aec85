"""What `pellucid explain --method adversarial` writes: one panel per image, the moved images, and the slider's page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pellucid.cli.options import wrote
from pellucid.explainers import adversarial
from pellucid.models.inference import as_pixels
from pellucid.report.pages.slider import Column, Slide, write_slider
from pellucid.report.pictures.perturbed import Moved, explanation_pictures
from pellucid.types import device_of
from pellucid.utils.progress import step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from pellucid.cli.input_images import InputImage
    from pellucid.explainers import AdversarialExplanation
    from pellucid.models.classifier import ConvolutionalClassifier

LADDER = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""The slider's positions beside 0, in units of --rho."""
ROLE_NAMES = {"true": "real class", "predicted": "predicted class", "second": "most confident other"}


class AdversarialOutput:
    """Explains one image after the other, and keeps what the slider's page needs.

    Args:
        network: what is explained.
        rho: size of the change.
        direction: `raise` or `lower`.
        optimiser: its name.
        sliders: how many images go on the page.
        out: the folder to write to.
    """

    def __init__(
        self, network: ConvolutionalClassifier, rho: float, direction: str, optimiser: str, sliders: int, out: Path
    ) -> None:
        self._network, self._rho, self._out, self._sliders = network, rho, out, sliders
        self._how: dict[str, Any] = {"direction": direction, "optimiser": optimiser}
        self._rhos = [float(f"{rho * step:.4g}") for step in LADDER if rho * step <= 1]
        self._slides: list[Slide] = []

    def steps(self, count: int) -> int:
        """How many times the slider's page moves the progress bar on, for so many images."""
        return min(count, self._sliders) * len(self._rhos)

    def about(self) -> dict[str, Any]:
        """For the record."""
        return {"rho": self._rho, **self._how, "slider": "slider.html" if self._slides else None}

    def add(
        self,
        subject: InputImage,
        chosen: Sequence[int],
        roles: Mapping[str, Sequence[int]],
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Explain an image, draw its panel; what explain.json says of it, and its moved images by `class|method`."""
        classes = self._network.classes
        names = {c: ROLE_NAMES[role] for role in ("predicted", "second", "true") for c in roles.get(role, ())}
        weight = list(ROLE_NAMES.values())
        ordered = sorted(chosen, key=lambda c: weight.index(names[c]) if c in names else len(weight))
        with step(0):  # an image counts once it is drawn
            found = self._explain(subject, ordered, self._rho)
        before, after = found.confidence_before.tolist(), found.confidence.tolist()
        image = as_pixels(subject.picture[None])[0].numpy()
        pictures = found.maps.cpu().numpy()
        moved = [
            Moved(classes[c], names.get(c, ""), pictures[i], before[i], after[i], float(found.rms[i]))
            for i, c in enumerate(ordered)
        ]
        panel = self._out / f"{subject.name}-adversarial.png"
        told = "raised" if found.direction == "raise" else "lowered"
        note = (
            f"{told} at ρ = {self._rho:g} ({found.optimiser}, {found.gradient_evaluations} gradient evaluations each)"
        )
        explanation_pictures(image, moved, rho=self._rho, title=subject.title, note=note, path=panel)
        if len(self._slides) < self._sliders:
            self._slides.append(self._slide(subject, ordered, image))
        told_of = {
            classes[c]: {
                "before": before[i],
                "after": after[i],
                "rms": float(found.rms[i]),
                "probabilities": dict(zip(classes, found.probabilities[i].tolist(), strict=True)),
            }
            for i, c in enumerate(ordered)
        }
        spent = {"gradient_evaluations": found.gradient_evaluations, "forward_passes": found.forward_passes}
        arrays = {f"{classes[c]}|adversarial": pictures[i] for i, c in enumerate(ordered)}
        return {"panel": panel.name, "classes": told_of, **spent}, arrays

    def finish(self) -> None:
        """Write the slider's page, if any image is on it."""
        if self._slides:
            title = "What the network would have to see"
            wrote(write_slider(self._slides, self._out / "slider.html", title=title))

    def _explain(self, subject: InputImage, chosen: Sequence[int], rho: float) -> AdversarialExplanation:
        place = device_of(self._network)
        batch = as_pixels(subject.picture[None], place).expand(len(chosen), -1, -1, -1)
        return adversarial(self._network, batch, torch.tensor(chosen, device=place), rho=rho, **self._how)

    def _slide(
        self,
        subject: InputImage,
        chosen: Sequence[int],
        image: npt.NDArray[np.floating],
    ) -> Slide:
        steps = []
        for rho in self._rhos:
            with step(1):
                steps.append(self._explain(subject, chosen, rho))
        truth = subject.truth
        shown = None if truth is None else ", ".join(self._network.classes[c] for c in truth) or "none of the classes"
        return Slide(
            title=subject.title,
            note="" if shown is None else f"shows {shown}",
            image=image,
            classes=self._network.classes,
            explained=list(chosen),
            rhos=self._rhos,
            columns=[Column.of("", steps)],
            **self._how,
        )
