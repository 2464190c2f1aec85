"""Columns of metadata that the model's answers go with beyond the label: compared, since nothing can be exchanged."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.evaluation.discovery.description import consequences_of, prevalence_in
from pellucid.evaluation.discovery.inference import permuted, permuted_within
from pellucid.evaluation.discovery.shares import share_estimate, shares_of_worth
from pellucid.evaluation.discovery.suspect import Effect, Suspect
from pellucid.evaluation.metrics.paired_tests import holm
from pellucid.evaluation.metrics.statistics import Bootstrap, Estimate, mean_over_images
from pellucid.utils.words import whole_percent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pellucid.evaluation.discovery.samples import Rows, Samples
    from pellucid.evaluation.discovery.settings import DiscoverySettings
    from pellucid.evaluation.metrics.bootstrap import FloatArray

SHOWN = 8
MOST = 0.8
"""Of what the groups contribute that speak for a class, the part that those make up which a suspect is named after."""
ENOUGH = 20
"""Permutations as extreme as the truth, after which no more are drawn."""
FAMILIES = 2
"""What is found in images and what is found in columns have half of `alpha` each."""


def beyond_the_label(odds: FloatArray, labels: FloatArray, reference: Rows) -> FloatArray:
    """Log-odds (N,) less the mean of the images `reference` with the same label; NaN where the label is not known."""
    rest = np.full(len(odds), math.nan)
    for value in (0, 1):
        of = labels == value
        usable = reference[of[reference]]
        rest[of] = odds[of] - (odds[usable].mean() if len(usable) else math.nan)
    return rest


def worth_of_groups(members: Rows, odds: FloatArray, labels: FloatArray, reference: Rows) -> FloatArray:
    """What membership is worth beside the label: (N,) of each image what its group adds, less the mean; NaN if unknown.

    Log-odds are fitted by least squares as a number for the label and one for the group, so that a group that nearly is
    the label is told from it by the images in which the two differ.

    Args:
        members: (N,), each image's group; −1 where not known.
        odds: (N,), log-odds.
        labels: (N,), 0 or 1, NaN where unknown.
        reference: the images that it is learned on; a group needs two of them.
    """
    rows = reference[(members[reference] >= 0) & ~np.isnan(labels[reference])]
    groups, counts = np.unique(members[rows], return_counts=True)
    groups = groups[counts >= 2]
    rows = rows[np.isin(members[rows], groups)]
    worth = np.full(len(members), math.nan)
    if len(rows):
        design = np.concatenate([labels[rows, None] == [0, 1], members[rows, None] == groups], axis=1) * 1.0
        fitted = np.linalg.lstsq(design, odds[rows], rcond=None)[0][2:]
        fitted -= (design[:, 2:] @ fitted).mean()
        for group, value in zip(groups, fitted, strict=True):
            worth[members == group] = value
    return worth


def metadata_suspects(
    samples: Samples,
    first: Rows,
    second: Rows,
    columns: Rows,
    settings: DiscoverySettings,
    thresholds: Sequence[float],
) -> tuple[list[Suspect], int]:
    """The columns whose groups the model tells apart beyond their labels, in the direction in which labels differ.

    What a group is worth is learned on the first half. On the second it must foretell the model's answers among images
    of the same label, and go with the label: the larger of the two p values counts, after Holm over columns and
    classes, and doubled, since what is found in images may be reported with the other half of `alpha`.

    Args:
        samples: the images.
        first: the images that the worth of a group is learned on.
        second: those that it is tested on.
        columns: the classes that are searched for.
        settings: how much is spent, and where the line is drawn.
        thresholds: of each class, the probability from which on it is predicted.

    Returns:
        The suspects, and how many pairs of column and class were tested.
    """
    pairs = [(name, column) for name in samples.columns for column in map(int, columns)]
    tests = [worth_of_column(samples, *pair, first, second, settings, tests=len(pairs)) for pair in pairs]
    corrected = [FAMILIES * p for p in holm([p for _, p in tests])]
    best: dict[str, Suspect] = {}
    for (name, column), (worth, p), p_corrected in zip(pairs, tests, corrected, strict=True):
        if p_corrected <= settings.alpha:
            one = _suspect(samples, name, column, worth, p, p_corrected, second, thresholds[column])
            if one.share >= settings.least and (name not in best or one.share > best[name].share):
                best[name] = one
    return list(best.values()), len(tests)


def worth_of_column(
    samples: Samples, name: str, column: int, first: Rows, second: Rows, settings: DiscoverySettings, tests: int = 1
) -> tuple[FloatArray, float]:
    """What membership in a group of one column is worth to one class, and whether that goes with answer and label.

    Two permutation tests, one-sided, over patients. Does the worth go with the label? Labels change places. Does it
    foretell the answer beyond the label? Answers change places between images of the same label, so that a column that
    goes with the label, as a shortcut does, is compared with itself among positives, and among negatives.

    Args:
        samples: the images.
        name: of the column.
        column: the class.
        first: the images that the worth of a group is learned on.
        second: those that it is tested on.
        settings: `permutations` are drawn, and so many times more as `tests` need.
        tests: how many are corrected together.

    Returns:
        `worth` (N,), learned on the first half, NaN where a group is not known there; and the larger of both p on the
        second half, NaN where nothing is known.
    """
    members = samples.columns[name][0]
    labels, patients = samples.labels[second, column], samples.patients[second]
    worth = worth_of_groups(members, samples.odds[:, column], samples.labels[:, column], first)
    answers = beyond_the_label(samples.odds[:, column], samples.labels[:, column], second)[second]
    usable = ~np.isnan(worth[second]) & ~np.isnan(labels)
    if not usable.any():
        return worth, math.nan
    own, labels, answers, patients = (v[usable] for v in (worth[second], labels, answers, patients))
    most = max(settings.permutations, math.ceil(2 * FAMILIES * tests / settings.alpha))

    def of_labels(count: int, seed: int) -> Rows:
        return permuted(patients, count, seed)

    def of_answers(count: int, seed: int) -> Rows:
        return permuted_within(patients, labels, count, seed)

    centred = own - own.mean()
    ps = [
        _tail(values, centred, orders, settings.permutations, most, settings.seed + 4)
        for values, orders in ((labels, of_labels), (answers, of_answers))
    ]
    return worth, max(ps)


def _tail(
    values: FloatArray, centred: FloatArray, orders_of: Callable[[int, int], Rows], at_once: int, most: int, seed: int
) -> float:
    """P of a sum of products as large, under orders drawn until `ENOUGH` are (Besag & Clifford 1991), `most` at most.

    Source:
        J. Besag, P. Clifford: Sequential Monte Carlo p-values. Biometrika 78, 1991.
    """
    truth = values @ centred
    truth -= 1e-9 * np.abs(values) @ np.abs(centred)  # what rounding leaves
    extreme = count = 0
    while count < most and extreme < ENOUGH:
        orders = orders_of(at_once, seed + 1000 * count)
        extreme += int((values[orders] @ centred >= truth).sum())
        count += at_once
    return (1 + extreme) / (count + 1)


def groups_that_carry(worth: FloatArray, members: Rows, labels: FloatArray) -> list[dict[str, Any]]:
    """What each group adds to how far worth differs between positives and negatives, the largest first.

    Args:
        worth: (D,), what membership is worth; NaN where that is not known.
        members: (D,), each image's group; −1 where not known.
        labels: (D,), 0 or 1, NaN where unknown.

    Returns:
        Of each group `group`, `n`, its share of the `positives` and of the `negatives`, what it is `worth` more than
        the mean image, and its `part` of the difference: that times how much more frequent it is among positives. The
        parts add up to the difference.
    """
    is_known = ~np.isnan(worth) & ~np.isnan(labels) & (members >= 0)
    own, label, value = members[is_known], labels[is_known], worth[is_known]
    groups = []
    for group in np.unique(own):
        within = own == group
        shares = [float(within[label == of].mean()) if (label == of).any() else math.nan for of in (1, 0)]
        more = float(value[within].mean() - value.mean())
        groups.append(
            {"group": int(group), "n": int(within.sum()), "positives": shares[0], "negatives": shares[1]}
            | {"worth": more, "part": more * (shares[0] - shares[1])}
        )
    return sorted(groups, key=lambda one: -one["part"])


def named_groups(groups: list[dict[str, Any]]) -> tuple[list[int], bool]:
    """The groups that a column is named after, and whether they speak for the class.

    Those that raise the answer and are more frequent among positives, the ones that contribute most, up to `MOST` of
    what such groups contribute. Where there is none, the one that lowers it and is more frequent among negatives.
    """
    speaking = [one for one in groups if one["worth"] > 0 and one["positives"] > one["negatives"]]
    if not speaking:
        return [groups[0]["group"]], False
    total, picked, part = sum(one["part"] for one in speaking), [], 0.0
    for one in speaking:
        picked.append(one["group"])
        part += one["part"]
        if part >= MOST * total:
            break
    return picked, True


def _suspect(
    samples: Samples,
    name: str,
    column: int,
    worth: FloatArray,
    p: float,
    p_corrected: float,
    rows: Rows,
    threshold: float,
) -> Suspect:
    members, names = samples.columns[name]
    class_name = samples.classes[column]
    labels = samples.labels[:, column]
    bootstrap = Bootstrap(samples.patients.tolist(), 500)
    shares = shares_of_worth(worth[rows], labels[rows], samples.odds[rows, column], bootstrap.take(rows))
    share = share_estimate(shares, int((~np.isnan(worth[rows]) & ~np.isnan(labels[rows])).sum()))
    cannot = "a column of metadata cannot be exchanged"
    nothing = Estimate(math.nan, math.nan, math.nan, 0, cannot)
    groups = groups_that_carry(worth[rows], members[rows], labels[rows])
    tops, is_for = named_groups(groups)
    title = " or ".join(names[top] for top in tops)
    if not is_for:
        title = f"other than {title}"
    present = np.isin(members, tops) if is_for else (members >= 0) & ~np.isin(members, tops)
    own = np.where(members >= 0, labels, math.nan)
    common = prevalence_in(present, own, bootstrap)
    consequences, worst = consequences_of(
        replace(samples, labels=np.where((members >= 0)[:, None], samples.labels, math.nan)),
        column, present, bootstrap, threshold, cannot,
    )  # fmt: skip
    usable = np.flatnonzero(members >= 0)
    return Suspect(
        number=0,
        kind="metadata",
        name=f"{name}: {title}",
        verdict=f"Images with {name} {title} get higher answers for {class_name} than others of the same label; "
        f"{whole_percent(common.positives.value)} of those with {class_name} are such images, and "
        f"{whole_percent(common.negatives.value)} of those without. This does not say what it is in these images that "
        "the model uses.",
        class_name=class_name,
        share=share.value,
        expected=False,
        overlap=math.nan,
        region=np.zeros(samples.frame, bool),
        boxes={},
        present=present,
        strength=worth,
        prevalence=mean_over_images(present[usable] * 1.0, bootstrap.take(usable), within=(0, 1)).estimate(),
        prevalence_of={class_name: common},
        effects=(Effect(class_name, nothing, nothing, share, p, p_corrected),),
        consequences=consequences,
        worst=worst,
        exemplars=tuple(samples.ids[i] for i in np.flatnonzero(present)[:SHOWN]),
        without=tuple(samples.ids[i] for i in np.flatnonzero((members >= 0) & ~present)[:SHOWN]),
        tested_rows=rows,
        tested_worth=worth[rows],
        details={"column": name, "groups": [one | {"group": names[one["group"]]} for one in groups]},
        reason="a column of metadata cannot be exchanged: an association, and no intervention",
    )
