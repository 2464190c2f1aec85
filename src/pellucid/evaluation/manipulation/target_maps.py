"""Maps that an attack may want an explanation to show: a blob in a place, a picture, or another image's map."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pellucid.types import InputError, InputSpec
from pellucid.utils.resources import nearest

if TYPE_CHECKING:
    from torch import Tensor

PLACES = {"centre": (0.5, 0.5), "corner": (0.15, 0.15)}
"""Where the middle of a blob lies, from the top left, in shares of height and width."""
OTHER = "other-image"
WIDTH = 0.12  # a blob's standard deviation, in shares of a side


def target_maps(name: str, before: Tensor) -> Tensor:
    """The wanted maps (N, H, W), float64.

    Args:
        name: `centre` or `corner`, a Gaussian blob; `other-image`, the map of the next image of the batch, the first
            one's for the last; or an image file, whose brightness is the heat.
        before: (N, H, W), the maps of the unchanged images.

    Raises:
        InputError: an unknown name that is no file either; a file of one brightness, which is no map; one image only
            where another one's map is wanted.

    Example:
        >>> blob = target_maps("centre", torch.zeros(1, 9, 9))
        >>> blob.shape, int(blob.flatten().argmax()) == 9 * 4 + 4
        (torch.Size([1, 9, 9]), True)
    """
    count, height, width = before.shape
    if name in PLACES:
        down, across = PLACES[name]
        rows = (torch.arange(height, device=before.device).double() + 0.5) / height - down
        columns = (torch.arange(width, device=before.device).double() + 0.5) / width - across
        blob = torch.exp(-(rows[:, None] ** 2 + columns**2) / (2 * WIDTH**2))
        return blob.expand(count, -1, -1)
    if name == OTHER:
        if count < 2:
            raise InputError(f"{OTHER} takes the next image's map, but there is one image only: name another one.")
        return before.double().roll(-1, 0)
    path = Path(name)
    if not path.is_file():
        raise InputError(f"no target map {name!r}, and no such image file. {nearest(name, [*PLACES, OTHER])}")
    return _from_file(path, height, width).to(before.device).expand(count, -1, -1)


def _from_file(path: Path, height: int, width: int) -> Tensor:
    from pellucid.data.decoding.fitting import fit
    from pellucid.data.decoding.image import read_image

    picture = torch.tensor(fit(read_image(path), InputSpec.square(1, max(height, width)))).double()
    if picture.amin() == picture.amax():
        raise InputError(f"{path} has one brightness everywhere, which is no target map.")
    resized = torch.nn.functional.interpolate(picture[None], size=(height, width), mode="area")
    return resized[0]
