"""How a classifier decides under attack: its logits on images that an attack of a given size moved, and the cost."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from pellucid.attacks.bounded.apgd import apgd
from pellucid.attacks.bounded.joint_ascent import STEPS, joint_ascent
from pellucid.attacks.bounded.run import within
from pellucid.attacks.bounded.search import BoundedSearch
from pellucid.attacks.criteria import Misclassified, label_flipped
from pellucid.attacks.epsilon import lengths
from pellucid.attacks.fgsm import fgsm
from pellucid.attacks.pgd import pgd
from pellucid.models.classifier import frozen
from pellucid.models.inference import as_pixels, in_batches
from pellucid.types import InputError, device_of
from pellucid.utils.progress import step

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    from torch import Tensor, nn

    from pellucid.attacks.bounded.attack import BoundedAttack
    from pellucid.attacks.epsilon import Epsilon
    from pellucid.types import Pixels

PGD_STEPS = 20
ANSWERS_RULES = 1
"""Counted up whenever a model is attacked otherwise, so that what was kept before is not read as this."""


def task_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The plain loss of a task, summed: cross entropy for int64 (N,), binary cross entropy for float (N, K)."""
    if not targets.is_floating_point():
        return F.cross_entropy(logits, targets, reduction="sum")
    is_known = ~targets.isnan()
    losses = F.binary_cross_entropy_with_logits(logits, targets.nan_to_num(0.0), reduction="none")
    return (losses * is_known).sum()


@dataclass(frozen=True)
class AnswersUnderAttack:
    """What a classifier answers on images that an attack moved.

    Attributes:
        logits: float32 (N, K): on the image as the attack left it. Of several labels each label's own, from the image
            that was moved against this label.
        gradient_evaluations: int64 (N,), for all labels of an image together.
        forward_passes: int64 (N,), those of the gradient evaluations included.
        radius: float64 (N,), or (N, K) of several labels: root mean square of the perturbation under which the decision
            was wrong; 0 where it was from the start, NaN where it was not, or the label is unknown. The decision at a
            half where a label's threshold lies outside (0, 1).
        masked: int64 (N,), decisions that only random search changed, although gradients had been followed before.
    """

    logits: npt.NDArray[np.float32]
    gradient_evaluations: npt.NDArray[np.int64]
    forward_passes: npt.NDArray[np.int64]
    radius: npt.NDArray[np.float64]
    masked: npt.NDArray[np.int64]

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All of it, by name: ``AnswersUnderAttack(**arrays)`` is the same again."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def check_steps(attacks: Sequence[BoundedAttack], steps: int | None) -> None:
    """Refuse a number of steps that no attack takes.

    Raises:
        InputError: steps below 1, or steps where none of the attacks is PGD.
    """
    if steps is None:
        return
    if steps < 1:
        raise InputError(f"steps must be at least 1; found {steps}.")
    if not any(attack.method == "pgd" for attack in attacks):
        raise InputError("only PGD takes a number of steps: name it, as pgd:linf=8/255, or leave the steps out.")


def costs(attack: BoundedAttack, answers: AnswersUnderAttack, steps: int | None = None) -> dict[str, Any]:
    """What an attack was and what it cost per image, as plain values."""
    return {
        "method": attack.method,
        **({"steps": steps or PGD_STEPS} if attack.method == "pgd" else {}),
        "gradient_evaluations_per_image": float(np.mean(answers.gradient_evaluations)),
        "forward_passes_per_image": float(np.mean(answers.forward_passes)),
        "masked": int(answers.masked.sum()),
    }


def masked_gradients(name: str, answers: AnswersUnderAttack) -> list[str]:
    """What to tell people where random search changed decisions that gradients did not: no or one sentence."""
    masked = int(answers.masked.sum())
    if not masked:
        return []
    return [
        f"under {name}, random search alone changed {masked} decision{'s' if masked > 1 else ''} that gradients did "
        "not: gradients may be masked, and then radii and areas found by gradients are too large. Compare with "
        "autoattack:, whose random search is 25 times as long."
    ]


def answers_under_attack(
    classifier: nn.Module,
    images: Pixels,
    targets: npt.NDArray[np.generic],
    attack: BoundedAttack,
    *,
    thresholds: Sequence[float] | None = None,
    steps: int = PGD_STEPS,
    seed: int = 0,
    batch_size: int = 64,
) -> AnswersUnderAttack:
    """What a classifier answers on images that an attack moved against their own targets.

    `margin` and `autoattack` change decisions, and an image leaves as soon as its decision is wrong: accuracy is then
    an upper bound of that under the worst perturbation, a tight one; so is AUROC, a looser one, since answers are not
    pushed on. Of a multi-label classifier all labels are first driven away from the truth together, then each known one
    that is still right by itself. `pgd` and `fgsm` raise the task's loss of all labels together and do not stop.

    Args:
        classifier: images → logits.
        images: uint8 or uint16 (N, C, H, W).
        targets: int64 (N,) or float (N, K), NaN where unknown.
        attack: which, and its size.
        thresholds: of several labels, where their decisions change, as probabilities; a half each by default, and where
            one lies outside (0, 1).
        steps: of `pgd`, each 2.5 · size / steps long.
        seed: of what is left to chance, drawn batch by batch.
        batch_size: images at a time.

    Raises:
        InputError: logits that are not finite, of `margin` and `autoattack`; `pgd` and `fgsm` return them as they are.

    Example:
        >>> from torch import nn
        >>> from pellucid.attacks import BoundedAttack
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> _ = net[1].weight.data.copy_(torch.tensor([[1.0, 1, 1, 1], [-1, -1, -1, -1]]))
        >>> _ = net[1].bias.data.copy_(torch.tensor([-1.0, 1]))  # class 0 where the four pixels sum to more than 1
        >>> images = np.full((2, 1, 2, 2), 128, dtype=np.uint8)  # they sum to 2.008
        >>> for size in ("linf=0.2", "linf=0.3"):
        ...     answers = answers_under_attack(net, images, np.array([0, 0]), BoundedAttack.parse(size))
        ...     print(answers.logits.argmax(1))
        [0 0]
        [1 1]
    """
    parts = []
    for start, pixels, labels in _batches(classifier, images, targets, batch_size):
        if attack.method in ("pgd", "fgsm"):
            part = _by_loss(classifier, pixels, labels, attack, thresholds, steps, seed + start)
        elif labels.is_floating_point():
            part = _label_by_label(classifier, pixels, labels, attack, thresholds, seed + start)
        else:
            part = _by_class(classifier, pixels, labels, attack, seed + start)
        parts.append(part)
    tables = [part.arrays() for part in parts]
    return AnswersUnderAttack(**{name: np.concatenate([table[name] for table in tables]) for name in tables[0]})


def answers_after_ascent(
    classifier: nn.Module,
    images: Pixels,
    targets: npt.NDArray[np.generic],
    eps: Epsilon,
    *,
    steps: int = STEPS,
    batch_size: int = 64,
) -> npt.NDArray[np.float32]:
    """Logits (N, K) after one short walk down the margin, from the image: cheap, and the same for any scale of logits.

    `steps` gradient evaluations and one more forward pass per image; the logits of the point farthest from the truth,
    label by label where there are several. What training's robust check uses.

    Args:
        classifier: images → logits.
        images: uint8 or uint16 (N, C, H, W).
        targets: int64 (N,) or float (N, K), NaN where unknown.
        eps: the largest perturbation.
        steps: at least 1.
        batch_size: images at a time.

    Raises:
        InputError: logits that are not finite.
    """
    logits = []
    for _, pixels, labels in _batches(classifier, images, targets, batch_size):
        with frozen(classifier):
            if labels.is_floating_point():
                levels = _levels(None, labels.shape[1]).to(pixels.device)
                answers, _ = joint_ascent(classifier, pixels, labels == 1, ~labels.isnan(), levels, eps, steps=steps)
            else:
                search = BoundedSearch(classifier, pixels, Misclassified(labels.long()), eps)
                every = torch.arange(len(pixels), device=pixels.device)
                apgd(search, every, None, steps=steps, start=pixels, leave=False)
                answers = search.logits
        logits.append(answers.float())
    return torch.cat(logits).cpu().numpy()


def _batches(
    classifier: nn.Module, images: Pixels, targets: npt.NDArray[np.generic], batch_size: int
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """The number of a batch's first image, its pixels and its labels on the classifier's device; each is progress."""
    device = device_of(classifier)
    for rows in in_batches(len(images), batch_size):
        with step(rows.stop - rows.start):
            labels = torch.from_numpy(np.ascontiguousarray(targets[rows])).to(device)
            yield rows.start, as_pixels(images[rows], device), labels


def _by_loss(
    classifier: nn.Module,
    pixels: Tensor,
    labels: Tensor,
    attack: BoundedAttack,
    thresholds: Sequence[float] | None,
    steps: int,
    seed: int,
) -> AnswersUnderAttack:
    if attack.method == "fgsm":
        steps, perturbed = 1, fgsm(classifier, pixels, labels, loss=task_loss, eps=attack)
    else:
        generator = torch.Generator(pixels.device).manual_seed(seed)
        perturbed = pgd(classifier, pixels, labels, loss=task_loss, eps=attack, steps=steps, generator=generator)
    with frozen(classifier), torch.no_grad():
        logits, clean = classifier(perturbed), classifier(pixels)
    wrong, from_start = (_wrong(answers, labels, thresholds) for answers in (logits, clean))
    rms = lengths(perturbed.double() - pixels.double(), "rms").view(-1, *[1] * (wrong.ndim - 1)).expand(wrong.shape)
    radius = rms.masked_fill(~wrong, torch.nan).masked_fill(from_start, 0.0)
    spent = torch.full((len(pixels),), steps)
    return _answers(logits, spent, spent + 2, radius, torch.zeros_like(spent))


def _by_class(
    classifier: nn.Module, pixels: Tensor, labels: Tensor, attack: BoundedAttack, seed: int
) -> AnswersUnderAttack:
    criterion, count = Misclassified(labels.long()), len(pixels)
    result = within(classifier, pixels, criterion, attack, method=attack.method, seed=seed, batch_size=count)
    return _answers(result.logits, result.gradient_evaluations, result.forward_passes, result.radius, result.masked)


def _label_by_label(
    classifier: nn.Module,
    pixels: Tensor,
    labels: Tensor,
    attack: BoundedAttack,
    thresholds: Sequence[float] | None,
    seed: int,
) -> AnswersUnderAttack:
    """All labels together, then those that are still right one by one."""
    count, classes = labels.shape
    levels = _levels(thresholds, classes).to(pixels.device)
    present, is_known = labels == 1, ~labels.isnan()
    with frozen(classifier):
        logits, radius = joint_ascent(classifier, pixels, present, is_known, levels, attack)
    stands = is_known & radius.isinf()
    radius = radius.double().masked_fill(radius.isinf(), torch.nan)
    gradients = torch.full((count,), STEPS, device=pixels.device)
    forwards, masked = gradients + 1, torch.zeros_like(gradients)
    image, label = stands.nonzero().unbind(1)
    for rows in in_batches(len(image), count):
        one, which = image[rows], label[rows]
        result = within(
            classifier, pixels[one], label_flipped(which, present[one, which], levels), attack,
            method=attack.method, seed=seed + rows.start, batch_size=count,
        )  # fmt: skip
        own = result.logits.gather(1, which[:, None]).squeeze(1)
        farther = torch.where(present[one, which], own < logits[one, which], own > logits[one, which])
        logits[one, which] = torch.where(farther, own, logits[one, which])
        radius[one, which] = result.radius
        gradients.index_add_(0, one, result.gradient_evaluations)
        forwards.index_add_(0, one, result.forward_passes)
        masked.index_add_(0, one, result.masked.long())
    return _answers(logits, gradients, forwards, radius, masked)


def _levels(thresholds: Sequence[float] | None, classes: int) -> Tensor:
    """Where decisions change, float64 (K,); a half where no probability is given at which they could."""
    levels = torch.tensor([0.5] * classes if thresholds is None else list(thresholds), dtype=torch.float64)
    return torch.where((levels > 0) & (levels < 1), levels, 0.5)


def _wrong(logits: Tensor, labels: Tensor, thresholds: Sequence[float] | None) -> Tensor:
    """Which decisions are: bool (N,), or (N, K) of several labels, known ones only."""
    if not labels.is_floating_point():
        return logits.argmax(1) != labels
    levels = _levels(thresholds, labels.shape[1]).to(logits.device)
    return ((logits.double().sigmoid() >= levels) != (labels == 1)) & ~labels.isnan()


def _answers(logits: Tensor, gradients: Tensor, forwards: Tensor, radius: Tensor, masked: Tensor) -> AnswersUnderAttack:
    gradients, forwards, radius, masked = (part.cpu() for part in (gradients, forwards, radius, masked))
    return AnswersUnderAttack(
        logits.float().cpu().numpy(), gradients.numpy(), forwards.numpy(), radius.numpy(), masked.long().numpy()
    )
