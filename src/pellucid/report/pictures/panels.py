"""One case as pictures: the image with its regions, and every recipe's heat maps of it."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy  # its parts load when they are used
from matplotlib import colormaps
from PIL import Image, ImageDraw

from pellucid.explainers.registry import is_fine, is_signed
from pellucid.report.heat_colours import placed, strength

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pellucid.types import Box

    Pixels = NDArray[np.uint8]

SIDE = 256  # pixels of a picture's longer side, about: twice what a phone shows
LIMIT = 120 * 1024  # bytes of one picture
OUTLINE, EDGE = (0, 229, 255), (10, 10, 10)


@dataclass(frozen=True, eq=False)
class Panel:
    """One image with its ground truth and the heat maps of every recipe. No patient is named.

    Attributes:
        image: uint8 (H, W) or (H, W, 3).
        boxes: the finding's boxes in pixels of the image.
        maps: heat maps (H, W) by variant label and method.
        target: the name of the target that the case belongs to.
        class_name: the finding that is explained.
        image_id: what the image is called in its dataset.
        rule: how the case was chosen, as a sentence; cases with the same rule stand together.
        mask: bool (H, W), the finding's region, where it is known.
        score: the score it was chosen by, as text.
        probabilities: each variant's predicted probability of the finding.
        adversarial: by variant, the image changed so that the network becomes as sure of the finding as it can be made,
            uint8 (H, W) or (H, W, 3), and the size of the change, root mean square. Only of the cases in the summary.

    Example:
        >>> image, heat = np.zeros((64, 64), np.uint8), np.eye(16)
        >>> panel = Panel(image, [], {("plain", "cam"): heat}, "masks", "Nodule", "case-1", "The best by AUPRC.")
        >>> heat_picture(panel, "plain", "cam")[:22]
        'data:image/png;base64,'
    """

    image: Pixels
    boxes: list[Box]
    maps: dict[tuple[str, str], NDArray[Any]]
    target: str
    class_name: str
    image_id: str
    rule: str
    mask: NDArray[np.bool_] | None = None
    score: str = ""
    probabilities: dict[str, float] = field(default_factory=dict)
    adversarial: dict[str, tuple[Pixels, float]] = field(default_factory=dict)


def picture(panel: Panel) -> str:
    """The image with its boxes and the contour of its mask, as a data address."""
    return _encode(_outlined(_enlarge(_rgb(panel.image)), panel))


def adversarial_picture(panel: Panel, variant: str) -> str:
    """The changed image with the same outlines."""
    return _encode(_outlined(_enlarge(_rgb(panel.adversarial[variant][0])), panel))


def heat_picture(panel: Panel, variant: str, method: str) -> str:
    """One heat map with the same outlines: over the image in grey, or alone where it is too fine for that."""
    values, colours = placed(panel.maps[variant, method], method)
    if is_fine(method):
        return _encode(_outlined(_enlarge(_coloured(values, colours)), panel))
    gray = _rgb(panel.image).mean(axis=2, keepdims=True)
    if values.shape != gray.shape[:2]:
        values = scipy.ndimage.zoom(values, [a / b for a, b in zip(gray.shape[:2], values.shape, strict=True)], order=1)
    alpha = 0.72 * np.clip(strength(values, method), 0, 1)[..., None] ** 0.8
    shades = values if is_signed(method) else 0.12 + 0.88 * values  # the darkest of inferno would be a hole
    mixed = gray * (1 - alpha) + _coloured(shades, colours) * alpha
    return _encode(_outlined(_enlarge(np.clip(mixed, 0, 255).astype(np.uint8)), panel))


def _rgb(image: Pixels) -> Pixels:
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image[..., :3]


def _coloured(values: NDArray[np.float64], colours: str) -> Pixels:
    coloured: Pixels = (colormaps[colours](np.clip(values, 0, 1))[..., :3] * 255).astype(np.uint8)
    return coloured


def _enlarge(image: Pixels) -> Image.Image:
    """Whole multiples of small images, so that pixels stay as they are; large ones are averaged down."""
    picture = Image.fromarray(np.ascontiguousarray(image))
    longer = max(picture.size)
    if longer <= SIDE:
        factor = SIDE // longer
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    size = (max(1, round(picture.width * SIDE / longer)), max(1, round(picture.height * SIDE / longer)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _outlined(enlarged: Image.Image, panel: Panel) -> Image.Image:
    """Draw the regions in a colour that neither grey nor inferno has, with a dark edge to show on both."""
    height, width = panel.image.shape[:2]
    across, down = enlarged.width / width, enlarged.height / height
    line = np.zeros((enlarged.height, enlarged.width), dtype=bool)
    if panel.mask is not None and panel.mask.any():
        mask = Image.fromarray(panel.mask.astype(np.uint8) * 255).resize(enlarged.size, Image.Resampling.BILINEAR)
        inside = np.asarray(mask) > 127
        line |= inside & ~scipy.ndimage.binary_erosion(inside, iterations=2)
    boxes = Image.new("1", enlarged.size)
    draw = ImageDraw.Draw(boxes)
    for box in panel.boxes:
        corner = (box.x * across, box.y * down)
        far = ((box.x + box.width) * across - 1, (box.y + box.height) * down - 1)
        draw.rectangle([corner, (max(corner[0], far[0]), max(corner[1], far[1]))], outline=1, width=2)
    line |= np.asarray(boxes)
    pixels = np.array(enlarged)
    pixels[scipy.ndimage.binary_dilation(line) & ~line] = EDGE
    pixels[line] = OUTLINE
    return Image.fromarray(pixels)


def _encode(picture: Image.Image) -> str:
    """A data address in few colours, of which the outlines' are two: so rare a colour would be averaged away."""
    pixels = np.array(picture)
    lines = [(colour, (pixels == colour).all(axis=2)) for colour in (OUTLINE, EDGE)]
    for _, line in lines:
        pixels[line] = 0  # else the image's own colours close to theirs would become theirs
    plain = Image.fromarray(pixels)
    for colours in (256, 96, 40, 16):
        stream = io.BytesIO()
        reduced = plain.quantize(colours - 2, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        indices, palette = np.array(reduced), list(reduced.getpalette() or ())[: 3 * (colours - 2)]
        for colour, line in lines:
            indices[line] = len(palette) // 3
            palette += colour
        reduced = Image.fromarray(indices)  # grey until it has a palette
        reduced.putpalette(palette)
        reduced.save(stream, "PNG", optimize=True)
        if stream.tell() <= LIMIT:
            break
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
