"""The 1,000 classes of ImageNet (ILSVRC 2012) in the order in which networks are trained on them."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def imagenet_classes() -> tuple[str, ...]:
    """Their WordNet ids, sorted, as the folders of the images are called.

    Example:
        >>> len(imagenet_classes()), imagenet_classes()[0]
        (1000, 'n01440764')
    """
    return tuple((files("pellucid.utils") / "imagenet_classes.txt").read_text(encoding="ascii").split())
