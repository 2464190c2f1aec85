"""Every explanation and every attack on every kind of network: it works, or is refused in one sentence."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from torch import nn

import pellucid as pl
from helpers.every_method import (
    ATTACKS,
    FEW,
    PLACED,
    attacked,
    check_attack,
    check_attack_on_explanation,
    check_explanation,
    check_place,
    check_refused,
    one_step,
)
from helpers.foreign import GIVEN, make, write_code
from helpers.models import small
from helpers.optional import library
from pellucid.evaluation.manipulation.attack import manipulate
from pellucid.explainers import EXPLAINERS, explain
from pellucid.explainers.registry import DIFFERENTIABLE
from pellucid.models.layouts import FeatureLayout, LastMap
from pellucid.models.smoothing import SmoothedClassifier
from pellucid.types import InputError

transformers = library("transformers")

CLASSES = ["a", "b", "c"]
BLOCKS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
TOKENS = FeatureLayout("tokens", 1)


def of_transformers(name, **settings):
    settings |= {"num_labels": len(CLASSES)}
    config = getattr(transformers, f"{name}Config")(**settings)
    return getattr(transformers, f"{name}ForImageClassification")(config)


def convolutions():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, len(CLASSES))
    )


def of_python(folder):
    torch.save(make(folder, outputs=len(CLASSES)).state_dict(), folder / "weights.pt")
    rest = {"weights": folder / "weights.pt", "options": {"outputs": len(CLASSES)}}
    return f"python:{folder / 'mymodel.py'}:build", rest


def of_onnx(folder, rectifier="Relu"):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    path, module, images = folder / "network.onnx", make(folder, outputs=len(CLASSES)), torch.rand(2, 3, 32, 32)
    names = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": {"x": {0: "n"}, "y": {0: "n"}}}
    torch.onnx.export(module, (images,), str(path), dynamo=False, **names)
    graph = onnx.load(path)
    for node in graph.graph.node:
        node.op_type = rectifier if node.op_type == "Relu" else node.op_type
    onnx.save(graph, path)
    return f"onnx:{path}", {}


def of_onnxruntime(folder):
    """A graph with an operator that Pellucid does not translate."""
    return of_onnx(folder, "Celu")


def of_torchscript(folder):
    script = torch.jit.trace(make(folder, outputs=len(CLASSES)), torch.rand(2, 3, 32, 32))
    torch.jit.save(script, folder / "network.pt")
    return f"torchscript:{folder / 'network.pt'}", {}


SOURCES = {"python": of_python, "ONNX": of_onnx, "onnxruntime": of_onnxruntime, "TorchScript": of_torchscript}
NETWORKS = {
    "own": (None, None),
    "convolutions": (convolutions, LastMap("1", FeatureLayout("nchw"), "4")),
    "ViT": (
        lambda: of_transformers("ViT", intermediate_size=16, **BLOCKS),
        LastMap("vit.layers.1.layernorm_before", TOKENS),
    ),
    "DeiT": (
        lambda: of_transformers("DeiT", intermediate_size=16, **BLOCKS),
        LastMap("deit.layers.1.layernorm_before", FeatureLayout("tokens", 2)),
    ),
    "DINOv2": (
        lambda: of_transformers("Dinov2", mlp_ratio=1, **BLOCKS),
        LastMap("dinov2.encoder.layer.1.norm1", TOKENS),
    ),
    "DINOv2 with registers": (
        lambda: of_transformers("Dinov2WithRegisters", mlp_ratio=1, num_register_tokens=4, **BLOCKS),
        LastMap("dinov2_with_registers.encoder.layer.1.norm1", FeatureLayout("tokens", 5)),
    ),
    "Swin": (
        lambda: of_transformers(
            "Swin", embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4, image_size=32, patch_size=4
        ),
        LastMap("swin.layernorm", FeatureLayout("tokens"), "classifier"),
    ),
    "ConvNeXt": (
        lambda: of_transformers("ConvNext", hidden_sizes=[6, 8], depths=[1, 1], num_stages=2),
        LastMap("convnext.encoder.stages.1", FeatureLayout("nchw")),
    ),
    "ResNet": (
        lambda: of_transformers("ResNet", embedding_size=6, hidden_sizes=[6, 8], depths=[1, 1], layer_type="basic"),
        LastMap("resnet.encoder.stages.1", FeatureLayout("nchw"), "classifier.1"),
    ),
    "python": (of_python, LastMap("1", FeatureLayout("nchw"), "4")),
    "ONNX": (of_onnx, LastMap("relu_3", FeatureLayout("nchw"), "gemm_6")),
    "onnxruntime": (of_onnxruntime, None),
    "TorchScript": (of_torchscript, None),
}
ONE_PIECE = {"onnxruntime", "TorchScript"}  # their layers cannot be watched
REFUSED = {
    "cam": {"ViT", "DeiT", "DINOv2", "DINOv2 with registers", "ConvNeXt", *ONE_PIECE},  # more follows their last map
    "grad-cam": ONE_PIECE,
    "grad-cam++": ONE_PIECE,
    # no rectifiers
    "guided-backprop": {"ViT", "DeiT", "DINOv2", "DINOv2 with registers", "Swin", "ConvNeXt", *ONE_PIECE},
    # no attention of all to all
    "attention-rollout": {"own", "convolutions", "Swin", "ConvNeXt", "ResNet", "python", "ONNX", *ONE_PIECE},
}
GRADIENTS = {"saliency", "smoothgrad", "integrated-gradients", "adversarial"}
NO_GRADIENTS = "cannot be differentiated: its operators Celu are run by onnxruntime"


@cache
def model_of(network):
    torch.manual_seed(0)
    build = NETWORKS[network][0]
    if build is None:
        return small(channels=3, task="multiclass", classes=CLASSES)
    if network in SOURCES:
        with TemporaryDirectory() as place, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch, about its own exporters
            write_code(Path(place))
            address, rest = build(Path(place))
            settings = {**GIVEN, "classes": CLASSES, "preprocess": "stretch:32", "outputs": "logits", **rest}
            return pl.load(address, trust_code=True, **settings).eval()
    # drawn weights may give values between 0 and 1, which would be asked about
    return pl.wrap(build().eval(), CLASSES, size=32, mean=[0.5] * 3, std=[0.25] * 3, outputs="logits").eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("network", [name for name in NETWORKS if name != "own"])
def test_the_last_feature_map_is_known(network):
    assert model_of(network).last_map == NETWORKS[network][1]


@pytest.mark.parametrize("method", EXPLAINERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_explanations(network, method, images):
    model = model_of(network)
    if network in REFUSED.get(method, ()):
        check_refused(method, model, images)
    elif network == "onnxruntime" and method in GRADIENTS:
        with pytest.raises(InputError, match=NO_GRADIENTS):
            explain(method, model, images, 1, **FEW.get(method, {}))
    else:
        check_explanation(method, model, images)


@pytest.mark.parametrize("method", PLACED)
@pytest.mark.parametrize("network", [name for name in NETWORKS if name != "onnxruntime"])
def test_maps_lie_where_the_image_does(network, method, images):
    if network not in REFUSED.get(method, ()):
        check_place(method, model_of(network), images)


@pytest.mark.parametrize("method", ATTACKS)
@pytest.mark.parametrize("network", NETWORKS)
def test_attacks(network, method, images):
    model = model_of(network)
    if network == "onnxruntime":
        with pytest.raises(InputError, match=NO_GRADIENTS):
            attacked(method, model, images)
    else:
        check_attack(method, model, images)


@pytest.mark.parametrize("method", DIFFERENTIABLE)
@pytest.mark.parametrize("network", ["own", "ViT", "Swin", "ConvNeXt", *SOURCES])
def test_attacks_on_explanations(network, method, images):
    model = model_of(network)
    if network in REFUSED.get(method, ()):
        advice = r"cannot be watched" if network in ONE_PIECE else r"Attack grad-cam\.$"
        with pytest.raises(InputError, match=advice):
            manipulate(model, images[:1], one_step(method))
    elif network == "onnxruntime":
        with pytest.raises(InputError, match=NO_GRADIENTS):
            manipulate(model, images[:1], one_step(method))
    else:
        check_attack_on_explanation(method, model, images)


@pytest.mark.parametrize("network", ["own", "python", "ONNX", "TorchScript"])
def test_under_noise_the_gradient_is_the_same_in_parts(network, images):
    model = model_of(network)
    points = images.clone().requires_grad_(True)
    gradients = [
        torch.autograd.grad(SmoothedClassifier(model, 0.1, 4, rows=rows)(points)[:, 0].sum(), points)[0]
        for rows in (3, 100)
    ]
    assert gradients[0].any()
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("network", sorted(ONE_PIECE))
@pytest.mark.parametrize("method", ["cam", "grad-cam", "grad-cam++"])
def test_a_network_of_one_piece_is_not_asked_for_a_layer(method, network, images):
    with pytest.raises(InputError, match="layers cannot be watched") as refusal:
        explain(method, model_of(network), images, 1)
    assert "layer=" not in str(refusal.value)
    assert "wrap()" not in str(refusal.value)


@pytest.mark.parametrize("network", ["ViT", "DeiT", "DINOv2", "DINOv2 with registers"])
def test_rollout_is_that_of_the_attentions_that_transformers_hand_out(network, images):
    """By their own output_attentions, which needs another implementation of attention than the network runs with."""
    model = model_of(network)
    found = explain("attention-rollout", model, images, 0, size=4).maps
    module = model.module
    before = module.config._attn_implementation
    module.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            attentions = module(model.normalise(images), output_attentions=True).attentions
        eager = explain("attention-rollout", model, images, 0, size=4).maps
    finally:
        module.set_attn_implementation(before)
    joint = torch.eye(attentions[0].shape[-1]).expand(2, -1, -1)
    for attention in attentions:
        mixed = attention.mean(1) / 2 + torch.eye(attention.shape[-1]) / 2
        joint = mixed @ joint
    expected = joint[:, 0, NETWORKS[network][1].layout.extra_tokens :].view(2, 4, 4)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(eager, expected, rtol=1e-4, atol=1e-6)
