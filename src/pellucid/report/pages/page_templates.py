"""Where the pages' templates lie, and how all of them are filled: every text escaped, nothing missing."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from pellucid.report.charts.drawing import themed


def unbroken(text: str) -> str:
    """A text whose figures stay on one line with their signs and units, and intervals whole.

    Example:
        >>> unbroken("99.7 % → > 99.9 %").replace(chr(160), "~")
        '99.7~% → >~99.9~%'
        >>> unbroken("lower [−0.130, −0.070]").replace(chr(160), "~")
        'lower [−0.130,~−0.070]'
        >>> unbroken("changed, ρ = 0.05").replace(chr(160), "~")
        'changed, ρ~=~0.05'
        >>> unbroken("the rest (p < 0.001)").replace(chr(160), "~")
        'the rest (p~<~0.001)'
    """
    together = r"(?<=[<>≤≥=]) (?=[\d.−])| (?=%|= [\d.−])|(?<=\bp) (?=<)|(?<=,) (?=[\d.−]+\])"
    return re.sub(together, "\N{NO-BREAK SPACE}", text)


def with_options(text: str) -> Markup:
    """A text with commands whose options, as `--data`, no line breaks.

    Example:
        >>> print(with_options("pellucid audit <model> --no-pictures"))
        pellucid audit &lt;model&gt; <span class="option">--no-pictures</span>
    """
    parts = re.split(r"(?<![\w-])(--[a-z][\w-]*)", text)  # every second one is an option
    marked = (Markup('<span class="option">{}</span>').format(p) if i % 2 else escape(p) for i, p in enumerate(parts))
    return Markup("").join(marked)


TEMPLATES = Path(__file__).parents[1] / "templates"
PAGES = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
PAGES.filters["themed"] = themed
PAGES.filters["unbroken"] = unbroken
PAGES.filters["with_options"] = with_options
STACKED = {
    ".figures": "47.9rem",
    ".figures.wide": "62rem",
    ".plain.stacked": "47.9rem",
}  # which tables are stacked on a screen that is how wide


def style_sheet(name: str) -> Markup:
    """A style sheet of ours, to stand in a page as it is; with `report.css` goes how its tables are stacked."""
    rules = (TEMPLATES / name).read_text(encoding="utf-8")
    if name == "report.css":
        stacked = (TEMPLATES / "stacked.css").read_text(encoding="utf-8")
        for tables, width in STACKED.items():
            rules += f"@media screen and (max-width: {width}) {{\n{stacked.replace('.figures', tables)}}}\n"
    return Markup(rules)  # noqa: S704 (our own files)


def script_hash(script: str) -> str:
    """What a page's content security policy names to let this script, and no other, run."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
