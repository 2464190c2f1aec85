"""Help that names explanations and attacks, without importing torch to do so."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from typing import Any

from typer.core import TyperCommand

OWN = {
    "methods": "cam, grad-cam, grad-cam++, saliency, smoothgrad, integrated-gradients, guided-backprop, occlusion, "
    "lime, kernel-shap, rise, attention-rollout, adversarial",
    "heatmaps": "cam, grad-cam, grad-cam++, saliency, smoothgrad, integrated-gradients, guided-backprop, occlusion, "
    "lime, kernel-shap, rise, attention-rollout",
    "differentiable": "cam, grad-cam, saliency, integrated-gradients, lime",
    "attacks": "tight, fmn, ddn, woods2019",
    "layer": "Grad-CAM and Grad-CAM++",
    "segments": "LIME and Kernel SHAP",
    "samples": "SmoothGrad, LIME, Kernel SHAP and RISE",
}
"""What each word in braces stands for where no package adds methods: as the registries, which import torch, have it."""
GROUPS = ("pellucid.explainers", "pellucid.attacks")  # of the entry points by which packages add methods


class MethodCommand(TyperCommand):
    """A command in whose help a word in braces stands for methods.

    `{methods}` stands for all of them, `{heatmaps}` for those that give heat maps, `{differentiable}` for those that
    can be attacked, `{OPTION}` for those that have the option of that name, and `{attacks}` for the attacks that look
    for the smallest perturbation.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 (typer's own copies of click's classes)
        """Write the help, with the methods in it."""
        own = not any(entry_points(group=group) for group in GROUPS)
        for param in self.params:
            text = getattr(param, "help", None)
            if text:
                param.help = re.sub(  # type: ignore[attr-defined]  # it has one
                    r"\{(\w+)\}", lambda place: OWN[place[1]] if own else registered(place[1]), text
                )
        super().format_help(ctx, formatter)


def registered(word: str) -> str:
    """What a word in braces stands for, with the methods of installed packages.

    Example:
        >>> registered("layer")
        'Grad-CAM and Grad-CAM++'
    """
    from pellucid.attacks import METHODS
    from pellucid.explainers.registry import DIFFERENTIABLE, EXPLAINERS, HEATMAPS, with_option

    lists = {
        "methods": tuple(EXPLAINERS), "heatmaps": HEATMAPS, "differentiable": DIFFERENTIABLE, "attacks": METHODS
    }  # fmt: skip
    if word in lists:
        return ", ".join(lists[word])
    *most, last = [entry.label for entry in with_option(word) if entry.kind == "heatmap"]
    return f"{', '.join(most)} and {last}" if most else last
