"""What training minimises: the task loss on clean, noisy and adversarial images, a gradient penalty, annotations."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from pellucid.models.classifier import ConvolutionalClassifier, frozen
from pellucid.models.dual_norm import has_dual_norm, using_norm
from pellucid.models.second_order import twice_differentiable
from pellucid.training.distributed import BatchRandom, Processes
from pellucid.training.objectives.adversarial_term import AttackSettings, perturb
from pellucid.training.objectives.annotation_step import marked_explanations, misplaced_attribution
from pellucid.training.objectives.annotation_term import AnnotationSettings, outputs_of
from pellucid.training.objectives.forward_pass import ForwardPass
from pellucid.training.objectives.gradient_penalty import (
    Method,
    PenaltySettings,
    gradient_penalty,
    penalty_method,
)
from pellucid.training.objectives.losses import (
    LOSSES,
    LabelCounts,
    LossName,
    best_constant,
    constant_loss,
    divergence,
    label_counts,
    resolve_loss,
)
from pellucid.training.objectives.penalty_weight import AdaptiveWeight, target_of
from pellucid.training.objectives.replayable import ReplayableForward
from pellucid.types import InputError
from pellucid.utils.settings import Section

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from pellucid.types import Batch, Task


class ObjectiveSettings(Section):
    """``mix · loss(x) + (1 − mix) · loss(x + δ)``; mix 1 is plain training, mix 0 is min–max training.

    With ``form = "trades"`` it is ``loss(x) + beta · divergence(x, x + δ)``; `gradient_penalty` and `annotations` are
    added to either.
    """

    loss: LossName = "auto"
    mix: float = Field(
        1.0, ge=0, le=1, description="weight of the loss on the images as they are; the rest is on adversarial ones"
    )
    form: Literal["mix", "trades"] = Field("mix", description="how the adversarial images enter")
    beta: float = Field(6.0, gt=0, allow_inf_nan=False, description="weight of the divergence of `trades`")
    noise: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="standard deviation of Gaussian noise on every image, in pixels"
    )
    attack: AttackSettings = AttackSettings()
    gradient_penalty: PenaltySettings | None = None
    annotations: AnnotationSettings | None = Field(None, description="learn from what people marked (--annotations)")

    @property
    def attacks(self) -> bool:
        """Whether adversarial images take part."""
        return self.mix < 1 or self.form == "trades"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.form == "trades" and self.mix != 1:
            raise ValueError(f"trades has beta and no mix: leave mix at 1; found {self.mix}")
        if self.form == "trades" and self.attack.method.startswith("woods2019"):
            raise ValueError(f"trades drives up a divergence by fgsm or pgd; found {self.attack.method!r}")
        return self


class Objective(nn.Module):
    """The whole of one step as a module: images and labels in, one number to minimise out.

    It holds the classifier, so that a wrapper for several processes sees one call per step, however often the network
    runs within it. Clean and adversarial images go through the network in one batch, so that batch norm sees both;
    with two sets of batch norm (`batch_norms = 2`) each kind has its own, and goes by itself.

    Args:
        classifier: what is trained.
        settings: the recipe's `objective`.
        targets: the training labels, float (N, K) or int64 (N,): the loss of the best constant prediction is theirs.
        processes: who trains along.

    Raises:
        InputError: for a loss that is not for the classifier's task, or a target of the loss that a constant prediction
            reaches.

    Source:
        Goodfellow et al. 2015 (the mix), Madry et al. 2018 (mix 0), Zhang et al. 2019 (TRADES), Woods et al. 2019 (the
        gradient penalty), Cohen et al. 2019 (noise), Han et al. 2021 (two sets of batch norm), Ross et al.
        2017 (annotations).

    Example:
        >>> from pellucid.models import create_model
        >>> classifier = create_model("small", classes=["a", "b"], task="multilabel", size=32)
        >>> targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> objective = Objective(classifier, ObjectiveSettings(loss="binary_cross_entropy"), targets)
        >>> objective.losses(torch.zeros(2, 2), targets)  # together log 2: what knowing nothing costs
        tensor([0.3466, 0.3466])
    """

    def __init__(
        self,
        classifier: nn.Module,
        settings: ObjectiveSettings,
        targets: Tensor,
        *,
        processes: Processes | None = None,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.settings = settings
        self.task: Task = classifier.task  # type: ignore[assignment]
        self.loss_name = resolve_loss(settings.loss, self.task)
        classes = len(classifier.classes)  # type: ignore[arg-type]
        self.constant = best_constant(self.loss_name, targets, classes)
        self.constant_loss = constant_loss(self.loss_name, targets, classes)
        self.processes = processes or Processes()
        self.two_norms = has_dual_norm(classifier)
        if self.two_norms and not (settings.form == "trades" or 0 < settings.mix < 1):
            raise InputError(
                "two sets of batch norm are for clean and adversarial images, and one set would never be trained: "
                f"set objective.mix between 0 and 1, or model.options.batch_norms=1; found mix = {settings.mix:g}."
            )
        if self._explanation == "cam" and not isinstance(classifier, ConvolutionalClassifier):
            raise InputError(
                "objective.annotations.explanation = 'cam' needs a network with class activation maps; found "
                f"{type(classifier).__name__}. Choose 'gradient'."
            )
        self.weight = self._weight()
        self.penalty_method: Method | None = None

    def resolve_method(self, images: Tensor, *, bfloat16: bool = False) -> Method | None:
        """How the gradient penalty is computed for this network, None without one; from then on `settings` say it.

        Args:
            images: float (N, C, H, W) on the network's device; one is enough. The first step does it where nobody has.
            bfloat16: whether training is in it.
        """
        penalty = self.settings.gradient_penalty
        if penalty is not None and self.penalty_method is None:
            self.penalty_method = penalty_method(penalty, self.classifier, images, bfloat16=bfloat16)
            resolved = penalty.model_copy(update={"method": self.penalty_method.name})
            self.settings = self.settings.model_copy(update={"gradient_penalty": resolved})
        return self.penalty_method

    def _weight(self) -> AdaptiveWeight | None:
        penalty = self.settings.gradient_penalty
        if penalty is None or penalty.adaptive is None:
            return None
        target = target_of(penalty.adaptive, self.constant_loss)
        if not 0 < target < self.constant_loss:
            raise InputError(
                f"the gradient penalty's weight aims at a loss of {target:.4g}, but a constant prediction has "
                f"{self.constant_loss:.4g}: the weight would grow until nothing is learned. Choose a lower "
                "objective.gradient_penalty.adaptive.target_loss, or leave it out (target_share)."
            )
        return AdaptiveWeight(penalty.weight, target, penalty.adaptive)

    def losses(self, logits: Tensor, targets: Tensor, counts: LabelCounts | None = None) -> Tensor:
        """Each image's part (N,) of the task loss."""
        return LOSSES[self.loss_name](logits, targets, counts)

    def forward(
        self, batch: Batch, counts: LabelCounts | None = None, random: BatchRandom | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective of one batch, and its parts by name.

        Args:
            batch: images in [0, 1], targets.
            counts: the label counts that the loss divides by; those of the batch by default.
            random: of this step.
        """
        counts = counts or label_counts(batch.targets)
        random = random or BatchRandom(int(torch.randint(2**62, ()).item()))
        kind = batch.images.device.type
        low = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16
        self.resolve_method(batch.images[:1], bfloat16=low)
        with self._precision():
            total, forward_passes, parts = self._task(batch, counts, random)
            for term in (
                self._penalty(total, forward_passes, counts, random, parts),
                self._annotations(batch, forward_passes, counts, random, parts),
            ):
                total = total if term is None else total + term
            return total, parts

    def _penalty(
        self,
        task_loss: Tensor,
        forward_passes: list[ForwardPass],
        counts: LabelCounts,
        random: BatchRandom,
        parts: dict[str, Tensor],
    ) -> Tensor | None:
        """The gradient penalty times its weight, and what it says of itself in `parts`."""
        penalty = self.settings.gradient_penalty
        if penalty is None:
            return None
        values = [
            gradient_penalty(
                one.network,
                one.images,
                one.logits,
                one.targets,
                penalty,
                task=self.task,
                random=random.of_copies(one.copies),
                losses=lambda logits, one=one: (  # type: ignore[misc]
                    self.losses(logits, one.targets, counts) / one.copies  # the counts are those of one kind
                ),
            )
            for one in forward_passes
        ]
        value = torch.stack([v.value for v in values]).mean()
        if self.weight is None:
            weight = torch.tensor(penalty.weight, dtype=torch.float64)
        else:
            weight = self.weight.update(self.processes.mean(task_loss.detach()))
        parts["loss_task"] = task_loss.detach()
        parts["gradient_penalty"] = value.detach()
        parts["penalty_weight"] = weight.to(value)
        if penalty.tandem > 0:
            parts["tandem_share"] = torch.stack([v.tandem for v in values]).mean()
        return weight.to(value) * value

    def _annotations(
        self,
        batch: Batch,
        forward_passes: list[ForwardPass],
        counts: LabelCounts,
        random: BatchRandom,
        parts: dict[str, Tensor],
    ) -> Tensor | None:
        """The annotation term times its weight: a mean over the images and classes that are marked in the joint batch.

        A batch without marks has 0, and nothing else of it changes.
        """
        settings, marks = self.settings.annotations, batch.marks
        if settings is None:
            return None
        value, marked = batch.images.new_zeros(()), batch.images.new_zeros(())
        if marks is not None:
            marked = (marks.classes >= 0).sum().to(marked)
            if settings.explanation == "adversarial":
                value = marked_explanations(
                    self.classifier,
                    batch,
                    settings,
                    forward_passes[0].network,
                    losses=lambda logits, to: self.losses(logits, to, counts),
                    random=random,
                    constant=self.constant,
                )
            else:
                value = torch.stack(
                    [misplaced_attribution(self.classifier, one, marks, settings) for one in forward_passes]
                ).mean()
        value = value / self.processes.mean(marked).clamp_min(1e-6)  # the mean over the processes is the joint mean
        parts["annotation_term"] = value.detach()
        return settings.weight * value

    def perturb(
        self, batch: Batch, random: BatchRandom, clean: Tensor | None = None, counts: LabelCounts | None = None
    ) -> Tensor:
        """The adversarial images (N, C, H, W) of a batch; for trades away from the `clean` logits (N, K)."""
        counts = counts or label_counts(batch.targets)  # the whole batch's, also where some images are attacked
        with using_norm(self.classifier, 1) if self.two_norms else nullcontext():
            return perturb(
                self.classifier,
                batch.images,
                batch.targets if clean is None else clean,
                self.settings.attack,
                task=self.task,
                losses=(
                    (lambda logits, to: self.losses(logits, to, counts))
                    if clean is None
                    else (lambda logits, to: divergence(to, logits, self.task))
                ),
                random=random,
                constant=self.constant,
            )

    def _task(
        self, batch: Batch, counts: LabelCounts, random: BatchRandom
    ) -> tuple[Tensor, list[ForwardPass], dict[str, Tensor]]:
        """The task loss with its parts, and the forward passes."""
        mix, parts = self.settings.mix, {}
        targets = batch.targets
        if not self.settings.attacks:
            forward_pass = self._forward_pass(batch.images, targets)
            loss = self.losses(forward_pass.logits, targets, counts).sum()
            return loss, [forward_pass], {"loss_clean": loss.detach()}
        trades = self.settings.form == "trades"
        adversarial_images = self.perturb(batch, random, self._clean_logits(batch.images) if trades else None, counts)
        if mix == 0:
            forward_pass = self._forward_pass(adversarial_images, targets)
            loss = self.losses(forward_pass.logits, targets, counts).sum()
            return loss, [forward_pass], {"loss_adversarial": loss.detach()}
        if self.two_norms:
            both = [self._forward_pass(batch.images, targets), self._forward_pass(adversarial_images, targets, norm=1)]
            clean_logits, adversarial_logits = both[0].logits, both[1].logits
        else:
            twice = torch.cat([batch.images, adversarial_images]), torch.cat([targets, targets])
            both = [self._forward_pass(*twice, copies=2)]
            clean_logits, adversarial_logits = both[0].logits.chunk(2)
        clean = self.losses(clean_logits, targets, counts).sum()
        parts = {"loss_clean": clean.detach()}
        if trades:
            apart = divergence(clean_logits, adversarial_logits, self.task).mean()
            parts["divergence"] = apart.detach()
            return clean + self.settings.beta * apart, both, parts
        adversarial = self.losses(adversarial_logits, targets, counts).sum()
        parts["loss_adversarial"] = adversarial.detach()
        return mix * clean + (1 - mix) * adversarial, both, parts

    def _forward_pass(self, images: Tensor, targets: Tensor, *, norm: int = 0, copies: int = 1) -> ForwardPass:
        if self.settings.noise > 0:
            images = images + self.settings.noise * torch.randn_like(images)
        if self.settings.gradient_penalty is not None or self._explanation == "gradient":
            images = images.detach().requires_grad_()
        penalty = self.settings.gradient_penalty
        notes_sides = penalty is not None and penalty.method == "same-side"
        network = ReplayableForward(self.classifier, norm=norm if self.two_norms else None, notes_sides=notes_sides)
        if self._explanation != "cam":
            with twice_differentiable() if self._second_order else nullcontext():
                return ForwardPass(network, images, targets, network(images), copies=copies)
        with outputs_of(self.classifier.backbone) as outputs:  # type: ignore[arg-type]  # has_linear_head was asked
            logits = network(images)
        return ForwardPass(network, images, targets, logits, outputs[0], copies)

    @property
    def _second_order(self) -> bool:
        """Whether a gradient by the images is a part of the loss, so that it is itself differentiated."""
        penalty = self.settings.gradient_penalty
        return (penalty is not None and penalty.method == "exact") or self._explanation == "gradient"

    @property
    def _explanation(self) -> str | None:
        """What annotations are held against; None where they are not."""
        return self.settings.annotations.explanation if self.settings.annotations is not None else None

    def _clean_logits(self, images: Tensor) -> Tensor:
        """What the attack of trades moves away from: in eval mode, as the attack itself."""
        with torch.no_grad(), frozen(self.classifier, training=self.settings.attack.batch_norm == "train"):
            logits: Tensor = self.classifier(images)
            return logits

    def _precision(self) -> AbstractContextManager[object]:
        """Mixed precision where the objective bears it.

        A finite difference subtracts nearly equal numbers, and second derivatives overflow in float16, whatever the
        loss is scaled by: both in float32. bfloat16 does for second derivatives.
        """
        penalty = self.settings.gradient_penalty
        difference = penalty is not None and penalty.method != "exact"
        if not difference and not self._second_order:
            return nullcontext()
        kind = next(self.classifier.parameters()).device.type
        if not difference and torch.get_autocast_dtype(kind) != torch.float16:
            return nullcontext()
        return torch.autocast(kind, enabled=False)
