"""The words that every room of the project shares: task, box, batch, the classifier contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:  # the command line reads these words before it needs torch
    import torch
    from torch import Tensor, nn

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


class Batch(NamedTuple):
    """Images and what is known of them, on one device.

    Attributes:
        images: float32 (N, C, H, W) in [0, 1].
        targets: int64 (N,) for a multiclass task; float32 (N, K), NaN where unknown, for a multi-label one.
        indices: int64 (N,), the rows of the dataset that the images come from.
    """

    images: Tensor
    targets: Tensor
    indices: Tensor


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


def device_of(module: nn.Module) -> torch.device:
    """The device that a module's first parameter (or buffer) lives on; the CPU if it has none."""
    import torch

    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")
