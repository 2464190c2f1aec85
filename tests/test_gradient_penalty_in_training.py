"""Gradient penalties of networks in training: batch norm that couples the images, dropout, and mixed precision."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from helpers.penalty import cosine, parameter_gradient, smooth_network, some_images
from pellucid.data import materialize, open_dataset
from pellucid.models import create_model
from pellucid.models.inference import as_pixels
from pellucid.models.sources.woods2019 import read_woods2019
from pellucid.training import Objective
from pellucid.training.distributed import BatchRandom
from pellucid.training.objectives.gradient_penalty import PenaltySettings, gradient_penalty
from pellucid.training.objectives.replayable import ReplayableForward
from pellucid.training.recipe import ObjectiveSettings
from pellucid.types import Batch, InputSpec


@pytest.fixture
def fresh():
    """The paper's kind of network, a block a stage, with half-Huber ReLUs, in training mode."""
    torch.manual_seed(0)
    options = {"classes": list("abcdefghij"), "task": "multiclass", "in_channels": 3, "size": 32}
    return create_model("resnet44", blocks=[1, 1, 1], activation="half-huber", **options).train()


@pytest.fixture(scope="module")
def photographs(real_data):
    """Sixteen real images (16, 3, 32, 32), and their labels."""
    test = open_dataset("cifar10", real_data)["test"].limit(16, seed=0)
    return as_pixels(materialize(test, InputSpec.square(3, 32))), torch.from_numpy(test.targets)


def both_methods(net, images, labels, *, seed=0, **settings):
    """Value and parameter gradient of both methods, of one forward pass."""
    images = images.clone().requires_grad_()
    network = ReplayableForward(net)
    logits = network(images)
    found = {}
    for method in ("exact", "finite-difference"):
        chosen = PenaltySettings(tandem=0.2, method=method, **settings)
        value = gradient_penalty(
            network, images, logits, labels, chosen, task="multiclass", random=BatchRandom(seed)
        ).value
        found[method] = value, parameter_gradient(value, net)
    return found


def buffers(net):
    return {name: tensor.clone() for name, tensor in net.named_buffers()}


def test_batch_norm_in_training_mode_couples_the_images(fresh, photographs):
    """The exact method differentiates the sum over the batch, as the paper's code does, not each image by itself."""
    images, labels = photographs[0].clone().requires_grad_(), photographs[1]
    network = ReplayableForward(fresh)
    logits = network(images)
    found = gradient_penalty(
        network, images, logits, labels, PenaltySettings(method="exact"), task="multiclass", random=BatchRandom(3)
    )
    chosen = BatchRandom(3).uniform(16, 10).argmax(1)
    (slope,) = torch.autograd.grad(logits.gather(1, chosen[:, None]).sum(), images, create_graph=True)
    value = slope.square().mean()
    torch.testing.assert_close(found.value, value)
    torch.testing.assert_close(parameter_gradient(found.value, fresh), parameter_gradient(value, fresh))
    own = [torch.autograd.grad(logits[b, chosen[b]], images, retain_graph=True)[0][b] for b in range(16)]
    assert float(torch.stack(own).square().mean()) != pytest.approx(float(value.detach()), rel=1e-3)


@pytest.mark.parametrize("power", [1.5, 2.0])
def test_the_finite_difference_of_a_fresh_network(fresh, photographs, power):
    found = both_methods(fresh, *photographs, power=power)
    torch.testing.assert_close(found["finite-difference"][0], found["exact"][0])
    one, other = found["finite-difference"][1], found["exact"][1]
    assert cosine(one, other) >= 0.999
    assert float(one.norm() / other.norm()) == pytest.approx(1, abs=0.01)


@pytest.mark.slow
def test_the_finite_difference_of_the_published_network(real_data, photographs):
    net, _ = read_woods2019(real_data / "weights" / "resnet44-all.pt")
    found = both_methods(net.train(), *photographs)
    torch.testing.assert_close(found["finite-difference"][0], found["exact"][0])
    one, other = found["finite-difference"][1], found["exact"][1]
    assert cosine(one, other) >= 0.99
    assert float(one.norm() / other.norm()) == pytest.approx(1, abs=0.05)


def test_the_second_pass_leaves_no_trace_on_running_statistics(fresh, photographs):
    images, labels = photographs[0].clone().requires_grad_(), photographs[1]
    before = buffers(fresh)
    network = ReplayableForward(fresh)
    logits = network(images)
    once, chance = buffers(fresh), torch.get_rng_state()
    assert any(not torch.equal(once[name], before[name]) for name in once)  # the first pass does count
    gradient_penalty(network, images, logits, labels, PenaltySettings(), task="multiclass")
    assert all(torch.equal(tensor, once[name]) for name, tensor in fresh.named_buffers())
    assert torch.equal(torch.get_rng_state(), chance)
    assert all(m.training and getattr(m, "track_running_stats", True) for m in fresh.modules())


def test_the_second_pass_drops_the_same_features():
    net, labels = smooth_network(dropout=0.5).train(), torch.tensor([0, 3, 1, 1, 2])
    torch.manual_seed(4)
    found = both_methods(net, some_images(), labels, step=1e-5)
    one, other = found["finite-difference"][1], found["exact"][1]
    assert float((one - other).norm() / other.norm()) < 1e-4
    torch.manual_seed(5)
    another = both_methods(net, some_images(), labels, step=1e-5)["exact"][1]
    assert cosine(another, other) < 0.99  # other features dropped, another gradient


@pytest.mark.slow
def test_mixed_precision_stays_out_of_the_finite_difference(fresh, photographs):
    images, labels = photographs
    batch = Batch(images, labels, torch.arange(16))

    def gradient(method, precise):
        settings = ObjectiveSettings.model_validate({"gradient_penalty": {"method": method, "weight": 1e6}})
        objective = Objective(fresh, settings, labels)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not precise):
            total, parts = objective(batch, random=BatchRandom(0))
        assert total.dtype == torch.float32
        # the penalty has most of the gradient: else its part would not be seen in the whole
        share = float(parts["gradient_penalty"] * parts["penalty_weight"])
        assert share > float(parts["loss_task"])
        return parameter_gradient(total, fresh)

    reference = gradient("finite-difference", True)
    assert cosine(gradient("finite-difference", False), reference) >= 0.99
    assert cosine(gradient("exact", True), reference) >= 0.99
    assert not torch.equal(gradient("exact", False), gradient("exact", True))  # it does run in bfloat16


@pytest.mark.slow
def test_a_finite_difference_in_bfloat16_would_be_noise(fresh, photographs):
    """Why mixed precision stays out: the difference of nearly equal numbers is lost in their rounding."""
    images, labels = photographs[0].clone().requires_grad_(), photographs[1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network = ReplayableForward(fresh)
        logits = network(images)
        found = {
            method: gradient_penalty(
                network,
                images,
                logits,
                labels,
                PenaltySettings(method=method),
                task="multiclass",
                random=BatchRandom(0),
            ).value
            for method in ("exact", "finite-difference")
        }
    gradients = [parameter_gradient(value, fresh) for value in found.values()]
    assert cosine(*gradients) < 0.9
    assert F.mse_loss(*found.values()) < 1e-3 * found["exact"].square()  # its value would not tell
