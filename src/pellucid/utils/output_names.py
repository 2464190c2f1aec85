"""What the files written for each image are called, so that no image's files replace another's."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

TAILS = ("", "-adversarial")  # a command writes NAME.png, NAME.npz, and beside them NAME-adversarial.png
RESERVED = ("curve",)  # what attack-explanation writes for all images together


def output_names(stems: Sequence[str]) -> list[str]:
    """A name per image: its own, with a number where another image's files are called so already.

    Names that differ only in capitals or in how an accent is encoded count as the same, as they do on the disks of
    macOS and Windows. A number that an image has in its own name is not given to another.

    Example:
        >>> output_names(["img", "img", "img-2", "IMG", "img-adversarial"])
        ['img', 'img-3', 'img-2', 'IMG-4', 'img-adversarial-2']
    """
    own = {_folded(stem) for stem in stems}
    in_use = {_folded(name) for name in RESERVED}
    names = []
    for stem in stems:
        name, number = stem, 1
        while _written(name) & in_use or (number > 1 and _folded(name) in own):
            number += 1
            name = f"{stem}-{number}"
        in_use |= _written(name)
        names.append(name)
    return names


def _written(name: str) -> set[str]:
    return {_folded(name + tail) for tail in TAILS}


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
