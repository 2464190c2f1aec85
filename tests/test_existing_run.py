"""A folder that holds a run already: finished, it is returned as it is; what does not fit it is refused."""

from __future__ import annotations

import shutil

import pytest

from helpers.training import run
from pellucid.training import RunFolder
from pellucid.types import InputError


def test_a_folder_that_holds_a_run_is_refused_without_resume(finished, phantom):
    before = (finished.path / "run.toml").read_bytes()
    with pytest.raises(InputError, match=r"holds a run already\. Add --resume"):
        run(phantom, finished.path, seed=7)
    assert (finished.path / "run.toml").read_bytes() == before


def test_a_finished_run_is_returned_as_it_is(finished, phantom, monkeypatch):
    monkeypatch.setattr("pellucid.training.loop.materialize", lambda *a, **k: pytest.fail("decoded again"))
    before = {f: f.stat().st_mtime_ns for f in finished.path.rglob("*")}
    run(phantom, finished.path, seed=7, resume=True)
    assert {f: f.stat().st_mtime_ns for f in finished.path.rglob("*")} == before


def test_a_finished_run_without_its_state_is_not_trained_again(finished, phantom, tmp_path):
    shutil.copytree(finished.path, tmp_path / "copy", ignore=shutil.ignore_patterns("state"))
    before = (tmp_path / "copy" / "weights.safetensors").stat().st_mtime_ns
    assert run(phantom, tmp_path / "copy", seed=7, resume=True).finished
    assert (tmp_path / "copy" / "weights.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("overrides", "options", "parts"),
    [
        (["optimizer.lr=0.5"], {"seed": 7}, ["another recipe", "optimizer.lr", "now 0.5"]),
        (["objective.attack.size.l2=1.0"], {"seed": 7}, ["another recipe", "objective.attack.size"]),
        ([], {"seed": 8}, ["another seed", "was 7, now 8"]),
    ],
)
def test_resuming_something_else_is_refused(finished, phantom, overrides, options, parts):
    with pytest.raises(InputError) as caught:
        run(phantom, finished.path, *overrides, resume=True, **options)
    for part in parts:
        assert part in str(caught.value)


def test_resuming_on_other_data_is_refused(finished, phantom):
    with pytest.raises(InputError, match=r"another data: train\.fingerprint"):
        run({**phantom, "train": phantom["train"].limit(32)}, finished.path, seed=7, resume=True)


def test_a_state_that_cannot_be_read_is_said_to_be_so(finished, phantom, tmp_path):
    shutil.copytree(finished.path, tmp_path / "copy")
    made = RunFolder(tmp_path / "copy")
    made.write(made.read() | {"finished": False})
    (file,) = made.state.glob("step-*/model.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match=r"model\.safetensors is damaged .* start again without --resume"):
        run(phantom, made.path, seed=7, resume=True)
