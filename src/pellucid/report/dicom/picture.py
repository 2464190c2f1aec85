"""A heat map over its radiograph with boxes and words burnt in: what any viewer shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont

from pellucid.data.decoding.image import to_bits
from pellucid.explainers.registry import is_fine, is_signed
from pellucid.report.heat_colours import OVER, placed, strength
from pellucid.report.pictures.panels import OUTLINE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pellucid.types import Box, Pixels


UNSEEN = 0.4
"""How bright the image is where the network did not see it."""


def picture_of(
    pixels: Pixels, heat: npt.NDArray[np.floating], method: str, boxes: Sequence[Box], words: Sequence[str]
) -> npt.NDArray[np.uint8]:
    """A heat map over its image, uint8 (H, W, 3); a map that is too fine for that stands alone.

    Args:
        pixels: the image, (H, W) or (H, W, 3).
        heat: the map, (H, W); NaN where the network did not see the image, which is drawn dark there.
        method: which says how the map is scaled and coloured.
        boxes: in pixels of the image; drawn as outlines.
        words: lines at the top left, on black.
    """
    eight_bit = to_bits(pixels, 8)
    gray = eight_bit if eight_bit.ndim == 3 else np.repeat(eight_bit[..., None], 3, axis=2)
    has_heat = np.isfinite(heat)
    values, colours = placed(heat[has_heat], method)
    coloured = colormaps[colours](values)[..., :3] * 255
    weight = np.asarray(1.0 if is_fine(method) else OVER * (strength(values, method) if is_signed(method) else 1))
    mixed = gray * UNSEEN
    mixed[has_heat] = gray[has_heat] * (1 - weight[..., None]) + coloured * weight[..., None]
    picture = Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    line = max(1, round(max(picture.size) / 400))
    for box in boxes:
        far = (max(box.x, box.x + box.width - 1), max(box.y, box.y + box.height - 1))
        draw.rectangle([(box.x, box.y), far], outline=OUTLINE, width=line)
    _write(draw, picture.size, words)
    return np.asarray(picture)


def _write(draw: ImageDraw.ImageDraw, size: tuple[int, int], words: Sequence[str]) -> None:
    """Words as large as a fortieth of the height, or as fit the width."""
    text = "\n".join(words)
    points = max(8, size[1] // 40)
    font = ImageFont.load_default(points)
    wide = draw.multiline_textbbox((0, 0), text, font=font)[2]
    if wide > 0.98 * size[0]:
        font = ImageFont.load_default(max(5, int(points * 0.98 * size[0] / wide)))
    left, top, right, bottom = draw.multiline_textbbox((2, 2), text, font=font)
    draw.rectangle([(left - 2, top - 2), (right + 2, bottom + 2)], fill=(0, 0, 0))
    draw.multiline_text((2, 2), text, fill=(255, 255, 255), font=font)
