"""One image with its explanations as a picture: classes × methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.report.panels import ALONE, scaled
from pellucid.resources import whole_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt


def explanation_sheet(
    image: npt.NDArray[np.uint8],
    maps: Mapping[tuple[str, str], npt.NDArray[np.floating]],
    probabilities: Mapping[str, float],
    *,
    title: str,
    path: Path,
) -> None:
    """Write a PNG: the image, then a row a class and a column a method, each with its probability.

    Args:
        image: uint8 (C, S, S).
        maps: heat maps (S, S) by class and method. Fine maps stand alone, coarse ones lie over the image.
        probabilities: of each class that is shown.
        title: of the whole picture.
        path: where to write.
    """
    from matplotlib.figure import Figure

    classes, methods = list(probabilities), list(dict.fromkeys(m for _, m in maps))
    figure = Figure(figsize=(2.4 * (1 + len(methods)), 2.5 * len(classes) + 0.5), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(len(classes), 1 + len(methods), squeeze=False)
    picture = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    for row, class_name in enumerate(classes):
        axes[row, 0].imshow(picture, cmap="gray", vmin=0, vmax=255)
        axes[row, 0].set_title(f"{class_name}\nprobability {probabilities[class_name]:.2f}", fontsize=8)
        for column, method in enumerate(methods, start=1):
            heat = scaled(maps[class_name, method], method)
            if method not in ALONE:
                axes[row, column].imshow(picture, cmap="gray", vmin=0, vmax=255)
            axes[row, column].imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=1.0 if method in ALONE else 0.5)
            axes[row, column].set_title(method, fontsize=8)
    for axis in axes.flat:
        axis.set_axis_off()
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png")
