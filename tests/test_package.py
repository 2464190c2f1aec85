"""What is built and sent to a package index: a description that reads well there, and all that the tests need."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pellucid import __version__

if TYPE_CHECKING:
    from email.message import Message

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel and the source distribution, by the end of their name."""
    folder = tmp_path_factory.mktemp("dist")
    made = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return {path.suffix: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def names(built) -> set[str]:
    """The files of the source distribution, as paths from its top."""
    with tarfile.open(built[".gz"]) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.fixture(scope="module")
def metadata(built) -> list[Message]:
    """The metadata of the wheel and of the source distribution."""
    about = f"pellucid-{__version__}"
    with zipfile.ZipFile(built[".whl"]) as wheel, tarfile.open(built[".gz"]) as archive:
        source = archive.extractfile(f"{about}/PKG-INFO")
        texts = [wheel.read(f"{about}.dist-info/METADATA"), source.read()]
    return [email.message_from_string(text.decode("utf-8")) for text in texts]


def test_both_say_the_same_of_the_package(metadata):
    assert [m["Version"] for m in metadata] == [__version__] * 2
    assert [m["Description-Content-Type"] for m in metadata] == ["text/markdown"] * 2
    assert metadata[0].as_string() == metadata[1].as_string()


def test_the_description_is_the_readme_and_nothing_in_it_is_broken_elsewhere(metadata):
    text = metadata[0].get_payload()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^## .+", text, re.MULTILINE) == re.findall(r"^## .+", readme, re.MULTILINE)
    assert re.findall(r"^```\w*$.*?^```$", text, re.M | re.S) == re.findall(r"^```\w*$.*?^```$", readme, re.M | re.S)
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert [link for link in links if not link.startswith("https://")] == []
    named = re.findall(r"\bdocs/[\w./-]*\w", text)
    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).exists()] == []
    assert "<!--" not in text
    assert readme.count("<img ") == 2
    assert "<img" not in text
    assert "&emsp;" not in text
    for words in ("**First picture: ", "**Second picture"):  # about pictures, which are not there
        assert readme.count(words) == 1
        assert words not in text
    assert "in the source distribution" in text.splitlines()[2]


def test_the_source_distribution_has_the_files_that_tests_read(names):
    """Every file that git has, but for what pyproject.toml leaves out."""
    left_out = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]["sdist"]
    ends = tuple(pattern.rpartition("*")[2] for pattern in left_out["exclude"])
    assert ends == (".npz", ".png", ".safetensors")
    assert [name for name in names if name.startswith("docs/results/") and name.endswith(ends)] == []
    if not (ROOT / ".git").exists():
        pytest.skip("not in a git checkout, so what belongs in it is not known")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tracked = [name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    lacking = [name for name in tracked if name not in names and not name.endswith(".gitignore")]
    assert [name for name in lacking if not (name.startswith("docs/results/") and name.endswith(ends))] == []
