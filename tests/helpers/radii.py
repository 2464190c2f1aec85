"""A tiny network, toy images and how both are measured: for the tests of radii, also in processes of their own."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import nn

from helpers.forked import Forked
from pellucid.data.dataset import Dataset, DatasetCard
from pellucid.evaluation import Bootstrap
from pellucid.evaluation.robustness.radii import AttackConfig, measure
from pellucid.evaluation.robustness.robustness_target import robustness_target_of
from pellucid.models.inference import as_pixels

COUNT, BATCH = 40, 4
QUICK = AttackConfig("woods2019", seed=3, options={"steps": 12, "length": 2.0})


class Net(nn.Module):
    """A small network that can be told to take its time."""

    def __init__(self, outputs=3, pause=0.0, task="multiclass"):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 36, outputs)
        ).requires_grad_(True)
        self.layers[3].weight.data.mul_(8)
        self.pause, self.task = pause, task

    def forward(self, images):
        time.sleep(self.pause)
        return self.layers(images - 0.5)


def toy(task="multiclass", count=COUNT):
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
    net, classes = Net(task=task), ("a", "b", "c")
    with torch.no_grad():
        logits = net(as_pixels(pixels)).numpy()
    if task == "multiclass":
        targets = np.where(np.arange(count) % 5 == 0, (logits.argmax(1) + 1) % 3, logits.argmax(1))
    else:
        targets = (logits > np.median(logits, 0)).astype(np.float32)
        targets[::7, 1] = np.nan
    card = DatasetCard("toy", "Toy", task, classes)
    names = tuple(f"image {i}, of toys" for i in range(count))  # a comma, as file names may have
    return pixels, Dataset(card, "test", names, names, targets, lambda i: pixels[i, 0])


def run(folder, *, pixels=None, dataset=None, net=None, protocol=QUICK, sha="one", batch_size=BATCH, kinds=("attack",)):
    if dataset is None:
        pixels, dataset = toy()
    card = {"best_constant": [0.4, 0.3, 0.3]}
    asked = [robustness_target_of(kind, dataset, card) for kind in kinds]
    return measure(
        net or Net(), pixels, dataset, asked, protocol, folder, weights_sha256=sha, batch_size=batch_size
    )  # fmt: skip


WORKER = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from helpers import radii as example
from pellucid.evaluation.robustness import radii
from pellucid.evaluation.robustness.ara_summary import summarize_ara
done, real = [], radii.minimal
def counted(network, images, *rest, **options):
    done.append(len(images))
    return real(network, images, *rest, **options)
radii.minimal = counted
print("ready", flush=True)
sys.stdin.readline()
folder, net = Path({folder!r}), example.Net(pause={pause})
found = example.run(folder, net=net)
results = summarize_ara(net, *example.toy(), found, example.QUICK, example.draws(), folder)
print(sum(done), results["kinds"]["attack"]["ara"], flush=True)
"""


def worker(folder, pause=0.02):
    """A process of its own that waits for a line before it measures the same as `run`."""
    code = WORKER.format(folder=str(folder), pause=pause)
    process = Forked(code=code, asks=True)
    assert process.stdout.readline() == "ready\n"
    return process


def draws():
    return Bootstrap(toy()[1].patients, 100)


def lines(folder):
    return sorted((folder / "radii.csv").read_text().splitlines())
