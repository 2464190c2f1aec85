"""Does `discover` find a shortcut that was planted, and nothing where there is none? A grid of small networks.

Each seed draws its own radiographs of 64 × 64 and trains a plain network on them, and from it one network for each cell
of the grid (`grid.py`): without a shortcut, with one of each of the eight kinds, with two, and with one that lay there
by lot in training and goes with a finding only where the network is judged. Whether a network goes by its shortcut is
measured, on drawings with it and without it. Then `pl.discover` and SpRAy, the reference, look at the same 400 images,
and of a few networks `discover` once more without the findings' marks (`discover-unmarked`).

    cd benchmarks
    OMP_NUM_THREADS=1 python -m discovery --work FOLDER [--seeds 8000:8060] [--methods spray discover] [--only none]
    python -m discovery --page

`--methods retraining` takes the shortcut away from the networks that go by it, of which it was found at a place
(`retraining.py`), and measures the gap in AUROC between images on which it tells and on which it lies by lot, and what
other findings lose. It takes two minutes of a core a network: `--only letter tube`, `--seeds 8000:8030` make it fewer.

Each network leaves a file in results/discovery/; what is there is not done again, so a run that was stopped goes on.
It keeps what was found as it was found: `--rescore` holds it against the truth once more, as after a change of the
criterion. Weights and drawings are kept in --work, and there the files of seeds that judge nothing (`grid.py` says
which were seen). `--cells results/discovery_7000` looks at the networks of the files there instead of the grid's, on
whose shortcuts `discover` can be developed. --page writes results/discovery.md; with --work, FOLDER/discovery.md of the
files that are there.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from discovery.grid import JUDGING, SEEDS, Cell, cells_of
from discovery.methods import by_discover, by_spray
from discovery.networks import areas, plain_drawings, trained, use_of, with_shortcuts
from discovery.page import FIRST, UNMARKED, write_page
from discovery.retraining import by_retraining
from discovery.scoring import Truth, score
from pellucid.utils.resources import finite, write_text
from table import machine, versions

RESULTS = Path(__file__).parents[1] / "results" / "discovery"
METHODS = ("spray", "discover", UNMARKED)
FURTHER = "retraining"  # with the suspect that is the shortcut marked once: two minutes of a core a network


def asked_of(cell: Cell, methods: list[str]) -> list[str]:
    """The methods that look at a cell, in their order; what is taken away must have been found before."""
    names = {*methods, "discover"} if FURTHER in methods else set(methods)
    return [m for m in (*METHODS, FURTHER) if m in names and (m != UNMARKED or cell.without_marks)]


def measure(cell: Cell, methods: list[str], work: Path, results: Path) -> None:
    """Train the network of a cell and look at it by each method, but for what is there."""
    path = results / f"{cell.name}.json"
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    missing = [method for method in asked_of(cell, methods) if method not in record]
    if not missing:
        return
    start = time.process_time()
    drawings = plain_drawings(cell, work)
    network = trained(cell, drawings["train"], work)
    truth = Truth.of(cell)
    if not record:
        record = {
            "name": cell.name,
            "seed": cell.seed,
            "group": cell.group,
            "prevalence": cell.prevalence,
            "plants": [vars(plant) for plant in cell.plants],
            "use": use_of(network, cell, drawings["test"], truth.has),
            "auroc": areas(network, drawings["test"]),
            "machine": machine(),
            "versions": versions("torch", "numpy", "scipy", "scikit-learn"),
            "seconds": {"network": time.process_time() - start},
        }
    for method in missing:
        start = time.process_time()
        if method == "spray":
            images = with_shortcuts(drawings["test"], cell, "test", seen="judged")
            record[method] = by_spray(network, images, drawings["test"], cell)
        elif method == FURTHER:
            record[method] = by_retraining(network, cell, drawings, truth, work, record, first=FIRST)
        else:
            record[method] = by_discover(network, cell, marks=method == "discover")
        record["seconds"][method] = time.process_time() - start
        score(record, cell, truth)
        keep(path, record)
    seconds = ", ".join(f"{name} {record['seconds'][name]:.0f}" for name in ("network", *missing))
    print(cell.name, {kind: one["verdict"] for kind, one in record["use"].items()}, f"CPU s: {seconds}", flush=True)


def keep(path: Path, record: dict[str, Any]) -> None:
    """Write a record, a line for each of its parts."""
    parts = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in finite(record).items()]
    write_text(path, "{\n" + ",\n".join(parts) + "\n}\n")


def rescore(results: Path, first: int) -> None:
    """Hold what the files of a folder say was found against the truth once more.

    Args:
        results: the folder.
        first: the lowest seed whose file is read.
    """
    for path in sorted(results.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["seed"] < first:
            continue
        cell = Cell.of(record)
        score(record, cell, Truth.of(cell))
        keep(path, record)


def main() -> None:
    """Run the grid, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder of weights and drawings")
    parser.add_argument("--seeds", default=f"{JUDGING}:{JUDGING + SEEDS}", help="from:to")
    parser.add_argument("--methods", nargs="+", choices=(*METHODS, FURTHER), default=list(METHODS))
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="cells whose names hold one of these")
    parser.add_argument("--cells", type=Path, metavar="FOLDER", help="with files of networks, for the grid's cells")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--rescore", action="store_true")
    arguments = parser.parse_args()
    if arguments.page or arguments.rescore:
        results, least = (arguments.work / "results", 0) if arguments.work else (RESULTS, JUDGING)
        if arguments.rescore:
            rescore(results, least)
        if arguments.page:
            write_page(results, results.parent / "discovery.md", least)
        return
    if arguments.work is None:
        parser.error("give --work, a folder for weights and drawings")
    torch.set_num_threads(1)
    first, last = (int(end) for end in arguments.seeds.split(":"))
    if arguments.cells is None:
        cells = [cell for seed in range(first, last) for cell in cells_of(seed)]
    else:
        files = sorted(arguments.cells.glob("*.json"))
        cells = [Cell.of(json.loads(path.read_text(encoding="utf-8"))) for path in files]
    for cell in cells:
        results = RESULTS if cell.seed >= JUDGING else arguments.work / "results"
        results.mkdir(parents=True, exist_ok=True)
        arguments.work.mkdir(parents=True, exist_ok=True)
        if first <= cell.seed < last and (arguments.only is None or any(text in cell.name for text in arguments.only)):
            measure(cell, arguments.methods, arguments.work, results)


if __name__ == "__main__":
    main()
