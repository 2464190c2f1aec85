"""The 1,000 classes of ImageNet (ILSVRC 2012) in the order in which networks are trained on them."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


def imagenet_classes() -> tuple[str, ...]:
    """Their WordNet ids, sorted, as the folders of the images are called.

    Example:
        >>> len(imagenet_classes()), imagenet_classes()[0]
        (1000, 'n01440764')
    """
    return tuple(imagenet_names())


@cache
def imagenet_names() -> dict[str, str]:
    """What they are called, by WordNet id: the first word that WordNet 3.0 has for each.

    Two pairs have the same first word, of which one has a second beside it: cranes are birds or machines, and maillots
    cover more or less.

    Example:
        >>> imagenet_names()["n01440764"], imagenet_names()["n02012849"], imagenet_names()["n03126707"]
        ('tench', 'crane bird', 'crane')
    """
    lines = (files("pellucid.utils") / "imagenet_classes.txt").read_text(encoding="ascii").splitlines()
    return dict(line.split(" ", 1) for line in lines)
