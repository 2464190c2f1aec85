"""The fast gradient sign method: one step of projected gradient ascent (Goodfellow et al. 2015)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.attacks.pgd import pgd

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from pellucid.attacks.epsilon import Epsilon
    from pellucid.attacks.pgd import Loss


def fgsm(
    classifier: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    loss: Loss,
    eps: Epsilon,
    step_size: float | None = None,
    random_start: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Images moved by one step along the sign of the loss's gradient (the gradient itself for `l2` and `rms`).

    In L∞ ``x' = clip(x + ε · sign ∇ₓL(x, y), 0, 1)``; in the other norms ``ε · ∇ₓL / ‖∇ₓL‖`` takes the sign's place.

    Costs one gradient evaluation. With `random_start` the step is 1.25 times the size, as Wong et al. 2020 found
    it must be longer than the ball's radius to reach its border from inside; otherwise it is the size itself.

    Args:
        classifier: images (N, C, H, W) → logits (N, K).
        images: float (N, C, H, W) in [0, 1].
        targets: int64 (N,) or float (N, K), as the loss takes them.
        loss: (logits, targets) → scalar, to be maximised.
        eps: the largest perturbation.
        step_size: length of the step in the norm of `eps`.
        random_start: start at a random point of the ball instead of the image.
        generator: source of the random start; torch's own by default.

    Returns:
        The perturbed images (N, C, H, W), in [0, 1], detached.

    Raises:
        InputError: images that do not lie in [0, 1], with the range found.

    Source:
        Goodfellow et al. 2015, "Explaining and harnessing adversarial examples", section 4; Wong, Rice & Kolter
        2020, "Fast is better than free", algorithm 3.

    Example:
        >>> import torch
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b"], task="multiclass", size=32)
        >>> images, labels = torch.rand(2, 1, 32, 32), torch.tensor([0, 1])
        >>> from pellucid.attacks import Epsilon
        >>> loss = torch.nn.functional.cross_entropy
        >>> moved = fgsm(model, images, labels, loss=loss, eps=Epsilon(linf=0.01))
        >>> bool((moved - images).abs().max() <= 0.0101)
        True
    """
    if step_size is None:
        step_size = eps.value * (1.25 if random_start else 1.0)
    return pgd(
        classifier,
        images,
        targets,
        loss=loss,
        eps=eps,
        steps=1,
        step_size=step_size,
        random_start=random_start,
        generator=generator,
    )
