"""Whether an annotation loop reached its aim, what that cost, and what the order of images changed, in plain words."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pellucid.evaluation.metrics.differences import paired_difference
from pellucid.evaluation.metrics.statistics import Replicates
from pellucid.evaluation.metrics.verdicts import BETTER, NO_WORSE, SAME, UNCLEAR, WORSE, Bar, answered, judge_family
from pellucid.report.pages.annotation_loop import loop_metric
from pellucid.report.tables.cells import bars_of
from pellucid.report.tables.metrics import method_label, number
from pellucid.study.annotation_loop.config import BASE
from pellucid.study.summary import of_networks_alone
from pellucid.utils.words import figure_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pellucid.study.config import StudyConfig


class Aim(NamedTuple):
    """One thing that training with marks is to reach.

    Attributes:
        metric: of which figure.
        goal: `half` (at most half of before), `rise` or `keep` (not lower by more than the study's margin for AUROC).
    """

    metric: str
    goal: str


def aims(study: StudyConfig) -> list[Aim]:
    """What the training with marks is to reach, by the first method of explanation."""
    method = study.evaluation.methods[0]
    return [
        Aim(f"{method}_marker", "half"),
        Aim(f"{method}_finding", "rise"),
        Aim("auroc_without", "keep"),
        Aim("auroc_gap", "half"),
    ]


def reach(
    replicates: Mapping[tuple[str, int], Mapping[str, list[Replicates]]], aim: Aim, study: StudyConfig, arm: str
) -> dict[str, Any]:
    """Whether an arm reached an aim against the cheating network and against the control; see `correct_aims`.

    The networks of a seed all began as the same cheating network, so they are compared seed by seed.
    """
    assert study.loop is not None
    after, margin = replicates[arm, study.loop.aim][aim.metric], study.conclusions.margin["auroc"]
    answer: dict[str, Any] = {"arm": arm, "metric": aim.metric, "goal": aim.goal, "margin": margin, "against": {}}
    for name, place in ((BASE, (BASE, 0)), (study.loop.control.label, (study.loop.control.label, study.loop.aim))):
        before = replicates[place][aim.metric]
        start = Replicates.mean(before).value
        factor, less = {"half": (0.5, 0.0), "keep": (1.0, margin), "rise": (1.0, 0.0)}[aim.goal]
        beyond = paired_difference(after, [r * factor + (-less) for r in before], shared=True)
        least = (-1 if aim.goal == "half" else 1) * beyond.value
        is_defined = math.isfinite(least) and (aim.goal != "half" or start > 0)  # what is not there cannot be halved
        answer["against"][name] = {
            "before": start,
            "after": Replicates.mean(after).value,
            "met": bool(least >= 0 if aim.goal != "rise" else least > 0) if is_defined else None,
            "beyond": beyond.to_json(),
        }
    return answer


def correct_aims(reached: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each aim with whether it is shown to be met (`yes`), shown not to be (`no`) or neither (`unclear`).

    The aims are what the study is made for: one family, whose p values are corrected together.
    """
    places = [(one, against) for one in reached for against in one["against"].values()]
    bars = [Bar(-1 if one["goal"] == "half" else 1) for one, _ in places]
    judged = judge_family([against["beyond"] for _, against in places], bars, "primary")
    for (_, against), beyond in zip(places, judged, strict=True):
        called = answered(beyond)[1]["verdict"] if against["met"] is not None else ""
        against |= {"beyond": beyond, "shown": {BETTER: "yes", WORSE: "no"}.get(called, "unclear")}
    return list(reached)


def summarize_loop(reached: Sequence[Mapping[str, Any]], count: int) -> list[str]:
    """What the figures say of the aims, arm by arm and against whom, in plain words.

    An aim counts as met where that is shown; of one seed the first sentence says that it is about these networks.
    """
    sentences = of_networks_alone([v["beyond"] for one in reached for v in one["against"].values()], "images")
    for arm in dict.fromkeys(one["arm"] for one in reached):
        own = [one for one in reached if one["arm"] == arm]
        for against in own[0]["against"]:
            verdicts = [one["against"][against] for one in own]
            met_count = sum(v["shown"] == "yes" for v in verdicts)
            parts = [_sentence(one["metric"], one["goal"], v) for one, v in zip(own, verdicts, strict=True)]
            whole = "met" if met_count == len(own) else f"shown to be met in {met_count} of {len(own)} points"
            sentences.append(f"“{arm}”, {count} images, against “{against}”: the aim is {whole}. {' '.join(parts)}")
    return sentences


def lead(reached: Sequence[Mapping[str, Any]], count: int) -> list[str]:
    """The same in a sentence an arm, for the top of a page: in how many points it is shown to reach the aim."""
    sentences = of_networks_alone([v["beyond"] for one in reached for v in one["against"].values()], "images")
    for arm in dict.fromkeys(one["arm"] for one in reached):
        own = [one for one in reached if one["arm"] == arm]
        counts = [
            f"{sum(one['against'][against]['shown'] == 'yes' for one in own)} of {len(own)} against “{against}”"
            for against in own[0]["against"]
        ]
        sentences.append(f"“{arm}”, {count} images: the aims shown to be met are {' and '.join(counts)}.")
    return sentences


def costs(
    rows: Sequence[Mapping[str, Any]], arms: Sequence[str], count: int, control: str, aimed: Sequence[str]
) -> list[str]:
    """What is worse than in the control, beside the aim, by the verdict of the corrected p values.

    Of arms that were trained once it is said what it costs these networks.
    How well the finding is told where the marker tells is no cost: that is the shortcut, which should go.
    """
    sentences = []
    for arm in arms:
        worse, questions = [], set()
        for row in rows:
            metric, difference = loop_metric(row["metric"]), row["against_control"]
            if (row["variant"], row["at"]) != (arm, str(count)) or row["metric"] in aimed or not metric.better:
                continue
            if not difference:
                continue
            question, answer = answered(difference)
            questions.add(question)
            if answer["verdict"] == WORSE:
                before, after = row["value"] - difference["value"], row["value"]
                worse.append(f"{metric.label} {number(before, metric.decimals)} → {number(after, metric.decimals)}")
        text = "; ".join(worse) if worse else "nothing that these seeds and images could show"
        recipes = "recipes" in questions
        costs_what = f"is worse than “{control}” in" if recipes else f"costs these networks, against “{control}”"
        sentences.append(f"“{arm}”, {count} images, {costs_what}: {text}.")
    return sentences


def order_sentence(one: Mapping[str, Any]) -> str:
    """How an arm with marks differs from another whose images came in another order, of one figure."""
    metric, difference = loop_metric(one["metric"]), one["difference"]
    answer = answered(difference)[1]
    who = f"“{one['arm']}” less “{one['other']}”, {one['number']} images: {metric.label}"
    if difference["value"] is None or answer["low"] is None:
        return f"{who} cannot be compared."
    text_of = partial(number, decimals=metric.decimals, signed=True)
    figure = figure_text(difference["value"], answer["low"], answer["high"], text_of, bars_of(difference))
    margin = number(difference["margin"] or 0.0)
    endings = {
        SAME: f", less than {margin} either way",
        NO_WORSE: f", no loss of more than {margin}",
        UNCLEAR: ", no difference that these seeds and images could show",
    }
    ending = endings.get(answer["verdict"], "")
    return f"{who} {figure}{ending}."


WANTED = {
    "half": "half or less was wanted",
    "rise": "a rise was wanted",
    "keep": "no fall by more than the margin was wanted",
}


def _sentence(metric: str, goal: str, verdict: Mapping[str, Any]) -> str:
    before, after = verdict["before"], verdict["after"]
    label = METRIC_WORDS.get(metric) or _share_words(metric)
    digits = 4 if "_marker" in metric or "_finding" in metric else 3
    if not (math.isfinite(before) and math.isfinite(after)):
        return f"{label} cannot be compared."
    figures = f"{label} {number(before, digits)} → {number(after, digits)}"
    if verdict["met"] is None:
        return f"{figures} (there was nothing to halve)."
    change = f", {number(100 * (after / before - 1), 0, signed=True)} %" if goal != "keep" and before > 0 else ""
    sure = {"yes": "", "no": "", "unclear": "; these seeds and images leave it open"}[verdict["shown"]]
    outcome = "met" if verdict["met"] else "not met"
    return f"{figures}{change} ({WANTED[goal]}: {outcome}{sure})."


METRIC_WORDS = {
    "auroc_without": "AUROC without the shortcut",
    "auroc_gap": "Gap in AUROC between images with and without the shortcut",
}


def _share_words(metric: str) -> str:
    method, _, place = metric.rpartition("_")
    label = method_label(method)
    return f"Share of the {label if label.isupper() else label.lower()} map on the {place}"
