"""The words that every package shares: task, box, batch, the classifier contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:  # the command line reads these words before it needs torch
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import Tensor, nn

    Pixels = npt.NDArray[np.uint8 | np.uint16]  # from black to white over the full range of the type

Task = Literal["multiclass", "multilabel"]

PIXEL_TOLERANCE = 1e-4  # what rounding in a resize or a normalisation may leave outside [0, 1]


class InputError(ValueError):
    """Input that a person can mend: the message says what was found, what was expected and what to do."""


class Box(NamedTuple):
    """An axis-aligned rectangle in pixels of the image as given to the network, origin at the top left.

    Covers the half-open ranges [x, x + width) and [y, y + height).
    """

    x: float
    y: float
    width: float
    height: float

    @property
    def area(self) -> float:
        """Width times height, in square pixels."""
        return self.width * self.height


class Marks(NamedTuple):
    """What people marked on the images of a batch: in each of T slots of an image, regions for one class.

    Attributes:
        classes: int64 (N, T), the class that a slot's regions are about; -1 for an empty slot.
        relevant: float32 (N, T, H, W), 1 where the class is to be seen, 0 elsewhere, between them at an edge that was
            turned with its image; all 0 where no such region was drawn.
        irrelevant: float32 (N, T, H, W), 1 where the network should not look for it.
    """

    classes: Tensor
    relevant: Tensor
    irrelevant: Tensor


class Batch(NamedTuple):
    """Images and what is known of them, on one device.

    Attributes:
        images: float32 (N, C, H, W) in [0, 1].
        targets: int64 (N,) for a multiclass task; float32 (N, K), NaN where unknown, for a multi-label one.
        indices: int64 (N,), the rows of the dataset that the images come from.
        marks: what people marked on them; None where none of them is marked.
    """

    images: Tensor
    targets: Tensor
    indices: Tensor
    marks: Marks | None = None


@dataclass(frozen=True)
class InputSpec:
    """What a classifier expects of its images: channels, and height and width in pixels (they are square)."""

    channels: int
    size: int


@runtime_checkable
class Classifier(Protocol):
    """A network that takes pixels in [0, 1]; its normalisation is inside.

    `features` and `head` exist where the network is convolution → global average pooling → linear; then
    ``forward(x) == head(features(x).mean((2, 3)))`` and class activation maps need no gradient.
    `has_linear_head` says whether they do.
    """

    task: Task
    classes: tuple[str, ...]
    input_spec: InputSpec

    def __call__(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to logits (N, K)."""
        ...


def check_images(images: Tensor, *, channels: int | None = None) -> None:
    """Refuse images that are not float (N, C, H, W) with finite values in [0, 1].

    Raises:
        InputError: with the shape, type or range found.

    Example:
        >>> import torch
        >>> check_images(torch.full((1, 1, 2, 2), 255.0))
        Traceback (most recent call last):
        ...
        pellucid.types.InputError: images must lie in [0, 1]; found values from 255 to 255. Divide 8-bit pixels \
by 255 and leave normalisation to the classifier.
    """
    if images.ndim != 4:
        raise InputError(f"images must have shape (N, C, H, W); found {tuple(images.shape)}.")
    if not images.is_floating_point():
        raise InputError(f"images must be floating point in [0, 1]; found {images.dtype}. Divide 8-bit pixels by 255.")
    if channels is not None and images.shape[1] != channels:
        raise InputError(f"the classifier takes {channels} channel(s); found images with {images.shape[1]}.")
    if images.numel() == 0:
        return
    low, high = (float(v) for v in images.detach().aminmax())
    if not (low >= -PIXEL_TOLERANCE and high <= 1 + PIXEL_TOLERANCE):  # also catches NaN
        raise InputError(
            f"images must lie in [0, 1]; found values from {low:g} to {high:g}. "
            "Divide 8-bit pixels by 255 and leave normalisation to the classifier."
        )


def in_unit_range(pixels: Tensor) -> Tensor:
    """Pixels as float32 in [0, 1]: uint8 over 255, uint16 over 65535, floating point as it is.

    Example:
        >>> import torch
        >>> in_unit_range(torch.tensor([0, 65535], dtype=torch.uint16))
        tensor([0., 1.])
    """
    import torch

    if pixels.dtype == torch.uint8:
        return pixels.float().div_(255)
    return pixels.float().div_(65535) if pixels.dtype == torch.uint16 else pixels.float()


def device_of(module: nn.Module) -> torch.device:
    """The device that a module's first parameter (or buffer) lives on; the CPU if it has none."""
    import torch

    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")
