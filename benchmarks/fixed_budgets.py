"""Accuracy under attacks of a given size, side by side: PGD on cross entropy, the default, AutoAttack, pyautoattack.

The author's published CIFAR-10 networks with least and most robustness, the half-Huber network of
docs/results/robust-cifar10 and one certified by Wong & Kolter 2018, on the first test images, which are lossless; one
thread. `pyautoattack` is an independent implementation of the same standard ensemble, installed beside the project
(`pip install --no-deps --target DIR pyautoattack`), never into its environment.

    python benchmarks/fixed_budgets.py --pyautoattack DIR [--data DIR] [--networks …] [--limit N] [--methods …]

Every image that a method has finished is a line of results/fixed_budgets_images.csv as soon as its chunk (of 8, of the
small networks of 64) is done, and is not measured again: the same command goes on after an interruption and to a larger
--limit; delete the lines of a method that was changed. The table, with Wilson's 95 % intervals, is
results/fixed_budgets.csv: per method the images that stand, and gradient evaluations and forward passes per image that
is right at the start; `differ` counts the images on which pyautoattack says otherwise. The settings of the default were
chosen on training images.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import binomtest

import table
from pellucid.attacks import BoundedAttack
from pellucid.attacks.under_attack import answers_under_attack
from pellucid.data.readers.cifar10.reader import open_cifar10
from pellucid.models.classifier import frozen
from tight_efforts import network

CHUNK = {"resnet44-standard": 8, "resnet44-all": 8, "half-huber": 64, "convex-small-36px": 64}
SIZES = {
    "resnet44-standard": ("linf=0.75/255", "l2=0.12"),
    "resnet44-all": ("l2=1.0", "linf=8/255"),
    "half-huber": ("linf=2/255", "l2=0.5"),
    "convex-small-36px": ("linf=3/255", "l2=0.75"),
}
OURS = {"pgd-20": "pgd:", "default": "", "autoattack": "autoattack:"}
ORACLE = "pyautoattack"
COLUMNS = ("network", "size", "method", "image", "right", "stands", "gradients", "forwards", "cpu_seconds")
RESULTS = Path(__file__).parent / "results"


def ours(model, pixels, labels, method, size) -> dict[str, np.ndarray]:
    answers = answers_under_attack(
        model, pixels, labels, BoundedAttack.parse(OURS[method] + size), batch_size=len(pixels)
    )
    return {
        "stands": answers.logits.argmax(1) == labels,
        "gradients": answers.gradient_evaluations,
        "forwards": answers.forward_passes,
    }


def oracle(model, pixels, labels, size, is_right) -> dict[str, np.ndarray]:
    """Pyautoattack's standard version; its cost is shared out evenly among the images that it attacks."""
    from pyautoattack import AutoAttack  # noqa: PLC0415 - it lies outside the environment

    passed = {"forward": 0, "backward": 0}

    def note(_, inputs, logits):
        passed["forward"] += len(inputs[0])
        if logits.requires_grad:
            logits.register_hook(lambda gradient: passed.update(backward=passed["backward"] + len(gradient)))

    epsilon = BoundedAttack.parse(size)
    attack = AutoAttack(model, norm="Linf" if epsilon.norm == "linf" else "L2", eps=epsilon.value, seed=0)
    attack.verbose = False
    images, truth = torch.from_numpy(pixels).float() / 255, torch.from_numpy(labels)
    handle = model.register_forward_hook(note)
    with frozen(model):
        perturbed, _ = attack.run_standard_evaluation(images, truth, batch_size=len(pixels))
        handle.remove()
        with torch.no_grad():
            stands = model(perturbed).argmax(1).numpy() == labels
    share = is_right / max(is_right.sum(), 1)
    return {"stands": stands, "gradients": passed["backward"] * share, "forwards": passed["forward"] * share}


def measure(arguments, path: Path) -> None:
    done = {(r["network"], r["size"], r["method"], int(r["image"])) for r in read(path)}
    test = open_cifar10(Path(arguments.data))["test"]
    for name in arguments.networks:
        model = network(name, Path(arguments.data))
        for start in range(0, arguments.limit, CHUNK[name]):
            numbers = range(start, min(start + CHUNK[name], arguments.limit))
            pixels = np.ascontiguousarray(np.stack([test.read(i).transpose(2, 0, 1) for i in numbers]))
            labels = np.asarray(test.targets[numbers.start : numbers.stop]).astype(np.int64)
            with torch.no_grad():
                is_right = model(torch.from_numpy(pixels).float() / 255).argmax(1).numpy() == labels
            for size in SIZES[name]:
                for method in arguments.methods:
                    if all((name, size, method, i) in done for i in numbers):
                        continue
                    started = time.process_time()
                    if method == ORACLE:
                        one = oracle(model, pixels, labels, size, is_right)
                    else:
                        one = ours(model, pixels, labels, method, size)
                    seconds = (time.process_time() - started) / len(labels)
                    print(name, size, method, start, int(one["stands"].sum()), f"{seconds:.1f} s per image", flush=True)
                    append(path, [
                        dict(zip(COLUMNS, (name, size, method, i, int(is_right[k]), int(one["stands"][k]),
                                           f"{one['gradients'][k]:.1f}", f"{one['forwards'][k]:.1f}", f"{seconds:.2f}"),
                                 strict=True))
                        for k, i in enumerate(numbers)
                    ])  # fmt: skip


def read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def append(path: Path, rows) -> None:
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def summary(rows: list[dict[str, str]]) -> list[dict[str, object]]:
    groups: dict[tuple[str, str, str], dict[int, dict[str, str]]] = {}
    for row in rows:
        groups.setdefault((row["network"], row["size"], row["method"]), {})[int(row["image"])] = row
    place = {"machine": table.machine(), "versions": table.versions("torch", "pellucid")}
    lines = []
    for (name, size, method), images in sorted(groups.items()):
        judge = groups.get((name, size, ORACLE), {})
        shared = sorted(set(images) & set(judge)) if judge else sorted(images)
        stands = sum(int(images[i]["stands"]) for i in shared)
        interval = binomtest(stands, len(shared)).proportion_ci(method="wilson") if shared else (np.nan, np.nan)
        right = [images[i] for i in shared if images[i]["right"] == "1"]
        cost = {key: np.mean([float(r[key]) for r in right]) if right else np.nan for key in ("gradients", "forwards")}
        lines.append({
            "network": name, "size": size, "method": method, "images": len(shared),
            "right at the start": len(right), "stand": stands, "robust accuracy": f"{stands / max(len(shared), 1):.3f}",
            "low": f"{interval[0]:.3f}", "high": f"{interval[1]:.3f}",
            "differ": sum(images[i]["stands"] != judge[i]["stands"] for i in shared) if judge else "",
            "gradient evaluations": f"{cost['gradients']:.1f}", "forward passes": f"{cost['forwards']:.1f}",
            "cpu seconds": f"{np.mean([float(images[i]['cpu_seconds']) for i in shared]):.2f}", **place,
        })  # fmt: skip
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("PELLUCID_TEST_DATA"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--pyautoattack", type=Path, help="the folder that it was installed into")
    parser.add_argument("--networks", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--methods", nargs="+", choices=[*OURS, ORACLE], default=[*OURS, ORACLE])
    parser.add_argument("--limit", type=int, default=64)
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("name the folder of real images with --data, or set PELLUCID_TEST_DATA")
    if ORACLE in arguments.methods:
        if arguments.pyautoattack is None:
            parser.error("name the folder that pyautoattack was installed into, or leave it out of --methods")
        sys.path.append(str(arguments.pyautoattack))
    torch.set_num_threads(1)
    measure(arguments, arguments.out / "fixed_budgets_images.csv")
    table.write(arguments.out / "fixed_budgets.csv", summary(read(arguments.out / "fixed_budgets_images.csv")))


if __name__ == "__main__":
    main()
