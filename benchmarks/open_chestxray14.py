"""How long ChestX-ray14 takes to open at full size: 112,120 images, its tables, lists and boxes.

The rows of a smaller copy are repeated under the names of other patients until there are as many as in the release,
its boxes are taken once, and each image is an empty file in one of twelve folders as the archives unpack to: no pixels
are read to open a dataset. Beside the whole (tables, files, parts, fingerprints) the tables alone are timed. Of each
the fastest of several runs, by the clock and in the processor's time. Writes results/open_chestxray14.csv.

    python benchmarks/open_chestxray14.py DIR [--runs 5]

DIR is the root of `chestxray14`.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import table
from pellucid.data.readers.chestxray14.reader import open_chestxray14
from pellucid.data.readers.chestxray14.tables import BOXES, OFFICIAL_COUNT, TABLES, TEST_LIST, TRAIN_LIST, read_tables

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path(__file__).parent / "results" / "open_chestxray14.csv"
FOLDERS = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder)
        boxes = repeat(arguments.root, whole)
        rows = []
        for what, function in (
            ("open: tables, files, parts, fingerprints", lambda: open_chestxray14(whole)),
            ("tables, lists and boxes alone", lambda: read_tables(whole)),
        ):
            seconds, processor = fastest(function, arguments.runs)
            print(f"{what}: {seconds:.2f} s, {processor:.2f} s of the processor's time")
            times = {"seconds": round(seconds, 3), "processor_seconds": round(processor, 3)}
            rows.append({"what": what, **times, "images": OFFICIAL_COUNT, "boxes": boxes})
    named = {"runs": arguments.runs, "machine": table.machine(), "versions": table.versions("numpy")}
    table.write(RESULTS, [row | named for row in rows])


def fastest(function: Callable[[], object], runs: int) -> tuple[float, float]:
    """The least seconds of several calls, by the clock and in the processor's time."""
    times = []
    for _ in range(runs):
        begun = time.perf_counter(), time.process_time()
        function()
        times.append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
    return min(clock for clock, _ in times), min(processor for _, processor in times)


def repeat(small: Path, whole: Path) -> int:
    """Write tables and empty image files of the full number; gives the number of boxes."""
    source = next(small / name for name in TABLES if (small / name).is_file())
    with source.open(newline="") as file:
        header, *entries = csv.reader(file)
    at_name, at_patient = header.index("Image Index"), header.index("Patient ID")
    lists = {name: set((small / name).read_text().split()) for name in (TRAIN_LIST, TEST_LIST)}
    with (small / BOXES).open(newline="") as file:
        box_header, *boxes = csv.reader(file)
    folders = [whole / f"images_{k:03}" / "images" for k in range(1, FOLDERS + 1)]
    for folder in folders:
        folder.mkdir(parents=True)
    written = {name: [] for name in lists}
    new_entries, new_boxes = [], []
    for copy in range(-(-OFFICIAL_COUNT // len(entries))):
        renamed = {}
        for entry in entries[: OFFICIAL_COUNT - len(new_entries)]:
            old = entry[at_name]
            patient, rest = int(old[:8]) + 100_000 * copy, old[8:]
            renamed[old] = f"{patient:08}{rest}"
            changed = list(entry)
            changed[at_name], changed[at_patient] = renamed[old], str(patient)
            new_entries.append(changed)
            os.close(os.open(folders[len(new_entries) % FOLDERS] / renamed[old], os.O_CREAT | os.O_WRONLY))
        for name, old_names in lists.items():
            written[name] += [new for old, new in renamed.items() if old in old_names]
        if copy == 0:
            new_boxes = [[renamed[box[0]], *box[1:]] for box in boxes if box[0] in renamed]
    for path, first, rows in ((source.name, header, new_entries), (BOXES, box_header, new_boxes)):
        with (whole / path).open("w", newline="") as file:
            csv.writer(file).writerows([first, *rows])
    for name, names in written.items():
        (whole / name).write_text("\n".join(names) + "\n")
    return len(new_boxes)


if __name__ == "__main__":
    main()
