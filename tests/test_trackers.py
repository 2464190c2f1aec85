"""Figures sent to a tracker: what TensorBoard reads back, what MLflow and W&B are told, and what is refused."""

from __future__ import annotations

import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml
from typer.testing import CliRunner

from helpers.training import SMALL, TWO_VARIANTS, interrupted_after, run, small_phantom
from pellucid.cli.app import app
from pellucid.study.config import load_study
from pellucid.study.context import StudyContext
from pellucid.study.training import train_one
from pellucid.training import trackers
from pellucid.types import InputError


@pytest.fixture(scope="module")
def phantom():
    return small_phantom()


@pytest.fixture(autouse=True)
def every_second_step(monkeypatch):
    monkeypatch.setattr("pellucid.training.session.LOG_EVERY", 2)  # of four an epoch


def read_back(folder):
    """Every figure in TensorBoard's files: name → [(step, value)], as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_tensorboard_has_every_figure_of_every_epoch_and_of_some_steps(phantom, tmp_path):
    rows = run(phantom, tmp_path / "run", log="tensorboard").metrics()
    figures = read_back(tmp_path / "run")
    for name in rows[0].keys() - {"step"}:
        assert figures[name] == [(row["step"], pytest.approx(row[name], rel=1e-6)) for row in rows], name
    assert {"loss", "validation_auroc", "validation_accuracy", "learning_rate"} <= figures.keys()
    assert [step for step, _ in figures["step/loss"]] == [2, 4, 6, 8]
    # the rate of the recipe: 5 % of eight steps up, then half a cosine down to 0
    rates = [rate for _, rate in figures["step/learning_rate"]]
    assert rates == sorted(rates, reverse=True)
    assert figures["learning_rate"] == [figures["step/learning_rate"][i] for i in (1, 3)]


def test_tensorboard_has_the_settings(phantom, tmp_path):
    run(phantom, tmp_path / "run", "optimizer.lr=0.0123", "training.epochs=1", log="tensorboard", seed=5)
    (settings,) = (tmp_path / "run" / "tensorboard").rglob("hparams.yml")
    values = yaml.safe_load(settings.read_text(encoding="utf-8"))
    assert values["recipe.optimizer.lr"] == 0.0123
    assert values["recipe.model.name"] == "small"
    assert values["seed"] == 5
    assert values["data.train.images"] == 64


def test_a_resumed_run_goes_on_in_the_same_curves(phantom, tmp_path):
    run(phantom, tmp_path / "whole", log="tensorboard")
    with interrupted_after(1), pytest.raises(KeyboardInterrupt):  # steps 6 and 8 were logged; they are made again
        run(phantom, tmp_path / "broken", log="tensorboard")
    run(phantom, tmp_path / "broken", log="tensorboard", resume=True)
    whole, resumed = read_back(tmp_path / "whole"), read_back(tmp_path / "broken")
    assert resumed.keys() == whole.keys()
    assert all(resumed[name] == whole[name] for name in whole.keys() - {"seconds"})
    assert len(list((tmp_path / "broken" / "tensorboard").rglob("hparams.yml"))) == 1


class Server:
    """What MLflow or Weights & Biases were told."""

    def __init__(self):
        self.started, self.settings, self.figures, self.ended = [], {}, [], 0

    def start(self, *args, **options):
        self.started.append(options)
        return SimpleNamespace(info=SimpleNamespace(run_id="r1"), id="r1", log=self.log, finish=self.end)

    def log(self, values, step):
        self.figures.append((step, values))

    def end(self):
        self.ended += 1


@pytest.fixture
def server(monkeypatch):
    """Both packages, as far as accelerate's trackers call them."""
    server = Server()
    mlflow = ModuleType("mlflow")
    mlflow.set_experiment = lambda name: None
    mlflow.search_experiments = lambda filter_string: [SimpleNamespace(experiment_id=filter_string)]
    mlflow.start_run, mlflow.end_run, mlflow.log_metrics = server.start, server.end, server.log
    mlflow.log_params = server.settings.update
    mlflow.utils = SimpleNamespace(validation=SimpleNamespace(MAX_PARAM_VAL_LENGTH=6000, MAX_PARAMS_TAGS_PER_BATCH=100))
    wandb = ModuleType("wandb")
    wandb.init = server.start
    wandb.config = SimpleNamespace(update=lambda values, allow_val_change: server.settings.update(values))
    for module in (mlflow, wandb):
        module.__spec__ = ModuleSpec(module.__name__, None)  # accelerate looks whether they are there
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return server


@pytest.mark.parametrize(("name", "filed", "key"), [("mlflow", "experiment_id", "run_id"), ("wandb", "project", "id")])
def test_a_server_gets_one_run_with_a_name_and_goes_on_in_it(phantom, tmp_path, server, name, filed, key):
    with interrupted_after(1), pytest.raises(KeyboardInterrupt):
        run(phantom, tmp_path / "first", log=name, project="mine")
    assert (len(server.started), server.ended) == (1, 1)
    assert "mine" in server.started[0][filed]
    assert "first" in (server.started[0].get("run_name"), server.started[0].get("name"))
    assert server.started[0][key] is None
    assert server.settings["recipe.model.name"] == "small"
    server.settings.clear()
    rows = run(phantom, tmp_path / "first", log=name, project="mine", resume=True).metrics()
    assert server.started[1][key] == "r1"
    assert server.ended == 2
    assert server.settings == {}  # MLflow refuses a setting that changed, as a version may have
    assert [(s, v["loss"]) for s, v in server.figures if "loss" in v] == [(r["step"], r["loss"]) for r in rows]


def test_a_server_that_stops_stops_no_training(phantom, tmp_path, server, monkeypatch):
    def down(values, step):
        raise ConnectionError("refused")

    monkeypatch.setattr(server, "log", down)
    with pytest.warns(UserWarning, match=r"wandb took no figures of step 2 \(refused\)") as caught:
        folder = run(phantom, tmp_path / "run", log="wandb")
    assert len(caught) == 1
    assert len(folder.metrics()) == 2


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_server_that_does_not_start_is_said_and_nothing_is_written(phantom, tmp_path, server, name, monkeypatch):
    def down(*args, **options):
        raise ConnectionError("no login")

    monkeypatch.setattr(sys.modules[name], {"mlflow": "set_experiment", "wandb": "init"}[name], down)
    with pytest.raises(InputError, match=f"--log {name}: it did not start .*no login"):
        run(phantom, tmp_path / "run", log=name)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["train khakzar2019-baseline --data phantom", "study demo"])
@pytest.mark.parametrize("name", trackers.TRACKERS)
def test_a_missing_package_is_said_before_anything_starts(tmp_path, command, name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    result = CliRunner().invoke(app, [*command.split(), "--out", str(tmp_path / "run"), "--log", name])
    assert result.exit_code != 0
    message = " ".join(str(result.exception or result.output).split())
    assert (
        f"--log {name} needs the package {name}: in Pellucid's folder, pip install -c constraints.txt -e '.[{name}]'"
        in message
    )
    assert not (tmp_path / "run" / "run.toml").exists()


def test_another_name_is_refused_with_the_nearest(phantom, tmp_path):
    with pytest.raises(InputError, match=r"'tensorbord'.*tensorboard"):
        run(phantom, tmp_path / "run", log="tensorbord")


def test_each_network_of_a_study_is_a_run_with_its_name(tmp_path, server):
    overrides = ["seeds=[3]", "data.options={size=32, train=16, validation=8, test=8}", "settings.training.epochs=1"]
    study = load_study("demo", [TWO_VARIANTS, *overrides, *(f"settings.{value}" for value in SMALL)])
    context = StudyContext(study, None, tmp_path, "cpu", log="mlflow")
    folder = train_one(context, context.runs[0], 0)
    assert server.started[0]["run_name"] == Path(folder).name
    assert "seed3" in Path(folder).name
    assert "demo" in server.started[0]["experiment_id"]
    assert server.figures[-1][1]["loss"] == json.loads((folder / "metrics.jsonl").read_text())["loss"]
