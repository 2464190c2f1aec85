"""Algorithm 1 of Woods, Chen & Teuscher 2019: pursue a goal; once it is met, shrink; with steps that decay to zero."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from pellucid.attacks.criterion import Criterion
from pellucid.attacks.engine import run_fixed_budget, run_minimum_norm
from pellucid.attacks.epsilon import lengths
from pellucid.attacks.result import AttackResult, concatenate

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pellucid.attacks.attack_state import AttackState
    from pellucid.attacks.criterion import WalkGoal


def algorithm_1(search: AttackState, *, length: float = 20.0, steps: int = 450, momentum: float = 0.9) -> Tensor:
    """Walk `length` in `steps` steps, along the gradient of its loss, or home wherever the criterion is met.

    The steps decay linearly, ``η_t = A (T − t) / (T (T + 1) / 2)``, and sum to `length`. No random start and no
    projection; the pixel box only where the search keeps it, which the published code does not. `steps` gradient
    evaluations and one more forward pass per image.

    The defaults measure the Accuracy-Robustness Area. With ``length=0.1, steps=7, momentum=0`` and a criterion on the
    decision it is the paper's "L2 min" training attack; with `RadiusReached` as the criterion and ``length`` the
    radius itself its "L2" training attack; with ``length=5·ρ, steps=35, momentum=0`` its explanation.

    Args:
        search: the images and what is wanted.
        length: A, the sum of all steps, root mean square per pixel and channel.
        steps: T.
        momentum: μ of the running average of directions; 0 for none.

    Returns:
        The last perturbation (n, C, H, W); `search.best` holds the smallest that met the criterion.

    Source:
        Woods, Chen & Teuscher 2019, Algorithm 1; github.com/wwoods/adversarial-explanations-cifar, `main.py`.
    """
    perturbation = torch.zeros_like(search.images)
    average = torch.zeros_like(perturbation)
    for step in range(steps):
        evaluation = search.evaluate(perturbation, of="loss")
        assert evaluation.gradient is not None
        direction = torch.where(evaluation.is_satisfied.view(-1, 1, 1, 1), -perturbation, evaluation.gradient)
        direction = direction / (1e-8 + lengths(direction, "rms").view(-1, 1, 1, 1))
        if momentum > 0:
            average = momentum * average + (1 - momentum) * direction
            direction = average
        size = length * (steps - step) / (steps * (steps + 1) / 2)
        perturbation = search.inside(perturbation + size * direction)
    search.evaluate(perturbation, gradient=False, of="loss")
    return perturbation


def woods2019(
    classifier: nn.Module,
    images: Tensor,
    criterion: WalkGoal,
    *,
    length: float = 20.0,
    steps: int = 450,
    momentum: float = 0.9,
    box: bool = False,
    batch_size: int | None = None,
) -> AttackResult:
    """Algorithm 1 of Woods et al. 2019 in any of its uses; see `pellucid.attacks.woods2019.algorithm_1`.

    ``δₜ₊₁ = δₜ + ηₜ · d / rms(d)`` with ``ηₜ = A (T − t) / (T (T + 1) / 2)``; d is the gradient of the criterion's
    loss, or −δₜ where the criterion is met, so that the walk follows the boundary. With momentum the running average
    of ``d / rms(d)`` takes its place.

    With a goal that has no margin, as `RadiusReached`, the answer is where the walk ends, at about that radius, and
    `found` says whether it was reached on the way; with any criterion the smallest perturbation that met the criterion.

    Args:
        classifier: images (N, C, H, W) → logits (N, K).
        images: float (N, C, H, W) in [0, 1], on the classifier's device.
        criterion: what is wanted of each of them.
        length: the sum of all steps, root mean square per pixel and channel.
        steps: their number; one gradient evaluation each.
        momentum: of the running average of directions.
        box: keep perturbed images in [0, 1]; the published code does not.
        batch_size: images at a time; as many as fit in memory by default.

    Raises:
        InputError: as `pellucid.attacks.engine.run_minimum_norm`.

    Example:
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b"], task="multiclass", size=32)
        >>> images, labels = torch.rand(2, 1, 32, 32), torch.tensor([0, 1])
        >>> from pellucid.attacks import Misclassified
        >>> result = woods2019(model, images, Misclassified(labels), steps=20)
        >>> result.perturbed.shape, result.found.shape
        (torch.Size([2, 1, 32, 32]), torch.Size([2]))
    """
    algorithm = partial(algorithm_1, length=length, steps=steps, momentum=momentum)
    if isinstance(criterion, Criterion):
        return run_minimum_norm(
            algorithm,
            classifier,
            images,
            criterion,
            name="woods2019",
            box=box,
            batch_size=batch_size,
        )
    parts = [
        _where_it_ended(images[rows], perturbed, search)
        for rows, perturbed, search in run_fixed_budget(
            algorithm, classifier, images, criterion, box=box, batch_size=batch_size
        )
    ]
    return concatenate(parts)


def _where_it_ended(images: Tensor, perturbed: Tensor, search: AttackState) -> AttackResult:
    reached = search.first_met >= 0
    return AttackResult(
        images=images,
        perturbed=perturbed,
        found=reached,
        met_at_start=torch.zeros_like(reached),
        gradient_evaluations=search.gradient_evaluations,
        forward_passes=search.forward_passes,
        first_met=search.first_met,
        method="woods2019",
    )
