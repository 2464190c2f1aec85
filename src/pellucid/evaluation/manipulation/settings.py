"""What an attack on an explanation is asked for: explanation, goal, budgets, and what counts as success."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pellucid.evaluation.manipulation.goals import GOALS
from pellucid.types import InputError
from pellucid.utils.resources import check_known

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pellucid.evaluation.manipulation.goals import Goal

BUDGETS = (0.002, 0.005, 0.01, 0.02)
"""Root mean square per pixel and channel: from half a grey level of 255 to five."""
STEPS = 40


@dataclass(frozen=True)
class Attack:
    """What is wanted, how far one may go for it, and what counts.

    Attributes:
        method: the explanation, one of `explainers.registry.DIFFERENTIABLE`.
        goal: `same-map` or `same-decision`.
        budgets: root mean squares per pixel and channel, ascending.
        target_map: for `same-decision` the map to show, as `target_maps` names it; None for any other one.
        steps: of gradient, for each budget.
        tolerance: for `same-decision`: how far the probability of the class explained may move.
        keep: for `same-map`: the rank correlation from which on a map counts as the same.
        changed: for `same-decision` without a target map: the one up to which it counts as another.
        seed: of the starting points.
        options: of the explainer.

    Raises:
        InputError: what cannot be, with what was found.
    """

    method: str = "grad-cam"
    goal: Goal = "same-decision"
    budgets: tuple[float, ...] = BUDGETS
    target_map: str | None = None
    steps: int = STEPS
    tolerance: float = 0.05
    keep: float = 0.9
    changed: float = 0.5
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_known([self.goal], GOALS, "goal")
        rising = all(a < b for a, b in zip(self.budgets, self.budgets[1:], strict=False))
        if not self.budgets or not rising or not all(0 < b <= 1 for b in self.budgets):
            raise InputError(
                "budgets must be ascending root mean squares above 0 and at most 1, each once; found "
                f"{', '.join(f'{b:g}' for b in self.budgets) or 'none'}."
            )
        if self.steps < 1:
            raise InputError(f"steps must be at least 1; found {self.steps}.")
        if not 0 < self.tolerance < 1:
            raise InputError(f"the tolerance is a difference of probabilities inside (0, 1); found {self.tolerance!r}.")
        for name in ("keep", "changed"):
            if not -1 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is a rank correlation from -1 to 1; found {getattr(self, name)!r}.")
        if self.target_map is not None and self.goal == "same-map":
            raise InputError("a target map is for the goal same-decision; same-map keeps the map that there is.")
