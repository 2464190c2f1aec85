"""Small folders of images and networks trained on them by the command, for the tests of what a network has seen."""

from __future__ import annotations

import numpy as np
from PIL import Image

from helpers.launch import run_command

NETWORK = [
    "--set=model.name=small",
    "--set=model.size=32",
    "--set=model.options={widths=[4, 8], blocks=[1, 1], strides=[1, 2]}",
    "--set=training.epochs=1",
    "--set=training.batch_size=16",
    "--device=cpu",
]
CPU = ["--device", "cpu"]
QUICK = {
    "evaluate": [],
    "audit": ["--quick", "--method", "saliency"],
    "ara": ["--kind", "attack", "--protocol", "fmn"],
    "certify": ["--sigma", "0.25", "--samples", "16", "--selection-samples", "4", "--no-attack"],
    "trust": ["--method", "saliency", "--limit", "80", "--samples", "1", "--attacked", "0"],
}


def images_of(folder, count=80, *, seed=0, deep=False, size=40):
    """A folder of as many random PNG files, half in the class `bright`, half in `dark`; 12-bit values where `deep`."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        bright = number % 2
        place = folder / ("bright" if bright else "dark")
        place.mkdir(parents=True, exist_ok=True)
        if deep:
            values = rng.integers(0, 2000, (size, size)) + 2000 * bright
            Image.fromarray(values.astype(np.uint16)).save(place / f"{number}.png")
        else:
            values = rng.integers(0, 128, (size, size)) + 127 * bright
            Image.fromarray(values.astype(np.uint8)).save(place / f"{number}.png")
    return folder


def trained_on(folder, out, *options):
    """A run folder of a network that the command trained on a folder of images."""
    run_command("train", "standard", "--data", "folder", "--root", folder, *NETWORK, *options, "--out", out)
    return out
