"""`channels_last` on a CPU: networks that torch cannot train so are refused, all others train as in the other order."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from helpers.training import run
from pellucid.models import load_model, model_names
from pellucid.models.registry import create_model
from pellucid.training.memory_order import check_memory_order
from pellucid.types import InputError

CPU = torch.device("cpu")
WIDE = "model.options={widths=[8, 16], blocks=[1, 1], strides=[1, 2]}"


@pytest.mark.parametrize(
    ("layer", "refused"),
    [
        (nn.Conv2d(4, 8, 1, 2, bias=False), True),
        (nn.Conv2d(7, 8, 1, (1, 2)), True),
        (nn.Conv2d(16, 16, 1, 2, groups=4), True),
        (nn.Conv2d(8, 8, 1, 2), False),
        (nn.Conv2d(4, 8, 1, 1), False),
        (nn.Conv2d(4, 8, 3, 2), False),
    ],
)
def test_narrow_strided_pointwise_convolutions_are_refused_on_a_cpu_only(layer, refused):
    network = nn.Sequential(nn.Conv2d(1, layer.in_channels, 3), layer)
    check_memory_order(network, torch.device("cuda"))
    if refused:
        with pytest.raises(InputError, match=r"a CPU cannot train 1 in this memory order.*channels_last=false"):
            check_memory_order(network, CPU)
    else:
        check_memory_order(network, CPU)


def test_the_package_has_no_network_that_is_refused():
    for name in model_names():
        if name != "efficientnet-lite0":  # needs an extra
            check_memory_order(create_model(name, classes=("a", "b"), task="multilabel", size=64), CPU)


def test_it_is_refused_before_any_image_is_decoded(phantom, tmp_path, monkeypatch):
    monkeypatch.setattr("pellucid.training.loop.materialize", lambda *a, **k: pytest.fail("decoded"))
    with pytest.raises(InputError, match=r"training\.channels_last = true"):
        run(phantom, tmp_path / "run", "training.channels_last=true")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_wider_network_learns_the_same_in_either_order(phantom, tmp_path):
    weights = []
    for order in ("true", "false"):
        options = [WIDE, f"training.channels_last={order}", "training.epochs=1"]
        run(phantom, tmp_path / order, *options, name="standard")
        weights.append(load_model(tmp_path / order).state_dict())
    for key, value in weights[0].items():
        assert torch.allclose(value.float(), weights[1][key].float(), atol=1e-4), key
