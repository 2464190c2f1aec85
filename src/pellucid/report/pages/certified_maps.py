"""Certified heat maps on one page that needs nothing but itself: what is certain in colour, what is not in grey."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps

from pellucid.report.charts.certified_maps import certified_cells_chart
from pellucid.report.heat_colours import placed
from pellucid.report.pages.page_templates import PAGES, style_sheet
from pellucid.report.pictures.perturbed import as_picture, data_address
from pellucid.report.tables.metrics import method_label, number
from pellucid.utils.resources import write_text
from pellucid.utils.words import interval_text, value_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from pellucid.evaluation.certified_maps.measure import CertifiedMaps

IN_TOP = ((0xFB, 0xC9, 0x8F), (0xB3, 0x45, 0x06))  # from a radius near 0 to the largest
OUTSIDE = ((0xD3, 0xE5, 0xF2), (0x2B, 0x74, 0xAE))
UNCERTAIN = (0x9A, 0x9A, 0x9A)


@dataclass(frozen=True, eq=False)
class MapCase:
    """One image on the page.

    Attributes:
        name: of the image.
        explained: the class explained.
        image: (C, H, W) in [0, 1].
        row: of the image in the maps.
    """

    name: str
    explained: str
    image: npt.NDArray[Any]
    row: int


@dataclass(frozen=True, eq=False)
class CertifiedPage:
    """What the page shows.

    Attributes:
        title: of the page.
        about: what was certified on what, in order: name → text.
        sigma: of the noise.
        top: the share of the cells that counts as the top.
        maps: of each method.
        summaries: their figures, by method.
        labels: of the figures, by name, in order.
        cases: the images shown.
    """

    title: str
    about: Mapping[str, str]
    sigma: float
    top: float
    maps: Sequence[CertifiedMaps]
    summaries: Mapping[str, Mapping[str, Any]]
    labels: Mapping[str, str]
    cases: Sequence[MapCase]


def write_certified_maps(page: CertifiedPage, path: Path) -> Path:
    """Write the page; it loads nothing from anywhere, and every text is escaped.

    Args:
        page: what is shown.
        path: of the HTML file, written whole or not at all.

    Raises:
        InputError: if the folder cannot be written or the disk is full.
    """
    cells_of = {
        label: [_figure(s["figures"][name]) for s in page.summaries.values()] for name, label in page.labels.items()
    }
    text = PAGES.get_template("certified_maps.html.j2").render(
        title=page.title,
        about=list(page.about.items()),
        css=style_sheet("report.css"),
        top=f"{100 * page.top:g}\N{NO-BREAK SPACE}%",
        sigma=f"{page.sigma:g}",
        chart=certified_cells_chart(page.summaries),
        methods=[method_label(method) for method in page.summaries],
        note=_said_once([cell for cells in cells_of.values() for cell in cells]),
        lines=[{"label": label, "cells": cells} for label, cells in cells_of.items()],
        attacks=[_attack(method, s) for method, s in page.summaries.items()],
        colours={
            name: "linear-gradient(90deg, rgb{}, rgb{})".format(*ends)
            for name, ends in (("top", IN_TOP), ("outside", OUTSIDE), ("uncertain", (UNCERTAIN, UNCERTAIN)))
        },
        cases=[_case(case, page.maps) for case in page.cases],
    )
    write_text(path, text)
    return path


def certainty_picture(maps: CertifiedMaps, row: int) -> npt.NDArray[np.uint8]:
    """The cells of one image's map (rows, columns, 3): orange in the top share, blue outside, grey where uncertain.

    The stronger the colour, the larger the certified radius; the largest that the samples allow is the strongest.
    """
    share = np.clip(maps.radius[row] / maps.largest_radius, 0, 1)[:, None]
    weak, strong = (
        np.where(maps.inside[row][:, None], np.array(a), np.array(b)) for a, b in zip(IN_TOP, OUTSIDE, strict=True)
    )
    colours = np.where(maps.radius[row][:, None] > 0, weak + share * (strong - weak), np.array(UNCERTAIN))
    return np.rint(colours).astype(np.uint8).reshape(*maps.shape, 3)


def _figure(figure: Mapping[str, Any]) -> dict[str, Any]:
    if figure["value"] is None:
        return {
            "value": "undefined",
            "undefined": True,
            "interval": "",
            "n": figure["n"],
            "why": figure["reason"] or "",
        }
    return {
        "value": value_text(figure["value"], figure["low"], figure["high"], number),
        "undefined": False,
        "interval": interval_text(figure["low"], figure["high"], number),
        "n": figure["n"],
        "why": figure["reason"] or "",
    }


def _said_once(cells: Sequence[dict[str, Any]]) -> str:
    """What all cells say of themselves, if it is the same, taken out of them."""
    reasons = {cell["why"] for cell in cells}
    if len(reasons) > 1:
        return ""
    for cell in cells:
        cell["why"] = ""
    return next(iter(reasons), "")


def _attack(method: str, summary: Mapping[str, Any]) -> str:
    attack = summary["attack"]
    if attack["reason"]:
        return f"{method_label(method)}: {attack['reason']}."
    sentences = [
        f"{method_label(method)}: {attack['cells_attacked']} cells were aimed at, and {attack['cells_changed']} of "
        f"{attack['cells_certified']} certified ones changed sides"
    ]
    if attack["gap_median"] is not None:
        sentences.append(
            f"the median of an attack’s length over the certified radius is {attack['gap_median']:.1f} (quartiles "
            f"{_ratio(attack['gap_lower_quartile'])} and {_ratio(attack['gap_upper_quartile'])})"
        )
    violations = attack["violations"]
    within = f"{violations} changed sides WITHIN the radius: do not trust these certificates"
    return "; ".join([*sentences, within if violations else "none changed sides within its certified radius"]) + "."


def _ratio(value: float | None) -> str:
    return "unbounded" if value is None else f"{value:.1f}"


def _case(case: MapCase, methods: Sequence[CertifiedMaps]) -> dict[str, Any]:
    height, width = case.image.shape[1:]
    rows = []
    for maps in methods:
        heat, colours = placed(maps.heat[case.row].reshape(maps.shape), maps.method)
        certain = maps.radius[case.row] > 0
        inside = maps.inside[case.row]
        count = len(certain)
        changed = int(np.isfinite(maps.length[case.row]).sum())
        rows.append(
            {
                "method": method_label(maps.method),
                "heat": data_address((colormaps[colours](heat)[..., :3] * 255).astype(np.uint8)),
                "certain": data_address(certainty_picture(maps, case.row)),
                "text": f"{int((certain & inside).sum())} cells certainly in the top, {int((certain & ~inside).sum())} "
                f"certainly outside, {count - int(certain.sum())} uncertain"
                + ("" if maps.not_attacked else f"; attacks changed {changed} of the certain ones"),
                "empty": bool(maps.empty[case.row]),
            }
        )
    side = math.ceil(96 / max(height, width)) if max(height, width) < 96 else 1
    return {
        "name": case.name,
        "explained": case.explained,
        "image": data_address(as_picture(case.image)),
        "rows": rows,
        "size": f"{width} × {height}",
        "width": width * side,
        "height": height * side,
    }
