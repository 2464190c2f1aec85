"""Figures of several networks side by side, as rows: one cell of a table each, with its interval and difference."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.evaluation.metrics.classification import accuracy, classification_table, without_answer
from pellucid.evaluation.metrics.differences import paired_difference
from pellucid.evaluation.metrics.heatmap_scores import SCORES, YARDSTICKS, heatmap_scores, score_table
from pellucid.evaluation.metrics.localization import localization_table, match_boxes, threshold_sweep
from pellucid.evaluation.metrics.paired_tests import delong
from pellucid.evaluation.metrics.statistics import Bootstrap, Replicates, ratio
from pellucid.evaluation.metrics.trivial_maps import centred_gaussian, mean_box, uniform
from pellucid.evaluation.metrics.validation import one_hot
from pellucid.models.inference import decisions, probabilities, unanswered
from pellucid.utils.resources import finite

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.metrics.explanations import ExplanationScores, LocalizationTask
    from pellucid.evaluation.metrics.localization import LocalizationTable

MANY_CLASSES = 20
"""Up to so many are tested and listed one by one; of more, those that are found least are listed. CSV has all."""


@dataclass(frozen=True)
class Row:
    """One figure of one variant: where it belongs, its value with a 95 % interval, and how it differs.

    Attributes:
        section: `classification`, `robustness`, `ara`, `localization`, `wang` or `sweep`.
        metric: its name.
        class_name: a class, or `mean`.
        variant: a network or recipe; empty for maps that know nothing of the image.
        value: over all images, the mean over the seeds; NaN where undefined.
        low: lower end of the interval.
        high: upper end.
        n: how many things it averages over.
        reason: why something is NaN or left out.
        target: the images and regions that explanations were scored on.
        method: of explanation.
        gate: of Wang et al.'s scores: `annotated` pairs or `predicted` ones.
        at: the criterion or perturbation size.
        threshold: of the heat map, in a sweep.
        seeds: the value of each seed.
        seed_spread: standard deviation over the seeds.
        difference: to the reference variant, as `Difference.to_json` gives it.
        positives: as in `Estimate`.
        patients: as in `Estimate`.
    """

    section: str
    metric: str
    class_name: str
    variant: str
    value: float
    low: float
    high: float
    n: int
    reason: str | None = None
    target: str = ""
    method: str = ""
    gate: str = ""
    at: str = ""
    threshold: float | None = None
    seeds: tuple[float, ...] = ()
    seed_spread: float = math.nan
    difference: dict[str, Any] | None = field(default=None)
    positives: int | None = None
    patients: int | None = None

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary; NaN is None, and `class_name` is called `class`."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        values["class"] = values.pop("class_name")
        plain: dict[str, Any] = finite(values)
        return plain

    @property
    def where(self) -> tuple[Any, ...]:
        """Where it belongs, whatever the variant."""
        places = (self.section, self.metric, self.class_name, self.target, self.method, self.gate, self.at)
        return (*places, self.threshold)

    @classmethod
    def blank(cls, section: str, metric: str, class_name: str, **where: Any) -> Row:  # noqa: ANN401
        """A row without figures, whose fields say where they belong."""
        return cls(section, metric, class_name, "", math.nan, math.nan, math.nan, 0, **where)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Row:
        """What `to_json` gave; None becomes NaN."""
        values = {("class_name" if key == "class" else key): value for key, value in stored.items()}
        for key in ("value", "low", "high", "seed_spread"):
            values[key] = math.nan if values[key] is None else values[key]
        values["seeds"] = tuple(math.nan if seed is None else seed for seed in values["seeds"])
        return cls(**values)


def compare(
    blank: Row, figures: Mapping[str, Sequence[Replicates]], reference: str | None, *, shared: bool = False
) -> list[Row]:
    """One row per variant, from one figure per seed each, with the difference to the reference variant.

    Args:
        blank: a row whose fields say where the figures belong.
        figures: variant → one figure per seed.
        reference: the variant that the others are compared with, or None.
        shared: whether networks of the same seed started from the same network; see `paired_difference`.
    """
    rows = []
    for variant, seeds in figures.items():
        estimate = Replicates.mean(list(seeds), of="seeds", together=True).estimate()
        values = tuple(r.value for r in seeds)
        defined = [v for v in values if not math.isnan(v)]
        difference = None
        if reference is not None and variant != reference and reference in figures:
            difference = paired_difference(seeds, figures[reference], shared=shared).to_json()
        rows.append(
            replace(
                blank,
                variant=variant,
                value=estimate.value,
                low=estimate.low,
                high=estimate.high,
                n=estimate.n,
                reason=estimate.reason,
                positives=estimate.positives,
                patients=estimate.patients,
                seeds=values,
                seed_spread=float(np.std(defined, ddof=1)) if len(defined) > 1 else math.nan,
                difference=difference,
            )
        )
    return rows


def classification_rows(
    logits: Mapping[str, Sequence[npt.NDArray[np.floating]]],
    dataset: Dataset,
    bootstrap: Bootstrap,
    reference: str | None = None,
    folds: npt.NDArray[np.integer] | None = None,
) -> list[Row]:
    """AUROC, average precision and what goes with the task, a class and their mean.

    Folds as in `classification_table`.
    """
    about = dataset.targets, dataset.classes, dataset.task, bootstrap, folds
    tables = {variant: [classification_table(x, *about) for x in seeds] for variant, seeds in logits.items()}
    first = next(iter(tables.values()))[0]
    rows = []
    for class_name, metrics in first.items():
        for metric in (m for m in metrics if m != "prevalence"):  # the same for every network
            figures = {v: [t[class_name][metric] for t in seeds] for v, seeds in tables.items()}
            rows += compare(Row.blank("classification", metric, class_name), figures, reference)
    return _with_delong(rows, logits, dataset, bootstrap, reference, folds)


def _with_delong(
    rows: Sequence[Row],
    logits: Mapping[str, Sequence[npt.NDArray[np.floating]]],
    dataset: Dataset,
    bootstrap: Bootstrap,
    reference: str | None,
    folds: npt.NDArray[np.integer] | None,
) -> list[Row]:
    """DeLong's p beside the interval's, in the differences of a class's AUROC: these networks, other patients."""
    if reference is None or len(logits) < 2 or len(dataset.classes) > MANY_CLASSES:
        return list(rows)
    single = dataset.task == "multiclass"
    scores = {
        v: np.stack([probabilities(x, dataset.task) if single else np.asarray(x, dtype=np.float64) for x in seeds])
        for v, seeds in logits.items()
    }
    truth, number = one_hot(dataset), {name: k for k, name in enumerate(dataset.classes)}
    out = []
    for row in rows:
        if row.metric == "auroc" and row.class_name in number and row.difference is not None:
            k = number[row.class_name]
            test = delong(
                scores[row.variant][..., k], scores[reference][..., k], truth[:, k], bootstrap.patients, folds
            )
            networks = row.difference["networks"] | {"p_delong": None if math.isnan(test.p) else test.p}
            row = replace(row, difference=row.difference | {"networks": networks})  # noqa: PLW2901
        out.append(row)
    return out


def accuracy_rows(
    logits: Mapping[str, Sequence[npt.NDArray[np.floating]]],
    thresholds: Mapping[str, Sequence[npt.ArrayLike]],
    dataset: Dataset,
    bootstrap: Bootstrap,
    reference: str | None = None,
) -> list[Row]:
    """The accuracy, of several labels the share of known ones that are right at each label's threshold."""
    right = {
        v: [accuracy_under_attack(x, cut, dataset, bootstrap) for x, cut in zip(seeds, thresholds[v], strict=True)]
        for v, seeds in logits.items()
    }
    return compare(Row.blank("classification", "accuracy", "mean"), right, reference)


def robustness_rows(
    logits: Mapping[str, Sequence[Mapping[str, npt.NDArray[np.floating]]]],
    thresholds: Mapping[str, Sequence[npt.ArrayLike]],
    dataset: Dataset,
    bootstrap: Bootstrap,
    reference: str | None = None,
    broken: Mapping[str, Sequence[Mapping[str, npt.NDArray[np.bool_]]]] | None = None,
    folds: npt.NDArray[np.integer] | None = None,
) -> list[Row]:
    """AUROC and accuracy under attack: logits by variant, seed and size of the attack (`0` for none).

    The accuracy of a multi-label network is the share of known labels that are right at each label's threshold.
    `broken` says by variant, seed and size which decisions, (N,) or (N, K), are known to fall though this attack did
    not show it: they count as wrong. `folds` as in `classification_table`; thresholds are then (F, K), a row for each
    fold.
    """
    rows = []
    sizes = list(next(iter(logits.values()))[0])
    for size in sizes:
        about = dataset.targets, dataset.classes, dataset.task, bootstrap, folds
        tables = {
            v: [classification_table(x[size], *about)["mean"]["auroc"] for x in seeds] for v, seeds in logits.items()
        }
        right = {
            v: [
                accuracy_under_attack(
                    x[size],
                    cut if folds is None else np.asarray(cut)[folds],
                    dataset,
                    bootstrap,
                    None if broken is None else broken[v][seed].get(size),
                )
                for seed, (x, cut) in enumerate(zip(seeds, thresholds[v], strict=True))
            ]
            for v, seeds in logits.items()
        }
        rows += compare(Row.blank("robustness", "auroc", "mean", at=size), tables, reference)
        rows += compare(Row.blank("robustness", "accuracy", "mean", at=size), right, reference)
    return rows


def accuracy_under_attack(
    logits: npt.NDArray[np.floating],
    thresholds: npt.ArrayLike,
    dataset: Dataset,
    bootstrap: Bootstrap,
    broken: npt.NDArray[np.bool_] | None = None,
) -> Replicates:
    """The share of decisions that are right, of several labels at each label's threshold; those `broken` are not."""
    if dataset.task == "multiclass":
        decided = decisions(logits, dataset.task)
        if broken is not None:
            decided = np.where(broken & ~np.isnan(decided), -1, decided)  # no class
        return accuracy(decided, dataset.targets, bootstrap)
    truth = one_hot(dataset)
    usable: npt.NDArray[np.bool_] = ~(np.isnan(truth) | np.isnan(np.asarray(thresholds, dtype=np.float64)))
    undefined = without_answer(unanswered(logits), np.asarray(usable.any(1)), bootstrap)
    if undefined is not None:
        return undefined
    right = (decisions(logits, dataset.task, thresholds) == 1) == (truth == 1)
    if broken is not None:
        right &= ~broken
    return ratio((right & usable).sum(1), usable.sum(1), bootstrap, within=(0, 1))


def localization_rows(
    scores_by_variant: Mapping[str, Sequence[ExplanationScores]],
    task: LocalizationTask,
    method: str,
    bootstrap: Bootstrap,
    reference: str | None = None,
) -> list[Row]:
    """The threshold-free scores of one method's maps."""
    over_pairs = bootstrap.take(task.pair_image)
    tables = {
        v: [score_table(s.scores, task.pair_class, task.classes, over_pairs) for s in seeds]
        for v, seeds in scores_by_variant.items()
    }
    rows = _score_rows(tables, task, method, reference)
    for variant in (v for v in scores_by_variant if reference in scores_by_variant and v != reference):
        rows = _on_common_pairs(rows, variant, scores_by_variant, task, method, over_pairs, reference or "")
    return rows


def _on_common_pairs(
    rows: Sequence[Row],
    variant: str,
    scores_by_variant: Mapping[str, Sequence[ExplanationScores]],
    task: LocalizationTask,
    method: str,
    over_pairs: Bootstrap,
    reference: str,
) -> list[Row]:
    """The rows, the differences of a variant from the reference taken on the pairs that are defined for both alone."""
    defined = {
        v: {name: np.all([np.isfinite(s.scores[name]) for s in scores_by_variant[v]], axis=0) for name in SCORES}
        for v in (variant, reference)
    }
    common = {name: defined[variant][name] & defined[reference][name] for name in SCORES}
    notes = {
        name: f"{int((~both).sum())} of {len(both)} pairs left out: undefined for "
        + ", for ".join(f"{v} on {int((~defined[v][name]).sum())}" for v in (variant, reference))
        for name, both in common.items()
        if not both.all()
    }
    if not notes:
        return list(rows)
    tables = {}
    for v in (variant, reference):
        seeds = [{n: np.where(common[n], x, math.nan) for n, x in s.scores.items()} for s in scores_by_variant[v]]
        tables[v] = [score_table(scores, task.pair_class, task.classes, over_pairs) for scores in seeds]
    paired = {
        (r.class_name, r.metric): r.difference for r in _score_rows(tables, task, method, reference) if r.difference
    }
    return [
        replace(r, difference=paired[r.class_name, r.metric] | {"reason": notes[r.metric]})
        if r.variant == variant and r.metric in notes and (r.class_name, r.metric) in paired
        else r
        for r in rows
    ]


def refused_rows(task: LocalizationTask, method: str, reason: str) -> list[Row]:
    """The threshold-free scores of a method that cannot explain the network: undefined, and why."""
    return [
        Row.blank("localization", metric, class_name, target=task.name, method=method, reason=reason)
        for class_name in (*task.classes, "mean")
        for metric in SCORES
        if metric not in YARDSTICKS
    ]


def unmeasured_rows(rows: Sequence[Row], variant: str, reason: str) -> list[Row]:
    """The rows of another variant once more, undefined, for one that could not be measured, and why."""
    nothing: dict[str, Any] = dict.fromkeys(("value", "low", "high", "seed_spread"), math.nan)
    nothing |= {"n": 0, "seeds": (), "difference": None, "reason": reason, "variant": variant}
    return [replace(row, **nothing) for row in rows if row.variant == rows[0].variant]


def trivial_rows(task: LocalizationTask, bootstrap: Bootstrap) -> list[Row]:
    """The same scores for maps that know nothing of the image: what the figures are worth.

    The class's mean region comes from the other half of the patients.
    """
    over_pairs = bootstrap.take(task.pair_image)
    count, size = len(task.masks), (task.masks.shape[1], task.masks.shape[2])
    patients = [task.dataset.patients[i] for i in task.pair_image]
    maps = {
        "trivial: uniform": uniform(count, size),
        "trivial: centred": centred_gaussian(count, size),
        "trivial: mean box": mean_box(task.masks, task.pair_class, patients),
    }
    rows = []
    for name, heat in maps.items():
        table = score_table(heatmap_scores(heat, task.masks), task.pair_class, task.classes, over_pairs)
        rows += _score_rows({"": [table]}, task, name, None)
    return rows


def _score_rows(
    tables: Mapping[str, Sequence[dict[str, dict[str, Replicates]]]],
    task: LocalizationTask,
    method: str,
    reference: str | None,
) -> list[Row]:
    rows = []
    for class_name, scores in next(iter(tables.values()))[0].items():
        for metric in (m for m in scores if m not in YARDSTICKS):
            figures = {v: [t[class_name][metric] for t in seeds] for v, seeds in tables.items()}
            place = Row.blank("localization", metric, class_name, target=task.name, method=method)
            rows += compare(place, figures, reference)
    return rows


def wang_rows(
    scores_by_variant: Mapping[str, Sequence[ExplanationScores]],
    task: LocalizationTask,
    method: str,
    bootstrap: Bootstrap,
    reference: str | None = None,
) -> list[Row]:
    """Wang et al.'s accuracy, average false positives and box area, ungated and gated, and the threshold sweep."""
    inputs = {v: [s.localization_input(task) for s in seeds] for v, seeds in scores_by_variant.items()}
    if any(i is None for seeds in inputs.values() for i in seeds):
        return []
    rows: list[Row] = []
    where = {"target": task.name, "method": method}
    gates = {"annotated": False}
    if all(i is not None and i.predicted is not None for seeds in inputs.values() for i in seeds):
        gates["predicted"] = True
    for gate, gated in gates.items():
        tables = {
            v: [localization_table(match_boxes(i, gated=gated), bootstrap) for i in seeds if i is not None]
            for v, seeds in inputs.items()
        }
        rows += _box_rows("wang", tables, {**where, "gate": gate}, reference)
    sweeps = {
        v: [threshold_sweep(i, bootstrap, gated=False) for i in seeds if i is not None] for v, seeds in inputs.items()
    }
    for threshold in next(iter(sweeps.values()))[0]:
        tables = {v: [{"mean": s[threshold]["mean"]} for s in seeds] for v, seeds in sweeps.items()}
        place = {**where, "gate": "annotated", "threshold": threshold}
        rows += _box_rows("sweep", tables, place, reference)
    return rows


def _box_rows(
    section: str,
    tables: Mapping[str, Sequence[LocalizationTable]],
    where: Mapping[str, Any],
    reference: str | None,
) -> list[Row]:
    rows: list[Row] = []
    for class_name, criteria in next(iter(tables.values()))[0].items():
        for criterion in criteria:
            overlap, _, limit = criterion.partition("@")
            for metric, attribute in (("accuracy", "accuracy"), ("afp", "false_positives")):
                figures = {v: [getattr(t[class_name][criterion], attribute) for t in ts] for v, ts in tables.items()}
                rows += compare(
                    Row.blank(section, metric, class_name, at=f"{overlap} > {limit}", **where),
                    figures,
                    reference,
                )
        any_criterion = next(iter(criteria))  # the area and number of boxes do not depend on what counts as a hit
        for metric, attribute in (("mean_box_area", "box_area"), ("boxes_per_map", "boxes_per_map")):
            figures = {v: [getattr(t[class_name][any_criterion], attribute) for t in ts] for v, ts in tables.items()}
            rows += compare(Row.blank(section, metric, class_name, **where), figures, reference)
    return rows
