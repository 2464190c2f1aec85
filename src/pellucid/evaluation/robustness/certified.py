"""Randomised smoothing: what a classifier answers under noise, and how far around an image that is certain to hold."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy  # its parts load when they are used
import torch

from pellucid.models.classifier import frozen
from pellucid.models.inference import check_answers, in_batches
from pellucid.models.smoothing import check_sigma
from pellucid.types import InputError, check_images

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from torch import Tensor, nn

BLOCK = 64  # draws made at once, however many the network takes at a time: what is drawn does not depend on that


@dataclass(frozen=True)
class Smoothing:
    """The noise, and how much of it is drawn.

    Attributes:
        sigma: its standard deviation, on pixels in [0, 1].
        selection: draws that choose the answer, n₀ of the paper.
        samples: draws that estimate how often it is given, n.
        alpha: a certificate, and a verified attack, is wrong with at most this probability.
        attack: draws that the attack sees; None for no attack.
        seed: of all draws.

    Raises:
        InputError: noise, numbers of draws or a probability that cannot be used.
    """

    sigma: float
    selection: int = 100
    samples: int = 1000
    alpha: float = 0.001
    attack: int | None = 16
    seed: int = 0

    def __post_init__(self) -> None:
        check_sigma(self.sigma)
        if not 0 < self.alpha < 1:
            raise InputError(
                f"alpha is the probability of an error, inside (0, 1); found {self.alpha!r}. Take 0.001 for a "
                "confidence of 99.9 %."
            )
        if self.selection < 1 or (self.attack is not None and self.attack < 1):
            raise InputError(
                f"the answer and the attack need at least one draw; found {self.selection} and {self.attack}."
            )
        fewest = math.floor(math.log(self.alpha) / math.log(0.5)) + 1
        if self.samples < fewest:
            raise InputError(
                f"{self.samples} samples certify nothing at alpha {self.alpha:g}, even if all agree: at least {fewest} "
                "are needed, and 1000 or more for radii of any use."
            )

    def to_json(self) -> dict[str, Any]:
        """Everything that determines the draws, as plain values."""
        return {
            "method": "smoothing",
            "sigma": self.sigma,
            "selection_samples": self.selection,
            "samples": self.samples,
            "alpha": self.alpha,
            "confidence": 1 - self.alpha,
            "attack_samples": self.attack,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Certificate:
    """What the smoothed classifier answers, and where it is certain to answer the same.

    Attributes:
        answer: the side (a class; of a label 0 absent, 1 present) that most selection draws voted for.
        bound: the lower confidence bound of the probability p_A that a draw votes for it.
        l2: the Euclidean length that no perturbation may reach without the answer holding: ``σ · Φ⁻¹(bound)``; 0
            where nothing is certified.
    """

    answer: int
    bound: float
    l2: float

    @property
    def abstained(self) -> bool:
        """Whether nothing is certified: the bound is no majority."""
        return self.bound <= 0.5


def lower_bound(successes: int, trials: int, alpha: float) -> float:
    """The one-sided lower confidence bound of a probability, at confidence 1 − alpha.

    Raises:
        InputError: more successes than trials, or fewer than none.

    Source:
        Clopper & Pearson 1934.

    Example:
        >>> round(lower_bound(1000, 1000, 0.001), 5)  # all agree: alpha ** (1 / trials)
        0.99312
    """
    if not 0 <= successes <= trials or trials < 1:
        raise InputError(f"expected 0 to {trials} successes in at least one trial; found {successes}.")
    return float(lower_bounds(np.array([successes]), trials, alpha)[0])


def lower_bounds(successes: npt.NDArray[np.int64], trials: int, alpha: float) -> npt.NDArray[np.float64]:
    """The same of many probabilities (N,) with so many trials each, each at confidence 1 − alpha.

    Example:
        >>> lower_bounds(np.array([0, 500, 1000]), 1000, 0.001).round(3).tolist()
        [0.0, 0.451, 0.993]
    """
    some = np.maximum(successes, 1)
    return np.where(successes > 0, scipy.stats.beta.ppf(alpha, some, trials - some + 1), 0.0)


def certify(selection: Tensor, estimation: Tensor, sigma: float, alpha: float) -> Certificate:
    """The answer that the selection's votes choose, certified with the estimation's.

    Args:
        selection: int64 (C,), votes a side, of draws of their own.
        estimation: int64 (C,), votes a side.
        sigma: standard deviation of the noise.
        alpha: probability of an error.

    Raises:
        InputError: no votes, or other sides.

    Source:
        Cohen et al. 2019, CERTIFY (section 3.2.2), with ``p_B = 1 − p_A``.

    Example:
        >>> found = certify(torch.tensor([3, 97]), torch.tensor([20, 980]), 0.25, 0.001)
        >>> found.answer, round(found.bound, 4), round(found.l2, 4), found.abstained
        (1, 0.9623, 0.4445, False)
    """
    _check_votes(estimation)
    if selection.shape != estimation.shape:
        raise InputError(f"both must vote on the same sides; found {len(selection)} and {len(estimation)}.")
    answer = int(selection.argmax())
    bound = lower_bound(int(estimation[answer]), int(estimation.sum()), alpha)
    return Certificate(answer, bound, sigma * float(scipy.special.ndtri(bound)) if bound > 0.5 else 0.0)


def predicted(votes: Tensor, alpha: float) -> int | None:
    """The side that the smoothed classifier answers with, or None: it abstains, the votes do not tell.

    A side other than the smoothed classifier's own is returned with a probability of at most alpha.

    Args:
        votes: int64 (C,), votes a side.
        alpha: probability of an error.

    Source:
        Cohen et al. 2019, PREDICT (section 3.2.1).

    Example:
        >>> predicted(torch.tensor([520, 480]), 0.001), predicted(torch.tensor([600, 400]), 0.001)
        (None, 0)
    """
    _check_votes(votes)
    first, second = votes.topk(2).values.tolist()
    certain = scipy.stats.binomtest(first, first + second, 0.5).pvalue <= alpha
    return int(votes.argmax()) if certain else None


def votes(
    classifier: nn.Module,
    image: Tensor,
    sigma: float,
    draws: int,
    *,
    seed: int,
    thresholds: Sequence[float] | None = None,
    rows: int = BLOCK,
) -> Tensor:
    """How often a classifier decides what on one image under noise.

    Args:
        classifier: images → logits; its `task` says what a decision is.
        image: float (C, H, W) in [0, 1]. The noise is not clipped.
        sigma: standard deviation of the noise.
        draws: how many.
        seed: of the draws: `seed_of` makes one that is an image's own.
        thresholds: of a multi-label classifier, the probability from which on each label is present; a half each
            by default.
        rows: noisy images at a time; the draws do not depend on it.

    Returns:
        int64 (D, C) on the CPU, D decisions of C sides: (1, K) of a multiclass classifier; (K, 2) of a multi-label
        one, absent and present.

    Raises:
        InputError: pixels outside [0, 1], σ ≤ 0, no draws, or logits that are not finite.
    """
    check_sigma(sigma)
    check_images(image[None])
    if draws < 1:
        raise InputError(f"at least one draw is needed; found {draws}.")
    several = getattr(classifier, "task", "multiclass") == "multilabel"
    generator = torch.Generator(image.device).manual_seed(seed)
    total: Tensor | None = None
    with frozen(classifier), torch.inference_mode():
        for block in in_batches(draws, BLOCK):
            noise = torch.randn((BLOCK, *image.shape), generator=generator, device=image.device, dtype=image.dtype)
            for part in in_batches(block.stop - block.start, rows):
                logits = classifier(image + sigma * noise[part])
                check_answers(logits, "nothing about noisy images can be certified")
                count = _present(logits, thresholds) if several else _chosen(logits)
                total = count if total is None else total + count
    assert total is not None
    return total.cpu()


def seed_of(seed: int, *names: object) -> int:
    """A seed for one use: its draws depend on these names and on nothing else in the run.

    Example:
        >>> seed_of(0, "image 7", "selection") == seed_of(0, "image 7", "estimation")
        False
    """
    text = "\0".join(str(name) for name in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _chosen(logits: Tensor) -> Tensor:
    return torch.bincount(logits.argmax(1), minlength=logits.shape[1])[None]


def _present(logits: Tensor, thresholds: Sequence[float] | None) -> Tensor:
    # as evaluation and attacks.LabelFlipped decide
    cuts = 0.5 if thresholds is None else torch.tensor(list(thresholds), dtype=torch.float64, device=logits.device)
    present = (logits.double().sigmoid() >= cuts).sum(0)
    return torch.stack([len(logits) - present, present], 1)


def _check_votes(counts: Tensor) -> None:
    if counts.ndim != 1 or len(counts) < 2 or int(counts.sum()) < 1 or bool((counts < 0).any()):
        raise InputError(f"expected numbers of votes for two sides or more; found {counts.tolist()}.")
