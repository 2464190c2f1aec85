"""The grid: which networks are trained, on images with which shortcut, and which of them are judged.

Seeds that were looked at while `discover` or this benchmark was built, and that judge nothing any more:

- 1 to 999, 5000, and 6000 to 6004: settings were chosen on them;
- 7000 to 7018: they judged the version of 30 November 2026 (commit 49f964a9) once, by an earlier criterion, and have
  been used in development since (results/discovery_7000.md).

Those from 8000 on judge.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pellucid.data.readers.phantom.shortcuts import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

JUDGING = 8000  # the first seed that judges
SEEDS = 60  # that do
# Of each finding; a seed has one of them. Four prevalences, five strengths and three findings are taken in turn, and no
# two of the numbers have a common divisor: in twenty whole seeds each kind has each prevalence with each strength once,
# in twelve each prevalence with each finding.
PREVALENCES = (0.2, 0.1, 0.3, 0.07)
# P(shortcut | finding), P(shortcut | no finding): strong, weaker, rare (at a prevalence of .07 on 5 % of images),
# everywhere (at .3 on 53 %), and hardly without the finding
STRENGTHS = ((0.95, 0.05), (0.8, 0.1), (0.6, 0.01), (0.95, 0.35), (0.8, 0.02))
# that a small network does not tell surely at 64 × 64 (AUROC .72 to .88 on seed 0); with those that it does, at .99 and
# more, it leaves a shortcut alone
FINDINGS = ("Mass", "Infiltration", "Atelectasis")
SELDOM_USED = ("side_marker", "jpeg")  # by perhaps half of the networks that may


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

    @property
    def key(self) -> str:
        """What its weights are kept under: of another cell of the same name, as of an earlier grid, they are others."""
        return f"{self.name}-{sha256(repr(self).encode()).hexdigest()[:8]}"

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Cell:
        """The cell of a network's file."""
        plants = tuple(Plant(**plant) for plant in record["plants"])
        return cls(record["name"], record["seed"], record["prevalence"], plants, record["group"] != "unused")

    @property
    def without_marks(self) -> bool:
        """Whether `discover` looks at it without the findings' marks too: of four whole seeds in sixty, but pairs."""
        return self.seed % 15 == 5 and self.group in ("none", "one")


def cells_of(seed: int) -> Iterator[Cell]:
    """The networks of a seed.

    Of every third seed there are thirteen, the whole seeds: none, one of each kind, two pairs of kinds, and two that
    had the chance. The others have those of which more are needed: none, one that had the chance, and of every third
    seed those of the kinds that are seldom used.
    """
    turn_of_seed, rest = divmod(seed, 3)
    whole = rest == 2
    kinds = KINDS if whole else SELDOM_USED if rest == 0 else ()
    turn_of_seed += (7, 13, 0)[rest]  # those that are not whole begin elsewhere in the rotation
    prevalence = PREVALENCES[turn_of_seed % len(PREVALENCES)]

    def plant(turn: int, kind: str, shift: int = 0) -> Plant:
        strength, elsewhere = STRENGTHS[(turn_of_seed + turn) % len(STRENGTHS)]
        frequency = prevalence * strength + (1 - prevalence) * elsewhere
        finding = FINDINGS[(turn_of_seed + turn + shift) % len(FINDINGS)]
        return Plant(kind, finding, strength, elsewhere, round(frequency, 4))

    yield Cell(f"{seed}-none", seed, prevalence, (), True)
    unused = (turn_of_seed % 4, 4 + turn_of_seed % 4) if whole else (turn_of_seed % 8,)
    for turn, kind in enumerate(KINDS):
        if kind in kinds:
            yield Cell(f"{seed}-{kind}", seed, prevalence, (plant(turn, kind),), True)
        if turn in unused:
            yield Cell(f"{seed}-unused-{kind}", seed, prevalence, (plant(turn, kind),), False)
    for turn in range(2 if whole else 0):
        first, second = KINDS[(turn_of_seed + turn) % 8], KINDS[(turn_of_seed + turn + 3) % 8]
        pair = (plant(turn, first), plant(turn, second, 1))
        yield Cell(f"{seed}-{first}+{second}", seed, prevalence, pair, True)
