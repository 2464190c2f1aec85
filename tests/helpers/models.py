"""Small networks with drawn weights, as most tests need one."""

from __future__ import annotations

import torch
from torch import nn

from pellucid.models import create_model

TINY = {"widths": [4, 8], "blocks": [1, 1], "strides": [1, 2]}


def small(seed=0, channels=1, task="multilabel", size=32, classes=("a", "b", "c"), name="small", **options):
    """A small convolutional network with weights that were drawn, in eval mode."""
    torch.manual_seed(seed)
    shape = {"size": size, "in_channels": channels, **TINY, **options}
    return create_model(name, classes=list(classes), task=task, **shape).eval()


def draw_convolutions(net):
    """Draw a network's convolutions anew, so that its blocks do something: they begin as almost the identity."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
    return net


def draw_norms(net):
    """Draw the statistics of a network's batch norms, so that they are not the identity, as they begin."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 2)
    return net
