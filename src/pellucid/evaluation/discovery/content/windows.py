"""Windows of the network's frame: overlapping squares, the four sides and the frame; and their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Masks = npt.NDArray[np.bool_]


def edges(length: int, cells: int) -> npt.NDArray[np.int64]:
    """Where `cells` cells of about the same length begin and end: (cells + 1,)."""
    return np.round(np.linspace(0, length, cells + 1)).astype(np.int64)


def overlapping_windows(height: int, width: int, cells: int) -> Masks:
    """Squares of two by two cells, one cell apart: boolean ((cells − 1)², height, width), row by row.

    Example:
        >>> windows = overlapping_windows(32, 32, 4)
        >>> windows.shape, int(windows[0].sum())
        ((9, 32, 32), 256)
    """
    down, across = edges(height, cells), edges(width, cells)
    masks = np.zeros(((cells - 1) ** 2, height, width), bool)
    for number in range(len(masks)):
        row, column = divmod(number, cells - 1)
        masks[number, down[row] : down[row + 2], across[column] : across[column + 2]] = True
    return masks


def sides(height: int, width: int, cells: int) -> dict[str, Masks]:
    """The frame around the image and its four sides, one cell wide, and both margins, two: boolean (height, width)."""
    down, across = edges(height, cells), edges(width, cells)
    masks = {name: np.zeros((height, width), bool) for name in BANDS}
    masks["left side"][:, : across[1]] = True
    masks["right side"][:, across[-2] :] = True
    masks["upper side"][: down[1]] = True
    masks["lower side"][down[-2] :] = True
    masks[FRAME] = np.any([masks[name] for name in SIDES], axis=0)
    masks[MARGINS][:, : across[2]] = masks[MARGINS][:, across[-3] :] = True
    return masks


SIDES = ("left side", "right side", "upper side", "lower side")
FRAME = "frame around the image"
MARGINS = "left and right margins"  # where markers lie, now here, now there
BANDS = (*SIDES, FRAME, MARGINS)
EVERYWHERE = "image"  # the window that is all of the frame


def all_windows(height: int, width: int, cells: int) -> tuple[Masks, list[str], int]:
    """The squares, and after them the sides and the frame: boolean (W, height, width); names; how many are squares."""
    squares, bands = overlapping_windows(height, width, cells), sides(height, width, cells)
    names = [place_in_words(square) for square in squares] + list(bands)
    return np.concatenate([squares, np.stack(list(bands.values()))]), names, len(squares)


def place_in_words(region: Masks) -> str:
    """Where in the image a region (H, W) lies, as "upper right corner".

    Example:
        >>> region = np.zeros((10, 10), bool)
        >>> region[:2, 8:] = True
        >>> place_in_words(region)
        'upper right corner'
    """
    if not region.any():
        return "nowhere"
    height, width = region.shape
    rows, columns = np.nonzero(region)
    down, across = (rows.mean() + 0.5) / height, (columns.mean() + 0.5) / width
    vertical = "upper" if down < 1 / 3 else "lower" if down > 2 / 3 else "middle"
    horizontal = "left" if across < 1 / 3 else "right" if across > 2 / 3 else "middle"
    if vertical == horizontal == "middle":
        return "middle of the image"
    near = min(down, 1 - down) < 0.2 and min(across, 1 - across) < 0.2
    if near:
        return f"{vertical} {horizontal} corner"
    if "middle" in (vertical, horizontal):
        side = vertical if horizontal == "middle" else horizontal
        return f"{side} part of the image, in the middle"
    return f"{vertical} {horizontal} part of the image"
