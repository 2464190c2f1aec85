"""Memory over an epoch of a set as large as ChestX-ray14: 112,120 entries, made by repeating a sample.

Two sets, one with as many entries as the sample has and one repeated to the full number, are cached at 64 × 64, and
an epoch of shuffled batches of 64 is read from each memory map. Anonymous memory (of /proc/self/smaps_rollup: what is
not backed by a file) is read after ten batches, after every tenth of the epoch, and at its end; the cache itself
is file-backed, so the system may drop it when memory is short. Writes results/loading_memory.csv.

    python benchmarks/loading_memory.py $PELLUCID_TEST_DATA/chestxray14 [--entries 112120]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

import table
from pellucid.data import materialize, open_dataset
from pellucid.data.dataset import Dataset
from pellucid.training.batches import Batches
from pellucid.types import InputSpec

SIZE, BATCH = 64, 64
RESULTS = Path(__file__).parent / "results" / "loading_memory.csv"


def anonymous() -> float:
    """Anonymous memory of this process, in MB."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("this system does not tell anonymous memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of chestxray14, or a part of it")
    parser.add_argument("--entries", type=int, default=112_120)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        sample = open_dataset("chestxray14", arguments.folder)["train"]
        pixels = np.array(materialize(sample, InputSpec.square(1, SIZE)))
        rows = [measure(sample, pixels, n, Path(scratch)) for n in (len(sample), arguments.entries)]
    place = {"machine": table.machine(), "versions": table.versions("torch", "numpy", "pellucid")}
    for row in rows:
        print(*row.values(), sep="  ")
    table.write(RESULTS, [{**row, **place} for row in rows])


def measure(sample: Dataset, pixels: np.ndarray, entries: int, scratch: Path) -> dict[str, object]:
    """Cache a set of so many entries and read one epoch."""
    names = tuple(str(i) for i in range(entries))
    targets = sample.targets[np.arange(entries) % len(sample)]
    read = [image[0] for image in pixels].__getitem__
    dataset = Dataset(sample.card, "train", names, names, targets, lambda i: read(i % len(sample)))
    cache = materialize(dataset, InputSpec.square(1, SIZE), directory=scratch)
    batches = Batches(cache, targets, BATCH, torch.device("cpu"))
    steps = iter(batches.epoch(0, seed=0))
    for _ in range(10):  # what is set up once, as buffers of the first batches
        next(steps)
    start = most = anonymous()
    for step, _ in enumerate(steps, start=11):
        if step % max(len(batches) // 10, 1) == 0:
            most = max(most, anonymous())
    end = anonymous()
    return {
        "entries": entries,
        "cache MB": f"{cache.nbytes / 1e6:.1f}",
        "steps": len(batches),
        "anonymous MB at the start": f"{start:.1f}",
        "most": f"{max(most, end):.1f}",
        "at the end": f"{end:.1f}",
    }


if __name__ == "__main__":
    main()
