"""What the memory order `channels_last` and the size of a batch do to a CPU: a ratio to the default, in one process.

Each network forward over a batch and one plain training step (forward, backward), its weights and images in either
order, in turns; an answer and a gradient to the images as judging commands take them, its weights turned by
`pellucid.models.memory_order.channels_last` and images as they come; `predict` over 256 images in batches of 16, 64 and
256. Processor time of one thread, a ratio is the median of the rounds' ratios. Writes results/memory_order.csv.

    python benchmarks/memory_order.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

import table
from pellucid.models import create_model
from pellucid.models.classifier import frozen
from pellucid.models.inference import predict
from pellucid.models.memory_order import channels_last

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path(__file__).parent / "results" / "memory_order.csv"
NETWORKS = {  # name → side of the images, images in a batch
    "small": (96, 32),
    "small-wide": (112, 16),
    "resnet44": (32, 16),
    "densenet121": (224, 4),
    "efficientnet-lite0": (224, 8),
    "resnet50": (224, 4),
}
ORDERS = (torch.contiguous_format, torch.channels_last)


def network(name: str, size: int) -> torch.nn.Module:
    """One of the package's with fresh weights."""
    torch.manual_seed(0)
    return create_model(name, classes=["a", "b"], task="multiclass", size=size)


def forward(model: torch.nn.Module, images: torch.Tensor) -> None:
    """A pass without derivatives."""
    with torch.inference_mode():
        model.eval()(images)


def step(model: torch.nn.Module, images: torch.Tensor) -> None:
    """Forward and backward to the weights."""
    model.train()(images).square().mean().backward()
    model.zero_grad()


def answer(model: torch.nn.Module, images: torch.Tensor) -> None:
    """The logits of a network that is judged."""
    with frozen(model), torch.inference_mode():
        model(images)


def slope(model: torch.nn.Module, images: torch.Tensor) -> None:
    """Their gradient to the images."""
    with frozen(model):
        batch = images.clone().requires_grad_()
        torch.autograd.grad(model(batch).sum(), batch)


def ratios(ways: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Each way's processor time over that of the first, the median of the rounds after one that warms up."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, run in ways.items():
            started = time.process_time()
            run()
            if turn:
                spent[name].append(time.process_time() - started)
    first = spent[next(iter(ways))]
    return {name: statistics.median(a / b for a, b in zip(spent[name], first, strict=True)) for name in ways}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    place = {"rounds": rounds, "machine": table.machine(), "versions": table.versions("torch", "pellucid")}
    rows = []

    def add(name: str, size: int, what: str, against: str, ratio: float) -> None:
        rows.append({"network": name, "side": size, "what": what, "against": against, "ratio": f"{ratio:.2f}", **place})
        print(*rows[-1].values(), sep="  ", flush=True)

    for name, (size, count) in NETWORKS.items():
        models = {order: network(name, size).to(memory_format=order) for order in ORDERS}
        channels = models[ORDERS[0]].input_spec.channels
        images = torch.rand(count, channels, size, size)
        for what in (forward, step):
            ways = {
                str(order): partial(what, models[order], images.contiguous(memory_format=order)) for order in ORDERS
            }
            ratio = list(ratios(ways, rounds).values())[1]
            add(name, size, f"{what.__name__}, channels_last", f"contiguous, batches of {count}", ratio)
        plain, turned = (network(name, size).eval() for _ in range(2))
        with channels_last(turned):
            for what in (answer, slope):
                ways = {"contiguous": partial(what, plain, images), "channels_last": partial(what, turned, images)}
                ratio = ratios(ways, rounds)["channels_last"]
                add(name, size, f"judged: {what.__name__}, channels_last", f"contiguous, batches of {count}", ratio)
    for name in ("small", "resnet44"):
        size = NETWORKS[name][0]
        model = network(name, size)
        images = np.random.default_rng(0).integers(0, 256, (256, model.input_spec.channels, size, size), np.uint8)
        ways = {str(n): partial(predict, model, images, batch_size=n) for n in (64, 16, 256)}
        for batch, ratio in list(ratios(ways, rounds).items())[1:]:
            add(name, size, f"predict, batches of {batch}", "batches of 64", ratio)
    table.write(RESULTS, rows)


if __name__ == "__main__":
    main()
