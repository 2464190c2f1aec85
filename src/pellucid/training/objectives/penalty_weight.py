"""The weight ψ of the gradient penalty: one number, or an integrating controller that holds the loss at a target."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from pydantic import Field

from pellucid.utils.settings import Section

if TYPE_CHECKING:
    from torch import Tensor


class AdaptiveSettings(Section):
    """The controller of Woods et al. 2019: how it raises the weight while the loss is below its target."""

    target_share: float = Field(
        0.65144,
        gt=0,
        lt=1,
        allow_inf_nan=False,
        description="target of the task loss, over the loss of the best constant prediction: 1.5 of ln 10 in the paper",
    )
    target_loss: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="the target itself, instead of the share"
    )
    gain: float = Field(0.02, gt=0, le=1, description="k_psi: the weight grows by this share per unit of the integral")
    rise: float = Field(1.0, gt=0, allow_inf_nan=False, description="largest growth of the integral per step")
    fall: float = Field(0.01, ge=0, allow_inf_nan=False, description="its largest decrease per step")


@dataclass
class AdaptiveWeight:
    """``ψₜ = ψ₀ exp(k Iₜ)``, ``Iₜ = max(0, Iₜ₋₁ + clip(−ln(Lₜ / L_target), −fall, +rise))``, ``I₀ = 0``.

    Below its target the loss lets the weight rise, above it the weight falls slowly: the loss settles just under the
    target. The published code runs k = 0.02, where its help says "ln 0.02".

    Attributes:
        start: ψ₀.
        target: L_target, in the unit of the loss.
        settings: gain k, and the limits of a step.
        integral: I, a tensor without dimensions on the loss's device, so that no step waits for it.

    Source:
        Woods, Chen & Teuscher 2019; github.com/wwoods/adversarial-explanations-cifar, `main.py`.

    Example:
        >>> psi = AdaptiveWeight(start=220.0, target=1.5, settings=AdaptiveSettings())
        >>> psi.integral = torch.tensor(208.512023, dtype=torch.float64)
        >>> int(psi.weight)
        14240
        >>> int(psi.update(torch.tensor(1.5)))  # at the target nothing changes
        14240
    """

    start: float
    target: float
    settings: AdaptiveSettings
    integral: Tensor

    def __init__(self, start: float, target: float, settings: AdaptiveSettings) -> None:
        self.start, self.target, self.settings = start, target, settings
        self.integral = torch.zeros((), dtype=torch.float64)

    @property
    def weight(self) -> Tensor:
        """ψ, float64 without dimensions; infinite where it overflows."""
        return self.start * torch.exp(self.settings.gain * self.integral)

    def update(self, loss: Tensor) -> Tensor:
        """ψ after one more batch, whose task loss (the mean over all processes) is `loss`."""
        # an accelerator of Apple's has no float64
        kind = torch.float32 if loss.device.type == "mps" else torch.float64
        loss = loss.detach().to(kind)
        step = -torch.log(loss.clamp_min(torch.finfo(kind).tiny) / self.target)
        step = step.clamp(-self.settings.fall, self.settings.rise)
        self.integral = (self.integral.to(step) + step).clamp_min(0)
        return self.weight

    def state(self) -> float:
        """What a checkpoint keeps."""
        return float(self.integral)

    def restore(self, state: float) -> None:
        """Go on from what a checkpoint kept."""
        self.integral = torch.tensor(state, dtype=torch.float64)


def target_of(settings: AdaptiveSettings, constant_loss: float) -> float:
    """The target of the task loss, in its own unit; NaN where a constant prediction has no loss to take a share of.

    Args:
        settings: a share, or the target itself.
        constant_loss: of the best constant prediction under the same loss.
    """
    if settings.target_loss is not None:
        return settings.target_loss
    return settings.target_share * constant_loss if constant_loss > 0 else math.nan
