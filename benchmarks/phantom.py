"""How many phantom images one core draws in a second, and how long opening the default phantom takes.

    OMP_NUM_THREADS=1 python benchmarks/phantom.py

Writes benchmarks/results/phantom.csv. Processor time; the best of five rounds.
"""

from __future__ import annotations

import csv
import platform
import time
from pathlib import Path

import numpy as np

from pellucid.data.phantom import open_phantom

COUNTS = {128: 300, 256: 100}
ROUNDS = 5


def cpu_model() -> str:
    """The processor's name, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def main() -> None:
    rows = []
    for size, count in COUNTS.items():
        start = time.process_time()
        images = open_phantom(options={"size": size})["train"]
        opening = time.process_time() - start
        seconds = []
        for _ in range(ROUNDS):
            start = time.process_time()
            np.stack([images.read(i) for i in range(count)])  # a batch, as a training loop makes one
            seconds.append(time.process_time() - start)
        best = min(seconds)
        print(f"{size}²: {count / best:.0f} images/s; opening 1,900 images took {opening:.2f} s")
        rows.append([size, count, f"{best:.3f}", f"{count / best:.1f}", f"{opening:.2f}"])
    path = Path(__file__).parent / "results" / "phantom.csv"
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["size", "images", "seconds", "images_per_second", "open_seconds", "cpu", "python", "numpy"])
        table.writerows([*row, cpu_model(), platform.python_version(), np.__version__] for row in rows)


if __name__ == "__main__":
    main()
