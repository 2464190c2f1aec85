"""The documented commands that take real images and run at toy size: which they are, and what makes each small."""

from __future__ import annotations

from helpers.documentation import TOP, TOY_EVALUATION, TOY_NETWORK, commands

MAKERS = ("models", "annotate", "study", "train")  # first, in this order: the others take what these make
SMALL = ["--set", "model.name=small", "--set", f"model.options={TOY_NETWORK}"]
SMALL += ["--set", "model.pretrained=false", "--set", "model.size="]
TOY = {  # what makes each command small; of an option given twice the last counts
    "data": [],
    "models": [],
    "annotate": [],
    "study": [
        *("--limit", "24", "--set", "seeds=[0]", *TOY_EVALUATION),
        *("--set", f"settings.model={{name='small', size=48, pretrained=false, options={TOY_NETWORK}}}"),
        *("--set", "settings.training={epochs=1, batch_size=8, channels_last=false}"),
    ],
    "train": ["--limit", "16", "--set", "training.epochs=1"],
    "evaluate": ["--limit", "8"],
    "explain": ["--limit", "1"],
    "localize": ["--limit", "6"],
    "discover": ["--limit", "60"],
    "trust": ["--limit", "1", "--samples", "1", "--attacked", "1", "--attack-steps", "1"],
    "attack-explanation": ["--steps", "1", "--limit", "2", "--budget", "0.01"],
    "certify-explanation": [
        *("--limit", "1", "--samples", "20", "--selection-samples", "10", "--grid", "2", "--attack-cells", "0"),
    ],
    "certify": ["--limit", "2", "--samples", "20", "--selection-samples", "10", "--attack-samples", "2"],
}
STUDIES = ("chestxray14-sample", "noise-cifar10")  # of which each takes seconds at toy size
OF_DIR = {"chestxray14": "chestxray14", "cifar10": "", "folder": "kermany2018"}  # the folder that DIR stands for
STAND_INS = {  # the networks that studies or pages elsewhere make, by what they were trained on
    "chestxray14": (*("runs/chest", "runs/first", "runs/baseline", "runs/chestxray14-boxed/runs/robust-seed0-fold0"),),
    "kermany2018": (
        *("runs/own", "runs/a", "runs/b", "runs/pneumonia-finetuned/runs/robust-seed1"),
        "runs/pneumonia-finetuned/runs/plain-for-as-long-seed1",
    ),
    "cifar10": ("runs/robust-cifar10/runs/noise-alone-seed0",),
}


def takes_real_images(words: list[str]) -> bool:
    """Whether a command takes images of `PELLUCID_TEST_DATA` or a network from there, and is short enough to run."""
    text = " ".join(words)
    if (words[0] == "study" and words[1] not in STUDIES) or any(
        part in text for part in ("annotate serve", "models/lite0", "--method lime")
    ):
        return False
    return "DIR" in words or any(
        part in text for part in ("$PELLUCID_TEST_DATA", "runs/halves", "woods2019-all", "resnet44-all.pt")
    )


def in_any_order(words: list[str]) -> tuple[tuple[str, ...], ...]:
    """A command without the place that it writes to: what stands before its options, and each of them, sorted."""
    parts: list[tuple[str, ...]] = [()]
    for word in words:
        parts = [*parts, (word,)] if word.startswith("--") else [*parts[:-1], (*parts[-1], word)]
    return (parts[0], *sorted(part for part in parts[1:] if part[0] != "--out" or words[0] == "models"))


def real_commands() -> list[tuple[str, ...]]:
    """These commands, those that make something first: each once, networks that are imported once for each name.

    Where two write to one folder, the second writes beside it.
    """
    unique = {in_any_order(words): tuple(words) for _, words in commands() if takes_real_images(words)}
    ordered = sorted(unique.values(), key=lambda words: (*MAKERS, words[0]).index(words[0]))
    taken: set[str] = set()
    for i, words in enumerate(ordered):
        if "--out" in words:
            place = words.index("--out") + 1
            out = words[place] + "-beside" * (words[place] in taken)
            taken.add(out)
            ordered[i] = (*words[:place], out, *words[place + 1 :])
    return ordered


def at_toy_size(words: tuple[str, ...], data: str) -> list[str]:
    """A command as it runs: with the folder of real images in its place, and what makes it small."""
    dataset = words[words.index("--data") + 1] if "--data" in words else ""
    folder = f"{data}/{OF_DIR.get(dataset, '')}"
    full = [folder if word == "DIR" else word.replace("$PELLUCID_TEST_DATA", data) for word in words]
    full = [str(TOP / word) if word.startswith("docs/results/") else word for word in full]
    fresh = words[0] == "train" and "--init" not in words and "model.name=resnet44" not in words
    size = "32" if dataset == "cifar10" else "48"
    return [*full, *TOY[words[0]], *([*SMALL[:-1], SMALL[-1] + size] if fresh else [])]
