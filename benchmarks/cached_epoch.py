"""One epoch of batches from the cache, beside decoding the files in every epoch, and beside torchxrayvision's dataset.

Images of 1024 × 1024 as ChestX-ray14 releases them, for a network of 256 × 256 (grey). Three ways to the same float
batches, all in one process and one thread, the order changing from round to round, the fastest round of each counting
in processor time:

- `cached`: `pellucid.training.batches.Batches` over the memory map that `pellucid data cache` writes;
- `decoded`: every file decoded from 1024 × 1024 and fitted to 256 × 256, as the cache does once;
- `torchxrayvision`: its `NIH_Dataset`, reading PNG files of 256 × 256 with the same images, and stacking them.

The files are in the page cache for all of them. torchxrayvision's own `datasets.py` runs, installed here or in a folder
of its own (`pip install --target DIR --no-deps torchxrayvision scikit-image imageio lazy_loader pandas …`); where
torchvision cannot be imported, a stub stands in for it, as no function of torchvision takes part in reading. Writes
results/cached_epoch.csv.

    python benchmarks/cached_epoch.py $PELLUCID_TEST_DATA/chestxray14-native [--torchxrayvision DIR] [--rounds 5]
"""

from __future__ import annotations

import argparse
import csv
import importlib
import importlib.util
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

import table
from pellucid.data import materialize
from pellucid.data.dataset import Dataset, DatasetCard, SourceFile
from pellucid.data.decoding.fitting import fit
from pellucid.data.decoding.image import read_image
from pellucid.training.batches import Batches
from pellucid.types import InputSpec

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = 256
REPEATS = 20  # epochs over the cache in one round: one is over in milliseconds
RESULTS = Path(__file__).parent / "results" / "cached_epoch.csv"
CARD = DatasetCard("native", "ChestX-ray14, native files", "multiclass", ("any",))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with images/*.png of 1024 × 1024")
    parser.add_argument("--torchxrayvision", type=Path, help="the folder it is in, where it is not installed")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    files = sorted(arguments.folder.glob("images/*.png"))
    if not files:
        parser.error(f"no images/*.png in {arguments.folder}")
    with tempfile.TemporaryDirectory() as scratch:
        ways: dict[str, tuple[Callable[[], float], int]] = {
            "cached": (cached(files, Path(scratch)), REPEATS),
            "decoded": (lambda: decoded(files), 1),
        }
        theirs = torchxrayvision(files, Path(scratch), arguments.torchxrayvision)
        if theirs is not None:
            ways["torchxrayvision"] = (theirs, 1)
        best = dict.fromkeys(ways, float("inf"))
        for turn in range(arguments.rounds + 1):  # the first warms up
            names = list(ways)[turn % len(ways) :] + list(ways)[: turn % len(ways)]
            for name in names:
                way, repeats = ways[name]
                started = time.process_time()
                for _ in range(repeats):
                    way()
                if turn:
                    best[name] = min(best[name], (time.process_time() - started) / repeats)
    place = {"machine": table.machine(), "versions": table.versions("torch", "numpy", "pillow", "pellucid")}
    rows = []
    for name, seconds in best.items():
        row = {
            "way": name,
            "images": len(files),
            "ms an epoch": f"{seconds * 1e3:.2f}",
            "images a second": f"{len(files) / seconds:.0f}",
            "time over cached": f"{seconds / best['cached']:.1f}",
            "rounds": arguments.rounds,
        }
        print(*row.values(), sep="  ")
        rows.append({**row, **place})
    table.write(RESULTS, rows)


def cached(files: list[Path], scratch: Path) -> Callable[[], float]:
    sources = tuple(SourceFile(f, f.stat().st_size, f.stat().st_mtime_ns) for f in files)
    names = tuple(f.stem for f in files)
    dataset = Dataset(
        CARD, "train", names, names, np.zeros(len(files), np.int64), lambda i: read_image(files[i]), files=sources
    )
    images = materialize(dataset, InputSpec.square(1, SIZE), directory=scratch / "cache")
    batches = Batches(images, dataset.targets, len(files), torch.device("cpu"))
    return lambda: sum(float(batch.images[0, 0, 0, 0]) for batch in batches.epoch(0, seed=0))


def decoded(files: list[Path]) -> float:
    pixels = np.stack([fit(read_image(file), InputSpec.square(1, SIZE)) for file in files])
    return float(torch.from_numpy(pixels).float().div_(255)[0, 0, 0, 0])


def torchxrayvision(files: list[Path], scratch: Path, place: Path | None) -> Callable[[], float] | None:
    """An epoch of its NIH_Dataset over PNG files of 256 × 256; None where it is not to be had."""
    if place is not None:
        sys.path.append(str(place))  # last: it shadows nothing
    _stub_torchvision()
    try:
        package = ModuleType("torchxrayvision")  # its datasets alone: the networks beside them need torchvision
        found = importlib.util.find_spec("torchxrayvision")
        package.__path__ = list(found.submodule_search_locations or ()) if found else []
        sys.modules["torchxrayvision"] = package
        package.utils = importlib.import_module("torchxrayvision.utils")  # type: ignore[attr-defined]
        datasets = importlib.import_module("torchxrayvision.datasets")
    except ImportError as error:
        print(f"torchxrayvision is left out: {error}")
        return None
    small = scratch / "small"
    small.mkdir()
    for file in files:
        Image.fromarray(fit(read_image(file), InputSpec.square(1, SIZE))[0]).save(small / file.name)
    listed = scratch / "list.csv"
    columns = ["Image Index", "Finding Labels", "Patient ID", "View Position", "Patient Age", "Patient Gender"]
    with listed.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*columns, "Follow-up #"])
        writer.writerows([file.name, "No Finding", i, "PA", 50, "M", 0] for i, file in enumerate(files))
    boxes = scratch / "boxes.csv"
    boxes.write_text("Image Index,Finding Label,Bbox [x,y,w,h],,,\n" + f"{files[0].name},Atelectasis,1,1,2,2\n")
    dataset = datasets.NIH_Dataset(str(small), csvpath=str(listed), bbox_list_path=str(boxes), unique_patients=False)
    assert len(dataset) == len(files)
    return lambda: float(torch.from_numpy(np.stack([dataset[i]["img"] for i in range(len(dataset))]))[0, 0, 0, 0])


def _stub_torchvision() -> None:
    try:
        importlib.import_module("torchvision.transforms")
    except Exception:  # a build for another torch fails in many ways
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        stub, transforms = ModuleType("torchvision"), ModuleType("torchvision.transforms")
        stub.transforms = transforms  # type: ignore[attr-defined]
        sys.modules |= {"torchvision": stub, "torchvision.transforms": transforms}
        print("torchvision cannot be imported; a stub stands in for it")


if __name__ == "__main__":
    main()
