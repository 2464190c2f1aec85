"""One ascent for all labels of an image at once: what it changes need not be attacked label by label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pellucid.attacks.attack_state import check_logits
from pellucid.attacks.epsilon import lengths, steepest, within_ball
from pellucid.attacks.pgd import projected_ascent

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pellucid.attacks.epsilon import Epsilon

STEPS = 10


def joint_ascent(
    classifier: nn.Module,
    images: Tensor,
    present: Tensor,
    is_known: Tensor,
    levels: Tensor,
    eps: Epsilon,
    *,
    steps: int = STEPS,
) -> tuple[Tensor, Tensor]:
    """Drive every known label of a multi-label classifier away from the truth, from the image, as far as it goes.

    Climbs the sum of the labels' margins, so that the scale of the logits does not matter. `steps` gradient
    evaluations and one more forward pass per image, whatever the number of labels.

    Args:
        classifier: images (n, C, H, W) → logits (n, K); frozen.
        images: (n, C, H, W) in [0, 1].
        present: bool (n, K), the truth.
        is_known: bool (n, K), where it is known.
        levels: float64 (K,), the thresholds, probabilities inside (0, 1).
        eps: the largest perturbation.
        steps: at least 1.

    Returns:
        The logits (n, K), each label's where it lay farthest from the truth; and the smallest root mean square (n, K)
        of a perturbation on the way under which the label's decision was wrong, infinite where it never was.
    """
    sign = torch.where(present, -1.0, 1.0).to(images.dtype) * is_known
    farthest: Tensor | None = None
    radius = torch.full_like(sign, torch.inf)

    def note(logits: Tensor, points: Tensor) -> None:
        nonlocal farthest, radius
        check_logits(logits)
        logits, now = logits.detach(), lengths(points.detach() - images, "rms")[:, None].expand_as(radius)
        farthest = logits if farthest is None else torch.where(sign * (logits - farthest) > 0, logits, farthest)
        is_wrong = ((logits.double().sigmoid() >= levels) != present) & is_known
        radius = torch.where(is_wrong, torch.minimum(radius, now), radius)

    def uphill(points: Tensor, _: int) -> Tensor:
        points = points.detach().requires_grad_(True)
        logits = classifier(points)
        note(logits, points)
        (gradient,) = torch.autograd.grad((sign * logits).sum(), points)
        return 2.5 * eps.value / steps * steepest(gradient, eps.norm)

    def inside(points: Tensor) -> Tensor:
        return within_ball(points, images, eps.value, eps.norm)

    with torch.enable_grad():
        last = projected_ascent(images, uphill, inside, steps)
    with torch.no_grad():
        note(classifier(last), last)
    assert farthest is not None
    return farthest, radius
