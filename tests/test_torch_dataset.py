"""A part of a dataset as torch has datasets."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import pellucid as pl
from pellucid.data.cache.pixels import materialize
from pellucid.models.inference import as_pixels
from pellucid.types import InputError, InputSpec

SMALL = {"size": 32, "train": 8, "validation": 4, "test": 6}


@pytest.fixture(scope="module")
def test_part():
    return pl.dataset("phantom", split="test", **SMALL)


def test_items_are_pixels_in_the_unit_range_with_their_targets(test_part):
    assert isinstance(test_part, torch.utils.data.Dataset)
    image, target = test_part[-1]
    raw = test_part.read(5)
    assert image.dtype == torch.float32
    np.testing.assert_allclose(image.numpy()[0], raw / np.float32(255))
    np.testing.assert_array_equal(target.numpy(), test_part.targets[5])
    assert len(list(test_part)) == len(test_part) == 6
    with pytest.raises(IndexError):
        test_part[6]


def test_a_loader_with_workers_gives_what_a_model_is_given(test_part):
    loader = torch.utils.data.DataLoader(test_part.resize(16, channels=3), batch_size=4, num_workers=2)
    images = torch.cat([images for images, _ in loader])
    targets = torch.cat([targets for _, targets in loader])
    assert torch.equal(images, as_pixels(materialize(test_part, InputSpec.square(3, 16))))
    np.testing.assert_array_equal(targets.numpy(), test_part.targets)


def test_without_a_split_there_are_all_parts():
    parts = pl.dataset("phantom", **SMALL)
    assert {name: len(part) for name, part in parts.items()} == {"train": 8, "validation": 4, "test": 6}


def test_parts_stay_datasets_and_join(test_part):
    few = test_part.limit(3)
    assert torch.equal(few[0][0], next(iter(few))[0])
    assert len(few + few) == 6
    other = replace(few, card=replace(few.card, classes=few.classes[::-1]))
    with pytest.raises(InputError, match="cannot join"):
        few + other


def test_an_unknown_part_is_said():
    with pytest.raises(InputError, match="no 'tset' part; it has: train, validation, test"):
        pl.dataset("phantom", split="tset", **SMALL)
