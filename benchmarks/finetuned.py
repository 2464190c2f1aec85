"""Which way of training robustly from a plainly trained network keeps AUROC and betters its maps, on phantoms.

Each seed has drawings of its own (1,200 training images of 96 x 96), none of them those of a study: 300 validation
images choose the checkpoints, 300 others of the same drawings judge, and no test image is looked at. A small network
is trained plainly for 24 epochs; each way goes on from it. "line" is no training: the weights halfway between the plain
and a robust network.

Scores are means over classes: AUROC (and of the class that has lost most against the plain network), and of CAM and
saliency the energy in the finding over its area, the pointing game and the AUPRC of the map. The last row of a seed is
the best trivial map for each of the scores.

Writes results/finetuned.csv; about a minute per network on one core. Networks that are there already (--runs) are not
trained again.

    python benchmarks/finetuned.py --runs FOLDER [--seeds 10 11 12] [--ways "robust 0.01" ...]
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pellucid.data.cache.fitted_images import FittedImages
from pellucid.data.registry import open_dataset
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.classification import classification_table
from pellucid.evaluation.metrics.comparison import trivial_rows
from pellucid.evaluation.metrics.explanations import localization_task, score_explanations
from pellucid.evaluation.metrics.heatmap_scores import score_table
from pellucid.evaluation.metrics.validation import ValidationScorer
from pellucid.models.inference import predict
from pellucid.models.weights import load_trained
from pellucid.training import load_recipe
from pellucid.training.loop import train
from pellucid.training.network import starting_from
from table import machine, versions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.metrics.explanations import LocalizationTask
    from pellucid.models.classifier import ConvolutionalClassifier

RESULTS = Path(__file__).parent / "results" / "finetuned.csv"
SCORES, METHODS = ("energy_ratio", "pointing", "auprc"), ("cam", "saliency")
COMMON: dict[str, Any] = {  # as the demo's
    "model": {"name": "small", "size": 96},
    "optimizer": {"name": "adamw", "lr": 3e-3, "weight_decay": 1e-2},
    "schedule": {"name": "cosine", "warmup": 0.1},
    "training": {"epochs": 24, "batch_size": 32},
}


def _way(size: float | None, epochs: float = 0.333, lr: float = 0.333, mix: float = 0.5) -> dict[str, Any]:
    changed: dict[str, Any] = {"fine_tuning": {"epochs": epochs, "lr": lr}}
    if size is not None:
        changed["objective"] = {"mix": mix, "attack": {"size": {"linf": size}}}
    return changed


WAYS: dict[str, dict[str, Any]] = {
    "plain for as long": _way(None),
    "robust 0.01": _way(0.01),
    "robust 0.02": _way(0.02),
    "robust 0.01, whole rate": _way(0.01, lr=1.0),
    "robust 0.01, mix 0.2": _way(0.01, mix=0.2),
    "robust 0.01, 4 epochs": _way(0.01, epochs=0.167),
    "robust 0.01, a tenth of the rate": _way(0.01, lr=0.1),
    "robust 0.03": _way(0.03),
}
LINE = "line, halfway to robust 0.02"


def main() -> None:
    """Train and judge; see the file's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12])
    parser.add_argument("--ways", nargs="+", default=[*WAYS, LINE])
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, object]] = []
    if RESULTS.exists():
        with RESULTS.open(newline="", encoding="utf-8") as stream:
            rows = [dict(row) for row in csv.DictReader(stream)]
    for seed in given.seeds:
        rows = _seed(seed, given.ways, given.runs, rows)


def _seed(seed: int, ways: list[str], runs: Path, rows: list[dict[str, object]]) -> list[dict[str, object]]:
    options = {"size": 96, "train": 1200, "validation": 600, "test": 1}
    splits = open_dataset("phantom", seed=seed, options=options)
    chosen_by, judged_by = (splits["validation"].subset(range(k, k + 300)) for k in (0, 300))
    base = runs / f"plain-seed{seed}"
    plain = load_recipe("khakzar2019-baseline", common=COMMON)
    seconds = {"plain": _trained(plain, splits["train"], chosen_by, base, seed)}
    images = FittedImages(judged_by, plain.model.input_spec)
    task = localization_task(images, judged_by.classes)
    first = _judge(load_trained(base), images, task, None)
    scored = {"plain": first}
    for way in ways:
        if way == LINE:
            continue
        folder = runs / f"{way.replace(' ', '-').replace(',', '')}-seed{seed}"
        name = "khakzar2019-baseline" if "objective" not in WAYS[way] else "khakzar2019-robust"
        recipe = starting_from(load_recipe(name, settings=WAYS[way], common=COMMON, fine_tuning=True), base)
        seconds[way] = _trained(recipe, splits["train"], chosen_by, folder, seed)
        scored[way] = _judge(load_trained(folder), images, task, first)
        if way == "robust 0.02" and LINE in ways:
            seconds[LINE] = 0.0
            scored[LINE] = _judge(_between(load_trained(base), load_trained(folder)), images, task, first)
        print(seed, way, round(seconds[way]), {k: round(v, 3) for k, v in scored[way].items() if k != "classes"})
    best = {f"{m} {s}": _best_trivial(task)[s] for m in METHODS for s in SCORES}
    scored["best trivial map"] = {"auroc": float("nan"), "worst change of a class": float("nan")} | best
    mine = [
        {"seed": seed, "way": way, "n": len(judged_by), "pairs": len(task.pair_image)}
        | {k: f"{v:.4f}" for k, v in figures.items() if k != "classes"}
        | {"seconds of training": round(seconds.get(way, 0.0), 1), "machine": machine()}
        | {"versions": versions("torch")}
        for way, figures in scored.items()
    ]
    names = {(str(row["seed"]), row["way"]) for row in mine}
    rows = [row for row in rows if (str(row["seed"]), row["way"]) not in names] + mine
    with RESULTS.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return rows


def _trained(recipe: Any, data: Dataset, validation: Dataset, folder: Path, seed: int) -> float:
    run = train(recipe, data, validation, folder, scorer=ValidationScorer(), seed=seed, device="cpu", resume=True)
    return float(sum(row["seconds"] for row in run.metrics()))


def _judge(
    network: ConvolutionalClassifier, images: FittedImages, task: LocalizationTask, first: Mapping[str, Any] | None
) -> dict[str, Any]:
    dataset = images.dataset
    draws = Bootstrap(dataset.patients, 100)
    table = classification_table(predict(network, images.pixels), dataset.targets, dataset.classes, dataset.task, draws)
    classes = {name: table[name]["auroc"].value for name in dataset.classes}
    worst = 0.0 if first is None else min(classes[name] - first["classes"][name] for name in classes)
    figures = {"auroc": table["mean"]["auroc"].value, "worst change of a class": worst, "classes": classes}
    over_pairs = Bootstrap(task.dataset.patients, 100).take(task.pair_image)
    for method in METHODS:
        scores = score_explanations(network, task, method, boxes=False)
        mean = score_table(scores.scores, task.pair_class, task.classes, over_pairs)["mean"]
        figures |= {f"{method} {name}": mean[name].value for name in SCORES}
    return figures


def _best_trivial(task: LocalizationTask) -> dict[str, float]:
    rows = [r for r in trivial_rows(task, Bootstrap(task.dataset.patients, 100)) if r.class_name == "mean"]
    return {name: max(row.value for row in rows if row.metric == name) for name in SCORES}


def _between(plain: ConvolutionalClassifier, robust: ConvolutionalClassifier) -> ConvolutionalClassifier:
    there = robust.state_dict()
    halfway = {k: (v + there[k]) / 2 if v.is_floating_point() else v for k, v in plain.state_dict().items()}
    plain.load_state_dict(halfway)
    return plain


if __name__ == "__main__":
    main()
