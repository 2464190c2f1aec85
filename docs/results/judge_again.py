"""What the committed tables say of recipes by the rules of today: python docs/results/judge_again.py.

The tables of earlier studies hold each training's figure and the interval over patients, not what two trainings have in
common in the resamples of the patients. That part of the error (docs/decisions/0014-two-questions.md) lies between
nothing and the whole error over patients, and a recipe's error is never less than the latter, so each p value is given
as the least and the most that it can be, at either end, for p rises with that part; those of a family are corrected as
in a study. Writes judged-again.csv.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import block_diag
from scipy.stats import norm

from pellucid.evaluation.metrics.differences import ALIKE, Difference, Inference, recipe_variance
from pellucid.evaluation.metrics.verdicts import ALPHA, Bar, judge_family
from pellucid.utils.csv_table import write_csv

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
HEADLINE = ("energy_ratio", "pointing", "auprc")
AIMS = ("saliency_marker", "saliency_finding", "auroc_without", "auroc_gap")

Row = dict[str, str]
Judged = dict[str, object]


def main() -> None:
    """Write the table."""
    write_csv(HERE / "judged-again.csv", conclusions())


def conclusions() -> list[Judged]:
    """Every family, judged."""
    out: list[Judged] = []
    for study in ("pneumonia", "pneumonia-woods", "noise-cifar10", "robust-cifar10", "chestxray14-sample"):
        rows = [r for path in sorted((HERE / study / "tables").glob("*.csv")) for r in read(path)]
        for family in sorted({family_of(r) for r in rows} - {""}):
            chosen = [r for r in rows if family_of(r) == family]
            plain = {key(r): r for r in chosen if not r["difference"]}
            out += judge(study, family, [(r, plain[key(r)], False) for r in chosen if r["difference"]])
    rows = read(HERE / "annotation-loop" / "tables" / "loop.csv")
    before = {r["metric"]: r for r in rows if r["variant"] == "cheating"}
    control = {(r["metric"], r["at"]): r for r in rows if r["variant"] == "labels only"}
    for number in ("10", "30"):
        for family in (f"aims, {number} images", f"others, {number} images"):
            arms = [
                r
                for r in rows
                if r["at"] == number
                and r["variant"].startswith("marks")
                and (r["metric"] in AIMS) == ("aims" in family)
            ]
            pairs = [(r, before[r["metric"]], True) for r in arms]
            pairs += [(against_control(r), control[r["metric"], number], True) for r in arms]
            out += judge("annotation-loop", family, pairs)
    tables = HERE / "annotation-chestxray14" / "tables"
    rows = [r | {"at": name} for name in ("test", "validation") for r in read(tables / f"{name}.csv")]
    shown = [
        r
        for r in rows
        if r["class"] == "mean" and r["metric"] in (*HEADLINE, "auroc") and r["variant"] in ("gradient", "cam")
    ]
    out += judge(
        "annotation-chestxray14",
        "over the control",
        [(against_control(r), {"variant": "control"}, True) for r in shown],
    )
    return [{name: rounded(value) for name, value in one.items()} for one in out]


def read(path: Path) -> list[Row]:
    """A table's rows; what is not a figure of these images (training, published figures) left out."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{"target": "", **r} for r in rows if "class" in r and ("difference" in r or "over_control" in r)]


def family_of(row: Row) -> str:
    """What the row was looked at together with; empty where no sentence speaks of it."""
    section, metric = row["section"], row["metric"]
    if section == "localization" and row["class"] == "mean":
        return "headline scores" if metric in HEADLINE else "Otsu" if metric == "otsu_iou" else ""
    if section == "robustness" and metric == "accuracy":
        return "accuracy under PGD"
    if section == "ara" and metric != "balanced_accuracy" and row["class"] == "mean":
        return "areas"
    return "AUROC" if section == "classification" and metric == "auroc" and row["class"] == "PNEUMONIA" else ""


def key(row: Row) -> tuple[str, ...]:
    """What two variants' rows have in common."""
    return tuple(row[name] for name in ("section", "target", "method", "gate", "metric", "at", "class"))


def against_control(row: Row) -> Row:
    """The row with its difference from the control in place of that from the network before."""
    if "over_control" in row:
        return row | {f"difference{end}": row[f"over_control{end}"] for end in ("", "_low", "_high")}
    return row | {
        f"difference{end}": row[f"control_{name}"] for end, name in (("", "value"), ("_low", "low"), ("_high", "high"))
    }


def judge(study: str, family: str, pairs: list[tuple[Row, Row, bool]]) -> list[Judged]:
    """One family: for each difference the range that its p value can have, corrected after Holm."""
    out: list[Judged] = []
    extremes: list[tuple[Difference, ...]] = []  # as the recipes' p is least and most
    for row, other, is_shared in pairs:
        networks = inference(float(row["difference"]), patients_error(row))
        least, most = inferences(row, other, is_shared)
        names = ("target", "method", "metric", "at", "variant")
        out.append(
            {"study": study, "family": family, **{n: row[n] for n in names}, "against": other["variant"]}
            | {
                "difference": networks.value,
                "networks_p": networks.p,
                "recipes_p_least": least.p,
                "recipes_p_most": most.p,
            }
            | {"recipes_low": most.low, "recipes_high": most.high}
        )
        extremes.append(tuple(Difference(networks.value, 1, networks, end) for end in (least, most)))
    for place, name in enumerate(("least", "most")):
        of_family = [pair[place].to_json() for pair in extremes]
        for one, judged in zip(out, judge_family(of_family, [Bar(0)] * len(out), family), strict=True):
            for question, column in (("networks", "networks_p"), ("recipes", f"recipes_p_{name}")):
                p_corrected = judged[question]["p_corrected"]
                one[f"{column}_corrected"] = math.nan if p_corrected is None else p_corrected
    for one in out:
        lowest, highest = (float(str(one[f"recipes_p_{end}_corrected"])) for end in ("least", "most"))
        one["networks_verdict"] = "differs" if float(str(one["networks_p_corrected"])) <= ALPHA else "unclear"
        one["recipes_verdict"] = (
            "one training"
            if math.isnan(highest)
            else "differs"
            if highest <= ALPHA
            else "unclear"
            if lowest > ALPHA
            else "the table cannot say"
        )
    return out


def inferences(row: Row, other: Row, is_shared: bool) -> tuple[Inference, Inference]:
    """The recipes' answer for the least and the largest patients' part of the error; without one of one training."""
    value, patients = float(row["difference"]), patients_error(row)
    if ";" not in row.get("seeds", ""):
        return Inference(value), Inference(value)
    first, second = (np.array([float(v) for v in r["seeds"].split(";")]) for r in (row, other))
    groups = [first - second] if is_shared else [first, second]
    answers = []
    for part in (0.0, patients**2):
        covariance = block_diag(*(np.full((len(g), len(g)), part / len(groups)) for g in groups))
        variance = recipe_variance(groups, covariance)
        trainings = [(float(square), df) for square, df in zip(variance.spreads, variance.spreads_df, strict=True)]
        answers.append(inference(value, max(patients, float(variance.error)), trainings))
    return answers[0], answers[1]


def inference(value: float, error: float, trainings: Sequence[tuple[float, int]] = ()) -> Inference:
    """Without an error where nothing differs on any image."""
    return Inference.even(value, error, trainings) if error > 0 else Inference(value, reason=ALIKE)


def rounded(value: object) -> object:
    """Four digits of a number; nothing where there is none."""
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.4g}"


def patients_error(row: Row) -> float:
    """The standard error over patients, from the width of the percentile interval; 0 where it had none."""
    if not row["difference_low"]:
        return 0.0
    return (float(row["difference_high"]) - float(row["difference_low"])) / (2 * float(norm.ppf(0.975)))


if __name__ == "__main__":
    main()
