"""How a layer holds its feature map: turned into one, found where it can be told, refused where it cannot."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import pellucid as pl
from helpers.transformer import ClassToken, class_token_transformer, tokens
from pellucid.explainers import explain
from pellucid.models.find_layout import find_layout
from pellucid.models.layouts import FeatureLayout, LastMap, grid_of, to_map
from pellucid.types import InputError

CLASSES = ["a", "b"]
SETTINGS = {"mean": [0.5] * 3, "std": [0.25] * 3}


class Rearranged(nn.Module):
    """Eight channels of patches of 4 × 4 pixels, put out by `layer` in some arrangement, and pooled behind it."""

    def __init__(self, arrange, *, flexible=True):
        super().__init__()
        self.patch, self.layer, self.head = nn.Conv2d(3, 8, 4, stride=4), Arrange(arrange), nn.Linear(8, 2)
        self.flexible = flexible

    def forward(self, x):
        if not self.flexible and x.shape[2:] != (32, 32):
            raise AssertionError("made for 32 × 32 pixels")
        patches = self.patch(x)
        output = self.layer(patches)
        whole = (output[0] if isinstance(output, tuple) else output).sum()
        return self.head(patches.flatten(2).amax(2)) + whole - whole.detach()  # a gradient, and no other images' values


class Arrange(nn.Module):
    def __init__(self, arrange):
        super().__init__()
        self.arrange = arrange

    def forward(self, x):
        return self.arrange(x)


ARRANGED = {
    "channels first": (lambda x: x * 1, FeatureLayout("nchw")),
    "channels last": (lambda x: x.permute(0, 2, 3, 1), FeatureLayout("nhwc")),
    "tokens": (tokens, FeatureLayout("tokens")),
    "extra": (
        lambda x: torch.cat([x.new_ones(len(x), 5, 8), tokens(x)], 1),
        FeatureLayout("tokens", 5),
    ),
    "first of a tuple": (lambda x: (tokens(x), x), FeatureLayout("tokens")),
}
NO_MAP = {
    "columns before rows": (lambda x: tokens(x.transpose(2, 3)), "fits no such map"),
    "mixed order": (lambda x: tokens(x)[:, [i * 29 % 64 for i in range(64)]], "no such map"),
    "rows and columns exchanged": (lambda x: x.transpose(2, 3), "cannot be told"),
    "an attention matrix": (lambda x: (tokens(x) @ tokens(x).mT)[:, None], "cannot be told|must put out"),
    "tokens before images": (lambda x: tokens(x).transpose(0, 1), "one feature map per image"),
    "windows": (lambda x: tokens(x).reshape(-1, 16, 8), "one feature map per image"),
    "channels before tokens": (lambda x: x.flatten(2).repeat(1, 2, 1), "must put out a feature map|cannot be told"),
    "a vector": (lambda x: x.mean((2, 3)), r"must put out a feature map.*found \(N, 8\)"),
    "the same everywhere": (lambda x: tokens(x) * 0, "cannot be told"),
}


def wrapped(arrange, *, flexible=True, size=32):
    torch.manual_seed(0)
    return pl.wrap(Rearranged(arrange, flexible=flexible), CLASSES, size=size, **SETTINGS).eval()


@pytest.mark.parametrize("flexible", [True, False])
@pytest.mark.parametrize("name", ARRANGED)
def test_a_layout_is_found_also_where_shapes_say_nothing(name, flexible):
    """8 channels of 8 × 8 positions: every reading of the shape would do."""
    arrange, expected = ARRANGED[name]
    model = wrapped(arrange, flexible=flexible)
    found = find_layout(model, model.module.layer, "layer")
    assert found == expected
    images = torch.rand(2, 3, 32, 32)
    output = arrange(model.module.patch(model.normalise(images)))
    feature_map = found.to_map(output[0] if isinstance(output, tuple) else output, (32, 32))
    torch.testing.assert_close(feature_map, model.module.patch(model.normalise(images)))


@pytest.mark.parametrize("flexible", [True, False])
@pytest.mark.parametrize("name", NO_MAP)
def test_what_cannot_be_told_is_refused(name, flexible):
    arrange, message = NO_MAP[name]
    model = wrapped(arrange, flexible=flexible)
    with pytest.raises(InputError, match=message):
        find_layout(model, model.module.layer, "layer")
    assert not any(part._forward_hooks for part in model.modules())


def test_a_map_that_is_not_square():
    model = wrapped(tokens)
    layout = find_layout(model, model.module.layer, "layer")
    images = torch.rand(1, 3, 16, 48)
    patches = model.module.patch(images)
    assert patches.shape == (1, 8, 4, 12)
    assert torch.equal(layout.to_map(tokens(patches), (16, 48)), patches)


def test_grids():
    for height in range(16, 100, 7):
        for width in range(16, 100, 5):
            for patch in (4, 7, 16):
                for h, w in ((-(-height // patch), -(-width // patch)), (height // patch, width // patch)):
                    assert grid_of(h * w, (height, width)) == (h, w), (height, width, patch)


def test_layouts_that_are_none():
    with pytest.raises(InputError, match="a layout is nchw, nhwc, tokens; found 'nwhc'"):
        FeatureLayout("nwhc")
    with pytest.raises(InputError, match="only tokens have extra ones"):
        FeatureLayout("nchw", 1)
    with pytest.raises(InputError, match="7 tokens, 1 of them extra, are no grid of 2 × 2"):
        to_map(torch.zeros(1, 7, 3), "tokens", (2, 2), 1)
    with pytest.raises(InputError, match="4 dimensions; found"):
        to_map(torch.zeros(1, 7, 3), "nhwc")
    with pytest.raises(InputError, match="features names a layer and its layout"):
        LastMap.from_card({"layer": "x", "layout": "nchw", "colour": "red"})


@pytest.fixture(scope="module")
def transformer():
    return class_token_transformer()


def test_of_a_transformer_the_layer_before_the_last_attention_is_explained(transformer):
    assert transformer.last_map == LastMap("blocks.1.norm1", FeatureLayout("tokens", 1))
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    found = explain("grad-cam", transformer, images, 1, size=4)
    assert (found.gradient_evaluations, found.forward_passes) == (1, 1)
    module, last = transformer.module, transformer.module.blocks[1]
    pixels = transformer.normalise(images)
    before = module.blocks[0](
        torch.cat([module.token.expand(2, -1, -1), tokens(module.patch(pixels))], 1) + module.place
    ).detach()
    normed = last.norm1(before).detach().requires_grad_(True)
    q, k, v = last.qkv(normed).chunk(3, -1)
    after = before + ((q @ k.mT) / 8**0.5).softmax(-1) @ v
    after = after + nn.functional.gelu(last.mlp(last.norm2(after)))
    (gradient,) = torch.autograd.grad(module.head(module.norm(after)[:, 0])[:, 1].sum(), normed)
    expected = (normed[:, 1:] * gradient[:, 1:].mean(1, keepdim=True)).sum(2).relu().view(2, 4, 4)
    torch.testing.assert_close(found.maps, expected.detach(), rtol=1e-4, atol=1e-6)
    for method in ("grad-cam", "grad-cam++"):
        assert torch.equal(
            explain(method, transformer, images, "all", layer="blocks.1.norm1").maps,
            explain(method, transformer, images, "all").maps,
        )


class Reversed(nn.Module):
    """The same tokens from the last to the first, the class token in its place."""

    def forward(self, x):
        return torch.cat([x[:, :1], x[:, 1:].flip(1)], 1)


@pytest.mark.parametrize("reordered", [False, True])
def test_tokens_are_followed_to_where_each_changes_with_the_whole_image(reordered):
    torch.manual_seed(3)
    module = ClassToken()
    with torch.no_grad():
        module.blocks[0].qkv.weight[16:].mul_(12)  # what a token takes from all others drowns what it was
    if reordered:
        module.blocks[0] = nn.Sequential(module.blocks[0], Reversed())
    model = pl.wrap(module, ["a", "b"], size=32, mean=[0.5] * 3, std=[0.25] * 3).eval()
    assert (model.last_map == LastMap("blocks.1.norm1", FeatureLayout("tokens", 1))) != reordered
    if reordered:
        with pytest.raises(InputError, match="cannot be told"):
            find_layout(model, module.blocks[1].norm1, "blocks.1.norm1")


def test_a_layer_of_which_only_the_class_token_counts_is_refused(transformer):
    for layer in ("norm", "blocks.1", "blocks.1.norm2"):
        with pytest.raises(InputError, match=r"only the class token.*name a layer before the last attention"):
            explain("grad-cam", transformer, torch.rand(1, 3, 32, 32), 0, layer=layer)


def test_a_layout_can_be_given(transformer):
    images = torch.rand(1, 3, 32, 32)
    layout = FeatureLayout("tokens", 1, (2, 8))
    maps = explain("grad-cam", transformer, images, 0, layer="blocks.1.norm1", layout=layout, size=(2, 8)).maps
    whole = explain("grad-cam", transformer, images, 0, size=4).maps
    assert torch.equal(maps.flatten(), whole.flatten())
    with pytest.raises(InputError, match="name that layer as well"):
        explain("grad-cam", transformer, images, 0, layout=layout)


def test_a_layer_that_the_logits_do_not_depend_on_is_refused():
    model = wrapped(lambda x: x.permute(0, 2, 3, 1))
    model.module.forward = lambda x: model.module.head(model.module.layer(model.module.patch(x)).detach().mean((1, 2)))
    with pytest.raises(InputError, match="logits do not depend on layer 'layer'"):
        explain("grad-cam", model, torch.rand(1, 3, 32, 32), 0, layer="layer")


def test_cam_says_that_more_follows(transformer):
    with pytest.raises(InputError, match="more follows this one's last feature map: use grad-cam"):
        explain("cam", transformer, torch.rand(1, 3, 32, 32), 0)


def test_an_unknown_layer_names_the_last(transformer):
    with pytest.raises(InputError, match=r"Did you mean 'blocks.1.norm.'.*last feature map is put out by 'blocks"):
        explain("grad-cam", transformer, torch.rand(1, 3, 32, 32), 0, layer="blocks.1.norm")


class Cut(nn.Module):
    """A convolution whose outputs are all above zero on grey images, then a ReLU of some kind, or none, and a head."""

    def __init__(self, relu):
        super().__init__()
        self.convolution, self.relu, self.head = nn.Conv2d(3, 4, 3, padding=1), relu, nn.Linear(4, 2)
        with torch.no_grad():
            self.convolution.bias.fill_(50.0)

    def forward(self, x):
        return self.head(self.relu(self.convolution(x)).mean((2, 3)))


def linear(x):
    return x


@pytest.mark.parametrize(
    ("relu", "layer", "rectified"),
    [(nn.ReLU(), "relu", False), (torch.relu, "convolution", True), (linear, "convolution", False)],
)
def test_the_map_after_the_relu_also_where_nothing_is_below_zero(relu, layer, rectified):
    """Where no value is below zero convolution and ReLU put out the same; on other images they do not."""
    model = pl.wrap(Cut(relu), CLASSES, size=16, **SETTINGS, outputs="logits")
    assert model.last_map == LastMap(layer, FeatureLayout("nchw"), head="head", rectified=rectified)
