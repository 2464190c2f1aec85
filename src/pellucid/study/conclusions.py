"""What a study decides: its primary comparisons, the exploratory ones, and what all of them are called."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pellucid.evaluation.metrics.verdicts import Bar, judge_family
from pellucid.report.tables.metrics import metric
from pellucid.report.tables.results_index import MEAN, TRIVIAL
from pellucid.types import InputError
from pellucid.utils.resources import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pellucid.evaluation.metrics.comparison import Row
    from pellucid.study.config import ComparisonSettings, ConclusionSettings, StudyConfig
    from pellucid.study.evaluation_data import EvaluationData

PRIMARY = "primary"


def check_primary(study: StudyConfig, data: EvaluationData) -> None:
    """Refuse a primary comparison that the data will not give, before any network is trained.

    Raises:
        InputError: a class or metric that the dataset, or the target, does not have.
    """
    several = data.test.task == "multilabel"
    absent = {
        "classification": {"accuracy", "balanced_accuracy", "recall"} if several else set(),
        "ara": {"accuracy" if several else "balanced_accuracy"},
    }
    single = {"accuracy", "balanced_accuracy"}
    classes = {task.name: task.classes for task in data.tasks}
    for number, one in enumerate(study.conclusions.primary):
        where = f"conclusions.primary[{number}]"
        if one.metric in absent.get(one.section, ()):
            kind = "several labels" if several else "one class"
            raise InputError(f"{where}: images of {kind} give no {one.metric!r} in the section {one.section!r}.")
        names_there = [*classes.get(one.target, data.test.classes), MEAN]
        if one.section == "robustness" or (one.section != "localization" and one.metric in single and not several):
            names_there = [MEAN]
        if one.class_name not in names_there:
            raise InputError(f"{where}: no class {one.class_name!r} there. {nearest(one.class_name, names_there)}")


def judge_rows(rows: Sequence[Row], conclusions: ConclusionSettings, others: Sequence[str]) -> list[Row]:
    """Every difference with its family, corrected p values and verdict; and whether a trivial map scores higher.

    The primary comparisons are one family, corrected together whatever variants they compare. The exploratory ones are
    families by what a reader looks at together: a section (of localisation a target), means over classes or single
    classes.

    Args:
        rows: of the study.
        conclusions: what it was made to decide.
        others: the variants that are compared with the first.
    """
    trivial = best_trivial(rows)
    families: dict[str, list[int]] = {}
    aims: dict[int, ComparisonSettings] = {}
    for place, row in enumerate(rows):
        if row.difference is None:
            continue
        named = next((one for one in conclusions.primary if names(one, row, others)), None)
        if named is not None:
            aims[place] = named
        families.setdefault(PRIMARY if named else _family(row), []).append(place)
    out = list(rows)
    for family, places in families.items():
        bars = [_bar(rows[place], conclusions, aims.get(place)) for place in places]
        differences = [rows[place].difference or {} for place in places]
        for place, judged in zip(places, judge_family(differences, bars, family), strict=True):
            row = rows[place]
            best = trivial.get((row.target, row.metric, row.class_name)) if row.section == "localization" else None
            below = None if best is None or not row.value < best[1] else {"map": best[0], "value": best[1]}
            out[place] = replace(row, difference=judged | {"below_trivial": below})
    return out


def names(one: ComparisonSettings, row: Row, others: Sequence[str]) -> bool:
    """Whether a comparison of the study is the one of this row."""
    at = "" if one.at is None else str(one.at)
    place = (one.section, one.metric, one.class_name, one.target, one.method, at)
    return place == (
        row.section, row.metric, row.class_name, row.target, row.method, row.at,
    ) and row.variant in (one.variants or others)  # fmt: skip


def best_trivial(rows: Iterable[Row]) -> dict[tuple[str, str, str], tuple[str, float]]:
    """By target, metric and class: the best trivial map and what it scores."""
    best: dict[tuple[str, str, str], tuple[str, float]] = {}
    for row in rows:
        place = row.target, row.metric, row.class_name
        if row.method.startswith(TRIVIAL) and row.value > best.get(place, ("", -math.inf))[1]:
            best[place] = row.method.removeprefix(TRIVIAL), row.value
    return best


def _bar(row: Row, conclusions: ConclusionSettings, named: ComparisonSettings | None) -> Bar:
    margin = conclusions.margin_of(row.section, row.metric)
    return Bar(metric(row.metric).better, margin, named.aim if named else "differs")


def _family(row: Row) -> str:
    where = f"{row.section} on {row.target}" if row.target else row.section
    return f"exploratory, {where}, {'means over classes' if row.class_name == MEAN else 'single classes'}"


def family_sizes(rows: Iterable[Row]) -> dict[str, dict[str, Any]]:
    """How many tests each family holds, question by question."""
    sizes: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row.difference is not None:
            sizes[row.difference["family"]] = {q: row.difference[q]["tests"] for q in ("networks", "recipes")}
    return sizes
