"""What the system refuses, in the real command: one sentence and exit status 1, no traceback, nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from helpers.training import SMALL

pytestmark = pytest.mark.slow

DATA = [f"--data-option={o}" for o in ("size=32", "train=32", "validation=16", "test=4", "prevalence=0.4")]
TRAIN = ["train", "standard", "--data", "phantom", *DATA, *(f"--set={value}" for value in SMALL), "--device", "cpu"]
REFUSING = """
import errno, os, sys
number, call = getattr(errno, sys.argv.pop(1)), sys.argv.pop(1)
def refuse(*arguments, **options):
    raise OSError(number, os.strerror(number))
setattr(os, call, refuse)
from pellucid.cli.app import main
main()
"""


def run(arguments, before=(), **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PELLUCID_PROGRESS": "0"}
    words = [sys.executable, *before, *map(str, arguments)]
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=240, check=False, **options)


def one_sentence(done):
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("pellucid: ")]
    return said


@pytest.mark.parametrize(
    ("name", "words"),
    [("EIO", "input/output error"), ("EROFS", "can only be read")],  # the others in test_whole_file.py
)
def test_a_training_that_cannot_write(tmp_path, name, words):
    said = one_sentence(run([name, "fsync", *TRAIN, "--out", tmp_path / "run"], ("-c", REFUSING)))
    assert words in said
    assert str(tmp_path / "run") in said
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.mark.skipif(sys.platform == "win32", reason="no such limits there")
def test_a_file_larger_than_the_system_lets_one_be(tmp_path):
    """The limit of the shell (`ulimit -f`), for real: Python leaves its signal alone, so that the write fails."""
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    said = one_sentence(run(["-m", "pellucid.cli.app", *TRAIN, "--out", tmp_path / "run"], preexec_fn=limit))
    assert "ulimit -f" in said
    assert list((tmp_path / "run").glob("**/*.tmp")) == []


MEMORY = """
import sys
from pellucid.training import loop
def ends(*arguments, **options):
    if sys.argv[1] == "python":
        raise MemoryError
    import torch
    torch.empty(2 ** 60, dtype=torch.uint8)
loop.load_batches = ends
sys.argv[1:2] = []
from pellucid.cli.app import main
main()
"""


@pytest.mark.parametrize("whose", ["python", "torch"])
def test_no_memory_left(tmp_path, whose):
    said = one_sentence(run([whose, *TRAIN, "--out", tmp_path / "run"], ("-c", MEMORY)))
    assert said.startswith("pellucid: there is not enough memory.")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_can_only_be_read(tmp_path):
    said = one_sentence(run(["-m", "pellucid.cli.app", *TRAIN, "--out", "/proc/self/run"]))
    assert said.startswith("pellucid: cannot write /proc/self/run: ")
