"""One page for all images of an `explain`, to be sent as one file: their maps, with filters by class and answer."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from pellucid.data.decoding.image import in_8_bits
from pellucid.explainers.registry import is_signed
from pellucid.report.pages.page_templates import PAGES, TEMPLATES, script_hash, style_sheet
from pellucid.report.pictures.panels import Panel, heat_picture, picture
from pellucid.report.pictures.perturbed import as_picture, data_address, difference_picture, percent
from pellucid.report.tables.metrics import method_label, readable
from pellucid.utils.resources import write_text
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from pellucid.report.pictures.perturbed import Moved
    from pellucid.types import Pixels

SCRIPT = (TEMPLATES / "explanations.js").read_text(encoding="utf-8")
BESIDE = 9  # pictures beside the image, at most: three maps of three classes
MOST = 100  # images on the page, which carries their pictures; of two models each counts


NONE = "none of the classes"


@dataclass(frozen=True)
class ExplainedClass:
    """The maps of one class on one image: `pictures` are captions and data addresses."""

    name: str
    probability: str
    pictures: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ExplainedPanel:
    """One image on the page.

    Attributes:
        title: what the image is called.
        predicted: the most probable class.
        probability: its probability, as text.
        truth: the classes that the image shows; None where that is not known.
        decided: the classes that the network decides are present, of exclusive classes one; None without thresholds.
        unlabelled: the classes of which nobody knows whether the image shows them.
        image: its data address.
        width, height: of the image as the network takes it, in pixels.
        explained: the classes that were explained.
    """

    title: str
    predicted: str
    probability: str
    truth: Sequence[str] | None
    decided: Sequence[str] | None
    unlabelled: Sequence[str]
    image: str
    width: int
    height: int
    explained: Sequence[ExplainedClass]

    @classmethod
    def of(
        cls,
        title: str,
        image: Pixels,
        probabilities: Mapping[str, float],
        *,
        truth: Sequence[str] | None,
        decided: Sequence[str] | None,
        unlabelled: Sequence[str] = (),
        maps: Mapping[tuple[str, str], npt.NDArray[np.floating]],
        changes: Mapping[str, Moved],
        rho: float,
    ) -> ExplainedPanel:
        """From what was found.

        Args:
            title: what the image is called.
            image: uint8 or uint16 (C, H, W).
            probabilities: of every class.
            truth: the classes that the image shows; None where that is not known.
            decided: the classes that the network decides are present; None where it has no thresholds.
            unlabelled: the classes of which nobody knows whether the image shows them.
            maps: heat maps (H, W) by class and method.
            changes: adversarial explanations by class.
            rho: their size, which sets the colours of the change.
        """
        levels = in_8_bits(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
        panel = Panel(levels, [], dict(maps), "", "", title, "")
        pixels = image.astype(np.float64) / np.iinfo(image.dtype).max
        explained = []
        for name in dict.fromkeys([*(name for name, _ in maps), *changes]):
            pictures = [(method_label(m), heat_picture(panel, c, m)) for c, m in maps if c == name]
            if name in changes:
                one = changes[name]
                caption = f"changed, ρ = {rho:g}: {percent(one.before)} → {percent(one.after)}"
                pictures.append((caption, data_address(as_picture(one.image))))
                change = difference_picture(one.image - pixels, rho)
                pictures.append((f"the change, RMS {one.rms:.3f}", data_address(change)))
            explained.append(ExplainedClass(readable(name), percent(probabilities[name]), pictures))
        predicted = max(probabilities, key=lambda name: probabilities[name])
        if set(unlabelled) == set(probabilities):
            truth = None
        text, (height, width) = percent(probabilities[predicted]), levels.shape[:2]
        shows, says, open_ = (None if of is None else [readable(c) for c in of] for of in (truth, decided, unlabelled))
        return cls(title, readable(predicted), text, shows, says, open_ or [], picture(panel), width, height, explained)

    @property
    def answer(self) -> str:
        """`right` if every decision on a class whose label is known is, `wrong` if not; empty if nobody knows."""
        if self.truth is None or self.decided is None:
            return ""
        return "right" if set(self.decided) - set(self.unlabelled) == set(self.truth) else "wrong"

    def in_a_row(self, networks: int) -> tuple[int, int]:
        """How many pictures of a class, and how many classes, stand side by side on a wide screen.

        Pictures that do not fit into one row make rows of one length, of which the last may be shorter: five beside
        another network's stand as three and two. As many classes as leave the fewest places empty in the last row,
        with at least half of the places taken; of two networks, which stand beside each other, one class a row, or
        three of a picture each.
        """
        longest = max((len(one.pictures) for one in self.explained), default=1) or 1
        rows = -(-longest // max(1, BESIDE // networks))
        pictures = -(-longest // rows)  # rows of one length: no picture alone below the others
        count = max(1, len(self.explained))
        if networks > 1:
            return pictures, min(count, 3) if pictures == 1 else 1
        most = min(count, BESIDE // pictures)
        fewest = min(most, -(-(BESIDE // 2) // pictures))
        return pictures, min(range(most, fewest - 1, -1), key=lambda across: -count % across)


def write_explanations(
    panels: Sequence[ExplainedPanel],
    path: Path,
    *,
    title: str,
    count: int,
    left_out: int,
    methods: Sequence[str],
    several: bool,
    networks: int = 1,
    refusals: Sequence[str] = (),
) -> Path:
    """Write the page; it loads nothing from anywhere, and every text is escaped.

    Args:
        panels: one per image and network, in the order shown: all networks of an image together.
        path: of the HTML file, written whole or not at all.
        title: of the page.
        count: of all images that were explained.
        left_out: how many of these are not on the page.
        methods: of their heat maps, whose colours the page explains.
        several: whether an image can show several of the classes, or none.
        networks: how many explain each image.
        refusals: a sentence for each method that was asked for and is left out.

    Raises:
        InputError: if the folder cannot be written or the disk is full.
    """
    page = PAGES.get_template("explanations.html.j2").render(
        title=title,
        count=number_of(count, "image(s)") + (f" by {networks} networks" if networks > 1 else ""),
        networks=networks,
        several=several,
        refusals=refusals,
        no_class=NONE,
        first=count - left_out,
        left_out=left_out,
        panels=panels,
        narrow=networks == 1 and all(prod(panel.in_a_row(1)) < 3 for panel in panels),
        predicted=sorted({panel.predicted for panel in panels}),
        decided=_values(panel.decided for panel in panels) if several else [],
        shown=_values(panel.truth for panel in panels),
        answers=[a for a in ("right", "wrong") if any(panel.answer == a for panel in panels)],
        signed=[method_label(m) for m in methods if is_signed(m)],
        unsigned=[method_label(m) for m in methods if not is_signed(m)],
        css=style_sheet("report.css"),
        script=Markup(SCRIPT),  # noqa: S704 (our own text)
        script_hash=script_hash(SCRIPT),
    )
    write_text(path, page)
    return path


def _values(lists: Iterable[Sequence[str] | None]) -> list[str]:
    """What a filter offers: every class in some list, and `NONE` after them if a list is empty."""
    all_names = [names for names in lists if names is not None]
    return sorted({name for names in all_names for name in names}) + [NONE] * any(not names for names in all_names)
