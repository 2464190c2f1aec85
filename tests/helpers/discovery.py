"""A made-up discovery: a corner that carries a finding, brightness, a column, and what was marked."""

from __future__ import annotations

import numpy as np

from pellucid.evaluation.discovery.results import Discovery
from pellucid.evaluation.discovery.suspect import Consequence, Effect, Suspect, WorstGroup
from pellucid.evaluation.metrics.statistics import Estimate
from pellucid.types import Box

SIDE, IDS = 32, tuple(f"image-{i}" for i in range(8))


def near(value, n=80):
    return Estimate(value, value - 0.05, value + 0.05, n)


def suspect(number, kind, name, *, expected=False):
    region = np.zeros((SIDE, SIDE), dtype=bool)
    placed = kind in {"place", "patch", "marked"}
    region[2:9, 20:30] = placed
    undefined = Estimate(np.nan, np.nan, np.nan, 0, "a column cannot be put into an image")
    effect = Effect("Mass", near(-1.2), near(0.9), near(0.4 / number), 0.001, 0.02)
    other = Effect("Nodule", undefined, undefined, undefined, np.nan, np.nan)
    return Suspect(
        number=number,
        kind=kind,
        name=name,
        verdict=f"The answer for Mass falls where <{name}> is taken away.",
        class_name="Mass",
        cost=0.4 / number,
        expected=expected,
        overlap=0.9 if expected else 0.0,
        region=region,
        boxes={IDS[0]: (Box(20, 2, 10, 7),)} if kind == "patch" else {},
        present=np.arange(8) < 4,
        strength=np.linspace(1, 0, 8),
        prevalence=near(0.5),
        prevalence_of={"Mass": (near(0.8), near(0.2))},
        effects=(effect, other),
        consequences=(Consequence("Mass", "auroc", near(0.9), near(0.6), near(0.8), near(0.65)),),
        worst=WorstGroup("Mass", True, False, near(0.3)),
        exemplars=IDS[:4] if kind != "metadata" else (),
        without=IDS[4:6],
        frame=Box(20, 2, 10, 7) if placed else None,
        mean_patch=np.full((1, 7, 10), 0.9, dtype=np.float32) if placed else None,
        mean_without=np.full((1, 7, 10), 0.2, dtype=np.float32) if placed else None,
    )


def discovery(count=3):
    """`count` suspects and, where there are any, one that was marked."""
    rng = np.random.default_rng(0)
    kinds = ["place", "whole image", "metadata", "patch"]
    suspects = [suspect(i + 1, kinds[i % 4], f"{kinds[i % 4]} number {i + 1}") for i in range(count)]
    suspects += [suspect(count + 1, "marked", "the marked mass", expected=True)] if count else []
    return Discovery(
        suspects=suspects,
        about={"model": "runs/first", "data": "phantom", "part": "test"},
        classes=("Mass", "Nodule"),
        ids=IDS,
        settings={"alpha": 0.05},
        counts={"candidates": 212, "tested": 424, "forward_passes": 9000, "gradient_evaluations": 80},
        unanswered={"Nodule": "3 positives, and 20 are needed"},
        notes=["nobody marked where Nodule lies"],
        pictures={name: rng.integers(0, 255, (1, SIDE, SIDE), dtype=np.uint8) for name in IDS},
    )
