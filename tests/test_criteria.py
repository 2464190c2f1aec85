"""Criteria against direct definitions, with softmax and sigmoid computed once more."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.attacks import (
    Criterion,
    Misclassified,
    RadiusReached,
    Targeted,
    confidence,
    label_flipped,
    worse_than_constant,
    worse_than_random,
)
from pellucid.attacks.criterion import log_odds
from pellucid.types import InputError

STILL = torch.zeros(1, 1, 1, 1)
logit_rows = st.integers(2, 6).flatmap(
    lambda k: st.lists(st.lists(st.floats(-100, 100), min_size=k, max_size=k), min_size=1, max_size=5)
)


def probability(row, index, task):
    """Of one class of one row of logits, in plain Python."""
    if task == "multilabel":
        return 1 / (1 + math.exp(-row[index]))
    top = max(row)
    return math.exp(row[index] - top) / sum(math.exp(v - top) for v in row)


def complement(row, index, task):
    """One less the probability, without cancellation."""
    if task == "multilabel":
        return 1 / (1 + math.exp(row[index]))
    top = max(row)
    return sum(math.exp(v - top) for j, v in enumerate(row) if j != index) / sum(math.exp(v - top) for v in row)


def pick(rows, seed):
    """One class per row."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(len(rows[0]), (len(rows),), generator=generator)


@settings(deadline=None, max_examples=60)
@given(logit_rows, st.integers(0, 1000))
def test_misclassified_and_targeted(rows, seed):
    indices, logits = pick(rows, seed), torch.tensor(rows, dtype=torch.float64)
    away, to = Misclassified(indices), Targeted(indices)
    for i, (row, own) in enumerate(zip(rows, indices.tolist(), strict=True)):
        rest = max(v for j, v in enumerate(row) if j != own)
        first = row.index(max(row))  # the first of equals, as argmax
        assert bool(away.is_satisfied(logits, STILL)[i]) == (first != own)
        assert bool(to.is_satisfied(logits, STILL)[i]) == (first == own)
        assert float(away.margin(logits)[i]) == row[own] - rest
        assert float(to.margin(logits)[i]) == rest - row[own]
        loss = math.log(sum(math.exp(v - max(row)) for v in row)) + max(row) - row[own]
        assert float(away.loss(logits)[i]) == pytest.approx(loss, abs=1e-9)
        assert float(to.loss(logits)[i]) == pytest.approx(-loss, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(logit_rows, st.integers(0, 1000), st.floats(0.01, 0.99), st.sampled_from(["multiclass", "multilabel"]))
def test_confidence(rows, seed, level, task):
    indices, logits = pick(rows, seed), torch.tensor(rows, dtype=torch.float64)
    up = confidence(indices, level, task=task)
    down = confidence(indices, level, task=task, rising=False)
    gaps = []
    for i, (row, own) in enumerate(zip(rows, indices.tolist(), strict=True)):
        p, q = probability(row, own, task), complement(row, own, task)
        gaps.append(math.log(p / q) - math.log(level / (1 - level)))
        assert float(up.margin(logits)[i]) == pytest.approx(-gaps[-1], abs=1e-9)
        assert float(down.margin(logits)[i]) == pytest.approx(gaps[-1], abs=1e-9)
        if abs(gaps[-1]) > 1e-9:
            assert bool(up.is_satisfied(logits, STILL)[i]) == (p >= level)
            assert bool(down.is_satisfied(logits, STILL)[i]) == (p <= level)
        if task == "multiclass":
            expected_up, expected_down = math.log(p), -math.log(p)
        else:  # the probability that is to grow, so that the gradient does not vanish where the climb begins
            expected_up, expected_down = math.log(p), math.log(q)
        assert float(up.loss(logits)[i]) == pytest.approx(expected_up, abs=1e-8)
        assert float(down.loss(logits)[i]) == pytest.approx(expected_down, abs=1e-8)


@settings(deadline=None, max_examples=60)
@given(logit_rows, st.integers(0, 1000))
def test_the_smooth_margin_is_a_log_sum_exp_at_a_fifth_of_the_deviation(rows, seed):
    indices, logits = pick(rows, seed), torch.tensor(rows, dtype=torch.float64)
    away, to = Misclassified(indices), Targeted(indices)
    for i, (row, own) in enumerate(zip(rows, indices.tolist(), strict=True)):
        others = [v for j, v in enumerate(row) if j != own]
        spread = 0.2 * statistics.stdev(row)
        top = max(others)
        smooth = top if spread < 1e-300 else top + spread * math.log(sum(math.exp((v - top) / spread) for v in others))
        assert float(away.smooth_margin(logits)[i]) == pytest.approx(row[own] - smooth, abs=1e-9)
        assert float(to.smooth_margin(logits)[i]) == pytest.approx(smooth - row[own], abs=1e-9)


def test_only_a_probability_among_several_classes_is_far():
    expected = {"random": True, "constant": True, "rising": True, "both ways": True}
    for name, (_, criterion) in every_criterion().items():
        assert criterion.multi_start == expected.get(name, False), name


def test_a_label_is_flipped_where_evaluation_decides_otherwise():
    logit = torch.tensor([[0.3], [0.3]])
    threshold = float(logit[0].double().sigmoid())  # a threshold that is a score of the data, as Youden's is
    flipped = label_flipped(torch.tensor([0, 0]), torch.tensor([True, False]), [threshold])
    assert flipped.is_satisfied(logit, STILL).tolist() == [False, True]  # p ≥ threshold is present
    lower = torch.nextafter(logit, torch.tensor(-1.0))
    assert flipped.is_satisfied(lower, STILL).tolist() == [True, False]
    assert flipped.rows(torch.tensor([1])).is_satisfied(logit[:1], STILL).tolist() == [True]


def every_criterion(classes=4):
    """Each kind of criterion on five images, by name, with the task that it is for."""
    indices, present = torch.tensor([0, 1, 2, 3, 1]), torch.tensor([True, False, True, False, False])
    return {
        "misclassified": ("multiclass", Misclassified(indices)),
        "targeted": ("multiclass", Targeted(indices)),
        "random": ("multiclass", worse_than_random(indices, classes)),
        "constant": ("multiclass", worse_than_constant(indices, [0.1, 0.2, 0.3, 0.4], task="multiclass")),
        "rising": ("multiclass", confidence(indices, 0.8, task="multiclass")),
        "both ways": ("multiclass", confidence(indices, [0.8, 0.2, 0.5, 0.5, 0.1], task="multiclass", rising=present)),
        "flipped": ("multilabel", label_flipped(indices, present, [0.2, 0.4, 0.6, 0.8])),
        "label's constant": (
            "multilabel",
            worse_than_constant(indices, [0.1, 0.2, 0.3, 0.4], task="multilabel", present=present),
        ),
    }


EVERY = pytest.mark.parametrize("name", list(every_criterion()))


@EVERY
def test_it_is_met_where_there_is_no_margin(name):
    _, criterion = every_criterion()[name]
    for scale in (0.01, 1, 10, 100):
        logits = scale * torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
        met, margin = criterion.is_satisfied(logits, STILL), criterion.margin(logits)
        assert torch.equal(met, margin <= 0)
    assert isinstance(criterion, Criterion)
    assert len(criterion) == 5


@EVERY
def test_both_outcomes_occur(name):
    _, criterion = every_criterion()[name]
    generator = torch.Generator().manual_seed(0)
    met = torch.cat([criterion.is_satisfied(3 * torch.randn(5, 4, generator=generator), STILL) for _ in range(20)])
    assert met.any()
    assert not met.all()


@EVERY
@pytest.mark.parametrize("height", [100.0, -100.0])
def test_saturated_logits_still_have_a_slope(name, height):
    _, criterion = every_criterion()[name]
    logits = torch.zeros(5, 4)
    logits[:, 1] = height
    logits.requires_grad_(True)
    margin = criterion.margin(logits)
    (slope,) = torch.autograd.grad(margin.sum(), logits)
    assert margin.isfinite().all()
    assert slope.isfinite().all()
    assert (slope.abs().amax(1) > 0.3).all()
    objective = criterion.loss(logits)
    assert objective.isfinite().all()
    assert torch.autograd.grad(objective.sum(), logits)[0].isfinite().all()


@EVERY
@pytest.mark.parametrize("index", [torch.tensor([3, 0]), torch.tensor([True, False, False, True, True])])
def test_rows_are_the_same_for_some_images(name, index):
    _, criterion = every_criterion()[name]
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    part = criterion.rows(index)
    assert len(part) == len(logits[index])
    assert torch.equal(part.is_satisfied(logits[index], STILL), criterion.is_satisfied(logits, STILL)[index])
    assert torch.equal(part.margin(logits[index]), criterion.margin(logits)[index])
    assert torch.equal(part.loss(logits[index]), criterion.loss(logits)[index])


@EVERY
def test_it_refuses_another_task_and_classes_that_are_not_there(name):
    task, criterion = every_criterion()[name]
    criterion.check(task, 4)
    with pytest.raises(InputError, match="multi"):
        criterion.check("multilabel" if task == "multiclass" else "multiclass", 4)
    with pytest.raises(InputError, match="from 0 to 2; found 0 to 3"):
        criterion.check(task, 3)


def test_worse_than_random_is_a_share_of_one_in_n():
    logits = torch.tensor([[0.0, 0, 0, 0], [1e-3, 0, 0, 0], [-1e-3, 0, 0, 0]])
    assert worse_than_random(torch.tensor([0, 0, 0]), 4).is_satisfied(logits, STILL).tolist() == [True, False, True]


def test_with_two_classes_worse_than_random_is_misclassified():
    logits = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(200) % 2
    random, wrong = worse_than_random(labels, 2), Misclassified(labels)
    assert torch.equal(random.is_satisfied(logits, STILL), wrong.is_satisfied(logits, STILL))
    torch.testing.assert_close(random.margin(logits), wrong.margin(logits))


def test_with_two_unbalanced_classes_the_constant_is_the_prior():
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    criterion = worse_than_constant(torch.tensor([0, 1]), [0.9, 0.1], task="multiclass")
    assert criterion.is_satisfied(logits, STILL).tolist() == [True, False]  # ½ is less than 0.9, and more than 0.1


def test_a_label_falls_or_rises_to_its_own_threshold():
    criterion = label_flipped(torch.tensor([0, 0, 1, 1]), torch.tensor([True, False, True, False]), [0.9, 0.1])
    logits = torch.zeros(4, 2)  # p = ½ everywhere
    assert criterion.is_satisfied(logits, STILL).tolist() == [True, False, False, True]


def test_log_odds_do_not_saturate():
    logits = torch.tensor([[100.0, -100.0, 0.0]])
    assert float(log_odds(logits, torch.tensor([0]), "multiclass")) == pytest.approx(100)
    assert float(log_odds(logits, torch.tensor([1]), "multiclass")) == pytest.approx(-200)
    assert float(log_odds(logits, torch.tensor([1]), "multilabel")) == -100


def test_a_radius_is_reached_by_the_perturbation_alone():
    aim = Misclassified(torch.tensor([0, 0]))
    criterion = RadiusReached(aim, 0.5)
    moved = torch.stack([torch.full((3, 2, 2), 0.5), torch.full((3, 2, 2), 0.4999)])
    logits = torch.randn(2, 3)
    assert criterion.is_satisfied(logits, moved).tolist() == [True, False]
    assert torch.equal(criterion.loss(logits), aim.loss(logits))
    assert len(criterion) == 2
    assert len(criterion.rows(torch.tensor([1]))) == 1
    assert not isinstance(criterion, Criterion)
    with pytest.raises(InputError, match="from 0 to 2"):
        RadiusReached(Misclassified(torch.tensor([0, 3])), 0.1).check("multiclass", 3)


@pytest.mark.parametrize("rms", [0, -0.1, math.nan, math.inf])
def test_a_radius_is_above_zero(rms):
    with pytest.raises(InputError, match="radius must be above 0"):
        RadiusReached(Misclassified(torch.tensor([0])), rms)


@pytest.mark.parametrize("kind", [Misclassified, Targeted])
@pytest.mark.parametrize(
    "indices", [torch.tensor([0.0, 1.0]), torch.tensor([[0, 1]]), torch.tensor(1), torch.tensor([True, False])]
)
def test_classes_are_one_index_an_image(kind, indices):
    with pytest.raises(InputError, match="one class index per image"):
        kind(indices)


@pytest.mark.parametrize("level", [0, 1, -0.5, 1.5, math.nan, [0.5, 1.0]])
def test_a_level_is_a_probability(level):
    with pytest.raises(InputError, match="inside \\(0, 1\\)"):
        confidence(torch.tensor([0, 1]), level, task="multiclass")


def test_a_constant_speaks_of_presence_for_labels_only():
    indices, present = torch.tensor([0, 1]), torch.tensor([True, False])
    with pytest.raises(InputError, match="needs `present`"):
        worse_than_constant(indices, [0.5, 0.5], task="multilabel")
    with pytest.raises(InputError, match="no other takes it"):
        worse_than_constant(indices, [0.5, 0.5], task="multiclass", present=present)
