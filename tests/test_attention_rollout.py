"""Attention rollout against the product of attention matrices by hand, however a network computes its attention."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import pellucid as pl
from helpers.transformer import class_token_transformer, tokens
from pellucid.explainers import EXPLAINERS, explain
from pellucid.explainers.registry import explains_all_classes_at_once
from pellucid.models import create_model
from pellucid.types import InputError


@pytest.fixture
def images():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def rolled(attentions):
    """Equation 1 of the paper, in double precision; attentions (N, heads, L, L), the first layer's first."""
    joint = None
    for attention in attentions:
        mixed = 0.5 * attention.double().mean(1) + 0.5 * torch.eye(attention.shape[-1], dtype=torch.float64)
        mixed = mixed / mixed.sum(-1, keepdim=True)
        joint = mixed if joint is None else mixed @ joint
    return joint


def test_the_row_of_the_class_token(images):
    model = class_token_transformer()
    module, attentions = model.module, []
    with torch.no_grad():
        x = torch.cat([module.token.expand(3, -1, -1), tokens(module.patch(model.normalise(images)))], 1) + module.place
        for block in module.blocks:
            q, k, v = block.qkv(block.norm1(x)).chunk(3, -1)
            attentions.append(((q @ k.mT) / 8**0.5).softmax(-1)[:, None])
            x = x + attentions[-1][:, 0] @ v
            x = x + nn.functional.gelu(block.mlp(block.norm2(x)))
    expected = rolled(attentions)[:, 0, 1:].view(3, 4, 4)
    found = explain("attention-rollout", model, images, torch.tensor([0, 1, 0]), size=4)
    assert (found.gradient_evaluations, found.forward_passes) == (0, 1)
    torch.testing.assert_close(found.maps.double(), expected, rtol=1e-4, atol=1e-6)


def test_it_is_the_same_for_every_class(images):
    model = class_token_transformer()
    maps = explain("attention-rollout", model, images, "all").maps
    assert maps.shape == (3, 2, 32, 32)
    assert torch.equal(maps[:, 0], maps[:, 1])
    assert EXPLAINERS["attention-rollout"].class_agnostic
    assert explains_all_classes_at_once("attention-rollout", model)


class Pooled(nn.Module):
    """Patches that nn.MultiheadAttention mixes, and their mean; or a softmax of its own."""

    def __init__(self, *, by_hand):
        super().__init__()
        self.by_hand = by_hand
        self.patch, self.place = nn.Conv2d(3, 8, 8, stride=8), nn.Parameter(torch.randn(1, 16, 8))
        self.attentions = nn.ModuleList(nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 2)

    def forward(self, x):
        x = tokens(self.patch(x)) + self.place
        for attention in self.attentions:
            x = x + (mixed(attention, x)[0] if self.by_hand else attention(x, x, x, need_weights=False)[0])
        return self.head(self.norm(x).mean(1))


def mixed(attention, x):
    q, k, v = (p.unflatten(-1, (2, 4)).transpose(1, 2) for p in (x @ attention.in_proj_weight.T).chunk(3, -1))
    weights = torch.softmax(q @ k.mT / 2, dim=-1)
    return attention.out_proj((weights @ v).transpose(1, 2).flatten(2)), weights


@pytest.mark.parametrize("by_hand", [True, False])
def test_the_mean_over_the_patches_where_there_is_no_class_token(by_hand, images):
    torch.manual_seed(2)
    module = Pooled(by_hand=by_hand)
    model = pl.wrap(module, ["a", "b"], size=32, mean=[0.5] * 3, std=[0.25] * 3).eval()
    attentions = []
    with torch.no_grad():
        x = tokens(module.patch(model.normalise(images))) + module.place
        for attention in module.attentions:
            change, weights = mixed(attention, x)
            attentions.append(weights)
            x = x + change
    expected = rolled(attentions).mean(1).view(3, 4, 4)
    found = explain("attention-rollout", model, images, 0, size=4).maps
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)


def test_what_has_no_such_attention_is_refused(images):
    with pytest.raises(InputError, match="needs a transformer on tokens"):
        explain("attention-rollout", create_model("small", classes=["a", "b"], task="multiclass"), images[:, :1], 0)
    torch.manual_seed(2)
    module = Pooled(by_hand=True)
    module.attentions = nn.ModuleList()
    model = pl.wrap(module, ["a", "b"], size=32, mean=[0.5] * 3, std=[0.25] * 3).eval()
    with pytest.raises(InputError, match="weights that torch computes: found none"):
        explain("attention-rollout", model, images, 0)
