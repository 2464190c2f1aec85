"""Every method for the smallest perturbation: what it promises, on small networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from helpers import attack as example
from pellucid.attacks import (
    METHODS,
    Misclassified,
    Targeted,
    confidence,
    engine,
    label_flipped,
    minimal,
    worse_than_constant,
    worse_than_random,
)
from pellucid.attacks.attack_state import AttackState
from pellucid.utils.progress import reporting_to

ALL = pytest.mark.parametrize("method", list(METHODS))
ONE = torch.tensor([1, 0, 2, 1, 3, 0])
PRESENT = torch.tensor([True, False, True, False, True, False])


def outputs(net, images):
    with torch.no_grad():
        return torch.cat([net(image[None]) for image in images])


def others(logits):
    return logits.topk(2).indices[:, 1]


CRITERIA = {
    "misclassified": ("multiclass", lambda f: Misclassified(f.argmax(1))),
    "some wrong from the start": ("multiclass", lambda f: Misclassified(torch.where(PRESENT, f.argmax(1), others(f)))),
    "targeted": ("multiclass", lambda f: Targeted(others(f))),
    "worse than random": ("multiclass", lambda f: worse_than_random(f.argmax(1), f.shape[1])),
    "worse than constant": (
        "multiclass",
        lambda f: worse_than_constant(f.argmax(1), [0.4, 0.3, 0.2, 0.1], task="multiclass"),
    ),
    "confidence": ("multiclass", lambda f: confidence(others(f), 0.6, task="multiclass")),
    "label flipped": ("multilabel", lambda f: label_flipped(ONE, f.gather(1, ONE[:, None])[:, 0] > 0, [0.5] * 4)),
    "label worse than constant": (
        "multilabel",
        lambda f: worse_than_constant(ONE, [0.4, 0.3, 0.2, 0.1], task="multilabel", present=PRESENT),
    ),
    "label's confidence": ("multilabel", lambda f: confidence(ONE, 0.7, task="multilabel", rising=PRESENT)),
}


@pytest.mark.slow
@ALL
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("case", list(CRITERIA))
def test_what_is_found_is_so_and_what_is_not_is_said(method, channels, case):
    task, make = CRITERIA[case]
    net = example.network(channels=channels, task=task)
    images = example.pictures(channels=channels)
    criterion = make(outputs(net, images))
    result = minimal(net, images, criterion, method=method, box=True, **example.FEW[method])

    still = torch.zeros_like(images)
    assert torch.equal(result.met_at_start, criterion.is_satisfied(outputs(net, images), still))
    found, attacked = result.found, ~result.met_at_start
    assert (found & attacked).any()  # or the rest would say nothing
    assert found[result.met_at_start].all()
    margin = criterion.margin(outputs(net, result.perturbed))
    assert (margin[found] <= 1e-5).all()
    assert torch.equal(result.perturbed[~attacked | ~found], images[~attacked | ~found])
    assert (result.perturbed >= 0).all()
    assert (result.perturbed <= 1).all()
    moved = (result.perturbed.double() - images.double()).numpy().reshape(len(images), -1)
    np.testing.assert_allclose(result.radius[found], np.sqrt((moved**2).mean(1))[found], rtol=1e-12)
    assert (result.radius[found & attacked] > 0).all()
    assert result.radius[~found].isnan().all()
    assert ((result.first_met >= 0) == found).all()
    assert (result.first_met[found & attacked] <= result.gradient_evaluations[found & attacked]).all()
    assert result.method == method


@pytest.mark.slow
@ALL
def test_where_nothing_can_be_found_no_radius_is_handed_out(method):
    net = example.network()
    net.module[-1].weight.data.zero_()
    net.module[-1].bias.data.copy_(torch.tensor([1.0, 0, 0, 0]))
    images = example.pictures()
    result = minimal(net, images, Misclassified(torch.tensor([0, 0, 1, 0, 0, 0])), method=method, **example.FEW[method])
    assert result.found.tolist() == [False, False, True, False, False, False]
    assert result.radius.isnan().tolist() == [True, True, False, True, True, True]
    assert torch.equal(result.perturbed, images)
    assert result.first_met.tolist() == [-1, -1, 0, -1, -1, -1]


@ALL
def test_images_that_meet_it_cost_one_forward_pass(method):
    net, images = example.network(), example.pictures()
    wrong = others(outputs(net, images))
    counting = example.Counting(net)
    result = minimal(counting, images, Misclassified(wrong), method=method, batch_size=4)
    assert result.forward_passes.tolist() == [1] * 6
    assert result.gradient_evaluations.tolist() == [0] * 6
    assert result.radius.tolist() == [0.0] * 6
    assert result.gradient_evaluations_per_image == result.gradient_evaluations_per_attacked == 0
    assert (counting.forward_rows, counting.backward_rows) == (6 + 1, 0)  # one image more: the look before the work


@pytest.mark.slow
@ALL
@pytest.mark.parametrize("alone", [True, False])
def test_the_counts_are_those_that_the_network_sees(method, alone):
    net, images = example.network(), example.pictures()
    logits = outputs(net, images)
    labels = torch.where(torch.arange(6) == 2, others(logits), logits.argmax(1))
    for rows in torch.arange(6).split(1 if alone else 6):
        counting = example.Counting(net)
        criterion = Misclassified(labels[rows])
        result = minimal(counting, images[rows], criterion, method=method, batch_size=6, **example.FEW[method])
        assert counting.backward_rows == int(result.gradient_evaluations.sum())
        assert counting.forward_rows == int(result.forward_passes.sum()) + 1
        assert (result.forward_passes > result.gradient_evaluations).all()
        assert (result.forward_passes[result.met_at_start] == 1).all()


@ALL
@pytest.mark.parametrize("call", [None, 1, 2, 3, 9])
def test_no_trace_is_left_on_the_classifier(method, call):
    net, images = example.network(), example.pictures()
    labels = outputs(net, images).argmax(1)
    net.train()
    net.module[0].eval()
    net.module[3].weight.requires_grad_(False)
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    failing = example.Failing(net, call or -1)
    before, kept = example.snapshot(failing), images.clone()
    if call is None:
        minimal(failing, images, Misclassified(labels), method=method, **example.FEW[method])
    else:
        with pytest.raises(ZeroDivisionError):
            minimal(failing, images, Misclassified(labels), method=method, **example.FEW[method])
    example.assert_same(before, example.snapshot(failing))
    assert torch.equal(images, kept)


@pytest.mark.slow
@ALL
def test_the_seed_alone_decides(method):
    net, images = example.network(), example.pictures()
    criterion = Misclassified(outputs(net, images).argmax(1))
    saturated = example.Scaled(net, 1e5)  # the gradient of its cross entropy vanishes, so that chance may come in

    def run(state, seed):
        torch.manual_seed(state)
        result = minimal(saturated, images, criterion, method=method, seed=seed, **example.FEW[method])
        assert torch.equal(torch.get_rng_state(), torch.Generator().manual_seed(state).get_state())
        return result.perturbed

    assert torch.equal(run(1, seed=7), run(2, seed=7))
    if method == "ddn":
        assert not torch.equal(run(1, seed=7), run(1, seed=8))


@pytest.mark.slow
@ALL
def test_batches_do_not_change_what_is_found(method, monkeypatch):
    net, images = example.network(dtype=torch.float64), example.pictures(dtype=torch.float64)
    criterion = Misclassified(outputs(net, images).argmax(1))
    seen = []

    def run(**options):
        seen.clear()
        with reporting_to(lambda count, _: seen.append(count)):
            return minimal(net, images, criterion, method=method, **example.FEW[method], **options)

    whole = run()
    assert seen == [6]
    parts = [run(batch_size=4)]
    assert seen == [4, 2]
    monkeypatch.setattr(engine, "CPU_BUDGET", 1)  # bytes
    parts.append(run())
    assert seen == [1] * 6
    for part in parts:
        assert torch.equal(part.found, whole.found)
        torch.testing.assert_close(part.radius, whole.radius, rtol=1e-6, atol=0, equal_nan=True)
        assert torch.equal(part.gradient_evaluations, whole.gradient_evaluations)


@ALL
def test_double_precision_stays_double(method):
    net, images = example.network(dtype=torch.float64), example.pictures(dtype=torch.float64)
    result = minimal(net, images, Misclassified(outputs(net, images).argmax(1)), method=method, **example.FEW[method])
    assert result.perturbed.dtype == result.radius.dtype == torch.float64
    assert result.found.any()


@pytest.mark.slow
@ALL
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_attacks_work_where_gradients_are_off(method, mode):
    net, images = example.network(), example.pictures()
    criterion = Misclassified(outputs(net, images).argmax(1))
    expected = minimal(net, images, criterion, method=method, **example.FEW[method])
    with mode():
        found = minimal(net, images, criterion, method=method, **example.FEW[method])
    assert torch.equal(found.perturbed, expected.perturbed)


@ALL
def test_results_carry_no_graph(method):
    net, images = example.network(), example.pictures()
    criterion = Misclassified(outputs(net, images).argmax(1))
    result = minimal(net, images.requires_grad_(True), criterion, method=method, **example.FEW[method])
    assert not result.perturbed.requires_grad
    assert not result.radius.requires_grad
    assert images.grad is None


def linear(seed, classes, task="multiclass"):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(classes, 64, generator=generator, dtype=torch.float64)
    images = torch.rand(5, 1, 8, 8, generator=generator, dtype=torch.float64)
    return example.Linear(weight, 0.3 * torch.randn(classes, generator=generator, dtype=torch.float64), task), images


CLOSE = {"tight": 1.02, "fmn": 1.02, "ddn": 1.05, "woods2019": 1.3}


@ALL
@pytest.mark.parametrize("classes", [2, 5])
def test_on_a_linear_network_the_distance_to_the_nearest_class_is_known(method, classes):
    net, images = linear(0, classes)
    logits = outputs(net, images)
    labels = logits.argmax(1)
    distance = torch.full((5,), math.inf, dtype=torch.float64)
    for i, label in enumerate(labels.tolist()):
        for j in set(range(classes)) - {label}:
            gap = (logits[i, label] - logits[i, j]) / (net.weight[label] - net.weight[j]).detach().norm()
            distance[i] = min(distance[i], gap / 8)
    result = minimal(net, images, Misclassified(labels), method=method, box=False)
    assert result.found.all()
    assert (result.radius >= distance * (1 - 1e-9)).all()
    assert (result.radius.mean() / distance.mean()) <= CLOSE[method]


@pytest.mark.parametrize("norm", ["rms", "linf"])
@pytest.mark.parametrize("method", ["tight", "fmn"])
def test_a_linear_boundary_that_is_hit_exactly_is_crossed(method, norm):
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        net = example.Linear(torch.randn(2, 16, generator=generator), torch.randn(2, generator=generator), "multiclass")
        images = 0.25 + 0.5 * torch.rand(1, 1, 4, 4, generator=generator)
        logits = outputs(net, images)[0]
        label = logits.argmax(0, keepdim=True)
        slope = (net.weight[0] - net.weight[1]).detach()
        toward = 0.25 * slope.sign() * (2 * label - 1)  # nothing leaves the pixel box within this
        if abs(logits[0] - logits[1]) < abs(slope @ toward):
            result = minimal(net, images, Misclassified(label), method=method, norm=norm)
            assert result.found.all()


@ALL
def test_on_a_linear_network_the_distance_to_a_label_s_threshold_is_known(method):
    net, images = linear(1, 3, "multilabel")
    labels, thresholds = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([0.3, 0.5, 0.8], dtype=torch.float64)
    own = outputs(net, images).gather(1, labels[:, None])[:, 0]
    bound = (thresholds / (1 - thresholds)).log()[labels]
    result = minimal(net, images, label_flipped(labels, own > bound, thresholds), method=method, box=False)
    distance = (own - bound).abs() / net.weight.detach()[labels].norm(dim=1) / 8
    assert result.found.all()
    assert (result.radius >= distance * (1 - 1e-9)).all()
    assert (result.radius.mean() / distance.mean()) <= CLOSE[method]


class Watched(AttackState):
    """Notes the best radius after every look."""

    def evaluate(self, *arguments, **options):
        seen = super().evaluate(*arguments, **options)
        self.history = [*getattr(self, "history", []), self.radius.clone()]
        return seen


@pytest.mark.slow
@settings(deadline=None, max_examples=8)
@given(st.integers(0, 10**6), st.sampled_from(list(METHODS)), st.booleans(), st.sampled_from([nn.ReLU, nn.Softplus]))
def test_the_best_radius_never_grows_and_is_that_of_the_best(seed, method, box, activation):
    net, images = example.network(seed=seed, activation=activation), example.pictures(seed=seed)
    criterion = Misclassified(outputs(net, images).argmax(1))
    search = Watched(net, images, criterion, box=box)
    METHODS[method].algorithm(search, **example.FEW[method])
    history = torch.stack(search.history)
    assert (history[1:] <= history[:-1]).all()
    found = search.radius.isfinite()
    actual = (search.best - images).flatten(1).norm(dim=1) / math.sqrt(images[0].numel())
    torch.testing.assert_close(search.radius[found], actual[found])
    assert (criterion.margin(outputs(net, search.best))[found] <= 1e-5).all()
    if box:
        assert (search.best >= 0).all()
        assert (search.best <= 1).all()


# Run this alone with -k scale_of_the_logits.
@pytest.mark.slow
@settings(deadline=None, max_examples=8)
@given(st.integers(0, 10**6), st.integers(-20, 20), st.sampled_from(["tight", "fmn"]))
def test_the_scale_of_the_logits_does_not_change_what_margin_methods_find(seed, exponent, method):
    net, images = example.network(seed=seed), example.pictures(seed=seed)
    criterion = Misclassified(outputs(net, images).argmax(1))
    plain = minimal(net, images, criterion, method=method, **example.FEW[method])
    # a power of two scales without rounding: what differs is the method's doing
    scaled = minimal(example.Scaled(net, 2.0**exponent), images, criterion, method=method, **example.FEW[method])
    assert torch.equal(plain.found, scaled.found)
    assert torch.equal(plain.perturbed, scaled.perturbed)
    assert torch.equal(plain.gradient_evaluations, scaled.gradient_evaluations)
