"""How much `discover` spends, and where it draws the line."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pellucid.types import InputError


@dataclass(frozen=True)
class DiscoverySettings:
    """What is spent on finding and on testing.

    Set by design; `margin` was chosen on three seeds of the benchmark (1 to 3, which judge nothing), where 1/32
    reported a finding's own surroundings in two of three networks without a shortcut, and 3/32 in none.

    Attributes:
        cells: on a side of the frame; windows are two by two of them.
        screened: images of the first half that give their windows to others, in search of candidates.
        tested: images of the second half that give, to test the candidates.
        recipients: images that they give to.
        per_class: windows of each class that are tested.
        permutations: of the labels.
        alpha: corrected p value up to which a suspect is reported.
        least: share of the distance between positives and negatives, from which on a suspect is reported.
        most: suspects that are described.
        margin: around marks that counts as marked, as a share of the frame's side.
        fewest: positives, and negatives, of a class in all, from which on anything is said of it.
        seed: of the halves, of the pairs, and of the permutations.
    """

    cells: int = 12
    screened: int = 100
    tested: int = 200
    recipients: int = 8
    per_class: int = 2
    permutations: int = 2000
    alpha: float = 0.05
    least: float = 0.05
    most: int = 6
    margin: float = 3 / 32
    fewest: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        counts = {n: getattr(self, n) for n in ("screened", "tested", "per_class", "permutations", "most", "fewest")}
        for name, value in {**counts, "cells": self.cells - 2, "recipients": self.recipients - 1}.items():
            if value < 1:
                raise InputError(f"{name} is too small for anything to be found; found {getattr(self, name)}.")
        if not 0 < self.alpha < 1 or not 0 <= self.least < 1:
            raise InputError(f"alpha and least are shares below 1; found {self.alpha:g} and {self.least:g}.")

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)
