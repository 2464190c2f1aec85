"""A run whose files were damaged goes on with the same figures, or is refused by the name of the file: nothing else."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from helpers.training import run
from pellucid.models.weights import read_model_card
from pellucid.training import RunFolder, TrainingError
from pellucid.training.objectives.objective import Objective
from pellucid.types import InputError

pytestmark = pytest.mark.slow

SEED = 7


@pytest.fixture(scope="module")
def unbroken(phantom, tmp_path_factory):
    return run(phantom, tmp_path_factory.mktemp("runs") / "unbroken", name="standard", seed=SEED)


@pytest.fixture(scope="module")
def stopped(phantom, tmp_path_factory):
    """A run that stopped in its second epoch, four steps per epoch, with a state of every step and the best network."""
    patch = pytest.MonkeyPatch()
    real, steps = Objective.__call__, []

    def stop(self, *args):
        steps.append(1)
        if len(steps) == 7:
            raise TrainingError("stopped here")
        return real(self, *args)

    patch.setattr(Objective, "__call__", stop)
    out = tmp_path_factory.mktemp("runs") / "stopped"
    with pytest.raises(TrainingError, match="stopped here"):
        run(phantom, out, "training.checkpoint_seconds=0", name="standard", seed=SEED)
    patch.undo()
    return out


def go_on(phantom, out):
    return run(phantom, out, "training.checkpoint_seconds=0", name="standard", seed=SEED, resume=True)


def figures(made):
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in made.metrics()]
    card = read_model_card(made.path)
    return rows, card["weights_sha256"], card["thresholds"], card["score"]


def flipped(content):
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]


DAMAGES = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) * 2 // 3],
    "flipped": flipped,
    "flipped near the end": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    "zeroed": lambda content: b"\0" * len(content),
    "zeros in it": lambda content: content[: len(content) // 2] + b"\0" * 64 + content[len(content) // 2 + 64 :],
    "garbage": lambda content: b"garbage \xff\xfe\n",
}
FILES = (
    "state/*/model.safetensors",
    "state/*/optimizer.safetensors",
    "state/*/progress.json",
    "metrics.jsonl",
    "run.toml",
    "weights.safetensors",
    "model.toml",
)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_damage_before_a_resume_is_refused_by_name(stopped, phantom, tmp_path, name, damage):
    shutil.copytree(stopped, tmp_path / "run")
    (file,) = (tmp_path / "run").glob(name)
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    before = {f: f.read_bytes() for f in (tmp_path / "run").rglob("*") if f.is_file()}
    with pytest.raises(InputError, match=r"damaged|not valid TOML|has format None") as raised:
        go_on(phantom, tmp_path / "run")
    assert str(file) in str(raised.value)
    assert {f: f.read_bytes() for f in (tmp_path / "run").rglob("*") if f.is_file()} == before


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_gone_before_a_resume_changes_no_figure(stopped, unbroken, phantom, tmp_path, name):
    shutil.copytree(stopped, tmp_path / "run")
    (file,) = (tmp_path / "run").glob(name)
    file.unlink()
    try:
        made = go_on(phantom, tmp_path / "run")
    except InputError as error:
        assert file.name in str(error)  # noqa: PT017
    else:
        assert name == "state/*/progress.json"  # no state is left: from the beginning, as if it had been killed then
        assert figures(made) == figures(unbroken)


def test_undamaged_it_ends_as_the_unbroken_one(stopped, unbroken, phantom, tmp_path):
    shutil.copytree(stopped, tmp_path / "run")
    assert figures(go_on(phantom, tmp_path / "run")) == figures(unbroken)


def test_an_older_state_takes_the_place_of_a_damaged_one(stopped, unbroken, phantom, tmp_path):
    """A kill between two states leaves both: with the newer one damaged, its steps are made again, and it is said."""
    shutil.copytree(stopped, tmp_path / "run")
    (newest,) = (tmp_path / "run" / "state").iterdir()
    assert newest.name == "step-00000006"
    newer = newest.with_name("step-00000007")
    shutil.copytree(newest, newer)
    (newer / "model.safetensors").write_bytes(flipped((newer / "model.safetensors").read_bytes()))
    with pytest.warns(UserWarning, match=r"step-00000007/model\.safetensors is damaged .* older state .*step-00000006"):
        made = go_on(phantom, tmp_path / "run")
    assert figures(made) == figures(unbroken)


def test_metrics_that_lost_a_line_are_refused(unbroken, phantom, tmp_path):
    for lost in (0, 1):
        shutil.copytree(unbroken.path, tmp_path / str(lost))
        file = tmp_path / str(lost) / "metrics.jsonl"
        lines = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join(line for number, line in enumerate(lines) if number != lost))
        words = "epoch 1 is missing" if lost == 0 else "2 epochs are done and it has the lines of 1"
        with pytest.raises(InputError, match=f"metrics\\.jsonl.*{words}"):
            run(phantom, tmp_path / str(lost), name="standard", seed=SEED, resume=True)


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "model.toml", "metrics.jsonl", "run.toml", "training_images.npz"]
)
def test_a_finished_run_that_lost_a_file_is_not_said_to_be_whole(unbroken, phantom, tmp_path, name):
    shutil.copytree(unbroken.path, tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        run(phantom, tmp_path / "run", name="standard", seed=SEED, resume=True)


def test_best_weights_of_a_killed_later_epoch_are_taken_for_what_they_are(stopped, unbroken, phantom, tmp_path):
    """Killed after the best network was written and before the state was: both fit each other, none fits the state."""
    shutil.copytree(stopped, tmp_path / "run")
    for name in ("weights.safetensors", "model.toml"):
        shutil.copy(unbroken.path / "last" / name, tmp_path / "run" / name)
    assert go_on(phantom, tmp_path / "run").finished


def test_a_run_of_an_earlier_version_is_told_from_a_damaged_one(stopped, phantom, tmp_path):
    shutil.copytree(stopped, tmp_path / "run")
    file = tmp_path / "run" / "run.toml"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if not line.startswith("sha256")))
    with pytest.raises(InputError, match=r"run\.toml .*carries no digest; earlier versions wrote none"):
        go_on(phantom, tmp_path / "run")


def test_every_line_of_the_metrics_can_be_read_by_itself(unbroken):
    rows = [json.loads(line) for line in (unbroken.path / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(len(row["sha256"]) == 64 for row in rows)
    assert np.isfinite([row["loss"] for row in rows]).all()
    assert all("sha256" not in row for row in RunFolder(unbroken.path).metrics())
