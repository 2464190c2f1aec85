"""What robust training costs: one step of each recipe beside a plain step, in one process.

The `small` network on 32 grey images of 96 × 96, weighted cross entropy, forward, backward and the attack; the order
changes from round to round and each recipe's fastest round counts, in processor time of one thread. Beside the
measured ratio stands the one counted in passes: a plain step is one forward and two backward passes (to activations
and to weights), a gradient evaluation of the attack one of each. Writes results/training_step.csv.

    python benchmarks/training_step.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

import table
from pellucid.models import create_model
from pellucid.training import Objective, load_recipe
from pellucid.types import Batch

RECIPES = ("khakzar2019-baseline", "khakzar2019-minmax", "khakzar2019-robust", "khakzar2019-robust-pgd10")
RESULTS = Path(__file__).parent / "results" / "training_step.csv"


def passes(name: str) -> float:
    """Passes of one step over those of a plain step (three)."""
    objective = load_recipe(name).objective
    trained = 3 if objective.mix in (0, 1) else 6
    attack = 0 if objective.mix == 1 else 2 * objective.attack.steps
    return (trained + attack) / 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = create_model("small", classes=[str(i) for i in range(8)], task="multilabel", size=96).train()
    targets = (torch.rand(32, 8) < 0.2).float()
    batch = Batch(torch.rand(32, 1, 96, 96), targets, torch.arange(32))
    objectives = {name: Objective(model, load_recipe(name).objective, targets) for name in RECIPES}
    best = dict.fromkeys(RECIPES, float("inf"))
    for turn in range(rounds + 1):  # the first warms up
        order = list(RECIPES)[turn % len(RECIPES) :] + list(RECIPES)[: turn % len(RECIPES)]
        for name in order:
            started = time.process_time()
            objectives[name](batch)[0].backward()
            if turn:
                best[name] = min(best[name], time.process_time() - started)
            model.zero_grad()
    plain = best[RECIPES[0]]
    place = {"machine": table.machine(), "versions": table.versions("torch", "pellucid")}
    rows = []
    for name, seconds in best.items():
        figures = {
            "ms a step": f"{seconds * 1e3:.1f}",
            "ratio to plain": f"{seconds / plain:.2f}",
            "ratio counted in passes": f"{passes(name):.2f}",
        }
        print(name, *figures.values(), sep="  ")
        rows.append({"recipe": name, **figures, "rounds": rounds, **place})
    table.write(RESULTS, rows)


if __name__ == "__main__":
    main()
