"""A network of somebody else: Python files, and checkpoints as training scripts write them."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from pathlib import Path

LAYERS = """
from torch import nn

def block(inside, outside):
    return nn.Sequential(nn.Conv2d(inside, outside, 3, 2, 1), nn.BatchNorm2d(outside), nn.ReLU())
"""

NETWORK = """
import torch
import torch.nn.functional as F
from torch import nn

from layers import block


def build(width=6, outputs=2, channels=3):
    return nn.Sequential(
        block(channels, width), block(width, width), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, outputs)
    )


def probabilities(outputs=2):
    return nn.Sequential(build(outputs=outputs), nn.Softmax(1))


class Wrapped(nn.Module):
    def __init__(self, how="tensor"):
        super().__init__()
        self.net, self.how = build(), how

    def forward(self, x):
        logits = self.net(x)
        if self.how == "nan":
            return logits * float("nan")
        if self.how == "dropout":
            return F.dropout(logits + 1, 0.5)
        if self.how == "batch":
            return logits - logits.mean(0)
        return logits


def raises():
    raise RuntimeError("no such thing")


def no_module():
    return 3
"""

GIVEN = {
    "classes": ["NORMAL", "PNEUMONIA"],
    "preprocess": "crop:40:32:bicubic",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}


def write_code(folder: Path) -> Path:
    """`mymodel.py` and the file that it imports."""
    (folder / "layers.py").write_text(LAYERS, encoding="utf-8")
    path = folder / "mymodel.py"
    path.write_text(NETWORK, encoding="utf-8")
    return path


def make(folder: Path, name: str = "build", **options):
    """What the code makes, imported as its own author would."""
    sys.path.insert(0, str(folder))
    try:
        made = getattr(import_module("mymodel"), name)(**options)
    finally:
        sys.path.remove(str(folder))
        for module in ("mymodel", "layers"):
            sys.modules.pop(module, None)
    settle(made)
    return made.eval()


def settle(module, seed: int = 0) -> None:
    """Weights and statistics that are not those of a fresh network, so that each of them matters."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator)
            with torch.no_grad():
                tensor.copy_(noise.abs() + 0.5 if name.endswith("running_var") else noise * 0.3)
