"""How tight `tight` is at each effort: beside Algorithm 1, the best radii known, and AttackBench's local optimality.

Two published CIFAR-10 networks at the ends of the robustness scale, one certified by Wong & Kolter 2018
(`convex-small-36px`) and the half-Huber network of docs/results/robust-cifar10 (`half-huber`), on the first test
images, which are lossless; one thread. The settings were chosen on training images of the two published networks;
nothing was tuned on the others.

    python benchmarks/tight_efforts.py [--data DIR] [--limit N] [--envelope N] [--networks …] [--kinds …] [--norms …]
                                       [--methods …] [--attackbench DIR]

`--limit` images are given to `tight`, the first `--envelope` of them also to slower methods, which together with
`tight` make the envelope: FMN, DDN and foolbox's Carlini & Wagner with 1,000 steps each (the last as 5 searches of
200), Algorithm 1 inside the pixel box, and the default attack of a given size, targeted APGD and Square, within 0.99 of
the best radius so far, until that finds nothing.
Every image that a method has finished is a line of results/tight_efforts_images.csv as soon as its chunk of 16 is done
and is not measured again: the same command goes on after an interruption and to more images. The table, with 95 %
intervals over images, is results/tight_efforts.csv:

    ratio        mean radius over Algorithm 1's of results/minimal_attacks_radii.csv (450 steps, outside the pixel box)
    loose        share of images whose radius is more than 10 % above the best known, by any method of either table that
                 stays inside the pixel box
    optimality   local optimality of Cinà et al. 2025, equation 5, on the images of the envelope, wrong ones included

`--attackbench` names the folder of `pip install --no-deps --target DIR attackbenchlib`, whose own function is then held
against the one here.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import os
import time
from pathlib import Path

import foolbox
import numpy as np
import torch
from torch import nn

import table
from pellucid.attacks import Epsilon, Misclassified, minimal, within, worse_than_random
from pellucid.attacks.epsilon import lengths
from pellucid.data.readers.cifar10.reader import open_cifar10
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.statistics import mean_over_images
from pellucid.models import load_model
from pellucid.models.classifier import frozen
from pellucid.models.inference import as_pixels
from pellucid.models.sources.woods2019 import read_woods2019

CHUNK, CLASSES = 16, 10
NETWORKS = ("resnet44-all", "resnet44-standard", "convex-small-36px", "half-huber")
KINDS = {"attack": Misclassified, "btr": lambda labels: worse_than_random(labels, CLASSES)}
OURS = {f"tight-{effort}": {"method": "tight", "effort": effort} for effort in (1, 2, 4)}
SLOW = {
    "fmn-1000": {"method": "fmn", "steps": 1000},
    "ddn-1000": {"method": "ddn", "steps": 1000},
    "woods2019-box": {"method": "woods2019", "box": True},
}
CW, APGD = "foolbox-cw-1000", "apgd-targeted"
METHODS = (*OURS, *SLOW, CW, APGD)
IN_BOX = ("tight", "fmn", "ddn", "foolbox-ddn", "foolbox-cw")
COLUMNS = ("network", "norm", "kind", "method", "image", "attacked", "radius", "gradients", "forwards", "cpu_seconds")
RESULTS = Path(__file__).parent / "results"
OWN = Path(__file__).parent.parent / "docs" / "results" / "robust-cifar10" / "networks" / "robust"


def certified(path: Path) -> nn.Module:
    """The small network of github locuslab/convex_adversarial."""
    layers = nn.Sequential(
        nn.Conv2d(3, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(2048, 100), nn.ReLU(), nn.Linear(100, CLASSES),
    )  # fmt: skip
    layers.load_state_dict(torch.load(path, weights_only=True, map_location="cpu")["state_dict"][0])
    return nn.Sequential(Normalised(), layers)


class Normalised(nn.Module):
    """Pixels as the certified network takes them."""

    def forward(self, images):
        """Minus the channels' means, by their common deviation."""
        return (images - images.new_tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)) / 0.225


def network(name: str, data: Path) -> nn.Module:
    """One of the networks that the attacks are measured on, by name."""
    if name == "convex-small-36px":
        return certified(data / "weights" / f"{name}.pth").eval()
    if name == "half-huber":
        return load_model(OWN).eval()
    return read_woods2019(data / "weights" / f"{name}.pt")[0].eval()


def carlini_wagner(model, images, labels) -> tuple[np.ndarray, np.ndarray]:
    """The radii and the gradient evaluations of images that are right."""
    passes = [0]
    handle = model.register_forward_hook(lambda _, inputs, __: passes.__setitem__(0, passes[0] + len(inputs[0])))
    attack = foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=5, steps=200, initial_const=0.1)
    with frozen(model):
        _, moved, success = attack(foolbox.PyTorchModel(model, bounds=(0, 1)), images, labels, epsilons=None)
    handle.remove()
    radius = lengths(moved.double() - images.double(), "rms")
    is_found = success & (moved.flatten(1).amax(1) > 0)  # black images stand for nothing found
    return radius.masked_fill(~is_found, torch.nan).numpy(), np.full(len(images), passes[0] // len(images))


def below(model, images, labels, norm, radius) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targeted APGD within 0.99 of each radius, again and again: shorter radii, NaN where there are none; costs."""
    best, gradients, forwards = radius.copy(), np.zeros(len(radius)), np.zeros(len(radius))
    for i in range(len(radius)):
        while np.isfinite(best[i]):
            size = Epsilon(**{norm: 0.99 * float(best[i])})
            result = within(model, images[i : i + 1], Misclassified(labels[i : i + 1]), size, method="margin", seed=i)
            gradients[i] += int(result.gradient_evaluations)
            forwards[i] += int(result.forward_passes)
            length = float(lengths(result.perturbed.double() - images[i : i + 1].double(), norm))
            if not bool(result.fallen) or length >= best[i]:
                break
            best[i] = length
    return np.where(best < radius, best, np.nan), gradients, forwards


def one(model, images, labels, norm, kind, method, best):
    """What a method finds: arrays (n,) of whether the image was right, radii, gradient evaluations, forward passes."""
    criterion = KINDS[kind](labels)
    with torch.no_grad():
        attacked = (~criterion.is_satisfied(model(images), torch.zeros_like(images))).numpy()
    if method in OURS or method in SLOW:
        result = minimal(model, images, criterion, norm=norm, batch_size=CHUNK, **(OURS | SLOW)[method])
        return attacked, result.radius.numpy(), result.gradient_evaluations.numpy(), result.forward_passes.numpy()
    radius, gradients, forwards = np.where(attacked, np.nan, 0.0), np.zeros(len(images)), np.zeros(len(images))
    rows = torch.from_numpy(attacked.nonzero()[0])
    if method == CW:
        radius[rows], gradients[rows] = carlini_wagner(model, images[rows], labels[rows])
        forwards = gradients
    else:
        radius[rows], gradients[rows], forwards[rows] = below(model, images[rows], labels[rows], norm, best[rows])
    return attacked, radius, gradients, forwards


def suits(method: str, kind: str, norm: str) -> bool:
    """Whether a method asks this question: the bounded ones know decisions only, the L2 ones no other norm."""
    return not (
        (method in (CW, APGD) and kind != "attack") or (norm == "linf" and method in (CW, "ddn-1000", "woods2019-box"))
    )


def measure(arguments, path: Path) -> None:
    test = open_cifar10(Path(arguments.data))["test"]
    for start in range(0, arguments.limit, CHUNK):
        numbers = range(start, min(start + CHUNK, arguments.limit))
        images = as_pixels(np.stack([test.read(i).transpose(2, 0, 1) for i in numbers]))
        labels = torch.from_numpy(np.asarray(test.targets[numbers.start : numbers.stop])).long()
        for name in arguments.networks:
            model = network(name, Path(arguments.data))
            for norm in arguments.norms:
                for kind in arguments.kinds:
                    for method in arguments.methods:
                        if not suits(method, kind, norm) or (method not in OURS and start >= arguments.envelope):
                            continue
                        rows = {
                            int(r["image"]): r for r in select(read(path), name, norm, kind) if r["method"] == method
                        }
                        if all(i in rows for i in numbers):
                            continue
                        best = best_known(select(read(path), name, norm, kind))
                        started = time.process_time()
                        known = np.array([best.get(i, np.nan) for i in numbers])
                        attacked, radius, gradients, forwards = one(model, images, labels, norm, kind, method, known)
                        seconds = (time.process_time() - started) / len(numbers)
                        print(
                            name,
                            norm,
                            kind,
                            method,
                            start,
                            f"{np.nanmean(radius):.5f}",
                            f"{seconds:.1f} s per image",
                            flush=True,
                        )
                        append(path, [
                            dict(zip(COLUMNS, (name, norm, kind, method, i, int(attacked[k]),
                                               "" if np.isnan(radius[k]) else f"{radius[k]:.6g}", int(gradients[k]),
                                               int(forwards[k]), f"{seconds:.2f}"), strict=True))
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


def select(rows, name, norm, kind) -> list[dict[str, str]]:
    return [r for r in rows if (r["network"], r["norm"], r["kind"]) == (name, norm, kind)]


def best_known(rows) -> dict[int, float]:
    """The smallest radius that any method found, by image."""
    best: dict[int, float] = {}
    for row in rows:
        length = float(row["radius"] or "nan")
        best[int(row["image"])] = float(np.fmin(best.get(int(row["image"]), np.nan), length))
    return best


def local_optimality(radii, best) -> float:
    """Of radii (n,) against an envelope, infinite where nothing was found and 0 where wrong from the start.

    (ρ ε₀ − area of the attack's robust accuracy) / (ρ ε₀ − area of the envelope's), both up to the envelope's largest
    radius ε₀; ρ is the accuracy. The area under a curve that falls by 1/n at each radius is the mean radius, cut.
    """
    limit = best[np.isfinite(best)].max()
    areas = [np.minimum(values, limit).mean() for values in (radii, best)]
    clean = limit * np.count_nonzero(best) / len(best)
    return float((clean - areas[0]) / (clean - areas[1]))


def interval(values, statistic) -> tuple[float, float]:
    """95 % over images: bootstrap of a statistic of row numbers."""
    generator = np.random.default_rng(0)
    draws = [statistic(generator.integers(0, len(values), len(values))) for _ in range(1000)]
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return float(low), float(high)


def committed(*methods) -> dict[tuple[str, str], dict[int, float]]:
    """The smallest radii of results/minimal_attacks_radii.csv by network and kind, by the image's number."""
    rows, networks = read(RESULTS / "minimal_attacks_radii.csv"), ("standard", "all")
    numbers = [int(row["id"].split("/")[1]) for row in rows]
    return {
        (f"resnet44-{name}", kind): {
            number: min(float(row.get(f"{name}/{kind}/{method}") or "inf") for method in methods)
            for number, row in zip(numbers, rows, strict=True)
        }
        for name in networks
        for kind in KINDS
    }


def summary(folder, rows) -> list[dict[str, object]]:
    paper, in_box, oracle = committed("woods2019"), committed(*IN_BOX), attackbench(folder)
    place = {"machine": table.machine(), "versions": table.versions("torch", "foolbox", "pellucid")}
    lines = []
    for key in sorted({(r["network"], r["norm"], r["kind"]) for r in rows}):
        group = select(rows, *key)
        best = best_known(group)
        if key[1] == "rms":
            for i, length in in_box.get((key[0], key[2]), {}).items():
                best[i] = float(np.fmin(best.get(i, np.nan), length))
        slow = {int(r["image"]) for r in group if r["method"] in SLOW}
        for method in METHODS:
            mine = {int(r["image"]): r for r in group if r["method"] == method}
            if not mine or method == APGD:
                continue
            hit = [i for i in mine if mine[i]["attacked"] == "1" and mine[i]["radius"]]
            attacked = [i for i in mine if mine[i]["attacked"] == "1"]
            radius = np.array([float(mine[i]["radius"]) for i in hit])
            line = {"network": key[0], "norm": key[1], "kind": key[2], "method": method, "images": len(mine),
                    "attacked": len(attacked), "found": len(hit), "mean radius": f"{radius.mean():.6f}",
                    "gradient evaluations": f"{np.mean([float(mine[i]['gradients']) for i in attacked]):.1f}",
                    "forward passes": f"{np.mean([float(mine[i]['forwards']) for i in attacked]):.1f}"}  # fmt: skip
            base = paper.get((key[0], key[2])) if key[1] == "rms" else None
            both = [i for i in hit if base and np.isfinite(base[i])]
            line |= of_ratio(
                np.array([float(mine[i]["radius"]) for i in both]), np.array([base[i] for i in both] if base else [])
            )
            over = np.array([float(mine[i]["radius"]) / best[i] > 1.1 for i in hit])
            loose = mean_over_images(over, Bootstrap(hit, 1), within=(0.0, 1.0)).estimate()
            line |= {"loose": f"{loose.value:.3f}", "loose low": f"{loose.low:.3f}", "loose high": f"{loose.high:.3f}"}
            shared = sorted(slow & set(mine))
            line |= of_optimality(
                [float(mine[i]["radius"] or "inf") for i in shared], [best[i] for i in shared], oracle
            )
            lines.append({**line, **place})
    return lines


def of_ratio(mine, base) -> dict[str, object]:
    if not len(mine):
        return dict.fromkeys(("ratio", "ratio low", "ratio high"), "")
    low, high = interval(mine, lambda draw: mine[draw].mean() / base[draw].mean())
    return {"ratio": f"{mine.mean() / base.mean():.3f}", "ratio low": f"{low:.3f}", "ratio high": f"{high:.3f}"}


def of_optimality(mine, best, oracle) -> dict[str, object]:
    names = ("envelope images", "optimality", "optimality low", "optimality high")
    if not mine:
        return dict.fromkeys(names, "")
    radii, floor = np.array(mine), np.array(best)
    value = local_optimality(radii, floor)
    if oracle is not None and abs(oracle(radii, floor) - value) > 1e-9:
        raise SystemExit(f"attackbenchlib says {oracle(radii, floor)}, this script {value}")
    low, high = interval(radii, lambda draw: local_optimality(radii[draw], floor[draw]))
    return dict(zip(names, (len(radii), f"{value:.4f}", f"{low:.4f}", f"{high:.4f}"), strict=True))


def attackbench(folder: Path | None):
    """`eval_optimality` of attackbenchlib, from its file alone: the package needs what is not installed."""
    if folder is None:
        return None
    spec = importlib.util.spec_from_file_location("distances", folder / "attackbench" / "metrics" / "distances.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.eval_optimality


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("PELLUCID_TEST_DATA"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--norms", nargs="+", choices=["rms", "linf"], default=["rms"])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--limit", type=int, default=64)
    parser.add_argument("--envelope", type=int, default=16)
    parser.add_argument("--attackbench", type=Path)
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("name the folder of real images with --data, or set PELLUCID_TEST_DATA")
    torch.set_num_threads(1)
    path = arguments.out / "tight_efforts_images.csv"
    measure(arguments, path)
    table.write(arguments.out / "tight_efforts.csv", summary(arguments.attackbench, read(path)))


if __name__ == "__main__":
    main()
