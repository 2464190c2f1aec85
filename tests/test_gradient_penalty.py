"""Gradient penalties beside per-sample Jacobians of torch.func: value, parameter gradient, and expectation."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from helpers.penalty import CLASSES, jacobians, parameter_gradient, smooth_network, some_images
from pellucid.training.distributed import BatchRandom
from pellucid.training.objectives.gradient_penalty import PenaltySettings, gradient_penalty
from pellucid.training.objectives.replayable import ReplayableForward
from pellucid.types import InputError

LABELS = torch.tensor([0, 3, 1, 1, 2])
nan = math.nan
MANY = torch.tensor(
    [[1, 0, nan, 0], [nan, nan, nan, nan], [1, 1, nan, 1], [0, nan, 1, 1], [nan, nan, 0, nan]], dtype=torch.float64
)
METHODS = ("exact", "finite-difference")


def penalty(net, images, targets, *, seed=0, losses=None, **settings):
    """The penalty, and its gradient by the parameters."""
    if settings.get("method") != "exact":
        settings.setdefault("step", 1e-5)
    images = images.clone().requires_grad_()
    network = ReplayableForward(net)
    task = "multilabel" if targets.is_floating_point() else "multiclass"
    found = gradient_penalty(
        network,
        images,
        network(images),
        targets,
        PenaltySettings(**settings),
        task=task,
        random=BatchRandom(seed),
        losses=losses,
    )
    return found, parameter_gradient(found.value, net)


def by_jacobians(net, images, directions, power):
    """(1 / (R N n)) Σ |Σ_k d_k ∂f_k/∂x|^z for directions (R, N, K), and its parameter gradient by torch.func."""

    def value(parameters):
        slopes = torch.einsum("rnk,nkchw->rnchw", directions, jacobians(net, images, parameters))
        return slopes.abs().pow(power).mean()

    parameters = dict(net.named_parameters())
    slope = torch.func.grad(value)(parameters)
    return value(parameters), torch.cat([slope[name].flatten() for name in parameters])


def drawn(seed, logits, targets, zeta):
    """The outputs that the draws of a step mean, image by image; and how many are in tandem."""
    chance = BatchRandom(seed)
    draws, coin = chance.uniform(*logits.shape), chance.uniform(len(logits))
    directions, tandem = torch.zeros(1, *logits.shape, dtype=logits.dtype), 0
    for b in range(len(logits)):
        if targets.is_floating_point():
            present = [k for k in range(CLASSES) if targets[b, k] == 1]
            absent = [k for k in range(CLASSES) if targets[b, k] == 0]
        else:
            present, absent = [int(targets[b])], [k for k in range(CLASSES) if k != targets[b]]
        fair = range(CLASSES) if not targets.is_floating_point() else present + absent
        if coin[b] < zeta and present and absent:
            tandem += 1
            directions[0, b, max(present, key=lambda k: draws[b, k])] = 1
            directions[0, b, max(absent, key=lambda k: logits[b, k])] = -1
        elif fair:
            directions[0, b, max(fair, key=lambda k: draws[b, k])] = 1
    return directions, tandem / len(logits)


def close(found, expected, method):
    """A finite difference is as near as its step is short."""
    apart = torch.linalg.vector_norm(found - expected) / torch.linalg.vector_norm(expected)
    assert float(apart.detach()) < (1e-9 if method == "exact" else 1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("power", [1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("targets", [LABELS, MANY], ids=["multiclass", "multilabel"])
def test_random_outputs_and_tandem(method, power, targets):
    net, images = smooth_network(), some_images()
    shares = set()
    for seed in range(4):
        directions, share = drawn(seed, net(images).detach(), targets, 0.5)
        value, slope = by_jacobians(net, images, directions, power)
        found, gradient = penalty(net, images, targets, seed=seed, tandem=0.5, power=power, method=method)
        close(found.value, value, "exact")  # a finite difference is of the gradient alone
        close(gradient, slope, method)
        assert float(found.tandem) == pytest.approx(share)
        shares.add(round(share, 3))
    assert len(shares) > 1  # both kinds were there


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
def test_all_outputs(method, reduction, power):
    net, images = smooth_network(), some_images()
    directions = torch.eye(CLASSES, dtype=torch.float64)[:, None].expand(-1, len(images), -1)
    value, slope = by_jacobians(net, images, directions, power)
    scale = CLASSES * images[0].numel() if reduction == "sum" else 1
    found, gradient = penalty(net, images, LABELS, outputs="all", power=power, reduction=reduction, method=method)
    close(found.value, scale * value, "exact")
    close(gradient / scale, slope, method)
    if reduction == "sum" and power == 2:
        frobenius = jacobians(net, images).flatten(1).square().sum(1).mean()
        torch.testing.assert_close(found.value, frobenius)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_projections(method, reduction):
    net, images = smooth_network(), some_images()
    directions = BatchRandom(6).normal(len(images), 3, CLASSES).double()
    directions = torch.stack([F.normalize(directions[:, r], dim=1) for r in range(3)])
    value, slope = by_jacobians(net, images, directions, 2)
    scale = CLASSES * images[0].numel() if reduction == "sum" else 1
    chosen = {"outputs": "projections", "projections": 3, "reduction": reduction, "method": method}
    found, gradient = penalty(net, images, LABELS, seed=6, **chosen)
    close(found.value, scale * value, "exact")
    close(gradient / scale, slope, method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_the_loss(method, reduction, power):
    """Ross & Doshi-Velez's: each image's own loss, whatever the size of the batch."""
    net, images = smooth_network(), some_images()

    def value(parameters):
        def loss(x, y):
            return F.cross_entropy(functional_call(net, parameters, (x[None],)), y[None])

        slopes = torch.func.vmap(torch.func.grad(loss))(images, LABELS)
        return slopes.abs().pow(power).flatten(1).sum(1).mean() / (images[0].numel() if reduction == "mean" else 1)

    parameters = dict(net.named_parameters())
    slope = torch.func.grad(value)(parameters)
    chosen = {"outputs": "loss", "power": power, "reduction": reduction, "method": method}
    found, gradient = penalty(
        net, images, LABELS, losses=lambda f: F.cross_entropy(f, LABELS, reduction="none") / len(images), **chosen
    )
    close(found.value, value(parameters), "exact")
    close(gradient, torch.cat([slope[name].flatten() for name in parameters]), method)


@pytest.mark.parametrize(
    "chosen",
    [
        {"outputs": "random"},
        {"outputs": "projections"},
        {"outputs": "projections", "projections": 3},
    ],
    ids=["random", "one projection", "three projections"],
)
def test_an_estimators_expectation_is_the_full_sum(chosen):
    net, images = smooth_network(), some_images()
    with torch.no_grad():
        net[-1].weight[0] *= 3  # outputs that differ
    whole, slope = penalty(net, images, LABELS, outputs="all", method="exact")
    values, slopes = [], []
    for seed in range(400):
        found, gradient = penalty(net, images, LABELS, seed=seed, method="exact", **chosen)
        values.append(float(found.value.detach()))
        slopes.append(gradient @ slope / (slope @ slope))  # 1 on average if the gradient is unbiased too
    for found, expected in ((torch.tensor(values), float(whole.value.detach())), (torch.stack(slopes), 1.0)):
        error = float(found.std()) / len(found) ** 0.5
        assert 0 < error < 0.05 * expected  # else the next line could not fail
        assert float(found.mean()) == pytest.approx(expected, abs=3.5 * error)


@pytest.mark.parametrize("method", METHODS)
def test_tandem_as_often_as_it_is_asked_for(method):
    net, images = smooth_network(), some_images(50)
    labels = torch.arange(50) % CLASSES
    shares = [float(penalty(net, images, labels, seed=s, tandem=0.2, method=method)[0].tandem) for s in range(20)]
    assert sum(shares) / 20 == pytest.approx(0.2, abs=0.04)  # of 1000 images; their deviation is 0.013
    assert float(penalty(net, images, labels, tandem=0.0)[0].tandem) == 0
    assert float(penalty(net, images, labels, tandem=1.0)[0].tandem) == 1


@pytest.mark.parametrize("method", METHODS)
def test_without_known_labels_there_is_nothing_to_penalise(method):
    found, gradient = penalty(smooth_network(), some_images(), torch.full((5, CLASSES), nan), tandem=0.5, method=method)
    assert float(found.value.detach()) == 0
    assert float(found.tandem) == 0
    assert not gradient.any()


def test_images_that_require_no_gradient_are_refused():
    net, images = smooth_network(), some_images()
    chosen = {"task": "multiclass", "settings": PenaltySettings()}
    with pytest.raises(InputError, match=r"images\.requires_grad_\(\)"):
        gradient_penalty(ReplayableForward(net), images, net(images), LABELS, **chosen)
