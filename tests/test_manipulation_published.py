"""The paper's claim on its own networks: the standard one's Grad-CAM can be changed, the robust one's cannot."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pellucid.data import materialize, open_dataset
from pellucid.evaluation.manipulation.attack import manipulate
from pellucid.evaluation.manipulation.settings import Attack
from pellucid.models import load_model
from pellucid.models.inference import as_pixels
from pellucid.models.sources.importing import import_published
from pellucid.types import InputSpec

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def attacked(real_data, tmp_path_factory):
    test = open_dataset("cifar10", real_data)["test"].subset(range(3))
    images = as_pixels(materialize(test, InputSpec.square(3, 32)))
    attack = Attack("grad-cam", "same-decision", (0.005,), steps=6)
    found = {}
    for name in ("standard", "all"):
        folder = tmp_path_factory.mktemp(name)
        import_published("woods2019", real_data / "weights" / f"resnet44-{name}.pt", folder)
        found[name] = manipulate(load_model(folder), images, attack)
    return found


def test_the_robust_networks_explanations_resist_where_the_standard_ones_do_not(attacked):
    alike = {name: found.similarity["rank_correlation"][0] for name, found in attacked.items()}
    assert all(bool(found.constraint_met.all()) for found in attacked.values())
    assert (alike["all"] > 0.95).all()
    assert (alike["standard"] < alike["all"] - 0.2).all()  # after six steps
    for found in attacked.values():
        assert (found.noise["rank_correlation"] > 0.9).all()  # noise of that size does nothing: the attack does


def test_nobody_sees_it(attacked):
    change = attacked["standard"].perturbed[0] - attacked["standard"].images
    assert float(change.abs().max()) < 12 / 255
    assert np.sqrt(float(change.double().square().mean())) <= 0.005
    assert torch.equal(attacked["standard"].decided[0], attacked["standard"].decision.decided)
