"""Attacks beside foolbox's, at equal settings, on a network trained on handwritten digits."""

from __future__ import annotations

import eagerpy as ep
import foolbox
import pytest
import torch
from foolbox.devutils import atleast_kd, flatten
from torch import nn
from torch.nn.functional import cross_entropy

from helpers import attack as example
from pellucid.attacks import Epsilon, Misclassified, Targeted, fgsm, minimal, pgd


class ProjectingFMN(foolbox.attacks.L2FMNAttack):
    """foolbox 3.3.4 multiplies by min(1, ‖δ‖/‖δ‖) where the paper projects onto the ball of radius ε: as published."""

    def project(self, x, x0, epsilon):
        norms = ep.maximum(flatten(x - x0).norms.l2(axis=-1), 1e-12)
        return x0 + (x - x0) * atleast_kd(ep.minimum(1, epsilon / norms), x.ndim)


@pytest.fixture(scope="module", params=[nn.ReLU, nn.Softplus])
def digits(request):
    net, images, labels = example.trained_on_digits(request.param)
    return net, images, labels, foolbox.PyTorchModel(net, bounds=(0, 1))


def distances(perturbed, images):
    return (perturbed.double() - images.double()).pow(2).mean((1, 2, 3)).sqrt()


@pytest.mark.slow
@pytest.mark.parametrize("steps", [20, 100])
@pytest.mark.parametrize(("method", "other"), [("fmn", ProjectingFMN), ("ddn", foolbox.attacks.DDNAttack)])
def test_minimal_attacks_find_what_foolbox_finds(digits, method, other, steps):
    net, images, labels, model = digits
    _, theirs, success = other(steps=steps)(model, images, labels, epsilons=None)
    ours = minimal(net, images, Misclassified(labels), method=method, steps=steps)
    assert success.sum() >= 15
    if method == "fmn":  # as published it waits on the boundary for ever; ours goes on, and finds others too
        assert ours.found[success].all()
        assert ours.found.float().mean() > 0.97
    else:
        assert (ours.found == success).float().mean() > 0.97  # rounding decides what lies on the boundary
    both = ours.found & success
    radius = distances(theirs, images)
    if method == "ddn" or steps == 100:  # of few steps FMN has spent some on what would wait
        assert float(ours.radius[both].mean() / radius[both].mean()) == pytest.approx(1, abs=1e-3)
        assert ((ours.radius / radius)[both] - 1).abs().median() < (1e-4 if method == "fmn" else 1e-5)
    assert ours.gradient_evaluations.tolist() == [steps] * len(images)


@pytest.mark.slow
def test_the_largest_change_is_as_small_as_foolbox_s(digits):
    net, images, labels, model = digits
    _, theirs, success = foolbox.attacks.LInfFMNAttack(steps=40)(model, images, labels, epsilons=None)
    ours = minimal(net, images, Misclassified(labels), method="fmn", steps=40, norm="linf")
    assert ours.found.all()
    both = ours.found & success
    radius = (theirs.double() - images.double()).abs().amax((1, 2, 3))
    assert both.sum() > 20
    assert float(ours.radius[both].mean() / radius[both].mean()) == pytest.approx(1, abs=1e-2)
    tight = minimal(net, images, Misclassified(labels), norm="linf")
    assert tight.found.all()
    assert tight.radius[both].mean() < radius[both].mean()


def test_a_target_class_as_well(digits):
    net, images, labels, model = digits
    targets = (labels + 1) % 10
    criterion = foolbox.criteria.TargetedMisclassification(targets)
    _, theirs, success = foolbox.attacks.DDNAttack(steps=50)(model, images, criterion, epsilons=None)
    ours = minimal(net, images, Targeted(targets), method="ddn", steps=50)
    both = ours.found & success
    assert both.sum() > 20
    assert float((ours.radius[both] / distances(theirs, images)[both]).mean()) == pytest.approx(1, abs=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("size", [0.02, 0.06, 0.12])
@pytest.mark.parametrize("norm", ["linf", "l2", "fgsm"])
def test_robust_accuracy_equals_foolbox_s(digits, norm, size):
    net, images, labels, model = digits
    if norm == "l2":
        size *= 8
        attack = foolbox.attacks.L2PGD(abs_stepsize=size / 4, steps=10, random_start=False)
        ours = pgd(
            net,
            images,
            labels,
            loss=cross_entropy,
            eps=Epsilon(l2=size),
            steps=10,
            step_size=size / 4,
            random_start=False,
        )
    elif norm == "linf":
        attack = foolbox.attacks.LinfPGD(abs_stepsize=size / 4, steps=10, random_start=False)
        ours = pgd(
            net,
            images,
            labels,
            loss=cross_entropy,
            eps=Epsilon(linf=size),
            steps=10,
            step_size=size / 4,
            random_start=False,
        )
    else:
        attack = foolbox.attacks.FGSM()
        ours = fgsm(net, images, labels, loss=cross_entropy, eps=Epsilon(linf=size))
    _, theirs, success = attack(model, images, labels, epsilons=size)
    with torch.no_grad():
        right = net(ours).argmax(1) == labels
    assert torch.equal(right, ~success)
    # a pixel whose gradient is nearly nothing may take either sign
    assert ((ours - theirs).abs() < 1e-4).float().mean() > 0.999


def test_the_sizes_tell_networks_apart(digits):
    """The comparison above is of accuracies between all and nothing."""
    net, images, labels, _ = digits
    rates = []
    for size in (0.02, 0.06, 0.12):
        found = fgsm(net, images, labels, loss=cross_entropy, eps=Epsilon(linf=size))
        rates.append(float((net(found).argmax(1) == labels).float().mean()))
    assert 1 > rates[0] > rates[1] > rates[2]
