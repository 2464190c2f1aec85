"""A training pass with two threads, on idle cores and beside four busy processes: how long threads wait for each other.

The small network on 32 images of 96 × 96; twelve forward and backward passes, each time in a process of its own, in
turns; the fastest round of each counts, in seconds on the clock and of the processor. Writes results/busy_cores.csv.

    python benchmarks/busy_cores.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import table
from pellucid.models import create_model

RESULTS = Path(__file__).parent / "results" / "busy_cores.csv"
OWN = "20,000 turns, as Pellucid sets it"
WAYS = {
    "300,000 turns, GNU OpenMP's own": {"GOMP_SPINCOUNT": "300000"},
    OWN: {},
    "none (OMP_WAIT_POLICY=passive)": {"OMP_WAIT_POLICY": "passive"},
}
PASSES = 12


def main() -> None:
    """Measure every way, idle and busy, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help="measure in this process and print")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure()))
        return
    rows = []
    for others in (0, 4):
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(others)]
        try:
            best: dict[str, list[float]] = {}
            for _ in range(options.rounds):
                for way, chosen in WAYS.items():
                    out = subprocess.check_output(
                        [sys.executable, __file__, "--measure"], env={**os.environ, **chosen}, text=True
                    )
                    best[way] = min(best.get(way, json.loads(out)), json.loads(out))
        finally:
            for process in busy:
                process.kill()
        for way, (wall, processor) in best.items():
            rows.append(
                {
                    "other busy processes": others,
                    "a waiting thread's": way,
                    "seconds": f"{wall:.2f}",
                    "processor seconds": f"{processor:.2f}",
                    "ratio of seconds": f"{wall / best[next(iter(WAYS))][0]:.2f}",
                    "rounds": options.rounds,
                    "machine": table.machine(2),
                    "versions": table.versions("torch"),
                }
            )
    table.write(RESULTS, rows)


def measure() -> list[float]:
    """Seconds of twelve passes, on the clock and of the processor."""
    torch.set_num_threads(2)
    network = create_model("small", classes=tuple("abcdefgh"), task="multilabel", in_channels=1, size=(96, 96)).train()
    images, targets = torch.rand(32, 1, 96, 96), (torch.rand(32, 8) > 0.8).float()

    def step() -> None:
        F.binary_cross_entropy_with_logits(network(images), targets).backward()

    for _ in range(3):
        step()
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(PASSES):
        step()
    return [time.perf_counter() - wall, time.process_time() - processor]


if __name__ == "__main__":
    main()
