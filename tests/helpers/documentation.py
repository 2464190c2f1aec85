"""The pages of the documentation, their fenced blocks, and the commands in them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP = Path(__file__).resolve().parents[2]
if not (TOP / "docs").is_dir():
    pytest.skip("the documentation is not here", allow_module_level=True)
PAGES = [TOP / "README.md", TOP / "CONTRIBUTING.md", *sorted((TOP / "docs").glob("*.md"))]
PAGES += sorted((TOP / "docs" / "decisions").glob("*.md"))
TEXTS = {page.relative_to(TOP).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """The fenced blocks of a language, with their pages."""
    for page, text in TEXTS.items():
        yield from ((page, body) for found, body in FENCE.findall(text) if found == language)


def commands() -> list[tuple[str, list[str]]]:
    """Every pellucid command of the shell blocks, as its arguments."""
    found = []
    for page, body in blocks("sh"):
        for line in body.replace("\\\n", " ").splitlines():
            for part in line.split("&&"):
                words = shlex.split(part, comments=True)
                starts = [i for i, word in enumerate(words) if word.split("/")[-1] in ("pellucid", "pellucid.cli.app")]
                if starts:
                    found.append((page, words[starts[0] + 1 :]))
    return found
