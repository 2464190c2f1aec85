"""A finished study judged again from what its folder keeps of every image, without networks and data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pellucid.report import write_report
from pellucid.report.pages.annotation_loop import write_loop_report
from pellucid.report.tables.metrics import metric
from pellucid.study.annotation_loop.per_image import read_loop_per_image
from pellucid.study.annotation_loop.results import judge_loop
from pellucid.study.conclusions import family_sizes, judge_rows
from pellucid.study.kept.per_image import FILE, read_per_image
from pellucid.study.kept.trust import read_trust
from pellucid.study.results import gather_rows
from pellucid.study.summary import describe, summarize_study
from pellucid.types import InputError
from pellucid.utils.locks import hold
from pellucid.utils.resources import write_json
from pellucid.utils.results_store import refuse_others
from pellucid.utils.words import joined

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from pellucid.study.config import StudyConfig

AGAIN = "Judged again from per-image.npz, without the networks: no cases and no sliders are shown."


def judge_again(study: StudyConfig, out: Path, *, wait: bool = False) -> Path:
    """Judge a finished study again from what its folder keeps: other margins, other comparisons, other statistics.

    The report shows no cases. Tables of trust whose values are not kept stay as they were.

    Args:
        study: its configuration; variants, seeds, methods and targets as they were.
        out: its folder, with results.json and per-image.npz.
        wait: for another process that works in `out`; it is refused otherwise.

    Returns:
        The report.

    Raises:
        InputError: a folder that holds no such study, or another.
    """
    if not (out / "results.json").is_file():
        raise InputError(f"{out} holds no results.json: there is no study to judge again.")
    with hold(out, wait=wait):
        results = json.loads((out / "results.json").read_text(encoding="utf-8"))
        judged = _judged if study.loop is None else _judged_loop
        results |= judged(study, out, results)
        results["limits"] = [*(sentence for sentence in results["limits"] if sentence != AGAIN), AGAIN]
        write_json(out / "results.json", results)
        return (write_report if study.loop is None else write_loop_report)(results, [], out)


def _judged(study: StudyConfig, out: Path, results: Mapping[str, Any]) -> dict[str, Any]:
    data, evaluations = read_per_image(out / FILE)
    here: dict[str, list[Any]] = {
        "variants": [v.label for v in study.variants],
        "seeds": list(study.seeds),
        "methods": list(study.evaluation.methods),
        "targets": [t.name for t in study.evaluation.targets],
    }
    there = {
        "variants": list(evaluations),
        "seeds": results["seeds"],
        "methods": results["methods"],
        "targets": [t["name"] for t in results["targets"]],
    }
    refuse_others(out, there, here)
    rows = gather_rows(study, data, evaluations)
    judged = judge_rows(rows, study.conclusions, here["variants"][1:])
    now: dict[str, Any] = {
        "primary": [describe(one) for one in study.conclusions.primary],
        "margins": dict(study.conclusions.margin),
    }
    before = results.get("named_before") or {name: results.get(name) or type(now[name])() for name in now}
    others = _other_margins(before["margins"], now["margins"])
    named_before = now["primary"] == before["primary"] and not others & {
        one.metric for one in study.conclusions.primary
    }
    conclusion = summarize_study(study, judged, named_before=named_before)
    if not named_before:
        conclusion = [_chosen_after(before), *conclusion]
    elif others:
        conclusion = [*conclusion, _exploratory_margins(others)]
    tables = read_trust(out / FILE)
    trust = results["trust"]
    if tables:
        trust = [one | {"rows": [r.to_json() for r in rows]} for one, rows in zip(trust, tables, strict=True)]
    return now | {
        "trust": trust,
        "rows": [row.to_json() for row in judged],
        "resamples": study.evaluation.resamples,
        "families": family_sizes(judged),
        "named_before": before,
        "is_named_before": named_before,
        "conclusion": conclusion,
    }


def _other_margins(before: Mapping[str, float], now: Mapping[str, float]) -> set[str]:
    """The metrics whose margin is not the one that the study named before it ran."""
    return {name for name in {*before, *now} if now.get(name, 0.0) != before.get(name, 0.0)}


def _exploratory_margins(names: Collection[str]) -> str:
    """That margins of scores without a primary comparison are not those of before the study ran."""
    texts = joined([metric(name).label for name in sorted(names)])
    return (
        f"The margins of {texts} were stated after the figures were known. Only exploratory comparisons go by them, no "
        "primary one."
    )


def _chosen_after(before: Mapping[str, Any]) -> str:
    """That what decides was changed once the figures were known, and what it was."""
    margins = ", ".join(f"{name} {value:g}" for name, value in before["margins"].items())
    return (
        "Primary comparisons or margins were chosen after the figures were known: nothing below is a conclusion that "
        f"the study was made for. Before it ran it named {'; '.join(before['primary']) or 'no primary comparison'} "
        f"(margins: {margins or 'none'})."
    )


def _judged_loop(study: StudyConfig, out: Path, results: Mapping[str, Any]) -> dict[str, Any]:
    assert study.loop is not None
    here: dict[str, list[Any]] = {
        "seeds": list(study.seeds),
        "methods": list(study.evaluation.methods),
        "arms": [arm.model_dump() for arm in study.loop.arms],
        "numbers": list(study.loop.numbers),
    }
    refuse_others(out, {name: results[name] for name in here}, here)
    return judge_loop(study, *read_loop_per_image(out / FILE, study))
