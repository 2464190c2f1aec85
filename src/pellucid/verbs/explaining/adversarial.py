"""The adversarial part of `explain`: each image moved for its classes, and the page with a slider over the size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from pellucid.explainers import adversarial
from pellucid.explainers.adversarial import check_settings
from pellucid.models.inference import as_pixels
from pellucid.report.pages.slider import Column, Slide
from pellucid.report.pictures.perturbed import Moved
from pellucid.types import device_of
from pellucid.utils.progress import step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from pellucid.explainers import AdversarialExplanation
    from pellucid.verbs.input_images import InputImage
    from pellucid.verbs.session import Model

MIXED_RHO = 0.075
"""The size beside heat maps, as in Fig. 5 of Woods et al. 2019."""
LADDER = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""The slider's positions beside 0, in units of ρ."""
ROLE_NAMES = {"true": "real class", "predicted": "predicted class", "second": "most confident other"}


@dataclass(frozen=True)
class PerturbationSettings:
    """How images are moved.

    Attributes:
        rho: size of the change, root mean square per pixel in [0, 1].
        direction: `raise` or `lower`.
        optimiser: its name.
        sliders: how many images go on the page with a slider.
        options: of the explainer, as `batch_size`.

    Raises:
        InputError: a size that is none, an unknown direction or optimiser.
    """

    rho: float
    direction: str
    optimiser: str
    sliders: int
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_settings(self.rho, self.direction, self.optimiser)

    @property
    def ladder(self) -> list[float]:
        """The sizes on the slider."""
        return [float(f"{self.rho * step:.4g}") for step in LADDER if self.rho * step <= 1]

    def move(self, model: Model, pixels: Tensor, targets: Tensor, rho: float | None = None) -> AdversarialExplanation:
        """Move P images (P, C, H, W), each for its class (P,), by `rho` or by the size of the settings."""
        how: dict[str, Any] = {"direction": self.direction, "optimiser": self.optimiser, **self.options}
        return adversarial(model, pixels, targets, rho=self.rho if rho is None else rho, **how)

    def to_json(self) -> dict[str, Any]:
        """For the record."""
        page = "slider.html" if self.sliders else None
        return {"rho": self.rho, "direction": self.direction, "optimiser": self.optimiser, "slider": page}


@dataclass(frozen=True, eq=False)
class MovedClasses:
    """What moving one image for several classes came to; the moved images themselves are in the store of arrays.

    Attributes:
        classes: by number, in the order they are shown: the real one, the predicted one, its rival, the others.
        roles: what each is to the image; may be empty.
        before: the probability of each in the image.
        after: that in the moved image.
        rms: the size reached.
        probabilities: of every class, for each moved image.
    """

    classes: Sequence[int]
    roles: Sequence[str]
    before: Sequence[float]
    after: Sequence[float]
    rms: Sequence[float]
    probabilities: Sequence[Sequence[float]]

    @classmethod
    def of(
        cls, explanation: AdversarialExplanation, rows: Tensor, classes: Sequence[int], roles: Sequence[str]
    ) -> MovedClasses:
        """Of one image, whose moved ones are where `rows` (P,) is true."""
        return cls(
            classes,
            roles,
            explanation.confidence_before[rows].tolist(),
            explanation.confidence[rows].tolist(),
            explanation.rms[rows].tolist(),
            explanation.probabilities[rows].tolist(),
        )

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """By the name of each class; `names` are those of all."""
        return {
            names[c]: {
                "before": self.before[i],
                "after": self.after[i],
                "rms": self.rms[i],
                "probabilities": dict(zip(names, self.probabilities[i], strict=True)),
            }
            for i, c in enumerate(self.classes)
        }

    def pictures(self, names: Sequence[str], arrays: Mapping[str, npt.NDArray[np.floating]]) -> list[Moved]:
        """The moved images with their figures, as they are drawn."""
        return [
            Moved(names[c], role, arrays[f"{names[c]}|adversarial"], before, after, rms)
            for c, role, before, after, rms in zip(
                self.classes, self.roles, self.before, self.after, self.rms, strict=True
            )
        ]


def in_order(classes: Sequence[int], roles: Mapping[str, Sequence[int]]) -> tuple[list[int], list[str]]:
    """Classes in the order in which moved images are shown, and what each is to the image.

    Example:
        >>> in_order([0, 2, 1], {"predicted": [1], "second": [2]})
        ([1, 2, 0], ['predicted class', 'most confident other', ''])
    """
    names = {c: ROLE_NAMES[role] for role in ("predicted", "second", "true") for c in roles.get(role, ())}
    weight = list(ROLE_NAMES.values())
    ordered = sorted(classes, key=lambda c: weight.index(names[c]) if c in names else len(weight))
    return ordered, [names.get(c, "") for c in ordered]


def slide(
    models: Mapping[str, Model], image: InputImage, classes: Sequence[int], settings: PerturbationSettings
) -> Slide:
    """An image moved by every size of the slider, by each model; each size of a model is a step of the progress bar.

    Args:
        models: those that are shown side by side, by the names over their columns.
        image: what is moved.
        classes: for which, by number.
        settings: how.
    """
    columns, truth = [], image.truth
    for name, model in models.items():
        device, steps = device_of(model), []
        batch = as_pixels(image.picture[None], device).expand(len(classes), -1, -1, -1)
        targets = torch.tensor(classes, device=device)
        for rho in settings.ladder:
            with step(1):
                steps.append(settings.move(model, batch, targets, rho))
        columns.append(Column.of(name, steps))
    names = next(iter(models.values())).classes
    true_names = None if truth is None else ", ".join(names[c] for c in truth) or "none of the classes"
    how: dict[str, Any] = {"direction": settings.direction, "optimiser": settings.optimiser}
    return Slide(
        title=image.title,
        note="" if true_names is None else f"shows {true_names}",
        image=as_pixels(image.picture[None])[0].numpy(),
        classes=names,
        explained=list(classes),
        rhos=settings.ladder,
        columns=columns,
        **how,
    )
