"""`pl.ara` and `pellucid ara`: how large a perturbation a model withstands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.attacks.attack_strength import SAMPLE
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.robustness.ara_summary import FILE, curve_of, summarize_ara
from pellucid.evaluation.robustness.consistency import KIND, shortened
from pellucid.evaluation.robustness.radii import AttackConfig, measure
from pellucid.evaluation.robustness.radius_check import as_checked
from pellucid.evaluation.robustness.robustness_target import (
    KINDS,
    check_something_to_measure,
    no_better_than_random,
    robustness_target_of,
)
from pellucid.models.memory_order import channels_last
from pellucid.report.charts.curves import NORMS, AraCurve, write_curves
from pellucid.types import InputError
from pellucid.utils.digests import write_sealed
from pellucid.utils.progress import progress_context
from pellucid.utils.resources import check_known
from pellucid.utils.result import Footnotes, Result, Table
from pellucid.utils.settings import name_list
from pellucid.utils.words import interval_text
from pellucid.verbs.figures import radius_text
from pellucid.verbs.folders import model_names, work_folder, write_bytes
from pellucid.verbs.session import check_arguments, open_session, path_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pellucid.attacks.epsilon import Norm
    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.robustness.consistency import Withstood
    from pellucid.evaluation.robustness.radii import Radii
    from pellucid.verbs.session import Model

RADII, CURVE = "radii.csv", "curve.png"
COLUMNS = ("network", "kind", "ARA", "95 % interval", "mean radius", "median", "found", "gradients")


@dataclass(frozen=True, eq=False, repr=False)
class AraResult(Result):
    """The Accuracy-Robustness Areas of a model, of each kind that was asked for.

    Attributes:
        model: what the model is called in tables and curves.
        found: all figures, as `ara.json` has them.
        curves: accuracy against radius, one for each kind.
        radii: `radii.csv`, with one row per decision, as the protocol left it.
        notes: what a reader must know of the classes and images.
        measured: the radii by kind, with what bounds them and what the check found.
    """

    name: ClassVar[str] = "ara"
    model: str
    found: dict[str, Any]
    curves: Sequence[AraCurve]
    radii: bytes
    notes: Sequence[str]
    measured: Mapping[str, Radii]

    @property
    def kinds(self) -> dict[str, dict[str, Any]]:
        """The figures of each kind: `ara`, `interval`, `mean_radius` and the rest."""
        return dict(self.found["kinds"])

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One record per kind, and one per label of it."""
        rows = []
        for kind, one in self.kinds.items():
            figures = {"mean": one, **one["labels"]}
            rows += [
                {
                    "kind": kind,
                    "class": name,
                    "ara": of["ara"],
                    "low": of["interval"][0],
                    "high": of["interval"][1],
                    "lower": of["lower"],
                    "upper": of["upper"],
                    "n": of["n"],
                    "reason": of["reason"],
                }
                for name, of in figures.items()
            ]
        return rows

    def to_json(self) -> dict[str, Any]:
        """What `ara.json` holds."""
        return self.found

    @property
    def title(self) -> str:
        """How many images of what were attacked, and how."""
        summary = self.found
        attack = f"{summary['protocol']}, {NORMS[summary['norm']]}"
        return f"{summary['images']} images of {summary['data']}/{summary['split']}, {attack}"

    def tables(self) -> list[Table]:
        """One row per kind."""
        return [_table([self])]

    @property
    def warnings(self) -> list[str]:
        """What was said of classes and images, and whether the attack is too weak to be believed."""
        messages = [
            f"{self.model}, {kind}: {one['alarm']['message']}"
            for kind, one in self.kinds.items()
            if one["alarm"]["message"]
        ]
        return [*self.notes, *messages]

    def save(self, folder: str | Path) -> list[Path]:
        """Write ara.json, radii.csv and curve.png."""
        paths = [*self.save_figures(Path(folder)), Path(folder) / CURVE]
        write_curves(self.curves, paths[-1])
        return paths

    def draw(self, folder: Path) -> dict[Path, str]:
        """The curve."""
        write_curves(self.curves, folder / CURVE)
        return {folder / CURVE: "Accuracy against the size of the smallest perturbation"}

    def save_figures(self, folder: Path) -> list[Path]:
        """Write ara.json and radii.csv."""
        write_sealed(folder / FILE, self.found)
        return [folder / FILE, write_bytes(folder / RADII, self.radii)]


@dataclass(frozen=True, eq=False, repr=False)
class AraComparison(Result):
    """The areas of several models side by side.

    Attributes:
        results: of each model.
    """

    name: ClassVar[str] = "ara"
    results: Sequence[AraResult]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The records of all models, each with the model's name."""
        return [{"network": one.model, **row} for one in self.results for row in one.rows]

    def to_json(self) -> dict[str, Any]:
        """What each `ara.json` holds, by the model's name."""
        return {one.model: one.found for one in self.results}

    def tables(self) -> list[Table]:
        """One row per model and kind."""
        return [_table(self.results)]

    @property
    def warnings(self) -> list[str]:
        """Those of all models."""
        return list(dict.fromkeys(text for one in self.results for text in one.warnings))

    def draw(self, folder: Path) -> dict[Path, str]:
        """The curves of all models."""
        write_curves([curve for one in self.results for curve in one.curves], folder / CURVE)
        return {folder / CURVE: "Accuracy against the size of the smallest perturbation"}

    def save(self, folder: str | Path) -> list[Path]:
        """Write a folder for each model, and one curve.png for all."""
        paths = [path for one in self.results for path in one.save_figures(Path(folder) / one.model)]
        write_curves([curve for one in self.results for curve in one.curves], Path(folder) / CURVE)
        return [*paths, Path(folder) / CURVE]


def ara(
    model: Model,
    data: Dataset,
    kinds: str | Sequence[str] | None = None,
    *,
    protocol: str = "tight",
    effort: int = 1,
    norm: Norm = "rms",
    checked: int = SAMPLE,
    out: str | Path | None = None,
    name: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    cache: Path | None = None,
    allow_training_images: bool = False,
    class_map: Mapping[str, str] | None = None,
    withstood: Withstood | None = None,
) -> AraResult:
    """The Accuracy-Robustness Area: the smallest perturbation of each image that changes the answer.

    Args:
        model: what is attacked.
        data: one part of a dataset; its classes are matched with the model's by name.
        kinds: what must hold: `attack` (the decision), `btr` (better than a constant guess); both by default, but `btr`
            is left out, with a note, where it needs a best constant answer that the model's card lacks.
        protocol: the attack, a name in `pellucid.attacks.METHODS`.
        effort: of `tight`: 1, 2 or 4 times its budget, for smaller radii.
        norm: what is small: `rms`, the Euclidean length as a root mean square per pixel, as in the paper, or `linf`,
            the largest change of a pixel.
        checked: attacked images on which another attack is tried, to tell whether this one is too weak; where
            that finds less, it counts.
        out: the folder where radii are kept as they are found, so that the same call goes on after an interruption.
        name: what the model is called; the name of its run folder by default.
        limit: at most so many images, chosen with `seed`.
        seed: of that choice, of the attack and of the bootstrap.
        batch_size: images at a time; as many as fit by default.
        cache: keep decoded images in this folder.
        allow_training_images: count images that the model was trained on in; they are refused otherwise.
        class_map: the data's name for each of the model's classes that has another one there.
        withstood: what attacks of given sizes left of the same images, as an audit has it: no radius is larger than a
            perturbation that changed the decision.

    Raises:
        InputError: an unknown kind or protocol; `btr` asked for of a model whose card lacks the best constant that it
            needs; data that does not fit; radii of something else in `out`.

    Source:
        W. Woods, J. Chen, C. Teuscher: Adversarial explanations for understanding image classification decisions and
        improved neural network robustness. Nature Machine Intelligence 2019, arXiv 1906.02896: the area
        of the paper, and `btr`, its better-than-random criterion. `tight` is not the paper's attack; `woods2019` is its
        algorithm 1.

    Example:
        >>> import pellucid as pl
        >>> data = pl.dataset("phantom", split="test", size=32, train=1, validation=1, test=24, prevalence=0.5)
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=data.classes[:1], task="multilabel", size=32)
        >>> result = ara(model, data, "attack", protocol="ddn", limit=16, checked=0)
        >>> result.kinds["attack"]["n"], 0 <= result.kinds["attack"]["mean_radius"] <= 1
        (16, True)
    """
    check_arguments(model, data)
    names = list(KINDS) if kinds is None else check_known(name_list(kinds), KINDS, "kind of area")
    config = AttackConfig(protocol, seed, effort=effort, norm=norm)
    model_name = name or model_names([path_of(model)])[0]
    session = open_session(
        model,
        data,
        limit=limit,
        seed=seed,
        cache=cache,
        allow_training_images=allow_training_images,
        class_map=class_map,
    )
    dataset = session.dataset
    notes = []
    if kinds is None and (reason := no_better_than_random(session.whole, model.card)):
        names.remove("btr")
        notes.append(f"{model_name}, btr: the area of this kind is left out: {reason}")
    targets = [robustness_target_of(kind, session.whole, model.card) for kind in names]
    check_something_to_measure(targets, dataset)
    images, draws = session.pixels(), Bootstrap(dataset.patients, seed=seed)
    if withstood is not None and norm != "rms":
        raise InputError("what attacks of given sizes left is told as root mean squares: take the norm rms.")
    notes = [*session.warnings, *notes]
    about = session.about() | {"limit": limit, "training_images": session.seen(), "notes": notes}
    decisions = sum(len(target.decisions(dataset.targets)[0]) for target in targets)
    with channels_last(model), work_folder(out) as folder:
        with progress_context(f"attack {model_name}", decisions):
            digest = session.results_key
            measured = measure(
                model, images, dataset, targets, config, folder, weights_sha256=digest, batch_size=batch_size
            )
        if withstood is not None and KIND in measured:
            measured = measured | {KIND: shortened(measured[KIND], dataset.ids, withstood)}
        summary = summarize_ara(model, images, dataset, measured, config, draws, folder, about=about, checked=checked)
        measured = as_checked(measured, {kind: one["alarm"] for kind, one in summary["kinds"].items()}, dataset)
        radii = (folder / RADII).read_bytes()
    curves = []
    for kind, one in measured.items():
        curve, target = curve_of(one, dataset), one.robustness_target
        curves.append(AraCurve(model_name, kind, *curve[:2], target.naive, curve.upper, target.measure, norm))
    return AraResult(model_name, summary, curves, radii, notes, measured)


def _table(results: Sequence[AraResult]) -> Table:
    """One row per model and kind; why an area is not known exactly stands under it."""
    notes = Footnotes()
    lines = [_line(one.model, kind, figures, notes) for one in results for kind, figures in one.kinds.items()]
    return Table(results[0].title, COLUMNS, lines, notes.lines)


def _line(label: str, kind: str, one: Mapping[str, Any], notes: Footnotes) -> list[str]:
    mark = notes.mark(one["reason"]) if one["reason"] else ""
    bounds = f"{radius_text(one['lower'])} to {radius_text(one['upper'])}"
    area = bounds if one["ara"] is None else radius_text(one["ara"])
    low, high = one["interval"]
    interval = interval_text(low, high, radius_text) or "none"
    radii = [radius_text(one["mean_radius"]), radius_text(one["median_radius"])]
    spent = f"{one['gradient_evaluations_per_image']:.1f}"
    return [label, kind, area + mark, interval, *radii, f"{one['found']} of {one['n']}", spent]
