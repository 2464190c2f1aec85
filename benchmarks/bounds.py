"""The area of a certified network between bounds and attacks: `pellucid certify --method bounds`.

The network is `convex-small-36px` of Wong & Kolter 2018 (github locuslab/convex_adversarial, MIT), trained so that much
is certified within an L2 length of 36/255; the images are the first test images of CIFAR-10, without loss. Writes
results/bounds.csv, a row per image as `certify.csv` has it, and prints the bracket; about 6 CPU seconds per image. The
same command goes on after an interruption.

    python benchmarks/bounds.py [--data DIR] [--runs FOLDER] [--limit 64]
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
from pathlib import Path

import numpy as np
import torch

import pellucid as pl
from tight_efforts import certified

RESULTS = Path(__file__).parent / "results" / "bounds.csv"
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
LENGTH = 36 / 255  # for which the network was trained


def main() -> None:
    """Certify, attack, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PELLUCID_TEST_DATA", "data")))
    parser.add_argument("--runs", type=Path, default=Path("runs/bounds"))
    parser.add_argument("--limit", type=int, default=64)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    network = certified(arguments.data / "weights" / "convex-small-36px.pth").eval()
    model = pl.wrap(network, CLASSES, task="multiclass", size=32, mean=[0, 0, 0], std=[1, 1, 1], outputs="logits")
    images = pl.dataset("cifar10", root=arguments.data / "cifar-10-batches-bin", split="test")
    part = images.subset(range(arguments.limit))
    result = pl.certify(model, part, method="bounds", out=arguments.runs)
    shutil.copy(arguments.runs / "certify.csv", RESULTS)
    for row in result.rows:
        print(row)
    rows = list(csv.DictReader(RESULTS.open(newline="")))
    held = sum(row["right"] == "1" and float(row["certified_l2"]) >= LENGTH for row in rows)
    print(f"certified at {LENGTH:.3f}: {held} of {len(rows)}")
    ratios = [float(r["attack_rms"]) / float(r["certified_rms"]) for r in rows if r["right"] == "1"]
    print(f"attack over certificate, where right: median {np.median(ratios):.2f}, largest {max(ratios):.2f}")


if __name__ == "__main__":
    main()
