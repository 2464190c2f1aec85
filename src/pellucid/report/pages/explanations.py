"""One page for all images of an `explain`: their panels, which lie beside it, with filters by class and answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from pellucid.report.pages.page_templates import PAGES, TEMPLATES, script_hash, style_sheet
from pellucid.utils.resources import write_text
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SCRIPT = (TEMPLATES / "explanations.js").read_text(encoding="utf-8")


@dataclass(frozen=True)
class ExplainedPanel:
    """One image on the page.

    Attributes:
        title: what the image is called.
        predicted: the most probable class.
        probability: its probability.
        truth: the classes that the image shows; None where that is not known.
        pictures: names of the PNG files beside the page.
        explained: the classes that they explain.
    """

    title: str
    predicted: str
    probability: float
    truth: Sequence[str] | None
    pictures: Sequence[str]
    explained: Sequence[str]

    @property
    def answer(self) -> str:
        """`right` if the most probable class is one that the image shows, `wrong` if not, empty if nobody knows."""
        return "" if self.truth is None else "right" if self.predicted in self.truth else "wrong"


def write_explanations(panels: Sequence[ExplainedPanel], path: Path, *, title: str) -> Path:
    """Write the page; it loads the pictures beside it and nothing else, and every text is escaped.

    Args:
        panels: one per image, in the order shown.
        path: of the HTML file, written whole or not at all.
        title: of the page.

    Raises:
        InputError: if the folder cannot be written or the disk is full.
    """
    predicted = sorted({panel.predicted for panel in panels})
    page = PAGES.get_template("explanations.html.j2").render(
        title=title,
        count=number_of(len(panels), "image(s)"),
        panels=panels,
        predicted=predicted,
        shown=sorted({name for panel in panels for name in panel.truth or ()}),
        answers=[a for a in ("right", "wrong") if any(panel.answer == a for panel in panels)],
        images_beside=True,
        css=style_sheet("report.css"),
        script=Markup(SCRIPT),  # noqa: S704 (our own text)
        script_hash=script_hash(SCRIPT),
    )
    write_text(path, page)
    return path
