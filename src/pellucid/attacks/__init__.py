"""Attacks: perturbations within a size, or the smallest that meet a criterion."""

from pellucid.attacks.bounded import BoundedAttack, BoundedResult, within
from pellucid.attacks.criteria import (
    Confidence,
    Misclassified,
    RadiusReached,
    Targeted,
    confidence,
    label_flipped,
    worse_than_constant,
    worse_than_random,
)
from pellucid.attacks.criterion import Criterion, WalkGoal
from pellucid.attacks.decoupled_direction_norm import decoupled_direction_norm
from pellucid.attacks.epsilon import Epsilon
from pellucid.attacks.fast_minimum_norm import fast_minimum_norm
from pellucid.attacks.fgsm import fgsm
from pellucid.attacks.minimal import METHODS, minimal
from pellucid.attacks.pgd import pgd
from pellucid.attacks.result import AttackResult
from pellucid.attacks.woods2019 import woods2019

__all__ = [
    "METHODS",
    "AttackResult",
    "BoundedAttack",
    "BoundedResult",
    "Confidence",
    "Criterion",
    "Epsilon",
    "Misclassified",
    "RadiusReached",
    "Targeted",
    "WalkGoal",
    "confidence",
    "decoupled_direction_norm",
    "fast_minimum_norm",
    "fgsm",
    "label_flipped",
    "minimal",
    "pgd",
    "within",
    "woods2019",
    "worse_than_constant",
    "worse_than_random",
]
