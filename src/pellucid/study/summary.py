"""What a study's figures say in plain words: of its recipes where they were trained often enough, else of networks."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pellucid.evaluation.metrics.comparison import Row
from pellucid.evaluation.metrics.verdicts import ALPHA, BETTER, NO_WORSE, SAME, SHOWN, WORSE, answered
from pellucid.report.tables.cells import bars_of, no_margin
from pellucid.report.tables.metrics import defined, method_label, metric, number, p_text, readable
from pellucid.report.tables.results_index import MEAN, NETWORKS_ALONE
from pellucid.study.conclusions import PRIMARY
from pellucid.study.robustness_reached import not_robust
from pellucid.utils.words import figure_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pellucid.study.config import ComparisonSettings, StudyConfig

LOST = 0.1  # a class whose AUROC falls by more is lost


def summarize_study(study: StudyConfig, rows: Sequence[Row], *, named_before: bool = True) -> list[str]:
    """Whether recipes differ from the first, in plain words: primary comparisons first, then exploratory ones.

    Only what holds for other trainings and other patients is said of a recipe. Where a recipe was trained once, the
    sentences speak of these networks, and the one after the first comparison says why.

    Args:
        study: its configuration.
        rows: with their verdicts, as `judge_rows` gives them.
        named_before: whether primary comparisons and margins are those that the study named before it ran.
    """
    names = _Names(study.variants[0].label, len(study.seeds))
    compared = [r for r in rows if r.difference is not None]
    if not compared:
        return []
    primary = [r for r in compared if r.difference and r.difference["family"] == PRIMARY]
    label = "Primary comparison" if named_before else "Chosen after the figures were known"
    named = [f"{label}: {_statement(r, names, rows)}" for r in primary]
    caveat = of_networks_alone([r.difference for r in compared if r.difference], "patients")
    sentences = [*not_robust(study, rows), *named[:1], *caveat, *named[1:]]
    if not primary:
        sentences.append("The study named no primary comparison before it ran: everything below is exploratory.")
    for variant in [v.label for v in study.variants[1:]]:
        mine = [r for r in compared if r.variant == variant and r.class_name == MEAN and r not in primary]
        sentences += [f"Exploratory: {_statement(r, names, rows)}" for r in mine if _is_headline(r, study)]
        order = {name: place for place, name in enumerate(study.evaluation.headline)}
        located = [r for r in mine if r.section == "localization" and r.metric in order]
        located.sort(key=lambda r: order[r.metric])
        sentences += [f"Exploratory: {_explanations(variant, names, located, rows)}"] if located else []
    return sentences


def of_networks_alone(differences: Sequence[Mapping[str, Any]], sampled: str) -> list[str]:
    """The sentence that nothing is said of recipes, and why, where no difference answers that question; else nothing.

    Args:
        differences: as `Difference.to_json` gives them.
        sampled: of what others are drawn, as `patients`.
    """
    if not differences or any(one["recipes"]["low"] is not None for one in differences):
        return []
    reason = differences[0]["recipes"]["reason"]
    return [f"{NETWORKS_ALONE} ({reason}): it is about these networks on other {sampled}."]


def describe(one: ComparisonSettings) -> str:
    """A primary comparison in words.

    Example:
        >>> from pellucid.study.config import ComparisonSettings
        >>> describe(ComparisonSettings(metric="auroc", aim="no worse", variants=["robust"]))
        'AUROC (robust, no worse)'
    """
    at = "" if one.at is None else str(one.at)
    place = Row.blank(one.section, one.metric, one.class_name, target=one.target, method=one.method, at=at)
    remarks = [*one.variants, *(["no worse"] if one.aim == "no worse" else [])]
    return _what(place) + (f" ({', '.join(remarks)})" if remarks else "")


def _is_headline(row: Row, study: StudyConfig) -> bool:
    """Whether the summary says it in a sentence of its own, besides the scores of explanations."""
    sizes = study.evaluation.robustness.sizes
    attacked = (row.section, row.metric) == ("robustness", "accuracy") and bool(sizes) and row.at == str(sizes[-1])
    return (row.section, row.metric) == ("classification", "auroc") or attacked or row.section == "ara"


def _question(row: Row) -> tuple[str, dict[str, Any]]:
    assert row.difference is not None
    return answered(row.difference)


class _Names(NamedTuple):
    """How sentences call what is compared: a recipe by its label, trained networks as this one or these."""

    reference: str
    trainings: int

    def pair(self, variant: str, *, recipes: bool) -> tuple[str, str]:
        """The variant, and what it is compared with."""
        if recipes:
            return variant, self.reference
        if self.trainings == 1:
            return f"this {variant} network", f"this {self.reference} one"
        return f"these {variant} networks", f"these {self.reference} ones"

    @property
    def have(self) -> str:
        return "has" if self.trainings == 1 else "have"


def _statement(row: Row, names: _Names, rows: Sequence[Row]) -> str:
    """One comparison as a sentence."""
    difference = row.difference
    assert difference is not None
    what = _what(row)
    if difference["value"] is None:
        return f"{what} of {row.variant} cannot be compared with that of {names.reference} ({difference['reason']})."
    question, answer = _question(row)
    if answer["low"] is None:
        return f"{what} of {row.variant} cannot be compared with that of {names.reference} ({answer['reason']})."
    called, recipes = answer["verdict"], question == "recipes"
    margin = number(difference["margin"] or 0.0)
    higher = difference["value"] > 0
    variant, reference = names.pair(row.variant, recipes=recipes)
    lost = "lower" if metric(row.metric).better > 0 else "higher"  # of networks, which are not called worse
    worse = f"{'worse' if recipes else lost} than that of {reference} by more than {margin}"
    if difference["aim"] == "no worse" and called == WORSE:
        text = f"{what} of {variant} is {worse}"
    elif difference["aim"] == "no worse" and called != NO_WORSE:
        text = f"{variant} may lose more than {margin} in {what} against {reference}"
    elif called in SHOWN and recipes:
        text = f"{variant} {'raises' if higher else 'lowers'} {what} against {reference}"
    elif called in SHOWN:
        text = f"{variant} {names.have} a {'higher' if higher else 'lower'} {what} than {reference}"
    elif called == SAME:
        text = f"{what} of {variant} differs by less than {margin} from that of {reference}"
    elif called == NO_WORSE:
        text = f"{what} of {variant} is not {worse}"
    else:
        text = f"no difference in {what} is shown between {variant} and {reference}"
    return f"{text}: {_figures(row, names, rows)}{_but(row, rows)}."


def _start(row: Row, names: _Names, rows: Sequence[Row]) -> float:
    """The reference's own figure, of which the difference tells less where pairs were lost."""
    assert row.difference is not None
    own = next((r.value for r in rows if r.variant == names.reference and r.where == row.where), math.nan)
    return row.value - float(row.difference["value"]) if math.isnan(own) else own


def _is_of_all(row: Row, names: _Names, rows: Sequence[Row]) -> bool:
    """Whether the difference is that of the two figures: no pair was lost."""
    assert row.difference is not None
    return math.isclose(row.value - _start(row, names, rows), row.difference["value"], abs_tol=1e-9)


def _figures(row: Row, names: _Names, rows: Sequence[Row]) -> str:
    """From → to, the difference with its interval, p and corrected p."""
    difference, digits = row.difference, metric(row.metric).decimals
    assert difference is not None
    question, answer = _question(row)
    text_of = partial(number, decimals=digits, signed=True)
    change = figure_text(difference["value"], answer["low"], answer["high"], text_of, bars_of(difference))
    sampled = "other trainings and patients" if question == "recipes" else "other patients"
    raw, corrected = answer["p"], answer["p_corrected"]
    if difference["aim"] == "no worse":  # the p of what is said
        is_worse = answer["verdict"] == WORSE
        raw = answer["p_worse" if is_worse else "p_no_worse"]
        corrected = answer["p_worse_corrected"] if is_worse else corrected
    p = f"; p {p_text(raw)}"
    if difference["aim"] == "no worse":
        p += f" for a loss of at {'most' if is_worse else 'least'} {number(difference['margin'] or 0.0)}"
    if answer["tests"] > 1:
        p += f", {p_text(corrected)} after Holm for {answer['tests']}"
    if difference["aim"] != "no worse" and answer["verdict"] in (SAME, NO_WORSE):
        p = ""  # the interval says it
    of_pairs = "" if _is_of_all(row, names, rows) else " on what both have"
    unstated = no_margin(difference, answer)
    return (
        f"{number(_start(row, names, rows), digits)} → {number(row.value, digits)} "
        f"({change}{of_pairs} over {sampled}{p}{f'; {unstated}' if unstated else ''})"
    )


def _but(row: Row, rows: Sequence[Row]) -> str:
    """What belongs into the same sentence as a gain: a trivial map that is still better, and classes that are lost."""
    assert row.difference is not None
    remarks = []
    below = row.difference.get("below_trivial")
    if below:
        remarks.append(f"still below the best trivial map ({below['map']}, {number(below['value'])})")
    favourable = _question(row)[1]["verdict"] == BETTER
    lost = (
        lost_classes(row.variant, rows)
        if favourable or (row.section, row.metric) == ("classification", "auroc")
        else ""
    )
    return "".join(
        f"; {remark}" for remark in [*remarks, *([f"{'but' if favourable else 'and'} it loses {lost}"] if lost else [])]
    )


def lost_classes(variant: str, rows: Sequence[Row]) -> str:
    """The classes whose AUROC falls by more than 0.1 in these networks, more than other patients explain.

    A warning: it is not corrected, and needs no second training.
    """
    lost = [
        f"{readable(r.class_name)} (AUROC {number(r.value - r.difference['value'])} → {number(r.value)})"
        for r in rows
        if (r.section, r.metric, r.variant) == ("classification", "auroc", variant) and r.class_name != MEAN
        if r.difference is not None and r.difference["value"] is not None and r.difference["value"] < -LOST
        if r.difference["networks"]["p"] is not None and r.difference["networks"]["p"] <= ALPHA
    ]
    return ", ".join(lost)


def _explanations(variant: str, names: _Names, located: Sequence[Row], rows: Sequence[Row]) -> str:
    """How many headline scores of the explanations are better and worse (of networks: higher and lower)."""
    recipes = any(_question(r)[0] == "recipes" for r in located)
    question = "recipes" if recipes else "networks"  # one for all: what is known of networks alone is none of a recipe
    called = [r.difference[question]["verdict"] for r in located if r.difference]
    better = [r for r, verdict in zip(located, called, strict=True) if verdict == BETTER]
    below = sum(bool(r.difference and r.difference["below_trivial"]) for r in better)
    up, down = ("better", "worse") if recipes else ("higher", "lower")  # more of each of these scores is better
    counts = f"{len(better)} of {len(located)} headline scores of the explanations {_is(len(better))} {up}"
    if below:
        still = "it is" if len(better) == 1 else f"{below if below < len(better) else 'all'} of them"
        counts += f" ({still} still below the best trivial map)"
    differences = [r.difference for r in located if r.difference and defined(r.difference["value"])]
    small = sum(bool(no_margin(one, one[question])) for one in differences)
    unstated = f"; {small} of these differences {_is(small)} below 0.01, with no margin stated" if small else ""
    lost = lost_classes(variant, rows) if better else ""
    other = len(located) - len(better) - called.count(WORSE)
    first = [r for r in located if r.metric == located[0].metric and r.difference]
    changes = ", ".join(
        f"{method_label(r.method)} on {r.target} {number(_start(r, names, rows), 2)} → {number(r.value, 2)}"
        + (
            ""
            if _is_of_all(r, names, rows)
            else f" ({number(r.difference['value'], 2, signed=True)} on what both have)"
        )
        + ("" if r.difference[question]["verdict"] in SHOWN else " (no difference shown)")
        for r in first
        if r.difference is not None and r.difference["value"] is not None
    )
    who = " against ".join(names.pair(variant, recipes=recipes))
    worse, shows = called.count(WORSE), "shows" if other == 1 else "show"
    return (
        f"{who}: {counts}, {worse} {_is(worse)} {down} and {other} {shows} no difference"
        f"{unstated}{f'; but it loses {lost}' if lost else ''}. {metric(first[0].metric).label}: {changes}."
    )


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _what(row: Row) -> str:
    """What was compared, in words.

    Example:
        >>> from pellucid.evaluation.metrics.comparison import Row
        >>> _what(Row("robustness", "accuracy", "mean", "robust", 0.8, 0.7, 0.9, 10, at="L∞ 0.01"))
        'accuracy under attack (L∞ 0.01)'
    """
    label = metric(row.metric).label
    first = label.split()[0]
    name = label if first[1:] != first[1:].lower() else label[:1].lower() + label[1:]
    if row.class_name != MEAN:
        name += f" of {readable(row.class_name)}"
    if row.section == "robustness":
        name += f" under attack ({row.at})" if row.at != "0" else " on the images to be attacked"
    elif row.section == "ara" and not row.metric.startswith("ara_"):
        name += " without a perturbation on the images of the ARA"
    elif row.method:
        name += f" of {method_label(row.method)} on {row.target}"
    return name
