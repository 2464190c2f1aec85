"""How many phantom images one core draws in a second, and how long opening the default phantom takes.

    OMP_NUM_THREADS=1 python benchmarks/phantom.py

Writes benchmarks/results/phantom.csv. Processor time; the best of five rounds.
"""

from __future__ import annotations

import platform
import time
from pathlib import Path

import numpy as np

import table
from pellucid.data.readers.phantom.reader import open_phantom

COUNTS = {128: 300, 256: 100}
ROUNDS = 5


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
        rows.append(
            {
                "size": size,
                "images": count,
                "seconds": f"{best:.3f}",
                "images_per_second": f"{count / best:.1f}",
                "open_seconds": f"{opening:.2f}",
                "cpu": table.processor(),
                "python": platform.python_version(),
                "numpy": np.__version__,
            }
        )
    table.write(Path(__file__).parent / "results" / "phantom.csv", rows)


if __name__ == "__main__":
    main()
