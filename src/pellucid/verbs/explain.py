"""`pl.explain`: heat maps of images, of what the model predicts unless another class is asked for."""

from __future__ import annotations

import base64
import tempfile
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pellucid.explainers import explain as explain_images
from pellucid.models.inference import check_answers
from pellucid.report.pictures.explanation_grid import explanation_grid
from pellucid.report.pictures.perturbed import as_picture, data_address
from pellucid.types import InputError, check_images, device_of
from pellucid.utils.resources import nearest, whole_file
from pellucid.utils.result import Result, Table
from pellucid.verbs.session import name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pellucid.explainers.explanation import Explanation
    from pellucid.verbs.session import Model

SHOWN = 4
"""How many images a notebook shows."""


@dataclass(frozen=True, eq=False)
class Explanations(Result):
    """Heat maps, or changed images, one for each image.

    Attributes:
        explanation: the maps as the method gave them, and what they cost.
        images: (N, C, H, W) in [0, 1].
        probabilities: (N, K), of every class.
        classes: the K names.
        model: what the model is called.
    """

    name: ClassVar[str] = "explanations"
    explanation: Explanation
    images: Tensor
    probabilities: Tensor
    classes: tuple[str, ...]
    model: str

    @property
    def maps(self) -> Tensor:
        """Heat maps (N, H, W), more is more evidence; images (N, C, H, W) of the method `adversarial`."""
        return self.explanation.maps

    @property
    def targets(self) -> Tensor:
        """The class explained on each image, int64 (N,)."""
        assert self.explanation.targets is not None
        return self.explanation.targets

    @property
    def rows(self) -> list[dict[str, Any]]:
        """For each image the class explained, its probability, and what the explanation cost."""
        return [
            {
                "image": i,
                "method": self.explanation.name,
                "class": self.classes[k],
                "probability": float(self.probabilities[i, k]),
                "gradient_evaluations": self.explanation.gradient_evaluations,
                "forward_passes": self.explanation.forward_passes,
            }
            for i, k in enumerate(self.targets.tolist())
        ]

    def to_json(self) -> dict[str, Any]:
        """The model, the method and the rows."""
        return {"model": self.model, "method": self.explanation.name, "rows": self.rows}

    def tables(self) -> list[Table]:
        """The class explained on each image and its probability."""
        rows = [[str(r["image"]), r["class"], f"{r['probability']:.3f}"] for r in self.rows]
        return [Table(f"{self.explanation.name} of {len(rows)} images", ["image", "class", "probability"], rows)]

    def save(self, folder: str | Path) -> list[Path]:
        """Write explanations.json, explanations.csv, and the maps as numbers: explanations.npz."""
        path = Path(folder) / f"{self.name}.npz"
        with whole_file(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, maps=self.maps.cpu().numpy(), targets=self.targets.cpu().numpy())
        return [*super().save(folder), path]

    def _repr_html_(self) -> str:
        count = min(len(self.images), SHOWN)
        return super()._repr_html_() + "".join(self._picture(i) for i in range(count))

    def _picture(self, index: int) -> str:
        """The image beside its map, as an HTML image."""
        name = self.classes[int(self.targets[index])]
        chance = float(self.probabilities[index, self.targets[index]])
        alt = f"image {index}: {self.explanation.name} of {name}"
        if self.explanation.kind != "heatmap":
            pair = (self.images[index], self.maps[index])
            return "".join(f'<img alt="{escape(alt)}" src="{data_address(as_picture(x.cpu().numpy()))}">' for x in pair)
        image = (self.images[index].cpu().numpy() * 255).round().astype(np.uint8)
        maps = {(name, self.explanation.name): self.maps[index].cpu().numpy()}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "sheet.png"
            explanation_grid(image, maps, {name: chance}, title=f"image {index}", path=path)
            data = base64.b64encode(path.read_bytes()).decode()
        return f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">'


def explain(
    model: Model,
    images: Tensor,
    method: str = "grad-cam",
    *,
    targets: Tensor | int | str | Sequence[str] | None = None,
    **options: Any,  # noqa: ANN401
) -> Explanations:
    """Explain images: for each a heat map of one class.

    Args:
        model: what is explained.
        images: float (N, C, H, W) in [0, 1], or one image (C, H, W); of any device.
        method: of explanation, as in `pellucid explain --help`.
        targets: classes by number (N,) or by name, or one for all images; for each image the class that the model
            finds most probable by default.
        options: of the method, as ``samples=50`` of `rise`.

    Raises:
        InputError: images that are not pixels in [0, 1]; an unknown method, class or option; a model that the method
            does not fit, or that gives no answer.

    Example:
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b"], task="multiclass", size=32)
        >>> explain(model, torch.rand(2, 1, 32, 32), "cam", targets="b").maps.shape
        torch.Size([2, 32, 32])
    """
    batch = (images[None] if images.ndim == 3 else images).to(device_of(model))
    check_images(batch, channels=model.input_spec.channels)
    if not len(batch):
        raise InputError("there are no images to explain.")
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            logits = model(batch)
        check_answers(logits, "there is nothing to explain")
        chances = logits.softmax(1) if model.task == "multiclass" else logits.sigmoid()
        target_classes = logits.argmax(1) if targets is None else _numbers(targets, model.classes)
        explanation = explain_images(method, model, batch, target_classes, **options)
    finally:
        model.train(was_training)
    return Explanations(explanation, batch, chances, model.classes, name_of(model))


def _numbers(targets: Tensor | int | str | Sequence[str], classes: Sequence[str]) -> Tensor | int:
    """Targets by number."""
    if isinstance(targets, Tensor | int):
        return targets
    names = [targets] if isinstance(targets, str) else list(targets)
    for name in names:
        if name not in classes:
            raise InputError(f"unknown class {name!r}. {nearest(str(name), classes)}")
    numbers = [list(classes).index(name) for name in names]
    return numbers[0] if isinstance(targets, str) else torch.tensor(numbers)
