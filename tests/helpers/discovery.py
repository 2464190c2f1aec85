"""A discovery made up by hand: what pages and files are tested with, without any network."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pellucid.evaluation.discovery.results import Discovery
from pellucid.evaluation.discovery.suspect import Consequence, Effect, Prevalence, Suspect, WorstGroup
from pellucid.evaluation.metrics.statistics import Estimate
from pellucid.types import Box

CLASSES = ("Pneumonia", "Mass")
N, SIDE = 24, 16


def estimate(value: float, n: int = N, reason: str | None = None) -> Estimate:
    return Estimate(value, value - 0.05, value + 0.05, n, reason)


def make_suspect(number: int = 1, kind: str = "place", *, expected: bool = False, name: str | None = None) -> Suspect:
    """A suspect with every field filled; of `metadata` and `whole image` without a place."""
    at_a_place = kind in ("place", "patch", "marked")
    region = np.zeros((SIDE, SIDE), bool)
    if at_a_place:
        region[1:5, 10:14] = True
    elif kind == "whole image":
        region[:] = True
    present = np.arange(N) % 3 == 0
    ids = [f"image-{i:02d}" for i in range(N)]
    nothing = Estimate(math.nan, math.nan, math.nan, 0, "a column cannot be exchanged")
    effects = tuple(
        Effect(
            class_name,
            nothing if kind == "metadata" else estimate(-2.0 + k),
            nothing if kind == "metadata" else estimate(1.5 - k),
            estimate(0.4 - 0.3 * k),
            0.0005,
            0.004,
            math.nan if kind == "metadata" else 0.001,
            math.nan if kind == "metadata" else 0.001,
        )
        for k, class_name in enumerate(CLASSES)
    )
    judged = (nothing, nothing) if kind == "metadata" else (estimate(0.85), estimate(0.7))
    patch = np.full((1, 6, 6), 0.75, np.float32)
    name = name or {"place": "upper right corner", "whole image": "overall brightness"}.get(kind, f"a {kind}")
    return Suspect(
        number,
        kind,  # type: ignore[arg-type]
        name,
        f"40 % of what tells Pneumonia from the rest goes through <{name}>.",
        "Pneumonia",
        0.4,
        expected,
        0.9 if expected else 0.0,
        region,
        {ids[0]: (Box(10.0, 1.0, 4.0, 4.0),)} if at_a_place else {},
        present,
        np.where(present, 1.5, 0.0),
        estimate(1 / 3),
        {
            "Pneumonia": Prevalence(estimate(0.9), estimate(0.1), estimate(0.8), 0.001),
            "Mass": Prevalence(estimate(0.3), estimate(0.3), estimate(0.0), 1.0),
        },
        effects,
        tuple(
            Consequence(
                "Pneumonia", metric, estimate(0.9), estimate(0.6), estimate(0.3), 0.01, *judged, estimate(-0.15), 0.002
            )
            for metric in ("auroc", "sensitivity", "specificity")
        ),
        WorstGroup("Pneumonia", True, False, estimate(0.2, 12), 4),
        tuple(np.array(ids)[present][:4].tolist()),
        tuple(np.array(ids)[~present][:4].tolist()),
        Box(9.0, 0.0, 6.0, 6.0) if at_a_place else None,
        patch if at_a_place else None,
        patch / 3 if at_a_place else None,
        np.pad(np.ones((6, 6), bool), ((0, SIDE - 6), (8, SIDE - 14))) if kind == "place" else None,
        {"column": "ward", "groups": [{"group": "<A>", "n": 8, "positives": 0.9, "negatives": 0.1, "worth": 0.5}]}
        if kind == "metadata"
        else {"judged": 20, "judged_positives": 10},
        None,
        {"metadata": None, "marked": None}.get(kind, True),
    )


def make_discovery(*suspects: Suspect) -> Discovery:
    """A discovery of these suspects."""
    ids = tuple(f"image-{i:02d}" for i in range(N))
    shown = {name for suspect in suspects for name in (*suspect.exemplars, *suspect.without)}
    pictures = {name: np.full((1, SIDE, SIDE), 10 * k, np.uint8) for k, name in enumerate(ids) if name in shown}
    return Discovery(
        list(suspects),
        {"model": "runs/first", "data": "phantom", "split": "validation", "fingerprint": "f" * 16}
        | {"origin": "", "network": "a" * 64},
        CLASSES,
        ids,
        {"seed": 0, "alpha": 0.05},
        {"forward_passes": 1200, "candidates": 9, "tested": 18},
        {"Mass": "3 images of it, and 20 are needed"},
        ["a note"],
        pictures,
        comparison(),
        np.linspace(-1, 1, 2 * N).reshape(N, 2),
    )


def comparison() -> dict[str, Any]:
    """What became of one suspect of before."""
    areas = {key: estimate(0.8).to_json() for key in ("before", "now")} | {"change": estimate(0.0).to_json()}
    shares = {"share_before": estimate(0.4), "share_now": estimate(0.0), "share_change": estimate(-0.4)}
    one = {"number": 1, "name": "upper right corner", "class": "Pneumonia", "verdict": "no longer found: <0.0>"}
    one |= {key: value.to_json() for key, value in shares.items()} | {"p": 0.4, "p_corrected": None}
    one["auroc"] = [{"images": "with it"} | areas, {"images": "without it"} | areas]
    return {
        "before": "runs/first", "same_images": True, "suspects": [one],
        "auroc": [{"class": name} | areas for name in CLASSES],
    }  # fmt: skip


def several(count: int) -> Discovery:
    """A discovery of so many suspects of every kind and, where there are any, one that was marked."""
    kinds = ("place", "whole image", "metadata", "patch")
    suspects = [make_suspect(i + 1, kinds[i % 4], name=f"{kinds[i % 4]} number {i + 1}") for i in range(count)]
    suspects += [make_suspect(count + 1, "marked", expected=True)] if count else []
    return make_discovery(*suspects)
