"""A plain training script on the phantom, run twice: where a letter goes with Pneumonia, and where none is.

    python docs/results/audits/letter.py runs/letter

leaves `with.ckpt`, `without.ckpt` as Lightning leaves them, and `people.csv`: a sex and an age of each test patient, by
lot, so that nothing true is to be found in them. `build` makes the network. Pellucid draws the images and nothing else.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

import pellucid as pl

SIZE, IMAGES, EPOCHS = 64, 1600, 12
LETTER = {"letter": {"finding": "Pneumonia"}}


def build() -> nn.Module:
    """Five convolutions, the strongest answer of each at any place, eight logits."""
    layers: list[nn.Module] = []
    for before, after, stride in ((1, 16, 1), (16, 32, 2), (32, 48, 2), (48, 64, 1), (64, 96, 2)):
        layers += [nn.Conv2d(before, after, 3, stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(96, 8))


def train(shortcuts: dict[str, dict[str, str]], out: Path) -> None:
    """Train one network, and save it."""
    torch.manual_seed(0)
    data = pl.dataset("phantom", split="train", size=SIZE, train=IMAGES, validation=1, test=1, shortcuts=shortcuts)
    images, targets = next(iter(DataLoader(data, batch_size=IMAGES)))
    steps = EPOCHS * -(-IMAGES // 32)
    model = build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for epoch in range(EPOCHS):
        total = 0.0
        for rows in torch.randperm(IMAGES).split(32):
            loss = F.binary_cross_entropy_with_logits(model((images[rows] - 0.5) / 0.25), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"{out.stem}, epoch {epoch + 1}: loss {total * EPOCHS / steps:.4f}", flush=True)
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"epoch": EPOCHS, "global_step": steps, "state_dict": state}, out)


def main(folder: Path) -> None:
    """Both networks, and the table of people."""
    folder.mkdir(parents=True, exist_ok=True)
    train(LETTER, folder / "with.ckpt")
    train({}, folder / "without.ckpt")
    patients = sorted(set(pl.dataset("phantom", split="test", size=SIZE, train=1, validation=1).patients))
    rng = np.random.default_rng(0)
    with (folder / "people.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(("patient", "sex", "age"))
        table.writerows((name, rng.choice(("F", "M")), int(rng.integers(20, 90))) for name in patients)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
