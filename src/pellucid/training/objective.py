"""What training minimises: a mix of the loss on the images and on adversarial images made from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from pellucid.attacks import fgsm, pgd
from pellucid.training.losses import LOSSES, LabelCounts, label_counts, resolve_loss

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pellucid.training.recipe import ObjectiveSettings
    from pellucid.types import Batch, Task


@dataclass(frozen=True)
class Objective:
    """``mix · loss(x) + (1 − mix) · loss(x + δ)`` with δ the perturbation that maximises the same loss.

    The clean and the adversarial images go through the network in one batch, so batch normalisation sees both;
    the attack itself sees the network in eval mode.

    Source:
        Goodfellow et al. 2015 (the mix), Madry et al. 2018 (mix 0); Khakzar et al. 2019 train chest X-ray
        classifiers so, without giving their values.
    """

    settings: ObjectiveSettings
    loss_name: str

    @classmethod
    def of(cls, settings: ObjectiveSettings, task: Task) -> Objective:
        """The objective of a recipe for a task; raises InputError where its loss is not for that task."""
        return cls(settings, resolve_loss(settings.loss, task))

    def loss(self, logits: Tensor, targets: Tensor, counts: LabelCounts | None = None) -> Tensor:
        """The task loss alone."""
        return LOSSES[self.loss_name](logits, targets, counts)

    def perturb(self, classifier: nn.Module, batch: Batch) -> Tensor:
        """The adversarial images (N, C, H, W) of a batch."""
        attack = self.settings.attack
        method = fgsm if attack.method == "fgsm" else partial(pgd, steps=attack.steps)
        return method(
            classifier,
            batch.images,
            batch.targets,
            loss=self.loss,
            size=attack.size,
            step_size=attack.step_size,
            random_start=attack.random_start,
        )

    def __call__(
        self, network: nn.Module, classifier: nn.Module, batch: Batch, counts: LabelCounts | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective of one batch, and its parts by name.

        Args:
            network: what is trained (the classifier, or its wrapper for several processes).
            classifier: the classifier itself, for the attack.
            batch: images, targets.
            counts: the label counts that the loss divides by; those of the batch where not given.
        """
        counts = counts or label_counts(batch.targets)
        mix = self.settings.mix
        if mix == 1:
            clean = self.loss(network(batch.images), batch.targets, counts)
            return clean, {"loss_clean": clean.detach()}
        adversarial_images = self.perturb(classifier, batch)
        if mix == 0:
            adversarial = self.loss(network(adversarial_images), batch.targets, counts)
            return adversarial, {"loss_adversarial": adversarial.detach()}
        logits = network(torch.cat([batch.images, adversarial_images]))
        clean_logits, adversarial_logits = logits.chunk(2)
        clean = self.loss(clean_logits, batch.targets, counts)
        adversarial = self.loss(adversarial_logits, batch.targets, counts)
        total = mix * clean + (1 - mix) * adversarial
        return total, {"loss_clean": clean.detach(), "loss_adversarial": adversarial.detach()}
