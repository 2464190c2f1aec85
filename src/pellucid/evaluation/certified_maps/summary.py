"""From certified cells to figures: how many are certified, how far, and how close an attack comes to that."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.evaluation.metrics.statistics import Replicates, mean_over_images, ratio, ratios
from pellucid.utils.resources import finite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pellucid.evaluation.certified_maps.measure import CertifiedMaps
    from pellucid.evaluation.metrics.bootstrap import Bootstrap
    from pellucid.evaluation.metrics.statistics import Estimate

POINTS = 25  # of the curve
NEAR = 2.0  # gap up to which a bracket counts as narrow
EMPTY = "maps in which no cell is hotter than the rest"


def certified_summary(maps: CertifiedMaps, alpha: float, bootstrap: Bootstrap) -> dict[str, Any]:
    """What `certify-explanation.json` says of a method; None where undefined, with the reason.

    Images whose smoothed map has no cell in its top share are left out of the shares: all their cells may be certified
    to stay outside, and that says nothing.

    Args:
        maps: of the images.
        alpha: with which all certificates of an image's map hold at once.
        bootstrap: over the images.
    """
    radii = np.linspace(0, maps.largest_radius, POINTS)
    certified = maps.radius > 0
    shares = np.where(maps.empty[:, None], math.nan, np.stack([(maps.radius > r).mean(1) for r in radii], 1))
    inside, outside = certified & maps.inside, certified & ~maps.inside
    left_out = int(maps.empty.sum())
    plain: dict[str, Any] = finite(
        {
            "cells": list(maps.shape),
            "largest_radius": maps.largest_radius,
            "figures": {name: e.to_json() for name, e in _figures(maps, inside, outside, bootstrap).items()},
            "curve": {
                "radius": radii.tolist(),
                "share": [
                    e.estimate().to_json() for e in ratios(shares, np.ones(len(shares)), bootstrap, within=(0, 1))
                ],
            },
            "empty": left_out,
            "attack": _attack(maps, alpha),
            "maps_per_image": float(maps.maps.mean()),
            "gradient_evaluations_per_image": float(maps.gradient_evaluations.mean()),
        }
    )
    return plain


def _figures(maps: CertifiedMaps, inside: Any, outside: Any, bootstrap: Bootstrap) -> dict[str, Estimate]:  # noqa: ANN401
    def mean(values: Any) -> Replicates:  # noqa: ANN401
        return mean_over_images(np.where(maps.empty, math.nan, values), bootstrap, reason=EMPTY, within=(0, 1))

    certified = inside | outside
    figures = {
        "certified": mean(certified.mean(1)),
        "certified_in_top": mean(inside.mean(1)),
        "certified_outside": mean(outside.mean(1)),
        "mean_radius": mean_over_images(
            np.where(maps.empty, math.nan, maps.radius.mean(1)), bootstrap, reason=EMPTY, within=(0, math.inf)
        ),
    }
    lacking = maps.not_attacked or "no cell was certified, so none was attacked"
    aimed = maps.attacked.sum(1).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.where(maps.attacked, maps.length / maps.radius, math.inf)
    for name, counts in (
        ("attack_found", (maps.attacked & np.isfinite(maps.length)).sum(1)),
        ("gap_up_to_2", (gap <= NEAR).sum(1)),
    ):
        figures[name] = ratio(counts.astype(float), aimed, bootstrap, reason=lacking, within=(0, 1))
    return {name: figure.estimate() for name, figure in figures.items()}


def _attack(maps: CertifiedMaps, alpha: float) -> dict[str, Any]:
    """What the attack came to, over all images; how many certificates it contradicts."""
    if maps.not_attacked:
        return {"reason": maps.not_attacked}
    gap = np.sort(maps.length[maps.attacked] / maps.radius[maps.attacked])
    certified = (maps.radius > 0).sum()
    violations, images = int(maps.violated.sum()), int(maps.violated.any(1).sum())
    quantiles = {
        f"gap_{name}": _quantile(gap, q)
        for name, q in (("lower_quartile", 0.25), ("median", 0.5), ("upper_quartile", 0.75))
    }
    return {
        "reason": None,
        "cells_attacked": int(maps.attacked.sum()),
        "cells_changed": int(np.isfinite(maps.length).sum()),
        "cells_certified": int(certified),
        **quantiles,
        "violations": violations,
        "images_violated": images,
        "message": None
        if not images
        else f"{violations} certified cells of {maps.method}, on {images} of {len(maps.length)} images, changed sides "
        f"within their certified radius under a confirmed attack; at most {2 * alpha * len(maps.length):.2g} such "
        "images are expected. Do not trust the certificates.",
    }


def _quantile(ascending: Any, share: float) -> float:  # noqa: ANN401
    """A quantile of values that may be infinite; NaN of none."""
    if len(ascending) == 0:
        return math.nan
    return float(ascending[min(len(ascending) - 1, math.ceil(share * len(ascending)) - 1)])


def cell_records(
    methods: Sequence[CertifiedMaps], names: Sequence[str], classes: Sequence[str]
) -> list[dict[str, Any]]:
    """One record per cell of each map, for a table.

    Args:
        methods: the maps of each method.
        names: of the images.
        classes: explained on each image.
    """
    return [
        {
            "id": name,
            "method": maps.method,
            "class": class_name,
            "row": cell // maps.shape[1],
            "column": cell % maps.shape[1],
            "heat": float(maps.heat[i, cell]),
            "side": "top" if maps.inside[i, cell] else "outside",
            "certified": bool(maps.radius[i, cell] > 0),
            "certified_l2": float(maps.radius[i, cell]),
            "attacked": bool(maps.attacked[i, cell]),
            "attack_l2": None if math.isinf(maps.length[i, cell]) else float(maps.length[i, cell]),
        }
        for maps in methods
        for i, (name, class_name) in enumerate(zip(names, classes, strict=True))
        for cell in range(maps.inside.shape[1])
    ]
