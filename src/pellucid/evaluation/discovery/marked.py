"""What the classifier should go by: how much of each class's answer goes through what people marked as the finding."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.evaluation.discovery.description import prevalence_in, sign_flip_p
from pellucid.evaluation.discovery.exchange import Pairs, Window, exchanged_log_odds
from pellucid.evaluation.discovery.measuring import EXCHANGED
from pellucid.evaluation.discovery.samples import COMMON
from pellucid.evaluation.discovery.suspect import Effect, Suspect
from pellucid.evaluation.metrics.paired_tests import holm
from pellucid.evaluation.metrics.statistics import Bootstrap, Estimate, mean_over_images
from pellucid.types import Box
from pellucid.utils.words import figure_text, whole_percent

if TYPE_CHECKING:
    import numpy.typing as npt

    from pellucid.evaluation.discovery.samples import Masks, Samples
    from pellucid.models.classifier import AnyClassifier

FEWEST = 5
"""Marked images of a class from which on its marks are exchanged."""
SHOWN = 8


def measure_marked(
    model: AnyClassifier, samples: Samples, column: int, seed: int, batch_size: int
) -> dict[str, npt.NDArray[Any]]:
    """Changes of the log-odds when a class's marked regions are exchanged with what images without the class show.

    Returns:
        `taken_rows` (n,) and `taken` (n, K), of marked images that others' content is put into; `put_rows` and `put`,
        of images without the class that get what is marked on others.
    """
    rng = np.random.default_rng(seed)
    marked = np.flatnonzero(_has_marked(samples, column))
    negatives = np.flatnonzero(samples.labels[:, column] == 0)
    count = min(EXCHANGED, len(marked), len(negatives))
    picked, others = rng.choice(marked, count, replace=False), rng.choice(negatives, count, replace=False)
    arrays = {}
    for name, donors, recipients in (("taken", others, picked), ("put", picked, others)):
        window = Window(lambda rows: samples.marks.of_images(rows, column), of_recipient=name == "taken")
        odds = exchanged_log_odds(
            model, samples.pixels, Pairs(donors, recipients), [window], samples.task, batch_size=batch_size
        )
        arrays[f"{name}_rows"], arrays[name] = recipients, odds[:, 0] - samples.odds[recipients]
    return arrays


def can_be_exchanged(samples: Samples, column: int) -> bool:
    """Whether enough images have a marked finding of the class, and enough are without the class."""
    marked = _has_marked(samples, column)
    return min(int(marked.sum()), int((samples.labels[:, column] == 0).sum())) >= FEWEST


def _has_marked(samples: Samples, column: int) -> Masks:
    """Boolean (N,), which images have a marked finding of the class, those that are known to be without it excepted."""
    is_marked = samples.marks.is_marked(*samples.labels.shape)[:, column]
    return np.asarray(is_marked & (samples.labels[:, column] != 0))


def marked_suspects(samples: Samples, arrays_of: dict[int, dict[str, npt.NDArray[Any]]]) -> list[Suspect]:
    """One for each class that is marked, the ones that carry most first; p values of the removal, after Holm."""
    bootstrap = Bootstrap(samples.patients.tolist(), 500)
    suspects = [_suspect(samples, column, arrays, bootstrap) for column, arrays in arrays_of.items()]
    corrected = holm([suspect.effects[0].p for suspect in suspects])
    suspects = [
        replace(one, effects=(replace(one.effects[0], p_corrected=p), *one.effects[1:]))
        for one, p in zip(suspects, corrected, strict=True)
    ]
    return sorted(suspects, key=lambda one: -np.nan_to_num(one.share))


def _suspect(samples: Samples, column: int, arrays: dict[str, npt.NDArray[Any]], bootstrap: Bootstrap) -> Suspect:
    name, gap = samples.classes[column], samples.gaps[column]
    present = _has_marked(samples, column)
    means = {
        kind: [
            mean_over_images(arrays[kind][:, k], bootstrap.take(arrays[f"{kind}_rows"])).estimate()
            for k in range(len(samples.classes))
        ]
        for kind in ("taken", "put")
    }
    fall = means["taken"][column]
    share = Estimate(-fall.value / gap, -fall.high / gap, -fall.low / gap, fall.n, fall.reason)
    nothing = Estimate(math.nan, math.nan, math.nan, 0, "marked for another class")
    patients = {kind: samples.patients[arrays[f"{kind}_rows"]] for kind in means}
    p = sign_flip_p(arrays["taken"][:, column], patients["taken"], falls=True)
    effects = []
    for k, label in enumerate(samples.classes):
        own_share, own_p = (share, p) if k == column else (nothing, math.nan)
        ps = [sign_flip_p(arrays[kind][:, k], patients[kind]) for kind in means]
        effects.append(Effect(label, means["taken"][k], means["put"][k], own_share, own_p, math.nan, *ps))
    own = (samples.marks.columns == column) & present[samples.marks.rows]
    masks = samples.marks.masks[own]
    boxes = dict(zip([samples.ids[i] for i in samples.marks.rows[own]], _boxes(masks), strict=True))
    strongest = arrays["taken_rows"][np.argsort(arrays["taken"][:, column], kind="stable")][:SHOWN]
    title = f"what people marked as {name}"
    every = np.ones(len(samples))
    prevalence = mean_over_images(present * every, bootstrap, within=(0, 1)).estimate()
    return Suspect(
        number=0,
        kind="marked",
        name=title,
        verdict=f"With {title} replaced by what others show there, the answer for it falls by {_percent(share)} of the "
        "difference between images with it and without.",
        class_name=name,
        share=share.value,
        expected=True,
        overlap=1.0,
        region=masks.mean(0) >= COMMON,
        boxes=boxes,
        present=present,
        strength=np.full(len(samples), math.nan),
        prevalence=prevalence,
        prevalence_of={name: prevalence_in(present, samples.labels[:, column], bootstrap)},
        effects=(effects[column], *(effect for k, effect in enumerate(effects) if k != column)),
        consequences=(),
        worst=None,
        exemplars=tuple(samples.ids[int(i)] for i in strongest),
        without=tuple(samples.ids[int(i)] for i in arrays["put_rows"][:SHOWN]),
    )


def _percent(share: Estimate) -> str:
    return figure_text(share.value, share.low, share.high, whole_percent)


def _boxes(masks: npt.NDArray[np.bool_]) -> list[tuple[Box, ...]]:
    """The rectangle around each mask; none of one that lies outside the frame."""
    boxes: list[tuple[Box, ...]] = []
    for down, across in zip(np.any(masks, 2), np.any(masks, 1), strict=True):
        rows, columns = np.flatnonzero(down), np.flatnonzero(across)
        if not len(rows):
            boxes.append(())
            continue
        size = float(columns[-1] - columns[0] + 1), float(rows[-1] - rows[0] + 1)
        boxes.append((Box(float(columns[0]), float(rows[0]), *size),))
    return boxes
