"""The check of an accelerator, at toy size on a processor: it runs, it finds what is wrong, and its commands exist."""

from __future__ import annotations

import time

import pytest
import torch
import typer

import gpu_check
from pellucid.cli.app import app

LONG = {*gpu_check.LONG, "study", "two processes, gloo", "compiled step", "speed, compiled"}
IMPOSSIBLE = {"two processes, nccl", "speed, penalty step"}


@pytest.mark.slow
def test_every_check_is_in_the_table_and_none_fails(capsys, monkeypatch):
    monkeypatch.setenv("PELLUCID_PROGRESS", "0")
    monkeypatch.delenv("PELLUCID_TEST_DATA", raising=False)
    assert gpu_check.main(["--device", "cpu", "--toy"]) == 0
    first, head, *lines, last = capsys.readouterr().out.splitlines()
    assert first.startswith("cpu, torch")
    assert head.split() == ["check", "compares", "result", "tolerance"]
    assert len(lines) == len(gpu_check.CHECKS)
    skipped = {line[:38].strip() for line in lines if "not run: " in line}
    assert skipped == LONG | IMPOSSIBLE
    assert last.startswith(f"{len(lines) - len(skipped)} ok, 0 failed, {len(skipped)} not run")


@pytest.mark.parametrize("name", gpu_check.COMMANDS)
def test_commands_have_the_options_that_they_are_given(name, tmp_path):
    place = gpu_check.Place("cuda", tmp_path)
    command = typer.main.get_command(app).commands[name]
    line = [str(tmp_path), *place.phantom, *gpu_check.COMMANDS[name], "--device", "cuda", "--out", str(tmp_path)]
    assert command.make_context(name, line).params["device"] == "cuda"


def test_every_command_with_a_device_is_in_the_table():
    """Training and studies have checks of their own; a demo is a study, and `annotate serve` ends only when stopped."""
    others = {"train", "study", "demo", "annotate serve"}
    groups = {
        name: getattr(each, "commands", {"": each}) for name, each in typer.main.get_command(app).commands.items()
    }
    every = {f"{name} {verb}".strip(): each for name, verbs in groups.items() for verb, each in verbs.items()}
    with_device = {name for name, each in every.items() if any("--device" in one.opts for one in each.params)}
    assert with_device == others | set(gpu_check.COMMANDS)


def fails(place):
    raise ValueError("the kernel is not there")


def differs(place):
    return gpu_check.near(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.1]), 1e-3)


def test_what_fails_is_named_and_hides_nothing_after_it(monkeypatch, capsys):
    passes = ("fine", "", lambda place: gpu_check.Outcome("1.00", "≤ 2"))
    monkeypatch.setattr(gpu_check, "CHECKS", [("broken", "", fails), ("other", "to one", differs), passes])
    monkeypatch.setenv("PELLUCID_PROGRESS", "0")
    assert gpu_check.main(["--device", "cpu"]) == 1
    output = capsys.readouterr().out
    assert "ValueError: the kernel is not there" in output
    assert "relative distance 4.3e-02" in output  # 0.1 / √(1 + 2.1²)
    assert "1 ok, 2 failed, 0 not run" in output


def test_no_check_begins_when_the_time_is_over(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check, "CHECKS", [("late", "", fails)])
    (row,) = gpu_check.rows(gpu_check.Place("cpu", tmp_path, deadline=time.monotonic()))
    assert row.state == "not run: no time was left"
