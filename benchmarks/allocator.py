"""Passes and steps of a network with freed memory kept, beside glibc's own way of giving it back to the system.

EfficientNet-Lite0 (random weights) on images of 224 × 224, one thread, each round in a process of its own for either
way, in turns; the fastest round of each counts, as processor seconds (user and system), which other work on the machine
does not add to. Writes results/allocator.csv.

    python benchmarks/allocator.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import torch

import table
from pellucid.models import create_model

RESULTS = Path(__file__).parent / "results" / "allocator.csv"
WAYS = {"glibc's own": {"GLIBC_TUNABLES": ""}, "kept": {}}
BATCH, PASSES = 32, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help="measure in this process and print")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure()))
        return
    best: dict[tuple[str, str], list[float]] = {}
    for _ in range(options.rounds):
        for way, chosen in WAYS.items():
            out = subprocess.check_output(
                [sys.executable, __file__, "--measure"], env={**os.environ, **chosen}, text=True
            )
            for what, seconds in json.loads(out).items():
                best[what, way] = min(best.get((what, way), seconds), seconds, key=sum)
    rows = []
    for (what, way), (user, system) in sorted(best.items()):
        ratio = sum(best[what, way]) / sum(best[what, "glibc's own"])
        rows.append(
            {
                "what": what,
                "freed memory": way,
                "user ms/image": f"{user * 1e3:.1f}",
                "system ms/image": f"{system * 1e3:.1f}",
                "ratio": f"{ratio:.3f}",
                "rounds": options.rounds,
                "machine": table.machine(),
                "versions": table.versions("torch"),
            }
        )
    table.write(RESULTS, rows)


def measure() -> dict[str, tuple[float, float]]:
    """User and system seconds per image."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = create_model("efficientnet-lite0", classes=[str(c) for c in range(14)], task="multilabel", in_channels=3)
    images = torch.rand(BATCH, 3, 224, 224)

    @torch.inference_mode()
    def forward():
        model.eval()(images)

    def step():
        model.train()(images).sum().backward()

    return {"forward pass": seconds(forward), "training step": seconds(step)}


def seconds(call) -> tuple[float, float]:
    call()
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(PASSES):
        call()
    after = resource.getrusage(resource.RUSAGE_SELF)
    images = BATCH * PASSES
    return (after.ru_utime - before.ru_utime) / images, (after.ru_stime - before.ru_stime) / images


if __name__ == "__main__":
    main()
