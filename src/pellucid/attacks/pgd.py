"""Projected gradient ascent on a loss within a norm ball (Madry et al. 2018), the attack of robust training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pellucid.attacks.attack_state import check_logits
from pellucid.attacks.criterion import with_margin
from pellucid.attacks.epsilon import Epsilon, random_within, steepest, within_ball
from pellucid.models.classifier import frozen
from pellucid.types import InputError, check_images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor, nn

    from pellucid.attacks.criterion import Criterion

    Loss = Callable[[Tensor, Tensor], Tensor]


def pgd(
    classifier: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    loss: Loss,
    eps: Epsilon,
    steps: int = 10,
    step_size: float | None = None,
    random_start: bool = True,
    restarts: int = 1,
    criterion: Criterion | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Images within `eps` of `images`, inside [0, 1], on which `loss` is as large as `steps` steps make it.

    ``xₜ₊₁ = Π(xₜ + α · d(∇ₓL(xₜ, y)))``, where Π projects onto the ball of radius ε around the image and onto [0, 1], α
    is `step_size`, and ``d(g)`` is ``sign g`` in L∞ and ``g / ‖g‖`` in the other norms.

    Costs `steps` gradient evaluations per restart and, with several, one forward pass per restart. The classifier is in
    eval mode and its parameters are frozen meanwhile; mode, buffers and gradients are afterwards as they were. A
    bounded attack: it promises the size, not that the decision changes.

    Args:
        classifier: images (N, C, H, W) → logits (N, K).
        images: float (N, C, H, W) in [0, 1].
        targets: int64 (N,) or float (N, K), as the loss takes them.
        loss: (logits, targets) → scalar, to be maximised. It is summed or averaged over the batch: only the
            direction of each image's gradient matters.
        eps: the largest perturbation.
        steps: number of gradient steps, at least 1.
        step_size: length of one step in the norm of `eps`; 2.5 · eps / steps by default.
        random_start: start at a random point of the ball instead of the image.
        restarts: random starts to try, at least 1.
        criterion: what is wanted of each image; it chooses among restarts, image by image: one that meets it before
            one that does not, then the one with the lowest margin.
        generator: source of the random start; torch's own by default.

    Returns:
        The perturbed images (N, C, H, W), detached.

    Raises:
        InputError: images that do not lie in [0, 1], with the range found; no step or no restart; several restarts
            without a criterion with a margin or without a random start; a criterion for another number of images.

    Source:
        Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks", section 2.1.

    Example:
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b"], task="multiclass", size=32)
        >>> images, labels = torch.rand(2, 1, 32, 32), torch.tensor([0, 1])
        >>> from pellucid.attacks import Epsilon
        >>> loss = torch.nn.functional.cross_entropy
        >>> moved = pgd(model, images, labels, loss=loss, eps=Epsilon(l2=0.5), steps=3)
        >>> bool((moved - images).flatten(1).norm(dim=1).max() <= 0.5001)
        True
    """
    check_images(images)
    if steps < 1 or restarts < 1:
        raise InputError(f"steps and restarts must be at least 1; found {steps} and {restarts}.")
    if criterion is not None and len(criterion) != len(images):
        raise InputError(f"the criterion speaks of {len(criterion)} images; found {len(images)}.")
    chooser = _chooser(random_start, criterion) if restarts > 1 else None
    length = 2.5 * eps.value / steps if step_size is None else step_size

    def uphill(perturbed: Tensor, _: int) -> Tensor:
        point = perturbed.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(classifier(point), targets), point)
        return length * steepest(gradient, eps.norm)

    def inside(candidate: Tensor) -> Tensor:
        return within_ball(candidate, images, eps.value, eps.norm)

    def attempt() -> Tensor:
        start = random_within(images, eps.value, eps.norm, generator) if random_start else torch.zeros_like(images)
        return projected_ascent((images + start).clamp(0, 1), uphill, inside, steps).detach()

    with frozen(classifier), torch.enable_grad():
        if chooser is None:
            return attempt()
        return _best_of((attempt() for _ in range(restarts)), classifier, images, chooser)


def projected_ascent(
    start: Tensor, uphill: Callable[[Tensor, int], Tensor | None], inside: Callable[[Tensor], Tensor], steps: int
) -> Tensor:
    """Step uphill and go back inside, again and again: the loop of every projected gradient attack.

    What is climbed, and whether its points are images or perturbations, is the caller's.

    Args:
        start: (N, C, H, W).
        uphill: (where it is, number of the step from 0) → the step (N, C, H, W); None ends the walk.
        inside: a candidate → the nearest point where one may be.
        steps: at most so many.

    Returns:
        The last point (N, C, H, W).

    Example:
        >>> start = torch.zeros(1, 1, 1, 1)
        >>> projected_ascent(start, lambda x, step: 1 - x / 2, lambda x: x.clamp(max=1.2), 5).item()
        1.2000000476837158
    """
    here = start
    for step in range(steps):
        change = uphill(here, step)
        if change is None:
            break
        here = inside(here + change)
    return here


def _chooser(random_start: bool, criterion: Criterion | None) -> Criterion:
    """What chooses among restarts."""
    if not random_start:
        raise InputError("restarts differ by their random start only: leave random_start on, or take one restart.")
    if criterion is None:
        raise InputError("to choose among restarts a criterion is needed, as Misclassified(labels).")
    return with_margin(criterion)


def _best_of(attempts: Iterable[Tensor], classifier: nn.Module, images: Tensor, criterion: Criterion) -> Tensor:
    """Image by image the attempt that meets the criterion with the lowest margin, or comes closest to it."""
    best = images
    lowest = images.new_full((len(images),), torch.inf)
    success = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    for attempt in attempts:
        with torch.no_grad():
            logits = classifier(attempt)
            check_logits(logits)
            is_satisfied, margin = criterion.is_satisfied(logits, attempt - images), criterion.margin(logits)
        better = (is_satisfied & ~success) | ((is_satisfied == success) & (margin < lowest))
        best = torch.where(better.view(-1, 1, 1, 1), attempt, best)
        lowest, success = torch.where(better, margin, lowest), success | is_satisfied
    return best
