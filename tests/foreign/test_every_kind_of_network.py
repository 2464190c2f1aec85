"""Every explanation and every attack on networks of timm, torchvision and torchxrayvision, as on all others."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import timm
import torch
import torchvision
import torchxrayvision as xrv
from timm.models import swin_transformer

import pellucid as pl
from helpers.every_method import (
    ATTACKS,
    PLACED,
    check_attack,
    check_attack_on_explanation,
    check_explanation,
    check_place,
    check_refused,
)
from pellucid.explainers import EXPLAINERS
from pellucid.explainers.registry import DIFFERENTIABLE

SIZE = 64
CLASSES = ["a", "b", "c"]
NORMALISED = {"mean": [0.5] * 3, "std": [0.25] * 3}
XRV = "densenet121-res224-chex"
OUTPUTS = {3, 18}
SMALL = {"growth_rate": 4, "block_config": [1, 1, 1, 1], "num_init_features": 8}


def drawn(module):
    """Weights as the network draws them, but for heads and norms, which start from 0 and 1 or tell little apart."""
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var") or not tensor.is_floating_point():
            continue
        if tensor.ndim == 1:
            tensor.add_(torch.randn(tensor.shape), alpha=0.1)
        elif len(tensor) in OUTPUTS:
            torch.nn.init.normal_(tensor)
    return module


def loaded(address, module, **options):
    """The network as its source gives it, with the weights of a file."""
    with TemporaryDirectory() as folder:
        torch.save(drawn(module).state_dict(), Path(folder) / "weights.pth")
        return pl.load(address, weights=Path(folder) / "weights.pth", outputs="logits", **options)


def of_timm(name, **options):
    module = timm.create_model(name, num_classes=len(CLASSES), **options)
    return loaded(f"timm:{name}", module, classes=CLASSES, preprocess=f"stretch:{SIZE}", options=options)


def of_torchvision(name):
    module = torchvision.models.get_model(name, num_classes=len(CLASSES))
    return loaded(f"torchvision:{name}", module, classes=CLASSES, preprocess=f"stretch:{SIZE}", **NORMALISED)


def of_torchxrayvision():
    module = xrv.models.DenseNet(num_classes=18, in_channels=1, **SMALL)
    return loaded(f"torchxrayvision:{XRV}", module, preprocess=f"stretch:{SIZE}", options=SMALL)


def in_memory(module):
    """Of those whose smallest published network is large, a smaller one of the same kind."""
    return pl.wrap(drawn(module).eval(), CLASSES, size=SIZE, outputs="logits", **NORMALISED)


def swin():
    return swin_transformer.SwinTransformer(
        img_size=SIZE, patch_size=4, embed_dim=8, depths=(1, 2), num_heads=(1, 2), window_size=4, num_classes=3
    )


NETWORKS = {
    "timm ResNet": lambda: of_timm("test_resnet"),
    "timm EfficientNet": lambda: of_timm("test_efficientnet"),
    "timm ConvNeXt": lambda: of_timm("test_convnext"),
    "timm ViT": lambda: of_timm("test_vit", img_size=SIZE),
    "timm Swin": lambda: in_memory(swin()),
    "torchvision SqueezeNet": lambda: of_torchvision("squeezenet1_1"),
    "torchvision ViT": lambda: in_memory(torchvision.models.VisionTransformer(SIZE, 16, 2, 2, 16, 32, num_classes=3)),
    "torchvision Swin": lambda: in_memory(
        torchvision.models.SwinTransformer([4, 4], 8, [1, 2], [1, 2], [4, 4], num_classes=3)
    ),
    "torchxrayvision DenseNet": of_torchxrayvision,
}
REFUSED = {
    "cam": {"timm ConvNeXt", "timm ViT", "torchvision SqueezeNet", "torchvision ViT"},  # more follows their last map
    "guided-backprop": {name for name in NETWORKS if name.endswith(("EfficientNet", "ConvNeXt", "ViT", "Swin"))},
    "attention-rollout": {name for name in NETWORKS if not name.endswith("ViT")},  # no attention of all to all
}

SEE_ALL = {  # each cell of their last map sees the whole image
    "cam": {"timm EfficientNet"},
    "grad-cam": {"timm EfficientNet", "torchvision SqueezeNet"},
}


@cache
def model_of(network):
    torch.manual_seed(0)
    return NETWORKS[network]().eval()


def images_of(network):
    channels = model_of(network).input_spec.channels
    return torch.rand(2, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("method", EXPLAINERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_explanations(network, method):
    check = check_refused if network in REFUSED.get(method, ()) else check_explanation
    check(method, model_of(network), images_of(network))


@pytest.mark.parametrize("method", PLACED)
@pytest.mark.parametrize("network", NETWORKS)
def test_maps_lie_where_the_image_does(network, method):
    if network not in REFUSED.get(method, ()) and network not in SEE_ALL.get(method, ()):
        check_place(method, model_of(network), images_of(network))


@pytest.mark.parametrize("method", ATTACKS)
@pytest.mark.parametrize("network", NETWORKS)
def test_attacks(network, method):
    check_attack(method, model_of(network), images_of(network))


@pytest.mark.parametrize("method", DIFFERENTIABLE)
@pytest.mark.parametrize("network", NETWORKS)
def test_attacks_on_explanations(network, method):
    if network not in REFUSED.get(method, ()):
        check_attack_on_explanation(method, model_of(network), images_of(network))
