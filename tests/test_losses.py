"""Losses against plain transcriptions of their formulas and torch's own; unknown labels; joint batches; constants."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.training.objectives.losses import (
    LOSSES,
    LabelCounts,
    best_constant,
    binary_cross_entropy,
    cross_entropy,
    label_counts,
    label_frequencies,
    resolve_loss,
    weighted_cross_entropy,
)
from pellucid.types import InputError

MULTILABEL = ("binary_cross_entropy", "weighted_cross_entropy")


def labels(seed, n=7, k=4, unknown=0.3):
    generator = torch.Generator().manual_seed(seed)
    targets = (torch.rand(n, k, generator=generator) < 0.3).float()
    targets[torch.rand(n, k, generator=generator) < unknown] = math.nan
    targets[0, 0], targets[0, 1] = 1.0, 0.0
    return torch.randn(n, k, generator=generator) * 3, targets


def wang_sum(logits, targets):
    """Equation 1 of Wang et al. 2017 as it is printed, number by number; unknown labels left out."""
    known = [
        (1 / (1 + math.exp(-float(z))), float(y))
        for z, y in zip(logits.flatten(), targets.flatten(), strict=True)
        if not math.isnan(y)
    ]
    ones, zeros = sum(y == 1 for _, y in known), sum(y == 0 for _, y in known)
    total = ones + zeros
    loss = 0.0
    for f, y in known:
        if y == 1:
            loss += total / ones * -math.log(f)
        else:
            loss += total / zeros * -math.log(1 - f)
    return loss, total


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("unknown", [0.0, 0.4])
def test_weighted_cross_entropy_is_wangs_over_the_number_of_labels(seed, unknown):
    logits, targets = labels(seed, unknown=unknown)
    summed, total = wang_sum(logits, targets)
    assert float(weighted_cross_entropy(logits, targets)) == pytest.approx(summed / total, rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_binary_cross_entropy_is_torchs_on_the_known_labels(seed):
    logits, targets = labels(seed)
    known = ~targets.isnan()
    expected = F.binary_cross_entropy_with_logits(logits[known], targets[known])
    torch.testing.assert_close(binary_cross_entropy(logits, targets), expected)


def test_cross_entropy_is_torchs():
    logits, targets = torch.randn(9, 5), torch.arange(9) % 5
    torch.testing.assert_close(cross_entropy(logits, targets), F.cross_entropy(logits, targets))


@pytest.mark.parametrize("name", MULTILABEL)
def test_unknown_labels_have_no_gradient_at_all(name):
    logits, targets = labels(1)
    logits[0, 2], targets[0, 2] = 1e4, math.nan  # huge where unknown
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(LOSSES[name](logits, targets, None).sum(), logits)
    assert gradient.isfinite().all()
    assert (gradient[targets.isnan()] == 0).all()
    assert (gradient[~targets.isnan()] != 0).all()


@pytest.mark.parametrize("name", MULTILABEL)
@pytest.mark.parametrize("value", [0.0, 1.0, math.nan])
def test_a_batch_of_one_kind_of_label_is_finite(name, value):
    logits = torch.randn(3, 2, requires_grad=True)
    loss = LOSSES[name](logits, torch.full((3, 2), value), None).sum()
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.isfinite().all()
    sign = 1 - 2 * value
    expected = 0.0 if math.isnan(value) else float(F.softplus(sign * logits).mean())
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", MULTILABEL)
def test_extreme_logits_stay_finite(name):
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]])
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert LOSSES[name](logits, targets, None).isfinite().all()


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(MULTILABEL), st.integers(0, 10_000), st.sampled_from([2, 3]))
def test_the_mean_over_processes_with_joint_counts_is_the_loss_of_the_joint_batch(name, seed, processes):
    logits, targets = labels(seed, n=6)
    logits.requires_grad_()
    shares = [label_counts(t) for t in targets.chunk(processes)]
    joint = LabelCounts(*(torch.stack(values).mean(0) for values in zip(*shares, strict=True)))
    parts = [
        LOSSES[name](part, labels_of_part, joint).sum()
        for part, labels_of_part in zip(logits.chunk(processes), targets.chunk(processes), strict=True)
    ]
    whole = LOSSES[name](logits, targets, None).sum()
    torch.testing.assert_close(torch.stack(parts).mean(), whole)
    (expected,) = torch.autograd.grad(whole, logits)
    (found,) = torch.autograd.grad(torch.stack(parts).mean(), logits)
    torch.testing.assert_close(found, expected)


def test_joint_counts_matter():
    """The naive way, every process with its own balance, is another loss: what the counts are for."""
    logits = torch.tensor([[2.0], [1.0], [0.5], [-1.0]])
    targets = torch.tensor([[1.0], [1.0], [1.0], [0.0]])
    naive = (weighted_cross_entropy(logits[:2], targets[:2]) + weighted_cross_entropy(logits[2:], targets[2:])) / 2
    assert abs(float(naive - weighted_cross_entropy(logits, targets))) > 0.01


def test_cross_entropy_over_processes():
    logits, targets = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    counts = label_counts(targets[:3])
    parts = [cross_entropy(logits[:3], targets[:3], counts), cross_entropy(logits[3:], targets[3:], counts)]
    torch.testing.assert_close(torch.stack(parts).mean(), F.cross_entropy(logits, targets))


@pytest.mark.parametrize("name", MULTILABEL)
def test_no_constant_prediction_beats_the_best_one(name):
    _, targets = labels(3, n=40, k=3)
    targets[:, 2] = torch.where(targets[:, 2].isnan(), targets[:, 2], torch.zeros(()))  # a class without positives
    best = best_constant(name, targets)
    grid = np.linspace(0.0005, 0.9995, 1999)
    for k in range(3):
        others = best.clamp(1e-4, 1 - 1e-4)
        values = []
        for p in grid:
            constant = others.clone()
            constant[k] = p
            values.append(float(LOSSES[name](constant.logit().expand_as(targets), targets, None).sum()))
        assert grid[int(np.argmin(values))] == pytest.approx(float(best[k]), abs=1e-3)


def test_the_best_constant_of_a_multiclass_task_is_the_frequencies():
    targets = torch.tensor([0, 0, 1, 0, 1, 0])
    best = best_constant("cross_entropy", targets, 3)
    assert best.tolist() == pytest.approx([4 / 6, 2 / 6, 0.0])
    grid = [p / 100 for p in range(1, 100)]
    losses = [float(F.cross_entropy(torch.tensor([p, 1 - p]).log().expand(6, 2), targets)) for p in grid]
    assert grid[int(np.argmin(losses))] == pytest.approx(float(best[0]), abs=0.01)


def test_a_class_that_does_not_occur_still_has_a_frequency():
    assert label_frequencies(torch.tensor([0, 1, 1]), 4).tolist() == pytest.approx([1 / 3, 2 / 3, 0, 0])
    frequencies = label_frequencies(torch.tensor([[1.0, math.nan], [0.0, math.nan]]))
    assert frequencies[0] == 0.5
    assert frequencies[1].isnan()  # not 0: nothing is known of it


def test_without_any_positive_label_the_best_constant_is_zero():
    assert best_constant("weighted_cross_entropy", torch.zeros(4, 2)).tolist() == [0, 0]
    assert best_constant("weighted_cross_entropy", torch.ones(4, 2)).tolist() == [1, 1]


def test_auto_is_the_plain_loss_of_the_task():
    assert resolve_loss("auto", "multiclass") == "cross_entropy"
    assert resolve_loss("auto", "multilabel") == "binary_cross_entropy"
    assert resolve_loss("weighted_cross_entropy", "multilabel") == "weighted_cross_entropy"


@pytest.mark.parametrize(
    ("name", "task", "fitting"),
    [
        ("weighted_cross_entropy", "multiclass", "use cross_entropy"),
        ("binary_cross_entropy", "multiclass", "positive=NAME"),
        ("cross_entropy", "multilabel", "binary_cross_entropy or weighted_cross_entropy"),
    ],
)
def test_a_loss_for_the_other_task_is_refused_with_the_fitting_one(name, task, fitting):
    with pytest.raises(InputError) as caught:
        resolve_loss(name, task)
    assert name in str(caught.value)
    assert fitting in str(caught.value)
