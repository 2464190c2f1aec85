"""The pages of the documentation, their fenced blocks, and the commands in them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TOP = Path(__file__).resolve().parents[2]
if not (TOP / "docs").is_dir():
    pytest.skip("the documentation is not here", allow_module_level=True)
PAGES = [TOP / "README.md", TOP / "CONTRIBUTING.md", *sorted((TOP / "docs").glob("*.md"))]
PAGES += sorted((TOP / "docs" / "decisions").glob("*.md"))
TEXTS = {page.relative_to(TOP).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
RESULTS = {
    page.relative_to(TOP).as_posix(): page.read_text(encoding="utf-8")
    for page in sorted((TOP / "docs" / "results").rglob("*.md"))
}
TOY_NETWORK = "{widths=[4, 8], blocks=[1, 1], strides=[1, 2]}"
TOY_EVALUATION = (  # of a study at toy size
    *("--set", "evaluation.resamples=100"),
    *("--set", "evaluation.robustness={sizes=['pgd:linf=0.01'], steps=1, limit=4}"),
    *("--set", "evaluation.trust={methods=['cam'], limit=6, samples=1, attacked=0}"),
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(language: str, pages: Mapping[str, str] = TEXTS) -> Iterator[tuple[str, str]]:
    """The fenced blocks of a language, with their pages."""
    for page, text in pages.items():
        yield from ((page, body) for found, body in FENCE.findall(text) if found == language)


SETS = re.compile(r"\s*(?:for (\w+) in|(\w+)=|(set) --)\s*(.*?)(?:; do)?$")


def expanded(body: str) -> Iterator[str]:
    """The lines of a shell block, with its own variables as they are the first time that a line runs."""
    values: dict[str, str] = {}

    def value(place: re.Match[str]) -> str:
        text = values.get(place[1] or place[2], place[0])
        return text.split()[0] if place[2] else text

    for line in body.replace("\\\n", " ").splitlines():
        words = re.sub(r"\$(\w+)|\$\{(\w+)%% \*\}", value, line)  # ${name%% *} is its first word
        if setting := SETS.match(words):
            loop, name, _, text = setting.groups()
            every = shlex.split(text)
            values |= {loop or name: every[0]} if loop or name else {str(i + 1): word for i, word in enumerate(every)}
        yield words


def commands() -> list[tuple[str, list[str]]]:
    """Every pellucid command of the shell blocks, of results too, as its arguments."""
    found = []
    for page, body in blocks("sh", TEXTS | RESULTS):
        for line in expanded(body):
            for part in line.split("&&"):
                words = shlex.split(part, comments=True)
                starts = [i for i, word in enumerate(words) if word.split("/")[-1] in ("pellucid", "pellucid.cli.app")]
                if starts:
                    found.append((page, words[starts[0] + 1 :]))
    return found
