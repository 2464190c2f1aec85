"""The optimiser of a recipe, and the learning rate of a step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn

    from pellucid.training.recipe import OptimizerSettings, ScheduleSettings


def build_optimizer(model: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """The optimiser of a recipe; weight decay is kept off biases and normalisation unless it is to reach all."""
    least = 0 if settings.decay == "all" else 2  # dimensions of what decays
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim >= least]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim < least]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    if settings.name == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)
    return torch.optim.AdamW(groups, lr=settings.lr)


def learning_rate(peak: float, schedule: ScheduleSettings, step: int, total: int) -> float:
    """The learning rate of step `step` of `total`.

    Example:
        >>> from pellucid.training.recipe import ScheduleSettings
        >>> [round(learning_rate(1.0, ScheduleSettings(warmup=0.0), s, 4), 2) for s in range(4)]
        [1.0, 0.85, 0.5, 0.15]
    """
    warm = schedule.warmup * total
    if step < warm:
        return peak * (step + 1) / (warm + 1)
    if schedule.name == "constant":
        return peak
    if schedule.name == "step":
        return peak * schedule.gamma ** sum(step >= m * total for m in schedule.milestones)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(total - warm, 1)))
