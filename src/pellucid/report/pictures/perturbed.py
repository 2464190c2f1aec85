"""Images moved by an adversarial explanation as pictures: what the classifier would have to see, and the difference."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from PIL import Image

from pellucid.report.tables.metrics import readable
from pellucid.utils.resources import whole_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

BARE = {"xticks": (), "yticks": ()}  # of axes that are not shown: their ticks would take half of the time
REACH = 3.0
"""The colours of a difference end at so many times ρ, whatever the picture: equal colours are equal changes."""
DIFFERENCE_COLOURS = "RdBu_r"
LOSSLESS = 64  # pixels: larger pictures are JPEG, or a page of them would weigh too much
ACROSS = 6  # pictures in a row of a sheet


@dataclass(frozen=True, eq=False)
class Moved:
    """The image moved for one class.

    Attributes:
        class_name: the class aimed at.
        role: what it is to the image, as `real class`; may be empty.
        image: (C, H, W) in [0, 1], or a little outside where the optimiser does not keep the box.
        before: its probability in the image.
        after: its probability in the moved image.
        rms: root mean square of the change.
    """

    class_name: str
    role: str
    image: NDArray[np.floating]
    before: float
    after: float
    rms: float


def explanation_pictures(
    image: NDArray[np.floating],
    changes: Sequence[Moved],
    *,
    rho: float,
    title: str,
    note: str,
    path: Path,
) -> None:
    """Write a PNG: the image, and for each class the moved image over its signed difference from the image.

    Args:
        image: (C, H, W) in [0, 1].
        changes: in the order shown.
        rho: the size asked for, which sets the colours' scale.
        title: of the whole picture.
        note: how they were made, under the title.
        path: where to write.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    across = min(ACROSS, 1 + len(changes))
    rows = -(-(1 + len(changes)) // across)
    figure = Figure(figsize=(1.75 * across + 0.9, 4.05 * rows + 0.7), dpi=110, layout="constrained")
    figure.suptitle(f"{title}\n{note}", fontsize=9)
    axes = figure.subplots(2 * rows, across, squeeze=False, subplot_kw=BARE)
    for axis in axes.flat:
        axis.set_axis_off()
    _show(axes[0, 0], as_picture(image), "input")
    for index, one in enumerate(changes, start=1):
        row, column = 2 * (index // across), index % across
        head = readable(one.class_name) + (f"\n{one.role}" if one.role else "\n")
        _show(axes[row, column], as_picture(one.image), f"{head}\n{percent(one.before)} → {percent(one.after)}")
        _show(axes[row + 1, column], difference_picture(one.image - image, rho), f"change, RMS {one.rms:.3f}")
    reach = REACH * rho
    if len(image) == 1:
        bar = figure.colorbar(
            ScalarMappable(Normalize(-reach, reach), DIFFERENCE_COLOURS), ax=axes, shrink=0.4, aspect=30, pad=0.01
        )
        bar.set_label("change of a pixel: blue darker, red brighter", fontsize=8)
        bar.ax.tick_params(labelsize=7)
    else:
        legend = f"change of each channel: grey is none, black −{reach:g} or less, white +{reach:g} or more"
        figure.supxlabel(legend, fontsize=8)
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png")


def attack_pictures(
    images: Sequence[NDArray[np.floating]], perturbed: Sequence[NDArray[np.floating]], titles: Sequence[str], path: Path
) -> None:
    """Write a PNG: each image in the top row, what an attack made of it under it, and the signed difference last.

    Args:
        images: (C, H, W) in [0, 1], one at least.
        perturbed: of each image, the same shape.
        titles: of each image.
        path: where to write.
    """
    from matplotlib.figure import Figure

    sizes = [float(np.sqrt(np.mean((b - a) ** 2))) for a, b in zip(images, perturbed, strict=True)]
    rho = max(sizes) or 1.0
    figure = Figure(figsize=(1.75 * len(images) + 0.4, 6.2), dpi=110, layout="constrained")
    axes = figure.subplots(3, len(images), squeeze=False, subplot_kw=BARE)
    for column, (image, other, size) in enumerate(zip(images, perturbed, sizes, strict=True)):
        _show(axes[0, column], as_picture(image), titles[column])
        _show(axes[1, column], as_picture(other), "attacked" if size else "not changed")
        _show(axes[2, column], difference_picture(other - image, rho), f"change, RMS {size:.4f}")
    legend = "red brighter, blue darker" if len(images[0]) == 1 else "of each channel: grey is none"
    figure.supxlabel(f"change: {legend}; colours end at {REACH * rho:.3g}", fontsize=8)
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png")


def as_picture(image: NDArray[np.floating]) -> Pixels:
    """An image (C, H, W) in [0, 1] as uint8 (H, W) grey or (H, W, 3); what lies outside is cut."""
    pixels = np.clip(np.rint(np.asarray(image, dtype=np.float64) * 255), 0, 255).astype(np.uint8)
    return pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)


def difference_picture(difference: NDArray[np.floating], rho: float) -> Pixels:
    """A signed difference (C, H, W) as a picture (H, W, 3), cut at ± `REACH` · ρ.

    Of a grey image blue is darker, white the same, red brighter; of a colour image every channel is shown as itself
    around mid-grey.

    Example:
        >>> difference_picture(np.zeros((3, 1, 1)), 0.1).tolist()
        [[[128, 128, 128]]]
    """
    placed = np.clip(0.5 + np.asarray(difference, dtype=np.float64) / (2 * REACH * rho), 0, 1)
    if len(placed) == 1:
        coloured: Any = colormaps[DIFFERENCE_COLOURS](placed[0])[..., :3]
    else:
        coloured = placed.transpose(1, 2, 0)
    picture: Pixels = np.rint(coloured * 255).astype(np.uint8)
    return picture


def percent(probability: float) -> str:
    """A probability in per cent, never rounded to certainty.

    Example:
        >>> percent(0.5), percent(0.917), percent(0.9931), percent(0.99999), percent(1e-9)
        ('50 %', '92 %', '99.3 %', '> 99.9 %', '< 0.1 %')
    """
    if probability < 0.001:
        return "< 0.1 %"
    if probability > 0.999:
        return "> 99.9 %"
    return f"{100 * probability:.1f} %" if probability < 0.1 or probability > 0.99 else f"{100 * probability:.0f} %"


def data_address(picture: Pixels) -> str:
    """A picture as a data address: PNG up to 64 pixels, which shows it exactly; JPEG beyond."""
    stream = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(picture))
    kind = "png" if max(image.size) <= LOSSLESS else "jpeg"
    if kind == "png":
        image.save(stream, "PNG", optimize=True)
    else:
        image.save(stream, "JPEG", quality=88, subsampling=0)
    return f"data:image/{kind};base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _show(axis: Any, picture: Pixels, title: str) -> None:  # noqa: ANN401
    axis.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axis.set_title(title, fontsize=7.5)
