"""The half-Huber ReLU: its closed form, its derivatives, and networks that are built with it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pellucid.models import create_model, load_model, save_model
from pellucid.models.activations import ACTIVATIONS, HalfHuberReLU, activation_named, half_huber
from pellucid.types import InputError

DELTAS = st.floats(0.01, 20)
VALUES = st.lists(st.floats(-50, 50), min_size=1, max_size=20)


def closed_form(x: float, delta: float) -> float:
    """Woods et al. 2019, branch by branch."""
    if x <= 0:
        return 0.0
    return x * x / (2 * delta) if x <= delta else x - delta / 2


@settings(deadline=None)
@given(VALUES, DELTAS)
def test_the_closed_form(values, delta):
    x = torch.tensor(values, dtype=torch.float64)
    expected = torch.tensor([closed_form(v, delta) for v in values], dtype=torch.float64)
    torch.testing.assert_close(half_huber(x, delta), expected, rtol=1e-12, atol=1e-14)
    assert torch.equal(HalfHuberReLU(delta)(x), half_huber(x, delta))


@settings(deadline=None)
@given(VALUES, DELTAS)
def test_the_gradient(values, delta):
    x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(half_huber(x, delta).sum(), x)
    torch.testing.assert_close(gradient, x.detach().clamp(0, delta) / delta, rtol=1e-15, atol=0)


@settings(deadline=None)
@given(VALUES, DELTAS)
def test_the_second_derivative(values, delta):
    x = torch.tensor([v for v in values if v not in (0, delta)] or [delta / 2], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(half_huber(x, delta).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), x)
    inside = (x > 0) & (x < delta)
    torch.testing.assert_close(second, inside.double() / delta, rtol=1e-15, atol=0)


@pytest.mark.parametrize("delta", [0.1, 0.5, 1.0, 3.0])
def test_derivatives_are_those_of_finite_differences(delta):
    x = torch.tensor([-2.0, -0.3, 0.05, 0.3, 0.7, 2.0, 7.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: half_huber(v, delta), x)
    assert torch.autograd.gradgradcheck(lambda v: half_huber(v, delta), x)


@pytest.mark.parametrize(("delta", "x", "wrong", "right"), [(1.0, 2.0, 0.375, 1.5), (0.25, 2.0, 5.39, 1.875)])
def test_it_is_right_where_the_published_code_is_not(delta, x, wrong, right):
    found = float(half_huber(torch.tensor(x), delta))
    assert found == pytest.approx(right)
    assert found != pytest.approx(wrong)


@settings(max_examples=20, deadline=None)
@given(DELTAS)
def test_it_lies_at_most_half_a_delta_below_relu(delta):
    x = torch.linspace(-3 * delta, 3 * delta, 301, dtype=torch.float64)
    gap = x.relu() - half_huber(x, delta)
    assert gap.min() >= -1e-12
    assert gap.max() <= delta / 2 + 1e-12
    assert gap.max() == pytest.approx(delta / 2)


@pytest.mark.parametrize("delta", [0.0, -1.0, float("nan")])
def test_a_delta_that_is_no_width(delta):
    with pytest.raises(InputError, match="delta must be above 0"):
        HalfHuberReLU(delta)


def test_an_unknown_activation_gets_the_nearest():
    with pytest.raises(InputError, match=r"unknown activation 'half-hubert'\. Did you mean 'half-huber'"):
        activation_named("half-hubert")
    with pytest.raises(InputError, match="Did you mean 'relu'"):
        create_model("small", classes=["a", "b"], task="multiclass", activation="ReLu")


@pytest.mark.parametrize("name", ["small", "resnet44"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_option_survives_the_disk(name, activation, tmp_path):
    model = create_model(name, classes=["a", "b"], task="multiclass", size=32, activation=activation)
    kinds = {type(m) for m in model.modules() if type(m) in (nn.ReLU, HalfHuberReLU)}
    assert kinds == {type(activation_named(activation)())}
    images = torch.rand(4, 1, 32, 32)
    model.train()(images)  # moves the running statistics
    save_model(model.eval(), tmp_path / "net")
    loaded = load_model(tmp_path / "net")
    assert loaded.architecture.options["activation"] == activation
    assert {type(m) for m in loaded.modules() if type(m) in (nn.ReLU, HalfHuberReLU)} == kinds
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))


def test_the_activations_differ():
    kwargs = {"classes": ["a", "b"], "task": "multiclass", "size": 32}
    plain, smooth = (create_model("small", activation=name, **kwargs).eval() for name in ("relu", "half-huber"))
    smooth.load_state_dict(plain.state_dict())
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        assert not torch.allclose(plain.features(images), smooth.features(images), atol=1e-3)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_only_with_it_a_gradient_of_the_gradient_reaches_the_last_bias(activation):
    """What it is there for: ReLU's second derivative is zero, so a penalty on gradients cannot move where it bends."""
    torch.manual_seed(0)
    model = create_model("small", classes=["a", "b"], task="multiclass", size=32, activation=activation).eval()
    images = torch.rand(2, 1, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(images)[:, 0].sum(), images, create_graph=True)
    (reached,) = torch.autograd.grad(gradient.square().sum(), model.backbone.norm.bias, materialize_grads=True)
    assert bool((reached != 0).any()) == (activation == "half-huber")
