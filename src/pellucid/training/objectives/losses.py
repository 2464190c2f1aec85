"""Classification losses, and the constant prediction that each would settle for.

Labels that are not known (NaN) take part in nothing. Every loss is an average, so that its scale does not depend
on the batch; across several processes the averages are over the joint batch (`LabelCounts`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
import torch.nn.functional as F

from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from pellucid.types import Task

LossName = Literal["auto", "cross_entropy", "binary_cross_entropy", "weighted_cross_entropy"]


class LabelCounts(NamedTuple):
    """How many labels of a batch are 1 and 0 (multi-label), or how many images it has (multiclass: `positives`).

    With several processes these are the averages over the processes, so that the mean of the processes' losses is
    the loss of the joint batch.
    """

    positives: Tensor
    negatives: Tensor


def label_counts(targets: Tensor) -> LabelCounts:
    """Count the known labels of `targets`: float (N, K) with NaN where unknown, or int64 (N,).

    Example:
        >>> label_counts(torch.tensor([[1.0, 0.0], [float("nan"), 0.0]]))
        LabelCounts(positives=tensor(1.), negatives=tensor(2.))
    """
    if not targets.is_floating_point():
        return LabelCounts(
            targets.new_tensor(len(targets), dtype=torch.float32),
            targets.new_tensor(0.0, dtype=torch.float32),
        )
    return LabelCounts((targets == 1).sum().float(), (targets == 0).sum().float())


def cross_entropy_rows(logits: Tensor, targets: Tensor, counts: LabelCounts | None = None) -> Tensor:
    """Each image's part (N,) of `cross_entropy`."""
    counts = counts or label_counts(targets)
    return F.cross_entropy(logits.float(), targets, reduction="none") / counts.positives.clamp_min(1)


def binary_cross_entropy_rows(logits: Tensor, targets: Tensor, counts: LabelCounts | None = None) -> Tensor:
    """Each image's part (N,) of `binary_cross_entropy`."""
    counts = counts or label_counts(targets)
    is_known = ~targets.isnan()
    losses = F.binary_cross_entropy_with_logits(logits.float(), targets.nan_to_num(0.0), reduction="none")
    return (losses * is_known).sum(1) / (counts.positives + counts.negatives).clamp_min(1)


def weighted_cross_entropy_rows(logits: Tensor, targets: Tensor, counts: LabelCounts | None = None) -> Tensor:
    """Each image's part (N,) of `weighted_cross_entropy`."""
    counts = counts or label_counts(targets)
    logits = logits.float()
    ones = (F.softplus(-logits) * (targets == 1)).sum(1) / counts.positives.clamp_min(1e-6)
    zeros = (F.softplus(logits) * (targets == 0)).sum(1) / counts.negatives.clamp_min(1e-6)
    return ones + zeros


def cross_entropy(logits: Tensor, targets: Tensor, counts: LabelCounts | None = None) -> Tensor:
    """Cross entropy of a multiclass task: logits (N, K), targets int64 (N,), mean over the images."""
    return cross_entropy_rows(logits, targets, counts).sum()


def binary_cross_entropy(logits: Tensor, targets: Tensor, counts: LabelCounts | None = None) -> Tensor:
    """Binary cross entropy of a multi-label task: logits and targets (N, K), mean over the known labels."""
    return binary_cross_entropy_rows(logits, targets, counts).sum()


def weighted_cross_entropy(logits: Tensor, targets: Tensor, counts: LabelCounts | None = None) -> Tensor:
    """Wang et al.'s weighted cross entropy (W-CEL) with the balance taken from the batch: logits, targets (N, K).

    ``β_P (Σ −ln f over y = 1) + β_N (Σ −ln(1 − f) over y = 0)``, ``β_P = (|P| + |N|) / |P|``,
    ``β_N = (|P| + |N|) / |N|``, where |P| and |N| count the ones and zeros of the batch's label matrix, divided by
    |P| + |N|: the sum of the mean loss of the ones and the mean loss of the zeros. (The paper sums; dividing keeps the
    scale independent of the batch.)
    A batch without ones, or without zeros, has that term at 0.

    Source:
        Wang et al. 2017, "ChestX-ray8", equation 1.

    Example:
        >>> round(float(weighted_cross_entropy(torch.zeros(1, 4), torch.tensor([[1.0, 0.0, 0.0, 0.0]]))), 4)
        1.3863
    """
    return weighted_cross_entropy_rows(logits, targets, counts).sum()


LOSSES: dict[str, Callable[[Tensor, Tensor, LabelCounts | None], Tensor]] = {
    "cross_entropy": cross_entropy_rows,
    "binary_cross_entropy": binary_cross_entropy_rows,
    "weighted_cross_entropy": weighted_cross_entropy_rows,
}
"""The losses by name, each as its images' parts (N,), whose sum is the loss of the batch."""


def losses_for(task: Task) -> tuple[str, ...]:
    """The names of the losses for a task, the plain one first.

    Example:
        >>> losses_for("multiclass"), losses_for("multilabel")
        (('cross_entropy',), ('binary_cross_entropy', 'weighted_cross_entropy'))
    """
    return ("cross_entropy",) if task == "multiclass" else ("binary_cross_entropy", "weighted_cross_entropy")


def resolve_loss(name: LossName, task: Task) -> str:
    """The loss that `name` means for a task; `auto` is the plain one.

    Raises:
        InputError: if the loss is for the other task.
    """
    if name == "auto":
        return losses_for(task)[0]
    if name not in losses_for(task):
        fitting = " or ".join(losses_for(task))
        hint = (
            " Or name the class to detect, as in --data-option positive=NAME (in Python: an option of pl.dataset)."
            if task == "multiclass"
            else ""
        )
        raise InputError(f"the loss {name!r} is not for a {task} task; use {fitting} (--set objective.loss=…).{hint}")
    return name


def best_constant(name: str, targets: Tensor, classes: int = 0) -> Tensor:
    """The constant prediction (K,), as probabilities, that minimises a loss over the training labels.

    For the plain losses it is each class's frequency; for the weighted one, whose balance is that of the whole
    label matrix, ``β_P q / (β_P q + β_N (1 − q))`` with q the frequency. NaN where a class has no known label.

    Args:
        name: of the loss.
        targets: float (N, K), NaN where unknown, or int64 (N,).
        classes: K, needed for int64 targets among which the last classes may not occur.

    Example:
        >>> best_constant("binary_cross_entropy", torch.tensor([[1.0], [0.0], [0.0], [0.0]]))
        tensor([0.2500])
    """
    frequency = label_frequencies(targets, classes)
    if name != "weighted_cross_entropy":
        return frequency
    counts = label_counts(targets)
    total = counts.positives + counts.negatives
    ones = total / counts.positives.clamp_min(1e-6) * frequency
    zeros = total / counts.negatives.clamp_min(1e-6) * (1 - frequency)
    return ones / (ones + zeros)


def constant_loss(name: str, targets: Tensor, classes: int = 0) -> float:
    """The loss of the best constant prediction on the training labels: what a network that sees nothing reaches.

    Args:
        name: of the loss.
        targets: float (N, K), NaN where unknown, or int64 (N,).
        classes: K, needed for int64 targets among which the last classes may not occur.

    Example:
        >>> round(constant_loss("cross_entropy", torch.arange(10)), 4)  # ln 10
        2.3026
    """
    constant = best_constant(name, targets, classes).double().nan_to_num(0.5)
    if targets.is_floating_point():
        logits = constant.clamp(1e-9, 1 - 1e-9).logit()
    else:
        logits = constant.clamp_min(1e-30).log()
    return float(LOSSES[name](logits.expand(len(targets), -1), targets, None).double().sum())


def label_frequencies(targets: Tensor, classes: int = 0) -> Tensor:
    """The share (K,) of ones among the known labels of float (N, K) targets, or of each class in int64 (N,)."""
    if not targets.is_floating_point():
        return torch.bincount(targets, minlength=classes).float() / len(targets)
    return (targets == 1).sum(0).float() / (~targets.isnan()).sum(0).float()


def divergence(clean: Tensor, other: Tensor, task: Task) -> Tensor:
    """How far another prediction is from a clean one, image by image (N,): ``KL(p_clean ‖ p_other)`` of their logits.

    Multi-label: the mean over the labels of the divergence of each one's two outcomes.

    Source:
        Zhang et al. 2019, "Theoretically principled trade-off between robustness and accuracy", equation 5.

    Example:
        >>> divergence(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]]), "multiclass")
        tensor([0.1201])
    """
    clean, other = clean.float(), other.float()
    if task == "multiclass":
        return F.kl_div(other.log_softmax(1), clean.log_softmax(1), reduction="none", log_target=True).sum(1)
    probability = clean.sigmoid()
    on = probability * (F.logsigmoid(clean) - F.logsigmoid(other))
    off = (1 - probability) * (F.logsigmoid(-clean) - F.logsigmoid(-other))
    return (on + off).mean(1)
