"""What attacks of a given size raise: cross entropy, differences of logits, and their ratio to the logits' range."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pellucid.attacks.bounded.search import is_multiclass

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.attacks.bounded.search import BoundedSearch, Objective

DLR_CLASSES = 4
"""The difference-of-logits ratio with a target needs four logits."""


def cross_entropy(search: BoundedSearch) -> Objective:
    """The criterion's log-loss: cross entropy, or binary cross entropy of the label."""
    return lambda logits, rows: search.criterion.rows(rows).loss(logits)


def target_count(search: BoundedSearch, most: int) -> int:
    """How many classes a decision can be driven to one by one, at most `most`; one for a label of several."""
    return min(most, search.clean.shape[1] - 1) if is_multiclass(search.criterion) else 1


def likeliest(search: BoundedSearch, logits: Tensor, rank: int) -> Tensor:
    """The class (n,) that is the `rank`-th likeliest, from 0, of those that are not the true one, by logits (n, K).

    For a label of several there is none: 0, which `towards` does not look at.
    """
    if not is_multiclass(search.criterion):
        return torch.zeros_like(search.broken_by)
    true = search.criterion.indices  # type: ignore[attr-defined]
    return logits.scatter(1, true[:, None], -torch.inf).argsort(1, descending=True)[:, rank]


def towards(search: BoundedSearch, targets: Tensor) -> Objective:
    """The target's logit minus that of the true class; for a label of several, its own margin.

    Args:
        search: whose rows.
        targets: int64 (n,) of all rows of the search.
    """
    if not is_multiclass(search.criterion):
        return lambda logits, rows: -search.criterion.rows(rows).margin(logits)
    true: Tensor = search.criterion.indices  # type: ignore[attr-defined]

    def difference(logits: Tensor, rows: Tensor) -> Tensor:
        pair = logits.gather(1, torch.stack([true[rows], targets[rows]], 1))
        return pair[:, 1] - pair[:, 0]

    return difference


def towards_by_range(search: BoundedSearch, targets: Tensor) -> Objective:
    """The targeted difference-of-logits ratio ``−(z_y − z_t) / (z_π1 − (z_π3 + z_π4) / 2)`` (DLR).

    It does not depend on the scale of the logits. With fewer than four classes there is no z_π4, and for a label of
    several no order of logits; there the difference itself is taken, whose scale APGD does not feel either.

    Args:
        search: whose rows.
        targets: int64 (n,) of all rows of the search.

    Source:
        Croce & Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
        attacks", equation 6.
    """
    difference = towards(search, targets)
    if not is_multiclass(search.criterion) or search.clean.shape[1] < DLR_CLASSES:
        return difference

    def ratio(logits: Tensor, rows: Tensor) -> Tensor:
        first, _, third, fourth = logits.topk(4, dim=1).values.unbind(1)
        return difference(logits, rows) / (first - (third + fourth) / 2).clamp_min(torch.finfo(logits.dtype).tiny)

    return ratio
