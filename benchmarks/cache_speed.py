"""How much of all processors the making of a cache uses.

The images of ChestX-ray14 as released (1024 × 1024), several times over, are decoded into a cache of 256 × 256.
Processor time of this process over time on the clock, divided by the processors that it may use, of the best of some
rounds. On a machine that is busy with other things the figure is too low. Writes results/cache_speed.csv.

    python benchmarks/cache_speed.py $PELLUCID_TEST_DATA/chestxray14-native [--rounds 3] [--images 680]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

import table
from pellucid.data import materialize
from pellucid.data.dataset import Dataset, DatasetCard
from pellucid.data.decoding.image import read_image
from pellucid.types import InputSpec
from pellucid.utils.parallel import available_processors

RESULTS = Path(__file__).parent / "results" / "cache_speed.csv"
CARD = DatasetCard("native", "ChestX-ray14, native files", "multiclass", ("any",))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with images/*.png of 1024 × 1024")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=680)
    arguments = parser.parse_args()
    files = sorted(arguments.folder.glob("images/*.png"))
    if not files:
        parser.error(f"no images/*.png in {arguments.folder}")
    names = tuple(str(i) for i in range(arguments.images))
    targets = np.zeros(len(names), np.int64)
    dataset = Dataset(CARD, "train", names, names, targets, lambda i: read_image(files[i % len(files)]))
    best: dict[str, float] = {"use": 0.0}
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as scratch:
            started, used = time.perf_counter(), time.process_time()
            materialize(dataset, InputSpec.square(1, 256), directory=scratch)
            seconds, used = time.perf_counter() - started, time.process_time() - used
        use = used / seconds / available_processors()
        if use > best["use"]:
            best = {"use": use, "seconds": seconds}
    row = {
        "images": len(dataset),
        "processors": available_processors(),
        "seconds": f"{best['seconds']:.2f}",
        "images a second": f"{len(dataset) / best['seconds']:.0f}",
        "use of all processors": f"{best['use']:.3f}",
        "rounds": arguments.rounds,
        "machine": table.machine(available_processors()),
        "versions": table.versions("numpy", "pillow", "pellucid"),
    }
    print(*row.values(), sep="  ")
    table.write(RESULTS, [row])


if __name__ == "__main__":
    main()
