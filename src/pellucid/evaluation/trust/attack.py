"""The attack on explanations, for the table of trust: how far a map can be forged within small budgets."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pellucid.evaluation.manipulation.attack import manipulate
from pellucid.evaluation.manipulation.settings import Attack
from pellucid.evaluation.manipulation.summary import mean_over_budgets
from pellucid.evaluation.metrics.similarity import spearman
from pellucid.evaluation.trust.findings import Findings, TrustSettings
from pellucid.evaluation.trust.yardsticks import TRIVIAL_MAPS
from pellucid.explainers.registry import DIFFERENTIABLE, layer_option

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    from torch import nn

    from pellucid.evaluation.manipulation.attack import Manipulation
    from pellucid.evaluation.trust.samples import TrustSamples

MEASURED = ("attacked_rank", "map_invalidated", "decision_invalidated")
NO_SLOPE = "this map has no differentiable form, so no attack on it is known; that is no sign that it resists"
NONE_ATTACKED = "no explanation was attacked"


def attacked_rows(count: int, attacked: int) -> npt.NDArray[np.int64]:
    """Which of `count` images are attacked: at most `attacked`, spread evenly.

    Example:
        >>> attacked_rows(10, 3).tolist(), attacked_rows(2, 3).tolist()
        ([0, 4, 9], [0, 1])
    """
    return np.linspace(0, count - 1, min(count, attacked)).astype(np.int64)


def judge_attack(
    method: str,
    classifier: nn.Module,
    samples: TrustSamples,
    settings: TrustSettings,
    *,
    thresholds: Sequence[float] | None = None,
    layer: str | None = None,
) -> Findings:
    """Both attacks of `manipulate` on some images: another map at the same decision, and the other way round.

    Beside them stands what the same attacked images do to maps that look at no network.

    Args:
        method: of explanation; one without a differentiable form gets reasons instead of values.
        classifier: what is explained; left as it was.
        samples: what it is explained on.
        settings: how many images, steps and budgets.
        thresholds: the decision thresholds of a multi-label classifier, ½ by default.
        layer: that the method explains at, where it has this option.
    """
    if method not in DIFFERENTIABLE or settings.attacked == 0:
        return Findings(method, {}, dict.fromkeys(MEASURED, NO_SLOPE if settings.attacked else NONE_ATTACKED), {})
    started = time.monotonic()
    rows = attacked_rows(len(samples.images), settings.attacked)
    images, targets = samples.images[rows], samples.targets[rows]
    network: Any = classifier
    manipulations: dict[str, Manipulation] = {}
    options = layer_option(method, layer)
    try:
        for goal in ("same-decision", "same-map"):
            attack = Attack(
                method, goal, settings.budgets, steps=settings.attack_steps, seed=settings.seed, options=options
            )
            manipulations[goal] = manipulate(network, images, attack, targets=targets, thresholds=thresholds)
    except Exception as error:  # whatever it is, it must not take the other figures with it
        return Findings.of_failure(method, MEASURED, error)
    forged, same_map = manipulations["same-decision"], manipulations["same-map"]
    budgets = settings.budgets
    rank, noise = (_usable(forged, part["rank_correlation"]) for part in (forged.similarity, forged.noise))
    values = {
        "attacked_rank": mean_over_budgets(budgets, rank, 1.0),
        "map_invalidated": mean_over_budgets(budgets, _usable(forged, forged.found), 0.0),
        "decision_invalidated": mean_over_budgets(budgets, _usable(same_map, same_map.found), 0.0),
    }
    count = settings.examples
    curves: dict[str, Any] = {
        "attack_budgets": np.array([0.0, *budgets]),
        "attack_rank": _from_one(rank),
        "attack_noise": _from_one(noise),
        "maps_rows": rows[:count],
        "maps_before": forged.before[:count].float().cpu().numpy(),
        "maps_attacked": forged.after[-1, :count].float().cpu().numpy(),
        "maps_images": forged.perturbed[-1, :count].float().cpu().numpy(),
    }
    spent = sum(int(m.gradient_evaluations[-1].sum()) for m in manipulations.values())
    cost = {"gradient_evaluations": spent, "seconds": time.monotonic() - started}
    beside = {name: _of_trivial_map(draw, forged, same_map) for name, draw in TRIVIAL_MAPS.items()}
    return Findings(method, values, {}, curves, yardsticks=beside, cost=cost)


def _of_trivial_map(
    draw: Callable[[Any, torch.Tensor, torch.Tensor, int], torch.Tensor], forged: Manipulation, same_map: Manipulation
) -> dict[str, npt.NDArray[np.float64]]:
    """The same figures of a map that looks at no network, on the images that the attacks on a method's map left."""

    def likeness(manipulation: Manipulation) -> torch.Tensor:
        maps = [
            draw(None, images, manipulation.decision.targets, 0)
            for images in (manipulation.images, *manipulation.perturbed)
        ]
        return torch.stack([spearman(after, maps[0]) for after in maps[1:]])

    rank, kept_rank = likeness(forged), likeness(same_map)
    is_other = forged.constraint_met & (rank <= forged.attack.changed)
    is_same = same_map.constraint_met & (kept_rank >= same_map.attack.keep)
    budgets = forged.attack.budgets
    return {
        "attacked_rank": mean_over_budgets(budgets, _usable(forged, rank), 1.0),
        "map_invalidated": mean_over_budgets(budgets, _usable(forged, is_other), 0.0),
        "decision_invalidated": mean_over_budgets(budgets, _usable(same_map, is_same), 0.0),
    }


def with_attack(findings: Findings, attacked: Findings) -> Findings:
    """What was measured of a method, and of the attack on it, as one."""
    cost = {f"attack_{name}": value for name, value in attacked.cost.items()}
    return findings.joined(replace(attacked, cost=cost))


def _usable(manipulation: Manipulation, values: torch.Tensor) -> npt.NDArray[np.float64]:
    """(B, N), NaN for images whose map is the same everywhere."""
    bad = np.array([reason is not None for reason in manipulation.reasons])
    return np.where(bad, np.nan, values.double().cpu().numpy())


def _from_one(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The mean curve over budgets, from 1 at a budget of 0; NaN where no image has a value."""
    is_known = ~np.isnan(values)
    sums, counts = np.where(is_known, values, 0).sum(1), is_known.sum(1)
    means = np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0)
    return np.concatenate([[1.0], means])
