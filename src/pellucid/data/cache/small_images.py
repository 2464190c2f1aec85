"""Images that are smaller than what they are fitted to: how many, the smallest, and the sentence about them."""

from __future__ import annotations

import re
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pellucid.utils.settings import Section
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pellucid.data.placement import Placement
    from pellucid.types import InputSpec

CROPS = ("crop", "cut")  # geometries that take as much as covers the frame
FAR = 2
"""Without a crop: images that are enlarged to more than so many times their height or width are told of."""
_BLURRED = {True: "It looks blurred", False: "They look blurred"}


class SmallImagesWarning(UserWarning):
    """Images are far smaller than what they are fitted to."""


class SmallImages(Section):
    """How many images are small for what they are fitted to.

    Attributes:
        images: how many.
        smallest: height and width of the one with the shortest side; None where there is none.
    """

    images: int = 0
    smallest: tuple[int, int] | None = None

    @classmethod
    def together(cls, parts: Iterable[SmallImages]) -> SmallImages:
        """Those of several parts.

        Example:
            >>> SmallImages.together([SmallImages(), SmallImages(images=2, smallest=(31, 90))])
            SmallImages(images=2, smallest=(31, 90))
        """
        counts = list(parts)
        sizes = [part.smallest for part in counts if part.smallest is not None]
        smallest = min(sizes, key=lambda size: (min(size), size)) if sizes else None
        return cls(images=sum(part.images for part in counts), smallest=smallest)

    def sentence(self, images: int, spec: InputSpec) -> str:
        """What is said of them; an empty text where there is none.

        Args:
            images: how many there are in all.
            spec: what they are fitted to.

        Example:
            >>> from pellucid.types import InputSpec
            >>> SmallImages(images=12, smallest=(31, 90)).sentence(100, InputSpec.parse("crop:256:224", 3))
            'Of 100 images, 12 are smaller than the crop (224 × 224 pixels) and were enlarged for the network: the \
smallest has 31 × 90 pixels. They look blurred to it.'
        """
        if self.smallest is None:
            return ""
        one, (height, width) = self.images == 1, self.smallest
        what = f"{'was' if one else 'were'} enlarged for the network"
        if spec.geometry.fit in CROPS:
            what = f"{'is' if one else 'are'} smaller than the crop {_size(spec)} and {what}"
        else:
            what = f"{what} {_size(spec)} to more than twice {'its' if one else 'their'} height or width"
        which = f"{'it' if one else 'the smallest'} has {height} × {width} pixels"
        return f"Of {number_of(images, 'image(s)')}, {self.images:,} {what}: {which}. {_BLURRED[one]} to it."

    def warn(self, images: int, spec: InputSpec, name: str) -> None:
        """Tell whoever runs it, where there is any."""
        if text := self.sentence(images, spec):
            warnings.warn(f"{name}: {text[0].lower()}{text[1:]}", SmallImagesWarning, stacklevel=3)


def small_image(place: Placement, spec: InputSpec) -> SmallImages:
    """One image as a count: 1 where it is lower or narrower than the crop, or, without a crop, `FAR` enlarged."""
    assert place.native is not None
    if spec.geometry.fit in CROPS:
        small = any(own < cut for own, cut in zip(place.native, place.frame, strict=True))
    else:
        small = any(scaled > FAR * own for own, scaled in zip(place.native, place.scaled, strict=True))
    return SmallImages(images=1, smallest=place.native) if small else SmallImages()


@contextmanager
def small_images_told(spec: InputSpec) -> Iterator[None]:
    """Inside, images that are small for this input are told of no more: all of them were before."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", f".*{re.escape(_size(spec))}", SmallImagesWarning)
        yield


def _size(spec: InputSpec) -> str:
    return f"({spec.height} × {spec.width} pixels)"
