"""Does `discover` find a shortcut that was planted, and nothing where there is none? A grid of small networks.

Each seed draws its own radiographs of 64 × 64 and trains a plain network on them, and from it one network for each cell
of the grid (`grid.py`): without a shortcut, with one of each of the eight kinds, with two, and with one that lay there
by lot in training and goes with a finding only where the network is judged. Whether a network goes by its shortcut is
measured, on drawings with it and without it. Then `pl.discover` and SpRAy, the reference, look at the same 400 images.

    cd benchmarks
    OMP_NUM_THREADS=1 python -m discovery --work FOLDER [--seeds 7000:7020] [--methods spray discover] [--only none]
    python -m discovery --page

`--methods retraining` takes the shortcut away from the networks that go by it (`retraining.py`), and measures the gap
in AUROC between images on which it tells and on which it lies by lot, and what other findings lose.

Each network leaves a file in results/discovery/; what is there is not done again, so a run that was stopped goes on.
Weights and drawings are kept in --work. Settings are chosen on seeds below 1000, whose files stay in --work; those from
7000 on judge. --page writes results/discovery.md.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from discovery.grid import JUDGING, Cell, cells_of
from discovery.networks import areas, plain_drawings, trained, use_of, with_shortcuts
from discovery.page import FIRST, TELLS, write_page
from discovery.retraining import by_retraining
from discovery.scoring import Truth, by_discover, by_spray
from pellucid.utils.resources import finite, write_json
from table import machine, versions

RESULTS = Path(__file__).parents[1] / "results" / "discovery"
METHODS = ("spray", "discover")
FURTHER = "retraining"  # with the suspect that is the shortcut marked once: two minutes of a core a network


def measure(cell: Cell, methods: list[str], work: Path, results: Path) -> None:
    """Train the network of a cell and look at it by each method, but for what is there."""
    path = results / f"{cell.name}.json"
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if all(method in record for method in methods):
        return
    drawings = plain_drawings(cell, work)
    start = time.process_time()
    network = trained(cell, drawings["train"], work)
    if not record:
        record = {
            "name": cell.name,
            "seed": cell.seed,
            "group": cell.group,
            "prevalence": cell.prevalence,
            "plants": [vars(plant) for plant in cell.plants],
            "use": use_of(network, cell, drawings["test"]),
            "auroc": areas(network, drawings["test"]),
            "machine": machine(),
            "versions": versions("torch", "numpy", "scipy", "scikit-learn"),
            "seconds": {"network": time.process_time() - start},
        }
    truth = Truth.of(cell)
    for method in (m for m in methods if m not in record):
        start = time.process_time()
        if method == "spray":
            images = with_shortcuts(drawings["test"], cell, "test", seen="judged")
            record[method] = by_spray(network, images, drawings["test"], cell, truth)
        elif method == "discover":
            record[method] = by_discover(network, cell, truth)
        else:
            record[method] = by_retraining(network, cell, drawings, truth, work, tells=TELLS, first=FIRST)
        record["seconds"][method] = time.process_time() - start
        write_json(path, finite(record))
    print(cell.name, {kind: one["verdict"] for kind, one in record["use"].items()}, flush=True)


def main() -> None:
    """Run the grid, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder of weights and drawings")
    parser.add_argument("--seeds", default=f"{JUDGING}:{JUDGING + 20}", help="from:to")
    parser.add_argument("--methods", nargs="+", choices=(*METHODS, FURTHER), default=list(METHODS))
    parser.add_argument("--only", help="cells whose names hold this")
    parser.add_argument("--page", action="store_true")
    arguments = parser.parse_args()
    if arguments.page:
        write_page(RESULTS, RESULTS.with_suffix(".md"))
        return
    if arguments.work is None:
        parser.error("give --work, a folder for weights and drawings")
    torch.set_num_threads(1)
    first, last = (int(end) for end in arguments.seeds.split(":"))
    for seed in range(first, last):
        results = RESULTS if seed >= JUDGING else arguments.work / "results"
        for folder in (arguments.work, results):
            folder.mkdir(parents=True, exist_ok=True)
        for cell in cells_of(seed):
            if arguments.only is None or arguments.only in cell.name:
                measure(cell, arguments.methods, arguments.work, results)


if __name__ == "__main__":
    main()
