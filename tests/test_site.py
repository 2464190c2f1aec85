"""The documentation site builds without a warning, has the whole Python API, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pellucid

TOP = Path(__file__).resolve().parents[1]
pytest.importorskip("mkdocs")
if not (TOP / "mkdocs.yml").is_file():
    pytest.skip("the documentation is not here", allow_module_level=True)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    build = subprocess.run(command, cwd=TOP, env=environment, capture_output=True, text=True, check=False)
    assert build.returncode == 0, build.stdout + build.stderr
    return folder


def test_every_verb_is_described(site: Path):
    page = (site / "api" / "verbs.html").read_text(encoding="utf-8")
    places = {name: place.replace(":", ".") for name, place in pellucid.VERBS.items()}
    assert [name for name, place in places.items() if f'id="{place}"' not in page and f"#{place}" not in page] == []


def test_an_example_of_a_docstring_is_shown_as_code(site: Path):
    page = (site / "api" / "attacks.html").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]+>", "", page)
    assert "print(Epsilon.parse" in text
    assert re.search(r"<code>[^\n]*Epsilon", page)


def test_no_page_loads_anything_from_elsewhere(site: Path):
    loads = re.compile(r"<(?:script|img|iframe|link)[^>]+(?:src|href)=.?(?:https?:)?//")
    pages = [page for page in site.rglob("*.html") if "audits" not in page.parts]
    assert len(pages) > 50
    assert [page for page in pages if loads.search(page.read_text(encoding="utf-8"))] == []
