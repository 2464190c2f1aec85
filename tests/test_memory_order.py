"""`channels_last` on a CPU: what torch cannot do so is refused or left alone, all else is as in the other order."""

from __future__ import annotations

import math
from contextlib import nullcontext
from importlib import import_module

import pytest
import torch
from torch import nn

import pellucid as pl
from helpers.models import small
from helpers.training import run
from pellucid.evaluation.trust.findings import TrustSettings
from pellucid.evaluation.trust.randomization import randomize
from pellucid.models import load_model, model_names, wrap
from pellucid.models.memory_order import channels_last
from pellucid.models.registry import create_model
from pellucid.training.memory_order import check_memory_order
from pellucid.types import InputError, InputSpec

CPU = torch.device("cpu")
WIDE = "model.options={widths=[8, 16], blocks=[1, 1], strides=[1, 2]}"


@pytest.mark.parametrize(
    ("layer", "refused"),
    [
        (nn.Conv2d(4, 8, 1, 2, bias=False), True),
        (nn.Conv2d(7, 8, 1, (1, 2)), True),
        (nn.Conv2d(16, 16, 1, 2, groups=4), True),
        (nn.Conv2d(8, 8, 1, 2), False),
        (nn.Conv2d(4, 8, 1, 1), False),
        (nn.Conv2d(4, 8, 3, 2), False),
    ],
)
def test_narrow_strided_pointwise_convolutions_are_refused_on_a_cpu_only(layer, refused):
    network = nn.Sequential(nn.Conv2d(1, layer.in_channels, 3), layer)
    check_memory_order(network, torch.device("cuda"))
    if refused:
        with pytest.raises(InputError, match=r"a CPU cannot train 1 in this memory order.*channels_last=false"):
            check_memory_order(network, CPU)
    else:
        check_memory_order(network, CPU)


def test_the_package_has_no_network_that_is_refused():
    for name in model_names():
        if name != "efficientnet-lite0":  # needs an extra
            check_memory_order(create_model(name, classes=("a", "b"), task="multilabel", size=64), CPU)


def test_it_is_refused_before_any_image_is_decoded(phantom, tmp_path, monkeypatch):
    monkeypatch.setattr("pellucid.training.loop.materialize", lambda *a, **k: pytest.fail("decoded"))
    with pytest.raises(InputError, match=r"training\.channels_last = true"):
        run(phantom, tmp_path / "run", "training.channels_last=true")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_wider_network_learns_the_same_in_either_order(phantom, tmp_path):
    weights = []
    for order in ("true", "false"):
        options = [WIDE, f"training.channels_last={order}", "training.epochs=1"]
        run(phantom, tmp_path / order, *options, name="standard")
        weights.append(load_model(tmp_path / order).state_dict())
    for key, value in weights[0].items():
        assert torch.allclose(value.float(), weights[1][key].float(), atol=1e-4), key


def is_last(layer):
    return layer.weight.is_contiguous(memory_format=torch.channels_last) and not layer.weight.is_contiguous()


def classifier(*layers):
    spec = InputSpec.square(3, 16)
    return wrap(
        nn.Sequential(*layers), mean=[0.0] * 3, std=[1.0] * 3, task="multiclass", classes=["a", "b"], input_spec=spec
    )


def test_a_network_answers_the_same_in_channels_last_and_is_put_back():
    net = create_model("small", classes=("a", "b"), task="multiclass", size=32).eval()
    images = torch.rand(2, 1, 32, 32, requires_grad=True)

    def slopes():
        logits = net(images)
        return logits.detach(), torch.autograd.grad(logits[:, 0].sum(), images)[0]

    before, weights = slopes(), [p.data_ptr() for p in net.parameters()]
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1)]
    with channels_last(net):
        assert all(is_last(layer) for layer in convolutions if layer.in_channels > 1)
        after = slopes()
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert [p.data_ptr() for p in net.parameters()] == weights


@pytest.mark.parametrize("name", ["small", "densenet121"])
def test_every_convolution_answers_in_channels_last_that_of_a_single_channel_too(name):
    net = create_model(name, classes=("a", "b"), task="multiclass", size=64).eval()
    left, hooks = [], []
    for place, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d):
            hook = lambda _m, _i, y, place=place: left.append(place) if y.is_contiguous() else None  # noqa: E731
            hooks.append(layer.register_forward_hook(hook))
    with channels_last(net), torch.no_grad():
        left.clear()  # the order that it came in
        net(torch.rand(2, 1, 64, 64))
        assert hooks
        assert left == []


class Viewed(nn.Module):
    def forward(self, x):
        return x.view(len(x), -1)  # of another order than this, torch has no such view


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Conv2d(3, 8, 3, 2, 1), Viewed(), nn.Linear(8 * 64, 2)),
        (nn.Conv2d(3, 4, 3), nn.Conv2d(4, 8, 1, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)),
        (nn.Flatten(), nn.Linear(3 * 256, 2)),
    ],
    ids=["viewed", "narrow", "without convolutions"],
)
def test_what_cannot_be_computed_in_channels_last_is_left_alone(layers):
    net = classifier(*layers)
    expected = net(torch.ones(1, 3, 16, 16))
    with channels_last(net):
        assert not any(is_last(layer) for layer in layers if isinstance(layer, nn.Conv2d))
        assert torch.equal(net(torch.ones(1, 3, 16, 16)), expected)


def test_weights_are_drawn_the_same_in_either_order():
    """A cascade of an audit is that of `pellucid trust`."""
    drawn = []
    for order in (torch.contiguous_format, torch.channels_last):
        layer = nn.Conv2d(3, 8, 3).to(memory_format=order)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            randomize(layer)
        assert is_last(layer) == (order is torch.channels_last)
        drawn.append(layer.weight.detach().clone().contiguous())
    assert torch.equal(*drawn)


JUDGING = {
    "evaluate": lambda model, data, out: pl.evaluate(model, data, "fgsm:linf=0.01"),
    "ara": lambda model, data, out: pl.ara(model, data, "attack", protocol="ddn", checked=1, out=out),
    "trust": lambda model, data, out: pl.trust(
        model, data, "grad-cam", limit=4, settings=TrustSettings(samples=1, attacked=2, attack_steps=1), out=out
    ),
    "localize": lambda model, data, out: pl.localize(model, data, "grad-cam", out=out),
    "certify": lambda model, data, out: pl.certify(
        model, data, 0.25, samples=40, selection_samples=10, alpha=0.05, attack_samples=None, out=out
    ),
}


@pytest.fixture(scope="module")
def judged():
    """A model, and images with marked findings."""
    sizes = {"size": 32, "train": 1, "validation": 1, "test": 24, "prevalence": 0.5}
    data = pl.dataset("phantom", split="test", **sizes)
    return small(classes=data.classes[:1], widths=[8, 16]), data


@pytest.mark.slow
@pytest.mark.usefixtures("empty_charts", "quick_check")
@pytest.mark.parametrize("verb", JUDGING)
def test_what_judges_takes_the_faster_order_and_says_the_same(judged, verb, tmp_path, monkeypatch):
    model, data = judged
    orders = set()
    layer = next(m for m in model.modules() if isinstance(m, nn.Conv2d) and m.in_channels > 1)
    with monkeypatch.context() as patch:
        patch.setattr(import_module(f"pellucid.verbs.{verb}"), "channels_last", nullcontext)
        plain = JUDGING[verb](model, data, tmp_path / "plain").rows
    hook = layer.register_forward_pre_hook(lambda m, _: orders.add(is_last(m)))
    turned = JUDGING[verb](model, data, tmp_path / "turned").rows
    hook.remove()
    assert True in orders
    assert not is_last(layer)
    assert len(turned) == len(plain)
    for one, other in zip(plain, turned, strict=True):
        assert one.keys() == other.keys()
        if one.get("question") == "is it stable?":
            continue  # maps of weights that were drawn are nearly flat, and their attack makes rounding large
        for key, value in one.items():
            if isinstance(value, float):
                assert math.isclose(value, other[key], rel_tol=1e-3, abs_tol=1e-3) or math.isnan(value), (one, other)
            else:
                assert value == other[key], (one, other)
    if verb != "evaluate":  # which keeps nothing
        assert JUDGING[verb](model, data, tmp_path / "plain").rows == plain  # kept under the same key
