"""A small part of the campaign of accidents, and that the campaign would notice what it is there for."""

from __future__ import annotations

import csv
import os

import numpy as np
import pytest

from helpers.forked import run_forked

TRIALS = 4

pytestmark = [pytest.mark.skipif(os.name == "nt", reason="the campaign forks"), pytest.mark.slow]


@pytest.fixture(scope="module")
def campaign():
    import damage

    return damage


def test_accidents_change_no_figure_and_end_in_a_sentence(tmp_path, campaign):
    out = tmp_path / "damage.csv"
    options = ("--trials", TRIALS, "--seed", "1", "--out", out, "--jobs", "2", "--only", "stopped,attacked")
    done = run_forked(*options, code="import damage; damage.main()")
    assert done.returncode == 0, done.stderr
    with out.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert sum(int(row["trials"]) for row in rows) == TRIALS
    for row in rows:
        assert sum(int(row[outcome]) for outcome in campaign.GOOD) == int(row["trials"]), done.stdout


@pytest.mark.parametrize(
    ("code", "said", "figure", "outcome"),
    [
        (0, "wrote a.json", 1, "same"),
        (0, "note: a.json is damaged. It is made again.", 1, "same, said"),
        (0, "wrote a.json", 2, "silently different"),
        (0, "note: a.json is damaged.", 2, "different, said"),
        (1, "pellucid: a.json is damaged. Delete it.", 1, "refused"),
        (1, "pellucid: something is wrong.", 1, "refused, not named"),
        (1, "Aborted.\n", 1, "aborted"),
        (70, "Traceback (most recent call last):\n  a.json", 1, "traceback"),
        (-11, "", 1, "traceback"),
        (124, "", 1, "no end"),
    ],
)
def test_outcomes_are_told_apart(tmp_path, campaign, code, said, figure, outcome):
    subject = campaign.Subject("x", (), lambda _: figure)
    assert campaign.judged(code, said, "a.json", subject, tmp_path, 1, killed=False) == outcome


@pytest.mark.parametrize("kind", ["cut", "emptied", "flipped", "zeroed", "garbage", "removed"])
def test_damage_is_what_it_is_called(tmp_path, campaign, kind):
    content = bytes(range(1, 256)) * 4
    path = tmp_path / "a"
    path.write_bytes(content)
    campaign.damage(path, kind, np.random.default_rng(3))
    left = path.read_bytes() if path.exists() else None
    changed = [] if left is None else [a ^ b for a, b in zip(content, left, strict=False) if a != b]
    assert {
        "cut": left is not None and len(left) < len(content) and content.startswith(left),
        "emptied": left == b"",
        "flipped": left is not None and len(left) == len(content) and [x.bit_count() for x in changed] == [1],
        "zeroed": left is not None and len(left) == len(content) and 0 in left,
        "garbage": left not in (None, content),
        "removed": left is None,
    }[kind]
