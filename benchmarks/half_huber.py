"""What the half-Huber ReLU costs beside ReLU: as in the code published with the paper, and ours.

One feature map of 128 CIFAR images in ResNet-44's first stage, (128, 16, 32, 32), in one process. The forms take turns
and their order changes from round to round; of three times in a row the fastest counts. Medians over the rounds; a
ratio is the median of the rounds' ratios, of processor time on one thread. Compiled forms are `torch.compile`'s. Writes
results/half_huber.csv.

    python benchmarks/half_huber.py [--rounds 100]
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from pellucid.models.activations import half_huber
from table import machine, versions, write

SHAPE = (128, 16, 32, 32)
DELTA = 0.5
RESULTS = Path(__file__).parent / "results" / "half_huber.csv"


class Published(torch.autograd.Function):
    """The published code's way, after its description: a mask of the linear part as numbers, and passes in place."""

    @staticmethod
    def forward(ctx, x, delta):  # noqa: D102
        ctx.save_for_backward(x)
        ctx.delta = delta
        result = torch.relu(x)
        linear = (x > delta).float()
        result.sub_(linear, alpha=delta / 2)
        factor = (1 / (2 * delta) - linear).mul_(result).add_(linear)
        return result.mul_(factor)

    @staticmethod
    def backward(ctx, gradient):  # noqa: D102
        (x,) = ctx.saved_tensors
        return x.clamp(0, ctx.delta).div_(ctx.delta).mul_(gradient), None


FORMS = {
    "ReLU": torch.relu,
    "published": lambda x: Published.apply(x, DELTA),
    "ours": partial(half_huber, delta=DELTA),
    "ReLU, compiled": torch.compile(F.relu),  # of the builtin torch.relu it makes a slow detour
    "ours, compiled": torch.compile(partial(half_huber, delta=DELTA)),
}


def timed(name, x, gradient, both):
    """Seconds of the forward pass, or of both, the fastest of three times."""
    spent = []
    for _ in range(3):
        started = time.process_time()
        result = FORMS[name](x)
        if both:
            torch.autograd.grad(result, x, gradient)
        spent.append(time.process_time() - started)
    return min(spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    rounds = parser.parse_args().rounds
    torch.manual_seed(0)
    x, gradient = torch.randn(SHAPE, requires_grad=True), torch.randn(SHAPE)
    torch.set_num_threads(1)
    for name in ("published", "ours, compiled"):
        torch.testing.assert_close(FORMS[name](x), FORMS["ours"](x))
    rows = []
    for both in (False, True):
        seconds: dict[str, list[float]] = {name: [] for name in FORMS}
        for turn in range(rounds + 3):  # the first ones warm up
            order = list(FORMS)[turn % len(FORMS) :] + list(FORMS)[: turn % len(FORMS)]
            for name in order:
                fastest = timed(name, x, gradient, both)
                if turn >= 3:
                    seconds[name].append(fastest)
        for name, values in seconds.items():
            ratio = statistics.median(a / b for a, b in zip(values, seconds["ReLU"], strict=True))
            rows.append(
                {
                    "form": name,
                    "pass": "forward and backward" if both else "forward",
                    "median ms": f"{1e3 * statistics.median(values):.2f}",
                    "ratio to ReLU": f"{ratio:.2f}",
                    "fastest ms": f"{1e3 * min(values):.2f}",
                    "rounds": rounds,
                    "machine": machine(),
                    "versions": versions("torch"),
                }
            )
            print(*rows[-1].values(), sep="  ")
    write(RESULTS, rows)


if __name__ == "__main__":
    main()
