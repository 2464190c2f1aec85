"""The order of training images: each once an epoch, over all processes, from any step on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pellucid.training.batches import Batches
from pellucid.types import InputError


@pytest.mark.parametrize("world", [1, 2, 4])
def test_an_epoch_shows_every_image_once_over_all_processes(world):
    images = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1)
    parts = [Batches(images, np.arange(40), 8, torch.device("cpu"), rank=rank, world=world) for rank in range(world)]
    epochs = [list(zip(*(part.epoch(epoch, seed=1) for part in parts), strict=True)) for epoch in (0, 0, 1)]
    orders = [[int(i) for step in epoch for batch in step for i in batch.indices] for epoch in epochs]
    assert sorted(orders[0]) == list(range(40))
    assert orders[0] == orders[1] != orders[2]
    alone = Batches(images, np.arange(40), 8, torch.device("cpu"))
    assert orders[0] == [int(i) for batch in alone.epoch(0, seed=1) for i in batch.indices]
    for step in epochs[0]:
        for batch in step:
            assert (batch.images.flatten() * 255).round().tolist() == batch.targets.tolist()
    assert [b.indices.tolist() for b in alone.epoch(0, seed=1, start=2)] == [
        b.indices.tolist() for b in list(alone.epoch(0, seed=1))[2:]
    ]


def test_a_batch_that_cannot_be_split_is_refused():
    with pytest.raises(InputError, match="batch of 6 cannot be split over 4 processes"):
        Batches(np.zeros((8, 1, 2, 2), np.uint8), np.zeros(8), 6, torch.device("cpu"), world=4)
