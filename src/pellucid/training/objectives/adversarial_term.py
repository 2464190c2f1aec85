"""The adversarial images of one training step, from the attack engine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, Self

import torch
from pydantic import Field, model_validator

from pellucid.attacks import RadiusReached, fgsm, pgd, worse_than_constant
from pellucid.attacks.attack_state import AttackState
from pellucid.attacks.criteria import Misclassified
from pellucid.attacks.epsilon import Epsilon
from pellucid.attacks.woods2019 import algorithm_1
from pellucid.models.classifier import frozen
from pellucid.utils.settings import Section

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from pellucid.attacks.criterion import WalkGoal
    from pellucid.training.distributed import BatchRandom
    from pellucid.types import Task


class AttackSettings(Section):
    """How the adversarial images of the objective are made."""

    method: Literal["fgsm", "pgd", "woods2019", "woods2019-min"] = Field(
        "fgsm",
        description="one gradient step, several, or Woods et al.'s Algorithm 1 to a size or to a decision",
    )
    size: Epsilon = Epsilon(linf=0.005)
    steps: int = Field(1, ge=1)
    step_size: float | None = Field(
        None, gt=0, description="of fgsm and pgd, in the norm of `size`; FGSM: 1.25 size, PGD: 2.5 size / steps"
    )
    random_start: bool = Field(
        True, description="`fgsm` and `pgd`: start at a random point of the ball instead of the image"
    )
    share: float = Field(1.0, gt=0, le=1, description="of the images that are attacked, drawn anew at every step")
    batch_norm: Literal["eval", "train"] = Field(
        "eval", description="batch norm during the attack: running statistics, or those of the batch as in training"
    )
    box: bool = Field(True, description="woods2019: whether adversarial images stay in [0, 1]; fgsm and pgd always do")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.method == "fgsm" and self.steps != 1:
            raise ValueError(f"fgsm takes one step; found steps = {self.steps}. Use method = 'pgd' for more")
        if self.method.startswith("woods2019"):
            if self.size.norm == "linf":
                raise ValueError(f"{self.method} walks in L2: give size as rms or l2; found linf")
            if self.step_size is not None:
                raise ValueError(f"{self.method} has its own steps, whose sum is the size; found step_size")
        elif not self.box:
            raise ValueError(f"{self.method} stays in the pixel box; found box = false")
        return self


@dataclass(frozen=True)
class TrainingLoss:
    """Each image's own training loss, as an `Ascent`.

    Attributes:
        losses: (logits, targets) → (N,).
        targets: int64 (N,) or float (N, K).
    """

    losses: Callable[[Tensor, Tensor], Tensor]
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def loss(self, logits: Tensor) -> Tensor:
        """That of training (N,)."""
        return self.losses(logits, self.targets)

    def rows(self, index: Tensor) -> TrainingLoss:
        """The same for some of the images."""
        return TrainingLoss(self.losses, self.targets[index])

    def check(self, task: Task, classes: int) -> None:
        """Any classifier fits: it is the one in training, whose objective was made for it."""


def perturb(
    classifier: nn.Module,
    images: Tensor,
    targets: Tensor,
    settings: AttackSettings,
    *,
    task: Task,
    losses: Callable[[Tensor, Tensor], Tensor],
    random: BatchRandom,
    constant: Tensor | None = None,
) -> Tensor:
    """Adversarial images for the true labels; the others of the batch as they are.

    The classifier's parameters are frozen meanwhile, and its buffers are afterwards as they were. With batch norm in
    training mode an image's gradient depends on the rest of the batch, so the images that are not attacked go through
    the network as well; otherwise only the others do.

    Args:
        classifier: images → logits.
        images: float (N, C, H, W) in [0, 1].
        targets: int64 (N,) or float (N, K), NaN where unknown.
        settings: the attack.
        task: `multiclass` or `multilabel`.
        losses: (logits, targets) → each image's part (N,) of the loss, which is driven up.
        random: of this step: which images, and of a multi-label image which label.
        constant: (K,), the best constant prediction; for `woods2019-min` on a multi-label task, which drives one random
            known label of each image until it is predicted no better than that.

    Returns:
        (N, C, H, W), detached.

    Source:
        Woods, Chen & Teuscher 2019 for `woods2019…`: "L2" and "L2 min" training attacks, and "half-half" (`share` 0.5).
        Their batch norm is in training mode meanwhile, and its running statistics follow the attack's passes too, which
        they do not here. An image for which the smallest attack finds nothing stays as it is, as in their later code.
    """
    is_attacked = random.uniform(len(images)).to(images.device) < settings.share
    labels = random.uniform(*targets.shape).to(images.device) if task == "multilabel" else None
    everyone = settings.share == 1
    count = len(images)
    training = settings.batch_norm == "train"
    subset = not everyone and not training  # without batch statistics no image depends on another
    if subset:
        rows, images_all = is_attacked.nonzero()[:, 0], images
        if not len(rows):
            return images
        images, targets = images[rows], targets[rows]
        labels = labels[rows] if labels is not None else None

    def network(points: Tensor) -> Tensor:
        if not everyone and not subset:
            points = torch.where(is_attacked.view(-1, 1, 1, 1), points, images)
        logits: Tensor = classifier(points)
        return logits

    with frozen(classifier, training=training), torch.enable_grad():
        if settings.method in ("fgsm", "pgd"):
            perturbed = _bounded(network, images, targets, settings, losses)
        else:
            # each image's own loss, not its share of a mean: Algorithm 1 adds 1e-8 to the length of its gradient
            aim = _aim(images, targets, settings, task, lambda *answers: count * losses(*answers), labels, constant)
            perturbed = _algorithm_1(network, images, aim, settings)
    if subset:
        return images_all.index_copy(0, rows, perturbed)
    return perturbed if everyone else torch.where(is_attacked.view(-1, 1, 1, 1), perturbed, images)


def _bounded(
    network: Callable[[Tensor], Tensor],
    images: Tensor,
    targets: Tensor,
    settings: AttackSettings,
    losses: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    method = fgsm if settings.method == "fgsm" else partial(pgd, steps=settings.steps)
    return method(
        network,  # type: ignore[arg-type]  # any callable will do
        images,
        targets,
        loss=lambda logits, labels: losses(logits, labels).sum(),
        eps=settings.size,
        step_size=settings.step_size,
        random_start=settings.random_start,
    )


def _aim(
    images: Tensor,
    targets: Tensor,
    settings: AttackSettings,
    task: Task,
    losses: Callable[[Tensor, Tensor], Tensor],
    draws: Tensor | None,
    constant: Tensor | None,
) -> WalkGoal:
    if settings.method == "woods2019":
        return RadiusReached(TrainingLoss(losses, targets), _rms(settings.size, images))
    if task == "multiclass":
        return Misclassified(targets)
    assert draws is not None
    assert constant is not None
    label = draws.masked_fill(targets.isnan(), -1).argmax(1)  # an image without known labels: any, and no harm
    present = targets.gather(1, label[:, None])[:, 0] == 1
    levels = constant.to(images.device).nan_to_num(0.5).clamp(1e-6, 1 - 1e-6)
    return worse_than_constant(label, levels, task=task, present=present)


def _algorithm_1(
    network: Callable[[Tensor], Tensor], images: Tensor, criterion: WalkGoal, settings: AttackSettings
) -> Tensor:
    search = AttackState(network, images, criterion, box=settings.box)  # type: ignore[arg-type]  # any callable will do
    end = algorithm_1(search, length=_rms(settings.size, images), steps=settings.steps, momentum=0.0)
    return search.best.detach() if settings.method == "woods2019-min" else (images + end).detach()


def _rms(eps: Epsilon, images: Tensor) -> float:
    return eps.value if eps.norm == "rms" else eps.value / images[0].numel() ** 0.5
