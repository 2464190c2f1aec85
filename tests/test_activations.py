"""The half-Huber ReLU: its closed form, its derivatives, and networks that are built with it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import grad, jacrev, vjp, vmap

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


@pytest.mark.slow
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
    with pytest.raises(InputError, match="delta must be above 0"):
        half_huber(torch.ones(2), delta)
    with pytest.raises(InputError, match=r"floating point; found torch\.int64"):
        half_huber(torch.arange(3))


def composed(x: torch.Tensor, delta: float) -> torch.Tensor:
    """Of torch's own differentiable operations."""
    low = x.clamp(0, delta)
    return low * (x - low / 2) / delta


def derivatives(function, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The value, and the first three derivatives of a function that weighs it."""
    x = x.clone().requires_grad_()
    weights = torch.linspace(0.5, 2, x.numel(), dtype=x.dtype).view_as(x)
    value = function(x)
    (first,) = torch.autograd.grad((weights * value).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((weights * first).square().sum(), x, create_graph=True)
    (third,) = torch.autograd.grad((weights * second).square().sum(), x)
    return value, first, second, third


@pytest.mark.parametrize("delta", [0.05, 0.5, 1.0, 7.0])
def test_higher_derivatives_are_those_of_the_composed_form(delta):
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2
    found = derivatives(lambda v: half_huber(v, delta), x)
    torch.testing.assert_close(found, derivatives(lambda v: composed(v, delta), x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_it_gives_the_kind_of_number_that_it_gets(dtype):
    exact = torch.linspace(-2, 2, 41, dtype=dtype).double()
    x = exact.to(dtype).requires_grad_()
    for autocast in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            value = half_huber(x, 0.75)
            (gradient,) = torch.autograd.grad(value.sum(), x, create_graph=True)
            (second,) = torch.autograd.grad(gradient.sum(), x)
        assert value.dtype == gradient.dtype == second.dtype == dtype
        torch.testing.assert_close(value.detach(), composed(exact, 0.75).to(dtype))
        torch.testing.assert_close(gradient.detach(), (exact.clamp(0, 0.75) / 0.75).to(dtype))


def test_numbers_that_are_none_and_infinite_ones_pass():
    x = torch.tensor([float("nan"), float("inf"), -float("inf")])
    assert torch.equal(half_huber(x)[1:], torch.tensor([float("inf"), 0.0]))
    assert half_huber(x)[0].isnan()


def test_it_keeps_its_input_alone_for_the_backward_pass():
    x = torch.randn(1000, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        half_huber(x)
    assert [tensor.data_ptr() for tensor in kept] == [x.data_ptr()]


def functional(function) -> list[torch.Tensor]:
    """What torch.func makes of it: per-sample gradients, Jacobians, a gradient of a gradient, mapped along an axis."""
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weights = torch.linspace(-1, 1, 7, dtype=torch.float64)

    def penalty(v: torch.Tensor) -> torch.Tensor:
        return grad(lambda u: function(u).square().sum())(v).square().sum()

    return [
        vmap(function, in_dims=1, out_dims=1)(x),
        vmap(grad(lambda v: (weights * function(v)).sum()))(x),
        vmap(jacrev(function))(x),
        jacrev(jacrev(lambda v: function(v).square()))(x[0]),
        vmap(grad(penalty))(x),
        vmap(lambda v: vjp(function, v)[1](weights)[0])(x),
        grad(lambda v: vmap(grad(penalty))(v).square().sum())(x),
    ]


def test_torch_func():
    found = functional(lambda v: half_huber(v, 0.7))
    torch.testing.assert_close(found, functional(lambda v: composed(v, 0.7)))


def test_every_shape_and_memory_order():
    base = torch.randn(4, 6, 8, 10, generator=torch.Generator().manual_seed(3))
    pictures = [base, base[:, ::2], base[1:].transpose(1, 3), base.to(memory_format=torch.channels_last)]
    pictures += [base[0, 0], base[0, 0, 0, :1], base[:0], base[..., :1].expand(4, 6, 8, 9)]
    for picture in pictures:
        found = derivatives(lambda v: half_huber(v, 0.3), picture.double())
        torch.testing.assert_close(found, derivatives(lambda v: composed(v, 0.3), picture.double()))
        with torch.inference_mode():
            torch.testing.assert_close(half_huber(picture + 0, 0.3), composed(picture, 0.3))
    assert half_huber(pictures[3]).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
def test_a_network_compiled_as_a_whole_computes_the_same():
    """`torch.compile` of the whole sees plain operations; traced here, which is what could fail, without a compiler."""
    model = create_model("small", classes=["a", "b"], task="multiclass", size=32, activation="half-huber").eval()
    images = torch.rand(2, 1, 32, 32)
    whole = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(whole(images), model(images))


def test_an_unknown_activation_gets_the_nearest():
    with pytest.raises(InputError, match=r"unknown activation 'half-hubert'\. Did you mean 'half-huber'"):
        activation_named("half-hubert")
    with pytest.raises(InputError, match="Did you mean 'relu'"):
        create_model("small", classes=["a", "b"], task="multiclass", activation="ReLu")


@pytest.mark.parametrize("name", ["small", "resnet44"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_option_survives_the_disk(name, activation, tmp_path):
    model = create_model(name, classes=["a", "b"], task="multiclass", size=32, activation=activation)
    kinds = {type(m) for m in model.modules() if type(m) in (nn.ReLU, nn.ReLU6, HalfHuberReLU)}
    assert kinds == {type(activation_named(activation)())}
    images = torch.rand(4, 1, 32, 32)
    model.train()(images)  # moves the running statistics
    save_model(model.eval(), tmp_path / "net")
    loaded = load_model(tmp_path / "net")
    assert loaded.architecture.options["activation"] == activation
    assert {type(m) for m in loaded.modules() if type(m) in (nn.ReLU, nn.ReLU6, HalfHuberReLU)} == kinds
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
