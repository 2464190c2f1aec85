"""From which severity of each corruption on a model is shown to be worse than without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.evaluation.metrics.verdicts import ALPHA
from pellucid.report.tables.metrics import defined

if TYPE_CHECKING:
    from collections.abc import Mapping


def worse_from(figures: Mapping[str, Any]) -> dict[str, int | None]:
    """The least severity of each corruption whose corrected p value shows a loss; None where none does.

    Args:
        figures: as audit.json has them under `elsewhere`.

    Example:
        >>> row = {"corruption": "blur", "severity": 2, "p_corrected": 0.01, "difference": {"value": -0.2}}
        >>> worse_from({"lost": {"blur": None, "noise": None}, "rows": [row]})
        {'blur': 2, 'noise': None}
    """
    worse = [
        r for r in figures["rows"]
        if defined(r["p_corrected"]) and r["p_corrected"] < ALPHA and r["difference"]["value"] < 0
    ]  # fmt: skip
    return {
        name: min((r["severity"] for r in worse if r["corruption"] == name), default=None) for name in figures["lost"]
    }
