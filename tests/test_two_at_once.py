"""Two commands with one folder, in real processes: one holds it, the other is refused or waits; Ctrl-C is answered."""

from __future__ import annotations

import json
import os
import signal
import socket
import time

import pytest
from safetensors.torch import load_file

from helpers.forked import Forked
from helpers.training import SMALL
from pellucid.training import RunFolder

pytestmark = pytest.mark.slow

PHANTOM = ("size=32", "train=96", "validation=24", "test=4", "prevalence=0.4")
ENDLESS = 100_000  # epochs: of a run that only a signal ends


def command(out, *options, epochs=1, seed=0):
    data = [f"--data-option={option}" for option in PHANTOM]
    settings = [f"--set={value}" for value in (*SMALL, f"training.epochs={epochs}", "training.checkpoint_seconds=0")]
    words = ["train", "standard", "--data", "phantom", "--device", "cpu", "--out", out, "--seed", seed]
    return list(map(str, [*words, *data, *settings, *options]))


def until(condition, process):
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def saved(out):
    return list(out.glob("state/step-*/progress.json"))


@pytest.fixture
def running(tmp_path):
    """A training that never ends, with a saved state."""
    process = Forked(*command(tmp_path / "run", epochs=ENDLESS))
    until(lambda: saved(tmp_path / "run"), process)
    yield process
    process.kill()
    process.communicate()


def test_others_are_refused_by_pid_and_host_and_ctrl_c_says_what_is_kept(running, tmp_path):
    run = tmp_path / "run"
    running.send_signal(signal.SIGSTOP)  # it holds the folder without taking the others' time
    fresh = Forked(*command(run, epochs=ENDLESS, seed=1))
    resumed = Forked(*command(run, "--resume", epochs=ENDLESS))
    for process, expected in (
        (fresh, "holds a run already"),
        (resumed, f"held by process {running.pid} on {socket.gethostname()}, "),
    ):
        _, said = process.communicate()
        assert process.returncode == 1
        assert "Traceback" not in said
        assert expected in said
    assert running.poll() is None
    assert RunFolder(run).read()["seed"] == 0
    running.send_signal(signal.SIGCONT)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate()
    assert running.returncode == 130
    assert said.strip().splitlines()[-1] == (
        "pellucid: interrupted. What was finished is kept; the same command (train: with --resume) goes on."
    )
    assert "Traceback" not in said
    (progress,) = saved(run)
    assert json.loads(progress.read_text())["global_step"] >= 1
    assert not (run / ".lock").exists()


def test_started_in_the_same_moment_one_trains_and_one_is_refused(pellucid, tmp_path):
    both = [Forked(*command(tmp_path / "run", seed=seed)) for seed in (0, 1)]
    ends = [process.communicate()[1] for process in both]
    codes = [process.returncode for process in both]
    assert sorted(codes) == [0, 1], ends
    winner, said = codes.index(0), ends[codes.index(1)]
    assert f"held by process {both[winner].pid} on" in said or "holds a run already" in said
    made = RunFolder(tmp_path / "run")
    assert (made.finished, made.read()["seed"]) == (True, winner)
    assert pellucid(*command(tmp_path / "alone", seed=winner))[0] == 0
    ours, theirs = (load_file(tmp_path / name / "weights.safetensors") for name in ("run", "alone"))
    assert all((value == theirs[name]).all() for name, value in ours.items())


def test_one_that_waits_goes_on_once_the_first_is_killed(running, tmp_path):
    running.send_signal(signal.SIGSTOP)
    second = Forked(*command(tmp_path / "run", "--resume", "--wait", epochs=ENDLESS))
    assert f"is held by process {running.pid} on" in second.stderr.readline()
    running.kill()
    running.wait()
    before = max(int(p.parent.name[5:]) for p in saved(tmp_path / "run"))
    until(lambda: max((int(p.parent.name[5:]) for p in saved(tmp_path / "run")), default=0) > before, second)
    assert (tmp_path / "run" / ".lock").read_text().startswith(f"process {second.pid} on")
    second.send_signal(signal.SIGINT)
    second.communicate()
    assert not (tmp_path / "run" / ".lock").exists()


STUDY = """
name = "both"
title = "Both"
seeds = [0, 1]
[data]
name = "phantom"
options = {{ size = 32, train = 32, validation = 16, test = 12, prevalence = 0.4 }}
[settings]
model = {{ name = "small", size = 32, options = {{ widths = [4, 8], blocks = [1, 1], strides = [1, 2] }} }}
training = {{ epochs = {epochs}, batch_size = 16, checkpoint_seconds = 0 }}
[[variants]]
label = "plain"
recipe = "standard"
[[variants]]
label = "penalty"
recipe = "standard"
[variants.settings.objective.gradient_penalty]
weight = 1.0
[evaluation]
targets = []
"""


def test_a_study_is_held_too_and_ctrl_c_ends_its_processes(tmp_path):
    (tmp_path / "both.toml").write_text(STUDY.format(epochs=ENDLESS))
    arguments = ["study", tmp_path / "both.toml", "--out", tmp_path / "out", "--device", "cpu", "--jobs", "2"]
    first = Forked(*arguments, session=True)
    until(lambda: len(list(tmp_path.glob("out/runs/*/state/*/progress.json"))) >= 2, first)
    os.killpg(first.pid, signal.SIGSTOP)  # it holds the folder without taking the others' time
    second = Forked(*arguments)
    training = Forked(*command(tmp_path / "out" / "runs" / "plain-seed0", "--resume"))
    _, said = second.communicate()
    assert (second.returncode, "Traceback" in said) == (1, False)
    assert f"{tmp_path / 'out'} is held by process {first.pid} on" in said
    _, said = training.communicate()
    assert training.returncode == 1
    assert "runs/plain-seed0 is held by process " in said
    os.killpg(first.pid, signal.SIGCONT)
    os.killpg(first.pid, signal.SIGINT)  # as a terminal does: to all processes of the command
    _, said = first.communicate()  # which ends only once its processes have closed its pipes
    assert first.returncode == 130
    assert "pellucid: interrupted." in said
    assert "Traceback" not in said
    assert "leaked" not in said
