"""Where adversarial explanations change JSRT's films, and with which sign: see README.md.

    python docs/results/pneumonia-finetuned/changes.py [STUDY JSRT]

STUDY is the finished study's folder with its networks, JSRT the folder of films with outlines. Of each film of the test
part the probability of pneumonia is raised, by a change of 0.05 (root mean square per pixel). Writes changes.npz (per
network and film the mean change in the lungs less that outside, and the share of its absolute values in the lungs) and
changes.csv; without arguments only the table.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

import pellucid as pl
from pellucid.data import open_dataset
from pellucid.data.cache.fitted_images import FittedImages
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.differences import paired_difference
from pellucid.evaluation.metrics.statistics import mean_over_images
from pellucid.models.inference import as_pixels
from pellucid.utils.csv_table import write_csv

HERE = Path(__file__).parent
RECIPES = ("plain for as long", "robust")
SEEDS = (1, 2, 3, 4, 5)
MEASURES = ("signed", "share")
RHO = 0.05


def main(*arguments: str) -> None:
    """Measure, if the folders are given, and write the table."""
    if arguments:
        np.savez_compressed(HERE / "changes.npz", **measured(*map(Path, arguments)))
    with np.load(HERE / "changes.npz") as kept:
        of_films = {name: kept[name] for name in kept.files}
    draws = Bootstrap(of_films["films"].tolist(), resamples=10_000)
    rows = []
    for measure in MEASURES:
        within = (0.0, 1.0) if measure == "share" else (-1.0, 1.0)
        means = {
            recipe: [
                mean_over_images(of_films[f"{recipe}, {seed}, {measure}"].astype(float), draws, within=within)
                for seed in SEEDS
            ]
            for recipe in RECIPES
        }
        difference = paired_difference(means["robust"], means["plain for as long"])
        row = {
            "measure": measure,
            "films": len(of_films["films"]),
            "area of the lungs": f"{of_films['area'].mean():.3f}",
        }
        for recipe in RECIPES:
            row[recipe] = f"{np.mean([figure.value for figure in means[recipe]]):.4f}"
            row[f"{recipe}, each training"] = " ".join(f"{figure.value:.4f}" for figure in means[recipe])
        row["difference"] = f"{difference.value:.4f}"
        for question in ("networks", "recipes"):
            answer = getattr(difference, question)
            row |= {f"{question} low": f"{answer.low:.4f}", f"{question} high": f"{answer.high:.4f}"}
            row[f"{question} p"] = f"{answer.p:.2g}"
        rows.append(row)
    write_csv(HERE / "changes.csv", rows)


def measured(study: Path, jsrt: Path) -> dict[str, np.ndarray]:
    """Of each network and film the two measures, named after both."""
    films = open_dataset("jsrt", jsrt)["test"]
    out: dict[str, np.ndarray] = {"films": np.array(films.patients, dtype=str)}
    for recipe in RECIPES:
        for seed in SEEDS:
            model = pl.load(study / "runs" / f"{recipe.replace(' ', '-')}-seed{seed}")
            fitted = FittedImages(films, model.input_spec)
            lungs = np.stack([films.regions.mask(i, "Lungs", place) for i, place in enumerate(fitted.places)])
            images = as_pixels(fitted.pixels[:], torch.device("cpu"))
            result = pl.explain(model, images, "adversarial", classes="PNEUMONIA", rho=RHO)
            change = (result.maps - images).numpy().mean(axis=1)
            signed = [c[m].mean() - c[~m].mean() for c, m in zip(change, lungs, strict=True)]
            share = [np.abs(c)[m].sum() / np.abs(c).sum() for c, m in zip(change, lungs, strict=True)]
            out |= {f"{recipe}, {seed}, signed": np.float32(signed), f"{recipe}, {seed}, share": np.float32(share)}
            out["area"] = lungs.mean(axis=(1, 2)).astype(np.float32)
            print(recipe, seed, np.mean(signed), np.mean(share), flush=True)
    return out


if __name__ == "__main__":
    main(*sys.argv[1:])
