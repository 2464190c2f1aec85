"""How much of two networks' explanations lies in the lungs and the heart of JSRT: see README.md.

    python docs/results/jsrt-lungs/measure.py JSRT PLAIN ROBUST

JSRT is the folder of the films with outlines, PLAIN and ROBUST are run folders of the study chestxray14-boxed. Writes
shares.csv (a row for each network, method, organ and class) and differences.csv beside this file.
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
PRIMARY = [("cam", "Lungs", "mean"), ("saliency", "Lungs", "mean")]  # named before any figure had been seen
BOUNDS = (0.0, 1.0)
KEYS = ("network", "map", "organ", "class")


def main(root: str, plain: str, robust: str) -> None:
    """Measure both networks and write the tables."""
    films = open_dataset("jsrt", root, options={"test_fraction": 1})["test"]
    draws = Bootstrap(films.patients, resamples=10_000)
    figures: dict[tuple[str, str, str, str], Replicates] = {}
    for label, folder in (("plain", plain), ("robust", robust)):
        model = pl.load(folder)
        images = FittedImages(films, model.input_spec)
        masks = {
            organ: np.stack([films.regions.mask(i, organ, place) for i, place in enumerate(images.places)])
            for organ in ORGANS
        }
        for method, names in CLASSES.items():
            classes = [model.classes.index(name) for name in names or model.classes]
            shares = measure(model, images, masks, method, classes)
            for organ, values in shares.items():
                of_classes = [mean_over_images(column, draws, within=BOUNDS) for column in values.T]
                for k, one in zip(classes, of_classes, strict=True):
                    figures[label, method, organ, model.classes[k]] = one
                figures[label, method, organ, "mean"] = Replicates.mean(of_classes, n=len(films))
    centre = centred_gaussian(len(films), masks["Lungs"].shape[1:])
    for organ in ORGANS:
        area = masks[organ].mean(axis=(1, 2))
        figures["none", "the organ's area", organ, ""] = mean_over_images(area, draws, within=BOUNDS)
        figures["none", "centred", organ, ""] = mean_over_images(
            energy_share(centre, masks[organ]), draws, within=BOUNDS
        )
    write_csv(HERE / "shares.csv", [dict(zip(KEYS, key, strict=True)) | cells(one) for key, one in figures.items()])
    places = [key[1:] for key in figures if key[0] == "plain"]
    differences = {p: paired_difference([figures["robust", *p]], [figures["plain", *p]]).networks for p in places}
    corrected = dict(zip(PRIMARY, holm([differences[place].p for place in PRIMARY]), strict=True))
    rows = [
        dict(zip(KEYS[1:], place, strict=True))
        | {"robust - plain": rounded(d.value), "low": rounded(d.low), "high": rounded(d.high), "p": rounded(d.p)}
        | {"p after Holm": rounded(corrected[place]) if place in corrected else ""}
        for place, d in differences.items()
    ]
    write_csv(HERE / "differences.csv", rows)


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
