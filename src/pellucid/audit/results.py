"""The figures of an audit, assembled: what audit.json holds, and what stands in the tables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.audit.classification import OWN, SUGGESTED, constant_accuracy
from pellucid.audit.facts import classes_without_images
from pellucid.evaluation.metrics.comparison import MANY_CLASSES, Row
from pellucid.evaluation.metrics.validation import one_hot
from pellucid.report.tables.long_form import LongTable, flat
from pellucid.report.tables.results_index import MEAN
from pellucid.utils.resources import finite

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pellucid.audit.classification import Answers, Classification
    from pellucid.data.dataset import Dataset
    from pellucid.report.pages.audit import WrongAnswer

WORST = 10
_GENERAL_LIMITS = (
    "Robust accuracy and areas are upper bounds: a stronger attack can only lower them.",
    "A test of an explanation that is passed proves nothing; one that fails is a reason not to believe it.",
)


def general_limits(used: Dataset) -> list[str]:
    """What the figures of every audit cannot show, and those of images that lack some of the classes.

    Args:
        used: the images that are judged, perhaps not all of their part.
    """
    others = "images" if used.patients == used.ids else "patients"
    limits = [
        f"Intervals speak of other {others} like these, and of this one model. They are not corrected for the number "
        "of figures.",
        *_GENERAL_LIMITS,
    ]
    if missing := classes_without_images(used):
        limits.append(
            f"Of {missing:,} of the {len(used.classes):,} classes there is no image: the accuracy is that on the "
            "others, and not comparable with published accuracies."
        )
    return limits


def not_spoken_of(*, groups: object, corrupted: object) -> str:
    """What an audit says nothing of; `groups` and `corrupted` are what it found there, if anything."""
    whom = "" if groups else ", or of single groups of people"
    note = " Corrupted images are made from these, and stand for no other hospital or device." if corrupted else ""
    return f"Nothing here speaks of images from elsewhere, or of other devices{whom}.{note}"


def classification_json(
    answers: Answers, figures: Classification, use: Mapping[str, Any], wrong: Sequence[WrongAnswer], attacked: Dataset
) -> dict[str, Any]:
    """What part 3 has beside its rows: reliability bins, confusions, and the answers it is surest about and wrong.

    `attacked` are the images that are attacked: a constant answer is right on another share of them.
    """
    classes = answers.dataset.classes
    bins = []
    if figures.reliability is not None:
        outcomes = [r.estimate().to_json() for r in figures.reliability.outcome]
        parts = zip(figures.reliability.confidence, figures.reliability.spread, outcomes, strict=True)
        bins = [
            {"confidence": float(sure), "from": float(low), "to": float(high), **outcome}
            for sure, (low, high), outcome in parts
        ]
    confused: list[dict[str, Any]] = []
    matrix = None
    if figures.confused is not None:
        pairs = zip(figures.confused.most_confused(len(figures.shares)), figures.shares, strict=True)
        confused = [
            {
                "class": classes[figures.confused.truth[row]],
                "taken_for": classes[figures.confused.decided[row]],
                "images": int(figures.confused.count[row]),
                "share": share.estimate().to_json(),
            }
            for row, share in pairs
        ]
        matrix = figures.confused.matrix().tolist() if len(classes) <= MANY_CLASSES else None
    plain: dict[str, Any] = finite(
        {
            "baseline": figures.baseline,
            "baseline_attacked": constant_accuracy(attacked),
            "fewest_attacked": _fewest(attacked),
            "resamples": figures.resamples,
            "plug_in_error": None if figures.reliability is None else figures.reliability.plug_in,
            "reliability": bins,
            "confusion": matrix,
            "most_confused": confused,
            "use": dict(use),
            "surest_and_wrong": [{"image": w.image, "says": w.says, "truth": w.truth} for w in wrong],
        }
    )
    return plain


def _fewest(dataset: Dataset) -> dict[str, Any] | None:
    """Of several labels, the one whose images are the fewest of those that have an AUROC, and how many they are."""
    if dataset.task != "multilabel":
        return None
    truth = one_hot(dataset)
    counts = {name: int(np.nansum(truth[:, k])) for k, name in enumerate(dataset.classes) if (truth[:, k] == 0).any()}
    there = {name: count for name, count in counts.items() if count}
    if not there:
        return None
    name = min(there, key=lambda one: there[one])
    return {"class": name, "images": there[name]}


def shown_rows(rows: Sequence[Row], classes: Sequence[str]) -> list[Row]:
    """The rows that audit.json and the report show: of many classes the means, those found least, those asked about."""
    if len(classes) <= MANY_CLASSES:
        return list(rows)
    sensitivities = [r for r in rows if r.metric == "sensitivity" and r.at == OWN and not math.isnan(r.value)]
    worst = sorted((r for r in sensitivities if r.class_name != MEAN), key=lambda r: (r.value, -r.n))[:WORST]
    single = {r.class_name for r in rows if r.at == SUGGESTED}
    names = {MEAN, *(r.class_name for r in worst), *(single if len(single) <= MANY_CLASSES else ())}
    return [r for r in rows if r.class_name in names]


def area_rows(label: str, areas: Mapping[str, Any]) -> list[Row]:
    """The Accuracy-Robustness Areas of `ara.json` as rows."""
    rows = []
    for kind, one in areas["kinds"].items():
        for name, of in {MEAN: one, **one["labels"]}.items():
            value, low, high = (math.nan if v is None else float(v) for v in (of["ara"], *of["interval"]))
            rows.append(Row("ara", f"ara_{kind}", name, label, value, low, high, of["n"], of["reason"]))
    return rows


def long_tables(results: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, LongTable]:
    """Every table as lines of CSV, by the name of its file.

    Args:
        results: as audit.json has them.
        rows: every figure, of all classes.
    """
    measures = (results.get("trust") or {}).get("rows", [])
    part = results["classification"]
    lines = {
        "figures": [flat(row.to_json()) for row in rows],
        "reliability": part["reliability"],
        "most_confused": [
            {**{k: v for k, v in c.items() if k != "share"}, **c["share"]} for c in part["most_confused"]
        ],
        "surest_and_wrong": part["surest_and_wrong"],
        "groups": _flat_groups(results.get("groups")),
        "corruptions": _flat_differences((results.get("elsewhere") or {}).get("rows", [])),
        "comparison": _flat_comparison(results.get("comparison")),
        "trust": measures,
        "verdict": results["verdict"]["statements"],
        "card": results["card"],
    }
    filled = {name: [{k: "" if v is None else v for k, v in line.items()} for line in of] for name, of in lines.items()}
    return {name: LongTable(of, {"rows": of}) for name, of in filled.items() if of}


def _flat_groups(groups: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """One line for each figure of each group."""
    lines = []
    rows = [] if groups is None else [*groups["rows"], *groups["class_rows"]]
    for row in rows:
        line = {key: value for key, value in row.items() if key not in ("rest", "difference")}
        for name in ("rest", "difference"):
            line |= {f"{name}_{key}": row[name].get(key) for key in ("value", "low", "high")}
        lines.append(line)
    return lines


def _flat_differences(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One line for each row, its difference in columns of their own."""
    lines = []
    for row in rows:
        line = {key: value for key, value in row.items() if key not in ("difference", "half", "lead")}
        for name in ("difference", "half", "lead"):
            line |= {f"{name}_{key}": value for key, value in row[name].items()}
        lines.append(line)
    return lines


def _flat_comparison(rival: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """One line for each figure that both models have."""
    lines = []
    for row in (rival or {}).get("rows", []):
        line = {key: row[key] for key in ("metric", "class", "value", "low", "high", "n", "test", "p", "p_corrected")}
        for name in ("other", "difference"):
            line |= {f"{name}_{key}": row[name].get(key) for key in ("value", "low", "high")}
        lines.append(line)
    return lines
