"""`pl.attack_explanation` and `pellucid attack-explanation`: can a model's explanations be invalidated?"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from pellucid.evaluation.manipulation.attack import manipulate
from pellucid.evaluation.manipulation.gradient_maps import check_method
from pellucid.evaluation.manipulation.settings import BUDGETS, Attack
from pellucid.evaluation.manipulation.summary import manipulation_rows, manipulation_summary
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.statistics import Estimate
from pellucid.models.card import thresholds_of
from pellucid.models.inference import as_pixels
from pellucid.models.memory_order import channels_last
from pellucid.report.pictures.manipulated import Pair, manipulation_pictures, write_manipulation_curves
from pellucid.types import InputError, device_of
from pellucid.utils.csv_table import write_csv
from pellucid.utils.progress import progress_context
from pellucid.utils.resources import check_known, whole_file, write_json
from pellucid.utils.result import Footnotes, Result, Table
from pellucid.utils.results_store import ResultsStore
from pellucid.utils.words import number_of
from pellucid.verbs.figures import figure_cell
from pellucid.verbs.folders import work_folder
from pellucid.verbs.input_images import input_images
from pellucid.verbs.session import check_model, name_of, results_key_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.manipulation.attack import Manipulation
    from pellucid.verbs.input_images import InputImages
    from pellucid.verbs.session import Model

FILE, ROWS, CURVE, IMAGES = "attack-explanation.json", "attack-explanation.csv", "curve.png", "images.npz"
COLUMNS = ("budget (RMS)", "constraint met", "invalidated", "rank correlation", "SSIM", "top 10 %")


@dataclass(frozen=True, eq=False, repr=False)
class ExplanationAttackResult(Result):
    """What an attack on explanations reached, image by image and budget by budget.

    Attributes:
        about: what was attacked.
        manipulation: the perturbed images, all maps, and what became of the decisions.
        images: with their names.
        summary: the curves and areas, with their intervals.
        pictures: so many images are drawn with their maps.
    """

    name: ClassVar[str] = "attack-explanation"
    about: dict[str, Any]
    manipulation: Manipulation
    images: InputImages
    summary: dict[str, Any]
    pictures: int = 12

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One record per image and budget."""
        return manipulation_rows(self.manipulation, self.images.sources)

    def to_json(self) -> dict[str, Any]:
        """What `attack-explanation.json` holds."""
        return self.about | self.summary

    def tables(self) -> list[Table]:
        """One row per budget, and the areas under the curves."""
        curves, areas = self.summary["curves"], self.summary["areas"]
        notes = Footnotes()
        names = ["constraint_met", "invalidated", "rank_correlation", "ssim", "top_k_overlap"]
        lines = [
            [f"{budget:g}", *(_short(Estimate.from_json(curves[name][b]), notes) for name in names)]
            for b, budget in enumerate(self.summary["budgets"])
        ]
        of_areas = [_short(Estimate.from_json(areas[n]), notes) if n in areas else "" for n in names[1:]]
        lines.append(["area", "", *of_areas])
        attack = self.manipulation.attack
        title = f"{attack.method}, {attack.goal}: {number_of(len(self.images.sources), 'image(s)')}"
        return [Table(title, COLUMNS, lines, notes.lines)]

    @property
    def warnings(self) -> list[str]:
        """Which images the model has seen before, and why some have no figures."""
        without = self.summary["without_figures"].items()
        failures = [f"{count} of {self.summary['n']} images have no figures: {reason}" for reason, count in without]
        return [*self.images.warnings, *failures]

    def draw(self, folder: Path) -> dict[Path, str]:
        """The curves."""
        write_manipulation_curves({self.manipulation.attack.method: self.summary}, folder / CURVE)
        return {folder / CURVE: "How alike the maps are, and the share invalidated, against the budget"}

    def save(self, folder: str | Path) -> list[Path]:
        """Write the figures as JSON and CSV, the curve, images.npz with everything as numbers, and the pictures.

        Returns:
            All of these files.
        """
        folder = Path(folder)
        write_json(folder / FILE, self.to_json())
        write_csv(folder / ROWS, self.rows)
        write_manipulation_curves({self.manipulation.attack.method: self.summary}, folder / CURVE)
        self._keep(folder / IMAGES)
        panels = [folder / f"{image.name}.png" for image in self.images.images[: self.pictures]]
        for index, path in enumerate(panels):
            self._draw(index, path)
        return [*(folder / name for name in (FILE, ROWS, CURVE, IMAGES)), *panels]

    def _keep(self, path: Path) -> None:
        """The perturbed images and all maps as numbers: 8-bit pictures would round the perturbation away."""
        result = self.manipulation
        arrays = {
            "images": result.images, "perturbed": result.perturbed, "before": result.before, "after": result.after,
            "targets": result.decision.targets,
        }  # fmt: skip
        plain: dict[str, Any] = {name: tensor.cpu().numpy() for name, tensor in arrays.items()}
        with whole_file(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, names=np.array(self.images.sources), **plain)

    def _draw(self, i: int, path: Path) -> None:
        result, attack = self.manipulation, self.manipulation.attack
        original = Pair(
            0.0, result.images[i].cpu().numpy(), result.before[i].cpu().numpy(),
            result.classes[int(result.decision.decided[i])], float(result.decision.probability[i]), 1.0, "",
        )  # fmt: skip
        pairs = [
            Pair(
                budget,
                result.perturbed[b, i].cpu().numpy(),
                result.after[b, i].cpu().numpy(),
                result.classes[int(result.decided[b, i])],
                float(result.probability[b, i]),
                float(result.similarity["rank_correlation"][b, i]),
                "invalidated"
                if result.found[b, i]
                else "not invalidated"
                if result.constraint_met[b, i]
                else "no such image found",
            )
            for b, budget in enumerate(attack.budgets)
        ]
        explained = result.classes[int(result.decision.targets[i])]
        title = f"{self.images.images[i].title}: {attack.method} of {explained}, {attack.goal}"
        manipulation_pictures(original, pairs, method=attack.method, title=title, path=path)


def attack_explanation(
    model: Model,
    images: Tensor | Dataset | Path | str | Sequence[Path | str],
    method: str = "grad-cam",
    goal: Literal["same-decision", "same-map"] = "same-decision",
    *,
    budgets: Sequence[float] | None = None,
    target_map: str | None = None,
    class_name: str | None = None,
    tolerance: float = 0.05,
    keep: float = 0.9,
    steps: int = 40,
    options: dict[str, Any] | None = None,
    pictures: int = 12,
    out: str | Path | None = None,
    limit: int | None = None,
    file_options: Mapping[str, Any] | None = None,
    seed: int = 0,
    layer: str | None = None,
) -> ExplanationAttackResult:
    """Attack explanations; an attack that does not meet its constraint is a failure, and is reported as one.

    Args:
        model: what is explained.
        images: float (N, C, H, W) in [0, 1]; image files, or folders of them; or one part of a dataset.
        method: the explanation to attack, one with a differentiable form.
        goal: `same-decision`: change the map, keep decision and confidence. `same-map`: change the decision, keep the
            map.
        budgets: largest changes, root mean square per pixel and channel in [0, 1]; 0.002, 0.005, 0.01 and 0.02 by
            default.
        target_map: for `same-decision`, the map to show: centre, corner, other-image or an image file. Any other map
            than the original by default.
        class_name: the class explained; each image's most probable one by default.
        tolerance: for `same-decision`: how far the class's probability may move.
        keep: for `same-map`: the rank correlation from which on a map counts as the same.
        steps: gradient steps for each budget.
        options: of the explanation, as ``{"steps": 20}``.
        pictures: `save` draws at most so many images with their maps.
        out: the folder where results are kept, so that the same call goes on after an interruption.
        limit: at most so many images, of a dataset drawn with `seed`.
        file_options: how image files are read, as ``{"window": 1}``; as those that the model was trained on by default.
        seed: of that choice and of the attack.
        layer: that the explanation is at, where the method has this option, by its name in the model's
            `named_modules()`.

    Raises:
        InputError: a method without a differentiable form, or that the model cannot serve; a layer that the method
            does not take or the model does not have; an unknown class; images
            that do not fit; results of something else in `out`.

    Source:
        Woods, Chen & Teuscher 2019, arXiv 1906.02896; Ghorbani, Abid & Zou 2019, arXiv 1710.10547; Dombrowski et al.
        2019, arXiv 1906.07983.

    Example:
        >>> import torch
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b"], task="multiclass", size=32)
        >>> result = attack_explanation(model, torch.rand(2, 1, 32, 32), "cam", budgets=[0.01], steps=2)
        >>> [row["budget"] for row in result.rows]
        [0.01, 0.01]
    """
    check_model(model)
    sizes = BUDGETS if budgets is None else tuple(budgets)
    all_options = dict(options or {})
    if layer is not None and all_options.setdefault("layer", layer) != layer:
        raise InputError(f"two layers are named, {layer!r} and {all_options['layer']!r} among the options: name one.")
    attack = Attack(method, goal, sizes, target_map, steps, tolerance, keep, seed=seed, options=all_options)
    check_method(method, model, attack.options)
    target = None if class_name is None else _number(class_name, model.classes)
    inputs = input_images(model, images, limit=limit, seed=seed, file_options=file_options)
    thresholds = thresholds_of(model.card, len(model.classes))
    record = {
        "weights": results_key_of(model),
        "images": inputs.sources,
        "pixels": hashlib.sha256(inputs.pixels.tobytes()).hexdigest(),
        "class": class_name,
        "thresholds": thresholds,
        **asdict(attack),
    }
    with (
        channels_last(model),
        work_folder(out) as folder,
        progress_context("attack explanations", len(inputs.images) * len(attack.budgets)),
    ):
        pixels, store = as_pixels(inputs.pixels, device_of(model)), ResultsStore(folder / "kept", record)
        manipulation = manipulate(model, pixels, attack, targets=target, thresholds=thresholds, store=store)
    summary = manipulation_summary(manipulation, Bootstrap(inputs.sources, seed=seed))
    about = {"format": 1, "model": name_of(model), "data": inputs.data, "split": inputs.split}
    about |= {"training_images": inputs.seen_images.to_json()}
    return ExplanationAttackResult(about, manipulation, inputs, summary, pictures)


def _number(name: str, classes: Sequence[str]) -> int:
    check_known([name], classes, "class")
    return list(classes).index(name)


def _short(estimate: Estimate, notes: Footnotes) -> str:
    return figure_cell(estimate, 2, notes, estimate.reason)
