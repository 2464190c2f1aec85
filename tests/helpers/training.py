"""A short training run on a small phantom, for the tests of training; the fixtures around it are in conftest.py."""

from __future__ import annotations

from contextlib import contextmanager
from unittest.mock import patch

from pellucid.data import open_dataset
from pellucid.evaluation.metrics.validation import ValidationScorer
from pellucid.training import load_recipe, train
from pellucid.training.session import TrainingSession

SMALL = [
    "model.name=small",
    "model.size=32",
    "model.options={widths=[4, 8], blocks=[1, 1], strides=[1, 2]}",
    "training.batch_size=16",
]

TWO_VARIANTS = (  # of the demo study without the base that its own start from
    "variants=[{label='baseline', recipe='khakzar2019-baseline'}, {label='robust', recipe='khakzar2019-robust'}]"
)


def small_phantom():
    return open_dataset("phantom", options={"size": 32, "train": 64, "validation": 48, "test": 8, "prevalence": 0.4})


def run(phantom, out, *overrides, name="khakzar2019-robust", **options):
    recipe = load_recipe(name, [*SMALL, "training.epochs=2", *overrides])
    options = {"device": "cpu", "scorer": ValidationScorer()} | options
    return train(recipe, phantom["train"], phantom["validation"], out, **options)


@contextmanager
def interrupted_after(epoch):
    """Training is broken off after so many epochs, as by Ctrl-C, before the next one is written down."""
    real = TrainingSession._end_epoch

    def end_epoch(self, number, *arguments):
        if number == epoch:
            raise KeyboardInterrupt
        return real(self, number, *arguments)

    with patch.object(TrainingSession, "_end_epoch", end_epoch):
        yield
