"""AUROC of the study's networks among the sick and by view: see README.md.

    python docs/results/chestxray14-boxed/subgroups.py chestxray14-boxed

The argument is the folder of the images, of whose table the views are read. Everything else is in per-image.npz, beside
this file. Writes subgroups.csv: mean over the findings, by variant, and the difference from plain training for as long.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from pellucid.data.folds import assign_folds
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.comparison import classification_rows
from pellucid.study.config import load_study
from pellucid.study.context import StudyContext
from pellucid.utils.csv_table import write_csv

HERE = Path(__file__).parent
REFERENCE = "plain for as long"


def main(root: str) -> None:
    """Judge each group of images and write the table."""
    study = load_study("chestxray14-boxed")
    whole = StudyContext(study, Path(root), HERE).whole
    folds = assign_folds(whole, study.folds or 0, study.data.seed)
    figures = np.load(HERE / "per-image.npz")
    place = {name: row for row, name in enumerate(figures["test/ids"].tolist())}
    order = np.array([place[name] for name in whole.ids])
    logits = {
        variant.label: [figures[f"{variant.label}, seed {seed}/logits"][order] for seed in study.seeds]
        for variant in sorted(study.variants, key=lambda variant: variant.label != REFERENCE)
    }
    view, sick = np.array(whole.metadata["view"]), whole.targets.any(axis=1)
    groups = {
        "all": np.ones(len(whole), dtype=bool),
        "with a finding": sick,
        "PA": view == "PA",
        "AP": view == "AP",
        "with a finding, PA": sick & (view == "PA"),
        "with a finding, AP": sick & (view == "AP"),
    }
    rows = []
    for group, inside in groups.items():
        images = np.flatnonzero(inside)
        part = whole.subset(images)
        draws = Bootstrap(part.patients, study.evaluation.resamples)
        of_part = {variant: [scores[images] for scores in seeds] for variant, seeds in logits.items()}
        for row in classification_rows(of_part, part, draws, REFERENCE, folds[images]):
            if row.metric == "auroc" and row.class_name == "mean":
                rows.append({"images": group, "variant": row.variant} | cells(row))
                print(rows[-1], flush=True)
    write_csv(HERE / "subgroups.csv", rows)


def cells(row: object) -> dict[str, object]:
    """Of a row: value, interval, n, and the difference of these networks and of their recipes."""
    figure = {name: getattr(row, name) for name in ("value", "low", "high", "n", "positives", "patients", "reason")}
    difference = row.difference or {}
    figure["difference"] = difference.get("value")
    for who in ("networks", "recipes"):
        figure |= {f"{who} {end}": difference.get(who, {}).get(end) for end in ("low", "high")}
    return {name: f"{value:.4f}" if isinstance(value, float) else value for name, value in figure.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
