"""A plain training script on a folder of radiographs, without Pellucid; it leaves a checkpoint as Lightning does.

    python docs/results/audits/plain.py kermany2018 runs/plain.ckpt

`build` makes the network; `pellucid models import python plain.py:build --weights plain.ckpt …` takes it from there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

CLASSES, SIZE, EPOCHS = ("NORMAL", "PNEUMONIA"), 96, 4


def build() -> nn.Module:
    """Four convolutions, global average pooling, two logits."""
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 32), (32, 64), (64, 96)):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, len(CLASSES)))


def read(path: Path) -> np.ndarray:
    """A gray image, its shorter side 96 pixels, the middle 96 × 96 of it."""
    image = Image.open(path).convert("L")
    scale = SIZE / min(image.size)
    width, height = (max(SIZE, int(side * scale)) for side in image.size)
    left, top = round((width - SIZE) / 2), round((height - SIZE) / 2)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))[top : top + SIZE, left : left + SIZE]


def main(root: Path, out: Path) -> None:
    """Train on every second image of `root/train`, and save."""
    torch.manual_seed(0)
    paths = [(p, k) for k, name in enumerate(CLASSES) for p in sorted((root / "train" / name).glob("*.jpeg"))[::2]]
    images = torch.from_numpy(np.stack([read(p) for p, _ in paths]))[:, None].float() / 255
    targets = torch.tensor([k for _, k in paths])
    weights = len(targets) / torch.bincount(targets) / len(CLASSES)
    model = build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for epoch in range(EPOCHS):
        for rows in torch.randperm(len(targets)).split(32):
            loss = F.cross_entropy(model((images[rows] - 0.5) / 0.25), targets[rows], weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1}: loss of the last batch {loss.item():.4f}", flush=True)
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"epoch": EPOCHS, "global_step": EPOCHS, "state_dict": state, "hyper_parameters": {"lr": 2e-3}}, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
