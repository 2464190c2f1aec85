"""Statistics of whole images, and one image given another's: brightness, contrast, and the fine texture.

What people marked takes no part, in neither image: a finding that brightens an image is not its brightness. Each image
leaves out what is marked on one of the other label as well, so that the pixels that are left say nothing of the label.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from pellucid.models.inference import as_pixels

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    from torch import Tensor

    from pellucid.evaluation.discovery.exchange import Exchange
    from pellucid.evaluation.discovery.samples import MarkedPairs
    from pellucid.evaluation.metrics.bootstrap import FloatArray
    from pellucid.types import Pixels

RIM = 1 / 12
"""Of a side: so much along the edges takes no part, where frames, collimators and markers lie."""
SAMPLED = 64
"""Rows and columns of the frame that quantiles are taken of, at least."""
CLIP = 2.5
"""In robust deviations: what is stronger is an edge, and no texture."""
NORMAL = 1.4826
"""Of a normal distribution: standard deviations in a median absolute deviation."""
BLOCK = 8
"""Pixels on a side of what JPEG compresses together."""
QUALITIES = (8, 12, 18, 26, 38, 55, 75)
"""Of JPEG, that images are compressed at."""
FAINT = 1 / 1020
"""A quarter of one grey level of 255, which is added to the size of steps."""


@dataclass(frozen=True)
class Statistic:
    """A number of an image, and how it is given to another one.

    Attributes:
        measure: (images, where) → the number of each.
        change: (recipients, donors, where to measure the recipients, where the donors) → recipients changed.
        can_be_undone: whether an image that has much of it can be given another's that has little.
    """

    measure: Callable[[Tensor, Tensor], Tensor]
    change: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    can_be_undone: bool = True


@dataclass(frozen=True)
class WholeImage:
    """One image is given another's statistic, outside what is marked of a class in either.

    Attributes:
        statistic: which.
        marks: where people marked findings.
        partners: int64 (N, P), the images whose marks each image leaves out.
        column: the class; of any class they are left out of what is measured.
    """

    statistic: Statistic
    marks: MarkedPairs
    partners: npt.NDArray[np.int64]
    column: int

    def __call__(
        self, recipients: Tensor, donors: Tensor, rows: npt.NDArray[np.int64], onto: npt.NDArray[np.int64]
    ) -> Tensor:
        """See `exchange.Exchange`."""
        free = [torch.from_numpy(self._free(of)).to(donors.device)[:, None] for of in (onto, rows)]
        changed = self.statistic.change(recipients, donors, free[0], free[1]).clamp(0, 1)
        unchanged = torch.from_numpy(self._marked(onto, self.column) | self._marked(rows, self.column)).to(
            donors.device
        )
        return torch.where(unchanged[:, None], recipients, changed)

    def measured(self, images: Pixels) -> FloatArray:
        """The statistic of each image (N, C, H, W), of what takes part in the exchange: (N,)."""
        values = []
        for rows in np.array_split(np.arange(len(images)), -(-len(images) // 64)):
            free = torch.from_numpy(self._free(rows))[:, None]
            values.append(self.statistic.measure(as_pixels(images[rows]), free).flatten().double().numpy())
        return np.concatenate(values)

    def _free(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        down, across = (max(1, round(RIM * side)) for side in self.marks.frame)
        inside = np.zeros(self.marks.frame, bool)
        inside[down:-down, across:-across] = True
        if not self.statistic.can_be_undone:
            return ~self._marked(rows, self.column)
        return ~self._marked(rows) & inside

    def _marked(self, rows: npt.NDArray[np.int64], column: int | None = None) -> npt.NDArray[np.bool_]:
        return np.asarray(np.any([self.marks.of_images(of, column) for of in self.partners[rows].T], axis=0))


def can_be_undone(exchange: Exchange) -> bool:
    """Whether an exchange can take away what it puts in."""
    return not isinstance(exchange, WholeImage) or exchange.statistic.can_be_undone


def brightness(recipients: Tensor, donors: Tensor, free: Tensor, allowed: Tensor) -> Tensor:
    """The median."""
    return recipients + _quantile(donors, allowed, 0.5) - _quantile(recipients, free, 0.5)


def contrast(recipients: Tensor, donors: Tensor, free: Tensor, allowed: Tensor) -> Tensor:
    """The distance between the quartiles, around an unchanged median."""
    middle = _quantile(recipients, free, 0.5)
    own, given_range = (quartiles(x, where).clamp_min(1e-3) for x, where in ((recipients, free), (donors, allowed)))
    return middle + (recipients - middle) * (given_range / own)


def fine_texture(recipients: Tensor, donors: Tensor, free: Tensor, allowed: Tensor) -> Tensor:
    """What a blur of one pixel takes away, edges excepted: noise, sharpness."""
    return recipients + _texture(donors, allowed, 1) - _texture(recipients, free, 1)


def coarse_texture(recipients: Tensor, donors: Tensor, free: Tensor, allowed: Tensor) -> Tensor:
    """What a blur of two pixels takes away after one of one pixel, edges excepted."""
    return recipients + _texture(donors, allowed, 2) - _texture(recipients, free, 2)


def median(images: Tensor, where: Tensor) -> Tensor:
    """What `brightness` exchanges, of each image."""
    return _quantile(images, where, 0.5)


def quartiles(images: Tensor, where: Tensor) -> Tensor:
    """What `contrast` exchanges: the distance between the quartiles."""
    return _quantile(images, where, 0.75) - _quantile(images, where, 0.25)


def fine_residual(images: Tensor, where: Tensor) -> Tensor:
    """The median size of what a blur of one pixel takes away."""
    return _quantile((images - _blur(images)).abs(), where, 0.5)


def coarse_residual(images: Tensor, where: Tensor) -> Tensor:
    """The same of the next octave."""
    blurred = _blur(images)
    return _quantile((blurred - _blur(blurred)).abs(), where, 0.5)


def blocks(images: Tensor, where: Tensor) -> Tensor:
    """How much larger steps are from one block of eight pixels to the next than elsewhere, as a logarithm.

    It is told where images are as large as they were compressed; resizing hides it.
    """
    grey, logs = images.mean(1, keepdim=True), []
    for axis in (2, 3):
        steps = grey.diff(dim=axis).abs()
        count = steps.shape[axis]
        both = where.narrow(axis, 1, count) & where.narrow(axis, 0, count)
        numbers = torch.arange(1, count + 1, device=images.device)
        between = (numbers[:, None] if axis == 2 else numbers) % BLOCK == 0
        means = [torch.where(both & of, steps, torch.nan).flatten(1).nanmean(1) for of in (between, ~between)]
        logs.append(torch.log((means[0] + FAINT) / (means[1] + FAINT)))
    return torch.stack(logs).mean(0).nan_to_num(0.0)[:, None, None, None]


def compression(recipients: Tensor, donors: Tensor, free: Tensor, allowed: Tensor) -> Tensor:
    """Compressed by JPEG, at the quality of a few at which the steps between blocks come closest to the donor's."""
    versions = torch.stack([recipients, *(_compressed(recipients, quality) for quality in QUALITIES)])
    steps = torch.stack([blocks(version, free).flatten() for version in versions])
    closest = (steps - blocks(donors, allowed).flatten()).abs().argmin(0)
    return versions[closest, torch.arange(len(recipients), device=recipients.device)]


def _compressed(images: Tensor, quality: int) -> Tensor:
    """Each channel of images (N, C, H, W) after JPEG of this quality."""
    planes = (images.clamp(0, 1) * 255).round().byte().flatten(0, 1).cpu().numpy()
    decoded = []
    for plane in planes:
        stream = BytesIO()
        Image.fromarray(plane).save(stream, "JPEG", quality=quality)
        decoded.append(np.asarray(Image.open(stream)))
    return (torch.from_numpy(np.stack(decoded)).to(images) / 255).reshape(images.shape)


STATISTICS = {
    "overall brightness": Statistic(median, brightness),
    "overall contrast": Statistic(quartiles, contrast),
    "fine texture (noise, sharpness)": Statistic(fine_residual, fine_texture),
    "coarser texture": Statistic(coarse_residual, coarse_texture),
    "blocks of JPEG compression": Statistic(blocks, compression, can_be_undone=False),
}
"""By name."""


def _quantile(images: Tensor, where: Tensor, q: float) -> Tensor:
    """Of the pixels of each image (N, C, H, W) that are `where` (N, 1, H, W), over all channels: (N, 1, 1, 1).

    Of a large frame every so many rows and columns are taken, so that `SAMPLED` of each are left at least.
    """
    step = max(1, min(images.shape[2:]) // SAMPLED)
    values = torch.where(where, images, torch.nan)[:, :, ::step, ::step].flatten(1)
    return values.nanquantile(q, dim=1).nan_to_num(0.5)[:, None, None, None]


def _blur(images: Tensor) -> Tensor:
    """A binomial blur of three by three pixels."""
    weights = torch.tensor([0.25, 0.5, 0.25], dtype=images.dtype, device=images.device)
    kernel = (weights[:, None] * weights)[None, None].expand(images.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), kernel, groups=images.shape[1])


def _texture(images: Tensor, where: Tensor, octave: int) -> Tensor:
    """The residual of a blur, within `CLIP` of its own robust deviations."""
    for _ in range(octave - 1):
        images = _blur(images)
    rest = images - _blur(images)
    limit = (CLIP * NORMAL) * _quantile(rest.abs(), where, 0.5).clamp_min(1e-4)
    return rest.clamp(-limit, limit)
