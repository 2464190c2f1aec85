"""One image with its explanations as a picture: classes × methods, heat maps beside adversarial explanations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.data.decoding.image import in_8_bits
from pellucid.explainers.registry import is_fine
from pellucid.report.heat_colours import OVER, placed
from pellucid.report.pictures.perturbed import BARE, as_picture, difference_picture, percent
from pellucid.report.tables.metrics import readable
from pellucid.utils.resources import whole_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from pellucid.report.pictures.perturbed import Moved
    from pellucid.types import Pixels


ACROSS = 5  # pictures beside each other


@dataclass(frozen=True, eq=False)
class Explained:
    """What one network says of an image.

    Attributes:
        maps: heat maps (H, W) by class and method.
        probabilities: of each class that is shown.
        changes: adversarial explanations by class, drawn after the maps: the moved image and its change.
        network: its name, over its pictures; empty where there is only one.
    """

    maps: Mapping[tuple[str, str], npt.NDArray[np.floating]]
    probabilities: Mapping[str, float]
    changes: Mapping[str, Moved] = field(default_factory=dict)
    network: str = ""


def explanation_grid(
    image: Pixels, explained: Sequence[Explained], *, title: str, path: Path, rho: float = 0.0
) -> None:
    """Write a PNG: for each class the image, with the class's probability, and then each method's map.

    More than `ACROSS` pictures of a class go on in a new line, so that the whole fits a screen. Of several networks
    each class has a row of each.

    Fine maps stand alone, coarse ones lie over the image, in the colours of `heat_colours.placed`.

    Args:
        image: uint8 or uint16 (C, H, W).
        explained: by each network, of the same classes by the same methods.
        title: of the whole picture.
        path: where to write.
        rho: the size of adversarial explanations, which sets the colours of the change.
    """
    from matplotlib.figure import Figure

    first = explained[0]
    rows = [(name, one) for name in first.probabilities for one in explained]
    methods = list(dict.fromkeys(m for _, m in first.maps))
    count = 1 + len(methods) + (2 if first.changes else 0)
    columns = min(count, ACROSS)
    lines = -(-count // columns)
    height = 2.5 if len(explained) == 1 else 2.65
    figure = Figure(figsize=(2.4 * columns, height * len(rows) * lines + 0.5), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=10)
    grid = figure.subplots(len(rows) * lines, columns, squeeze=False, subplot_kw=BARE)
    axes = grid.reshape(len(rows), lines * columns)
    picture = in_8_bits(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
    for row, (class_name, one) in enumerate(rows):
        network = f"{one.network}\n" if one.network else ""
        heading = f"{network}{readable(class_name)}\nprobability {one.probabilities[class_name]:.2f}"
        _show(axes[row, 0], picture, heading)
        for column, method in enumerate(methods, start=1):
            axis, (values, colours) = axes[row, column], placed(one.maps[class_name, method], method)
            if not is_fine(method):
                axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
            axis.imshow(values, cmap=colours, vmin=0, vmax=1, alpha=1.0 if is_fine(method) else OVER)
            axis.set_title(method, fontsize=8)
        if one.changes:
            own = one.changes[class_name]
            heading = f"adversarial, ρ = {rho:g}\n{percent(own.before)} → {percent(own.after)}"
            _show(axes[row, count - 2], as_picture(own.image), heading)
            change = own.image - image.astype(np.float64) / np.iinfo(image.dtype).max
            _show(axes[row, count - 1], difference_picture(change, rho), f"its change, RMS {own.rms:.3f}")
    for axis in axes.flat:
        axis.set_axis_off()
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png")


def _show(axis: Any, picture: Pixels, title: str) -> None:  # noqa: ANN401
    axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
    axis.set_title(title, fontsize=8)
