"""Small smooth networks in float64 and their derivatives by torch.func: what tests of gradient penalties share."""

from __future__ import annotations

import torch
from torch import nn
from torch.func import functional_call, jacrev, vmap

CLASSES = 4


def smooth_network(seed=0, *, dropout=0.0):
    """No batch norm, so that every image has a Jacobian of its own; curved everywhere, so that it can be compared."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(2, 5, 3, stride=2),
        nn.Softplus(),
        nn.Dropout(dropout),
        nn.Conv2d(5, 6, 2),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(24, CLASSES),
    )
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(2)
    return net.double()


def some_images(count=5, seed=1):
    return torch.rand(count, 2, 7, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def jacobians(net, images, parameters=None):
    """∂f_k/∂x of each image by itself, (N, K, C, H, W)."""
    parameters = dict(net.named_parameters()) if parameters is None else parameters
    return vmap(jacrev(lambda x: functional_call(net, parameters, (x[None],))[0]))(images)


def parameter_gradient(value, net):
    """As one vector."""
    found = torch.autograd.grad(value, list(net.parameters()), retain_graph=True, allow_unused=True)
    return torch.cat(
        [
            torch.zeros_like(p).flatten() if g is None else g.flatten()
            for p, g in zip(net.parameters(), found, strict=True)
        ]
    )


def cosine(one, other):
    return float(torch.nn.functional.cosine_similarity(one.double(), other.double(), dim=0))
