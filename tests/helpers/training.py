"""A short training run on a small phantom, for the tests of training; the fixtures around it are in conftest.py."""

from __future__ import annotations

from pellucid.data import open_dataset
from pellucid.evaluation.metrics.validation import ValidationScorer
from pellucid.training import load_recipe, train

SMALL = [
    "model.name=small",
    "model.size=32",
    "model.options={widths=[4, 8], blocks=[1, 1], strides=[1, 2]}",
    "training.batch_size=16",
]


def small_phantom():
    return open_dataset("phantom", options={"size": 32, "train": 64, "validation": 48, "test": 8, "prevalence": 0.4})


def run(phantom, out, *overrides, name="khakzar2019-robust", **options):
    recipe = load_recipe(name, [*SMALL, "training.epochs=2", *overrides])
    options = {"device": "cpu", "scorer": ValidationScorer()} | options
    return train(recipe, phantom["train"], phantom["validation"], out, **options)
