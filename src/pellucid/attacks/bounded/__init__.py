"""Attacks of a given size: the default one, AutoAttack's standard ensemble, and what they are made of."""

from pellucid.attacks.bounded.attack import METHOD_NAMES, BoundedAttack
from pellucid.attacks.bounded.run import ENSEMBLES, BoundedResult, within

__all__ = ["ENSEMBLES", "METHOD_NAMES", "BoundedAttack", "BoundedResult", "within"]
