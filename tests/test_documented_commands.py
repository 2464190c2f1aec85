"""Documented commands that need nothing of one's own run at toy size; a table says why the others do not.

Those that take real images are run by `test_documented_commands_on_images.py`.
"""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from torch import nn

from helpers.documentation import TOY_EVALUATION, TOY_NETWORK, commands
from helpers.real_commands import real_commands, takes_real_images
from pellucid.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

PAGES = ["README.md"]
PAGES += [f"docs/{name}.md" for name in ("quickstart", "audit", "attacks", "attack-explanations", "explanations")]
FEW = ["--data-option", "train=24", "--data-option", "validation=16", "--data-option", "test=24"]
FEW += ["--data-option", "prevalence=0.4"]
TOY = {  # what makes each command small; of an option given twice the last counts
    "demo": [
        *("--set", "data.options={size=48, train=24, validation=16, test=24, prevalence=0.4}"),
        *("--set", f"settings.model={{name='small', size=48, options={TOY_NETWORK}}}"),
        *("--set", "settings.training={epochs=1, batch_size=8}", *TOY_EVALUATION),
    ],
    "study": [],
    "audit": ["--quick", "--limit", "12", "--corrupted", "4"],
    "explain": ["--limit", "2"],
    "train": ["--set", "training.epochs=1"],
    "evaluate": ["--limit", "6"],
    "localize": ["--limit", "6"],
    "trust": ["--limit", "6", "--samples", "1", "--attacked", "2", "--attack-steps", "1"],
    "attack-explanation": ["--steps", "1", "--limit", "2", "--budget", "0.01"],
    "certify-explanation": ["--limit", "1", "--samples", "20", "--selection-samples", "10", "--grid", "2"],
    "ara": ["--limit", "14", "--protocol", "ddn"],
    "certify": ["--limit", "14", "--samples", "20", "--selection-samples", "10", "--no-attack"],
    "models": [],
    "data": [],
    "annotate": [],
}
CODE = """from torch import nn


def build():
    end = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    return nn.Sequential(nn.Conv2d({channels}, 4, 3), *end)
"""
END = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
SMALL = ["--set", "model.name=small", "--set", "model.size=48", "--set", f"model.options={TOY_NETWORK}"]
OURS = ("runs/demo", "runs/first")
ALSO = (  # how commands of all pages begin that cost at most a second more each
    "data list", "models list", "data check phantom", "data check folder --root mine", "data check table",
    "train khakzar2019-robust --data folder --root mine", "evaluate runs/own", "train standard --data table",
    "train standard --data phantom", "train khakzar2019-robust --data phantom --set model.name=small --set objective",
    "train cohen2019", "certify runs/noisy", "annotate export", "annotate import annotations.json", "annotate invite",
    "train annotated --init runs/first --annotations annotations.db --data phantom", "models import python",
    "train khakzar2019-robust --set objective.annotations", "audit models/mine --trust-code", "audit models/own",
    "study demo --limit",
)  # fmt: skip
WHY = {  # why the others are only parsed, and what stands in them; the first that does counts
    "a server, which its own tests start": ("annotate serve",),
    "a download": ("data fetch", "url=https", "models import timm", "models import torchvision", "--root ~/"),
    "needs an extra or a library that its own tests have": (
        "models import huggingface", "models import torchxrayvision", "models import onnx", "models import imagenet",
        "--log tensorboard", "--format dicom", "--data dicom", "data check dicom", "models/lite0",
    ),
    "a study that takes ten seconds to minutes, even at toy size": ("study ",),
    "hundreds of images and 30,000 forward passes: tests/test_cli_discover.py": ("discover ", "--suspects"),
    "networks or images of one's own": ("models/", "--data folder"),
    "a network that a script beside its result trains": ("docs/results/",),
    "two seconds to minutes at this size, of what others run in a moment": (
        "--method bounds", "--method lime", "certify-explanation", "ara ", "trust runs/", "explain runs/plain",
        "shortcuts.letter.finding=Nodule", "objective.noise=0.25",
    ),
}  # fmt: skip
TOY["study"] = TOY["demo"]
MAKERS = ("demo", "train", "models")  # first: the others take what these make


def own(page: str, words: list[str]) -> bool:
    """Whether a command needs nothing but the phantom, the demo, the first network, or what `folder` holds."""
    text = " ".join(words)
    if "$PELLUCID_TEST_DATA" in text or "docs/results/" in text or text.startswith(("discover", "annotate serve")):
        return False
    first = words[0] == "demo" or any(word.startswith(OURS) for word in words)
    return text.startswith(ALSO) or (page in PAGES and first)


def chosen() -> list[tuple[str, ...]]:
    """The commands that run, each once, wherever it writes to."""
    ours = [tuple(words) for page, words in commands() if own(page, words)]
    return list(
        {" ".join(words).partition(" --out ")[0] + ("--resume" in words) * "!": words for words in ours}.values()
    )


def parsed_only() -> dict[str, str]:
    """The commands that do not run, each with the reason; an empty one where none is known."""
    everything = [(page, words, " ".join(words).partition(" --out ")[0]) for page, words in commands()]
    run_elsewhere = {text for _, words, text in everything if takes_real_images(words)}
    others = {text for page, words, text in everything if not own(page, words)} - run_elsewhere
    return {
        text: next((reason for reason, parts in WHY.items() if any(part in text for part in parts)), "")
        for text in sorted(others - {" ".join(words).partition(" --out ")[0] for words in CHOSEN})
    }


CHOSEN = chosen()


def test_most_commands_of_these_pages_are_run():
    assert len(CHOSEN) >= 50
    assert {words[0] for words in CHOSEN} == set(TOY)


def test_the_others_are_only_parsed_for_a_reason():
    others = parsed_only()
    counts = Counter(others.values())
    print(f"{len(CHOSEN)} commands run, {len(real_commands())} more on real images; {len(others)} are only parsed:")
    for reason, count in counts.most_common():
        print(f"{count:4}  {reason}")
    assert [text for text, reason in others.items() if not reason] == []
    assert set(counts) == set(WHY)


def run(words: tuple[str, ...]) -> None:
    """Runs a command at toy size; what it was to write to is there."""
    few = FEW if "phantom" in words else []
    small = SMALL if words[0] == "train" and "--init" not in words else []
    small = ["--preprocess", "stretch:32"] if words[:2] == ("models", "import") else small
    main: Any = typer.main.get_command(app)
    assert main([*words, *TOY[words[0]], *few, *small], standalone_mode=False) in (None, 0)
    assert all(Path(words[i + 1]).exists() for i, word in enumerate(words) if word == "--out")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, quick_check: None, empty_charts: None) -> Iterator[Path]:
    """Where a reader stands: two radiographs, and the networks that the commands before have made."""
    place = tmp_path_factory.mktemp("reader")
    (place / "folder" / "of" / "images").mkdir(parents=True)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 96), dtype=np.uint8))
    picture.save(place / "radiograph.png")
    picture.save(place / "folder" / "of" / "images" / "one.png")
    for i in range(8):
        for turn, (part, label) in enumerate(product(("train", "test"), ("NORMAL", "PNEUMONIA"))):
            (place / "mine" / part / label).mkdir(parents=True, exist_ok=True)
            picture.rotate(5 * i + turn).save(place / "mine" / part / label / f"person{4 * i + turn}_1.png")
    images = sorted((place / "mine" / "train").rglob("*.png"))
    rows = [
        [path.relative_to(place), path.parent.name, "ab"[i % 2], i % 2, (0, 1, 9)[i % 3]]
        for i, path in enumerate(images)
    ]
    with (place / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["path", "class", "diagnosis", "Mass", "Nodule"], *rows])
    shutil.copytree(place / "mine", place / "images")
    names = sorted(path.name for path in (place / "images" / "test").rglob("*.png"))
    people = [f"{name},{'FM'[i % 2]},{30 + 3 * i}\n" for i, name in enumerate(names)]
    (place / "people.csv").write_text("".join(["image,sex,age\n", *people]), encoding="utf-8")
    for name, weights, channels in (("net", "weights.pt", 1), ("mymodel", "best.ckpt", 3)):
        (place / f"{name}.py").write_text(CODE.format(channels=channels), encoding="utf-8")
        network = nn.Sequential(nn.Conv2d(channels, 4, 3), *END)
        network[-1].bias.data = torch.tensor([-1.0, 2.0])  # by lot they could all lie between 0 and 1
        torch.save(network.state_dict(), place / weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        boxes = ("annotate", "import", "--data", "phantom", *FEW, "--store", "annotations.db")
        assert typer.main.get_command(app)([*boxes], standalone_mode=False) in (None, 0)
        for words in sorted(
            (words for words in CHOSEN if words[0] in MAKERS), key=lambda words: MAKERS.index(words[0])
        ):
            run(words)
        (mine,) = [words for words in CHOSEN if words[:2] == ("models", "import") and "models/mine" in words]
        network[-1].bias.data = torch.tensor([1.0, -2.0])
        torch.save(network.state_dict(), place / "best.ckpt")  # of both networks, whose folders have copies
        run((*mine[:-1], "models/theirs"))
        yield place


def test_the_demo_and_the_first_training_leave_what_the_others_take(folder: Path):
    assert (folder / "runs" / "demo" / "report.html").is_file()
    assert (folder / "runs" / "demo" / "runs" / "robust-seed0" / "model.toml").is_file()
    assert (folder / "runs" / "first" / "model.toml").is_file()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("words", [words for words in CHOSEN if words[0] not in MAKERS], ids=" ".join)
def test_command_runs(words: tuple[str, ...]):
    run(words)
