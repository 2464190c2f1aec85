"""Documented commands that take real images run at toy size on them: small networks, few images, one epoch."""

from __future__ import annotations

import runpy
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from helpers.documentation import TOP
from helpers.real_commands import MAKERS, OF_DIR, STAND_INS, at_toy_size, real_commands
from pellucid.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

REAL = real_commands()
DATASETS = {folder or "cifar10": dataset for dataset, folder in OF_DIR.items()}


def run(words: tuple[str, ...], real_data: Path) -> None:
    """Runs a command at toy size; what it was to write to is there."""
    main: Any = typer.main.get_command(app)
    assert main(at_toy_size(words, str(real_data)), standalone_mode=False) in (None, 0)
    assert all(Path(words[i + 1]).exists() for i, word in enumerate(words) if word == "--out")


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, real_data: Path, quick_check: None, empty_charts: None
) -> Iterator[Path]:
    """Where a reader of all pages stands, with networks trained for a moment in place of those that studies make."""
    place = tmp_path_factory.mktemp("reader")
    shutil.copy(real_data / "weights" / "resnet44-all.pt", place)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(sys, "argv", ["halves.py", str(real_data / "chestxray14"), "runs/halves/sample"])
        runpy.run_path(str(TOP / "docs" / "results" / "discoveries" / "halves.py"))
        for trained_on, (first, *others) in STAND_INS.items():
            run(("train", "standard", "--data", DATASETS[trained_on], "--root", "DIR", "--out", first), real_data)
            for other in others:
                shutil.copytree(first, other)
        for words in REAL:
            if words[0] in MAKERS:
                run(words, real_data)
        yield place
    shutil.rmtree(place / "cache", ignore_errors=True)  # of 2,141 images


def test_commands_of_every_kind_are_here():
    assert len(REAL) >= 45
    assert {words[0] for words in REAL} >= {*MAKERS, "data", "evaluate", "explain", "localize", "discover", "trust"}


def test_training_and_imports_leave_what_the_others_take(folder: Path):
    for words in REAL:
        if words[0] in ("train", "study"):
            file = {"train": "model.toml", "study": "report.html"}[words[0]]
            assert (folder / words[words.index("--out") + 1] / file).is_file()
    assert (folder / "annotations.db").is_file()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("words", [words for words in REAL if words[0] not in MAKERS], ids=" ".join)
def test_command_runs(words: tuple[str, ...], real_data: Path):
    run(words, real_data)
