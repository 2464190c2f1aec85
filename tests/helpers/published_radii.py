"""The published networks on four images, beside the committed radii: for the tests of each network.

A file for each network, so that workers share the time.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from pellucid.attacks import Misclassified, minimal, worse_than_random
from pellucid.data import materialize, open_dataset
from pellucid.models.inference import as_pixels
from pellucid.models.sources.woods2019 import read_woods2019
from pellucid.types import InputSpec

IMAGES = 4
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def committed(name: str) -> list[dict[str, str]]:
    with (RESULTS / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def wanted(kind, labels):
    return Misclassified(labels) if kind == "attack" else worse_than_random(labels, 10)


def check_beside_the_benchmark(real_data, network, kind):
    """Both protocols find what the benchmark found, and `tight` keeps its promises of cost and box."""
    test = open_dataset("cifar10", real_data)["test"].limit(IMAGES, seed=0)
    images, labels = as_pixels(materialize(test, InputSpec.square(3, 32))), torch.from_numpy(test.targets)
    model, _ = read_woods2019(real_data / "weights" / f"resnet44-{network}.pt")
    rows = {row["id"]: row for row in committed("minimal_attacks_radii.csv")}
    means = {}
    for method in ("woods2019", "tight"):
        result = minimal(model, images, wanted(kind, labels), method=method)
        assert bool(result.found.all())
        radius = result.radius.numpy()
        known = np.array([float(rows[name][f"{network}/{kind}/{method}"]) for name in test.ids])
        assert ((radius == 0) == (known == 0)).all()  # the same images are wrong at the start
        attacked = radius > 0
        # 450 steps on a jagged boundary amplify rounding, and processors round differently: images may differ much,
        # their median ratio and mean by some hundredths
        assert np.median(radius[attacked] / known[attacked]) == pytest.approx(1, abs=0.1)
        assert radius[attacked].mean() == pytest.approx(known[attacked].mean(), rel=0.1)
        means[method] = radius[attacked].mean()
        if method == "tight":
            spent = result.gradient_evaluations[~result.met_at_start]
            assert int(spent.max()) <= (45 if kind == "attack" else 60)
            assert bool((result.forward_passes <= 2 * result.gradient_evaluations)[~result.met_at_start].all())
            assert float(result.perturbed.min()) >= 0
            assert float(result.perturbed.max()) <= 1
    assert means["tight"] < means["woods2019"]
