"""How `tight` holds on networks and images that nobody chose it on, beside the other methods.

Five small networks are trained here, the same on every run: on CIFAR-10's training images with ReLU or half-Huber,
each plainly and robustly (one step of projected gradient ascent, root mean square 0.01), and one on the phantom, whose
findings are attacked label by label. Then each method attacks the first test images that a network has right. Two
kinds of question: `attack` (the decision changes) and `btr` (no better than random, 1/10; for a finding no better than
its share of the training images). `woods2019` is the published protocol: 450 steps, outside the pixel box too; every
other method stays inside and has its own defaults.

    python benchmarks/tight_elsewhere.py --work DIR [--data DIR] [--limit 32] [--table]

The data folder holds `cifar-10-batches-bin/`; $PELLUCID_TEST_DATA where not named. Networks and batches of 32 images
are kept in the work folder, so that a run that was interrupted goes on; `--table` only writes the table of what is
there. Mean radii are over the images that all four methods found, and ratios over those that both found; an image that
a method did not find counts as less tight. Writes results/tight_elsewhere.csv.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

import table
from pellucid.attacks import (
    Epsilon,
    Misclassified,
    label_flipped,
    minimal,
    pgd,
    worse_than_constant,
    worse_than_random,
)
from pellucid.data import materialize, open_dataset
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.models import create_model
from pellucid.models.inference import as_pixels
from pellucid.types import InputSpec

METHODS = ("tight", "woods2019", "ddn", "fmn")
KINDS = ("attack", "btr")
BATCH = 32
EPSILON = Epsilon(rms=0.01)
OPTIONS = {"widths": [16, 32, 64], "blocks": [1, 1, 1], "strides": [1, 2, 2]}
RESULTS = Path(__file__).parent / "results" / "tight_elsewhere.csv"


class Network(NamedTuple):
    """What is trained: data, non-linearity, whether robustly, and for how many epochs."""

    data: str
    activation: str
    robust: bool
    epochs: int


NETWORKS = {
    "relu": Network("cifar10", "relu", False, 4),
    "half-huber, robust": Network("cifar10", "half-huber", True, 4),
    "phantom": Network("phantom", "relu", False, 12),
    "relu, robust": Network("cifar10", "relu", True, 4),
    "half-huber": Network("cifar10", "half-huber", False, 4),
}


class Images(NamedTuple):
    """One dataset: training and test images, targets, class names, and the test images' ids."""

    train: torch.Tensor
    targets: torch.Tensor
    test: torch.Tensor
    truth: torch.Tensor
    classes: tuple[str, ...]
    ids: tuple[str, ...]


class Found(NamedTuple):
    """What one method found: arrays (n,), the radius NaN where nothing."""

    radius: np.ndarray
    attacked: np.ndarray
    gradients: np.ndarray
    forwards: np.ndarray


def load(name: str, data: Path) -> Images:
    size, channels = (32, 3) if name == "cifar10" else (64, 1)
    parts = open_dataset(name, data) if name == "cifar10" else open_dataset(name, options={"size": size})
    train, test = (as_pixels(materialize(parts[part], InputSpec.square(channels, size))) for part in ("train", "test"))
    targets, truth = (torch.from_numpy(np.asarray(parts[part].targets)) for part in ("train", "test"))
    return Images(train, targets, test, truth, tuple(parts["train"].card.classes), tuple(parts["test"].ids))


def trained(network: Network, images: Images, path: Path) -> torch.nn.Module:
    """The network, from the work folder or trained with Adam at a rate that falls from 3e-3 by cosine."""
    several = images.targets.ndim == 2
    torch.manual_seed(0)
    model = create_model(
        "small",
        classes=images.classes,
        task="multilabel" if several else "multiclass",
        in_channels=images.train.shape[1],
        size=images.train.shape[2],
        activation=network.activation,
        stem_stride=images.train.shape[2] // 16,
        **OPTIONS,
    )
    if path.exists():
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.eval()
    started = time.process_time()
    loss = binary_cross_entropy_with_logits if several else cross_entropy
    steps = network.epochs * (len(images.train) // 64)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(network.epochs):
        for rows in torch.randperm(len(images.train))[: len(images.train) // 64 * 64].split(64):
            batch, wanted = images.train[rows], images.targets[rows]
            if network.robust:
                batch = pgd(model, batch, wanted, loss=loss, eps=EPSILON, steps=1, step_size=EPSILON.value)
            optimizer.zero_grad()
            loss(model(batch), wanted).backward()
            optimizer.step()
            schedule.step()
    torch.save(model.state_dict(), path)
    print(f"{path.stem}: trained in {time.process_time() - started:.0f} s", flush=True)
    return model.eval()


def robustness_targets(model, images: Images, limit: int):
    """The first `limit` test images that are right, how many had to be looked at, the kinds' criteria, by rows.

    Of an image of the phantom one finding is asked for, each in turn.
    """
    with torch.no_grad():
        logits = torch.cat([model(part) for part in images.test.split(64)])
    truth = images.truth
    if truth.ndim == 1:
        rows = (logits.argmax(1) == truth).nonzero()[:limit, 0]
        criteria = {
            "attack": lambda part: Misclassified(truth[rows[part]]),
            "btr": lambda part: worse_than_random(truth[rows[part]], len(images.classes)),
        }
        return rows, criteria
    labels = torch.arange(len(truth)) % len(images.classes)
    own, present = (values.gather(1, labels[:, None])[:, 0] for values in (logits, truth))
    rows = ((own >= 0) == present.bool()).nonzero()[:limit, 0]
    share, half = images.targets.mean(0), [0.5] * len(images.classes)

    def constant(part: slice):
        chosen = rows[part]
        return worse_than_constant(labels[chosen], share, task="multilabel", present=present[chosen].bool())

    flipped = lambda part: label_flipped(labels[rows[part]], present[rows[part]].bool(), half)  # noqa: E731
    return rows, {"attack": flipped, "btr": constant}


def attacked(model, images, criterion, method: str, path: Path) -> Found:
    """From the work folder, or now."""
    if not path.exists():
        started = time.process_time()
        result = minimal(model, images, criterion, method=method, batch_size=BATCH)
        found = Found(
            result.radius.numpy(),
            ~result.met_at_start.numpy(),
            result.gradient_evaluations.numpy(),
            result.forward_passes.numpy(),
        )
        unfinished = path.with_suffix(".part.npz")
        np.savez(unfinished, **found._asdict())
        unfinished.replace(path)
        print(f"{path.stem:44} {time.process_time() - started:6.1f} s", flush=True)
    with np.load(path) as file:
        return Found(*(file[name] for name in Found._fields))


def ratio(mine, base, ids) -> tuple[float, float, float]:
    """Mean of `mine` over mean of `base` where both are known, with its 95 % interval over images; none over itself."""
    if mine is base:
        return 1.0, math.nan, math.nan
    both = ~np.isnan(mine) & ~np.isnan(base)
    weights = Bootstrap([name for name, kept in zip(ids, both, strict=True) if kept]).weights.astype(np.float64)
    samples = (weights @ mine[both]) / (weights @ base[both])
    low, high = np.quantile(samples, [0.025, 0.975])
    return float(mine[both].mean() / base[both].mean()), float(low), float(high)


def summary(results: dict[str, Found], ids: list[str]) -> list[dict[str, object]]:
    """One row per method, of the images that no method was handed as met already."""
    kept = results["tight"].attacked
    ids = [name for name, one in zip(ids, kept, strict=True) if one]
    radii = {method: found.radius[kept] for method, found in results.items()}
    all_found = ~np.isnan(np.stack(list(radii.values()))).any(0)
    rows = []
    for method, found in results.items():
        mine, theirs = radii[method], np.stack([other for name, other in radii.items() if name != method])
        best = np.where(np.isnan(theirs), np.inf, theirs).min(0)  # image by image
        rows.append(
            {
                "method": method,
                "pixel box": "no" if method == "woods2019" else "yes",
                "attacked": len(mine),
                "found": int((~np.isnan(mine)).sum()),
                "found by all": int(all_found.sum()),
                "mean radius": f"{mine[all_found].mean():.6f}",
                **_figures("ratio to woods2019", ratio(mine, radii["woods2019"], ids)),
                **_figures("ratio to best other", ratio(mine, np.where(np.isinf(best), np.nan, best), ids)),
                "at least as tight as woods2019": f"{_as_tight(mine, radii['woods2019']):.3f}",
                "at least as tight as all others": f"{_as_tight(mine, best):.3f}",
                "gradient evaluations": f"{found.gradients[kept].mean():.1f}",
                "forward passes": f"{found.forwards[kept].mean():.1f}",
            }
        )
    return rows


def _figures(name: str, values: tuple[float, float, float]) -> dict[str, str]:
    columns = (name, f"{name} 95 % low", f"{name} 95 % high")
    return {column: "" if math.isnan(value) else f"{value:.3f}" for column, value in zip(columns, values, strict=True)}


def _as_tight(mine, base) -> float:
    """The share of images found, and by the base not found closer."""
    return float((~np.isnan(mine) & ~(base * (1 + 1e-6) < mine)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("PELLUCID_TEST_DATA"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=32)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("name the folder of real images with --data, or set PELLUCID_TEST_DATA")
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    data = {name: load(name, Path(arguments.data)) for name in ("cifar10", "phantom")}
    cuts = [*range(0, arguments.limit, BATCH), arguments.limit]
    results: dict[tuple[str, str], dict[str, list[Found]]] = {}
    asked: dict[str, list[str]] = {}
    for start, stop in pairwise(cuts):
        for name, network in NETWORKS.items():
            stem, images = name.replace(", ", "-"), data[network.data]
            weights = arguments.work / f"{stem}.pt"
            if arguments.table and not weights.exists():
                continue
            model = trained(network, images, weights)
            rows, criteria = robustness_targets(model, images, arguments.limit)
            asked[name] = [images.ids[i] for i in rows]
            part = slice(start, min(stop, len(rows)))
            for kind in KINDS:
                paths = {m: arguments.work / f"{stem}-{kind}-{m}-{start}-{part.stop}.npz" for m in METHODS}
                if arguments.table and not all(path.exists() for path in paths.values()):
                    continue
                for method, path in paths.items():
                    one = attacked(model, images.test[rows[part]], criteria[kind](part), method, path)
                    results.setdefault((name, kind), {}).setdefault(method, []).append(one)
    place = {"machine": table.machine(), "versions": table.versions("torch", "pellucid")}
    lines: list[dict[str, object]] = []
    for name in NETWORKS:
        for kind in KINDS:
            whole = {
                method: Found(*(np.concatenate(values) for values in zip(*parts, strict=True)))
                for method, parts in results.get((name, kind), {}).items()
            }
            if whole:
                images = len(whole["tight"].radius)
                for row in summary(whole, asked[name][:images]):
                    lines.append({"network": name, "kind": kind, "images": images, **row, **place})
                    print(*(value for key, value in lines[-1].items() if key not in place), sep="  ")
    table.write(RESULTS, lines)


if __name__ == "__main__":
    main()
