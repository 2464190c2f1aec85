"""What a classifier goes by, as an atlas to be looked at in a minute: a card per suspect, and its section below."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pellucid.data.decoding.image import in_8_bits
from pellucid.evaluation.metrics.statistics import Estimate
from pellucid.report.pages.page_templates import PAGES, style_sheet
from pellucid.report.pictures.panels import Panel, picture
from pellucid.report.pictures.perturbed import as_picture, data_address
from pellucid.report.tables.metrics import metric, number, p_text
from pellucid.utils.resources import write_text
from pellucid.utils.words import heading_name, interval_text, value_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pellucid.evaluation.discovery.results import Discovery
    from pellucid.evaluation.discovery.suspect import Consequence, Suspect

ON_A_CARD = 3  # images with the suspect on its card; its section has all
KINDS = {
    "place": "a place of the image",
    "patch": "a look, at varying places",
    "whole image": "a property of the whole image",
    "metadata": "a column of the metadata: it goes with the class; whether it moves the answer cannot be tried",
    "marked": "what people marked as the finding",
}


def write_discovery(discovery: Discovery, path: Path) -> Path:
    """Write the page; it loads nothing from anywhere, and every text is escaped.

    Args:
        discovery: what was found; with no suspects the page says what was looked for.
        path: of the HTML file, written whole or not at all.

    Raises:
        InputError: if the folder cannot be written or the disk is full.
    """
    text = PAGES.get_template("discovery.html.j2").render(
        title=f"What {heading_name(str(discovery.about['model']))} goes by",
        css=style_sheet("report.css"),
        d=discovery,
        about=[(key, str(value)) for key, value in discovery.about.items() if isinstance(value, str | int)],
        unexpected=[card_of(discovery, suspect) for suspect in discovery.unexpected],
        expected=[card_of(discovery, suspect) for suspect in discovery.suspects if suspect.expected],
        comparison=_comparison(discovery),
    )
    write_text(path, text)
    return path


def card_of(discovery: Discovery, suspect: Suspect) -> dict[str, Any]:
    """A suspect as the templates take it."""
    first = suspect.consequences[0] if suspect.consequences else None
    pictures = [_exemplar(discovery, suspect, name) for name in suspect.exemplars if name in discovery.pictures]
    plain = [_exemplar(discovery, suspect, name) for name in suspect.without if name in discovery.pictures]
    patches = [
        {"label": label, "image": data_address(as_picture(patch))}
        for label, patch in (("mean of images with it", suspect.mean_patch), ("without it", suspect.mean_without))
        if patch is not None
    ]
    return {
        "s": suspect,
        "kind": KINDS[suspect.kind],
        "exemplars": pictures,
        "card": pictures[:ON_A_CARD],
        "without": plain,
        "patches": patches,
        "bars": _bars(first) if first else [],
        "metric": metric(first.metric).label if first else "",
        "prevalence": _figure(suspect.prevalence, 2),
        "prevalence_of": [(name, *(_figure(e, 2) for e in both)) for name, both in suspect.prevalence_of.items()],
        "effects": [
            {
                "class": effect.class_name,
                "tested": math.isfinite(effect.share.value) or effect.class_name == suspect.class_name,
                "share": _figure(effect.share, 2),
                "taken": _figure(effect.taken_away, 2, signed=True),
                "put": _figure(effect.put_in, 2, signed=True),
                "p": p_text(effect.p_corrected) if math.isfinite(effect.p_corrected) else "–",
            }
            for effect in suspect.effects
        ],
        "consequences": [
            {
                "label": metric(c.metric).label,
                "cells": [_figure(e) for e in (c.with_it, c.without, c.usual, c.neutralised)],
            }
            for c in suspect.consequences
        ],
        "groups": suspect.details.get("groups", ()),
        "worst": suspect.worst and {"w": suspect.worst, "accuracy": _figure(suspect.worst.accuracy)},
    }


def _comparison(discovery: Discovery) -> dict[str, Any] | None:
    """What became of another discovery's suspects, as the template takes it."""
    compared = discovery.comparison
    if compared is None:
        return None

    def areas(one: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [_figure(Estimate.from_json(one[key]), signed=key == "change") for key in ("before", "now", "change")]

    def share(one: Mapping[str, Any], key: str) -> dict[str, Any]:
        return _figure(Estimate.from_json(one[key]), 2, signed=key == "share_change")

    suspects = [
        {
            "name": one["name"],
            "class": one["class"],
            "verdict": one["verdict"],
            "shares": [share(one, key) for key in ("share_before", "share_now", "share_change")],
            "p": "–" if one["p_corrected"] is None else p_text(one["p_corrected"]),
        }
        for one in compared["suspects"]
    ]
    changes = [{"name": one["class"], "images": "all images", "cells": areas(one)} for one in compared["auroc"]]
    changes += [
        {"name": one["class"], "images": f"{of['images']}: {one['name']}", "cells": areas(of)}
        for one in compared["suspects"]
        for of in one["auroc"]
    ]
    return {"before": compared["before"], "suspects": suspects, "changes": changes}


def suspect_panels(discovery: Discovery) -> list[Panel]:
    """The first image of each suspect that nobody marked as the finding, and shows on images."""
    return [
        _panel(discovery, suspect, name)
        for suspect in discovery.unexpected
        for name in [n for n in suspect.exemplars if n in discovery.pictures][:1]
    ]


def _exemplar(discovery: Discovery, suspect: Suspect, name: str) -> dict[str, Any]:
    panel = _panel(discovery, suspect, name)
    return {"name": name, "image": picture(panel), "width": panel.image.shape[1], "height": panel.image.shape[0]}


def _panel(discovery: Discovery, suspect: Suspect, name: str) -> Panel:
    """One image, with the suspect outlined where it is at a place."""
    pixels = discovery.pictures[name]
    boxes = suspect.boxes.get(name, ())
    inside = suspect.region if suspect.kind == "place" and not boxes else None
    levels = in_8_bits(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    mask = inside if inside is not None and not inside.all() else None
    return Panel(levels, list(boxes), {}, "", suspect.class_name, name, "", mask=mask)


def _bars(one: Consequence) -> list[dict[str, Any]]:
    """The first consequence as bars: as it is, on images with and without, and once the suspect says nothing."""
    named = {
        "with it": one.with_it,
        "without it": one.without,
        "all images": one.usual,
        "once it says nothing": one.neutralised,
    }
    return [
        {"label": label, "width": max(0.0, min(100.0, 100 * e.value)), **_figure(e)}
        for label, e in named.items()
        if math.isfinite(e.value)
    ]


def _figure(estimate: Estimate, decimals: int = 3, *, signed: bool = False) -> dict[str, Any]:
    if math.isnan(estimate.value):
        return {"value": "undefined", "interval": "", "n": estimate.n, "why": estimate.reason or "", "undefined": True}

    def text(value: float) -> str:
        return number(value, decimals, signed=signed)

    return {
        "value": value_text(estimate.value, estimate.low, estimate.high, text),
        "interval": interval_text(estimate.low, estimate.high, text),
        "n": estimate.n,
        "why": estimate.reason or "",
        "undefined": False,
    }
