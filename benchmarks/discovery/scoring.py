"""What a method's suspects are worth, held against what was planted.

A record keeps what was found as it was found (`Found`), and the truth can be made again from the seed, so that other
figures can be had without looking at the network again (`python -m discovery --rescore`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata

from discovery.networks import SIZE, TEST, options_of
from discovery.packing import packed, ranks, unpacked
from pellucid.data.readers.phantom.findings import PHANTOM_CLASSES
from pellucid.data.readers.phantom.scene import make_scene, shortcut_masks
from pellucid.data.readers.phantom.shortcuts import WITH_REGION

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from discovery.grid import Cell, Plant
    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.discovery.suspect import Suspect

    Masks = npt.NDArray[np.bool_]
    Numbers = npt.NDArray[np.int64]

TELLS = 0.8  # AUROC, within the finding's labels, of telling the images with the shortcut from which on a suspect is it
FEWEST = 5  # images looked at that have the shortcut, and that have not, from which on anything tells it
DENSER = 2.0  # times as many of the shortcut's pixels as an area of this size would hold, from which on it lies there


@dataclass(frozen=True, eq=False)
class Found:
    """A suspect as it was found.

    Attributes:
        class_name: the class it moves, or whose maps it is a cluster of.
        strength: (N,), how much of it each image has, as ranks; 0 on images that were not looked at.
        region: boolean (S, S), the pixels that differ, or that are hottest.
        window: boolean (S, S), what was exchanged; None where nothing was.
        boxes: (n, 5), of a suspect at varying places the row of each image that shows it, and x, y, width and height;
            else None.
        either_way: whether it shows a shortcut as well by being where the shortcut is not, as a cluster of maps does.
    """

    class_name: str
    strength: Numbers
    region: Masks
    window: Masks | None = None
    boxes: Numbers | None = None
    either_way: bool = False

    @classmethod
    def of(cls, suspect: Suspect, data: Dataset) -> Found:
        """A suspect of `pl.discover`."""
        strength = np.where(np.isfinite(suspect.strength), suspect.strength, suspect.present.astype(float))
        boxes = None
        if suspect.kind == "patch":
            own = [(row, suspect.boxes[data.ids[row]][0]) for row in np.flatnonzero(suspect.present)]
            boxes = np.array([(row, *np.rint(box).astype(int)) for row, box in own], np.int64).reshape(-1, 5)
        return cls(suspect.class_name, ranks(strength), suspect.region, suspect.window, boxes)

    @classmethod
    def of_cluster(cls, stored: Mapping[str, Any], looked_at: Masks) -> Found:
        """A cluster of SpRAy, of which a record keeps the images in it; those looked at are in some cluster."""
        strength = np.where(looked_at, 1 + unpacked(stored["members"]), 0).astype(np.int64)
        return cls(stored["class"], strength, unpacked(stored["region"]), either_way=True)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Found:
        """What `to_json` gave."""
        window, boxes = (stored[name] and unpacked(stored[name]) for name in ("window", "boxes"))
        return cls(stored["class"], unpacked(stored["strength"]), unpacked(stored["region"]), window, boxes)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return {
            "class": self.class_name,
            "strength": packed(self.strength),
            "region": packed(self.region),
            "window": None if self.window is None else packed(self.window),
            "boxes": None if self.boxes is None else packed(self.boxes),
        }

    def regions(self, rows: Numbers, *, marked: bool) -> Masks:
        """Where it lies on images, boolean (n, S, S): its pixels, or what a user's mark of it would cover.

        Args:
            rows: of the images.
            marked: as `pellucid annotate serve --suspect` marks it: with the window that was exchanged.
        """
        if self.boxes is None:
            fixed = self.region | self.window if marked and self.window is not None else self.region
            return np.broadcast_to(fixed, (len(rows), *fixed.shape))
        regions = np.zeros((len(rows), *self.region.shape), bool)
        place = {row: number for number, row in enumerate(rows.tolist())}
        for row, x, y, width, height in self.boxes.tolist():
            if row in place:
                regions[place[row], y : y + height, x : x + width] = True
        return regions


@dataclass(frozen=True, eq=False)
class Truth:
    """Which test images have which finding and which shortcut, and where.

    Attributes:
        labels: boolean (N, 8), of the findings.
        has: by kind, boolean (N,).
        masks: by kind that lies somewhere, the masks of the images that have it by their row.
    """

    labels: Masks
    has: Mapping[str, Masks]
    masks: Mapping[str, Mapping[int, Masks]]

    @classmethod
    def of(cls, cell: Cell) -> Truth:
        """What the judged images of a cell show."""
        options = options_of(cell, seen="judged")
        labels = np.zeros((TEST, len(PHANTOM_CLASSES)), bool)
        has = {plant.kind: np.zeros(TEST, bool) for plant in cell.plants}
        masks: dict[str, dict[int, Masks]] = {}
        for row in range(TEST):
            scene = make_scene(row, seed=cell.seed, options=options, split="test")
            for finding in scene.findings:
                labels[row, PHANTOM_CLASSES.index(finding.label)] = True
            for shortcut in scene.shortcuts:
                has[shortcut.kind][row] = True
            for kind, mask in shortcut_masks(scene, SIZE).items():
                masks.setdefault(kind, {})[row] = mask
        return cls(labels, has, masks)

    def figures(self, plant: Plant, suspect: Found) -> dict[str, Any]:
        """How well a suspect tells the images with a shortcut, and of kinds with a place how it lies.

        Returns:
            `tells`, the AUROC over all images looked at, and `tells_within`, that within the labels of the finding, NaN
            of too few images with the shortcut or without;
            of kinds with a place `denser`, how many times as many of the shortcut's pixels it holds as an area of its
            size would by chance, and `iou`; each `marked` and as `region` (`Found.regions`), the mean over the images
            that have the shortcut. `iou` has them against what the shortcut covers on any image too, as `…_union`.
        """
        rows = suspect.strength > 0
        has, strength = self.has[plant.kind][rows], suspect.strength[rows].astype(float)
        labels = self.labels[rows, PHANTOM_CLASSES.index(plant.finding)]
        areas = {
            "tells": stratified_auroc(strength, has, np.zeros(len(has), int)),
            "tells_within": stratified_auroc(strength, has, labels.astype(int)),
        }
        if min(has.sum(), (~has).sum()) < FEWEST:
            areas = dict.fromkeys(areas, float("nan"))
        if suspect.either_way:
            areas = {name: max(area, 1 - area) for name, area in areas.items()}
        figures: dict[str, Any] = dict(areas)
        if plant.kind in self.masks:
            where = np.array(sorted(self.masks[plant.kind]))
            planted = np.stack([self.masks[plant.kind][row] for row in where.tolist()])
            figures |= {"denser": {}, "iou": {}}
            # of a cluster no mark is made
            for name, marked in (("region", False),) if suspect.either_way else (("marked", True), ("region", False)):
                regions = suspect.regions(where, marked=marked)
                figures["denser"][name] = density(regions, planted)
                figures["iou"][name] = float(np.mean([overlap(a, b) for a, b in zip(regions, planted, strict=True)]))
                figures["iou"][f"{name}_union"] = overlap(regions.any(0), planted.any(0))
        return figures


def stratified_auroc(strength: npt.NDArray[np.float64], has: Masks, strata: Numbers) -> float:
    """AUROC of telling `has` by `strength` over pairs of one stratum (van Elteren 1960, a pair's weight is 1).

    Args:
        strength: (N,), ties count half.
        has: (N,).
        strata: (N,), numbers of any kind.

    Returns:
        The mean over strata, each weighted by its pairs; NaN where no stratum has both.
    """
    wins = pairs = 0.0
    for stratum in np.unique(strata):
        own = strata == stratum
        positive = has[own]
        n = int(positive.sum())
        pairs += n * (len(positive) - n)
        wins += float(rankdata(strength[own])[positive].sum()) - n * (n + 1) / 2
    return wins / pairs if pairs else float("nan")


def density(regions: Masks, planted: Masks) -> float:
    """The share of the planted pixels that regions hold over the share of the image that they cover; 0 of no region.

    Args:
        regions: (n, S, S).
        planted: (n, S, S), of the same images.
    """
    size = np.maximum(planted.sum((1, 2)), 1)
    covered = float(((regions & planted).sum((1, 2)) / size).mean())
    area = float(regions.mean())
    return covered / area if area else 0.0


def overlap(region: Masks, planted: Masks) -> float:
    """Intersection over union; 0 of nothing."""
    union = int((region | planted).sum())
    return int((region & planted).sum()) / union if union else 0.0


def is_shortcut(figures: Mapping[str, Any], kind: str) -> bool:
    """Whether a suspect is the shortcut by its figures: it tells the images within labels, and lies there."""
    within = figures["tells_within"]
    if within is None or not within >= TELLS:
        return False
    return kind not in WITH_REGION or max(figures["denser"].values(), default=0.0) >= DENSER


def score(record: dict[str, Any], cell: Cell, truth: Truth) -> None:
    """Give each suspect of a record its figures, by kind, to four places."""
    for method in record.values():
        if not isinstance(method, dict) or "suspects" not in method:
            continue
        looked_at: dict[str, Masks] = {}
        for suspect in method["suspects"]:
            if "members" in suspect:
                name, members = suspect["class"], unpacked(suspect["members"])
                looked_at[name] = looked_at.get(name, np.zeros(len(members), bool)) | members
        for suspect in method["suspects"]:
            is_cluster = "members" in suspect
            one = Found.of_cluster(suspect, looked_at[suspect["class"]]) if is_cluster else Found.from_json(suspect)
            suspect |= {plant.kind: _rounded(truth.figures(plant, one)) for plant in cell.plants}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return round(value, 4)
