"""What a criterion is: the contract between what says that a perturbation has succeeded and what looks for one.

It holds what is wanted of each image of a batch, in the images' order. Each contract adds to the one before: an
`Ascent` has a `loss` to climb, a `WalkGoal` also says when it is met (`is_satisfied`), and a `Criterion` how far the
logits are from that (`margin`). Algorithm 1 walks a given length towards any goal; a search for the smallest
perturbation needs a criterion.
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


class Ascent(Protocol):
    """What gradient ascent climbs, image by image."""

    def __len__(self) -> int:
        """The number of images it speaks of."""
        ...

    def loss(self, logits: Tensor) -> Tensor:
        """The log-loss (N,) whose rise is wanted."""
        ...

    def rows(self, index: Tensor) -> Self:
        """The same for these images (int64 or bool index) only."""
        ...

    def check(self, task: Task, classes: int) -> None:
        """Refuse a classifier that it does not fit."""
        ...


class WalkGoal(Ascent, Protocol):
    """What a walk of a given length pursues: a loss to climb, and when to turn home."""

    def is_satisfied(self, logits: Tensor, perturbation: Tensor) -> Tensor:
        """Whether logits (N, K) of images moved by `perturbation` (N, C, H, W) meet it: bool (N,)."""
        ...


@runtime_checkable
class Criterion(WalkGoal, Protocol):
    """What is wanted of each image, where a smallest perturbation that meets it can be looked for.

    Attributes:
        multi_start: whether it is met well beyond the decision boundary, where there are many ways to it of much the
            same length; a search then begins from several places.

    Example:
        >>> from pellucid.attacks import Misclassified
        >>> criterion = Misclassified(torch.tensor([0, 1]))
        >>> logits = torch.tensor([[1.0, 3.0], [1.0, 3.0]])  # both images are taken for class 1
        >>> isinstance(criterion, Criterion), criterion.margin(logits).tolist()
        (True, [-2.0, 2.0])
        >>> criterion.is_satisfied(logits, torch.zeros(2, 1, 8, 8)).tolist()
        [True, False]
    """

    @property
    def multi_start(self) -> bool:
        """See the class."""
        ...

    def margin(self, logits: Tensor) -> Tensor:
        """Distance from meeting it (N,), differentiable, in units of logits: positive where it is not met."""
        ...

    def smooth_margin(self, logits: Tensor) -> Tensor:
        """The margin (N,) with a smooth gradient: no jump where another class takes the lead."""
        ...

    def aims(self, logits: Tensor) -> Sequence[Callable[[Tensor, Tensor], Tensor]]:
        """Ways to it that deserve a start of their own: what falls to zero on each, from (logits, rows) (n,).

        Args:
            logits: (N, K), of the images as they are.
        """
        ...


def with_margin(goal: WalkGoal) -> Criterion:
    """The goal, which a search for the smallest perturbation can take.

    Raises:
        InputError: it has no margin, as `RadiusReached`, or lacks another member of `Criterion`.
    """
    if not isinstance(goal, Criterion):
        lacking = [name for name in dir(Criterion) if not name.startswith("_") and not hasattr(goal, name)]
        raise InputError(
            f"{type(goal).__name__} lacks {', '.join(lacking)} of attacks.Criterion, so no smallest perturbation that "
            "meets it can be looked for: only Algorithm 1 (attacks.woods2019) takes it."
        )
    return goal


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
