"""The smallest perturbation that meets a criterion, by the algorithm of one's choice."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pellucid.attacks.criteria import RadiusReached
from pellucid.attacks.decoupled_direction_norm import decoupled_direction_norm
from pellucid.attacks.engine import run_minimum_norm
from pellucid.attacks.fast_minimum_norm import fast_minimum_norm
from pellucid.attacks.tight import tight
from pellucid.attacks.woods2019 import algorithm_1
from pellucid.types import InputError
from pellucid.utils.registry import Registry
from pellucid.utils.resources import nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from pellucid.attacks.criterion import Criterion
    from pellucid.attacks.result import AttackResult


@dataclass(frozen=True)
class AttackEntry:
    """An algorithm for the smallest perturbation.

    Attributes:
        name: as given to `minimal`.
        algorithm: takes a search and keyword options.
        box: whether it stays in the pixel box unless asked otherwise.
    """

    name: str
    algorithm: Callable[..., Tensor]
    box: bool = True


METHODS = Registry(
    "pellucid.attacks",
    AttackEntry,
    (
        AttackEntry("tight", tight),
        AttackEntry("fmn", fast_minimum_norm),
        AttackEntry("ddn", decoupled_direction_norm),
        AttackEntry("woods2019", algorithm_1, box=False),
    ),
)
"""What `minimal` can be told to use."""


def minimal(
    classifier: nn.Module,
    images: Tensor,
    criterion: Criterion,
    *,
    method: str = "tight",
    box: bool | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    **options: Any,  # noqa: ANN401
) -> AttackResult:
    """The smallest perturbation, in root mean square, that meets a criterion on each image.

    Args:
        classifier: images (N, C, H, W) → logits (N, K).
        images: float (N, C, H, W) in [0, 1], on the classifier's device.
        criterion: what is wanted of each image, as `Misclassified(labels)`.
        method: one of `METHODS`.
        box: keep perturbed images in [0, 1]; each method's own way by default: all do but `woods2019`.
        seed: of whatever the method leaves to chance.
        batch_size: images at a time; as many as fit in memory by default.
        options: of the method, as `steps`.

    Returns:
        Image by image whether one was found, the perturbed image, its radius, and what was spent.

    Raises:
        InputError: an unknown method; see also `pellucid.attacks.engine.run_minimum_norm`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from pellucid.attacks import Misclassified
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> _ = net[1].weight.data.copy_(torch.tensor([[1.0, 1, 1, 1], [-1, -1, -1, -1]]))
        >>> _ = net[1].bias.data.copy_(torch.tensor([-1.0, 1]))
        >>> result = minimal(net, torch.full((1, 1, 2, 2), 0.5), Misclassified(torch.tensor([0])))
        >>> result.found, round(float(result.radius), 3)  # to where the four pixels sum to 1
        (tensor([True]), 0.25)
    """
    if method not in METHODS:
        raise InputError(f"unknown attack {method!r}. {nearest(method, METHODS)}")
    if isinstance(criterion, RadiusReached):
        raise InputError("a perturbation of a given radius has no smallest size: use attacks.woods2019 or attacks.pgd.")
    entry = METHODS[method]
    return run_minimum_norm(
        partial(entry.algorithm, **options),
        classifier,
        images,
        criterion,
        name=method,
        box=entry.box if box is None else box,
        seed=seed,
        batch_size=batch_size,
    )
