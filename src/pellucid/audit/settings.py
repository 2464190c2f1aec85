"""How much an audit spends."""

from __future__ import annotations

from dataclasses import dataclass, field

from pellucid.attacks import BoundedAttack
from pellucid.attacks.attack_strength import SAMPLE
from pellucid.evaluation.trust.findings import TrustSettings

SIZES = ("linf=1/255", "linf=2/255", "linf=4/255")
METHODS = ("grad-cam", "saliency")


@dataclass(frozen=True)
class AuditSettings:
    """How much is spent.

    Attributes:
        limit: images that are classified; all by default.
        few: images that are attacked, whose explanations are judged, and with regions that maps are scored on.
        corrupted: images that are classified under common corruptions, 45 times; 0 leaves that out.
        attacks: with their sizes.
        steps: of those that are PGD.
        protocol: of the Accuracy-Robustness Area.
        effort: of that protocol, where it is `tight`: 1, 2 or 4.
        checked: images on which it is checked whether that attack is too weak.
        methods: of explanation; those that the model cannot serve are left out, and the report says why.
        trust: what is spent on judging them.
        searched: images on which is looked for what the model goes by; 0 leaves that out.
        seed: of the choice of images, of attacks and of the bootstrap.
    """

    limit: int | None = None
    few: int = 100
    corrupted: int = 300
    attacks: tuple[BoundedAttack, ...] = tuple(BoundedAttack.parse(size) for size in SIZES)
    steps: int = 20
    protocol: str = "tight"
    effort: int = 1
    checked: int = SAMPLE
    methods: tuple[str, ...] = METHODS
    trust: TrustSettings = field(default_factory=lambda: TrustSettings(certified=8))
    searched: int = 400
    seed: int = 0


QUICK = AuditSettings(
    limit=100,
    few=20,
    corrupted=30,
    attacks=(BoundedAttack.parse(f"pgd:{SIZES[0]}"), BoundedAttack.parse(f"pgd:{SIZES[-1]}")),
    steps=10,
    checked=3,
    trust=TrustSettings(samples=2, curve_steps=6, attacked=5, attack_steps=5, budgets=(0.005, 0.02)),
    searched=0,
)
"""For a first look: a few minutes on two cores."""
