"""Where the time of a robust step goes: the passes that it makes, each timed by itself, and what is left.

Two steps of benchmarks/README.md are split, each beside a plain step in one process, in turns, on one thread of
processor time: with adversarial images in half of the loss (`small`, 32 images of 96 × 96), and with the gradient
penalty by finite difference (ResNet-44 with half-Huber ReLUs, 128 images of 32 × 32). Counted in passes (one forward,
one backward to activations, one to weights) a plain step takes three. Medians of the rounds' ratios to the plain step;
`rest` is the whole step less its parts. Writes results/step_parts.csv.

    python benchmarks/step_parts.py [--rounds 10]
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

import penalty_step
from pellucid.models import create_model
from pellucid.training import Objective, load_recipe
from pellucid.types import Batch
from table import machine, versions, write

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path(__file__).parent / "results" / "step_parts.csv"
PLAIN, WHOLE = "plain step", "the whole step"


def step(objective: Objective, batch: Batch) -> float:
    """Seconds of a forward and a backward pass with everything between them."""
    started = time.process_time()
    objective(batch)[0].backward()
    spent = time.process_time() - started
    objective.zero_grad()
    return spent


def to_images(objective: Objective, batch: Batch, *, with_forward: bool) -> float:
    """Seconds of a backward pass to the images alone, with or without the forward pass before it."""
    images = batch.images.clone().requires_grad_()
    started = time.process_time()
    logits = objective.classifier(images)
    if not with_forward:
        started = time.process_time()
    torch.autograd.grad(logits.sum(), images)
    return time.process_time() - started


def adversarial() -> dict[str, tuple[float, Callable[[], float]]]:
    """The parts of a step with adversarial images in half of the loss: passes over a plain step's three, and how."""
    torch.manual_seed(0)
    model = create_model("small", classes=[str(i) for i in range(8)], task="multilabel", size=96).train()
    targets = (torch.rand(64, 8) < 0.2).float()
    both = Batch(torch.rand(64, 1, 96, 96), targets, torch.arange(64))
    half = Batch(both.images[:32], targets[:32], torch.arange(32))
    plain, robust = (
        Objective(model, load_recipe(name).objective, targets)
        for name in ("khakzar2019-baseline", "khakzar2019-robust")
    )

    def attack() -> float:
        model.eval()  # as in the step
        spent = to_images(plain, half, with_forward=True)
        model.train()
        return spent

    return {
        PLAIN: (1, lambda: step(plain, half)),
        "clean and adversarial images in one batch": (2, lambda: step(plain, both)),
        "the attack's gradient": (2 / 3, attack),
        WHOLE: (8 / 3, lambda: step(robust, half)),
    }


def penalty() -> dict[str, tuple[float, Callable[[], float]]]:
    """The parts of a step with the gradient penalty by finite difference."""
    batch = penalty_step.made_batch(torch.device("cpu"), torch.contiguous_format)
    plain = penalty_step.objective("plain, half-Huber")
    robust = penalty_step.objective("penalty, half-Huber, finite difference (auto)")
    return {
        PLAIN: (1, lambda: step(plain, batch)),
        "the step at the images and at the moved ones": (2, lambda: step(plain, batch) + step(plain, batch)),
        "the backward pass to the images": (1 / 3, lambda: to_images(plain, batch, with_forward=False)),
        WHOLE: (7 / 3, lambda: step(robust, batch)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    rows = []
    for name, parts in (("adversarial images in half of the loss", adversarial()), ("gradient penalty", penalty())):
        seconds: dict[str, list[float]] = {part: [] for part in parts}
        for turn in range(rounds + 1):  # the first warms up
            order = list(parts)[turn % len(parts) :] + list(parts)[: turn % len(parts)]
            for part in order:
                spent = parts[part][1]()
                if turn:
                    seconds[part].append(spent)
        ratios = {
            part: statistics.median(a / b for a, b in zip(values, seconds[PLAIN], strict=True))
            for part, values in seconds.items()
        }
        inner = [part for part in parts if part not in (PLAIN, WHOLE)]
        counted = {part: count for part, (count, _) in parts.items()} | {"rest": 0.0}
        for part, ratio in (ratios | {"rest": ratios[WHOLE] - sum(ratios[part] for part in inner)}).items():
            figures = {"ratio to plain": f"{ratio:.2f}", "ratio counted in passes": f"{counted[part]:.2f}"}
            print(name, part, *figures.values(), sep="  ", flush=True)
            place = {"rounds": rounds, "machine": machine(), "versions": versions("torch", "pellucid")}
            rows.append({"step": name, "part": part, **figures, **place})
    write(RESULTS, rows)


if __name__ == "__main__":
    main()
