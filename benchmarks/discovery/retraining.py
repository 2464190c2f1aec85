"""Taking the shortcut away: the network trained further with its suspect marked once, and what that cost.

What a user does: `pl.discover`, then `pl.train("annotated", init=…, suspects=…, only=…)` on the images that the network
was trained on, in which the shortcut still goes with its finding. The suspect that is the shortcut is chosen by the
truth, as a person would by looking at it; its region and the images that show it are those that were found.

The gap is that between the finding's AUROC where the shortcut tells and where it lies by lot, on the same drawings.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

import pellucid as pl
from discovery.networks import TEST, Drawings, areas, options_of, use_of, with_shortcuts
from discovery.scoring import Truth, judged_images
from pellucid.data.readers.phantom.findings import PHANTOM_CLASSES
from pellucid.data.readers.phantom.reader import open_phantom
from pellucid.data.regions import Regions
from pellucid.evaluation.discovery.suspect_marks import NO_PLACE
from pellucid.models.weights import save_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from discovery.grid import Cell, Plant
    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.discovery.results import Discovery
    from pellucid.evaluation.discovery.suspect import Suspect
    from pellucid.models.classifier import ConvolutionalClassifier

WEIGHT = 1.0  # of the marks: of 0.3 and 1 the one that closed more of the gap on seeds 1 and 2, which judge nothing
RESAMPLES = 2000


def by_retraining(
    network: ConvolutionalClassifier,
    cell: Cell,
    drawings: Mapping[str, Drawings],
    truth: Truth,
    work: Path,
    *,
    tells: float,
    first: int,
) -> dict[str, Any]:
    """What becomes of each shortcut of a cell that is among the first suspects and lies at a place.

    Args:
        network: of the cell.
        cell: with its shortcuts.
        drawings: without them.
        truth: which test images have them.
        work: folder of networks.
        tells: AUROC of telling the images with the shortcut, from which on a suspect is the shortcut.
        first: suspects that are looked at.

    Returns:
        By kind, the figures before and after; or `reason`, why it was not taken away.
    """
    folder, suspects = work / f"{cell.name}-network", work / f"{cell.name}-suspects"
    save_model(network, folder)
    discovery = pl.discover(pl.load(folder), judged_images(cell), out=suspects)
    discovery.save(suspects)
    parts = {name: _training_part(part, cell, drawings) for name, part in _parts(cell).items()}
    records: dict[str, Any] = {}
    for plant in cell.plants:
        suspect = _the_shortcut(discovery, plant, truth, tells, first)
        if suspect is None or suspect.kind in NO_PLACE:
            records[plant.kind] = {"reason": "not found" if suspect is None else "lies at no place"}
            continue
        sentences: list[str] = []
        run = pl.train(
            "annotated", parts, work / f"{cell.name}-without-{plant.kind}", init=folder, suspects=suspects,
            only=[suspect.number], overrides=[f"objective.annotations.weight={WEIGHT}"], announce=sentences.append,
            device="cpu", seed=cell.seed, cache=work / "cache", resume=True,
        )  # fmt: skip
        figures = {name: _figures(one, cell, plant, drawings["test"]) for name, one in
                   (("before", network), ("after", run.load()))}  # fmt: skip
        records[plant.kind] = {"suspect": suspect.name, "marked": sentences[0], **figures}
    return records


def _the_shortcut(discovery: Discovery, plant: Plant, truth: Truth, tells: float, first: int) -> Suspect | None:
    everywhere = np.ones(TEST, bool)
    for suspect in discovery.unexpected[:first]:
        strength = np.where(np.isfinite(suspect.strength), suspect.strength, suspect.present.astype(float))
        if suspect.class_name == plant.finding and truth.tells(plant.kind, strength, everywhere) >= tells:
            return suspect
    return None


def _parts(cell: Cell) -> dict[str, Dataset]:
    parts = open_phantom(seed=cell.seed, options=options_of(cell, seen="learnt"))
    return {name: parts[name] for name in ("train", "validation")}


def _training_part(part: Dataset, cell: Cell, drawings: Mapping[str, Drawings]) -> Dataset:
    """With the findings' marks and without a word of what was planted; training images are not drawn again."""
    assert part.regions is not None
    marks = tuple(region for region in part.regions.items if region.label in PHANTOM_CLASSES)
    part = replace(part, regions=Regions(marks), metadata={})
    if part.split != "train":
        return part
    images = with_shortcuts(drawings["train"], cell, "train", seen="learnt")
    return replace(part, read=lambda row: images[row, 0])


def _figures(network: ConvolutionalClassifier, cell: Cell, plant: Plant, drawings: Drawings) -> dict[str, float]:
    sets = {
        "tells": with_shortcuts(drawings, cell, "test", seen="judged"),
        "by_lot": with_shortcuts(drawings, replace(cell, associated=False), "test", seen="learnt"),
    }
    of = {name: areas(network, Drawings(images, drawings.labels)) for name, images in sets.items()}
    others = [of["by_lot"][name] for name in PHANTOM_CLASSES if name != plant.finding]
    mean = use_of(network, cell, drawings)[plant.kind]["mean"]
    return {
        "tells": of["tells"][plant.finding],
        "by_lot": of["by_lot"][plant.finding],
        "others": float(np.mean(others)),
        "use": float(mean),  # type: ignore[arg-type]
    }


def summary(records: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> str:
    """One cell of the table: the share of the gap that is closed, what other findings lose, and of how many networks.

    The share is one less the sum of the gaps after over that before, with a bootstrap interval over the networks.
    """
    pairs = [(r["retraining"][kind], kind) for r in records for kind in kinds
             if r["use"].get(kind, {}).get("verdict") == "goes by it" and kind in r.get("retraining", {})]  # fmt: skip
    done_pairs = [one for one, _ in pairs if "after" in one]
    skipped = len(pairs) - len(done_pairs)
    if not done_pairs:
        return f"– | – | – | 0, {skipped} not found or at no place"
    gaps = np.array([[one[at]["tells"] - one[at]["by_lot"] for at in ("before", "after")] for one in done_pairs])
    others = np.array([one["after"]["others"] - one["before"]["others"] for one in done_pairs])
    finding = np.array([one["after"]["by_lot"] - one["before"]["by_lot"] for one in done_pairs])
    return (
        f"{_text(gaps, lambda g: 1 - g[:, 1].sum() / g[:, 0].sum())} | {_text(others, np.mean, '+.3f')} | "
        f"{_text(finding, np.mean, '+.3f')} | {len(done_pairs)}, {skipped} not found or at no place"
    )


def _text(values: np.ndarray, figure: Any, form: str = ".2f") -> str:
    if len(values) < 6:
        return f"{figure(values):{form}} (too few for an interval)"
    rng = np.random.default_rng(0)
    draws = [figure(values[rng.integers(len(values), size=len(values))]) for _ in range(RESAMPLES)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{figure(values):{form}} [{low:{form}}, {high:{form}}]"
