"""How long an audit says it will take: by a clock that only the network's own steps move, and by one moved by hand."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image

import pellucid as pl
from helpers.models import small
from pellucid.audit.parts import Parts
from pellucid.audit.settings import QUICK

CALL, FORWARD, BACKWARD = 0.002, 0.001, 0.002
"""Seconds by the network's clock: of each call, of each image forward, and of each image backward."""


class Clock:
    """What is told as the time; moved by the tests."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        for module in ("estimate", "parts"):
            place = import_module(f"pellucid.audit.{module}")  # pellucid.audit, by itself, is the verb
            monkeypatch.setattr(place, "monotonic", lambda: self.now)

    def runs_by(self, network):
        """Every step of this network moves it, and nothing else."""

        def forward(_module, inputs, outputs):
            self.now += CALL + FORWARD * len(inputs[0])
            if outputs.requires_grad:
                outputs.register_hook(backward)

        def backward(gradient):
            self.now += CALL + BACKWARD * len(gradient)

        network.register_forward_hook(forward)
        return network


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def two_kinds(folder):
    """Sixty images of two classes."""
    rng = np.random.default_rng(0)
    for number in range(60):
        place = folder / "test" / ("dark", "light")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 180, (32, 32)) + 60 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number:02}.png")
    return pl.dataset("folder", folder, "test")


@pytest.mark.slow
@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_the_parts_take_what_was_said_of_them(task, clock, tmp_path):
    """The steps that are counted on are those that the parts take of the network."""
    torch.manual_seed(0)
    data = two_kinds(tmp_path) if task == "multiclass" else pl.dataset(
        "phantom", split="test", size=32, train=8, validation=8, test=60
    )  # fmt: skip
    network = clock.runs_by(small(size=32, classes=data.classes, task=task))
    told, began = [], []

    def hear(text):
        told.append(text)
        began.append(clock.now)

    audit = pl.audit(network, data, settings=replace(QUICK, limit=60, corrupted=20), announce=hear)
    parts = {part["name"]: part for part in audit.results["parts"]}
    for name in ("classification", "elsewhere", "attack", "ara", "trust"):
        assert 0.7 < parts[name]["seconds"] / parts[name]["planned"] < 1.4, name
    measured = [part for part in parts.values() if part["reason"] is None]
    took, planned = (sum(part[key] for part in measured) for key in ("seconds", "planned"))
    assert 0.8 < took / planned < 1.25
    assert took == pytest.approx(clock.now - began[0])
    assert told[0].startswith("1 of 8: Does it classify?")


def test_what_is_left_goes_by_how_parts_of_its_kind_went(clock):
    told = []
    planned = {"classification": 1.0, "attack": 600.0, "ara": 1200.0, "trust": 1800.0, "pictures": 60.0}
    parts = Parts(told.append, dict(planned))

    def take(name, seconds, error=None):
        def measure():
            clock.now += seconds
            if error is not None:
                raise error

        parts.attempt(name, name, measure)

    take("classification", 1000.0)  # figures of many images: they say nothing of the network
    take("attack", 1200.0)
    take("ara", 2400.0)
    take("trust", 1800.0)
    take("pictures", 60.0)
    assert [text.split("(")[1] for text in told] == [
        "about 61 minutes left)",
        "about 61 minutes left)",
        "about 102 minutes left)",  # all that asks the network is taken for twice as long, as the attack was
        "about 62 minutes left)",
        "about a minute left)",  # the explanations took what was said of them, and the pictures are of their kind
    ]
    assert parts.seconds_left() == 0


def test_what_was_read_or_could_not_be_measured_tells_nothing(clock):
    parts = Parts(lambda _: None, {"elsewhere": 100.0, "attack": 300.0, "ara": 600.0, "trust": 900.0})
    parts.attempt("elsewhere", "read", lambda: None)

    def fails():
        clock.now += 100.0
        raise RuntimeError("no gradient")

    parts.attempt("attack", "fails", fails)
    assert parts.seconds_left() == 1500.0
    parts.plan_anew({"elsewhere": 1.0, "attack": 1.0, "ara": 300.0, "trust": 450.0})
    assert parts.planned == {"ara": 300.0, "trust": 450.0}
    assert parts.seconds_left() == 750.0


def test_groups_of_a_table_are_a_part_from_the_beginning(clock, tmp_path):
    data = two_kinds(tmp_path / "images")
    lines = [f"{name},{'ab'[number % 2]}" for number, name in enumerate(data.ids)]
    (tmp_path / "people.csv").write_text("\n".join(["image,ward", *lines]))
    told = []
    network = small(size=32, classes=data.classes, task="multiclass")
    few = replace(QUICK, few=4, corrupted=0, checked=1, steps=1, trust=replace(QUICK.trust, attacked=1))
    pl.audit(network, data, settings=few, metadata=tmp_path / "people.csv", methods="saliency", announce=told.append)
    assert [text.split(":")[0] for text in told if " of " in text[:7]] == [f"{n} of 8" for n in range(1, 9)]
