"""The gradient penalty's two methods: how near the finite difference comes to the exact gradient, and what both cost.

**Agreement** (results/penalty_agreement.csv): cosine and ratio of lengths of the two gradients by the parameters, of
the penalty of `woods2019-robust` on CIFAR-10's training images; means over draws (other images and other outputs, and
for a fresh network another one), with 95 % intervals by bootstrap over them. The trained networks are the two that
Woods et al. published. On networks with ReLUs also the difference that crosses no corner (`same-side`).

**Cost** (results/penalty_step.csv): one training step with it beside a plain one, in one process. ResNet-44 on 128
colour images of 32 × 32, batch norm in training mode; forward and backward passes, no optimiser. Counted in passes (one
forward, one backward to activations, one to weights), a plain step takes three; the finite difference adds a backward
pass to the images and another three: seven. Every round runs all of them, in another order; the median of the rounds'
ratios to the plain step with the same activation counts. Memory is what a step adds to the largest resident memory of a
process of its own.

    python benchmarks/penalty_step.py agreement --data DIR [--draws 10] [--only WORD]
    python benchmarks/penalty_step.py cost [--rounds 5] [--threads 1] [--device cpu] [--only WORD]
"""

from __future__ import annotations

import argparse
import csv
import resource
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from scipy.stats import bootstrap

from pellucid.data import materialize, open_dataset
from pellucid.models import create_model
from pellucid.models.inference import as_pixels
from pellucid.models.sources.woods2019 import read_woods2019
from pellucid.training import Objective, load_recipe
from pellucid.training.distributed import BatchRandom
from pellucid.training.objectives.gradient_penalty import PenaltySettings, gradient_penalty
from pellucid.training.objectives.replayable import ReplayableForward
from pellucid.types import Batch, InputSpec
from table import machine, versions, write

RESULTS = Path(__file__).parent / "results"
STEPS = (0.1, 0.01, 0.001, 0.0001)
DIFFERENCES = ("finite-difference", "same-side")
IMAGES = 16  # a draw

# architecture and options, or a file of weights; whether it is in training mode; size of the images
NETWORKS = {
    "resnet44-standard (ReLU), trained": ("resnet44-standard.pt", {}, True, 32),
    "the same, eval mode": ("resnet44-standard.pt", {}, False, 32),
    "resnet44, ReLU, fresh": ("resnet44", {"activation": "relu"}, True, 32),
    "small, ReLU, fresh": ("small", {"activation": "relu"}, True, 32),
    "resnet44-all (half-Huber), trained": ("resnet44-all.pt", {}, True, 32),
    "resnet44, half-Huber, fresh": ("resnet44", {"activation": "half-huber"}, True, 32),
    "small-wide at 112², half-Huber, fresh": ("small-wide", {"activation": "half-huber"}, True, 112),
}

RELU, HALF_HUBER = "model.options.activation='relu'", "model.options.activation='half-huber'"
EXACT, DIFFERENCE, SAME_SIDE = (
    f"objective.gradient_penalty.method='{name}'" for name in ("exact", "finite-difference", "same-side")
)
CASES = {  # recipe, overrides, the plain step that it is held against, its cost counted in passes
    "plain, ReLU": ("woods2019-standard", [RELU], "plain, ReLU", 3),
    "penalty, ReLU, exact": ("woods2019-robust", [RELU, EXACT], "plain, ReLU", None),
    "penalty, ReLU, finite difference": ("woods2019-robust", [RELU, DIFFERENCE], "plain, ReLU", 7),
    "penalty, ReLU, same-side (auto)": ("woods2019-robust", [RELU, SAME_SIDE], "plain, ReLU", 7),
    "plain, half-Huber": ("woods2019-standard", [HALF_HUBER], "plain, half-Huber", 3),
    "penalty, half-Huber, exact": ("woods2019-robust", [EXACT], "plain, half-Huber", None),
    "penalty, half-Huber, finite difference (auto)": ("woods2019-robust", [DIFFERENCE], "plain, half-Huber", 7),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    agreement = commands.add_parser("agreement")
    agreement.add_argument("--data", type=Path, required=True, help="the folder of cifar-10-batches-bin/ and weights/")
    agreement.add_argument("--draws", type=int, default=10)
    agreement.add_argument("--only", default="", help="of the differences; the rows of others are kept")
    cost = commands.add_parser("cost")
    cost.add_argument("--rounds", type=int, default=5)
    cost.add_argument("--threads", type=int, nargs="+", default=[1])
    cost.add_argument("--device", default="cpu")
    cost.add_argument("--channels-last", action="store_true")
    cost.add_argument("--only", default="", help="of the steps; the rows of others are kept")
    memory = commands.add_parser("memory", help="used by the script itself: print what one case takes")
    memory.add_argument("case")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*finite-difference.*kinks")  # it is what is measured
    if arguments.command == "agreement":
        torch.set_num_threads(1)
        write_with(
            RESULTS / "penalty_agreement.csv", agreements(arguments.data, arguments.draws, arguments.only), "method"
        )
    elif arguments.command == "cost":
        write_with(RESULTS / "penalty_step.csv", costs(arguments), "step")
    else:
        torch.set_num_threads(1)
        print(memory_of(arguments.case))


def write_with(path: Path, rows: list[dict[str, object]], key: str) -> None:
    """Rows, after those of a table before that measured something else."""
    names = {row[key] for row in rows}
    with path.open(encoding="utf-8", newline="") as stream:
        kept = [row for row in csv.DictReader(stream) if row[key] not in names]
    write(path, [*kept, *rows])


def agreements(data: Path, draws: int, only: str) -> list[dict[str, object]]:
    train = open_dataset("cifar10", data)["train"]
    rows = []
    cases = [(method, *one) for method in DIFFERENCES if only in method for one in NETWORKS.items()]
    cases = [case for case in cases if case[0] != "same-side" or "Huber" not in case[1]]
    for method, name, (source, options, training, size) in cases:
        values = []
        for draw in range(draws):
            part = train.limit(IMAGES, seed=draw)
            images = as_pixels(materialize(part, InputSpec.square(3, size)))
            net = network(data, source, options, size, draw).train(training)
            values.append(agreement_of(method, net, images, torch.from_numpy(part.targets), draw))
        for step, column in zip(STEPS, np.array(values).transpose(1, 2, 0), strict=True):
            row: dict[str, object] = {"method": method, "network": name, "step": step}
            for what, numbers in zip(("cosine", "length ratio"), column, strict=True):
                low, high = bootstrap((numbers,), np.mean, method="percentile", rng=0).confidence_interval
                ends = (f"{low:.9f}", f"{high:.9f}")
                ends = ("", "") if ends[0] == ends[1] else ends  # no interval is of zero width
                row |= {what: f"{numbers.mean():.6f}", f"{what} from": ends[0], f"{what} to": ends[1]}
            row |= {"smallest cosine": f"{column[0].min():.6f}", "draws": draws, "images a draw": IMAGES}
            row |= {"machine": machine(1), "versions": versions("torch")}
            print(*list(row.values())[:-2], sep="  ", flush=True)
            rows.append(row)
    return rows


def network(data: Path, source: str, options: dict[str, object], size: int, seed: int) -> torch.nn.Module:
    if source.endswith(".pt"):
        return read_woods2019(data / "weights" / source)[0]
    torch.manual_seed(seed)
    return create_model(source, classes=list("0123456789"), task="multiclass", in_channels=3, size=size, **options)


def agreement_of(
    method: str, net: torch.nn.Module, images: torch.Tensor, targets: torch.Tensor, seed: int
) -> list[tuple[float, float]]:
    """Cosine with the exact gradient and ratio of the lengths, for each step of the finite difference."""
    passed = ReplayableForward(net, notes_sides=method == "same-side")
    images.requires_grad_()
    logits = passed(images)

    def gradient(**settings: object) -> torch.Tensor:
        chosen = PenaltySettings(tandem=0.2, **settings)
        penalty = gradient_penalty(
            passed, images, logits, targets, chosen, task="multiclass", random=BatchRandom(seed)
        ).value
        parts = torch.autograd.grad(penalty, list(net.parameters()), retain_graph=True, materialize_grads=True)
        return torch.cat([part.flatten() for part in parts]).double()

    exact = gradient(method="exact")
    found = [gradient(method=method, step=step) for step in STEPS]
    return [(float(torch.cosine_similarity(g, exact, dim=0)), float(g.norm() / exact.norm())) for g in found]


def costs(arguments: argparse.Namespace) -> list[dict[str, object]]:
    command = [sys.executable, __file__, "memory"]
    memory = {
        name: float(subprocess.run([*command, name], capture_output=True, text=True, check=True).stdout.split()[-1])
        for name in CASES
        if arguments.only in name
    }
    rows = []
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        seconds = measure(list(memory), arguments.rounds, torch.device(arguments.device), arguments.channels_last)
        for name, used in memory.items():
            _, _, plain, passes = CASES[name]
            ratio = statistics.median(own / other for own, other in zip(seconds[name], seconds[plain], strict=True))
            row: dict[str, object] = {
                "step": name,
                "fastest ms": f"{min(seconds[name]) * 1e3:.0f}",
                "median ratio to plain": f"{ratio:.2f}",
                "ratio counted in passes": "" if passes is None else f"{passes / 3:.2f}",
                "memory ratio to plain": f"{used / memory[plain]:.2f}",
                "rounds": arguments.rounds,
                "machine": f"{arguments.device}; {machine(threads)}",
                "versions": versions("torch"),
            }
            print(*row.values(), sep="  ", flush=True)
            rows.append(row)
    return rows


def measure(names: list[str], rounds: int, device: torch.device, channels_last: bool) -> dict[str, list[float]]:
    """Seconds of every round by case: of the processor on a CPU, by the clock on an accelerator."""
    order = torch.channels_last if channels_last else torch.contiguous_format
    batch = made_batch(device, order)
    objectives = {name: objective(name).to(device).to(memory_format=order) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
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


def memory_of(name: str) -> float:
    """How many MiB a step adds to the largest resident memory."""
    step, batch = objective(name), made_batch(torch.device("cpu"), torch.contiguous_format)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step(batch)[0].backward()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def made_batch(device: torch.device, order: torch.memory_format) -> Batch:
    torch.manual_seed(0)
    images = torch.rand(128, 3, 32, 32, device=device).contiguous(memory_format=order)
    return Batch(images, torch.randint(0, 10, (128,), device=device), torch.arange(128, device=device))


def objective(name: str) -> Objective:
    recipe, overrides, _, _ = CASES[name]
    loaded = load_recipe(recipe, overrides)
    net = create_model(
        loaded.model.name, classes=list("0123456789"), task="multiclass", in_channels=3, **loaded.model.options
    )
    return Objective(net, loaded.objective, torch.arange(10)).train()


if __name__ == "__main__":
    main()
