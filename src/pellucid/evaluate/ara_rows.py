"""Accuracy-Robustness Areas of several networks side by side, as rows of a study."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pellucid.evaluate.ara_summary import areas_of
from pellucid.evaluate.comparison import Row, compare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pellucid.data.dataset import Dataset
    from pellucid.evaluate.bootstrap import Bootstrap
    from pellucid.evaluate.radii import Radii


def ara_rows(
    radii: Mapping[str, Sequence[Mapping[str, Radii]]],
    dataset: Dataset,
    bootstrap: Bootstrap,
    reference: str | None = None,
) -> list[Row]:
    """The area of each kind, with several labels also a label, and the differences to the reference.

    Args:
        radii: by variant, seed and kind.
        dataset: the images that were measured.
        bootstrap: over them.
        reference: the variant that the others are compared with, or None.
    """
    rows: list[Row] = []
    for kind in next(iter(radii.values()))[0]:
        found = {v: [areas_of(one[kind], dataset, bootstrap) for one in seeds] for v, seeds in radii.items()}
        names = list(next(iter(found.values()))[0].labels)
        for name in [*names, "mean"]:
            figures = {
                v: [(x.overall if name == "mean" else x.labels[name]).replicates for x in seeds]
                for v, seeds in found.items()
            }
            place = Row("ara", f"ara_{kind}", name, "", math.nan, math.nan, math.nan, 0)
            rows += compare(place, figures, reference)
    return rows
