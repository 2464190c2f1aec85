"""`pl.evaluate` and `pellucid evaluate`: how well a model classifies, also under attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pellucid.attacks import BoundedAttack
from pellucid.attacks.under_attack import PGD_STEPS, answers_under_attack, check_steps, costs, masked_gradients
from pellucid.evaluation.metrics.calibration import calibration_figures
from pellucid.evaluation.metrics.comparison import (
    MANY_CLASSES,
    Row,
    accuracy_rows,
    classification_rows,
    compare,
    robustness_rows,
)
from pellucid.evaluation.metrics.statistics import Bootstrap, Estimate
from pellucid.models.inference import check_answers, predict, probabilities
from pellucid.models.memory_order import channels_last
from pellucid.report.charts import figures as charts
from pellucid.report.charts.drawing import write_charts
from pellucid.report.tables.metrics import metric
from pellucid.types import InputError
from pellucid.utils.progress import progress_context
from pellucid.utils.result import Table
from pellucid.verbs.figures import FigureCells, Figures, index_of
from pellucid.verbs.session import open_session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from pellucid.attacks import Epsilon
    from pellucid.data.dataset import Dataset
    from pellucid.verbs.session import Model

COSTS = ("gradient_evaluations_per_image", "forward_passes_per_image")


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Figures):
    """How well a model classifies.

    What attacks cost is in ``about["attacks"]``, by the attack's name in the rows.

    Example:
        >>> import pellucid as pl
        >>> data = pl.dataset("phantom", split="test", size=32, train=1, validation=1, test=24, prevalence=0.5)
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=data.classes[:2], task="multilabel", size=32)
        >>> result = pl.evaluate(model, data)
        >>> result.auroc.low <= result.auroc.value <= result.auroc.high, result.rows[0]["metric"]
        (True, 'auroc')
    """

    name: ClassVar[str] = "classification"

    @property
    def accuracy(self) -> Estimate:
        """The share of images whose class is right; of several labels, of known labels that are right."""
        return self.figure("accuracy", section="classification")

    @property
    def auroc(self) -> Estimate:
        """The mean over the classes of the area under the ROC curve."""
        return self.figure("auroc", section="classification")

    @property
    def average_precision(self) -> Estimate:
        """The mean over the classes of the average precision."""
        return self.figure("average_precision", section="classification")

    @property
    def calibration_error(self) -> Estimate:
        """How far the model's probabilities are from the shares that come true, without the bias of few images."""
        return self.figure("calibration_error", section="calibration")

    @property
    def brier(self) -> Estimate:
        """The Brier score: the mean squared distance of the probabilities from what is true."""
        return self.figure("brier", section="calibration")

    @property
    def robust_accuracy(self) -> dict[str, Estimate]:
        """The accuracy under each attack, by its name and size; under `0` without one. Empty without attacks."""
        sizes = dict.fromkeys(row.at for row in self.measured if row.section == "robustness")
        return {at: self.figure("accuracy", section="robustness", at=at) for at in sizes}

    def tables(self) -> list[Table]:
        """A row for each class and their mean, of many for the mean alone; calibration; accuracy under attack."""
        clean = {(r.class_name, r.metric): r for r in self.measured if r.section == "classification"}
        metrics = ["auroc", "average_precision", "accuracy"]
        names = list(dict.fromkeys(c for c, _ in clean))
        title = f"{self.about['n']} images of {self.about['data']}/{self.about['split']}"
        if len(names) > MANY_CLASSES + 1:  # the mean is one of them
            title += f"; each of the {len(names) - 1:,} classes is in {self.name}.csv"
            names = ["mean"]
        cells = FigureCells(self.measured)
        rows = [
            [c, *(cells.text(clean.get((c, m))) for m in metrics), cells.size(clean.get((c, "auroc")))] for c in names
        ]
        tables = [Table(title, ["class", *metrics, "n"], rows, cells.notes.lines)]
        cells = FigureCells(self.measured)
        believed = [r for r in self.measured if r.section == "calibration"]
        rows = [[metric(r.metric).label, cells.text(r), cells.size(r)] for r in believed]
        tables.append(Table("calibration of its probabilities", ["figure", "value", "n"], rows, cells.notes.lines))
        attacked = {(r.at, r.metric): r for r in self.measured if r.section == "robustness"}
        if attacked:
            under, cells = [], FigureCells(self.measured)
            for at in dict.fromkeys(at for at, _ in attacked):
                spent = self.about["attacks"].get(at, {})
                cost = [f"{spent[key]:.1f}" if key in spent else "" for key in COSTS]
                accuracy, area = attacked[at, "accuracy"], attacked[at, "auroc"]
                under.append([at, cells.text(accuracy), cells.text(area), cells.size(area), *cost])
            columns = ["attack", "accuracy", "auroc", "n", "gradients per image", "forward passes per image"]
            tables.append(Table("under attack", columns, under, cells.notes.lines))
        return tables

    def draw(self, folder: Path) -> dict[Path, str]:
        """AUROC class by class, and what attacks of several sizes leave."""
        index = index_of(self.about["model"], self.measured, data={"task": self.about["task"]})
        return write_charts([*charts.classification(index)[:1], *charts.robustness(index)], folder)


def evaluate(
    model: Model,
    data: Dataset,
    attacks: Epsilon | str | Sequence[Epsilon | str] = (),
    *,
    steps: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    batch_size: int = 64,
    cache: Path | None = None,
    allow_training_images: bool = False,
    class_map: Mapping[str, str] | None = None,
) -> Evaluation:
    """AUROC and average precision for each class, accuracy, calibration, and accuracy under attack, with intervals.

    Args:
        model: what is judged.
        data: one part of a dataset; its classes are matched with the model's by name.
        attacks: one or several, by their sizes, as ``Epsilon(linf=8 / 255)`` or ``"linf=8/255"``, by the default
            attack; another one is named before it, as ``"autoattack:linf=8/255"``, ``"pgd:l2=0.5"`` or
            ``"fgsm:linf=8/255"``.
        steps: of ``pgd:``, 20 by default; no other attack takes it.
        limit: at most so many images, chosen with `seed`.
        seed: of that choice, of the attacks' random starts, and of the bootstrap.
        batch_size: images at a time.
        cache: keep decoded images in this folder.
        allow_training_images: count images that the model was trained on in; they are refused otherwise.
        class_map: the data's name for each of the model's classes that has another one there.

    Raises:
        InputError: data of other classes, or that the model was trained on; an attack or a size that is none; steps
            where no attack takes them.

    Source:
        Intervals of AUROC: DeLong, DeLong & Clarke-Pearson 1988, Obuchowski 1997 and Newcombe 2006. Calibration error:
        Kumar, Liang & Ma 2019, arXiv 1909.10155. Brier score: Brier 1950.

    Example:
        >>> import pellucid as pl
        >>> data = pl.dataset("phantom", split="test", size=32, train=1, validation=1, test=24, prevalence=0.5)
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=data.classes[:1], task="multilabel", size=32)
        >>> result = evaluate(model, data, "pgd:linf=0.01", steps=2)
        >>> result.auroc.n, list(result.robust_accuracy)
        (24, ['0', 'PGD L∞ 0.01'])
    """
    bounded = BoundedAttack.each(attacks)
    check_steps(bounded, steps)
    session = open_session(
        model,
        data,
        limit=limit,
        seed=seed,
        cache=cache,
        allow_training_images=allow_training_images,
        class_map=class_map,
    )
    dataset, images = session.dataset, session.pixels()
    spent, warnings = {}, list(session.warnings)
    with channels_last(model), progress_context("evaluate", len(images) * (1 + len(bounded))):
        logits = {"0": predict(model, images, batch_size=batch_size)}
        for attack in bounded:
            name = str(attack)
            answers = answers_under_attack(
                model, images, dataset.targets, attack,
                thresholds=session.thresholds, steps=steps or PGD_STEPS, seed=seed, batch_size=batch_size,
            )  # fmt: skip
            logits[name], spent[name] = answers.logits, costs(attack, answers, steps)
            warnings += masked_gradients(name, answers)
    bootstrap = Bootstrap(dataset.patients, seed=seed)
    rows = classification_rows({"": [logits["0"]]}, dataset, bootstrap)
    if model.task == "multilabel":  # of exclusive classes it is among these rows
        rows += accuracy_rows({"": [logits["0"]]}, {"": [session.thresholds]}, dataset, bootstrap)
    _, calibration = calibration_figures(probabilities(logits["0"], model.task), dataset.targets, bootstrap)
    for name, figure in calibration.items():
        rows += compare(Row.blank("calibration", name, "mean"), {"": [figure]}, None)
    if bounded:
        rows += robustness_rows({"": [logits]}, {"": [session.thresholds]}, dataset, bootstrap)
    about = session.about() | {
        "task": model.task,
        "n": len(dataset),
        "training_images": session.seen(),
        "seed": seed,
        "attacks": spent,
    }
    return Evaluation(about, rows, warnings, _failure(logits, dataset))


def _failure(logits: Mapping[str, npt.NDArray[np.floating]], dataset: Dataset) -> str | None:
    for name, answers in logits.items():
        attacked = "" if name == "0" else f" under attack ({name})"
        try:
            check_answers(answers, f"what is measured of it{attacked} is undefined", dataset.ids)
        except InputError as error:
            return str(error)
    return None
