"""Which classes are taken for which: the pairs that occur, however many classes there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pellucid.evaluation.metrics.bootstrap import Values, as_array
from pellucid.evaluation.metrics.statistics import Replicates, ratios
from pellucid.types import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

    from pellucid.evaluation.metrics.bootstrap import Bootstrap


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often each class was decided for each, as the P pairs that occur.

    Attributes:
        truth: int64 (P,), the class of the images.
        decided: int64 (P,), what the model took it for.
        count: int64 (P,), images.
        classes: how many classes there are.
    """

    truth: npt.NDArray[np.int64]
    decided: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]
    classes: int

    def matrix(self) -> npt.NDArray[np.int64]:
        """Classes by decisions, (K, K): for few classes, as it has K² cells."""
        cells = np.zeros((self.classes, self.classes), dtype=np.int64)
        cells[self.truth, self.decided] = self.count
        return cells

    def most_confused(self, count: int) -> npt.NDArray[np.int64]:
        """The pairs of two classes that occur most often, as rows of this table, the most frequent first."""
        wrong = np.flatnonzero(self.truth != self.decided)
        return wrong[np.argsort(-self.count[wrong], kind="stable")][:count]


def confusion(decided: Values, targets: Values, classes: int) -> Confusion:
    """Count the pairs of class and decision.

    Args:
        decided: (N,) class numbers; images without a decision (NaN) are in no pair.
        targets: int (N,), class numbers.
        classes: how many there are.

    Raises:
        InputError: for shapes that do not fit.

    Example:
        >>> found = confusion([0, 1, 1, 1], [0, 0, 0, 1], 2)
        >>> found.matrix().tolist(), found.most_confused(1).tolist(), found.count.tolist()
        ([[1, 2], [0, 1]], [1], [1, 2, 1])
    """
    decisions, truth = np.asarray(as_array(decided), dtype=np.float64), as_array(targets)
    if decisions.shape != truth.shape or decisions.ndim != 1:
        raise InputError(f"decisions and targets must both be (N,); found {decisions.shape} and {truth.shape}.")
    is_decided = ~np.isnan(decisions)
    cells = truth[is_decided].astype(np.int64) * classes + decisions[is_decided].astype(np.int64)
    pairs, count = np.unique(cells, return_counts=True)
    first, second = np.divmod(pairs, classes)
    return Confusion(first, second, count.astype(np.int64), classes)


def shares_confused(
    table: Confusion, rows: npt.NDArray[np.integer], decided: Values, targets: Values, bootstrap: Bootstrap
) -> list[Replicates]:
    """Of the images of a pair's class, the share that was taken for the other.

    Args:
        table: what `confusion` counted of the same images.
        rows: pairs of it.
        decided: (N,) class numbers.
        targets: int (N,), class numbers.
        bootstrap: over the N images.
    """
    decisions, truth = as_array(decided)[:, None], as_array(targets)[:, None]
    of_class = truth == table.truth[rows]
    is_taken = of_class & (decisions == table.decided[rows])
    return ratios(is_taken, of_class, bootstrap, reason="no image of the class", within=(0, 1))
