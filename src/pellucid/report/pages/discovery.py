"""What a classifier goes by, as an atlas to be looked at in a minute: a card per suspect, and its section below."""

from __future__ import annotations

import json
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

SETTINGS = {
    "cells": "cells on a side of the frame",
    "screened": "images that give their windows, to find candidates",
    "tested": "images that give, to test the candidates",
    "recipients": "images that they give to",
    "per_class": "windows tested for each class",
    "permutations": "permutations",
    "alpha": "p value up to which a suspect is reported, corrected",
    "least": "share from which on a suspect is reported",
    "most": "suspects described at most",
    "margin": "margin around marks, share of the frame's side",
    "fewest": "images with a class, and without it, needed",
    "seed": "seed",
}
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
        title=f"What does the classifier {heading_name(str(discovery.about['model']))} go by?",
        css=style_sheet("report.css"),
        d=discovery,
        about=_about(discovery),
        record=[(key, str(discovery.about[key])) for key in ("fingerprint", "network") if key in discovery.about],
        settings=[(SETTINGS.get(name, name.replace("_", " ")), value) for name, value in discovery.settings.items()],
        unexpected=[card_of(discovery, suspect) for suspect in discovery.unexpected if suspect.confirmed is not False],
        unconfirmed=[card_of(discovery, suspect) for suspect in discovery.unconfirmed],
        expected=[card_of(discovery, suspect) for suspect in discovery.suspects if suspect.expected],
        comparison=_comparison(discovery),
    )
    write_text(path, text)
    return path


def _about(discovery: Discovery) -> list[tuple[str, str]]:
    """What was searched, in words."""
    about = discovery.about
    lines = [
        ("Model", about.get("model")),
        ("Data", about.get("title") or about.get("data")),
        ("Part", about.get("split")),
    ]
    try:
        options = json.loads(about.get("origin") or "{}")
    except ValueError:
        options = {}
    if isinstance(options, dict) and options:
        lines.append(("Options of the data", ", ".join(f"{name} = {value}" for name, value in options.items())))
    return [(name, str(value)) for name, value in lines if value]


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
        "prevalence_of": [
            (name, _figure(of.positives, 2), _figure(of.negatives, 2), _figure(of.apart, 2, signed=True), _p(of.p))
            for name, of in suspect.prevalence_of.items()
        ],
        "effects": [
            {
                "class": effect.class_name,
                "tested": math.isfinite(effect.share.value) or effect.class_name == suspect.class_name,
                "share": _figure(effect.share, 2),
                "taken": _figure(effect.taken_away, 2, signed=True),
                "put": _figure(effect.put_in, 2, signed=True),
                "p": _p(effect.p_corrected),
                "p_taken": _p(effect.p_taken),
                "p_put": _p(effect.p_put),
            }
            for effect in suspect.effects
        ],
        "consequences": [
            {
                "label": metric(c.metric).label,
                "sides": [_figure(c.with_it), _figure(c.without), _figure(c.apart, signed=True)],
                "judged": [_figure(c.usual), _figure(c.neutralised), _figure(c.change, signed=True)],
                "p": (_p(c.p_apart), _p(c.p_change)),
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
            "p": _p(math.nan if one["p_corrected"] is None else one["p_corrected"]),
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
    """One image; of a place with what is marked of it outlined, where the image has it."""
    pixels = discovery.pictures[name]
    boxes = suspect.boxes.get(name, ()) if suspect.kind != "place" else ()
    levels = in_8_bits(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    mask = suspect.outline if suspect.kind == "place" and suspect.present[discovery.ids.index(name)] else None
    return Panel(levels, list(boxes), {}, "", suspect.class_name, name, "", mask=mask)


def _p(value: float) -> str:
    return p_text(value) if math.isfinite(value) else "–"


def _bars(one: Consequence) -> list[dict[str, Any]]:
    """The first consequence as bars: on images with it and without, as it is, and with it taken away."""
    named = {
        "with it": one.with_it,
        "without it": one.without,
        "as it is": one.usual,
        "taken away": one.neutralised,
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
