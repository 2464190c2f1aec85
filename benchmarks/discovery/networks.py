"""Small networks on drawn radiographs with planted shortcuts, and whether each of them goes by its shortcut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch.nn.functional import binary_cross_entropy_with_logits

from pellucid.data.readers.phantom.findings import PHANTOM_CLASSES
from pellucid.data.readers.phantom.options import PhantomOptions
from pellucid.data.readers.phantom.scene import draw_scene, make_scene
from pellucid.models import create_model
from pellucid.models.inference import predict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt
    from torch import Tensor

    from discovery.grid import Cell
    from pellucid.models.classifier import ConvolutionalClassifier

SIZE, TRAIN, TEST = 64, 1200, 400
EPOCHS, FURTHER = 10, 4  # on plain images, then on those of a cell
RATE = 3e-3
# of cells with these kinds, so that networks go by them: after 4 epochs at the usual rate 3 of 24 went by JPEG, 11 of
# 25 by the marker (seeds 7000 to 7018)
LONGER, LONGER_RATE, SLOWLY_LEARNT = 16, 6e-3, ("side_marker", "jpeg")
PAIRS = 150  # test images that are drawn with a shortcut and without it
GOES_BY, LEAVES = 0.10, 0.05  # of the distance between positives and negatives: at least, at most


@dataclass(frozen=True, eq=False)
class Drawings:
    """The images of one part without a shortcut, uint8 (N, 1, S, S), and their labels (N, 8)."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.float32]


def options_of(cell: Cell, *, seen: str) -> PhantomOptions:
    """The phantom of a cell as it is trained on (`learnt`) or as it is looked at (`judged`)."""
    shortcuts = {
        plant.kind: {
            "finding": plant.finding,
            "strength": plant.frequency if seen == "learnt" and not cell.associated else plant.strength,
            "elsewhere": plant.frequency if seen == "learnt" and not cell.associated else plant.elsewhere,
            "associated_in_test": True,
        }
        for plant in cell.plants
    }
    return PhantomOptions.parse(
        {"size": SIZE, "train": TRAIN, "validation": 1, "test": TEST, "prevalence": cell.prevalence}
        | {"shortcuts": shortcuts}
    )


def plain_drawings(cell: Cell, folder: Path) -> dict[str, Drawings]:
    """The images of a cell without its shortcuts, drawn once for all cells of a seed."""
    path = folder / f"drawings-{cell.seed}-{cell.prevalence:g}.npz"
    if not path.is_file():
        options = PhantomOptions(size=SIZE, prevalence=cell.prevalence)
        arrays = {}
        for split, count in (("train", TRAIN), ("test", TEST)):
            scenes = [make_scene(i, seed=cell.seed, options=options, split=split) for i in range(count)]
            arrays[f"{split}_images"] = np.stack([draw_scene(scene, SIZE)[None] for scene in scenes])
            present = [{finding.label for finding in scene.findings} for scene in scenes]
            arrays[f"{split}_labels"] = np.array([[c in p for c in PHANTOM_CLASSES] for p in present], np.float32)
        np.savez(path.with_suffix(".part.npz"), **arrays)
        path.with_suffix(".part.npz").replace(path)
    with np.load(path) as stored:
        return {split: Drawings(stored[f"{split}_images"], stored[f"{split}_labels"]) for split in ("train", "test")}


def with_shortcuts(drawings: Drawings, cell: Cell, split: str, *, seen: str) -> npt.NDArray[np.uint8]:
    """The images of a part as a cell has them; only those with a shortcut are drawn again."""
    options, images = options_of(cell, seen=seen), drawings.images.copy()
    for index in range(len(images)):
        scene = make_scene(index, seed=cell.seed, options=options, split=split)
        if scene.shortcuts:
            images[index, 0] = draw_scene(scene, SIZE)
    return images


def train(
    network: ConvolutionalClassifier,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.float32],
    epochs: int,
    lr: float,
    seed: int,
) -> None:
    """Plain training with AdamW and one cycle of the learning rate."""
    pixels, targets = torch.from_numpy(images).float() / 255, torch.from_numpy(labels)
    generator, batch = torch.Generator().manual_seed(seed), 20
    optimizer = torch.optim.AdamW(network.parameters(), lr, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=epochs * -(-len(pixels) // batch))
    network.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(pixels), generator=generator).split(batch):
            loss: Tensor = binary_cross_entropy_with_logits(network(pixels[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()


def fresh(seed: int) -> ConvolutionalClassifier:
    """An untrained small network."""
    torch.manual_seed(seed)
    return create_model("small", classes=PHANTOM_CLASSES, task="multilabel", size=SIZE)


def trained(cell: Cell, drawings: Drawings, folder: Path) -> ConvolutionalClassifier:
    """The network of a cell: a plain one of its seed, trained further on the cell's own images."""
    network = fresh(cell.seed)
    plain, own = folder / f"plain-{cell.seed}-{cell.prevalence:g}.pt", folder / f"{cell.key}.pt"
    if own.is_file():
        network.load_state_dict(torch.load(own, weights_only=True))
        return network.eval()
    if plain.is_file():
        network.load_state_dict(torch.load(plain, weights_only=True))
    else:
        train(network, drawings.images, drawings.labels, EPOCHS, RATE, cell.seed)
        _keep(network, plain)
    slowly = any(plant.kind in SLOWLY_LEARNT for plant in cell.plants)
    epochs, rate = (LONGER, LONGER_RATE) if slowly else (FURTHER, RATE)
    images = with_shortcuts(drawings, cell, "train", seen="learnt")
    train(network, images, drawings.labels, epochs, rate, cell.seed + 1)
    _keep(network, own)
    return network


def _keep(network: ConvolutionalClassifier, path: Path) -> None:
    torch.save(network.state_dict(), path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def use_of(
    network: ConvolutionalClassifier, cell: Cell, drawings: Drawings, has: Mapping[str, npt.NDArray[np.bool_]]
) -> dict[str, dict[str, Any]]:
    """By kind, how far each class's logit rises when the shortcut alone is put in, with a 95 % interval.

    In units of the distance between the mean logits of images with the class and without it, none of which has a
    shortcut. The images are the same drawings with the shortcut and without it: the truth, measured by intervention.

    Args:
        network: of the cell.
        cell: with its shortcuts.
        drawings: the test images without them.
        has: by kind, which of them have it where the network is judged.

    Returns:
        By kind `mean`, `low` and `high` of its finding; `by_class`, the same of all; `most`, the largest part of a
        class's distance that may go through it: of its finding the end of the interval that is farther from 0, and of
        another class that times how much more often its positives have the shortcut than its negatives; and `verdict`.
    """
    usage: dict[str, dict[str, Any]] = {}
    plain = predict(network, drawings.images)
    options = PhantomOptions(size=SIZE, prevalence=cell.prevalence)
    for plant in cell.plants:
        images = np.empty_like(drawings.images[:PAIRS])
        for index in range(PAIRS):
            scene = make_scene(index, seed=cell.seed, options=options, split="test", planted={plant.kind})
            images[index, 0] = draw_scene(scene, SIZE)
        put_in = predict(network, images)
        by_class, most = {}, 0.0
        for column, name in enumerate(PHANTOM_CLASSES):
            positive = drawings.labels[:, column] == 1
            distance = float(plain[positive, column].mean() - plain[~positive, column].mean())
            rise = (put_in[:, column] - plain[:PAIRS, column]) / distance
            mean, error = float(rise.mean()), 1.96 * float(rise.std(ddof=1)) / PAIRS**0.5
            by_class[name] = {"mean": mean, "low": mean - error, "high": mean + error}
            of_both = has[plant.kind][positive].mean() - has[plant.kind][~positive].mean()
            weight = 1.0 if name == plant.finding else abs(float(of_both))
            most = max(most, (abs(mean) + error) * weight)
        own = by_class[plant.finding]
        verdict = "goes by it" if own["low"] >= GOES_BY else "leaves it" if most <= LEAVES else "between"
        usage[plant.kind] = own | {"n": PAIRS, "most": most, "verdict": verdict, "by_class": by_class}
    return usage


def areas(network: ConvolutionalClassifier, drawings: Drawings) -> dict[str, float]:
    """AUROC of each finding on the test images without a shortcut."""
    logits = predict(network, drawings.images)
    return {name: float(roc_auc_score(drawings.labels[:, k], logits[:, k])) for k, name in enumerate(PHANTOM_CLASSES)}
