"""Whether data keeps up: an epoch's batches of CIFAR-10 beside as many training steps of the smallest network.

All training images are in memory as uint8. The batches of 128 of a whole epoch are gathered and augmented (pad 4, flip
0.5) in chunks between which as many forward and backward passes of a `resnet44` with one block a stage are timed, in
one process; the slowest sensible case, since every other network and every robust objective takes longer a step. Of the
steps a sample is taken and counted up to an epoch. The ratio says how many times over data keeps up. Writes
results/epoch_bound.csv.

    python benchmarks/epoch_bound.py DIR [--train-zip cifar10-jpeg/train.zip] [--steps 30] [--device cpu]

DIR is the root of `cifar10`; without a zip the binary files are the training images.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import table
from pellucid.data import Augmentation, AugmentOptions, materialize, open_dataset
from pellucid.models import create_model
from pellucid.training.batches import Batches
from pellucid.types import InputSpec

BATCH = 128
BLOCKS = [1, 1, 1]
AUGMENT = AugmentOptions(pad=4, flip=0.5)
RESULTS = Path(__file__).parent / "results" / "epoch_bound.csv"


class Clock:
    """Seconds since it was last read; work that the accelerator still has to do is waited for."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.read()

    def read(self) -> float:
        """Seconds since the last call."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        passed, self.last = now - getattr(self, "last", now), now
        return passed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root")
    parser.add_argument("--train-zip")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    device = torch.device(arguments.device)

    clock = Clock(torch.device("cpu"))
    train = open_dataset("cifar10", arguments.root, options={"train_zip": arguments.train_zip})["train"]
    opening = clock.read()
    images = materialize(train, InputSpec.square(3, 32), workers=arguments.threads)
    decoding = clock.read()

    batches, augment = Batches(images, train.targets, BATCH, device), Augmentation(AUGMENT)
    model = create_model(
        "resnet44", classes=train.classes, task="multiclass", in_channels=3, size=32, blocks=BLOCKS
    ).to(device)
    model.train()
    clock = Clock(device)
    gathering = augmenting = stepping = 0.0
    every, warm, steps = max(len(batches) // arguments.steps, 1), 3, 0
    epoch = batches.epoch(0, seed=0)
    for number in range(len(batches)):
        clock.read()
        batch = next(epoch)
        gathering += clock.read()
        changed = augment(batch.images)
        augmenting += clock.read()
        if number % every == 0:
            F.cross_entropy(model(changed), batch.targets).backward()
            model.zero_grad()
            taken = clock.read()
            if warm:
                warm -= 1
            else:
                stepping, steps = stepping + taken, steps + 1
    data, network = gathering + augmenting, stepping / steps * len(batches)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else table.machine(arguments.threads)
    row = {
        "network": f"resnet44, blocks {BLOCKS}",
        "training images": len(images),
        "batch": BATCH,
        "batches an epoch": len(batches),
        "steps timed": steps,
        "s to open": f"{opening:.2f}",
        "s to decode": f"{decoding:.1f}",
        "ms to gather a batch": f"{gathering / len(batches) * 1e3:.2f}",
        "ms to augment a batch": f"{augmenting / len(batches) * 1e3:.2f}",
        "ms a step": f"{stepping / steps * 1e3:.1f}",
        "s of data an epoch": f"{data:.1f}",
        "s of steps an epoch": f"{network:.1f}",
        "ratio": f"{network / data:.0f}",
        "machine": where,
        "versions": table.versions("torch", "pellucid"),
    }
    for name, value in row.items():
        print(f"{name}: {value}")
    table.write(RESULTS, [row])


if __name__ == "__main__":
    main()
