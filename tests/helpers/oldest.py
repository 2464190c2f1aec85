"""The oldest versions that pyproject.toml allows, as constraints for pip: what `make test-oldest` installs.

torch is left out: users have builds of their own for it, and constraints.txt pins the one that is tested; and
torchvision, each version of which goes with one of torch.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("bench", "dev", "docs")  # of those who work on Pellucid; the newest will do


def oldest_versions(root: Path = ROOT) -> list[str]:
    """`name==version` for the lower bound of every dependency, required or of an extra.

    Raises:
        ValueError: a dependency without a lower bound.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [each for name, group in project["optional-dependencies"].items() if name not in TOOLS for each in group]
    lines = []
    for requirement in (*project["dependencies"], *extras):
        parts = re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)", requirement)
        if parts is None:
            raise ValueError(f"pyproject.toml: {requirement!r} has no plain lower bound, as name>=1.2")
        lines.append(f"{parts[1]}=={parts[2]}")
    return [line for line in lines if not line.startswith(("torch==", "torchvision=="))]


if __name__ == "__main__":
    print("\n".join(oldest_versions()))
