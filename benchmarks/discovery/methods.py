"""The methods that look at a network: `discover`, with the findings' marks and without, and SpRAy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pellucid as pl
from discovery.networks import Drawings, options_of
from discovery.packing import packed
from discovery.scoring import Found
from discovery.spray import clusters
from pellucid.data.readers.phantom.findings import PHANTOM_CLASSES
from pellucid.data.readers.phantom.reader import open_phantom
from pellucid.data.regions import Regions

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from discovery.grid import Cell
    from pellucid.data.dataset import Dataset
    from pellucid.models.classifier import ConvolutionalClassifier

LISTED = 12  # suspects of `discover` that are recorded


def judged_images(cell: Cell, *, marks: bool = True) -> Dataset:
    """The test part of a cell as a user has it: with the findings' marks, and without a word of what was planted."""
    data = open_phantom(seed=cell.seed, options=options_of(cell, seen="judged"))["test"]
    assert data.regions is not None
    own = tuple(region for region in data.regions.items if region.label in PHANTOM_CLASSES)
    return replace(data, regions=Regions(own) if marks else None, metadata={})


def by_spray(
    network: ConvolutionalClassifier, images: npt.NDArray[np.uint8], drawings: Drawings, cell: Cell
) -> dict[str, Any]:
    """The clusters of SpRAy as suspects, those of each class in their order."""
    suspects = clusters(network, images, drawings.labels, seed=cell.seed)
    return {
        "suspects": [
            {"class": one.finding, "p": one.p, "members": packed(one.members), "region": packed(one.region)}
            for one in suspects
        ]
    }


def by_discover(network: ConvolutionalClassifier, cell: Cell, *, marks: bool = True) -> dict[str, Any]:
    """The suspects of `pl.discover` that nobody marked, but for those that the intervention did not confirm."""
    data = judged_images(cell, marks=marks)
    discovery = pl.discover(network, data)
    records = []
    confirmed = [suspect for suspect in discovery.unexpected if suspect.confirmed is not False]
    for suspect in confirmed[:LISTED]:
        about = {"kind": suspect.kind, "name": suspect.name, "cost": suspect.share}
        records.append(about | {"p": suspect.effects[0].p_corrected} | Found.of(suspect, data).to_json())
    return {
        "count": len(confirmed),
        "unconfirmed": len(discovery.unconfirmed),
        "expected": [suspect.class_name for suspect in discovery.suspects if suspect.expected],
        "suspects": records,
        "counts": dict(discovery.counts),
        "unanswered": dict(discovery.unanswered),
    }
