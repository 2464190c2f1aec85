"""A vision transformer of two blocks, small enough to be computed by hand."""

from __future__ import annotations

import torch
from torch import nn

import pellucid as pl


def tokens(x):
    """(N, D, h, w) as (N, h·w, D)."""
    return x.flatten(2).transpose(1, 2)


def class_token_transformer(seed=1):
    """Two classes, images of 3 × 32 × 32, patches of 8 × 8."""
    torch.manual_seed(seed)
    return pl.wrap(ClassToken(), ["a", "b"], size=32, mean=[0.5] * 3, std=[0.25] * 3).eval()


class ClassToken(nn.Module):
    """A class token, one block of attention, and a norm after which the class token alone counts."""

    def __init__(self, channels=3, classes=2):
        super().__init__()
        self.patch, self.token = nn.Conv2d(channels, 8, 8, stride=8), nn.Parameter(torch.randn(1, 1, 8))
        self.place = nn.Parameter(torch.randn(1, 17, 8))
        self.blocks = nn.Sequential(Block(), Block())
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, classes)

    def forward(self, x):
        x = torch.cat([self.token.expand(len(x), -1, -1), tokens(self.patch(x))], 1) + self.place
        return self.head(self.norm(self.blocks(x))[:, 0])


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.qkv, self.norm2, self.mlp = nn.LayerNorm(8), nn.Linear(8, 24), nn.LayerNorm(8), nn.Linear(8, 8)

    def forward(self, x):
        q, k, v = self.qkv(self.norm1(x))[:, None].chunk(3, -1)
        x = x + nn.functional.scaled_dot_product_attention(q, k, v)[:, 0]
        return x + nn.functional.gelu(self.mlp(self.norm2(x)))
