"""At which severities of each corruption a model is shown to be worse than without, or to lose half of its lead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.evaluation.metrics.verdicts import ALPHA
from pellucid.report.tables.metrics import defined
from pellucid.utils.words import joined

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WORST = 5
"""The last severity."""


def worse_at(figures: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The severities of each corruption whose corrected p value shows a loss, ascending; there may be gaps.

    Args:
        figures: as audit.json has them under `elsewhere`.

    Example:
        >>> row = {"corruption": "blur", "severity": 2, "p_corrected": 0.01, "difference": {"value": -0.2}}
        >>> worse_at({"lost": {"blur": None, "noise": None}, "rows": [row]})
        {'blur': (2,), 'noise': ()}
    """
    return {
        name: tuple(r["severity"] for r in figures["rows"] if r["corruption"] == name and _fell(r))
        for name in figures["lost"]
    }


def lost_at(figures: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The severities of each corruption at which a loss, and less than half of the lead left, are shown, ascending."""
    return {
        name: ()
        if first is None
        else tuple(
            r["severity"] for r in figures["rows"] if r["corruption"] == name and _fell(r) and is_below(r["half"])
        )
        for name, first in figures["lost"].items()
    }


def is_below(contrast: Mapping[str, Any]) -> bool:
    """Whether a contrast is shown to be below 0, by its p value, the corrected one where there is one."""
    p = contrast.get("p_corrected", contrast["p"])
    return defined(p) and p < ALPHA and contrast["value"] < 0


def severities_text(severities: Sequence[int]) -> str:
    """Where something is shown, for a sentence.

    Example:
        >>> severities_text((5,)), severities_text((4, 5)), severities_text((2, 5)), severities_text((2, 3))
        ('at severity 5', 'from severity 4 on', 'at severities 2 and 5', 'at severities 2 and 3')
    """
    if len(severities) == 1:
        return f"at severity {severities[0]}"
    if list(severities) == list(range(severities[0], WORST + 1)):
        return f"from severity {severities[0]} on"
    return f"at severities {joined([str(s) for s in severities])}"


def _fell(row: Mapping[str, Any]) -> bool:
    return is_below({"value": row["difference"]["value"], "p": row["p_corrected"]})
