"""The smallest perturbations that each method finds, and what it spends, side by side in one process.

The author's published CIFAR-10 networks with least and most robustness, on test images that are lossless; two kinds of
question: `attack` (another class is the most probable) and `btr` (the true class is no more probable than 1/10, which
foolbox cannot ask). Methods take turns batch by batch, in an order that changes, on one thread. `woods2019` is the
published protocol: 450 steps, outside the pixel box too; every other method stays inside.

    python benchmarks/minimal_attacks.py --work DIR [--data DIR] [--networks …] [--kinds …] [--methods …] [--limit N]

The data folder holds `cifar-10-batches-bin/` and `weights/resnet44-{standard,all}.pt`; $PELLUCID_TEST_DATA where not
named. Every batch is kept in the work folder as METHOD-NETWORK-KIND-START.npz, so that a run that was interrupted goes
on, and a method that was changed is run again once its files are deleted. FMN and foolbox's attacks take the first 128
images only (Carlini & Wagner: 5 binary searches of 100 steps from c = 0.1); the table compares all methods on those as
well.
Writes results/minimal_attacks.csv and results/minimal_attacks_radii.csv.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path
from typing import NamedTuple

import foolbox
import numpy as np
import torch

import table
from pellucid.attacks import METHODS, Misclassified, minimal, worse_than_random
from pellucid.data.readers.cifar10.reader import open_cifar10
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.robustness.ara import ara
from pellucid.models.classifier import frozen
from pellucid.models.inference import as_pixels
from pellucid.models.sources.woods2019 import read_woods2019

BATCH, CLASSES = 64, 10
FOOLBOX = {
    "foolbox-fmn": lambda: foolbox.attacks.L2FMNAttack(steps=100),
    "foolbox-ddn": lambda: foolbox.attacks.DDNAttack(steps=100),
    "foolbox-cw": lambda: foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=5, steps=100, initial_const=0.1),
}
COSTLY = dict.fromkeys(("fmn", *FOOLBOX), 128)  # how many of the images
KINDS = {"attack": Misclassified, "btr": lambda labels: worse_than_random(labels, CLASSES)}
RESULTS = Path(__file__).parent / "results"


class Batch(NamedTuple):
    """What one method found on up to 64 images: arrays (n,), and seconds of the whole batch.

    `radius` is 0 where the image met the criterion at the start and NaN where nothing was found; `first` is the
    number of gradient evaluations before the criterion was first met, −1 where that is unknown.
    """

    radius: np.ndarray
    found: np.ndarray
    start: np.ndarray
    grad: np.ndarray
    fwd: np.ndarray
    first: np.ndarray
    cpu: float
    wall: float


class Passes:
    """Counts the images that a network is given, and those that a gradient of its logits comes back for."""

    def __init__(self, model):
        self.forward = self.backward = 0
        self.handle = model.register_forward_hook(self._forward)

    def _forward(self, _, inputs, logits):
        self.forward += len(inputs[0])
        if logits.requires_grad:
            logits.register_hook(self._backward)

    def _backward(self, gradient):
        self.backward += len(gradient)


def run_ours(model, images, labels, kind, method) -> Batch:
    wall, cpu = time.perf_counter(), time.process_time()
    result = minimal(model, images, KINDS[kind](labels), method=method, batch_size=BATCH)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    tensors = (
        result.radius,
        result.found,
        result.met_at_start,
        result.gradient_evaluations,
        result.forward_passes,
        result.first_met,
    )
    return Batch(*(tensor.numpy() for tensor in tensors), cpu, wall)


def run_foolbox(model, images, labels, method) -> Batch:
    """Only the images that are right are handed to foolbox, which attacks every image that it is given."""
    with torch.no_grad():
        start = model(images).argmax(1) != labels
    rows = (~start).nonzero().squeeze(1)
    radius = torch.where(start, 0.0, torch.nan).double()
    found, spent = start.clone(), torch.zeros(len(images), dtype=torch.int64)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
    passes = Passes(model)
    wall, cpu = time.perf_counter(), time.process_time()
    with frozen(model):  # or it would compute the gradients of the weights as well
        _, perturbed, success = FOOLBOX[method]()(wrapped, images[rows], labels[rows], epsilons=None)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    passes.handle.remove()
    # Carlini & Wagner's attack hands out black images where it finds nothing, and they may be misclassified
    found[rows] = success & (perturbed.flatten(1).amax(1) > 0)
    lengths = (perturbed.double() - images[rows].double()).pow(2).mean((1, 2, 3)).sqrt()
    radius[rows] = torch.where(found[rows], lengths, torch.nan)
    gradients, forwards = spent.clone(), spent + 1
    gradients[rows] = passes.backward // len(rows)
    forwards[rows] += passes.forward // len(rows)
    first = torch.where(start, 0, -1)
    return Batch(*(t.numpy() for t in (radius, found, start, gradients, forwards, first)), cpu, wall)


def joined(batches: list[Batch]) -> Batch:
    """Batches of one method, network and kind as one."""
    arrays = [np.concatenate([getattr(b, name) for b in batches]) for name in Batch._fields[:6]]
    return Batch(*arrays, sum(float(b.cpu) for b in batches), sum(float(b.wall) for b in batches))


def ratio_of_means(mine: Batch, base: Batch, ids: list[str]) -> tuple[float, float, float]:
    """Mean radius over that of `base`, on the right images that both found, with its 95 % interval over images.

    Over itself it has none.
    """
    if mine.radius is base.radius:
        return 1.0, math.nan, math.nan
    both = ~base.start & mine.found & base.found
    weights = Bootstrap([name for name, kept in zip(ids, both, strict=True) if kept]).weights.astype(np.float64)
    samples = (weights @ mine.radius[both]) / (weights @ base.radius[both])
    low, high = np.quantile(samples, [0.025, 0.975])
    return float(mine.radius[both].mean() / base.radius[both].mean()), float(low), float(high)


def summary(network: str, kind: str, method: str, mine: Batch, base: Batch | None, ids: list[str]) -> dict[str, object]:
    attacked = ~mine.start
    hit = attacked & mine.found
    area = ara(mine.radius, mine.found, 1 / CLASSES, Bootstrap(ids))
    low, high = area.interval()
    row = {
        "network": network,
        "kind": kind,
        "method": method,
        "pixel box": "no" if method == "woods2019" else "yes",
        "images": len(ids),
        "attacked": int(attacked.sum()),
        "found": int(hit.sum()),
        "mean radius": f"{mine.radius[hit].mean():.6f}",
        "median radius": f"{np.median(mine.radius[hit]):.6f}",
        "gradient evaluations": f"{mine.grad[attacked].mean():.1f}",
        "forward passes": f"{mine.fwd[attacked].mean():.1f}",
        "ara lower": f"{area.lower.value:.5f}",
        "ara upper": f"{area.upper.value:.5f}",
        "ara 95 % low": f"{low:.5f}",
        "ara 95 % high": f"{high:.5f}",
        "cpu seconds": f"{mine.cpu:.1f}",
        "wall seconds": f"{mine.wall:.1f}",
    }
    compared = ("ratio of mean radii", "ratio 95 % low", "ratio 95 % high", "at least as tight", "times as fast (cpu)")
    if base is None:
        return {**row, **dict.fromkeys(compared, "")}
    tight = mine.found & ~(base.radius * (1 + 1e-6) < mine.radius)  # also where woods2019 found nothing
    figures = [*ratio_of_means(mine, base, ids), float(tight[attacked].mean()), base.cpu / mine.cpu]
    return {**row, **{name: "" if math.isnan(v) else f"{v:.3f}" for name, v in zip(compared, figures, strict=True)}}


def measure(arguments, models, images, labels) -> dict[tuple[str, str, str], dict[int, Batch]]:
    """Everything that is not in the work folder yet, batch by batch; all of it by network, kind and method."""
    results: dict[tuple[str, str, str], dict[int, Batch]] = {}
    turn = 0
    for network, model in models.items():
        for start in range(0, len(images), BATCH):
            rows = slice(start, min(start + BATCH, len(images)))
            jobs = [(kind, method) for kind in arguments.kinds for method in arguments.methods]
            turn += 1
            for kind, method in jobs[turn % len(jobs) :] + jobs[: turn % len(jobs)]:
                if start >= COSTLY.get(method, len(images)) or (kind == "btr" and method in FOOLBOX):
                    continue
                path = arguments.work / f"{method}-{network}-{kind}-{start}.npz"
                if not path.exists():
                    if method in FOOLBOX:
                        batch = run_foolbox(model, images[rows], labels[rows], method)
                    else:
                        batch = run_ours(model, images[rows], labels[rows], kind, method)
                    unfinished = path.with_suffix(".part.npz")
                    np.savez(unfinished, **batch._asdict())
                    unfinished.replace(path)
                    mean = np.nanmean(np.where(batch.start, np.nan, batch.radius))
                    print(f"{path.stem:34} mean radius {mean:.5f}  {batch.cpu:6.1f} s", flush=True)
                with np.load(path) as file:
                    batch = Batch(*(file[name] for name in Batch._fields))
                if len(batch.radius) != rows.stop - rows.start:
                    raise SystemExit(
                        f"{path} holds {len(batch.radius)} images, not {rows.stop - rows.start}: another --limit."
                    )
                results.setdefault((network, kind, method), {})[start] = batch
    return dict(sorted(results.items(), key=lambda item: _place(arguments, *item[0])))


def _place(arguments, network, kind, method) -> tuple[int, int, int]:
    return arguments.networks.index(network), arguments.kinds.index(kind), arguments.methods.index(method)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("PELLUCID_TEST_DATA"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--networks", nargs="+", default=["standard", "all"])
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--methods", nargs="+", choices=[*METHODS, *FOOLBOX], default=[*METHODS, *FOOLBOX])
    parser.add_argument("--limit", type=int, default=512)
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("name the folder of real images with --data, or set PELLUCID_TEST_DATA")
    torch.set_num_threads(1)
    data = Path(arguments.data)
    test = open_cifar10(data)["test"]
    count = min(arguments.limit, len(test))
    images = as_pixels(np.stack([test.read(i).transpose(2, 0, 1) for i in range(count)]))
    labels, ids = torch.from_numpy(np.asarray(test.targets[:count])).long(), list(test.ids[:count])
    models = {name: read_woods2019(data / "weights" / f"resnet44-{name}.pt")[0] for name in arguments.networks}
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = measure(arguments, models, images, labels)

    place = {"machine": table.machine(), "versions": table.versions("torch", "foolbox", "pellucid")}
    lines: list[dict[str, object]] = []
    sizes = {count} | {min(count, size) for method, size in COSTLY.items() if method in arguments.methods}
    for size in sorted(sizes, reverse=True):
        starts = range(0, size, BATCH)
        whole = {key: joined([parts[s] for s in starts]) for key, parts in results.items() if set(starts) <= set(parts)}
        for (network, kind, method), mine in whole.items():
            base = whole.get((network, kind, "woods2019"))
            lines.append({**summary(network, kind, method, mine, base, ids[:size]), **place})
            print({name: value for name, value in lines[-1].items() if name not in place})
    table.write(arguments.out / "minimal_attacks.csv", lines)

    columns = {"/".join(key): joined([parts[s] for s in sorted(parts)]).radius for key, parts in results.items()}
    radii = [
        {"id": name, "label": int(labels[i])}
        | {
            key: f"{values[i]:.6g}" if i < len(values) and values[i] == values[i] else ""
            for key, values in columns.items()
        }
        for i, name in enumerate(ids)
    ]
    table.write(arguments.out / "minimal_attacks_radii.csv", radii)


if __name__ == "__main__":
    main()
