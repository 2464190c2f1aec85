"""Columns of metadata that the model's answers go with beyond the label: compared, since nothing can be exchanged."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pellucid.evaluation.discovery.description import share_of_gap
from pellucid.evaluation.discovery.inference import associations, permuted
from pellucid.evaluation.discovery.suspect import Effect, Suspect
from pellucid.evaluation.metrics.paired_tests import holm
from pellucid.evaluation.metrics.statistics import Bootstrap, Estimate, mean_over_images

if TYPE_CHECKING:
    from pellucid.evaluation.discovery.samples import Rows, Samples
    from pellucid.evaluation.discovery.settings import DiscoverySettings
    from pellucid.evaluation.metrics.bootstrap import FloatArray

SHOWN = 8


def beyond_the_label(odds: FloatArray, labels: FloatArray, reference: Rows) -> FloatArray:
    """Log-odds (N,) less the mean of the images `reference` with the same label; NaN where the label is not known."""
    rest = np.full(len(odds), math.nan)
    for value in (0, 1):
        of = labels == value
        usable = reference[of[reference]]
        rest[of] = odds[of] - (odds[usable].mean() if len(usable) else math.nan)
    return rest


def worth_of_groups(members: Rows, rest: FloatArray, reference: Rows) -> FloatArray:
    """What membership is worth: of each image (N,) the mean rest of its group among `reference`; NaN where unknown."""
    worth = np.full(len(members), math.nan)
    for group in np.unique(members[members >= 0]):
        own = reference[members[reference] == group]
        values = rest[own][~np.isnan(rest[own])]
        if len(values) >= 2:
            worth[members == group] = values.mean()
    return worth


def metadata_suspects(
    samples: Samples, first: Rows, second: Rows, columns: Rows, settings: DiscoverySettings
) -> tuple[list[Suspect], int]:
    """The columns whose groups the model tells apart beyond their labels, in the direction in which labels differ.

    What a group is worth is learned on the first half. On the second it must foretell the model's answers among images
    of the same label, and go with the label: the larger of the two p values counts, after Holm over columns and
    classes.

    Returns:
        The suspects, and how many pairs of column and class were tested.
    """
    tests = [
        (name, column, *test_column(samples, name, column, first, second, settings))
        for name in samples.columns
        for column in map(int, columns)
    ]
    corrected = holm([test[3] for test in tests])
    best: dict[str, Suspect] = {}
    for (name, column, worth, p), p_corrected in zip(tests, corrected, strict=True):
        if p_corrected <= settings.alpha:
            one = _suspect(samples, name, column, worth, p, p_corrected, second)
            if one.cost >= settings.least and (name not in best or one.cost > best[name].cost):
                best[name] = one
    return list(best.values()), len(tests)


def test_column(
    samples: Samples, name: str, column: int, first: Rows, second: Rows, settings: DiscoverySettings
) -> tuple[FloatArray, float]:
    """What membership in a group of one column is worth to one class, and whether that goes with answer and label.

    Returns:
        `worth` (N,), learned on the first half, NaN where a group is not known there; and p on the second half, NaN
        where nothing is known.
    """
    members = samples.columns[name][0]
    labels = samples.labels[:, column]
    rest = beyond_the_label(samples.odds[:, column], labels, first)
    worth = worth_of_groups(members, rest, first)
    orders = permuted(samples.patients[second], settings.permutations, settings.seed + 4)
    label_p = associations(
        worth[second, None], labels[second, None], samples.patients[second],
        permutations=settings.permutations, seed=settings.seed + 4,
    ).p[0]  # fmt: skip
    own = np.nan_to_num(beyond_the_label(samples.odds[:, column], labels, second)[second])
    usable = ~np.isnan(worth[second])
    centred = np.where(usable, worth[second] - np.nanmean(worth[second]) if usable.any() else 0.0, 0.0)
    answer_p = (1 + (own[orders] @ centred >= own @ centred).sum()) / (settings.permutations + 1)
    return worth, float(max(label_p, answer_p)) if usable.any() else math.nan


def _suspect(
    samples: Samples, name: str, column: int, worth: FloatArray, p: float, p_corrected: float, rows: Rows
) -> Suspect:
    members, names = samples.columns[name]
    class_name = samples.classes[column]
    bootstrap = Bootstrap(samples.patients.tolist(), 500)
    share = share_of_gap(worth[rows], samples.labels[rows, column], samples.odds[rows, column], bootstrap.take(rows))
    nothing = Estimate(math.nan, math.nan, math.nan, 0, "a column of metadata cannot be exchanged")
    top = int(members[int(np.nanargmax(worth))])
    present = members == top
    within = []
    for value in (1, 0):
        of = np.flatnonzero((samples.labels[:, column] == value) & (members >= 0))
        within.append(mean_over_images(present[of] * 1.0, bootstrap.take(of), within=(0, 1)).estimate())
    usable = np.flatnonzero(members >= 0)
    return Suspect(
        number=0,
        kind="metadata",
        name=f"{name}: {names[top]}",
        verdict=f"Images with {name} {names[top]} get more of {class_name} than others of the same label. This does "
        "not say what it is in these images that the model uses.",
        class_name=class_name,
        cost=share.value,
        expected=False,
        overlap=math.nan,
        region=np.zeros(samples.frame, bool),
        boxes={},
        present=present,
        strength=worth,
        prevalence=mean_over_images(present[usable] * 1.0, bootstrap.take(usable), within=(0, 1)).estimate(),
        prevalence_of={class_name: (within[0], within[1])},
        effects=(Effect(class_name, nothing, nothing, share, p, p_corrected),),
        consequences=(),
        worst=None,
        exemplars=tuple(samples.ids[i] for i in np.flatnonzero(present)[:SHOWN]),
        without=tuple(samples.ids[i] for i in np.flatnonzero((members >= 0) & ~present)[:SHOWN]),
        tested_rows=rows,
        tested_worth=worth[rows],
        details={"column": name, "group": names[top]},
        reason="a column of metadata cannot be exchanged: an association, and no intervention",
    )
