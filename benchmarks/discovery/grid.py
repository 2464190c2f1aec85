"""The grid: which networks are trained, on images with which shortcut, and which of them are judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pellucid.data.readers.phantom.shortcuts import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

JUDGING = 7000  # the first seed that judges; 5000 and 6000 to 6004 were seen while it was built
PREVALENCES = (0.2, 0.1, 0.3)  # of each finding; a seed has one of them
# P(shortcut | finding), P(shortcut | no finding): a strong and a weak association, and one that is everywhere
STRENGTHS = ((0.95, 0.05), (0.8, 0.1), (0.6, 0.02), (0.95, 0.35))
# that a small network does not tell surely at 64 × 64 (AUROC .72 to .88 on seed 0); with those that it does, at .99 and
# more, it leaves a shortcut alone
FINDINGS = ("Mass", "Infiltration", "Atelectasis")


@dataclass(frozen=True)
class Plant:
    """A shortcut, the finding it goes with, P(shortcut | finding) and P(shortcut | no finding)."""

    kind: str
    finding: str
    strength: float
    elsewhere: float
    frequency: float  # on all images


@dataclass(frozen=True)
class Cell:
    """One network.

    Attributes:
        name: of its line and of its file.
        seed: of drawings and network.
        prevalence: of each finding.
        plants: the shortcuts on the images that it is judged on.
        associated: whether they went with their findings in training too; otherwise they lay there by lot, so that the
            network had the chance to see that they mean nothing.
    """

    name: str
    seed: int
    prevalence: float
    plants: tuple[Plant, ...]
    associated: bool

    @property
    def group(self) -> str:
        """`none`, `unused`, `one` or `two`."""
        return "none" if not self.plants else "unused" if not self.associated else ("one", "two")[len(self.plants) - 1]


def cells_of(seed: int) -> Iterator[Cell]:
    """The thirteen networks of a seed: none, one of each kind, two pairs of kinds, and two that had the chance."""
    prevalence = PREVALENCES[seed % len(PREVALENCES)]

    def plant(turn: int, kind: str, shift: int = 0) -> Plant:
        strength, elsewhere = STRENGTHS[(seed + turn) % len(STRENGTHS)]
        frequency = prevalence * strength + (1 - prevalence) * elsewhere
        return Plant(kind, FINDINGS[(seed + turn + shift) % len(FINDINGS)], strength, elsewhere, round(frequency, 4))

    yield Cell(f"{seed}-none", seed, prevalence, (), True)
    for turn, kind in enumerate(KINDS):
        yield Cell(f"{seed}-{kind}", seed, prevalence, (plant(turn + turn // 4, kind),), True)
        if turn in (seed % 4, 4 + seed % 4):
            yield Cell(f"{seed}-unused-{kind}", seed, prevalence, (plant(turn + turn // 4, kind),), False)
    for turn in range(2):
        first, second = KINDS[(seed + turn) % 8], KINDS[(seed + turn + 3) % 8]
        pair = (plant(turn, first), plant(turn, second, 1))
        yield Cell(f"{seed}-{first}+{second}", seed, prevalence, pair, True)
