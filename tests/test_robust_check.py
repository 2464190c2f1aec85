"""A short attack on validation images every epoch: what it sees, which checkpoint it chooses, when it stops a run."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers.training import run
from pellucid.evaluation.metrics.validation import ValidationScorer
from pellucid.models import load_model
from pellucid.models.inference import predict
from pellucid.models.weights import read_model_card
from pellucid.training.robust_check import RobustCheckSettings, attacked_logits
from pellucid.types import InputError

CHECK = ["robust_check.size.linf=0.01", "robust_check.steps=1", "robust_check.images=8"]


class Falling(ValidationScorer):
    """Says of the attacked images what it is told to, epoch by epoch."""

    def __init__(self, robust, clean=None):
        self.robust, self.clean = list(robust), list(clean or [0.5] * 99)

    def metrics(self, logits, dataset):
        if not logits.any():  # the loop asks for the names
            return {"auroc": 0.5, "accuracy": 0.5}
        if len(dataset) == 8:  # the attacked part
            return {"auroc": 0.5, "accuracy": self.robust.pop(0)}
        return {"auroc": self.clean.pop(0), "accuracy": 0.5}


def trained(phantom, out, robust, *overrides, **options):
    chosen = ["training.epochs=5", *CHECK, *overrides]
    return run(phantom, out, *chosen, name="standard", scorer=Falling(robust, options.pop("clean", None)), **options)


@pytest.mark.slow
def test_a_collapse_stops_the_run_and_keeps_the_last_good_network(phantom, tmp_path):
    chosen = ["robust_check.collapse=0.2", "training.select=robust_accuracy"]
    chosen += ["schedule.name=constant", "schedule.warmup=0.0"]  # a rate that does not depend on the run's length
    with pytest.warns(UserWarning, match="catastrophic overfitting") as said:
        made = trained(phantom, tmp_path / "falls", [0.5, 0.6, 0.45, 0.39], *chosen)
    (message,) = [str(w.message) for w in said if "catastrophic" in str(w.message)]
    for part in ("fell from 0.600 to 0.390 in epoch 4", str(made.path / "last"), "objective.attack.step_size"):
        assert part in message
    assert made.read()["collapsed_in_epoch"] == 4
    assert made.finished
    rows = made.metrics()
    assert [row["validation_robust_accuracy"] for row in rows] == [0.5, 0.6, 0.45, 0.39]
    assert [row.get("collapsed", False) for row in rows] == [False, False, False, True]
    # a run that ended an epoch before has the same networks, bit for bit
    short = trained(phantom, tmp_path / "short", [0.5, 0.6, 0.45], *chosen, "training.epochs=3")
    for name in ("weights.safetensors", "last/weights.safetensors"):
        assert (made.path / name).read_bytes() == (short.path / name).read_bytes()
    assert (made.path / "weights.safetensors").read_bytes() != (made.path / "last/weights.safetensors").read_bytes()
    assert read_model_card(made.path / "last")["epoch"] == 3
    assert read_model_card(made.path)["epoch"] == 2
    again = trained(phantom, made.path, [], *chosen, resume=True)  # it has ended: nothing is trained
    assert again.metrics() == rows


def test_a_run_that_does_not_collapse_goes_to_its_end(phantom, tmp_path, recwarn):
    made = trained(phantom, tmp_path / "run", [0.6, 0.41, 0.5], "robust_check.collapse=0.2", "training.epochs=3")
    assert len(made.metrics()) == 3
    assert "collapsed_in_epoch" not in made.read()
    assert not [w for w in recwarn if "catastrophic" in str(w.message)]


def test_without_collapse_nothing_stops_it(phantom, tmp_path):
    assert len(trained(phantom, tmp_path / "run", [0.9, 0.0], "training.epochs=2").metrics()) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("select", "epoch"), [("robust_accuracy", 2), ("auroc", 1), ("last", 3)], ids=["robust", "clean", "last"]
)
def test_the_checkpoint_is_the_one_asked_for(phantom, tmp_path, select, epoch):
    made = trained(
        phantom,
        tmp_path / "run",
        [0.1, 0.4, 0.3],
        f"training.select={select}",
        "training.epochs=3",
        clean=[0.9, 0.6, 0.7],
    )
    card = read_model_card(made.path)
    assert card["epoch"] == epoch
    assert card["selected_by"] == ("last epoch" if select == "last" else select)
    last = (made.path / "last" / "weights.safetensors").read_bytes()
    assert ((made.path / "weights.safetensors").read_bytes() == last) == (select == "last")


def test_a_robust_metric_without_the_check_is_refused(phantom, tmp_path):
    with pytest.raises(InputError) as caught:
        run(phantom, tmp_path / "run", "training.select=robust_accuracy", name="standard")
    for part in ("training.select = 'robust_accuracy'", "robust_check", "robust_check.size.linf=0.005"):
        assert part in str(caught.value)
    with pytest.raises(InputError, match="Did you mean 'robust_accuracy'"):
        trained(phantom, tmp_path / "run", [], "training.select=robust_acuracy")
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def learned(phantom, tmp_path_factory):
    """A network that has learned something of the phantom."""
    out = tmp_path_factory.mktemp("runs") / "learned"
    return load_model(run(phantom, out, "training.epochs=15", "optimizer.lr=0.02", name="standard").path)


@pytest.mark.slow
def test_the_attack_raises_the_loss_of_a_network_that_has_learned_and_leaves_it_alone(phantom, learned):
    data = phantom["validation"]
    images = np.stack([np.asarray(data.read(i), dtype=np.uint8).reshape(1, 32, 32) for i in range(len(data))])
    targets = torch.from_numpy(data.targets)

    def loss(logits):
        return float(F.binary_cross_entropy_with_logits(torch.from_numpy(logits), targets))

    def attacked(size, steps):
        settings = RobustCheckSettings.model_validate({"size": {"linf": size}, "steps": steps})
        return attacked_logits(learned, images, data.targets, settings)

    learned.train()
    learned.backbone.norm.eval()
    before, modes = {k: v.clone() for k, v in learned.state_dict().items()}, [m.training for m in learned.modules()]
    weak, strong = attacked(0.01, 1), attacked(0.05, 5)
    assert [m.training for m in learned.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in learned.state_dict().items())
    assert np.array_equal(attacked(0.01, 1), weak)  # the same in every epoch
    clean = predict(learned.eval(), images)
    assert loss(clean) < loss(weak) < loss(strong)
    scorer = ValidationScorer()
    found = [scorer.metrics(logits, data) for logits in (clean, weak, strong)]
    assert found[0]["accuracy"] > found[2]["accuracy"] + 0.05
    assert found[0]["auroc"] > found[2]["auroc"] + 0.1


def test_the_run_says_how_robust_it_is(phantom, tmp_path):
    made = run(phantom, tmp_path / "run", "training.epochs=1", *CHECK, name="standard")
    (row,) = [json.loads(line) for line in (made.path / "metrics.jsonl").read_text().splitlines()]
    assert {"validation_robust_accuracy", "validation_robust_auroc", "validation_accuracy"} <= row.keys()
    assert 0 <= row["validation_robust_accuracy"] <= 1
