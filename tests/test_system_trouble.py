"""What the system refuses: one sentence and exit status 1, no traceback, nothing left behind."""

from __future__ import annotations

import errno
import os
import sys

import pytest
import torch

from helpers.forked import run_forked
from helpers.training import SMALL
from pellucid.training import loop

pytestmark = pytest.mark.slow

DATA = [f"--data-option={o}" for o in ("size=32", "train=32", "validation=16", "test=4", "prevalence=0.4")]
TRAIN = ["train", "standard", "--data", "phantom", *DATA, *(f"--set={value}" for value in SMALL), "--device", "cpu"]


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EIO, "input/output error"), (errno.EROFS, "can only be read")],  # the others in test_whole_file.py
)
def test_a_training_that_cannot_write(tmp_path, monkeypatch, pellucid, number, words):
    def refuse(*_arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    message, _, _ = pellucid(*TRAIN, "--out", tmp_path / "run")
    assert message.startswith("pellucid: ")
    assert words in message
    assert str(tmp_path / "run") in message
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.mark.skipif(sys.platform == "win32", reason="no such limits there")
def test_a_file_larger_than_the_system_lets_one_be(tmp_path):
    """The limit of the shell (`ulimit -f`), for real: Python leaves its signal alone, so that the write fails."""
    import resource

    done = run_forked(*TRAIN, "--out", tmp_path / "run", limits={resource.RLIMIT_FSIZE: (2000, 2000)})
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    (message,) = [line for line in done.stderr.splitlines() if line.startswith("pellucid: ")]
    assert "ulimit -f" in message
    assert list((tmp_path / "run").glob("**/*.tmp")) == []


@pytest.mark.parametrize("whose", ["python", "torch"])
def test_no_memory_left(tmp_path, monkeypatch, pellucid, whose):
    def ends(*_arguments, **_options):
        if whose == "python":
            raise MemoryError
        torch.empty(2**60, dtype=torch.uint8)

    monkeypatch.setattr(loop, "load_batches", ends)
    message, _, _ = pellucid(*TRAIN, "--out", tmp_path / "run")
    assert message.startswith("pellucid: there is not enough memory.")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_can_only_be_read(pellucid):
    message, _, _ = pellucid(*TRAIN, "--out", "/proc/self/run")
    assert message.startswith("pellucid: cannot write /proc/self/run: ")
