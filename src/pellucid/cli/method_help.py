"""Help that names explanations and attacks: read from the registries when it is asked for, as that imports torch."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperCommand


class MethodCommand(TyperCommand):
    """A command in whose help a word in braces stands for methods.

    `{methods}` stands for all of them, `{heatmaps}` for those that give heat maps, `{differentiable}` for those that
    can be attacked, `{OPTION}` for those that have the option of that name, and `{attacks}` for the attacks that look
    for the smallest perturbation.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 (typer's own copies of click's classes)
        """Write the help, with the methods in it."""
        for param in self.params:
            text = getattr(param, "help", None)
            if text:
                param.help = re.sub(r"\{(\w+)\}", _names, text)  # type: ignore[attr-defined]  # it has one
        super().format_help(ctx, formatter)


def _names(place: re.Match[str]) -> str:
    from pellucid.attacks import METHODS
    from pellucid.explainers.registry import DIFFERENTIABLE, EXPLAINERS, HEATMAPS, with_option

    lists = {"methods": tuple(EXPLAINERS), "heatmaps": HEATMAPS, "differentiable": DIFFERENTIABLE, "attacks": METHODS}
    if place[1] in lists:
        return ", ".join(lists[place[1]])
    *most, last = [entry.label for entry in with_option(place[1]) if entry.kind == "heatmap"]
    return f"{', '.join(most)} and {last}" if most else last
