"""What a criterion is: the contract between what says that a perturbation has succeeded and what looks for one.

A criterion holds what is wanted of each image of a batch, in the images' order. Algorithms ask it whether it is
`is_satisfied`, its `margin` (how far the logits are from meeting it), the `loss` to climb, and for the `rows` of some
images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

import torch

from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from pellucid.types import Task


@runtime_checkable
class Criterion(Protocol):
    """What is wanted of each image.

    Attributes:
        multi_start: whether it is met well beyond the decision boundary, where there are many ways to it of much the
            same length; a search then begins from several places.
    """

    @property
    def multi_start(self) -> bool:
        """See the class."""
        ...

    def __len__(self) -> int:
        """The number of images it speaks of."""
        ...

    def is_satisfied(self, logits: Tensor, perturbation: Tensor) -> Tensor:
        """Whether logits (N, K) of images moved by `perturbation` (N, C, H, W) meet it: bool (N,)."""
        ...

    def margin(self, logits: Tensor) -> Tensor:
        """Distance from meeting it (N,), differentiable, in units of logits: positive where it is not met."""
        ...

    def smooth_margin(self, logits: Tensor) -> Tensor:
        """The margin (N,) with a smooth gradient: no jump where another class takes the lead."""
        ...

    def loss(self, logits: Tensor) -> Tensor:
        """The log-loss (N,) whose rise leads to it: what gradient ascent climbs."""
        ...

    def aims(self, logits: Tensor) -> Sequence[Callable[[Tensor, Tensor], Tensor]]:
        """Ways to it that deserve a start of their own: what falls to zero on each, from (logits, rows) (n,).

        Args:
            logits: (N, K), of the images as they are.
        """
        ...

    def rows(self, index: Tensor) -> Self:
        """The criterion for these images (int64 or bool index) only."""
        ...

    def check(self, task: Task, classes: int) -> None:
        """Refuse a classifier that it does not fit."""
        ...


def log_odds(logits: Tensor, indices: Tensor, task: Task) -> Tensor:
    """log(p / (1 − p)) of one class per image (N,), without the saturation that p has near 0 and 1.

    For a multiclass task ``f_c − log(Σ exp f_j over j ≠ c)``, for a multi-label one the logit itself.

    Example:
        >>> log_odds(torch.zeros(1, 4), torch.tensor([2]), "multiclass").exp()  # 1/4 to 3/4
        tensor([0.3333])
    """
    own = logits.gather(1, indices[:, None]).squeeze(1)
    if task == "multilabel":
        return own
    others = logits.scatter(1, indices[:, None], -torch.inf)
    return own - others.logsumexp(1)


def smooth_maximum(logits: Tensor, indices: Tensor) -> Tensor:
    """The largest logit (N,) but that of one class per image, smoothly: a log-sum-exp at a temperature.

    The temperature is a fifth of the logits' standard deviation, so that a network whose logits are all twice as
    large has the same gradient direction. At least the largest logit, and exactly it with two classes.

    Example:
        >>> smooth_maximum(torch.tensor([[9.0, 1.0]]), torch.tensor([0]))
        tensor([1.])
    """
    temperature = (0.2 * logits.detach().std(1, keepdim=True)).clamp_min(torch.finfo(logits.dtype).tiny)
    others = logits.scatter(1, indices[:, None], -torch.inf)
    largest = others.detach().amax(1, keepdim=True)
    above: Tensor = temperature * ((others - largest) / temperature).logsumexp(1, keepdim=True)
    return (largest + above).squeeze(1)


@dataclass(frozen=True)
class OfClasses:
    """What every criterion on classes holds.

    Attributes:
        indices: int64 (N,), one class per image.
    """

    indices: Tensor

    def __post_init__(self) -> None:
        if self.indices.ndim != 1 or self.indices.is_floating_point() or self.indices.dtype == torch.bool:
            raise InputError(
                "a criterion takes one class index per image, int64 (N,); found "
                f"{self.indices.dtype} {tuple(self.indices.shape)}. For a multi-label classifier attack one label of "
                "each image at a time."
            )

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def multi_start(self) -> bool:
        """Whether it is met well beyond the decision boundary."""
        return False

    def aims(self, logits: Tensor) -> Sequence[Callable[[Tensor, Tensor], Tensor]]:  # noqa: ARG002
        """None but the criterion's own margin."""
        return ()

    def check_indices(self, classes: int) -> None:
        """Refuse indices that are none of so many classes."""
        if len(self.indices):
            low, high = int(self.indices.min()), int(self.indices.max())
            if low < 0 or high >= classes:
                raise InputError(f"labels must lie from 0 to {classes - 1}; found {low} to {high}.")
