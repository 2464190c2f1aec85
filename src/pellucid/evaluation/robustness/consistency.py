"""One answer from two searches: a smallest perturbation breaks every larger size, what broke a size bounds a radius.

Attacks of a given size and minimal attacks look at the same decisions by different means. Where one has changed a
decision by a perturbation, the other must not report that the decision withstands it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pellucid.attacks import METHODS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pellucid.attacks import BoundedAttack
    from pellucid.attacks.under_attack import AnswersUnderAttack
    from pellucid.evaluation.robustness.radii import Radii

KIND = "attack"
"""The kind of area whose criterion is the decision: the only one that attacks of a given size speak of."""


@dataclass(frozen=True)
class Withstood:
    """What attacks of given sizes left of some images.

    Attributes:
        ids: of the images (N).
        attacks: which, with their sizes.
        answers: of each attack, in their order.
    """

    ids: Sequence[str]
    attacks: Sequence[BoundedAttack]
    answers: Sequence[AnswersUnderAttack]


def shortened(radii: Radii, ids: Sequence[str], withstood: Withstood) -> Radii:
    """The radii of decisions, none larger than a perturbation within a given size that changed the decision.

    Args:
        radii: of the kind `attack`, which asks of decisions what those attacks did.
        ids: of the images that `radii` numbers.
        withstood: what those attacks left; images that it does not have stay as they are.
    """
    rows = _rows(radii, ids, withstood)
    shared = (rows >= 0) & radii.correct_at_start
    radius = radii.radius.copy()
    for answers in withstood.answers:
        own = _of_decisions(answers.radius, rows, radii.label)
        radius = np.where(shared & (own > 0), np.fmin(radius, own), radius)
    return replace(radii, radius=radius, found=radii.found | np.isfinite(radius))


def broken(
    radii: Radii, ids: Sequence[str], protocol: str, withstood: Withstood, values: int
) -> dict[str, npt.NDArray[np.bool_]]:
    """Which decisions a smallest perturbation shows to fall within each size, whatever the attack of that size found.

    The Euclidean length of a perturbation is its root mean square times the root of `values`, and its largest change is
    no more than that. Of an attack that leaves the pixel box nothing follows.

    Args:
        radii: of the kind `attack`.
        ids: of the images that `radii` numbers.
        protocol: the minimal attack, one of `pellucid.attacks.METHODS`.
        withstood: images and attacks of given sizes.
        values: of an image, C·H·W.

    Returns:
        By the attacks' names bool arrays (N,), or (N, K) of several labels.
    """
    masks = {}
    rows = _rows(radii, ids, withstood)
    usable = (rows >= 0) & radii.found & METHODS[protocol].box
    for attack, answers in zip(withstood.attacks, withstood.answers, strict=True):
        reach = attack.value * (math.sqrt(values) if attack.norm == "rms" else 1.0)
        falls = usable & (np.nan_to_num(radii.radius, nan=np.inf) * math.sqrt(values) <= reach)
        mask = np.zeros(answers.radius.shape, dtype=np.bool_)
        where = (rows[falls],) if mask.ndim == 1 else (rows[falls], radii.label[falls])
        mask[where] = True
        masks[str(attack)] = mask
    return masks


def _rows(radii: Radii, ids: Sequence[str], withstood: Withstood) -> npt.NDArray[np.int64]:
    """Where the images of decisions (U,) are among those withstood; −1 where they are not."""
    row_of = {name: row for row, name in enumerate(withstood.ids)}
    return np.array([row_of.get(ids[image], -1) for image in radii.image], dtype=np.int64)


def _of_decisions(
    table: npt.NDArray[np.float64], rows: npt.NDArray[np.int64], label: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """The entries (U,) of a table (N,) or (N, K) for decisions; anything where there is no row."""
    return table[rows] if table.ndim == 1 else table[rows, label]
