"""Which image to ask people about next: scores of images, and the orders that they give. Pure functions on arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pellucid.types import Task

Order = Literal["uncertainty", "disagreement", "outside", "random", "mixed"]
ORDERS: tuple[Order, ...] = get_args(Order)


def uncertainty(probabilities: npt.NDArray[np.floating], task: Task) -> npt.NDArray[np.float64]:
    """How unsure a network is of each image, in bits from 0 to 1, float (N,).

    Multiclass: the entropy of the probabilities over that of equal ones. Multi-label: the entropy of the label that it
    is least sure of, for one unsure label among many sure ones is a reason to ask.

    Args:
        probabilities: (N, K).
        task: of the network.

    Example:
        >>> uncertainty(np.array([[0.5, 1.0], [0.0, 1.0]]), "multilabel").tolist()
        [1.0, 0.0]
    """
    values = np.asarray(probabilities, dtype=np.float64)
    if task == "multiclass":
        return np.asarray(_plogp(values).sum(1) / np.log2(values.shape[1]))
    return np.asarray(_binary_entropy(values).max(1))


def disagreement(one: npt.NDArray[np.floating], other: npt.NDArray[np.floating], task: Task) -> npt.NDArray[np.float64]:
    """How differently two networks judge each image: the Jensen–Shannon divergence in bits, from 0 to 1, float (N,).

    Multi-label: of the label that they differ on most.

    Args:
        one: probabilities (N, K) of one network.
        other: of the other, of the same images and classes.
        task: of both.

    Example:
        >>> disagreement(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), "multiclass").tolist()
        [1.0]
    """
    p, q = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if p.shape != q.shape:
        raise InputError(f"two networks are compared on the same images and classes; found {p.shape} and {q.shape}.")
    middle = (p + q) / 2
    if task == "multiclass":
        return np.asarray(np.clip(_plogp(middle).sum(1) - (_plogp(p).sum(1) + _plogp(q).sum(1)) / 2, 0, None))
    apart = _binary_entropy(middle) - (_binary_entropy(p) + _binary_entropy(q)) / 2
    return np.asarray(np.clip(apart, 0, None).max(1))


def outside(
    heat: npt.NDArray[np.floating], regions: npt.NDArray[np.floating], weights: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """How much of each image's explanation lies outside the regions that people found relevant, 0 to 1, float (N,).

    Of every class the share of the positive heat where no region is, and of these the mean weighted by `weights`. A
    class without a region, or without heat, takes no part; an image without any such class is NaN.

    Args:
        heat: (N, K, h, w), more is more evidence; what is negative counts as 0.
        regions: (K, h, w) in [0, 1], 1 where people found the class relevant, or (N, K, h, w) of each image.
        weights: (N, K) of the classes, as their probabilities.

    Example:
        >>> heat, region = np.array([[[[3.0, 1.0]]]]), np.array([[[1.0, 0.0]]])
        >>> outside(heat, region, np.ones((1, 1))).tolist()
        [0.25]
    """
    positive = np.clip(np.asarray(heat, dtype=np.float64), 0, None)
    marked = np.broadcast_to(np.asarray(regions, dtype=np.float64), positive.shape)
    total = positive.sum((2, 3))
    counted = np.where((total > 0) & (marked.max((2, 3)) > 0), np.asarray(weights, dtype=np.float64), 0.0)
    share = (positive * (1 - marked)).sum((2, 3)) / np.where(total > 0, total, 1.0)
    weight = counted.sum(1)
    return np.asarray(np.where(weight > 0, (counted * share).sum(1) / np.where(weight > 0, weight, 1.0), np.nan))


def usual_place(masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Where a class was found relevant on earlier images, (M, K, h, w) → (K, h, w), 1 at the most usual place."""
    often = masks.astype(np.float64).mean(0) if len(masks) else np.zeros(masks.shape[1:])
    most = often.max((1, 2), keepdims=True)
    return np.asarray(often / np.where(most > 0, most, 1.0))


def rank(scores: npt.NDArray[np.floating], seed: int) -> list[int]:
    """Rows by falling score; equal ones, and those of no score (NaN) at the end, in an order drawn with `seed`.

    Example:
        >>> rank(np.array([0.1, np.nan, 0.9]), seed=0)
        [2, 0, 1]
    """
    values = np.where(np.isnan(scores), -np.inf, scores)
    shuffled = np.random.default_rng(seed).permutation(len(values))
    return [int(i) for i in shuffled[np.argsort(-values[shuffled], kind="stable")]]


def at_random(count: int, seed: int) -> list[int]:
    """Rows in an order drawn with `seed`."""
    return rank(np.zeros(count), seed)


def mixed(rankings: Sequence[Sequence[int]]) -> list[int]:
    """One of each ranking in turn, every row once.

    Example:
        >>> mixed([[0, 1, 2], [2, 1, 0]])
        [0, 2, 1]
    """
    order: dict[int, None] = {}
    places = [iter(ranking) for ranking in rankings]
    while len(order) < len(rankings[0]):
        for ranking in places:
            row = next((r for r in ranking if r not in order), None)
            if row is not None:
                order[row] = None
    return list(order)


def arrange(order: Order, scores: Mapping[str, npt.NDArray[np.float64]], count: int, seed: int) -> list[int]:
    """All rows in the order of one score, of none, or of all that there are in turn with a random one.

    Args:
        order: one of `ORDERS`.
        scores: by name, `uncertainty`, `disagreement` and `outside`, float (N,), as far as known.
        count: N.
        seed: of what is left to chance.

    Raises:
        InputError: an order whose score is not known.
    """
    if order == "random":
        return at_random(count, seed)
    if order == "mixed":
        return mixed([*(rank(values, seed) for values in scores.values()), at_random(count, seed)])
    if order not in scores:
        hint = " Give the second network with --compare." if order == "disagreement" else ""
        raise InputError(f"the order {order!r} is not known here: there is no such score.{hint}")
    return rank(scores[order], seed)


def _plogp(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(p * np.log2(1 / np.where(p > 0, p, 1.0)))


def _binary_entropy(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return _plogp(p) + _plogp(1 - p)
