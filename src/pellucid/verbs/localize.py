"""`pl.localize` and `pellucid localize`: where a model's explanations fall, against boxes or masks."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pellucid.evaluation.metrics.comparison import localization_rows, refused_rows, trivial_rows, wang_rows
from pellucid.evaluation.metrics.explanations import SCORES_RULES, kept_scores, localization_task, score_explanations
from pellucid.evaluation.metrics.statistics import Bootstrap, Estimate
from pellucid.explainers import HEATMAPS
from pellucid.explainers.registry import check_layer, layer_option
from pellucid.models.inference import check_answers, predict, probabilities
from pellucid.models.memory_order import channels_last
from pellucid.report.charts import figures as charts
from pellucid.report.charts.drawing import write_charts
from pellucid.types import InputError
from pellucid.utils.progress import progress_bar
from pellucid.utils.resources import check_known
from pellucid.utils.result import Table
from pellucid.utils.results_store import ResultsStore, keyed
from pellucid.utils.settings import name_list
from pellucid.verbs.figures import FigureCells, Figures, index_of
from pellucid.verbs.folders import work_folder
from pellucid.verbs.session import check_arguments, open_session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.metrics.comparison import Row
    from pellucid.verbs.session import Model

METRICS = ("pointing", "energy_share", "energy_ratio", "auprc")
LINES = "lines: maps that look at no network, dotted uniform, dashed centred, dash-dotted the mean box"
OVERLAPS = ("IoBB > 0.1", "IoBB > 0.25", "IoBB > 0.5", "IoU > 0.1", "IoU > 0.3", "IoU > 0.5")


@dataclass(frozen=True, eq=False, repr=False)
class Localization(Figures):
    """Where explanations fall; maps that know nothing of the image are scored beside them.

    Attributes:
        methods: of explanation.

    Example:
        >>> import pellucid as pl
        >>> data = pl.dataset("phantom", split="test", size=32, train=1, validation=1, test=24, prevalence=0.5)
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=data.classes[:1], task="multilabel", size=32)
        >>> result = pl.localize(model, data, "cam", boxes=False)
        >>> 0 <= result.energy_share.value <= 1, sorted({row["method"] for row in result.rows})
        (True, ['cam', 'trivial: centred', 'trivial: mean box', 'trivial: uniform'])
    """

    name: ClassVar[str] = "localization"
    methods: tuple[str, ...] = ()

    @property
    def pointing(self) -> Estimate:
        """How often the first method's map is hottest inside the region, the mean over the classes."""
        return self.figure("pointing", method=self.methods[0])

    @property
    def energy_share(self) -> Estimate:
        """The share of the first method's map that lies inside the region, the mean over the classes."""
        return self.figure("energy_share", method=self.methods[0])

    @property
    def energy_ratio(self) -> Estimate:
        """That share over the region's share of the image, 1 by chance, the mean over the classes."""
        return self.figure("energy_ratio", method=self.methods[0])

    @property
    def auprc(self) -> Estimate:
        """The area under the precision-recall curve of the first method's pixels, the mean over the classes."""
        return self.figure("auprc", method=self.methods[0])

    def tables(self) -> list[Table]:
        """The scores without a threshold of every map, and the boxes of each method."""
        means = {
            (r.method, r.metric): r for r in self.measured if r.section == "localization" and r.class_name == "mean"
        }
        about = self.about
        title = (
            f"{about['pairs']} findings on {about['images']} images of {about['data']}/{about['split']}, mean over "
            "classes"
        )
        cells = FigureCells(self.measured)
        rows = [[m, *(cells.text(means[m, x]) for x in METRICS)] for m in dict.fromkeys(m for m, _ in means)]
        in_boxes = [m for m in self.methods if any(r.section == "wang" and r.method == m for r in self.measured)]
        table = Table(title, ["map", *METRICS], rows, cells.notes.lines)
        return [table, *(self._boxes(method) for method in in_boxes)]

    def draw(self, folder: Path) -> dict[Path, str]:
        """The scores without a threshold of every method; lines are maps that look at no network."""
        index = index_of(self.about["model"], [row for row in self.measured if row.metric in METRICS])
        scores = charts.localization(index, self.measured[0].target)
        return write_charts([replace(one, note=f"{one.note}; {LINES}") for one in scores], folder)

    def _boxes(self, method: str) -> Table:
        cells = FigureCells(self.measured)
        boxes = {
            (r.gate, r.at, r.metric): r
            for r in self.measured
            if r.section == "wang" and r.method == method and r.class_name == "mean"
        }
        rows = [
            [
                at,
                gate,
                *(cells.text(boxes[gate, a, m]) for a, m in ((at, "accuracy"), (at, "afp"), ("", "mean_box_area"))),
            ]
            for gate in dict.fromkeys(gate for gate, _, _ in boxes)
            for at in OVERLAPS
        ]
        columns = ["hit", "pairs", "accuracy", "false positives", "box area"]
        return Table(f"boxes from {method}, after Wang et al. 2017", columns, rows, cells.notes.lines)


def localize(
    model: Model,
    data: Dataset,
    methods: str | Sequence[str] = "cam",
    *,
    regions: Mapping[str, Sequence[str]] | None = None,
    boxes: bool = True,
    out: str | Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    batch_size: int = 16,
    cache: Path | None = None,
    allow_training_images: bool = False,
    class_map: Mapping[str, str] | None = None,
    layer: str | None = None,
) -> Localization:
    """Score where explanations fall against boxes or masks: Wang et al.'s accuracy and false positives, and more.

    Args:
        model: what is explained.
        data: one part of a dataset with boxes or masks.
        methods: of explanation, by name; one or several.
        regions: the marked labels that a class's explanation should fall on, where they are not called as the class.
        boxes: whether boxes are drawn on the maps, for Wang et al.'s scores; without them it is quicker.
        out: the folder where the scores of each method are kept once it is done, so that the same call goes on after an
            interruption and others can be added.
        limit: at most so many images, chosen with `seed`.
        seed: of that choice and of the bootstrap.
        batch_size: images at a time.
        cache: keep decoded images in this folder.
        allow_training_images: count images that the model was trained on in; they are refused otherwise.
        class_map: the data's name for each of the model's classes that has another one there: what its regions are
            called. Classes that it does not name keep their own.
        layer: that the methods with this option explain at, by its name in the model's `named_modules()`.

    A method that cannot explain the model has the reason in the place of its figures, and the others go on.

    Raises:
        InputError: an unknown method, or none that can explain the model; a layer that none of them takes; regions
            and a class_map at once; data without regions of the model's classes, or that the model was trained on.

    Source:
        Wang et al. 2017, arXiv 1705.02315, for boxes; for the scores of maps see
        `pellucid.evaluation.heatmap_scores`.

    Example:
        >>> import pellucid as pl
        >>> data = pl.dataset("phantom", split="test", size=32, train=1, validation=1, test=24, prevalence=0.5)
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=data.classes[:1], task="multilabel", size=32)
        >>> result = localize(model, data, "cam", boxes=False)
        >>> result.methods, 0 <= result.pointing.value <= 1
        (('cam',), True)
    """
    check_arguments(model, data)
    names = check_known(name_list(methods), HEATMAPS, "heat map")
    check_layer(model, names, layer)
    session = open_session(
        model, data, limit=limit, seed=seed, cache=cache, allow_training_images=allow_training_images, match=False
    )
    session.check.check_decoding(session.dataset)
    resolved = _regions(model.classes, session.dataset, regions, class_map)
    task = localization_task(session.images, model.classes, regions=resolved)
    session.check.check_pixels(task.dataset, task.images)
    bootstrap = Bootstrap(task.dataset.patients, seed=seed)
    logits = predict(model, task.images)
    check_answers(logits, "its explanations explain nothing", task.dataset.ids)
    thresholds = np.asarray(session.thresholds)[task.outputs]
    predicted = np.asarray(probabilities(logits, model.task)[:, task.outputs] >= thresholds)
    rows: list[Row] = []
    refused: dict[str, InputError] = {}
    marks = [(name, *labels) for name, labels in (resolved or {}).items()]  # in this order are the classes numbered
    key = (SCORES_RULES, session.results_key, task.dataset.fingerprint, marks, thresholds.tolist())
    with (
        channels_last(model),
        work_folder(out) as folder,
        progress_bar("explain and score", len(names), unit="method") as advance,
    ):
        store = ResultsStore(folder / "kept")
        for name in names:
            score = partial(
                score_explanations, model, task, name,
                boxes=boxes, predicted=predicted, batch_size=batch_size, layer=layer,
            )  # fmt: skip
            scores = kept_scores(store, keyed(name, *key, boxes, *layer_option(name, layer).values()), score)
            if isinstance(scores, InputError):
                refused[name] = scores
                rows += refused_rows(task, name, str(scores))
            else:
                rows += localization_rows({"": [scores]}, task, name, bootstrap)
                rows += wang_rows({"": [scores]}, task, name, bootstrap)
            advance(1)
    if len(refused) == len(names):
        raise refused[names[0]]
    rows += trivial_rows(task, bootstrap)
    about = session.about(task.dataset) | {
        "images": len(task.images),
        "pairs": len(task.pair_image),
        "training_images": session.seen(),
        "cut_off": asdict(task.cut_off),
        "thresholds": dict(zip(task.classes, thresholds, strict=True)),
        "seed": seed,
        "layer": layer,
    }
    notes = (*session.warnings, *filter(None, [task.cut_off.note]))
    return Localization(about, rows, notes, methods=tuple(names))


def _regions(
    classes: Sequence[str],
    dataset: Dataset,
    regions: Mapping[str, Sequence[str]] | None,
    class_map: Mapping[str, str] | None,
) -> Mapping[str, Sequence[str]] | None:
    """The labels that each class's explanation should fall on; None where they are called as the classes."""
    if dataset.regions is None or not dataset.regions.labels:
        raise InputError(
            f"{dataset.card.name}/{dataset.split} has no boxes or masks to score explanations on. Take data that has: "
            "the dataset coco reads them for images of your own. Where their labels are not the model's classes, say "
            "which belong together, as in --region PNEUMONIA=Lesions (in Python: regions={'PNEUMONIA': ['Lesions']})."
        )
    if not class_map:
        return regions or None
    if regions:
        raise InputError(
            "--map says what a class is called in the data, --region on which marks it should fall: give one of the "
            "two (in Python: class_map= or regions=)."
        )
    labels = dataset.regions.labels
    own = {c: (class_map.get(c, c),) for c in classes if c in class_map or c in labels}
    return own | {c: (label,) for c, label in class_map.items() if c not in classes}  # which is refused by its name
