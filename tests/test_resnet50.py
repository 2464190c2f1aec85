"""ResNet-50: torchvision's sizes, names and forward pass, finer maps, and its published weights' way in."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pellucid.models import create_model, describe, load_pretrained
from pellucid.models.architectures.resnet import Bottleneck

BLOCKS = (3, 4, 6, 3)
THOUSAND = [str(i) for i in range(1000)]
COLOUR = {"task": "multiclass", "in_channels": 3, "size": 64}


def stirred(model: nn.Module) -> nn.Module:
    """Norms that are not the identity, the last ones of the blocks not zero, so that a wrong wiring shows."""
    generator = torch.Generator().manual_seed(0)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1, generator=generator)
            part.running_var.uniform_(0.5, 1.5, generator=generator)
            nn.init.uniform_(part.weight, 0.2, 0.6, generator=generator)
            nn.init.normal_(part.bias, 0, 0.1, generator=generator)
    return model.eval()


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return stirred(create_model("resnet50", classes=THOUSAND, **COLOUR))


def as_published(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix("backbone.").replace("head.", "fc."): tensor for name, tensor in state.items()}


def torchvision_names() -> set[str]:
    """The keys of torchvision's resnet50 state_dict, written down from its published layout."""

    def norm(name):
        return {f"{name}.{k}" for k in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")}

    names = {"conv1.weight", "fc.weight", "fc.bias"} | norm("bn1")
    for stage, count in enumerate(BLOCKS, 1):
        for block in range(count):
            prefix = f"layer{stage}.{block}"
            for index in (1, 2, 3):
                names |= {f"{prefix}.conv{index}.weight"} | norm(f"{prefix}.bn{index}")
        names |= {f"layer{stage}.0.downsample.0.weight"} | norm(f"layer{stage}.0.downsample.1")
    return names


def plain_resnet50(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """ResNet-50 from its definition (version 1.5: the 3 × 3 convolution has the stride), on torchvision's names."""

    def norm(name, x):
        return F.batch_norm(x, *(state[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")))

    x = norm("bn1", F.conv2d(x, state["conv1.weight"], stride=2, padding=3)).relu()
    x = F.max_pool2d(x, 3, 2, 1)
    for stage, count in enumerate(BLOCKS, 1):
        for block in range(count):
            name, stride = f"layer{stage}.{block}", 2 if block == 0 and stage > 1 else 1
            main = norm(f"{name}.bn1", F.conv2d(x, state[f"{name}.conv1.weight"])).relu()
            main = F.conv2d(main, state[f"{name}.conv2.weight"], stride=stride, padding=1)
            main = norm(f"{name}.bn3", F.conv2d(norm(f"{name}.bn2", main).relu(), state[f"{name}.conv3.weight"]))
            if block == 0:
                x = norm(f"{name}.downsample.1", F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride))
            x = (x + main).relu()
    return F.linear(x.mean((2, 3)), state["fc.weight"], state["fc.bias"])


def test_it_is_torchvisions(model):
    assert sum(parameter.numel() for parameter in model.parameters()) == 25_557_032  # torchvision's documentation
    state = as_published(model.state_dict())
    assert set(state) == torchvision_names()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = plain_resnet50(state, (images - model.mean) / model.std)
        torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-4)
    assert describe("resnet50").published.source().endswith("resnet50-11ad3fa6.pth")


@pytest.mark.parametrize("output_stride", [16, 8])
def test_a_finer_map_contains_the_coarse_one(model, output_stride):
    fine = create_model("resnet50", classes=THOUSAND, output_stride=output_stride, **COLOUR).eval()
    fine.load_state_dict(model.state_dict())
    step = 32 // output_stride
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected, found = model.features(images), fine.features(images)
    assert expected.shape == (1, 2048, 2, 2)
    assert found.shape[2:] == (64 // output_stride, 64 // output_stride)
    found = found[:, :, ::step, ::step]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_published_weights_load_under_their_own_names(model, tmp_path):
    state = as_published(model.state_dict())
    torch.save({name: tensor for name, tensor in state.items() if "num_batches" not in name}, tmp_path / "resnet50.pth")
    same = create_model("resnet50", classes=THOUSAND, **COLOUR).eval()
    assert load_pretrained(same, tmp_path / "resnet50.pth") == ()
    gray = create_model(
        "resnet50", classes=["a"], task="multilabel", size=64, pretrained=tmp_path / "resnet50.pth", batch_norms=2
    ).eval()
    assert gray.head.weight.shape == (1, 2048)
    assert torch.equal(gray.backbone.layer3[5].bn2.adversarial.running_var, state["layer3.5.bn2.running_var"])
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(same(images), model(images))
        one = images[:, :1]  # grey in one channel is grey in three, but for a constant of each filter
        ours = gray.backbone.conv1(gray.normalise(one))[..., 3:-3, 3:-3]
        theirs = model.backbone.conv1(model.normalise(one.expand(-1, 3, -1, -1)))[..., 3:-3, 3:-3]
    assert (ours - theirs).flatten(2).std(2).max() < 1e-4 * theirs.std()


def test_fresh_blocks_are_their_shortcuts():
    block = Bottleneck(16, 4, stride=1, dilation=1)
    net = create_model("resnet50", classes=["a", "b"], **COLOUR)
    blocks = [part for part in net.modules() if isinstance(part, Bottleneck)]
    assert len(blocks) == sum(BLOCKS)
    assert all(not part.bn3.weight.any() for part in blocks)
    block.bn3.weight.data.zero_()
    x = torch.rand(2, 16, 8, 8)
    assert torch.equal(block(x), x)
