"""Evidence of trust in a study's report: every explanation on every network side by side, then network by network."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pellucid.evaluation.trust.rows import TrustRow
from pellucid.report.pages.trust import bar_of, figure_cell, sign, trust_parts
from pellucid.report.tables.metrics import method_label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def trust_section(trusts: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What the template shows; None where no table was asked for.

    Args:
        trusts: one table per variant, as `results["trust"]` holds them.
    """
    if not trusts:
        return None
    groups = _compared(trusts)
    return {
        "variants": [one["variant"] for one in trusts],
        "groups": [g for g in groups if not g["missing"]],
        "missing": [f"{g['label']} ({g['missing']})" for g in groups if g["missing"]],
        "networks": [
            {"label": one["variant"], "seed": one["seed"], "images": one["images"], "cost": _cost(one)}
            | trust_parts(one, f"trust{number}")
            for number, one in enumerate(trusts)
        ],
    }


def _compared(trusts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Measures with a bar, the methods under each; the networks across."""
    rows = [
        {(r.label, r.method): r for r in map(TrustRow.from_json, one["rows"]) if r.bar is not None} for one in trusts
    ]
    groups: dict[str, dict[str, Any]] = {}
    for label, method in dict.fromkeys(key for own in rows for key in own):
        first = next(own[label, method] for own in rows if (label, method) in own)
        about: dict[str, Any] = {
            "label": label,
            "bar": bar_of(first),
            "means": first.means,
            "missing": first.reason,
            "lines": [],
        }
        group = groups.setdefault(label, about)
        if any(not math.isnan(own[label, method].value) for own in rows if (label, method) in own):
            group["missing"] = None
        cells = [(figure_cell(own.get((label, method))), sign(own.get((label, method)))) for own in rows]
        group["lines"].append({"method": method_label(method), "cells": cells})
    return list(groups.values())


def _cost(one: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{method_label(name)} {int(cost['gradient_evaluations'] + cost.get('attack_gradient_evaluations', 0)):,}"
        for name, cost in one["cost"].items()
    )
