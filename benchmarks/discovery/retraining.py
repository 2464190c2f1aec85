"""Taking the shortcut away: the network trained further with its suspect marked once, and what that cost.

What a user does: `pl.discover`, then `pl.train("annotated", init=…, suspects=…, only=…)` on the images that the network
was trained on, in which the shortcut still goes with its finding. The suspect that is the shortcut is chosen by the
truth, as a person would by looking at it; its region and the images that show it are those that were found.

The gap is that between the finding's AUROC where the shortcut tells and where it lies by lot, on the same drawings.
Only networks are trained that go by a shortcut with a place, which is among the first suspects at a place.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

import pellucid as pl
from discovery.intervals import figure_by_seeds, share_text
from discovery.methods import judged_images
from discovery.networks import Drawings, areas, options_of, use_of, with_shortcuts
from discovery.scoring import Found, Truth, is_shortcut
from pellucid.data.readers.phantom.findings import PHANTOM_CLASSES
from pellucid.data.readers.phantom.reader import open_phantom
from pellucid.data.readers.phantom.shortcuts import WITH_REGION
from pellucid.data.regions import Regions
from pellucid.evaluation.discovery.suspect_marks import NO_PLACE
from pellucid.models.inference import predict
from pellucid.models.weights import save_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from discovery.grid import Cell, Plant
    from pellucid.data.dataset import Dataset
    from pellucid.models.classifier import ConvolutionalClassifier

WEIGHT = 1.0  # of the marks: of 0.3 and 1 the one that closed more of the gap on seeds 1 and 2, which judge nothing
RESAMPLES = 500  # of test images
MOST_LOST = 0.01  # of the other findings' AUROC, that the target allows


def worth_taking_away(record: Mapping[str, Any], first: int) -> dict[str, str]:
    """By kind that a network goes by, why it is not taken away; an empty reason where it is.

    Args:
        record: of the network, with what `discover` found.
        first: suspects that are looked at.
    """
    reasons = {}
    for plant in record["plants"]:
        kind = plant["kind"]
        if record["use"][kind]["verdict"] != "goes by it":
            continue
        own = [
            suspect
            for suspect in record["discover"]["suspects"][:first]
            if suspect["class"] == plant["finding"] and is_shortcut(suspect[kind], kind)
        ]
        if kind not in WITH_REGION:
            reasons[kind] = "the shortcut lies at no place"
        elif not own:
            reasons[kind] = "not found"
        else:
            reasons[kind] = "" if any(one["kind"] not in NO_PLACE for one in own) else "found at no place"
    return reasons


def by_retraining(
    network: ConvolutionalClassifier,
    cell: Cell,
    drawings: Mapping[str, Drawings],
    truth: Truth,
    work: Path,
    record: Mapping[str, Any],
    *,
    first: int,
) -> dict[str, Any]:
    """What becomes of each shortcut of a cell that it goes by, and that is among the first suspects and at a place.

    Args:
        network: of the cell.
        cell: with its shortcuts.
        drawings: without them.
        truth: which test images have them.
        work: folder of networks.
        record: of the network, with what `discover` found.
        first: suspects that are looked at.
    """
    reasons = worth_taking_away(record, first)
    records: dict[str, Any] = {kind: {"reason": reason} for kind, reason in reasons.items() if reason}
    if all(reasons.values()):
        return records
    folder, suspects = work / f"{cell.key}-network", work / f"{cell.key}-suspects"
    save_model(network, folder)
    data = judged_images(cell)
    discovery = pl.discover(pl.load(folder), data, out=suspects)
    discovery.save(suspects)
    parts = {name: _training_part(part, cell, drawings) for name, part in _parts(cell).items()}
    for plant in cell.plants:
        if reasons.get(plant.kind, "not used"):
            continue
        suspect = next(
            one
            for one in discovery.unexpected[:first]
            if one.class_name == plant.finding
            and one.kind not in NO_PLACE
            and is_shortcut(truth.figures(plant, Found.of(one, data)), plant.kind)
        )
        sentences: list[str] = []
        run = pl.train(
            "annotated", parts, work / f"{cell.key}-without-{plant.kind}", init=folder, suspects=suspects,
            only=[suspect.number], overrides=[f"objective.annotations.weight={WEIGHT}"], announce=sentences.append,
            device="cpu", seed=cell.seed, cache=work / "cache", resume=True,
        )  # fmt: skip
        after = run.load()
        figures = {name: _figures(one, cell, plant, drawings["test"], truth) for name, one in
                   (("before", network), ("after", after))}  # fmt: skip
        images = with_shortcuts(drawings["test"], replace(cell, associated=False), "test", seen="learnt")
        others = [column for column, name in enumerate(PHANTOM_CLASSES) if name != plant.finding]
        before_odds, after_odds = (predict(one, images)[:, others] for one in (network, after))
        low, high = change_of_auroc(before_odds, after_odds, drawings["test"].labels[:, others])
        records[plant.kind] = {"suspect": suspect.name, "marked": sentences[0], "others": [low, high], **figures}
    return records


def change_of_auroc(
    before: npt.NDArray[Any], after: npt.NDArray[Any], labels: npt.NDArray[np.float32], seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of the change of the mean AUROC, (N, classes), over bootstrap samples of the images."""
    n = len(labels)
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(float)
    changes = np.zeros((labels.shape[1], RESAMPLES))
    for column in range(labels.shape[1]):
        positive = labels[:, column] == 1
        of_positives, of_negatives = draws[:, positive], draws[:, ~positive]
        pairs = of_positives.sum(1) * of_negatives.sum(1)
        for sign, logits in ((-1, before[:, column]), (1, after[:, column])):
            difference = logits[positive][:, None] - logits[~positive]
            wins = ((of_positives @ ((np.sign(difference) + 1) / 2)) * of_negatives).sum(1)
            changes[column] += sign * wins / np.maximum(pairs, 1)
    low, high = np.quantile(changes.mean(0), [0.025, 0.975])
    return float(low), float(high)


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


def _figures(
    network: ConvolutionalClassifier, cell: Cell, plant: Plant, drawings: Drawings, truth: Truth
) -> dict[str, float]:
    sets = {
        "tells": with_shortcuts(drawings, cell, "test", seen="judged"),
        "by_lot": with_shortcuts(drawings, replace(cell, associated=False), "test", seen="learnt"),
    }
    of = {name: areas(network, Drawings(images, drawings.labels)) for name, images in sets.items()}
    others = [of["by_lot"][name] for name in PHANTOM_CLASSES if name != plant.finding]
    mean = use_of(network, cell, drawings, truth.has)[plant.kind]["mean"]
    return {
        "tells": of["tells"][plant.finding],
        "by_lot": of["by_lot"][plant.finding],
        "others": float(np.mean(others)),
        "use": float(mean),
    }


def summary(records: Sequence[Mapping[str, Any]], kinds: Sequence[str]) -> str:
    """One line of the table: the share of the gap that is closed, what other findings lose, and of how many networks.

    The share is one less the sum of the gaps after over that before, both without their signs, so that a network whose
    finding is told worse afterwards where the shortcut tells does not make up for another.
    """
    pairs = [(r["seed"], r["retraining"][kind]) for r in records for kind in kinds
             if r["use"].get(kind, {}).get("verdict") == "goes by it" and kind in r.get("retraining", {})]  # fmt: skip
    trained = [(seed, one) for seed, one in pairs if "after" in one]
    others_text = f"{len(trained)}, {len(pairs) - len(trained)} not found or at no place"
    if not trained:
        return f"– | – | – | – | – | {others_text}"
    seeds = [seed for seed, _ in trained]
    gaps = np.array([[one[at]["tells"] - one[at]["by_lot"] for at in ("before", "after")] for _, one in trained])
    changes = [{name: one["after"][name] - one["before"][name] for name in ("by_lot", "others")} for _, one in trained]
    finding, others = (np.array([change[name] for change in changes]) for name in ("by_lot", "others"))
    closed = figure_by_seeds(np.abs(gaps), seeds, lambda g: float(1 - g[:, 1].sum() / g[:, 0].sum()))
    within = share_text([bool(change >= -MOST_LOST) for change in others], seeds)
    cells = [
        closed,
        figure_by_seeds(others, seeds, lambda v: float(v.mean()), "+.3f"),
        within,
        _of_each(trained),
        figure_by_seeds(finding, seeds, lambda v: float(v.mean()), "+.3f"),
        others_text,
    ]
    return " | ".join(cells)


def _of_each(trained: Sequence[tuple[int, Mapping[str, Any]]]) -> str:
    """The network that lost most of the other findings, with the interval over its images, and how many surely lost."""
    worst = min(trained, key=lambda pair: pair[1]["after"]["others"] - pair[1]["before"]["others"])[1]
    low, high = worst["others"]
    change = worst["after"]["others"] - worst["before"]["others"]
    surely = sum(one["others"][1] < -MOST_LOST for _, one in trained)
    return f"{change:+.3f} [{low:+.3f}, {high:+.3f}]; {surely} of {len(trained)} surely lose more than {MOST_LOST:g}"
