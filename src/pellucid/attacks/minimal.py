"""The smallest perturbation that meets a criterion, by the algorithm of one's choice."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pellucid.attacks.decoupled_direction_norm import decoupled_direction_norm
from pellucid.attacks.engine import run_minimum_norm
from pellucid.attacks.fast_minimum_norm import fast_minimum_norm
from pellucid.attacks.tight import check_effort, tight
from pellucid.attacks.woods2019 import algorithm_1
from pellucid.types import InputError
from pellucid.utils.registry import Registry
from pellucid.utils.resources import check_known

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from pellucid.attacks.criterion import Criterion
    from pellucid.attacks.epsilon import Norm
    from pellucid.attacks.result import AttackResult


@dataclass(frozen=True)
class AttackEntry:
    """An algorithm for the smallest perturbation.

    Attributes:
        name: as given to `minimal`.
        algorithm: takes a search and keyword options.
        box: whether it stays in the pixel box unless asked otherwise.
        norms: in which it looks for small perturbations.
        takes_effort: whether `effort` is an option of it.
    """

    name: str
    algorithm: Callable[..., Tensor]
    box: bool = True
    norms: tuple[Norm, ...] = ("rms",)
    takes_effort: bool = False


METHODS = Registry(
    "pellucid.attacks",
    AttackEntry,
    (
        AttackEntry("tight", tight, norms=("rms", "linf"), takes_effort=True),
        AttackEntry("fmn", fast_minimum_norm, norms=("rms", "linf")),
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
    norm: Norm = "rms",
    box: bool | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    **options: Any,  # noqa: ANN401
) -> AttackResult:
    """The smallest perturbation, in root mean square or L∞, that meets a criterion on each image.

    Args:
        classifier: images (N, C, H, W) → logits (N, K).
        images: float (N, C, H, W) in [0, 1], on the classifier's device.
        criterion: what is wanted of each image, as `Misclassified(labels)`.
        method: one of `METHODS`.
        norm: what is to be small: `rms`, the Euclidean length per root of the number of values, or `linf`, the largest
            change; `linf` by `tight` and `fmn` only.
        box: keep perturbed images in [0, 1]; each method's own way by default: all do but `woods2019`.
        seed: of whatever the method leaves to chance.
        batch_size: images at a time; as many as fit in memory by default.
        options: of the method, as `steps`, or `effort` of `tight`.

    Returns:
        Image by image whether one was found, the perturbed image, its radius, and what was spent.

    Raises:
        InputError: an unknown method, or one that does not know the norm; see also
            `pellucid.attacks.engine.run_minimum_norm`.

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
    check_known([method], METHODS, "attack")
    check_method(method, norm=norm, effort=options.get("effort", 1))
    entry = METHODS[method]
    return run_minimum_norm(
        partial(entry.algorithm, **options),
        classifier,
        images,
        criterion,
        name=method,
        box=entry.box if box is None else box,
        norm=norm,
        seed=seed,
        batch_size=batch_size,
    )


def check_method(method: str, *, norm: str, effort: int) -> None:
    """Refuse a norm in which a method does not look for small perturbations, and an effort that it does not know.

    Raises:
        InputError: with what it does know, and who knows this one.
    """
    check_effort(effort)
    if effort != 1 and not METHODS[method].takes_effort:
        raise InputError(f"{method} has one budget only, and knows no effort: leave it out, or take tight.")
    if norm in METHODS[method].norms:
        return
    others = [name for name in METHODS if norm in METHODS[name].norms]
    advice = f"{norm} is known to {' and '.join(others)}" if others else "the norms are rms and linf"
    raise InputError(f"{method} looks for small perturbations in {' and '.join(METHODS[method].norms)}; {advice}.")
