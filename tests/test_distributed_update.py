"""Two real processes on gloo end where one process with the joint batch ends: with attack, penalty and its weight."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from helpers.forked import run_together
from pellucid.data import open_dataset
from pellucid.evaluation.metrics.validation import ValidationScorer
from pellucid.training import RunFolder, load_recipe, train

pytestmark = pytest.mark.slow

PHANTOM = {"size": 32, "train": 32, "validation": 8, "test": 4, "prevalence": 0.4}
COMMON = [
    "model.name=small",
    "model.size=32",
    "model.options={widths=[4, 8], blocks=[1, 1], strides=[1, 2], activation='half-huber'}",
    "objective.loss=weighted_cross_entropy",  # whose balance is that of the joint batch
    "optimizer={name='sgd', lr=0.6, momentum=0.9}",
    "schedule={name='constant', warmup=0.0}",
    "training.batch_size=16",
    "training.epochs=5",
    "training.freeze_batch_norm=true",  # it would couple the images of a process
]
PENALTY = "objective.gradient_penalty"
ADAPTIVE = f"{PENALTY}.adaptive={{target_share=0.9999, gain=1.0, fall=0.1}}"
CASES = {
    # Algorithm 1 on half of the images, and the penalty of random outputs, some in tandem
    "exact": [
        "objective.mix=0",
        "objective.attack={method='woods2019', size={rms=0.005}, steps=3, share=0.5}",
        f"{PENALTY}={{method='exact', tandem=0.3, weight=20.0}}",
        ADAPTIVE,
        "model.options.activation='relu'",
    ],
    # what is taken where ReLUs are the only kinks
    "same-side": [f"{PENALTY}={{tandem=0.3, weight=20.0}}", ADAPTIVE, "model.options.activation='relu'"],
    # clean and adversarial images in one batch, and a finite difference of it; its step long, so that it is precise
    "finite-difference": [
        "objective.mix=0.5",
        "objective.attack={method='pgd', size={l2=0.05}, steps=2, random_start=false}",
        f"{PENALTY}={{method='finite-difference', tandem=0.3, weight=20.0, step=0.1}}",
        ADAPTIVE,
    ],
}
SEED = 3
WORKER = """
import json, sys
from pathlib import Path
import torch
from pellucid.data import open_dataset
from pellucid.evaluation.metrics.validation import ValidationScorer
from pellucid.training import load_recipe, train
out, phantom, seed, cases = Path(sys.argv[1]), *map(json.loads, sys.argv[2:])
splits = open_dataset("phantom", options=phantom)
for name, overrides in cases.items():
    recipe = load_recipe("standard", overrides)
    train(recipe, splits["train"], splits["validation"], out / name, scorer=ValidationScorer(), seed=seed, device="cpu")
torch.distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder of the runs of two processes, one after the other."""
    out = tmp_path_factory.mktemp("two")
    cases = {name: [*COMMON, *own] for name, own in CASES.items()}
    run_together(out, *(json.dumps(v) for v in (PHANTOM, SEED, cases)), code=WORKER)
    return out


def alone(out, overrides):
    splits = open_dataset("phantom", options=PHANTOM)
    recipe = load_recipe("standard", overrides)
    scorer = ValidationScorer()
    return train(recipe, splits["train"], splits["validation"], out, scorer=scorer, seed=SEED, device="cpu")


def last(run):
    return {k: v for k, v in load_file(run.path / "last" / "weights.safetensors").items() if v.is_floating_point()}


@pytest.mark.parametrize("case", CASES)
def test_two_processes_make_the_update_of_one(two, tmp_path, case):
    overrides = [*COMMON, *CASES[case]]
    one, both = alone(tmp_path / "one", overrides), RunFolder(two / case)
    assert both.read()["processes"] == 2
    assert both.read()["penalty_method"]["name"] == one.read()["penalty_method"]["name"] == case
    assert one.read()["processes"] == 1
    ours, theirs = last(one), last(both)
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=1e-5, atol=1e-5, msg=name)
    for row, same in zip(one.metrics(), both.metrics(), strict=True):
        for name in (
            "loss",
            "loss_task",
            "gradient_penalty",
            "penalty_weight",
            "tandem_share",
            "penalty_weight_at_end",
        ):
            assert same[name] == pytest.approx(row[name], rel=1e-4), name
        assert 0 < row["tandem_share"] < 1
    assert one.metrics()[-1]["penalty_weight_at_end"] > 20  # ψ moved
    # what is compared is more than the tolerance: other draws, or no penalty, would be seen
    plain = last(alone(tmp_path / "plain", [*COMMON, *CASES[case][:2]]))
    assert max(float((plain[k] - v).abs().max()) for k, v in ours.items()) > 1e-3
