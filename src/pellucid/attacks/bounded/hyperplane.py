"""The nearest point of a hyperplane inside the pixel box: the step of FAB, solved exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.attacks.epsilon import Norm


def onto_hyperplane(points: Tensor, normal: Tensor, change: Tensor, norm: Norm) -> Tensor:
    """The shortest z with ``normal · z = change`` and points + z in [0, 1].

    Each value moves until it meets the box: ``z_i = ±min(s · c_i, room_i)`` with c = 1 for `linf` and c = abs(normal)
    for `l2`. What that reaches grows piecewise linearly with s, and s is read off between two of its corners. Where the
    box is too small, every value goes as far as it can.

    Args:
        points: (n, C, H, W) in [0, 1].
        normal: (n, C, H, W).
        change: (n,), by how much the linear function is to grow.
        norm: `linf` or `l2`.

    Returns:
        z (n, C, H, W).

    Source:
        Croce & Hein 2020, "Minimally distorted adversarial examples with a fast adaptive boundary attack", section 2.

    Example:
        >>> points, normal = torch.tensor([[[[0.5, 0.9]]]]), torch.ones(1, 1, 1, 2)
        >>> onto_hyperplane(points, normal, torch.tensor([0.4]), "l2").flatten()  # the second meets the box
        tensor([0.3000, 0.1000])
    """
    flat = points.flatten(1)
    slope = normal.flatten(1) * change.sign()[:, None]
    weight = slope.abs()
    room = torch.where(slope > 0, 1 - flat, flat).clamp_min(0)
    pace = torch.ones_like(weight) if norm == "linf" else weight
    moves = weight > 0
    corner = torch.where(moves, room / pace.clamp_min(torch.finfo(weight.dtype).tiny), torch.inf)
    corner, order = corner.sort(1)
    gain, limit = (weight * pace).gather(1, order), (weight * room).gather(1, order)
    stopped = limit.cumsum(1)  # what the values whose corner is passed contribute
    moving = gain.sum(1, keepdim=True) - gain.cumsum(1)
    finite = corner.isfinite()
    reached = stopped + torch.where(finite, corner, 0.0) * moving.clamp_min(0)
    passed = ((reached < change.abs()[:, None]) & finite).sum(1, keepdim=True)
    before = (passed - 1).clamp_min(0)
    has_passed = passed > 0
    stopped_gain = torch.where(has_passed, stopped.gather(1, before), torch.zeros_like(stopped[:, :1]))
    moving_gain = torch.where(has_passed, moving.gather(1, before), gain.sum(1, keepdim=True))
    size = (change.abs()[:, None] - stopped_gain) / moving_gain.clamp_min(torch.finfo(weight.dtype).tiny)
    size = torch.where(passed >= finite.sum(1, keepdim=True), torch.inf, size)  # the box is too small
    step = torch.where(moves, torch.minimum(size * pace, room), 0.0)
    return (slope.sign() * step).view_as(points)
