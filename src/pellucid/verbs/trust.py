"""`pl.trust` and `pellucid trust`: for each explanation of a model, the evidence of how far it can be believed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.data.readers.phantom.options import visible_shortcut
from pellucid.evaluation.trust.findings import TrustSettings
from pellucid.evaluation.trust.run import TrustJudge
from pellucid.evaluation.trust.samples import LIMIT, gather_trust_samples
from pellucid.explainers import HEATMAPS
from pellucid.explainers.registry import check_layer
from pellucid.models.memory_order import channels_last
from pellucid.report.charts.drawing import write_charts
from pellucid.report.charts.trust import trust_charts
from pellucid.report.pages.trust import TrustPage, write_trust
from pellucid.report.tables.metrics import method_label
from pellucid.types import InputError
from pellucid.utils.resources import check_known
from pellucid.utils.result import Footnotes, Result, Table
from pellucid.utils.settings import name_list
from pellucid.utils.words import heading_name
from pellucid.verbs.figures import figure_cell
from pellucid.verbs.folders import model_names, work_folder
from pellucid.verbs.session import (
    check_arguments,
    check_model,
    check_settings,
    image_check,
    kind_of,
    name_of,
    open_session,
    path_of,
    results_key_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.training_images import ImageCheck
    from pellucid.evaluation.trust.rows import TrustRow
    from pellucid.evaluation.trust.run import Trust
    from pellucid.evaluation.trust.samples import TrustSamples
    from pellucid.verbs.session import Model, Session

PAGE = "trust.html"


@dataclass(frozen=True, eq=False, repr=False)
class TrustResult(Result):
    """The table of trust of a model's explanations, and the page that shows it.

    Attributes:
        about: what was judged, on what, with which settings.
        trust: what was found of each method.
        samples: the images.
        classes: of the model.
        notes: what a reader must know of the classes and images.
    """

    name: ClassVar[str] = "trust"
    about: dict[str, Any]
    trust: Trust
    samples: TrustSamples
    classes: Sequence[str]
    notes: Sequence[str]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One record per measure and method, with its interval, its bar and its verdict."""
        return [row.to_json() for row in self.trust.rows]

    @property
    def verdicts(self) -> dict[str, dict[str, str | None]]:
        """By method and measure: `yes`, `no`, `unclear` or `not refuted`; None where there is no figure."""
        judged = [row for row in self.trust.rows if row.bar is not None]
        return {m: {r.label: r.verdict for r in judged if r.method == m} for m in self.trust.methods}

    def to_json(self) -> dict[str, Any]:
        """What `trust.json` holds."""
        return self.about | self.trust.to_json()

    def tables(self) -> list[Table]:
        """One row per measure that has a bar, one column per method."""
        judged = [row for row in self.trust.rows if row.bar is not None]
        methods, lines, notes = list(self.trust.methods), [], Footnotes()
        for label in dict.fromkeys(row.label for row in judged):
            own = {row.method: row for row in judged if row.label == label}
            bar = next(iter(own.values())).bar
            lines.append([f"{label} ({bar:g})", *(_shown(own.get(m), notes) for m in methods)])
        title = f"{self.trust.images} images of {self.about['data']}/{self.about['split']}; the bar in brackets"
        return [Table(title, ["measure", *methods], lines, notes.lines)]

    @property
    def warnings(self) -> list[str]:
        """What a reader must know: of classes that one side lacks, and of images that a model has seen before."""
        return list(self.notes)

    def save(self, folder: str | Path) -> list[Path]:
        """Write trust.json, trust.csv and trust.html."""
        return [*super().save(folder), write_trust(self._page(), Path(folder) / PAGE)]

    def draw(self, folder: Path) -> dict[Path, str]:
        """What the page draws: maps beside random layers and under attack, answers beside replaced places."""
        return write_charts(trust_charts(self.trust.to_json()["curves"]), folder)

    def _page(self) -> TrustPage:
        methods, samples, about = self.trust.methods.values(), self.samples, self.about
        counts = [f.curves["maps_by_depth"].shape[1] for f in methods if "maps_by_depth" in f.curves]
        count = min(len(samples.images), max(counts, default=0))
        explained = [self.classes[t] for t in samples.targets.tolist()]
        facts = {
            "Network": str(about["model"]),
            "Images": f"{self.trust.images} of {about['data']}/{about['split']}, seed {about['seed']}",
            "Class explained": "the network’s decision; of several labels, the surest of those the image shows",
            "Gradient evaluations": ", ".join(
                f"{method_label(f.method)} "
                f"{int(f.cost['gradient_evaluations'] + f.cost.get('attack_gradient_evaluations', 0)):,}"
                for f in methods
            ),
            "Intervals": "95 %, from 1,000 resamples of the patients",
        }
        return TrustPage(
            f"Can the explanations of {heading_name(about['model'])} be trusted?",
            facts,
            self.trust,
            samples.images[:count].cpu().numpy(),
            [f"{i}: {c}" for i, c in zip(samples.fitted.dataset.ids, explained, strict=True)],
        )


def trust(
    model: Model,
    data: Dataset,
    methods: str | Sequence[str] = ("cam", "grad-cam", "saliency"),
    *,
    compare: Sequence[Model] = (),
    out: str | Path | None = None,
    limit: int | None = LIMIT,
    settings: TrustSettings | None = None,
    seed: int | None = None,
    cache: Path | None = None,
    allow_training_images: bool = False,
    class_map: Mapping[str, str] | None = None,
    announce: Callable[[str], None] | None = None,
    layer: str | None = None,
) -> TrustResult:
    """Judge explanations: does a map depend on what was learned, is it stable, faithful, in the right place?

    Args:
        model: what is explained.
        data: one part of a dataset; its classes are matched with the model's by name.
        methods: of explanation: heat maps by name, one or several.
        compare: other models of the same classes, of another seed or architecture: do the maps agree?
        out: the folder where results are kept, each method once it is done, so that the same call goes on after an
            interruption and others can be added.
        limit: at most so many images.
        settings: how much is spent on each.
        seed: of the choice and of all else left to chance; that of `settings` by default.
        cache: keep decoded images in this folder.
        allow_training_images: count images that a model was trained on in; they are refused otherwise.
        class_map: the data's name for each of the model's classes that has another one there.
        announce: is told what the work costs before it begins.
        layer: that the methods with this option explain at, by its name in the model's `named_modules()`.

    A method that cannot explain the model has the reason in the place of its figures, and the others go on.

    Raises:
        InputError: an unknown method, or none that can explain the model; a layer that none of them takes; data, or a
            model beside, that does not fit; results of something else in `out`.

    Source:
        Adebayo et al. 2018, arXiv 1810.03292 (networks randomised); Yeh et al. 2019, arXiv 1901.09392 (sensitivity and
        infidelity); Arun et al. 2021, arXiv 2008.02766 (networks trained again); Rao et al. 2022 (the grid of images);
        Etmann et al. 2019, arXiv 1905.04172 (alignment). The attack is that of `attack_explanation`.

    Example:
        >>> import pellucid as pl
        >>> data = pl.dataset("phantom", split="test", size=32, train=1, validation=1, test=24, prevalence=0.5)
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=data.classes[:1], task="multilabel", size=32)
        >>> result = trust(model, data, "cam", limit=4, settings=TrustSettings(samples=1, attacked=1, attack_steps=1))
        >>> {row["method"] for row in result.rows} >= {"cam"}
        True
    """
    check_arguments(model, data)
    check_settings(settings, TrustSettings)
    settings = settings or TrustSettings()
    if seed is not None:
        settings = replace(settings, seed=seed)
    if not isinstance(compare, list | tuple):
        raise InputError(f"compare is a list of models; found {kind_of(compare)}.")
    for other in compare:
        check_model(other, "a model to compare with")
    names = check_known(name_list(methods), HEATMAPS, "heat map")
    check_layer(model, names, layer)
    others = _named(model, compare)
    session = open_session(
        model,
        data,
        limit=limit,
        seed=settings.seed,
        cache=cache,
        allow_training_images=allow_training_images,
        class_map=class_map,
    )
    checks = [session.check, *(image_check(m, refuse=not allow_training_images) for m in others.values())]
    samples = _looked_at(session, checks, settings.seed, limit)
    judge = TrustJudge(
        model,
        samples,
        names,
        settings,
        others,
        model.card.get("thresholds"),
        layer,
        session.results_key,
        {name: results_key_of(other) for name, other in others.items()},
    )
    refused = judge.refusals()
    if announce is not None:
        announce(judge.announcement)
    with channels_last(model, *others.values()), work_folder(out) as folder:
        result = judge.judge(folder / "kept")
    about = {
        "model": session.name,
        **judge.record,
        "attacked": settings.attacked,
        "attack_steps": settings.attack_steps,
        "training_images": session.seen(),
        "training_images_of_others": {n: c.found().to_json() for n, c in zip(others, checks[1:], strict=True)},
    }
    cut_off = (
        [] if isinstance(samples.localization, str) else [note for note in [samples.localization.cut_off.note] if note]
    )
    notes = [*session.notes, *cut_off, *(text for check in checks for text in check.found().messages())]
    notes += [f"{name} explains nothing here: {why}" for name, why in refused.items()]
    return TrustResult(about, result, samples, model.classes, notes)


def _looked_at(session: Session, checks: Sequence[ImageCheck], seed: int, limit: int | None) -> TrustSamples:
    """The samples, after no model was found to have been trained on any of their images."""
    for check in checks:
        check.check_ids(session.dataset)
    planted = visible_shortcut(session.whole.options)
    samples = gather_trust_samples(session.model, session.part, planted=planted, limit=limit, seed=seed)
    for check in checks:
        for part, pixels in samples.parts():
            check.check_pixels(part, pixels)
    return samples


def _named(model: Model, compare: Sequence[Model]) -> dict[str, Model]:
    """The models beside by name, with what each has in common with the model.

    Raises:
        InputError: other classes or another input.
    """
    named = {}
    for name, other in zip(model_names([path_of(m) for m in compare]), compare, strict=True):
        if other.classes != model.classes or other.input_spec != model.input_spec:
            where = name_of(other)
            raise InputError(f"{where} has other classes, channels or image size than the network: it cannot agree.")
        same = _built_as(other) == _built_as(model)
        named[f"{name} ({'same' if same else 'other'} architecture)"] = other
    return named


def _built_as(model: Model) -> object:
    """What a model is built from, without its weights: equal for two of the same architecture."""
    if model.source is not None:
        return model.source.built_from
    return id(model) if model.architecture is None else model.architecture


def _shown(row: TrustRow | None, notes: Footnotes) -> str:
    if row is None:
        return "–"
    bars = [] if row.bar is None else [row.bar]
    parts = [figure_cell(row, 2, notes, row.reason, bars), row.verdict]
    return " ".join(part for part in parts if part)
