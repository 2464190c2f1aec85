"""The words that every package shares: task, box, batch, the classifier contract."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, Self, get_args, runtime_checkable

if TYPE_CHECKING:  # the command line reads these words before it needs torch
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import Tensor, nn

    Pixels = npt.NDArray[np.uint8 | np.uint16]  # from black to white over the full range of the type

Task = Literal["multiclass", "multilabel"]

PIXEL_TOLERANCE = 1e-4  # what rounding in a resize or a normalisation may leave outside [0, 1]


class InputError(ValueError):
    """Input that a person can mend: the message says what was found, what was expected and what to do.

    Example:
        >>> import pellucid as pl
        >>> try:
        ...     pl.dataset("phantom", split="tset", size=32, train=1, validation=1, test=1)
        ... except InputError as error:
        ...     print(error)
        phantom has no 'tset' part; it has: train, validation, test.
    """


class Box(NamedTuple):
    """An axis-aligned rectangle in pixels of the image as given to the network, origin at the top left.

    Covers the half-open ranges [x, x + width) and [y, y + height).

    Example:
        >>> Box(10, 20, width=30, height=40).area
        1200
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

    Example:
        >>> import torch
        >>> upper = torch.zeros(1, 1, 4, 4)
        >>> upper[..., :2, :] = 1  # for class 2, the network should not look at the upper half of the image
        >>> marks = Marks(torch.tensor([[2]]), relevant=torch.zeros(1, 1, 4, 4), irrelevant=upper)
        >>> float(marks.irrelevant.mean())
        0.5
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

    Example:
        >>> import torch
        >>> batch = Batch(torch.rand(2, 1, 8, 8), torch.tensor([0, 1]), torch.arange(2))
        >>> batch.images.shape, batch.marks is None
        (torch.Size([2, 1, 8, 8]), True)
    """

    images: Tensor
    targets: Tensor
    indices: Tensor
    marks: Marks | None = None


Fit = Literal["stretch", "crop", "cut", "pad"]
Interpolation = Literal["bilinear", "bicubic", "lanczos", "box", "hamming", "nearest"]

_WITHOUT_ANTIALIAS = ("bilinear", "bicubic")  # those that torch's resize knows


@dataclass(frozen=True)
class Geometry:
    """How an image of any size becomes the rectangle that a network takes.

    Attributes:
        fit: `stretch` changes height and width each to what is asked for; `crop` scales both by the same factor and
            cuts the rectangle out of the centre; `cut` first cuts out of the centre the largest part of its shape, and
            resizes that, as torchxrayvision does; `pad` scales both by the same factor until the whole image fits, and
            fills the rest on both sides alike.
        resize: of `crop`, the shorter side before the rectangle is cut out; None for as small as covers it. Of
            `stretch`, the side of a square that the image is stretched to first, of which the rectangle is then cut
            out; None for the rectangle itself. `cut` and `pad` have none.
        interpolation: the filter of the resize. With antialiasing it is Pillow's of that name, which averages over all
            source pixels when it shrinks; `bilinear` is Pillow's triangle.
        antialias: False for `torch.nn.functional.interpolate` without antialiasing (align_corners=False), bilinear or
            bicubic, rounded to the image's own bits; as torchvision's resize of a tensor with antialias=False.
        offset: where a crop begins when an odd number of pixels is cut off: `round` to the even one, as torchvision and
            timm do, or `floor`, as transformers does. A `cut` begins where torchxrayvision's does: at half of the image
            less half of the part, each rounded down.
        fill: of `pad`, the value of what is beside the image, from 0 (black) to 1 (white).

    Raises:
        InputError: settings that contradict each other.

    Example:
        >>> str(Geometry("crop", resize=256, interpolation="bicubic"))
        'crop of 256, bicubic'
    """

    fit: Fit = "stretch"
    resize: int | None = None
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    offset: Literal["round", "floor"] = "round"
    fill: float = 0.0

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("fit", self.fit, get_args(Fit)),
            ("interpolation", self.interpolation, get_args(Interpolation)),
            ("offset", self.offset, ("round", "floor")),
        ):
            if value not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}; found {value!r}.")
        if self.resize is not None and not _is_length(self.resize):
            raise InputError(f"resize must be a positive whole number of pixels; found {self.resize!r}.")
        if self.fit == "pad" and self.resize is not None:
            raise InputError(f"pad makes the whole image fit and takes no resize; found {self.resize}.")
        if self.fit == "cut" and (self.resize is not None or self.offset != "round"):
            raise InputError(
                "cut takes the largest part from the centre and resizes that: it has neither a resize nor a floor."
            )
        if not self.antialias and self.interpolation not in _WITHOUT_ANTIALIAS:
            raise InputError(
                f"without antialiasing there are {' and '.join(_WITHOUT_ANTIALIAS)}; found {self.interpolation}."
            )
        if not 0 <= self.fill <= 1:
            raise InputError(f"fill must lie between 0 (black) and 1 (white); found {self.fill!r}.")
        if self.fill and self.fit != "pad":
            raise InputError(f"only pad has pixels to fill; found fill {self.fill:g} with {self.fit}.")

    @classmethod
    def of_share(cls, size: int, share: float, interpolation: Interpolation = "bilinear") -> Self:
        """A crop of `size` that is this share of the shorter side, as timm's `crop_pct` has it.

        Example:
            >>> Geometry.of_share(224, 0.875, "bicubic").resize
            256
        """
        if not 0 < share <= 1:
            raise InputError(f"the share of an image that a crop is lies above 0 and is at most 1; found {share!r}.")
        return cls("crop", resize=math.floor(size / share), interpolation=interpolation)

    def __str__(self) -> str:
        words = [self.fit if self.resize is None else f"{self.fit} of {self.resize}", self.interpolation]
        words += [] if self.antialias else ["no antialiasing"]
        words += ["floored offset"] if self.offset == "floor" else []
        words += [f"filled with {self.fill:g}"] if self.fill else []
        return ", ".join(words)


@dataclass(frozen=True)
class InputSpec:
    """What a classifier expects of its images.

    Attributes:
        channels: of an image.
        height: in pixels.
        width: in pixels.
        geometry: how an image of another size is brought to this one.

    Raises:
        InputError: no positive whole numbers, or a crop that is larger than what it is cut out of.

    Example:
        >>> InputSpec.square(3, 224).shape
        (3, 224, 224)
        >>> InputSpec.parse("crop:256:224:bicubic", channels=3).geometry
        Geometry(fit='crop', resize=256, interpolation='bicubic', antialias=True, offset='round', fill=0.0)
    """

    channels: int
    height: int
    width: int
    geometry: Geometry = Geometry()  # frozen

    def __post_init__(self) -> None:
        for name, value in (("channels", self.channels), ("height", self.height), ("width", self.width)):
            if not _is_length(value):
                raise InputError(f"an image's {name} must be a positive whole number; found {value!r}.")
        resize = self.geometry.resize
        if resize is not None and resize < max(self.height, self.width):
            raise InputError(
                f"an image resized to {resize} has no crop of {self.height} × {self.width} pixels in it: give a resize "
                f"of {max(self.height, self.width)} or more."
            )

    @classmethod
    def square(cls, channels: int, size: int, geometry: Geometry = Geometry()) -> Self:
        """Of images as high as they are wide."""
        return cls(channels, size, size, geometry)

    @classmethod
    def parse(cls, text: str, channels: int) -> Self:
        """From ``FIT[:RESIZE]:SIZE[:INTERPOLATION]`` and, after it, `no-antialias`, `floor` or ``fill=VALUE``.

        SIZE is one number, or ``HEIGHTxWIDTH``.

        Raises:
            InputError: a text of another form.

        Example:
            >>> InputSpec.parse("pad:320x256:fill=0.5", channels=1).preprocess
            'pad:320x256:bilinear:fill=0.5'
        """
        fit, *rest = text.strip().split(":")
        numbers: list[str] = []
        words: list[str] = []
        for part in rest:
            (words if words or not part[:1].isdigit() else numbers).append(part)
        try:
            *resize, size = numbers
            height, width = [int(side) for side in size.split("x")] * (1 if "x" in size else 2)
            settings: dict[str, Any] = {"resize": int(resize[0])} if resize else {}
            if len(resize) > 1:
                raise ValueError
        except ValueError as error:
            raise InputError(f"{text!r} is not FIT[:RESIZE]:SIZE[:INTERPOLATION], as crop:256:224:bicubic.") from error
        for word in words:
            if word == "no-antialias":
                settings["antialias"] = False
            elif word == "floor":
                settings["offset"] = "floor"
            elif word.startswith("fill="):
                try:
                    settings["fill"] = float(word.removeprefix("fill="))
                except ValueError as error:
                    raise InputError(f"{text!r}: fill needs a number from 0 to 1; found {word!r}.") from error
            else:
                settings["interpolation"] = word
        return cls(channels, height, width, Geometry(fit, **settings))  # type: ignore[arg-type]  # it looks itself

    @property
    def preprocess(self) -> str:
        """Height, width and geometry as `parse` reads them."""
        geometry = self.geometry
        size = f"{self.height}" if self.height == self.width else f"{self.height}x{self.width}"
        parts = [geometry.fit, *([] if geometry.resize is None else [str(geometry.resize)]), size]
        parts += [geometry.interpolation, *([] if geometry.antialias else ["no-antialias"])]
        parts += ["floor"] if geometry.offset == "floor" else []
        return ":".join(parts + ([f"fill={geometry.fill:g}"] if geometry.fill else []))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image: channels, height, width."""
        return self.channels, self.height, self.width

    @property
    def size_text(self) -> str:
        """Height and width in pixels, for people."""
        return f"{self.height} × {self.width}"


def _is_length(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


@runtime_checkable
class Classifier(Protocol):
    """A network that takes pixels in [0, 1]; its normalisation is inside.

    `features` and `head` exist where the network is convolution → global average pooling → linear; then
    ``forward(x) == head(features(x).mean((2, 3)))`` and class activation maps need no gradient.
    `has_linear_head` says whether they do.

    Example:
        >>> import pellucid as pl
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        >>> model = pl.wrap(net, ["a", "b"], size=4, channels=1, mean=[0.5], std=[0.25], outputs="logits")
        >>> isinstance(net, Classifier), isinstance(model, Classifier)
        (False, True)
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
    """The device that a module's first parameter (or buffer) lives on; the CPU if it has none.

    Example:
        >>> from torch import nn
        >>> device_of(nn.Linear(2, 2)), device_of(nn.ReLU())
        (device(type='cpu'), device(type='cpu'))
    """
    import torch

    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")
