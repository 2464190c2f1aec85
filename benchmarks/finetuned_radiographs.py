r"""How long, and with which perturbations, a network of radiographs must be fine-tuned until it is robust at all.

In the study chestxray14-boxed three epochs with L-infinity 0.01 left networks that an attack of half that size turns
over as it does plain ones. Each way here goes on from a plain network, on the training images of a study, and is looked
at on its validation images, which chose the checkpoint too. With folds (--fold) these are test images of other folds:
this chooses lengths and sizes for studies of other seeds, and judges nothing. The plain network is trained first, by
the study's settings, unless --base names one.

Writes results/finetuned_radiographs.csv, a row a way, which is not done again: AUROC (mean over the classes that have
positives), as they are and under PGD of 10 steps, and where the study's own data has boxes, of CAM and saliency the
energy over area and the pointing game there. About half an hour a way on one core for chestxray14-boxed, five minutes
for pneumonia-finetuned.

    python benchmarks/finetuned_radiographs.py --study chestxray14-boxed --root DATA --fold 4 --seed 1 --base RUN \
        --runs FOLDER [--ways ...]
    python benchmarks/finetuned_radiographs.py --study pneumonia-finetuned --root DATA --seed 100 --runs FOLDER
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import pellucid as pl
from pellucid.evaluation.metrics.validation import ValidationScorer
from pellucid.study.config import load_study
from pellucid.study.context import StudyContext
from pellucid.training import load_recipe
from pellucid.training.loop import train
from pellucid.training.network import starting_from
from table import machine, versions

if TYPE_CHECKING:
    from pellucid.training.recipe import Recipe
    from pellucid.training.run import RunFolder

RESULTS = Path(__file__).parent / "results" / "finetuned_radiographs.csv"
SIZES = (0.0025, 0.01)
SCORES = ("energy_ratio", "pointing")
BEFORE = "before"


def _way(size: float | None, epochs: float, lr: float = 1.0, mix: float = 0.5) -> dict[str, Any]:
    changed: dict[str, Any] = {"fine_tuning": {"epochs": epochs, "lr": lr}}
    if size is not None:
        changed["objective"] = {"mix": mix, "attack": {"size": {"linf": size}}}
    return changed


WAYS: dict[str, dict[str, Any] | None] = {  # epochs as a part of the base's
    BEFORE: None,
    "robust 0.01, half as long, a third of the rate": _way(0.01, 0.5, lr=0.333),
    "robust 0.01, half as long": _way(0.01, 0.5),
    "robust 0.01, as long": _way(0.01, 1.0),
    "robust 0.0025, twice as long": _way(0.0025, 2.0),
    "plain, twice as long": _way(None, 2.0),
    "robust 0.01, twice as long": _way(0.01, 2.0),
    "robust 0.001, twice as long": _way(0.001, 2.0),
    "robust 0.005, twice as long": _way(0.005, 2.0),
}


def main() -> None:
    """Train and judge; see the file's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="chestxray14-boxed")
    parser.add_argument("--root", type=Path, required=True, help="the folder of the study's data")
    parser.add_argument("--base", type=Path, help="run folder of a plain network of the study")
    parser.add_argument("--fold", type=int, help="that it did not see, in a study with folds")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--runs", type=Path, required=True, help="folder for the networks")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    study = load_study(given.study)
    context = StudyContext(study, given.root, given.runs)
    parts = context.parts_of(given.fold)
    where = {"study": given.study, "seed": given.seed, "fold": "" if given.fold is None else given.fold}

    def trained(recipe: Recipe, name: str) -> RunFolder:
        folder, scorer = given.runs / name, ValidationScorer()
        return train(
            recipe, parts["train"], parts["validation"], folder,
            scorer=scorer, seed=given.seed, device="cpu", resume=True,
        )  # fmt: skip

    base = given.base
    if base is None:
        base = given.runs / f"{given.study}-plain-seed{given.seed}"
        trained(load_recipe("khakzar2019-baseline", common=study.settings), base.name)
    for way in given.ways:
        rows = _rows()
        if any(all(row[key] == str(value) for key, value in (where | {"way": way}).items()) for row in rows):
            continue
        settings = WAYS[way]
        folder, seconds = base, 0.0
        if settings is not None:
            recipe_name = "khakzar2019-baseline" if "objective" not in settings else "khakzar2019-robust"
            recipe = load_recipe(recipe_name, settings=settings, common=study.settings, fine_tuning=True)
            name = f"{given.study}-{way.replace(' ', '-').replace(',', '')}-seed{given.seed}"
            run = trained(starting_from(recipe, base), name)
            folder, seconds = run.path, float(sum(row["seconds"] for row in run.metrics()))
        row = where | {"way": way} | _judge(folder, parts["validation"])
        row |= {"seconds of training": round(seconds, 1), "machine": machine(), "versions": versions("torch")}
        with RESULTS.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(row), lineterminator="\n")
            writer.writeheader()
            writer.writerows([*rows, row])
        print(row, flush=True)


def _rows() -> list[dict[str, str]]:
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _judge(folder: Path, images: pl.Dataset) -> dict[str, object]:
    model = pl.load(folder)
    attacks = [f"pgd:linf={size}" for size in SIZES]
    areas = pl.evaluate(model, images, attacks, steps=10, allow_training_images=True).to_dataframe()
    areas = areas[(areas["class"] == "mean") & (areas["metric"] == "auroc") & (areas["section"] == "robustness")]
    names = ["auroc", *(f"auroc, PGD {size}" for size in SIZES)]
    figures: dict[str, object] = {"n": len(images)}
    figures |= {name: f"{value:.4f}" for name, value in zip(names, areas["value"], strict=True)}
    methods = ["cam", "saliency", "trivial: mean box"]
    names = [f"{method} {score}" for method in methods for score in SCORES]
    if not images.regions:
        return figures | {"boxed": 0} | dict.fromkeys(names, "")
    boxed = images.subset(sorted({region.image for region in images.regions.items}))
    maps = pl.localize(model, boxed, ["cam", "saliency"], boxes=False, allow_training_images=True).to_dataframe()
    maps = maps[maps["class"] == "mean"].set_index(["method", "metric"])["value"]
    scores = {f"{method} {score}": f"{maps[method, score]:.4f}" for method in methods for score in SCORES}
    return figures | {"boxed": len(boxed)} | scores


if __name__ == "__main__":
    main()
