"""How every chart looks: a colour and a marker per variant, quiet axes, and inline SVG whose text is text."""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pellucid.utils.resources import write_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

# Distinct for the common kinds of colour blindness, at least 4.5 : 1 against white; in grey the shapes tell.
COLOURS = ("#4a4a4a", "#0067a5", "#c04000", "#00735c", "#9a3d86", "#7a5c00", "#00738c", "#7b3f1d")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "h")
GLYPHS = ("●", "■", "◆", "▲", "▼", "✚", "✖", "⬢")
LINES = ("-", (0, (6, 1.5)), (0, (2, 1)), (0, (6, 1.5, 1.5, 1.5)), (0, (1, 1)))
STEPS = (1, 2, 2.5, 5, 10)  # between labels: those that people count in
SHOWN_WIDTH = 480  # pixels of a chart that stands alone
WIDTH = 4.17  # inches: 300 units, so that text of 9 units stays legible on a phone
QUIET = "#6b6b6b"

# The page's style sheet may give these colours other values, as it does in the dark; a chart alone keeps its own.
_TOKENS = {colour: f"series-{number}" for number, colour in enumerate(COLOURS)} | {
    QUIET: "quiet", "#8a8a8a": "axis", "#3a3a3a": "ink", "#333333": "ink", "#111111": "ink", "#000000": "ink",
    "#e3e3e3": "grid", "#ffffff": "paper",
}  # fmt: skip

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pellucid",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8a8a",
    "axes.linewidth": 0.7,
    "xtick.color": "#3a3a3a",
    "ytick.color": "#3a3a3a",
    "xtick.major.size": 3.0,
    "ytick.major.size": 0.0,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.7,
}


def themed(text: str) -> str:
    """CSS or SVG in which each colour of the charts gives way to the page's own value of it.

    Example:
        >>> themed("fill: #0067a5")
        'fill: var(--series-1, #0067a5)'
    """
    return re.sub(
        r"#[0-9a-f]{6}\b",
        lambda colour: f"var(--{_TOKENS[colour[0]]}, {colour[0]})" if colour[0] in _TOKENS else colour[0],
        text,
    )


@dataclass(frozen=True)
class Style:
    """How one variant is drawn everywhere: colour, matplotlib marker, the same shape as a character, and line style.

    The line tells curves of one family apart, which share their colour.
    """

    colour: str
    marker: str
    glyph: str
    line: Any = "-"


@dataclass(frozen=True)
class Chart:
    """A chart for the page: inline SVG, what its caption says, and the words that stand in for it."""

    svg: str
    title: str
    note: str = ""


def styles_of(variants: Sequence[str], reference: str, families: Mapping[str, str] | None = None) -> dict[str, Style]:
    """A style for each variant; the reference is always the grey one.

    Args:
        variants: in the study's order.
        reference: one of them.
        families: variant → its family, whose members have one colour and differ by their markers.

    Example:
        >>> styles = styles_of(["ours 1", "ours 2", "plain"], "plain", {"ours 1": "ours", "ours 2": "ours"})
        >>> [styles[v].glyph for v in ("plain", "ours 1", "ours 2")], styles["ours 1"].colour == styles["ours 2"].colour
        (['●', '■', '◆'], True)
    """
    size = len(COLOURS)
    groups: dict[tuple[str, str], list[str]] = {}  # a variant without a family is one of its own
    for variant in [reference, *(v for v in variants if v != reference)]:
        family = (families or {}).get(variant)
        groups.setdefault(("variant", variant) if family is None else ("family", family), []).append(variant)
    style_of = {}
    for number, members in enumerate(groups.values()):
        for place, variant in enumerate(members):
            shape = (number + number // size + place) % size  # the second round of colours has other shapes
            style_of[variant] = Style(COLOURS[number % size], MARKERS[shape], GLYPHS[shape], LINES[place % len(LINES)])
    return {v: style_of[v] for v in variants}


@contextmanager
def canvas(
    height: float, rows: int = 1, *, ratios: Sequence[float] | None = None
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure of the common width with axes under each other, in the common style."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        column = [row[0] for row in figure.subplots(rows, 1, squeeze=False, height_ratios=ratios)]
        for axes in column:
            axes.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS))  # more would run together: 0.00000.00250.0050
        yield figure, column


def to_svg(figure: Figure, name: str, alt: str) -> str:
    """The figure as an inline SVG that scales with the page.

    The same figure gives the same text: no date, no random ids. Ids carry `name`, so that many share a page.
    """
    stream = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context(_STYLE):
        figure.savefig(stream, format="svg", metadata=nothing, transparent=True)
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r' id="', f' id="{name}-', svg)
    svg = svg.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r"\s*\n\s*", " ", svg)
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    svg = themed(svg)
    head = f'<svg role="img" aria-label="{escape(alt)}" xmlns:xlink="http://www.w3.org/1999/xlink" '
    box = re.search(r'viewBox="[^"]*"', svg)
    return f"{head}{box[0] if box else ''}>" + svg[svg.index(">") + 1 :].strip()


def write_charts(charts: Sequence[Chart], folder: Path) -> dict[Path, str]:
    """Write charts as SVG files that stand alone, on white; each with its title and what its caption says."""
    texts = {}
    for number, chart in enumerate(charts, 1):
        path = folder / f"chart-{number}.svg"
        alone = f'xmlns="http://www.w3.org/2000/svg" width="{SHOWN_WIDTH}"'
        style = 'style="background: #ffffff; font-family: sans-serif"'
        write_text(path, chart.svg.replace("<svg ", f"<svg {alone} {style} ", 1))
        texts[path] = f"{chart.title} ({chart.note})" if chart.note else chart.title
    return texts
