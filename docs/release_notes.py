"""What CHANGELOG.md says of one version, for the page of its release: python docs/release_notes.py 1.2.3."""

from __future__ import annotations

import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parent.parent / "CHANGELOG.md"


def notes(version: str, changelog: str) -> str:
    """The section below `## version`, which may be followed by its date.

    Raises:
        SystemExit: no such section, or an empty one.
    """
    sections = re.split(r"^## +", changelog, flags=re.MULTILINE)[1:]
    named = {title.split()[0]: text.strip() for title, _, text in (section.partition("\n") for section in sections)}
    if not named.get(version):
        raise SystemExit(f"CHANGELOG.md says nothing of {version}; it has: {', '.join(named)}.")
    return named[version]


if __name__ == "__main__":
    print(notes(sys.argv[1], CHANGELOG.read_text(encoding="utf-8")))
