"""Square Attack (Andriushchenko et al. 2020): random search with squares, which needs no gradient."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from pellucid.attacks.epsilon import scale_to

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.attacks.bounded.search import BoundedSearch

FIRST_SHARE = 0.8  # of the image that a square covers, as AutoAttack sets it
HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # queries
SMALLEST_L2 = 3  # side of a square, so that it has a middle
TILES = 5  # a side, of the first guess in L2


def square(search: BoundedSearch, rows: Tensor, *, queries: int) -> None:
    """Change squares at random and keep what lowers the margin; rows that fall leave at once.

    `queries` forward passes per row that stands to the end. It finds what gradients cannot where these are masked.

    Args:
        search: keeps what falls.
        rows: int64 (n,), on which.
        queries: at least 1, the first guess included.

    Source:
        Andriushchenko, Croce, Flammarion & Hein 2020, "Square attack: a query-efficient black-box adversarial attack
        via random search", algorithms 1 to 3 and section 3.3 (the schedule, here not stretched to `queries`).
    """
    first, propose = (_stripes, _signs) if search.norm == "linf" else (_tiles, _bumps)
    if not len(rows):
        return
    here = first(search, rows)
    value, _ = search.evaluate(here, rows, gradient=False)
    for number in range(1, queries):
        stands = ~search.fallen[rows]
        if not bool(stands.all()):
            rest = stands.nonzero().squeeze(1)
            rows, here, value = rows[rest], here[rest], value[rest]
        if not len(rows):
            return
        height, width = here.shape[2:]
        side = round(math.sqrt(_share(number - 1) * height * width))
        ahead = propose(search, rows, here, side)
        value_ahead, _ = search.evaluate(ahead, rows, gradient=False)
        better = value_ahead > value
        here = torch.where(better.view(-1, 1, 1, 1), ahead, here)
        value = torch.where(better, value_ahead, value)


def _share(number: int) -> float:
    """The share of the image's area that a square covers at a step.

    Example:
        >>> [_share(number) for number in (0, 11, 600, 4999)]
        [0.8, 0.4, 0.05, 0.00625]
    """
    return FIRST_SHARE / 2.0 ** sum(number > limit for limit in HALVED_AFTER)


def _random_sign(search: BoundedSearch, *shape: int) -> Tensor:
    coin = torch.rand(shape, generator=search.generator, device=search.images.device, dtype=search.images.dtype)
    return torch.where(coin < 0.5, -1.0, 1.0).to(search.images.dtype)


def _corner(search: BoundedSearch, count: int, places: int) -> Tensor:
    """Where a square begins along one axis, int64 (n,)."""
    return torch.randint(0, places, (count,), generator=search.generator, device=search.images.device)


def _windows(search: BoundedSearch, like: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of one random square per image: of the image (n, 1, 1), its rows (n, s, 1) and columns (n, 1, s)."""
    count, _, height, width = like.shape
    span = torch.arange(side, device=like.device)
    down = _corner(search, count, height - side + 1)[:, None, None] + span[None, :, None]
    right = _corner(search, count, width - side + 1)[:, None, None] + span[None, None, :]
    return torch.arange(count, device=like.device)[:, None, None], down, right


# L∞ ------------------------------------------------------------------------------------------------------------------


def _stripes(search: BoundedSearch, rows: Tensor) -> Tensor:
    """Vertical stripes of the full size, a sign per column and channel."""
    images = search.images[rows]
    count, channels, _, width = images.shape
    return (images + search.length * _random_sign(search, count, channels, 1, width)).clamp(0, 1)


def _signs(search: BoundedSearch, rows: Tensor, here: Tensor, side: int) -> Tensor:
    """One square per image moved to the ball's border, a sign per channel."""
    images = search.images[rows]
    count, channels, height, width = here.shape
    image, down, right = _windows(search, here, min(max(side, 1), height, width))
    sign = _random_sign(search, count, 1, 1, channels)
    ahead = here.clone()
    ahead[image, :, down, right] = (images[image, :, down, right] + search.length * sign).clamp(0, 1)
    return ahead


# L2 ------------------------------------------------------------------------------------------------------------------


def _tiles(search: BoundedSearch, rows: Tensor) -> Tensor:
    """A grid of bumps, each with its own sign per channel, of the full length."""
    images = search.images[rows]
    count, channels, height, width = images.shape
    side = max(min(height, width) // TILES, 1)
    up, over = (height - height // side * side) // 2, (width - width // side * side) // 2
    delta = torch.zeros_like(images)
    for down in range(up, height - side + 1, side):
        for right in range(over, width - side + 1, side):
            bump = _bump(search, count, side)
            delta[:, :, down : down + side, right : right + side] = bump * _random_sign(search, count, channels, 1, 1)
    return (images + scale_to(delta, search.length, "l2")).clamp(0, 1)


def _bumps(search: BoundedSearch, rows: Tensor, here: Tensor, side: int) -> Tensor:
    """Take the length of one square away and put it, with what is left of the ball, into another as a bump."""
    images, delta = search.images[rows], here - search.images[rows]
    count, channels, height, width = here.shape
    side = max(side, SMALLEST_L2)
    side = min(side + 1 - side % 2, height, width)  # odd
    first, second = _windows(search, here, side), _windows(search, here, side)
    in_both = torch.zeros(count, height, width, dtype=torch.bool, device=here.device)
    in_both[first] = True
    in_both[second] = True
    unused = (search.length**2 - delta.flatten(1).square().sum(1)).clamp_min(0)
    removed = (delta * in_both[:, None]).square().sum((2, 3))  # (n, C)
    old = delta[first[0], :, first[1], first[2]].permute(0, 3, 1, 2)  # (n, C, s, s)
    old = old / torch.linalg.vector_norm(old, dim=(2, 3), keepdim=True).clamp_min(1e-12)
    new = _bump(search, count, side) * _random_sign(search, count, channels, 1, 1) + old
    new = new / torch.linalg.vector_norm(new, dim=(2, 3), keepdim=True).clamp_min(1e-12)
    new = new * (removed + unused[:, None] / channels).sqrt()[:, :, None, None]
    ahead = delta.clone()
    ahead[second[0], :, second[1], second[2]] = 0.0
    ahead[first[0], :, first[1], first[2]] = new.permute(0, 2, 3, 1)
    return search.inside((images + scale_to(ahead, search.length, "l2")).clamp(0, 1), rows)


def _bump(search: BoundedSearch, count: int, side: int) -> Tensor:
    """A hill beside a valley of unit length (n, 1, s, s), the border between them upright or level."""
    half = side // 2
    shape = torch.zeros(side, side, device=search.images.device, dtype=search.images.dtype)
    shape[:half] = _hill(half, side).to(shape)
    shape[half:] = -_hill(side - half, side).to(shape)
    shape = shape / torch.linalg.vector_norm(shape).clamp_min(1e-12)
    upright = _random_sign(search, count, 1, 1, 1) > 0
    return torch.where(upright, shape, shape.T)


def _hill(height: int, width: int) -> Tensor:
    """Concentric rectangles, each adding less than the one inside it: ``Σ 1 / k²`` over those that hold a pixel."""
    down = (torch.arange(height) - height // 2).abs()[:, None]
    right = (torch.arange(width) - width // 2).abs()[None, :]
    layers = max(height, width) // 2 + 1
    weights = 1.0 / torch.arange(1, layers + 1, dtype=torch.float64).square()
    outer = weights.flip(0).cumsum(0).flip(0)  # all rectangles from the k-th outwards
    hill = outer[torch.maximum(down, right).clamp_max(layers - 1)]
    return hill / torch.linalg.vector_norm(hill).clamp_min(1e-12) if hill.numel() else hill
