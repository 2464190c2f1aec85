"""What people marked, as a term of training: right for the right reasons.

Three ways to use a mark. `gradient` keeps the input gradient of a class off what is irrelevant to it (Ross, Hughes &
Doshi-Velez 2017) and, where relevant regions were drawn, inside them. `cam` does the same with the positive heat of
the class activation map. `adversarial` trains on one more image for each marked one: its adversarial explanation, of
which only the marked part is kept (our reading of Woods et al. 2019, who publish no procedure).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator

from pellucid.attacks.epsilon import Epsilon
from pellucid.training.objectives.adversarial_term import AttackSettings
from pellucid.training.objectives.gradient_penalty import input_gradient
from pellucid.types import Marks
from pellucid.utils.settings import Section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from pellucid.types import Task

LEAST = 1e-20
"""Least amount that a share is taken of: a gradient, or a heat, that is zero everywhere has none."""
LEAST_INSIDE = 1e-3
"""Added to a share whose logarithm is taken."""


class AnnotationSettings(Section):
    """How marks on explanations enter the objective, and how often marked images are seen."""

    weight: float = Field(0.3, ge=0, allow_inf_nan=False, description="of the term, beside the task loss")
    explanation: Literal["gradient", "cam", "adversarial"] = Field(
        "gradient", description="what is kept off irrelevant regions; adversarial: one more image for each marked one"
    )
    measure: Literal["relative", "share", "absolute"] = Field(
        "relative",
        description="of gradient and cam: densities and a logarithm, a share of the whole, or the sum of Ross et al.",
    )
    outside: float = Field(
        1.0,
        ge=0,
        le=1,
        description="how wrong it is to look elsewhere where relevant regions were drawn; irrelevant is 1",
    )
    annotated_share: float = Field(
        0.25, ge=0, lt=1, description="of every batch: annotated images, however few there are; 0 as often as others"
    )
    attack: AttackSettings = Field(
        AttackSettings(method="woods2019", size=Epsilon(rms=0.05), steps=7),
        description="of adversarial: how its explanation is made",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.explanation == "adversarial" and "measure" in self.model_fields_set:
            raise ValueError(f"measure belongs to gradient and cam; found {self.measure!r} with adversarial")
        return self


def penalty_mask(marks: Marks, outside: float) -> Tensor:
    """How wrong it is to look at each pixel for a slot's class, (N, T, H, W) in [0, 1].

    1 where irrelevant; where relevant regions were drawn `outside` elsewhere but in them; 0 in an empty slot.
    """
    has_relevant = marks.relevant.amax((2, 3), keepdim=True) > 0
    return torch.maximum(marks.irrelevant, outside * (1 - marks.relevant) * has_relevant)


def gradient_term(images: Tensor, logits: Tensor, marks: Marks, settings: AnnotationSettings, *, task: Task) -> Tensor:
    """How much of the input gradient of the marked classes lies wrong, summed over the images and classes marked.

    With g the gradient of class c's output in image b, I the irrelevant region and R the relevant one, where drawn:
    `relative`, the mean of g² on I over its mean on the image, plus `outside` times ``−ln (Σ_R g² / Σ g²)``; with w
    from `penalty_mask`, `share` is ``Σ w g² / Σ g²`` and `absolute` ``Σ w g²``, on irrelevant regions the paper's term.
    The first two know neither the image's size nor the gradient's length. The paper sums the log-probabilities of all
    classes, since its annotations are of the image; here a mark speaks of one class, so the class's own output is
    differentiated: its log-probability of a multiclass task, its logit of a multi-label one, whose log-probabilities
    ``ln p`` and ``ln (1 − p)`` have the same gradient up to a factor that vanishes where the network is sure.

    Args:
        images: float (N, C, H, W), requiring a gradient.
        logits: (N, K), of these images, with their graph, which this function keeps.
        marks: on these images.
        settings: measure, and how wrong it is to look elsewhere.
        task: `multiclass` or `multilabel`.

    Returns:
        Without dimensions, differentiable by the parameters (exactly, by double backward); it costs one gradient
        evaluation with its graph for each slot.

    Source:
        Ross, Hughes & Doshi-Velez 2017, "Right for the right reasons", IJCAI, equation 1.
    """
    outputs = logits.float() if task == "multilabel" else logits.float().log_softmax(1)
    penalty = outputs.new_zeros(())
    for slot in range(marks.classes.shape[1]):
        one_hot = _one_hot(marks.classes[:, slot], outputs)
        squares = input_gradient((one_hot * outputs).sum(), images).float().square().sum(1)
        penalty = penalty + _amount(squares, marks, slot, settings)
    return penalty


def cam_term(feature_map: Tensor, head: nn.Linear, marks: Marks, settings: AnnotationSettings) -> Tensor:
    """How much of the positive heat of the marked classes' activation maps lies wrong, summed as in `gradient_term`.

    Args:
        feature_map: (N, D, h, w), what the network pools, with its graph.
        head: the linear layer on the pooled features.
        marks: on the images; they are averaged over each cell of the map.
        settings: measure, and how wrong it is to look elsewhere.

    Source:
        After Li et al. 2018, "Tell me where to look: guided attention inference network", CVPR, who hold a Grad-CAM
        against masks; theirs is the squared difference of the two, ours the heat at wrong places.
    """
    feature_map = feature_map.float()
    height, width = feature_map.shape[-2:]
    regions = (F.adaptive_avg_pool2d(each, (height, width)) for each in marks[1:])
    marks = Marks(marks.classes, *regions)
    penalty = feature_map.new_zeros(())
    for slot in range(marks.classes.shape[1]):
        weights = head.weight.float()[marks.classes[:, slot].clamp_min(0)]
        heat = torch.einsum("nd,ndhw->nhw", weights, feature_map).relu() / feature_map[0, 0].numel()
        penalty = penalty + _amount(heat, marks, slot, settings)
    return penalty


def marked_targets(targets: Tensor, marks: Marks, slot: int) -> Tensor:
    """The targets with the labels of a slot's classes alone, the others unknown: what an explanation moves against.

    Args:
        targets: int64 (N,), which stay as they are, or float (N, K).
        marks: on the images.
        slot: of the marks.
    """
    if not targets.is_floating_point():
        return targets
    return targets.where(_one_hot(marks.classes[:, slot], targets) > 0, torch.nan)


@contextmanager
def outputs_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """What a part of a network gives in the passes made inside."""
    outputs: list[Tensor] = []
    handle = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


def _amount(values: Tensor, marks: Marks, slot: int, settings: AnnotationSettings) -> Tensor:
    """How wrong non-negative values (N, h, w) lie by the marks of a slot, at their size, summed over the images."""
    whole = values.sum((1, 2)).clamp_min(LEAST)
    if settings.measure != "relative":
        amount = (values * penalty_mask(marks, settings.outside)[:, slot]).sum((1, 2))
        return (amount if settings.measure == "absolute" else amount / whole).sum()
    irrelevant, relevant = marks.irrelevant[:, slot], marks.relevant[:, slot]
    share = irrelevant.sum((1, 2)).clamp_min(1) / values[0].numel()
    density = (values * irrelevant).sum((1, 2)) / whole / share
    inside = (values * relevant).sum((1, 2)) / whole
    surprise = ((1 + LEAST_INSIDE) / (inside + LEAST_INSIDE)).log() * (relevant.amax((1, 2)) > 0)
    return (density + settings.outside * surprise).sum()


def _one_hot(classes: Tensor, like: Tensor) -> Tensor:
    """(N, K) with a one at each image's class, none where it is −1."""
    return (classes[:, None] == torch.arange(like.shape[1], device=like.device)).to(like)
