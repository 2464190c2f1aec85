"""How much of the sample's labels the origin of a file gives away: python source_probe.py $PELLUCID_TEST_DATA.

Each image is scored by the frequency of the label among the training images that came from the same place in the same
format (sources.csv), without looking at a pixel.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from pellucid.data import open_dataset


def main(root: Path) -> None:
    """Print the AUROC of every label on validation and test."""
    with (root / "sources.csv").open(newline="") as stream:
        origin = {row["image_index"]: (row["native_format"], row["source_repo"]) for row in csv.DictReader(stream)}
    splits = open_dataset("chestxray14", root, options={"validation_fraction": 0.2})
    train = splits["train"]
    found = defaultdict(list)
    for number, label in enumerate(train.classes):
        seen = defaultdict(list)
        for name, target in zip(train.ids, train.targets[:, number], strict=True):
            seen[origin[name]].append(target)
        frequency = {place: np.mean(targets) for place, targets in seen.items()}
        shown = [label]
        for part in ("validation", "test"):
            scores = [frequency.get(origin[name], train.targets[:, number].mean()) for name in splits[part].ids]
            found[part].append(roc_auc_score(splits[part].targets[:, number], scores))
            shown.append(f"{found[part][-1]:.3f}")
        print(*shown, sep="  ")
    print("mean", *(f"{np.mean(values):.3f}" for values in found.values()), sep="  ")


if __name__ == "__main__":
    main(Path(sys.argv[1]) / "chestxray14")
