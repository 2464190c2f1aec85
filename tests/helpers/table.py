"""Tables of images, random or real, and what is refused about them; a small network to train on them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from pellucid.data import open_dataset
from pellucid.data.issues import FaultyDataError
from pellucid.types import InputError

ALL = {"test_fraction": 1}
TINY = [
    "--set", "model.name=small", "--set", "model.size=32", "--set", "training.batch_size=8", "--set",
    "model.options={widths=[4, 8], blocks=[1, 1], strides=[1, 2]}", "--set", "training.epochs=1",
]  # fmt: skip


def writer_of_tables(folder):
    """Ten images of 20 × 10 random pixels in sub/ of a folder; gives a function that writes a table of them there."""
    rng = np.random.default_rng(0)
    (folder / "sub").mkdir()
    for i in range(10):
        Image.fromarray(rng.integers(0, 255, (10, 20), dtype=np.uint8)).save(folder / "sub" / f"{i}.png")

    def write(text, name="labels.csv", encoding="utf-8"):
        (folder / name).write_text(text, encoding=encoding, newline="")
        return folder / name

    return write


def rows(header, *ends, first=0):
    return "\n".join([header, *(f"sub/{first + i}.png,{end}" for i, end in enumerate(ends))]) + "\n"


def faults(table, /, **options):
    """The lines of a table that are refused, with the reasons."""
    with pytest.raises(FaultyDataError) as caught:
        open_dataset("table", table, options=options)
    assert all(issue.serious for issue in caught.value.issues)
    return [issue.reason for issue in caught.value.issues]


def refused(table, match, /, **options):
    with pytest.raises(InputError, match=match):
        open_dataset("table", table, options=options)


def table_of_radiographs(real_data, folder):
    """A table of sixty real radiographs, which are copied into a folder."""
    source = real_data / "kermany2018" / "train"
    lines = ["path,class,patient"]
    (folder / "images").mkdir()
    for name in ("NORMAL", "PNEUMONIA"):
        for file in sorted((source / name).iterdir())[:30]:
            shutil.copy(file, folder / "images")
            lines.append(f"images/{file.name},{name},{file.name.split('_')[0].split('-0001')[0]}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder / "labels.csv"
