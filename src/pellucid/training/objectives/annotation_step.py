"""The annotation term of one batch, from what went through the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from pellucid.training.objectives.adversarial_term import perturb
from pellucid.training.objectives.annotation_term import cam_term, gradient_term, marked_targets, penalty_mask
from pellucid.types import Marks

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from pellucid.training.distributed import BatchRandom
    from pellucid.training.objectives.annotation_term import AnnotationSettings
    from pellucid.training.objectives.forward_pass import ForwardPass
    from pellucid.training.objectives.replayable import ReplayableForward
    from pellucid.types import Batch


def misplaced_attribution(
    classifier: nn.Module, forward_pass: ForwardPass, marks: Marks, settings: AnnotationSettings
) -> Tensor:
    """What lies wrong of the explanations of the images, summed over them; the mean of both kinds where two are.

    Args:
        classifier: with a linear head where CAM is the explanation.
        forward_pass: the images, which require a gradient where it is the explanation.
        marks: of one kind of them.
        settings: which explanation, and how it is measured.
    """
    marks = Marks(*(torch.cat([each] * forward_pass.copies) for each in marks))
    if settings.explanation == "gradient":
        task = classifier.task
        penalty = gradient_term(forward_pass.images, forward_pass.logits, marks, settings, task=task)  # type: ignore[arg-type]
    else:
        assert forward_pass.feature_map is not None
        penalty = cam_term(forward_pass.feature_map, classifier.head, marks, settings)  # type: ignore[arg-type]
    return penalty / forward_pass.copies


def marked_explanations(
    classifier: nn.Module,
    batch: Batch,
    settings: AnnotationSettings,
    network: ReplayableForward,
    *,
    losses: Callable[[Tensor, Tensor], Tensor],
    random: BatchRandom,
    constant: Tensor,
) -> Tensor:
    """The task loss of one more image for each one marked, each as an image of its own, summed.

    It is the image with that part of its adversarial explanation against the marked label that lies where the label is
    not to be looked for: the label stays. The others of the batch go through the network beside them as they are, since
    batch norm couples them.

    Args:
        classifier: what is trained.
        batch: images, targets and marks.
        settings: the attack, and whether what lies outside of relevant regions is wrong too.
        network: what the images went through.
        losses: logits and targets → each image's part of the task loss.
        random: of this step.
        constant: the best constant prediction, for attacks that stop there.
    """
    marks = batch.marks
    assert marks is not None
    wrong = penalty_mask(marks, settings.outside)
    penalty = batch.images.new_zeros(())
    for slot in range(marks.classes.shape[1]):
        rows = (marks.classes[:, slot] >= 0).nonzero()[:, 0]
        images = batch.images[rows]
        perturbed = perturb(
            classifier,
            images,
            marked_targets(batch.targets, marks, slot)[rows],
            settings.attack,
            task=classifier.task,  # type: ignore[arg-type]
            losses=losses,
            random=random,
            constant=constant,
        )
        mixed = batch.images.index_copy(0, rows, images + (perturbed - images) * wrong[rows, slot, None])
        each = losses(network.again(mixed), batch.targets)
        penalty = penalty + len(each) * each[rows].sum()
    return penalty
