"""The commands that a newcomer copies from the README and the first pages run, in their order, at toy size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import typer
from PIL import Image

from helpers.documentation import commands
from pellucid.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

PAGES = ["README.md"]
PAGES += [f"docs/{name}.md" for name in ("quickstart", "audit", "attacks", "attack-explanations", "explanations")]
NETWORK = "{widths=[4, 8], blocks=[1, 1], strides=[1, 2]}"
FEW = ["--data-option", "train=24", "--data-option", "validation=16", "--data-option", "test=24"]
FEW += ["--data-option", "prevalence=0.4"]
TOY = {  # what makes each command small; of an option given twice the last counts
    "demo": [
        *("--set", "data.options={size=48, train=24, validation=16, test=24, prevalence=0.4}"),
        *("--set", f"settings.model={{name='small', size=48, options={NETWORK}}}"),
        *("--set", "settings.training={epochs=1, batch_size=8}", "--set", "evaluation.resamples=100"),
        *("--set", "evaluation.robustness={sizes=['pgd:linf=0.01'], steps=1, limit=4}"),
        *("--set", "evaluation.trust={methods=['cam'], limit=6, samples=1, attacked=0}"),
    ],
    "audit": [*FEW, "--limit", "12", "--corrupted", "4"],
    "explain": ["--limit", "2"],
    "train": [*FEW, "--set", "model.size=48", "--set", f"model.options={NETWORK}", "--set", "training.epochs=1"],
    "evaluate": [*FEW, "--limit", "6"],
    "localize": [*FEW, "--limit", "6"],
    "trust": [*FEW, "--limit", "6", "--samples", "1", "--attacked", "2", "--attack-steps", "1"],
    "attack-explanation": ["--steps", "1", "--limit", "2", "--budget", "0.01"],
    "certify-explanation": [*FEW, "--limit", "1", "--samples", "20", "--selection-samples", "10", "--grid", "2"],
    "ara": [*FEW, "--limit", "14", "--protocol", "ddn"],
    "certify": [*FEW, "--limit", "14", "--samples", "20", "--selection-samples", "10", "--no-attack"],
    "models": [],
}
LEFT = {  # of those on the same data, these are only parsed
    "discover": "needs hundreds of images and 30,000 forward passes",
    "annotate": "a server: tests/test_annotate_server.py",
}
OURS = ("runs/demo", "runs/first")
MAKERS = ("demo", "train")  # first: the others take what these make


def own(page: str, words: list[str]) -> bool:
    """Whether a command needs nothing but the phantom, the demo or the first network."""
    first = words[0] == "demo" or any(word.startswith(OURS) for word in words)
    return page in PAGES and first and "$PELLUCID_TEST_DATA" not in " ".join(words)


def chosen() -> list[tuple[str, ...]]:
    """The commands that run, each once, wherever it writes to."""
    ours = [tuple(words) for page, words in commands() if own(page, words) and words[0] not in LEFT]
    return list(
        {" ".join(words).partition(" --out ")[0] + ("--resume" in words) * "!": words for words in ours}.values()
    )


CHOSEN = chosen()


def test_most_commands_of_these_pages_are_run():
    assert len(CHOSEN) >= 22
    assert {words[0] for words in CHOSEN} == set(TOY)


def run(words: tuple[str, ...]) -> None:
    """Runs a command at toy size; what it was to write to is there."""
    few = FEW if words[0] in ("explain", "attack-explanation") and "--data" in words else []
    main: Any = typer.main.get_command(app)
    assert main([*words, *TOY[words[0]], *few], standalone_mode=False) in (None, 0)
    assert all(Path(words[i + 1]).exists() for i, word in enumerate(words) if word == "--out")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, quick_check: None, empty_charts: None) -> Iterator[Path]:
    """Where a reader stands: two radiographs, and the networks that the commands before have made."""
    place = tmp_path_factory.mktemp("reader")
    (place / "folder" / "of" / "images").mkdir(parents=True)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 96), dtype=np.uint8))
    picture.save(place / "radiograph.png")
    picture.save(place / "folder" / "of" / "images" / "one.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for words in sorted(
            (words for words in CHOSEN if words[0] in MAKERS), key=lambda words: MAKERS.index(words[0])
        ):
            run(words)
        yield place


def test_the_demo_and_the_first_training_leave_what_the_others_take(folder: Path):
    assert (folder / "runs" / "demo" / "report.html").is_file()
    assert (folder / "runs" / "demo" / "runs" / "robust-seed0" / "model.toml").is_file()
    assert (folder / "runs" / "first" / "model.toml").is_file()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("words", [words for words in CHOSEN if words[0] not in MAKERS], ids=" ".join)
def test_command_runs(words: tuple[str, ...]):
    run(words)
