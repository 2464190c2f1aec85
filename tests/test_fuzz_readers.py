"""A small part of the campaign over readers, of every kind of file; and the campaign sees what it looks for."""

from __future__ import annotations

import csv
import mmap
import os
import time

import numpy as np
import pytest

from helpers.forked import run_forked
from pellucid.types import InputError

pytestmark = [pytest.mark.skipif(not hasattr(os, "fork"), reason="the campaign forks"), pytest.mark.slow]
for extra in ("pyarrow", "pydicom", "fsspec"):
    pytest.importorskip(extra)


@pytest.fixture(scope="module")
def campaign():
    """The campaign's module."""
    import fuzz_readers

    return fuzz_readers


def test_damaged_files_of_every_kind_are_read_or_refused_by_their_name(tmp_path, campaign):
    results = tmp_path / "results.csv"
    count = len(campaign.KINDS)
    code = "import fuzz_readers; fuzz_readers.main()"
    done = run_forked(f"--trials={count}", "--seed=13", f"--results={results}", code=code)
    assert done.returncode == 0, done.stderr
    with results.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == list(campaign.KINDS)
    assert {(row["trials"], row["findings"], row["name no file"]) for row in rows} == {("1", "0", "0")}
    assert sum(int(row["refused"]) for row in rows) > count / 3


def refuse(folder):
    raise InputError(f"{folder / 'a.png'}: damaged")


def refuse_without_a_name(folder):
    raise InputError("damaged")


def mistake(folder):
    raise KeyError("a")


def panic(folder):
    raise type("PanicException", (BaseException,), {})("index out of range")


def hang(folder):
    while True:
        time.sleep(1)


def crash(folder):
    os.abort()


def ask_for_too_much(folder):
    np.zeros(10**12, dtype=np.uint8)


def take_too_much(folder):
    """From the system itself: an array may lie in memory that this process had taken before and freed."""
    with mmap.mmap(-1, 2 * 10**8) as taken:
        for at in range(0, len(taken), mmap.PAGESIZE):
            taken[at] = 1
    return []


@pytest.mark.parametrize(
    ("read", "verdict", "named"),
    [
        (lambda folder: [], "read", True),
        (refuse, "refused", True),
        (refuse_without_a_name, "refused", False),
        (mistake, "KeyError", False),
        (panic, "PanicException", False),
        (hang, "hang", False),
        (crash, "killed by signal 6", False),
        (ask_for_too_much, "MemoryError", False),
        (take_too_much, "memory", True),
    ],
)
def test_the_campaign_sees_what_a_reader_does(tmp_path, campaign, read, verdict, named):
    folder = tmp_path / "trial"
    folder.mkdir()
    seconds = 1 if verdict == "hang" else 60
    found = campaign.run_trial(campaign.Kind(lambda at: None, read), folder, ["a.png"], seconds=seconds, megabytes=100)
    assert (found.verdict, found.named) == (verdict, named)
    assert found.finding == (verdict not in ("read", "refused"))


def test_the_same_seed_damages_in_the_same_way(tmp_path, campaign):
    source = tmp_path / "a.json"
    made = []
    for seed in (0, 0, 1):
        source.write_text('{"images": [{"id": 1}]}')
        made.append((campaign.damage(source, np.random.default_rng(seed)), source.read_bytes()))
    assert made[0] == made[1] != made[2]
