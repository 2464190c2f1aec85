"""The figures of a study, assembled: every row with its interval, and what they say in plain words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pellucid.data.folds import by_image
from pellucid.data.readers.splits import split_hash
from pellucid.evaluation.metrics.comparison import (
    Row,
    classification_rows,
    localization_rows,
    refused_rows,
    robustness_rows,
    trivial_rows,
    unmeasured_rows,
    wang_rows,
)
from pellucid.evaluation.metrics.statistics import Bootstrap
from pellucid.study.areas import area_results
from pellucid.study.conclusions import family_sizes, judge_rows
from pellucid.study.runs import first_runs
from pellucid.study.summary import describe, summarize_study
from pellucid.training.run import versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pellucid.study.config import StudyConfig, VariantSettings
    from pellucid.study.context import StudyContext
    from pellucid.study.evaluation_data import EvaluationData, RunEvaluation

GENERAL_LIMITS = (
    "The interval of a figure speaks of these networks on other patients like these (on other images, where patients "
    "are not known). Whether a recipe is better is another question, which other trainings belong to: it is answered "
    "only where each recipe was trained at least twice.",
    "Exploratory comparisons suggest what to test next: they were chosen after looking, whatever their p.",
    "Robust accuracy under one attack is an upper bound: a stronger attack can only lower it.",
)
LOCALIZATION_LIMIT = (
    "Good localisation does not prove that a network decides for the right reason, nor does bad localisation prove the "
    "opposite (Viviano et al. 2021)."
)


def assemble(
    context: StudyContext,
    data: EvaluationData,
    evaluations: Mapping[str, Sequence[RunEvaluation]],
    records: Mapping[str, Sequence[dict[str, Any]]],
) -> dict[str, Any]:
    """All of a study's results, as the report and results.json take them.

    Args:
        context: of the study.
        data: what the networks were judged on.
        evaluations: by variant, one per seed, of all its folds together.
        records: by variant, of its trainings; see `finished.record_of`.
    """
    study = context.study
    reference, *others = (v.label for v in study.variants)
    rows = judge_rows(gather_rows(study, data, evaluations), study.conclusions, others)
    return {
        "format": 2,
        "name": study.name,
        "title": study.title,
        "description": study.description.strip(),
        "seeds": list(study.seeds),
        "resamples": study.evaluation.resamples,
        "versions": versions(),
        "data": _data(context),
        "folds": _folds(context),
        "variants": [_variant(v, reference, context, records[v.label]) for v in study.variants],
        "targets": [_target(study, data, index) for index in range(len(data.tasks))],
        "methods": list(study.evaluation.methods),
        "headline": list(study.evaluation.headline),
        "rows": [row.to_json() for row in rows],
        "ara": area_results(study, data, evaluations),
        "comparators": [c.model_dump() for c in study.comparators],
        "primary": [describe(one) for one in study.conclusions.primary],
        "margins": study.conclusions.margin,
        "families": family_sizes(rows),
        "conclusion": summarize_study(study, rows),
        "training_images": [
            {"variant": label, "seed": seed, "part": part, **seen_images.to_json()}
            for label, seeds in evaluations.items()
            for seed, evaluation in zip(study.seeds, seeds, strict=True)
            for part, seen_images in evaluation.training_images.items()
        ],
        "limits": [
            *study.limits,
            *seen_limits(evaluations),
            *GENERAL_LIMITS,
            *fold_limits(context),
            *([LOCALIZATION_LIMIT] if data.tasks else []),
            *(task.cut_off.note for task in data.tasks if task.cut_off.note),
        ],
    }


def fold_limits(context: StudyContext) -> list[str]:
    """What folds mean for the figures, a sentence each; none without folds."""
    folds = context.study.folds
    if folds is None:
        return []
    sentences = [
        f"Each image was judged by the network of its own fold, one of {folds} a seed, which saw neither it nor any "
        "other image of its patient. AUROC and average precision, which rank images, are means over the folds. The "
        "networks of other folds were trained on many of the same images, which no interval shows.",
        "Cases, sliders and the table of trust are of the first fold and its networks.",
    ]
    if by_image(context.whole):
        sentences.append("Patients are not known: two images of one patient may lie in different folds.")
    return sentences


def seen_limits(evaluations: Mapping[str, Sequence[RunEvaluation]]) -> list[str]:
    """Which of the images that figures rest on the networks have seen before, a sentence each; none where none."""
    sentences = [
        f"{'Test images' if part == 'test' else part}: {message}"
        for seeds in evaluations.values()
        for evaluation in seeds
        for part, seen_images in evaluation.training_images.items()
        for message in seen_images.messages()
    ]
    return list(dict.fromkeys(sentences))


def gather_rows(
    study: StudyConfig, data: EvaluationData, evaluations: Mapping[str, Sequence[RunEvaluation]]
) -> list[Row]:
    """Every figure of the study."""
    reference = study.variants[0].label
    resamples = study.evaluation.resamples
    bootstrap = Bootstrap(data.test.patients, resamples)
    rows = classification_rows(
        {v: [x.logits for x in xs] for v, xs in evaluations.items()}, data.test, bootstrap, reference, data.folds
    )
    if study.evaluation.robustness.sizes:
        rows += robustness_rows(
            {v: [x.attacked for x in xs] for v, xs in evaluations.items()},
            {v: [x.thresholds for x in xs] for v, xs in evaluations.items()},
            data.attacked,
            Bootstrap(data.attacked.patients, resamples),
            reference,
            broken={v: [x.broken for x in xs] for v, xs in evaluations.items()},
            folds=data.attacked_folds,
        )
    if study.evaluation.ara.kinds:
        from pellucid.evaluation.robustness.ara_rows import ara_rows, clean_rows  # needs a Unix

        over_measured = Bootstrap(data.measured.patients, resamples)
        row_of = {name: number for number, name in enumerate(data.test.ids)}
        image_rows = [row_of[name] for name in data.measured.ids]
        rows += clean_rows(
            {v: [x.logits[image_rows] for x in xs] for v, xs in evaluations.items()},
            {v: [x.thresholds.tolist() for x in xs] for v, xs in evaluations.items()},
            data.measured,
            over_measured,
            reference,
        )
        rows += ara_rows(
            {v: [x.radii for x in xs] for v, xs in evaluations.items()}, data.measured, over_measured, reference
        )
    for task in data.tasks:
        over_task = Bootstrap(task.dataset.patients, resamples)
        for method in study.evaluation.methods:
            key = (task.name, method)
            refused = {v: x.refused[key] for v, xs in evaluations.items() for x in xs if key in x.refused}
            scores = {v: [x.scores[key] for x in xs] for v, xs in evaluations.items() if v not in refused}
            places = refused_rows(task, method, "")
            if scores:
                places = localization_rows(scores, task, method, over_task, reference)
                places += wang_rows(scores, task, method, over_task, reference)
                rows += places
            for variant, why in refused.items():
                rows += unmeasured_rows(places, variant, why)
        rows += trivial_rows(task, over_task)
    return rows


def _data(context: StudyContext) -> dict[str, Any]:
    study, splits = context.study, context.splits
    if study.folds is not None:
        splits = {f"fold {fold}": context.parts_of(fold)["test"] for fold in range(study.folds)}
    card = next(iter(splits.values())).card
    return {
        "name": card.name,
        "title": card.title,
        "citation": card.citation,
        "licence": card.licence,
        "url": card.url,
        "task": card.task,
        "classes": list(card.classes),
        "options": study.data.options,
        "split_hash": split_hash(splits),
        "parts": {
            name: {"images": len(part), "patients": len(set(part.patients)), "fingerprint": part.fingerprint}
            for name, part in splits.items()
        },
    }


def _folds(context: StudyContext) -> dict[str, Any] | None:
    """Which image is in which fold; None where the dataset has parts of its own."""
    study = context.study
    if study.folds is None:
        return None
    ids: list[list[str]] = [[] for _ in range(study.folds)]
    for name, fold in zip(context.whole.ids, context.folds.tolist(), strict=True):
        ids[fold].append(name)
    return {"seed": study.data.seed, "validation_fraction": study.validation_fraction, "images": ids}


def _variant(
    variant: VariantSettings, reference: str, context: StudyContext, records: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    planned = first_runs(context.runs)[variant.label]
    recipe, resolved = planned.recipe, records[0]["resolved"]
    settings = recipe.model_dump(mode="json", exclude={"name", "title", "citation", "notes", "fine_tuning"})
    settings["augment"] |= resolved["augment"]  # what is left to the data, as a number
    if settings["objective"]["gradient_penalty"] is not None:
        settings["objective"]["gradient_penalty"] |= resolved["objective"]["gradient_penalty"]  # and to the network
    return {
        "label": variant.label,
        "family": variant.family,
        "recipe": recipe.name,
        "title": recipe.title,
        "citation": recipe.citation,
        "notes": recipe.notes.strip(),
        "settings": settings,
        "reference": variant.label == reference,
        "starts_from": None if planned.base is None else planned.base.label,
        "runs": [{key: value for key, value in record.items() if key != "resolved"} for record in records],
    }


def _target(study: StudyConfig, data: EvaluationData, index: int) -> dict[str, Any]:
    task, settings = data.tasks[index], study.evaluation.targets[index]
    shares = task.masks.mean((1, 2))
    return {
        "name": task.name,
        "title": settings.title or f"Test images of {task.dataset.card.title}",
        "data": task.dataset.card.name,
        "images": len(task.images),
        "patients": len(set(task.dataset.patients)),
        "pairs": len(task.pair_image),
        "kind": "masks" if task.has_masks else "boxes",
        "regions": {c: list(settings.regions.get(c, (c,))) for c in task.classes},
        "mean_area": float(shares.mean()) if len(shares) else math.nan,
        "citation": task.dataset.card.citation,
    }
