"""Attacks: perturbations within a size, or the smallest that meet a criterion."""

from pellucid.attacks.gradient_sign import gradient_sign
from pellucid.attacks.magnitude import Magnitude
from pellucid.attacks.projected_gradient import projected_gradient

fgsm = gradient_sign
pgd = projected_gradient

__all__ = ["Magnitude", "fgsm", "gradient_sign", "pgd", "projected_gradient"]
