"""The drawing of the phantom's normal chest: soft tissue, bones and vessels on top of an anatomy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pellucid.data.readers.phantom.anatomy import ABDOMEN, FLANK, MEDIASTINUM, Grid, bump, field, smooth

if TYPE_CHECKING:
    from collections.abc import Callable

    from pellucid.data.readers.phantom.anatomy import Anatomy, Array, Numbers, Stream


@dataclass(frozen=True)
class Detail:
    """The irregularities of one patient's chest, which only its drawing needs.

    Attributes:
        fields: (2, 8, 8) grids of the slow unevenness.
        texture: (48, 48) grid of the fine texture of the lungs.
        vessels: (2, 7, 43) the shapes of the vessels of both lungs.
    """

    fields: Numbers
    texture: Numbers
    vessels: Numbers

    @classmethod
    def draw(cls, patient: Stream) -> Detail:
        """The detail of one patient."""
        return cls(
            patient.uniform(128).reshape(2, 8, 8),
            patient.uniform(2304).reshape(48, 48),
            patient.uniform(602).reshape(2, 7, 43),
        )


@dataclass(frozen=True)
class Chest:
    """A chest as drawn, without findings.

    Attributes:
        attenuation: (size, size), without the markings of the lung.
        markings: (size, size), vessels and fine texture of the lung; a pneumothorax takes them away.
    """

    attenuation: Array
    markings: Array


def draw_chest(anatomy: Anatomy, detail: Detail, grid: Grid) -> Chest:
    """The chest of `anatomy` on a grid of the whole image; its heart is the normal one."""
    u, v, t = grid.u, grid.v, anatomy.traits
    au = np.abs(u)
    wall, slope = anatomy.wall(v)
    cage = anatomy.cage(grid, (wall, slope))
    below, mediastinum = anatomy.below(grid), anatomy.mediastinum(grid)
    slow = [field(values, grid) for values in detail.fields]

    heart = anatomy.heart_shadow(grid, anatomy.normal_heart)
    covers = np.maximum(mediastinum * MEDIASTINUM, heart)
    flank = FLANK + 0.10 * t[14]
    abdomen = smooth((wall + 0.05 - au) * (1 / 0.13))  # thins towards the side
    abdomen *= ABDOMEN - flank
    abdomen += flank - 0.06 * slow[0]
    abdomen *= below
    _add(abdomen, anatomy, grid, (0.04, 0.30, anatomy.left + 0.02, anatomy.left + 0.13), _stomach_gas)
    np.maximum(covers, abdomen, out=covers)
    np.maximum(covers, (1.0 - cage) * flank, out=covers)

    share = np.minimum(au / wall, 1.26)
    share *= share
    share *= share
    tissue = covers + 0.08 * share
    tissue += (0.03 + 0.07 * t[15]) * bump((v - 0.62) * (1 / 0.30))  # breasts, or the muscles of the back
    tissue += 0.10 * np.maximum(0.42 - v, 0.0)
    tissue += 0.07 * slow[1]
    tissue += 0.165

    edge = anatomy.half + 0.03
    bones = np.zeros_like(u)
    _add(bones, anatomy, grid, (-edge, edge, anatomy.apex - 0.03, 0.83), partial(_ribs, detail))
    clear = 1.0 - 0.75 * mediastinum
    clear *= 1.0 - 0.75 * below
    bones *= clear
    tissue += bones
    _add(tissue, anatomy, grid, (-0.06, 0.06, -0.1, 1.1), _spine)
    _add(tissue, anatomy, grid, (-0.7, 0.7, anatomy.apex - 0.06, 0.54), _shoulder_girdle)
    _add(tissue, anatomy, grid, (-0.5, 0.5, anatomy.apex - 0.06, anatomy.apex + 0.13), _clavicles)
    tissue *= _body(anatomy, grid, au)

    markings = np.zeros_like(u)
    lungs = grid.window(anatomy.pose, (-edge, edge, anatomy.apex - 0.02, anatomy.left + anatomy.angle + 0.02))
    at = (lungs.rows, lungs.columns)
    inside = field(detail.texture, lungs)
    inside -= 0.5
    inside *= 0.028
    inside += _vessels(anatomy, detail.vessels, grid)[at]
    inside *= clear[at]
    inside *= cage[at] * (1.0 - 1.4 * heart[at])
    markings[at] = inside
    return Chest(tissue, markings)


def _add(
    target: Array,
    anatomy: Anatomy,
    grid: Grid,
    bounds: tuple[float, float, float, float],
    part: Callable[[Anatomy, Grid], Array],
) -> None:
    """Draw a part that lies within `bounds` of the body, and nowhere else, onto `target`."""
    window = grid.window(anatomy.pose, bounds)
    target[window.rows, window.columns] += part(anatomy, window)


def _body(anatomy: Anatomy, grid: Grid, au: Array) -> Array:
    """0 outside the body to 1 inside, thinning towards the skin."""
    t = anatomy.traits
    high = np.maximum(0.52 - grid.v, 0.0)
    side = (2.6 * high) * high
    side += anatomy.half + 0.055 + 0.06 * t[16]
    side -= au
    neck = np.maximum(au - (0.045 + 0.02 * t[17]), 0.004)
    top = 0.012 / neck
    top -= 0.12 * np.maximum(au - 0.30, 0.0)
    top += grid.v
    top -= 0.125 + 0.03 * t[18]
    inside = np.minimum(side, top)
    rest = 1.0 - np.minimum(np.maximum(inside, 0.0) * (1 / 0.11), 1.0)
    rest *= rest
    np.subtract(1.0, rest, out=rest)
    rest *= grid.step(inside - 0.004, 0.008)
    return rest


def _stomach_gas(anatomy: Anatomy, grid: Grid) -> Array:
    t = anatomy.traits
    p = (grid.u - (0.15 + 0.05 * t[19])) * (1 / (0.05 + 0.03 * t[20]))
    q = (grid.v - (anatomy.left + 0.075)) * (1 / (0.025 + 0.015 * t[21]))
    return (-0.05 - 0.16 * t[22]) * bump(np.sqrt(p * p + q * q) * 0.8)


def _rib_profile(phase: Array, half: float) -> Array:
    """A rib across its width: a body with brighter cortical edges; `phase` counts ribs."""
    offset = phase - np.floor(phase)
    offset -= 0.5
    np.abs(offset, out=offset)
    body = smooth((half - offset) * (1 / 0.09) + 0.5)
    body *= 0.62
    offset -= half - 0.05
    offset *= 1 / 0.085
    body += 0.5 * bump(offset)
    return body


def _ribs(detail: Detail, anatomy: Anatomy, grid: Grid) -> Array:
    t = anatomy.traits
    au = np.abs(grid.u)
    wall, _ = anatomy.wall(grid.v)
    s = np.minimum(au / wall, 1.05)
    s2 = s * s
    v = grid.v - anatomy.apex
    wave = 0.018 * (field(detail.fields[0], grid) - 0.5)
    spacing = 0.070 + 0.008 * t[23]
    steep = 0.85 + 0.3 * t[24]
    back = v - (steep * 0.15) * s2 * s
    back += (steep * 0.07) * s
    back += wave
    posterior: Array = _rib_profile(back * (1 / spacing) + t[25] * 0.3, 0.235)
    posterior *= 0.055 + 0.030 * s2
    front = v - (steep * 0.26 - (steep * 0.20) * s2) * smooth(1.15 - s)
    front -= wave
    anterior = _rib_profile(front * (1 / (spacing * 1.12)) + t[26], 0.20)
    anterior *= smooth((s - 0.30) * (1 / 0.25))
    anterior *= 0.05 * smooth((v - 0.10) * (1 / 0.08))
    posterior += anterior
    outside = au - wall
    posterior *= 1.0 - smooth(outside * (1 / 0.02))
    posterior += 0.05 * bump((outside - 0.006) * (1 / 0.014))  # the ribs seen end on
    posterior *= smooth((v + 0.02) * (1 / 0.03))
    posterior *= (0.75 + 0.5 * t[27]) * smooth((0.82 - grid.v) * (1 / 0.12))
    return posterior


def _spine(anatomy: Anatomy, grid: Grid) -> Array:
    """The vertebrae with their discs, pedicles and processes, and the dark windpipe before them."""
    t = anatomy.traits
    au = np.abs(grid.u)
    phase = grid.v * (1 / (0.052 + 0.006 * t[28])) + t[29]
    phase = phase - np.floor(phase)
    disc = 4.0 * phase * (1.0 - phase)
    band = smooth((0.040 + 0.006 * t[30] - au) * (1 / 0.014) + 0.5)
    pedicles = bump((au - 0.024) * (1 / 0.009)) * bump((phase - 0.4) * (1 / 0.22))
    process = bump(au * (1 / 0.007)) * bump((phase - 0.75) * (1 / 0.22))
    bone: Array = band * (0.05 + 0.045 * smooth(disc * 1.6)) + 0.05 * (pedicles + process)
    air = 0.13 * grid.step(0.019 - np.abs(grid.u - 0.006), 0.014) * smooth((0.40 - grid.v) * (1 / 0.08))
    bone *= 1.0 - 0.5 * anatomy.below(grid)
    bone -= air
    return bone


def _shoulder_girdle(anatomy: Anatomy, grid: Grid) -> Array:
    """Clavicles, the inner border of the shoulder blades, and muscle and bone of the shoulders."""
    t = anatomy.traits
    au = np.abs(grid.u)
    edge = au - grid.v * 0.16
    edge -= anatomy.half - 0.063 + 0.05 * t[33]
    blade = smooth(edge * (1 / 0.03))
    blade *= 0.045
    blade += 0.05 * bump((edge - 0.008) * (1 / 0.014))
    blade *= smooth((grid.v - 0.20) * (1 / 0.08))
    blade *= smooth((0.52 - grid.v - 0.6 * edge) * (1 / 0.10))
    wall, _ = anatomy.wall(grid.v)
    muscle = 0.13 * smooth((au - wall) * (1 / 0.03))
    muscle *= smooth((au - 0.22) * (1 / 0.2))
    muscle *= bump((grid.v - 0.26) * (1 / 0.24))
    blade += muscle
    # the head of the humerus, partly in the picture
    ru, rv = (au - (anatomy.half + 0.085)) * (1 / 0.075), (grid.v - (anatomy.apex + 0.085)) * (1 / 0.075)
    blade += 0.06 * smooth((1.0 - np.sqrt(ru * ru + rv * rv)) * 2.2)
    return blade


def _clavicles(anatomy: Anatomy, grid: Grid) -> Array:
    t = anatomy.traits
    p = (np.abs(grid.u) - 0.035) * (1 / 0.40)
    lift = 0.05 + 0.05 * np.where(grid.u < 0, t[31], 0.6 * t[31] + 0.4 * t[32]).astype(np.float32)
    centre = anatomy.apex + 0.085 - lift * p - 0.05 * p * (1.0 - p) * (1.0 - 2.2 * p)
    across = np.abs(grid.v - centre) * (1 / (0.0155 + 0.008 * np.maximum(1.0 - 4.0 * p, 0.0)))
    collar = 0.55 * smooth((1.0 - across) * 2.5 + 0.2) + 0.45 * bump((across - 0.8) * 2.2)
    return 0.15 * collar * smooth(p * (1 / 0.04)) * smooth((1.05 - p) * (1 / 0.1))


def _vessels(anatomy: Anatomy, r: Numbers, grid: Grid) -> Array:
    """The vessels of both lungs: branches of three orders from the hila, tapering outwards."""
    size = grid.size
    side = np.array([-1.0, 1.0])[:, None]
    hilum_v = 0.44 + 0.02 * anatomy.traits[34] + np.array([0.012, -0.004])[:, None]
    start_u, start_v = 0.078 + 0.022 * r[:, :, 0], hilum_v + 0.06 * (r[:, :, 1] - 0.5)
    fan = (np.arange(7) + 0.7 * r[:, :, 2]) / 7.0
    end_v = anatomy.apex + 0.05 + fan * (anatomy.right - anatomy.apex - 0.01)
    middle = 1.0 - (2 * fan - 1) * (2 * fan - 1)
    end_u = 0.13 + 0.11 * middle + 0.10 * r[:, :, 3]
    bend_u, bend_v = 0.04 * (r[:, :, 4] - 0.2), 0.05 * (r[:, :, 5] - 0.5)
    width = 0.9 + 0.5 * r[:, :, 6]
    start, end, bend = (start_u, start_v), (end_u, end_v), (bend_u, bend_v)
    thick, thin = _Canvas(size), _Canvas(size)
    pose = anatomy.pose
    for order, share in enumerate((0.34, 0.17, 0.10)):
        count = max(int(size * share), 4)
        p = ((np.arange(count) + 0.5) / count).reshape((1,) * start[0].ndim + (-1,))
        arch = p * (1 - p) * 2
        u = start[0][..., None] * (1 - p) + end[0][..., None] * p + bend[0][..., None] * arch
        v = start[1][..., None] * (1 - p) + end[1][..., None] * p + bend[1][..., None] * arch
        length = np.abs(end[0] - start[0]) + np.abs(end[1] - start[1])
        weight = width[..., None] * (1.0 - 0.8 * p) * (length[..., None] * size / count)
        x, y = pose.to_image(u * side.reshape((2,) + (1,) * (u.ndim - 1)), v)
        if order == 0:
            thick.add(x, y, weight * np.maximum(1.0 - 1.6 * p, 0.0) * 0.9)
        thin.add(x, y, weight * 0.8)
        if order == 2:
            break
        children, offset = (3, 7) if order == 0 else (2, 19)
        shape = (2, 7, children) if order == 0 else (2, 7, 3, 2)
        many = 4 * int(np.prod(shape[2:]))
        d = r[:, :, offset : offset + many].reshape((*shape, 4))
        q = 0.25 + 0.6 * d[..., 0]
        du, dv = (end[0] - start[0])[..., None], (end[1] - start[1])[..., None]
        turn = np.where(d[..., 1] > 0.5, 1.0, -1.0) * (0.45 + 0.5 * d[..., 2])
        scale = (0.40 + 0.35 * d[..., 3]) * (1.1 - 0.6 * q)
        arch_q = q * (1 - q) * 2
        start = (
            start[0][..., None] + du * q + bend[0][..., None] * arch_q,
            start[1][..., None] + dv * q + bend[1][..., None] * arch_q,
        )
        end = (start[0] + scale * (du - turn * dv), start[1] + scale * (dv + turn * du))
        bend = (0.15 * scale * turn * dv, -0.15 * scale * turn * du)
        width = width[..., None] * (0.75 - 0.35 * q)
    return 0.105 * thick.blurred(0.017) + 0.075 * thin.blurred(0.007)


class _Canvas:
    """Points with weights, spread over the four pixels around each."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._points: list[tuple[Numbers, Numbers, Numbers]] = []

    def add(self, x: Numbers, y: Numbers, weight: Numbers) -> None:
        """Add points, in the image; those outside it go to its border."""
        self._points.append((x.ravel(), y.ravel(), weight.ravel()))

    def _sum(self) -> Array:
        n = self._size
        x, y, w = (np.concatenate(part) for part in zip(*self._points, strict=True))
        p = np.minimum(np.maximum(x * n - 0.5, 0.0), n - 1.0)
        q = np.minimum(np.maximum(y * n - 0.5, 0.0), n - 1.0)
        i, j = p.astype(np.int64), q.astype(np.int64)
        right, below, at = (p - i) * w, q - j, j * (n + 1) + i
        left = w - right
        bottom_left, bottom_right = left * below, right * below
        places = np.concatenate([at, at + 1, at + (n + 1), at + (n + 2)])
        shares = np.concatenate([left - bottom_left, right - bottom_right, bottom_left, bottom_right])
        return np.bincount(places, shares, minlength=(n + 1) * (n + 1)).astype(np.float32)

    def blurred(self, width: float) -> Array:
        """The sum, smeared over `width` of the image without losing its peaks."""
        n = self._size
        field = self._sum().reshape(n + 1, n + 1)[:n, :n]
        k = max(round(width * n), 1)
        if k > 1:
            padded = np.zeros((n + k - 1, n), np.float32)
            for i in range(k):
                padded[i : i + n] += field
            wide = np.zeros((n + k - 1, n + k - 1), np.float32)
            for i in range(k):
                wide[:, i : i + n] += padded
            first = (k - 1) // 2
            field = wide[first : first + n, first : first + n] * np.float32(1 / k)
        return np.minimum(field, 2.2)
