"""A package that declares entry points: what it adds is in every list, help text and command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pellucid.utils.registry import Registry, Selection

TESTS = Path(__file__).parent
TRAIN = "train standard --data few --set model.name=one-layer --set training.epochs=1 --out run"

SESSION = {
    "models": "models list",
    "datasets": "data list",
    "explain --help": "explain --help",
    "localize --help": "localize --help",
    "trust --help": "trust --help",
    "ara --help": "ara --help",
    "train": TRAIN,
    "explain": "explain run --data few --method darkness --limit 1 --out maps",
    "localize": "localize run --data few --method darkness --out boxes",
    "ara": "ara run --data few --protocol towards-gray --out area",
    "unknown": "localize run --data few --method darknes --out other",
}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What each command of SESSION gave, as (exit code, output), and the warnings of all."""
    done = subprocess.run(
        [sys.executable, TESTS / "helpers" / "plugin_session.py"],
        input=json.dumps([line.split() for line in SESSION.values()]),
        cwd=tmp_path_factory.mktemp("plugin"),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS / "plugin"), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    return {**dict(zip(SESSION, answer["printed"], strict=True)), "warnings": answer["warnings"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("models", "one-layer"),
        ("datasets", "few"),
        ("explain --help", "darkness"),
        ("localize --help", "darkness"),
        ("trust --help", "darkness"),
        ("ara --help", "towards-gray"),
        ("train", "run"),
        ("explain", "maps"),
        ("localize", "darkness"),
        ("ara", "towards-gray"),
    ],
)
def test_what_it_adds_is_there(session: dict, command: str, name: str):
    code, output = session[command]
    assert code == 0, output
    assert name in output


@pytest.mark.slow
def test_a_misspelt_name_of_it_is_suggested(session: dict):
    code, output = session["unknown"]
    assert code != 0
    assert "Did you mean 'darkness'?" in output


@pytest.mark.slow
def test_what_cannot_be_used_is_said_once(session: dict):
    texts = [text for text in session["warnings"] if "broken" in text]
    assert len(texts) == 1
    assert "pellucid-example declares 'broken' under pellucid.explainers, which cannot be used" in texts[0]


@dataclass(frozen=True)
class Item:
    name: str
    size: int = 1


@dataclass(frozen=True)
class Point:
    """An entry point as `importlib.metadata` has them, of what is given."""

    name: str
    value: object
    dist: None = None

    def load(self) -> object:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    def __lt__(self, other: Point) -> bool:
        return self.name < other.name


@pytest.mark.parametrize(
    ("point", "reason"),
    [
        (Point("more", 3), "expected a Item, found a int"),
        (Point("more", Item("less")), "it calls itself 'less'"),
        (Point("own", Item("own", 2)), "the name is taken"),
        (Point("more", ImportError("no such package")), "ImportError: no such package"),
    ],
)
def test_entries_that_cannot_be_used_are_left_out(monkeypatch: pytest.MonkeyPatch, point: Point, reason: str):
    monkeypatch.setattr("pellucid.utils.registry.entry_points", lambda group: [point, Point("z", Item("z", 5))])
    registry = Registry("pellucid.items", Item, [Item("own")])
    large = Selection(registry, lambda item: item.size > 1)
    with pytest.warns(UserWarning, match=reason):
        assert list(registry) == ["own", "z"]
    assert registry["own"].size == 1
    assert list(large) == ["z"]
    assert large[0] == "z"


def test_packages_are_not_looked_at_before_they_are_needed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pellucid.utils.registry.entry_points", lambda group: 1 / 0)
    registry = Registry("pellucid.items", Item, [Item("own")])
    assert registry["own"].name == "own"
    with pytest.raises(ZeroDivisionError):
        registry["another"]
