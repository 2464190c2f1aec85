"""Superpixels: edges, connectedness, and images in which there is nothing to follow."""

from __future__ import annotations

import pytest
import torch
from scipy import ndimage

from pellucid.data.registry import open_dataset
from pellucid.explainers import superpixels
from pellucid.types import InputError


def in_one_piece(parts):
    return all(ndimage.label(parts.numpy() == one)[1] == 1 for one in range(int(parts.max()) + 1))


def two_halves(low=0.2, high=0.8, height=30, width=41):
    """A slanted edge: it agrees with no grid."""
    down, across = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    side = (across + 0.5 * down) > 24
    return torch.where(side, high, low)[None], side


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.8), (0.500, 0.504)])
def test_parts_of_a_gray_image_stop_at_its_edge_however_faint(low, high):
    image, side = two_halves(low, high)
    parts = superpixels(image, 20)
    assert 12 <= len(parts.unique()) <= 30
    assert in_one_piece(parts)
    wrong = 0
    for one in parts.unique():
        inside = side[parts == one].sum().item()
        wrong += min(inside, int((parts == one).sum()) - inside)
    assert wrong <= 0.03 * side.numel()
    grid = superpixels(torch.zeros(1, 30, 41), 20)  # what a grid would do
    cut = sum(min(side[grid == g].sum().item(), (~side)[grid == g].sum().item()) for g in grid.unique())
    assert wrong < cut / 2


@pytest.mark.parametrize(("height", "width", "segments"), [(10, 10, 4), (7, 13, 6), (1, 5, 5), (9, 1, 3), (2, 1, 50)])
def test_a_constant_image_is_cut_into_a_grid(height, width, segments):
    parts = superpixels(torch.full((1, height, width), 0.3), segments)
    sizes = parts.flatten().bincount()
    assert parts.unique().tolist() == list(range(len(sizes)))
    assert 2 <= len(sizes) <= min(2 * segments, height * width)
    assert in_one_piece(parts)
    assert sizes.max() <= 3 * sizes.min()


def test_a_picture_of_a_chest_is_not_all_one_part():
    test = open_dataset("phantom", options={"size": 64, "train": 2, "test": 2})["test"]
    image = torch.from_numpy(test.read(0)).float()[None] / 255
    parts = superpixels(image, 40)
    sizes = parts.flatten().bincount()
    assert 25 <= len(sizes) <= 60
    assert sizes.max() < 0.15 * parts.numel()
    assert in_one_piece(parts)
    assert torch.equal(superpixels(image, 40), parts)
    within = sum(float(image[0][parts == one].var(correction=0)) * int(sizes[one]) for one in parts.unique())
    grid = superpixels(torch.zeros_like(image), 40)
    blind = sum(float(image[0][grid == g].var(correction=0)) * int((grid == g).sum()) for g in grid.unique())
    assert within < 0.8 * blind  # it follows what is there better than a grid does


def test_colours_count_where_gray_does_not():
    image = torch.zeros(3, 12, 12)
    image[0, :, :5], image[1, :, 5:] = 0.6, 0.6  # equally bright
    parts = superpixels(image, 4)
    assert not set(parts[:, :5].flatten().tolist()) & set(parts[:, 5:].flatten().tolist())


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (torch.rand(1, 1, 1), {}, "one pixel has no parts"),
        (torch.rand(4, 4), {}, r"shape \(C, H, W\); found \(4, 4\)"),
        (torch.rand(1, 4, 4), {"segments": 1}, "segments must be at least 2"),
        (torch.rand(1, 4, 4), {"compactness": 0}, "compactness must be above 0"),
    ],
)
def test_what_cannot_be_cut(image, options, message):
    with pytest.raises(InputError, match=message):
        superpixels(image, **options)
