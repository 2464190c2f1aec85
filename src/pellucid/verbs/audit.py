"""`pl.audit` and `pellucid audit`: everything that is measured of one given classifier, in one report."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.attacks import BoundedAttack
from pellucid.attacks.tight import check_effort
from pellucid.attacks.under_attack import costs, masked_gradients
from pellucid.audit.cases import surest_and_wrong
from pellucid.audit.estimate import measured_paces, seconds_planned
from pellucid.audit.facts import source_versions, title_of, what_is_not_known, what_it_is
from pellucid.audit.groups import group_figures, make_groupings
from pellucid.audit.model_card import Field, as_markdown, model_card
from pellucid.audit.parts import Parts
from pellucid.audit.results import (
    classification_json,
    general_limits,
    long_tables,
    not_spoken_of,
    shown_rows,
)
from pellucid.audit.settings import QUICK, AuditSettings
from pellucid.audit.verdict import summarize_audit
from pellucid.data.cache.small_images import small_images_told
from pellucid.evaluation.metrics.operating_points import Use
from pellucid.explainers import HEATMAPS
from pellucid.explainers.registry import check_layer
from pellucid.models.inference import check_answers
from pellucid.models.memory_order import channels_last
from pellucid.report.charts import curves, figures
from pellucid.report.charts.calibration import reliability_diagram
from pellucid.report.charts.drawing import write_charts
from pellucid.report.pages.audit import MAIN, write_audit
from pellucid.report.tables.long_form import write_tables
from pellucid.report.tables.results_index import ResultsIndex
from pellucid.training.run import versions
from pellucid.types import InputError, device_of
from pellucid.utils.resources import check_known, write_json, write_text
from pellucid.utils.result import Result, Table
from pellucid.utils.results_store import ResultsStore
from pellucid.utils.settings import name_list
from pellucid.utils.words import first_of
from pellucid.verbs.auditing.about_images import known_columns, with_regions
from pellucid.verbs.auditing.measuring import Measuring
from pellucid.verbs.figures import FigureCells, figure_records
from pellucid.verbs.folders import model_names, work_folder
from pellucid.verbs.session import check_arguments, check_model, check_settings, name_of, open_session, path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pellucid.attacks import Epsilon
    from pellucid.audit.classification import Answers
    from pellucid.data.cache.fitted_images import FittedImages
    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.discovery.results import Discovery
    from pellucid.evaluation.metrics.comparison import Row
    from pellucid.report.pages.audit import Shown, WrongAnswer
    from pellucid.verbs.session import Model, Session

PAGE, CARD, JSON, DISCOVERY = "report.html", "card.md", "audit.json", "discovery"


@dataclass(frozen=True, eq=False, repr=False)
class Audit(Result):
    """Everything that was found of one classifier.

    Attributes:
        results: what `audit.json` holds: facts, verdict, figures, parts, card.
        measured: every figure of all classes.
        pictures: three of them: right, wrong, and what it would have to see.
        wrong: the wrong answers that it is surest about.
        notes: what a reader must know of the classes and images.
        failure: why figures are undefined where the model gives no answer on some of the images.
        discovery: what the model goes by; None where that was not looked for.
    """

    name: ClassVar[str] = "audit"
    results: dict[str, Any]
    measured: Sequence[Row]
    pictures: Sequence[Shown]
    wrong: Sequence[WrongAnswer]
    notes: Sequence[str]
    failure: str | None = None
    discovery: Discovery | None = None

    @property
    def headline(self) -> str:
        """The whole in one or two sentences."""
        return str(self.results["verdict"]["headline"])

    @property
    def statements(self) -> list[dict[str, str]]:
        """What holds, what fails, what cannot be said, each with its figures and what to do next."""
        return list(self.results["verdict"]["statements"])

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One record per figure of every class; None where it is undefined, with the reason beside it."""
        return figure_records(self.measured)

    def to_json(self) -> dict[str, Any]:
        """What `audit.json` holds."""
        return self.results

    def tables(self) -> list[Table]:
        """The verdict, and the main figures of the classification."""
        signs = {"holds": "holds", "fails": "fails", "unclear": "cannot be said"}
        lines = [[signs[s["kind"]], s["text"], s["advice"]] for s in self.statements]
        own = {r.metric: r for r in self.measured if r.class_name == "mean" and r.section != "robustness"}
        cells = FigureCells(self.measured)
        values = [[name, cells.text(own[name])] for name in MAIN if name in own]
        about = self.results["about"]
        return [
            Table(self.headline, ["verdict", "what was found", "what to do"], lines),
            Table(
                f"{about['n']:,} images of {about['data']}/{about['split']}",
                ["figure", "value"],
                values,
                cells.notes.lines,
            ),
        ]

    @property
    def warnings(self) -> list[str]:
        """What a reader must know: of classes that one side lacks, of images seen before, of parts not measured."""
        other = (self.results["comparison"] or {}).get("notes", [])
        notes = dict.fromkeys([*self.notes, *other])  # of the classes both say the same
        return [*notes, *(f"“{p['title']}”: {p['reason']}" for p in self.results["parts"] if p["reason"])]

    @property
    def problem(self) -> str | None:
        """Why figures are undefined; None where the model answers on every image."""
        return self.failure

    def draw(self, folder: Path) -> dict[Path, str]:
        """How sure it is against how often it is right, and what attacks leave."""
        results, index = self.results, ResultsIndex(self.results)
        part, several = results["classification"], results["data"]["task"] == "multilabel"
        reliability = reliability_diagram(part["reliability"], several=several)
        areas = curves.charts(curves.stored(results["ara"]["curves"]), index.styles) if results["ara"] else []
        return write_charts([*filter(None, [reliability]), *figures.robustness(index), *areas], folder)

    def save(self, folder: str | Path) -> list[Path]:
        """Write report.html, audit.json, card.md, the tables as CSV and JSON, and the folder of what it goes by."""
        folder = Path(folder)
        tables = long_tables(self.results, self.measured)
        write_tables(tables, folder / "tables")
        write_json(folder / JSON, self.results)
        write_text(folder / CARD, as_markdown(self.results, [Field(**field) for field in self.results["card"]]))
        if self.discovery is not None:
            self.discovery.save(folder / DISCOVERY)
        write_audit(self.results, self.pictures, self.wrong, folder / PAGE, self.discovery)
        return [folder / PAGE, folder / JSON, folder / CARD, folder / "tables"]


def audit(
    model: Model,
    data: Dataset,
    *,
    quick: bool = False,
    compare: Model | None = None,
    out: str | Path | None = None,
    use: Use | None = None,
    metadata: str | Path | None = None,
    groups: Mapping[str, Sequence[float]] | None = None,
    attacks: Epsilon | str | Sequence[Epsilon | str] | None = None,
    corrupted: int | None = None,
    searched: int | None = None,
    effort: int | None = None,
    methods: str | Sequence[str] | None = None,
    layer: str | None = None,
    regions: Mapping[str, Sequence[str]] | None = None,
    pictures: bool = True,
    settings: AuditSettings | None = None,
    limit: int | None = None,
    seed: int | None = None,
    batch_size: int = 32,
    cache: Path | None = None,
    allow_training_images: bool = False,
    class_map: Mapping[str, str] | None = None,
    name: str | None = None,
    command: str = "",
    announce: Callable[[str], None] | None = None,
) -> Audit:
    """Audit a classifier: does it classify, does it know how sure it is, what does it withstand, can one believe it?

    Whatever a part cannot measure, it says, and the others go on. What is done is kept in `out`, so that the same call
    goes on after an interruption. `save` of what is returned writes the report: ``pl.audit(model, data,
    out="audit").save("audit")`` leaves the files of the command with ``--out audit``.

    Args:
        model: what is audited.
        data: one part of a dataset; its classes are matched with the model's by name.
        quick: a first look in a few minutes: 100 images, 30 of them corrupted and 20 attacked and explained.
        compare: another model of the same classes, whose answers on the same images are compared.
        out: the folder where results are kept as they come, in `kept`; a temporary one by default.
        use: how often classes occur where the model is to be used, and what its errors cost there, as
            ``Use({"Mass": 0.05}, false_negative=10)``; by default as in the data, and 1 each. Of two exclusive classes
            the costs are of the one whose prevalence is given, or else of the second.
        metadata: a CSV or Parquet table with a column that names the images, or their patients; every other column
            makes groups, whose figures are compared. Columns that the data have themselves, as ages, are taken too.
        groups: of these columns those to take, each with where its bands begin, as ``{"age": [40, 60], "sex": []}``.
        attacks: as ``"linf=1/255"`` or ``"autoattack:linf=1/255"``; the verdict is on the smallest of each norm.
        corrupted: so many images are classified under common corruptions; 0 leaves that out.
        searched: on so many images is looked for what the model goes by; 0 leaves that out.
        effort: of the search for the smallest perturbations, 1, 2 or 4; by default that of `settings`, 1.
        methods: of explanation, by name.
        layer: that the methods with this option explain at, by its name in the model's `named_modules()`.
        regions: the marked labels that a class's explanation should fall on, where they are not called as the class.
        pictures: show images on the page. Without, it names them only, for images that may not be passed on; the folder
            of what the model goes by keeps its own.
        settings: how much is spent on each part; `quick` chooses another set.
        limit: classify at most so many images, chosen with `seed`.
        seed: of that choice, of the attacks and of the bootstrap; that of `settings` by default.
        batch_size: images at a time.
        cache: keep decoded images in this folder.
        allow_training_images: count images that the model was trained on in; they are refused otherwise.
        class_map: the data's name for each of the model's classes that has another one there.
        name: what the model is called; the name of its folder by default.
        command: what the user typed, for the record.
        announce: is told which part begins.

    Raises:
        InputError: data of other classes, or that the model was trained on; an unknown method or class; a layer that
            the model does not have, or that none of the methods takes; a prevalence or cost that is none; results of
            something else in `out`.

    Example:
        >>> import pellucid as pl
        >>> data = pl.dataset("phantom", split="test", size=32, train=1, validation=1, test=24, prevalence=0.5)
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=data.classes[:1], task="multilabel", size=32)
        >>> cheap = {"quick": True, "limit": 12, "corrupted": 0, "attacks": "fgsm:linf=0.01", "methods": "cam"}
        >>> result = audit(model, data, **cheap)
        >>> {one["kind"] for one in result.statements} <= {"holds", "fails", "unclear"}
        True
    """
    _check_kinds(model, data, settings, use, compare)
    started = time.monotonic()
    plan = _plan(
        settings or (QUICK if quick else AuditSettings()), attacks, corrupted, searched, effort, methods, limit, seed
    )
    check_layer(model, plan.methods, layer)
    use = _checked(use or Use(), model, compare)
    session = open_session(
        model,
        data,
        limit=plan.limit,
        seed=plan.seed,
        cache=cache,
        allow_training_images=allow_training_images,
        class_map=class_map,
    )
    marked = with_regions(session, regions, class_map)
    columns, about_columns = known_columns(session, metadata)
    groupings, no_groups = make_groupings(columns, groups)
    label = name or model_names([path_of(model)])[0]
    common: dict[str, Any] = {"seed": plan.seed, "cache": cache, "allow_training_images": allow_training_images}
    with channels_last(model, compare), work_folder(out) as folder, ExitStack() as rest:
        store = ResultsStore(
            folder / "kept",
            {
                "weights": session.results_key,
                "data": session.whole.card.name,
                "split": session.whole.split,
                "fingerprint": session.whole.fingerprint,
            },
        )
        pixels = session.pixels()
        rest.enter_context(small_images_told(model.input_spec))
        store.write_record()  # only now: nothing may lie there of an audit that is refused
        work = Measuring(session, marked, plan, store, label, batch_size, common, layer)
        served, refused = work.methods(pixels)
        planned = partial(
            seconds_planned, measured_paces(model, pixels, served, layer), len(pixels), session.whole, work.few.dataset,
            plan, groups=len(groupings), compared=compare is not None,
        )  # fmt: skip
        parts = Parts(announce or (lambda _: None), planned())
        first = parts.attempt("classification", "Does it classify?", partial(work.classified, pixels, use))
        if first is None:  # nothing else is worth measuring where not even this can be
            raise InputError(f"the model cannot be audited on these images: {parts.records[-1]['reason']}")
        answers, figures = first
        parts.plan_anew(planned(answers=answers))
        by_group, rival, elsewhere = None, None, None
        if groupings:
            by_group = parts.attempt("groups", "For whom?", lambda: group_figures(answers, groupings, plan.seed, use))
        if compare is not None:
            rival = parts.attempt(
                "comparison", "Against the other", partial(work.against, compare, data, answers, class_map)
            )
        if plan.corrupted:
            elsewhere = parts.attempt("elsewhere", "Will it hold up elsewhere?", work.corrupted)
        withstood = parts.attempt("attack", "Under attack", work.attacked)
        areas = parts.attempt("ara", "How large a change it withstands", partial(work.areas, withstood))
        attack_rows, losses = ([], {}) if withstood is None else work.attack_rows(withstood, areas[2] if areas else {})
        judged = parts.attempt("trust", "Can its explanations be believed?", partial(work.judged, served, refused))
        located = parts.attempt("localization", "Do they fall where people marked?", partial(work.located, served))
        discovery = parts.attempt("discovery", "What does it go by?", lambda: work.searched(metadata, groups))
        three = parts.attempt("pictures", "Pictures", partial(work.pictures, answers, pixels, served, visible=pictures))
    wrong = surest_and_wrong(answers, pixels, pictures=pictures)
    outcomes = [] if withstood is None else list(zip(withstood.attacks, withstood.answers, strict=True))
    rows = [*figures.rows, *attack_rows, *(areas[0] if areas else []), *(located[0] if located else [])]
    results: dict[str, Any] = {
        "format": 1,
        "name": "audit",
        "title": f"{label} on {title_of(session.whole)}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "device": str(device_of(model)),
        "versions": versions() | source_versions(model),
        "about": session.about() | {
            "n": len(session.dataset), "whole": len(session.whole), "limit": plan.limit, "few": plan.few,
            "seed": plan.seed,
            "weights_sha256": session.weights_sha256, "training_images": session.seen(), "quick": quick,
            "layer": layer, "pictures": pictures,
        },
        "facts": what_it_is(model, session.whole, session.dataset, session.weights_sha256),
        "unknown": what_is_not_known(model, session.images, session.seen()),
        "variants": [{"label": label, "reference": True}],
        "data": _data(session),
        "methods": served,
        "targets": located[1] if located else [],
        "classification": classification_json(answers, figures, _plain_use(use, model), wrong, work.few.dataset),
        "rows": [row.to_json() for row in shown_rows(rows, model.classes)],
        "groups": by_group | {"left_out": no_groups, "about": about_columns} if by_group else None,
        "comparison": rival,
        "elsewhere": elsewhere,
        "attacks": {str(attack): costs(attack, one, plan.steps) | losses[str(attack)] for attack, one in outcomes},
        "ara": areas[1] if areas else None,
        "trust": judged,
        "discovery": None if discovery is None else _suspects(discovery),
        "refused_methods": refused,
        "parts": parts.records,
        "limits": [
            *_few(plan, session), *_small(session.images), *general_limits(session.dataset),
            not_spoken_of(groups=by_group, corrupted=elsewhere),
        ],
    }  # fmt: skip
    every = {**results, "rows": [row.to_json() for row in rows]}  # the page shows fewer of many classes
    results["verdict"] = summarize_audit(every).to_json()
    results["card"] = [one.to_json() for one in model_card(every | {"verdict": results["verdict"]})]
    results["seconds"] = time.monotonic() - started
    notes = [*session.warnings, *about_columns, *(f"no groups by {name}: {why}." for name, why in no_groups.items())]
    notes += [sentence for attack, one in outcomes for sentence in masked_gradients(str(attack), one)]
    return Audit(results, rows, three or [], wrong, notes, _failure(answers), discovery)


def _checked(use: Use, model: Model, other: Model | None) -> Use:
    """The use, where its classes are the model's and can be so frequent, and the other model has the same."""
    use.check_classes(model.classes, exclusive=model.task == "multiclass")
    if other is not None and set(other.classes) != set(model.classes):
        raise InputError(
            f"{name_of(other)} tells {first_of(other.classes)}; the model {first_of(model.classes)}: models of "
            "other classes cannot be compared."
        )
    return use


def _plain_use(use: Use, model: Model) -> dict[str, Any]:
    """The use as `audit.json` has it, with the class that the costs are of."""
    tied = use.tied_to(model.classes, exclusive=model.task == "multiclass")
    costs = {"FN": use.false_negative, "FP": use.false_positive}
    return {"prevalence": dict(use.prevalence), **costs, "class": tied}


def _suspects(discovery: Discovery) -> dict[str, Any]:
    """What `audit.json` holds of what the model goes by; the folder beside it holds all."""
    shown_keys = ("headline", "counts", "unanswered", "notes")
    whole = discovery.to_json()
    return {key: whole[key] for key in shown_keys} | {"images": len(discovery.ids), "rows": discovery.rows}


def _check_kinds(model: object, data: object, settings: object, use: object, other: object) -> None:
    """Refuse arguments of another kind than they must be."""
    check_arguments(model, data)
    check_settings(settings, AuditSettings)
    check_settings(use, Use, "use")
    if other is not None:
        check_model(other, "the model to compare with")


def _plan(
    settings: AuditSettings,
    attacks: Epsilon | str | Sequence[Epsilon | str] | None,
    corrupted: int | None,
    searched: int | None,
    effort: int | None,
    methods: str | Sequence[str] | None,
    limit: int | None,
    seed: int | None,
) -> AuditSettings:
    """The settings with what was asked for instead."""
    plan = settings if seed is None else replace(settings, seed=seed)
    by_size = set(BoundedAttack.each(settings.attacks if attacks is None else attacks))
    plan = replace(plan, attacks=tuple(sorted(by_size, key=lambda one: (one.method, one.norm, one.value))))
    for name, count in (("corrupted", corrupted), ("searched", searched)):
        if count is not None and count < 0:
            raise InputError(f"{name} is a number of images; found {count}.")
    plan = replace(plan, corrupted=plan.corrupted if corrupted is None else corrupted)
    plan = replace(plan, searched=plan.searched if searched is None else searched)
    if effort is not None:
        check_effort(effort)
        plan = replace(plan, effort=effort)
    if methods is not None:
        plan = replace(plan, methods=tuple(check_known(name_list(methods), HEATMAPS, "heat map")))
    if limit is not None:
        plan = replace(plan, limit=limit, few=min(plan.few, limit), corrupted=min(plan.corrupted, limit))
        plan = replace(plan, searched=min(plan.searched, limit))
    return plan


def _data(session: Session) -> dict[str, Any]:
    card, dataset = session.whole.card, session.dataset
    people = None if dataset.patients == dataset.ids else len(set(dataset.patients))
    return {
        "name": card.name, "title": card.title, "task": card.task, "citation": card.citation, "licence": card.licence,
        "classes": list(card.classes),
        "parts": {
            session.whole.split: {
                "images": len(dataset), "patients": people, "fingerprint": dataset.fingerprint,
                "small": None if session.images.small is None else session.images.small.model_dump(mode="json"),
            }
        },
    }  # fmt: skip


def _few(plan: AuditSettings, session: Session) -> list[str]:
    n, whole = len(session.dataset), len(session.whole)
    few = min(plan.few, whole)
    some = [f"Only {n:,} of {whole:,} images were classified."] if n < whole else []
    return [*some, f"Attacks and tests of explanations rest on {few:,} images."]


def _small(images: FittedImages) -> list[str]:
    """That some images were enlarged for the model, if so; where it is not known, the report says that elsewhere."""
    text = "" if images.small is None else images.small.sentence(len(images), images.spec)
    return [text] if text else []


def _failure(answers: Answers) -> str | None:
    try:
        check_answers(answers.logits, "what is measured of it is undefined", answers.dataset.ids)
    except InputError as error:
        return str(error)
    return None
