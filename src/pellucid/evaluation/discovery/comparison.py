"""Two discoveries compared: is a suspect gone, and what did that cost?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pellucid.evaluation.discovery.results import Discovery
    from pellucid.evaluation.discovery.suspect import Suspect

OVERLAP = 0.25
"""Intersection over union of two regions from which on they are the same place."""


def compare_suspects(before: Discovery, now: Sequence[Suspect], classes: Sequence[str]) -> list[dict[str, Any]]:
    """What became of each suspect of before that nobody marked.

    Returns:
        A record each: its number, name and class, `share_before` and `share_now`, the number it has `now` (None where
        it is gone), and a `verdict`.
    """
    records = []
    for old in before.unexpected:
        if old.class_name not in classes:
            continue
        match = next((one for one in now if _same(old, one)), None)
        share = math.nan if match is None else match.cost
        verdict = (
            "no longer found"
            if match is None
            else f"still there: {100 * old.cost:.0f} % before, {100 * share:.0f} % now"
        )
        records.append(
            {
                "number": old.number,
                "name": old.name,
                "class": old.class_name,
                "share_before": old.cost,
                "share_now": share,
                "now": None if match is None else match.number,
                "verdict": verdict,
            }
        )
    return records


def _same(one: Suspect, other: Suspect) -> bool:
    if one.kind != other.kind or one.class_name != other.class_name or other.expected:
        return False
    if one.kind in ("whole image", "metadata"):
        return one.name == other.name
    if one.kind == "patch":
        return True
    if one.region.shape != other.region.shape:
        return False
    return bool((one.region & other.region).sum() >= OVERLAP * (one.region | other.region).sum())
