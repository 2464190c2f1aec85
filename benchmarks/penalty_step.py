"""What the gradient penalty costs: one training step with it beside a plain one, in one process.

ResNet-44 with half-Huber ReLUs on 128 colour images of 32 × 32, batch norm in training mode; forward and backward
passes, no optimiser. The penalty of `woods2019-robust` by finite difference and by double backward; beside it the whole
steps of the author's recipes. Counted in passes (one forward, one backward to activations, one to weights), a plain
step takes three; the finite difference adds a backward pass to the images and another three: seven. Every round runs
all of them, in another order; the median of the rounds' ratios to the plain step counts. Writes
results/penalty_step.csv.

    python benchmarks/penalty_step.py [--rounds 5] [--threads 1] [--device cpu]
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

from pellucid.models import create_model
from pellucid.training import Objective, load_recipe
from pellucid.types import Batch
from table import machine, versions, write

RESULTS = Path(__file__).parent / "results" / "penalty_step.csv"
PLAIN = "plain"
HALF_HUBER = "model.options.activation='half-huber'"
CASES = {
    PLAIN: ("woods2019-standard", [HALF_HUBER]),
    "plain, ReLU": ("woods2019-standard", []),
    "penalty, finite difference": ("woods2019-robust", []),
    "penalty, exact": ("woods2019-robust", ["objective.gradient_penalty.method='exact'"]),
    "adversarial (7 steps)": ("woods2019-adversarial", []),
    "all (7 steps, finite difference)": ("woods2019-all", []),
}
COUNTED = {PLAIN: 3, "plain, ReLU": 3, "penalty, finite difference": 7}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--channels-last", action="store_true")
    arguments = parser.parse_args()
    rows = []
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        seconds = measure(arguments.rounds, torch.device(arguments.device), arguments.channels_last)
        for name, taken in seconds.items():
            ratio = statistics.median(own / plain for own, plain in zip(taken, seconds[PLAIN], strict=True))
            counted = f"{COUNTED[name] / 3:.2f}" if name in COUNTED else ""
            row = {
                "step": name,
                "fastest ms": f"{min(taken) * 1e3:.0f}",
                "median ratio to plain": f"{ratio:.2f}",
                "ratio counted in passes": counted,
                "rounds": arguments.rounds,
                "machine": f"{arguments.device}; {machine(threads)}",
                "versions": versions("torch"),
            }
            print(*row.values(), sep="  ")
            rows.append(row)
    write(RESULTS, rows)


def measure(rounds: int, device: torch.device, channels_last: bool) -> dict[str, list[float]]:
    """Seconds of every round by case: of the processor on a CPU, by the clock on an accelerator."""
    torch.manual_seed(0)
    order = torch.channels_last if channels_last else torch.contiguous_format
    images = torch.rand(128, 3, 32, 32, device=device).contiguous(memory_format=order)
    batch = Batch(images, torch.randint(0, 10, (128,), device=device), torch.arange(128, device=device))
    objectives = {}
    for name, (recipe, overrides) in CASES.items():
        loaded = load_recipe(recipe, overrides)
        network = create_model(
            loaded.model.name, classes=list("0123456789"), task="multiclass", in_channels=3, **loaded.model.options
        )
        objective = Objective(network, loaded.loss, torch.arange(10))
        objectives[name] = objective.to(device).to(memory_format=order).train()
    seconds: dict[str, list[float]] = {name: [] for name in CASES}
    names = list(CASES)
    for turn in range(rounds + 1):  # the first warms up
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            clock = time.perf_counter if device.type == "cuda" else time.process_time
            started = clock()
            objectives[name](batch)[0].backward()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                seconds[name].append(clock() - started)
            objectives[name].zero_grad()
    return seconds


if __name__ == "__main__":
    main()
