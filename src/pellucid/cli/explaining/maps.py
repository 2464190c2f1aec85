"""The heat maps of `pellucid explain`: each method with those of the command's options that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pellucid.explainers import EXPLAINERS, explain
from pellucid.explainers.registry import with_option
from pellucid.models.inference import as_pixels
from pellucid.report.pictures.explanation_grid import explanation_grid
from pellucid.report.pictures.perturbed import Moved
from pellucid.types import InputError, device_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from pellucid.cli.input_images import InputImage
    from pellucid.models.classifier import ConvolutionalClassifier

MIXED_RHO = 0.075
"""Of the adversarial column beside heat maps, as in Fig. 5 of Woods et al. 2019."""


class HeatMapOutput:
    """Explains one image after the other by several methods, and draws them side by side.

    Args:
        network: what is explained.
        methods: names of heat maps.
        options: of the command, by the name that methods know them by, or None. `seed` may serve none.
        rho: size of the adversarial explanations beside the heat maps.
        out: the folder to write to.

    Raises:
        InputError: a method that the network cannot serve; an option that no method has.
    """

    def __init__(
        self,
        network: ConvolutionalClassifier,
        methods: Sequence[str],
        options: Mapping[str, Any],
        rho: float,
        out: Path,
    ) -> None:
        self.network, self._rho, self._out = network, rho, out
        given = {name: value for name, value in options.items() if value is not None}
        self._options = {m: {o: v for o, v in given.items() if o in EXPLAINERS[m].options} for m in methods}
        for name in given:
            if name != "seed" and not any(name in own for own in self._options.values()):
                raise InputError(
                    f"--{name} is an option of none of the methods asked for. These have it: {_with(name)}."
                )
        spec = network.input_spec
        nothing = torch.zeros((0, *spec.shape), device=device_of(network))
        for method, own in self._options.items():  # what cannot be served is refused before any work
            explain(method, network, nothing, 0, **own)

    def about(self) -> dict[str, Any]:
        """The options that each method was given, for the record."""
        return {method: own for method, own in self._options.items() if own}

    def explain(
        self, subject: InputImage, chosen: Sequence[int]
    ) -> tuple[dict[tuple[str, str], npt.NDArray[np.floating]], dict[str, Any]]:
        """Heat maps by class and method, and what each method cost."""
        place = device_of(self.network)
        batch = as_pixels(subject.picture[None], place).expand(len(chosen), -1, -1, -1)
        maps: dict[tuple[str, str], npt.NDArray[np.floating]] = {}
        cost = {}
        for method, own in self._options.items():
            found = explain(method, self.network, batch, torch.tensor(chosen, device=place), **own)
            maps |= {(self.network.classes[c], method): found.maps[i].cpu().numpy() for i, c in enumerate(chosen)}
            cost[method] = {
                "gradient_evaluations": found.gradient_evaluations,
                "forward_passes": found.forward_passes,
            }
        return maps, cost

    def draw(
        self,
        subject: InputImage,
        maps: Mapping[tuple[str, str], npt.NDArray[np.floating]],
        chances: Mapping[str, float],
        adversarial: Mapping[str, Any],
        moved: Mapping[str, npt.NDArray[np.floating]],
    ) -> str:
        """Draw the grid of an image; its file's name.

        Args:
            subject: the image.
            maps: as `explain` gives them.
            chances: the probability of each class shown.
            adversarial: what explain.json says of the moved images, or nothing.
            moved: the moved images by `class|adversarial`.
        """
        columns = {
            name: Moved(name, "", moved[f"{name}|adversarial"], told["before"], told["after"], told["rms"])
            for name, told in adversarial.get("classes", {}).items()
        }
        path = self._out / f"{subject.name}.png"
        explanation_grid(subject.picture, maps, chances, title=subject.title, path=path, changes=columns, rho=self._rho)
        return path.name


def _with(option: str) -> str:
    return ", ".join(entry.name for entry in with_option(option) if entry.kind == "heatmap")
