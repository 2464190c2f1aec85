"""Gradient penalties: how much the outputs of a network change with its input, as a term of training.

One term for four works, which differ in the outputs that they look at: one random logit per image, now and then the
gap to the runner-up (Woods et al. 2019); all logits; random projections of the logits (Hoffman et al. 2019); the loss
(Ross & Doshi-Velez 2018). Its gradient needs a second derivative, exactly (double backward), or by a finite
difference of first derivatives, which costs seven passes where a plain step takes three and is right only where it does
not step across kinks.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from pellucid.models.kinks import kinks
from pellucid.training.distributed import BatchRandom
from pellucid.training.objectives.penalty_weight import AdaptiveSettings
from pellucid.training.objectives.same_side import sides_can_be_kept
from pellucid.types import InputError
from pellucid.utils.settings import Section

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from pellucid.training.objectives.replayable import ReplayableForward
    from pellucid.types import Task

    Select = Callable[[Tensor], Tensor]

STEP = 1e-3
"""Length of the finite difference's step per image, in L2.

Longer ones meet the network's curvature (a fresh DenseNet-121 at 224² has the most), much shorter ones float32's
rounding: docs/training.md has the cosines.
"""


class PenaltySettings(Section):
    """A gradient penalty: of which outputs, to which power, how computed, and with what weight."""

    outputs: Literal["random", "all", "projections", "loss"] = Field(
        "random", description="random: one logit per image; all; projections: random directions; loss: the task loss"
    )
    tandem: float = Field(
        0.0, ge=0, le=1, description="zeta of `random`: how often the true logit minus the runner-up takes its place"
    )
    power: float = Field(2.0, ge=1, allow_inf_nan=False, description="z: of each derivative's magnitude")
    projections: int = Field(1, ge=1, description="how many directions `projections` draws per step")
    reduction: Literal["mean", "sum"] = Field(
        "mean", description="over pixels and outputs; sum is the squared norm of an image's whole Jacobian"
    )
    method: Literal["auto", "exact", "finite-difference", "same-side"] = Field(
        "auto",
        description="exact: by double backward; same-side: a finite difference that crosses no ReLU's corner; auto: a "
        "finite difference where the network has no kinks, same-side where ReLUs are its only ones, else exact",
    )
    step: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="of the finite difference: L2 length per image; automatic if absent",
    )
    weight: float = Field(220.0, ge=0, allow_inf_nan=False, description="psi; where adaptive, the one it starts from")
    adaptive: AdaptiveSettings | None = Field(None, description="let a controller change the weight")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.outputs != "random" and self.tandem > 0:
            raise ValueError(f"tandem belongs to outputs = 'random'; found outputs = {self.outputs!r}")
        if self.outputs == "projections" and self.power != 2:
            raise ValueError(f"random projections estimate squares, power = 2; found {self.power}")
        if self.adaptive is not None and self.weight == 0:
            raise ValueError("an adaptive weight grows by factors and cannot start from 0")
        return self


@dataclass(frozen=True)
class Penalty:
    """A gradient penalty of one batch.

    Attributes:
        value: differentiable by the parameters, without dimensions.
        tandem: share of the images whose term was the gap between two logits.
    """

    value: Tensor
    tandem: Tensor


class Method(NamedTuple):
    """How the penalty's gradient is computed for one network, and in words why."""

    name: Literal["exact", "finite-difference", "same-side"]
    reason: str


def penalty_method(settings: PenaltySettings, network: nn.Module, images: Tensor, *, bfloat16: bool = False) -> Method:
    """How the gradient of a penalty is computed for a network: `auto` is settled by whether it has kinks.

    A finite difference that is asked for in spite of kinks is warned of. What keeps to the sides of corners is kept for
    networks whose kinks are all ReLUs'.

    Args:
        settings: of the penalty.
        network: is looked at unless the method is `exact`, and left as it is.
        images: float (N, C, H, W) on its device; one is enough.
        bfloat16: whether passes are made in it; `auto` is then exact where there are kinks, for a difference needs
            float32.

    Raises:
        InputError: `same-side` for a network with other kinks, or none.
    """
    if settings.method == "exact":
        return Method("exact", "asked for")
    with_kinks = ", ".join(kinks(network, images))
    if settings.method == "same-side" or (settings.method == "auto" and with_kinks == "Relu" and not bfloat16):
        if sides_can_be_kept(network, images):
            return Method("same-side", "the network's only kinks are those of ReLUs")
        if settings.method == "same-side":
            raise InputError(
                "objective.gradient_penalty.method = 'same-side' keeps to one side of ReLUs, and needs a network whose "
                f"only kinks are theirs; this one has {with_kinks or 'none'}. Choose 'auto'."
            )
    if not with_kinks:
        return Method("finite-difference", "the network has no kinks")
    if settings.method == "auto":
        return Method("exact", f"the network has kinks: {with_kinks}")
    warnings.warn(
        f"objective.gradient_penalty.method = 'finite-difference', but the network has kinks: {with_kinks}. The "
        "difference steps across them, and what is trained is another regulariser than the gradient penalty. Choose "
        "'auto' or 'exact'.",
        stacklevel=2,
    )
    return Method("finite-difference", f"asked for, though the network has kinks: {with_kinks}")


def gradient_penalty(
    network: ReplayableForward,
    images: Tensor,
    logits: Tensor,
    targets: Tensor,
    settings: PenaltySettings,
    *,
    task: Task,
    random: BatchRandom | None = None,
    losses: Select | None = None,
) -> Penalty:
    """``(1 / (B n)) Σ_b Σ_i |∂s_b/∂x_i|^z``, with s_b the chosen output of image b and n = C·H·W.

    For `random` (without tandem), `all` and `projections` the expectation is the same: the mean over all outputs. Batch
    norm in training mode couples the images of a batch, so that the derivative of ``Σ_b s_b`` is taken; the published
    code does so too.

    Args:
        network: what gave the logits, as a `ReplayableForward`; called again for finite differences only. `same-side`
            needs one that `notes_sides`, and without that `auto` is exact in its place.
        images: float (N, C, H, W), requiring a gradient.
        logits: (N, K), of these images, with their graph, which this function keeps.
        targets: int64 (N,) or float (N, K), NaN where unknown.
        settings: what and how; the weight is not applied here. With `auto` one image goes through the network once
            more, to see whether it has kinks: `penalty_method` tells once for many steps.
        task: `multiclass` or `multilabel`.
        random: of this step; outputs are drawn from it.
        losses: logits → each image's part (N,) of the task loss, for ``outputs = "loss"`` only.

    Returns:
        The penalty; it costs one gradient evaluation (by the images alone) and a forward pass by finite difference, or
        one gradient evaluation with its graph, for each output or projection.

    Raises:
        InputError: images that require no gradient; `same-side` where sides are not noted.

    Source:
        Woods, Chen & Teuscher 2019; github.com/wwoods/adversarial-explanations-cifar, `main.py`. Multi-label images,
        of which the paper's code knows nothing: `output_directions`.
    """
    if not images.requires_grad:
        raise InputError("a gradient penalty needs images that require a gradient: images.requires_grad_().")
    random = random or BatchRandom(0)
    selects: list[Select]
    if settings.outputs == "loss":
        if losses is None:
            raise InputError("outputs = 'loss' needs the loss: give losses=.")
        count = len(images)  # a mean over the batch has each image's loss over their number
        selects, tandem = [lambda logits: count * losses(logits)], images.new_zeros(())
    else:
        directions, tandem = output_directions(logits.detach(), targets, settings, task=task, random=random)
        selects = [_along(direction) for direction in directions]
    method = settings.method
    if method == "auto":
        method = penalty_method(settings, network.network, images[:1]).name
        method = "exact" if method == "same-side" and not network.notes_sides else method
    if method == "same-side" and not network.notes_sides:
        raise InputError("method = 'same-side' needs a ReplayableForward(network, notes_sides=True).")
    difference = partial(finite_difference, same_side=method == "same-side")
    one = exact if method == "exact" else difference
    sums = [one(network, images, logits, select, settings, random) for select in selects]
    value = torch.stack(sums).mean() / len(images)
    if settings.reduction == "mean":
        value = value / images[0].numel()
    elif settings.outputs != "loss":
        value = value * logits.shape[1]
    return Penalty(value, tandem)


def output_directions(
    logits: Tensor, targets: Tensor, settings: PenaltySettings, *, task: Task, random: BatchRandom
) -> tuple[Tensor, Tensor]:
    """Which combination of its logits is differentiated for each image.

    Args:
        logits: (N, K), detached.
        targets: int64 (N,) or float (N, K), NaN where unknown.
        settings: the outputs, and how often in tandem.
        task: `multiclass` or `multilabel`. A multi-label image gives the logit of a random known label; in tandem a
            random present label minus the absent one with the largest logit, where it has both. One without known
            labels gives nothing.
        random: of this step.

    Returns:
        Directions (R, N, K) in the space of logits, R = 1 but for `all` and several projections; and the share of the
        images in tandem.
    """
    count, classes = logits.shape
    none = logits.new_zeros(())
    if settings.outputs == "all":
        return torch.eye(classes).to(logits)[:, None].expand(-1, count, -1), none
    if settings.outputs == "projections":
        directions = random.normal(count, settings.projections, classes).to(logits)
        return (directions / directions.norm(dim=2, keepdim=True)).transpose(0, 1), none
    # each kind of number is drawn whether it is needed or not: the draws of a step do not depend on its images
    draws, coin = random.uniform(count, classes).to(logits), random.uniform(count).to(logits)
    tandem = coin < settings.tandem
    if task == "multiclass":
        fair = _one_hot(draws.argmax(1), classes, logits)
        own = _one_hot(targets, classes, logits)
        others = logits.masked_fill(own.bool(), -torch.inf)
        gap = own - _one_hot(others.argmax(1), classes, logits)
    else:
        is_known, present, absent = ~targets.isnan(), targets == 1, targets == 0
        fair = _one_hot(draws.masked_fill(~is_known, -1).argmax(1), classes, logits) * is_known.any(1, keepdim=True)
        tandem &= present.any(1) & absent.any(1)
        one_present = _one_hot(draws.masked_fill(~present, -1).argmax(1), classes, logits)
        gap = one_present - _one_hot(logits.masked_fill(~absent, -torch.inf).argmax(1), classes, logits)
    return torch.where(tandem[:, None], gap, fair)[None], tandem.to(logits).mean()


def exact(
    network: ReplayableForward,  # noqa: ARG001
    images: Tensor,
    logits: Tensor,
    select: Select,
    settings: PenaltySettings,
    random: BatchRandom,  # noqa: ARG001
) -> Tensor:
    """``Σ |∂(Σ_b s_b)/∂x|^z`` over the batch, differentiable by double backward."""
    gradient = input_gradient(select(logits).sum(), images)
    return gradient.square().sum() if settings.power == 2 else gradient.abs().pow(settings.power).sum()


def input_gradient(value: Tensor, images: Tensor) -> Tensor:
    """The gradient (N, C, H, W) of a value without dimensions by the images, itself differentiable."""
    (gradient,) = torch.autograd.grad(value, images, create_graph=True)
    return gradient


def finite_difference(
    network: ReplayableForward,
    images: Tensor,
    logits: Tensor,
    select: Select,
    settings: PenaltySettings,
    random: BatchRandom,
    *,
    same_side: bool = False,
) -> Tensor:
    """The same value, and where no kink is crossed nearly the same gradient by the parameters.

    It takes first derivatives alone. Across kinks it is the gradient of something else: docs/training.md has figures.
    On the same side of every ReLU's corner none of theirs is crossed, whatever the step.

    With ``S = Σ_b s_b``, ``G = ∂S/∂x`` and ``W = |G|^(z−1) sign G`` held fast, ``D = (S(x + H W/‖W‖) − S(x)) ‖W‖ / H``
    tends to ``⟨W, ∂S/∂x⟩ = Σ |G|^z`` as H → 0, and z times its gradient to that of the exact term. One direction for
    the whole (joint) batch, ``H = h √B``: batch norm couples its images.
    """
    value = select(logits).sum()
    (gradient,) = torch.autograd.grad(value, images, retain_graph=True)
    powers = gradient.abs().pow(settings.power - 1)
    along = gradient if settings.power == 2 else powers * gradient.sign()
    exactly = (along * gradient).sum()
    processes = random.processes
    squares = along.square().sum()
    norm = (processes.mean(squares) * processes.world).sqrt().clamp_min(1e-30)  # a zero gradient stays one
    step = STEP if settings.step is None else settings.step
    length = step * (len(images) * processes.world) ** 0.5
    shifted = images.detach() + along * (length / norm)
    there = select(network.again(shifted, same_side=same_side)).sum()
    difference = (there - value) * (norm / length)
    penalty: Tensor = exactly + settings.power * (difference - difference.detach())
    return penalty


def _one_hot(indices: Tensor, classes: int, like: Tensor) -> Tensor:
    hot: Tensor = torch.nn.functional.one_hot(indices, classes).to(like)
    return hot


def _along(direction: Tensor) -> Select:
    def select(logits: Tensor) -> Tensor:
        projection: Tensor = (direction * logits).sum(1)
        return projection

    return select
