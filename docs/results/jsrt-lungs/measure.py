"""How much of two networks' explanations lies in the lungs and the heart of JSRT: see README.md.

    python docs/results/jsrt-lungs/measure.py [JSRT PLAIN ROBUST]

JSRT is the folder of the films with outlines, PLAIN and ROBUST are run folders of the study chestxray14-boxed. Writes
per-film.npz (every film's shares), shares.csv (a row for each network, method, organ and class) and differences.csv
beside this file; without arguments only the tables, from the per-film.npz that is there.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

import pellucid as pl
from pellucid.data import open_dataset
from pellucid.data.cache.fitted_images import FittedImages
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.differences import paired_difference
from pellucid.evaluation.metrics.heatmap_scores import energy_share
from pellucid.evaluation.metrics.paired_tests import holm
from pellucid.evaluation.metrics.statistics import Replicates, mean_over_images
from pellucid.evaluation.metrics.trivial_maps import centred_gaussian
from pellucid.explainers import explain
from pellucid.models.inference import as_pixels, in_batches
from pellucid.utils.csv_table import write_csv

if TYPE_CHECKING:
    from pellucid.models.classifier import AnyClassifier

HERE = Path(__file__).parent
ORGANS = ("Lungs", "Heart")
# The gradient is taken class by class, so of fewer: one finding of the lungs, one of the heart, and what JSRT is of.
CLASSES = {"cam": None, "saliency": ("Cardiomegaly", "Effusion", "Nodule")}
MEAN = "mean"  # over the classes of which both networks have a map with heat, film by film
PRIMARY = [("cam", "Lungs", MEAN), ("saliency", "Lungs", MEAN)]
BOUNDS = (0.0, 1.0)
KEYS = ("network", "map", "organ", "class")


def main(*arguments: str) -> None:
    """Measure both networks, if their folders are given, and write the tables."""
    if arguments:
        np.savez_compressed(HERE / "per-film.npz", **measure_both(*arguments))
    with np.load(HERE / "per-film.npz") as kept:
        of_films = {name: kept[name] for name in kept.files}
    draws = Bootstrap(of_films["films"].tolist(), resamples=10_000)
    shares = {tuple(name.split(", ")): of_films[name].astype(float) for name in of_films if name.count(", ") == 2}
    names = {method: of_films[f"classes of {method}"].tolist() for method in CLASSES}

    def mean(values: np.ndarray) -> Replicates:
        return mean_over_images(values, draws, within=BOUNDS)

    figures: list[dict[str, object]] = []
    compared: dict[tuple[str, str, str], list[Replicates]] = {}  # plain and robust, on the same films
    for method, organ in [(method, organ) for method in CLASSES for organ in ORGANS]:
        pair = [shares[label, method, organ] for label in ("plain", "robust")]
        in_both = np.isfinite(pair[0]) & np.isfinite(pair[1])
        on_common = [np.where(in_both, values, np.nan) for values in pair]
        for k, name in enumerate(names[method]):
            for label, values in zip(("plain", "robust"), pair, strict=True):
                place = dict(zip(KEYS, (label, method, organ, name), strict=True))
                figures.append(place | cells(mean(values[:, k])))
            compared[method, organ, name] = [mean(values[:, k]) for values in on_common]
        compared[method, organ, MEAN] = [mean(masked_mean(values)) for values in on_common]
    for organ in ORGANS:
        for name, key in (("uniform: the organ's area", "area"), ("centred", "centred")):
            place = dict(zip(KEYS, ("none", name, organ, ""), strict=True))
            figures.append(place | cells(mean(of_films[f"{key}, {organ}"].astype(float))))
    write_csv(HERE / "shares.csv", figures)
    differences = {place: paired_difference([b], [a]) for place, (a, b) in compared.items()}
    corrected = dict(zip(PRIMARY, holm([differences[place].networks.p for place in PRIMARY]), strict=True))
    rows = [
        dict(zip(KEYS[1:], place, strict=True))
        | {"plain": rounded(compared[place][0].value), "robust": rounded(compared[place][1].value)}
        | {"difference": rounded(d.value), "low": rounded(d.networks.low), "high": rounded(d.networks.high)}
        | {"films": d.n, "reason": d.networks.reason or d.reason or "", "p": rounded(d.networks.p)}
        | {"p after Holm": rounded(corrected[place]) if place in corrected else ""}
        for place, d in differences.items()
    ]
    write_csv(HERE / "differences.csv", rows)


def measure_both(root: str, plain: str, robust: str) -> dict[str, np.ndarray]:
    """Every film's shares: `network, method, organ` → (N, K), with the films' names and those of the K classes."""
    films = open_dataset("jsrt", root, options={"test_fraction": 1})["test"]
    out = {"films": np.array(films.patients, dtype=str)}
    for label, folder in (("plain", plain), ("robust", robust)):
        model = pl.load(folder)
        images = FittedImages(films, model.input_spec)
        masks = {
            organ: np.stack([films.regions.mask(i, organ, place) for i, place in enumerate(images.places)])
            for organ in ORGANS
        }
        for method, of_method in CLASSES.items():
            names = list(of_method or model.classes)
            out[f"classes of {method}"] = np.array(names)
            classes = [model.classes.index(name) for name in names]
            for organ, values in measure(model, images, masks, method, classes).items():
                out[f"{label}, {method}, {organ}"] = values.astype(np.float32)
    for organ, inside in masks.items():
        out[f"area, {organ}"] = inside.mean(axis=(1, 2)).astype(np.float32)
        centre = energy_share(centred_gaussian(*inside.shape[:1], inside.shape[1:]), inside)
        out[f"centred, {organ}"] = centre.astype(np.float32)
    return out


def masked_mean(values: np.ndarray) -> np.ndarray:
    """The mean of each film's finite values, (N,); NaN where it has none."""
    count = np.isfinite(values).sum(axis=1)
    return np.divide(np.nansum(values, axis=1), count, out=np.full(len(values), np.nan), where=count > 0)


def measure(
    model: AnyClassifier, images: FittedImages, masks: dict[str, np.ndarray], method: str, classes: list[int]
) -> dict[str, np.ndarray]:
    """The share of each film's map of each class in each organ, (N, K)."""
    shares = {organ: np.full((len(images), len(classes)), np.nan) for organ in masks}
    for rows in in_batches(len(images), 8):
        pixels = as_pixels(images.pixels[rows], torch.device("cpu"))
        if method == "cam":
            maps = explain("cam", model, pixels, "all").maps[:, classes]
        else:
            columns = [explain(method, model, pixels, torch.full((len(pixels),), k)).maps for k in classes]
            maps = torch.stack(columns, dim=1)
        for organ, inside in masks.items():
            for column in range(len(classes)):
                shares[organ][rows, column] = energy_share(maps[:, column].numpy(), inside[rows])
        print(label_of(model), method, rows.stop, flush=True)
    return shares


def label_of(model: AnyClassifier) -> str:
    """Which network is at work, for the terminal."""
    return Path(str(model.path)).name


def cells(figure: Replicates) -> dict[str, object]:
    """Value, interval, n and what is to be said of it."""
    one = figure.estimate()
    ends = {"share": rounded(one.value), "low": rounded(one.low), "high": rounded(one.high)}
    return ends | {"films": one.n, "reason": one.reason or ""}


def rounded(value: float) -> float:
    """To five digits, which is more than the intervals can carry."""
    return float(f"{value:.5g}")


if __name__ == "__main__":
    main(*sys.argv[1:])
