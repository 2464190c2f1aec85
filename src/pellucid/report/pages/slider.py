"""A page with a slider over ρ, from the image itself to what the classifier would have to see: one file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from pellucid.report.pages.page_templates import PAGES, TEMPLATES, script_hash, style_sheet
from pellucid.report.pictures.perturbed import REACH, as_picture, data_address, difference_picture, percent
from pellucid.report.tables.metrics import readable
from pellucid.utils.resources import write_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pellucid.explainers.adversarial import AdversarialExplanation

SCRIPT = (TEMPLATES / "slider.js").read_text(encoding="utf-8")
VISIBLE = 0.05  # a change of this size, root mean square, is seen: the page opens there
PAUSE = 700  # milliseconds at each size while it plays
MOST_BARS = 16  # classes with a bar; the explained ones and the most probable of the others


@dataclass(frozen=True, eq=False)
class Column:
    """One network's explanations of one image, for every size and class that the slider offers.

    Attributes:
        label: the network's name; empty where there is only one.
        pictures: (R, E, C, H, W), by size and explained class.
        rms: (R, E), the sizes reached.
        probabilities: (R, E, K), of every class, of the moved images.
        before: (K,), of every class, of the image.
        cost: gradient evaluations of one size and class.
    """

    label: str
    pictures: NDArray[np.floating]
    rms: NDArray[np.floating]
    probabilities: NDArray[np.floating]
    before: NDArray[np.floating]
    cost: int

    @classmethod
    def of(cls, label: str, explanations: Sequence[AdversarialExplanation]) -> Column:
        """From one explanation a size, each of the same image repeated for every explained class.

        Example:
            >>> import torch
            >>> from pellucid.explainers import adversarial
            >>> from pellucid.models import create_model
            >>> model = create_model("small", classes=["a", "b", "c"], task="multilabel")
            >>> image = torch.full((1, 1, 64, 64), 0.5).expand(2, -1, -1, -1)
            >>> steps = [adversarial(model, image, torch.tensor([0, 2]), rho=rho) for rho in (0.05, 0.1)]
            >>> Column.of("", steps).pictures.shape, Column.of("", steps).probabilities.shape
            ((2, 2, 1, 64, 64), (2, 2, 3))
        """
        return cls(
            label,
            np.stack([f.maps.cpu().numpy() for f in explanations]),
            np.stack([f.rms.cpu().numpy() for f in explanations]),
            np.stack([f.probabilities.cpu().numpy() for f in explanations]),
            explanations[0].probabilities_before[0].cpu().numpy(),
            explanations[0].gradient_evaluations,
        )


@dataclass(frozen=True, eq=False)
class Slide:
    """One image with a slider.

    Attributes:
        title: what the image is called.
        note: what is known of it, as its true class.
        image: (C, H, W) in [0, 1].
        classes: all of the classifier, K names.
        explained: the classes that can be chosen, E indices.
        rhos: the sizes above 0, rising.
        direction: `raise` or `lower`.
        optimiser: its name.
        columns: the networks, side by side.
    """

    title: str
    note: str
    image: NDArray[np.floating]
    classes: Sequence[str]
    explained: Sequence[int]
    rhos: Sequence[float]
    direction: str
    optimiser: str
    columns: Sequence[Column]


def write_slider(slides: Sequence[Slide], path: Path, *, title: str) -> Path:
    """Write the page; it loads nothing from anywhere, and every text is escaped.

    Args:
        slides: one per image, in the order shown.
        path: of the HTML file, written whole or not at all.
        title: of the page.

    Raises:
        InputError: if the folder cannot be written or the disk is full.
    """
    page = PAGES.get_template("slider.html.j2").render(
        title=title,
        slides=[fragment(slide, f"slide{i}") for i, slide in enumerate(slides)],
        css=style_sheet("report.css"),
        slider_css=style_sheet("slider.css"),
        script=Markup(SCRIPT),  # noqa: S704
        script_hash=script_hash(SCRIPT),
    )
    write_text(path, page)
    return path


def fragment(slide: Slide, name: str) -> dict[str, Any]:
    """What the template shows of a slide: its first state as text, and all states for the script."""
    classes = _bars(slide)
    height, width = slide.image.shape[1:]
    first = slide.explained[0]
    columns = [
        {
            "label": column.label,
            "bars": [
                {
                    "class_name": readable(slide.classes[k]),
                    "before": round(100 * float(column.before[k]), 2),
                    "text": percent(float(column.before[k])),
                    "explained": k == first,
                }
                for k in classes
            ],
        }
        for column in slide.columns
    ]
    return {
        "name": name,
        "title": slide.title,
        "note": slide.note,
        "classes": [readable(slide.classes[c]) for c in slide.explained],
        "rhos": [f"{rho:g}" for rho in slide.rhos],
        "count": len(slide.rhos),
        "direction": slide.direction,
        "optimiser": slide.optimiser,
        "cost": sum(column.cost for column in slide.columns) * len(slide.rhos) * len(slide.explained),
        "image": data_address(as_picture(slide.image)),
        "columns": columns,
        "width": width,
        "height": height,
        "pixelated": max(height, width) <= 128,
        "reach": f"{REACH:g}",
        "gray": len(slide.image) == 1,
        "data": Markup(_for_script(_states(slide, classes))),  # noqa: S704 (escaped there)
    }


def _bars(slide: Slide) -> list[int]:
    """The classes with a bar, in the classifier's order."""
    if len(slide.classes) <= MOST_BARS:
        return list(range(len(slide.classes)))
    ranked = np.argsort(-slide.columns[0].before, kind="stable").tolist()
    classes = list(dict.fromkeys([*slide.explained, *ranked]))[: max(MOST_BARS, len(slide.explained))]
    return sorted(classes)


def _states(slide: Slide, bars: Sequence[int]) -> dict[str, Any]:
    """Every picture and figure of a slide, by column, class and size."""
    columns = []
    for column in slide.columns:
        classes = []
        for e in range(len(slide.explained)):
            states = [
                {
                    "image": data_address(as_picture(column.pictures[r, e])),
                    "change": data_address(difference_picture(column.pictures[r, e] - slide.image, rho)),
                    "rms": f"{column.rms[r, e]:.3f}",
                    "bars": [round(100 * float(p), 2) for p in column.probabilities[r, e, list(bars)]],
                    "texts": [percent(float(p)) for p in column.probabilities[r, e, list(bars)]],
                }
                for r, rho in enumerate(slide.rhos)
            ]
            classes.append(states)
        before = column.before[list(bars)]
        columns.append(
            {
                "classes": classes,
                "bars": [round(100 * float(p), 2) for p in before],
                "texts": [percent(float(p)) for p in before],
                "label": column.label,
            }
        )
    return {
        "title": slide.title,
        "start": next((at for at, rho in enumerate(slide.rhos, 1) if rho >= VISIBLE), len(slide.rhos)),
        "pause": PAUSE,
        "rhos": [f"{rho:g}" for rho in slide.rhos],
        "explained": [readable(slide.classes[c]) for c in slide.explained],
        "rows": [list(bars).index(c) for c in slide.explained],
        "image": data_address(as_picture(slide.image)),
        "none": data_address(difference_picture(np.zeros_like(slide.image), slide.rhos[0])),
        "columns": columns,
    }


def _for_script(value: object) -> str:
    """JSON that may stand inside a script element: nothing in it can end the element."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c").replace("&", "\\u0026")
