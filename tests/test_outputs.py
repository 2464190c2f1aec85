"""What networks of others return, as logits; and which of them are refused before anything is measured."""

from __future__ import annotations

from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import pellucid as pl
from pellucid.models import wrap
from pellucid.models.outputs import as_logits, raw_outputs
from pellucid.types import InputError, InputSpec

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])
SETTINGS = {"size": 12, "mean": [0.5] * 3, "std": [0.25] * 3}


class Net(nn.Module):
    """A network that returns what `answer` makes of its logits (N, 3)."""

    def __init__(self, answer=lambda logits: logits, outputs=3):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc, self.answer = nn.Conv2d(3, 8, 3), nn.Linear(8, outputs), answer

    def forward(self, x):
        return self.answer(4 * self.fc(self.conv(x).relu().mean((2, 3))))


@pytest.mark.parametrize(
    "output",
    [
        LOGITS,
        LOGITS[..., None, None],
        SimpleNamespace(logits=LOGITS, hidden_states=None),
        {"logits": LOGITS, "auxiliary": LOGITS},
        {"out": LOGITS, "features": torch.zeros(2, 8)},
        (LOGITS, torch.zeros(2, 8)),
        [torch.zeros(2, 8, 4, 4), LOGITS],
        namedtuple("Outputs", "logits aux_logits")(LOGITS, LOGITS + 1),
    ],
)
def test_logits_are_found_in_what_a_network_returns(output):
    assert torch.equal(raw_outputs(output, 2, 3, "multiclass"), LOGITS)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ((LOGITS, LOGITS), "2 tensors that could be its logits"),
        (LOGITS[:, :2], r"found \(2, 2\).*3 classes are named"),
        ({"features": torch.zeros(2, 8)}, r"features: \(2, 8\)"),
        (None, "found NoneType"),
        ({}, "found nothing"),
        (LOGITS.long(), r"returns int64, \(2, 3\): decisions, or codes"),
    ],
)
def test_what_holds_no_logits_is_said(output, message):
    with pytest.raises(InputError, match=message):
        raw_outputs(output, 2, 3, "multiclass")


def test_probabilities_become_logits_that_give_them_back():
    several, each = LOGITS.softmax(1), LOGITS.sigmoid()
    torch.testing.assert_close(as_logits(several, 3, "multiclass", "probabilities").softmax(1), several)
    torch.testing.assert_close(as_logits(each, 3, "multilabel", "probabilities"), LOGITS, atol=1e-5, rtol=0)
    sure = torch.tensor([[1.0, 0.0]], requires_grad=True)
    for task in ("multiclass", "multilabel"):  # certain answers stay finite, and so do their gradients
        logits = as_logits(sure, 2, task, "probabilities")
        assert logits.isfinite().all()
        (gradient,) = torch.autograd.grad(logits.square().sum(), sure, create_graph=True)
        assert gradient.isfinite().all()
        if gradient.requires_grad:
            assert torch.autograd.grad(gradient.sum(), sure)[0].isfinite().all()


@pytest.mark.parametrize("shape", [(2,), (2, 1), (2, 1, 1, 1)])
def test_one_value_is_enough_for_two_classes(shape):
    values = torch.tensor([1.5, -0.5]).reshape(shape)
    logits = as_logits(raw_outputs(values, 2, 2, "multiclass"), 2, "multiclass")
    torch.testing.assert_close(logits.softmax(1)[:, 1], torch.tensor([1.5, -0.5]).sigmoid())
    raw = raw_outputs(values.sigmoid(), 2, 2, "multiclass")
    torch.testing.assert_close(as_logits(raw, 2, "multiclass", "probabilities"), logits)
    assert torch.equal(as_logits(raw_outputs(values, 2, 1, "multilabel"), 1, "multilabel"), values.reshape(2, 1))


@pytest.mark.parametrize(
    ("answer", "outputs", "classes", "settings"),
    [
        (lambda z: z.softmax(1), 3, "abc", {"outputs": "probabilities"}),
        (lambda z: z.sigmoid(), 3, "abc", {"outputs": "probabilities", "task": "multilabel"}),
        (lambda z: z.flatten(), 1, "ab", {}),
        (lambda z: z.sigmoid(), 1, "ab", {"outputs": "probabilities"}),
        (lambda z: z.log_softmax(1), 3, "abc", {}),
    ],
)
def test_a_wrapped_network_has_the_probabilities_that_it_returns(answer, outputs, classes, settings):
    model = pl.wrap(Net(answer, outputs), list(classes), **SETTINGS, **settings)
    images = torch.rand(4, 3, 12, 12)
    with torch.no_grad():
        own, logits = Net(outputs=outputs)((images - 0.5) / 0.25), model(images)
    assert logits.shape == (4, len(classes))
    if outputs == 1:
        torch.testing.assert_close(logits.softmax(1)[:, 1:], own.sigmoid())
    elif settings.get("task") == "multilabel":
        torch.testing.assert_close(logits.sigmoid(), own.sigmoid())
    else:
        torch.testing.assert_close(logits.softmax(1), own.softmax(1))


def fails(logits):
    raise KeyError("missing")


@pytest.mark.parametrize(
    ("answer", "settings", "message"),
    [
        (lambda z: z.softmax(1), {}, "look like probabilities.*Set outputs"),
        (lambda z: z.sigmoid(), {"task": "multilabel"}, "look like probabilities"),
        (lambda z: z.sigmoid(), {}, "do not sum to one.*look like probabilities of sigmoids.*must be multilabel"),
        (lambda z: z, {"outputs": "probabilities"}, "no probabilities: they range from"),
        (lambda z: z.sigmoid(), {"outputs": "probabilities"}, "do not sum to one.*multilabel"),
        (lambda z: z * float("nan"), {}, "returns NaN"),
        (lambda z: z / 0, {}, "returns (infinity|NaN)"),
        (lambda z: F.dropout(z + 1, 0.5), {}, "another output each time"),
        (lambda z: z - z.mean(0), {}, "other images of the batch"),
        (fails, {}, "raised KeyError on 4 images of 3 × 12 × 12"),
        (lambda z: z[:, :2], {}, r"found \(4, 2\)"),
    ],
)
def test_a_network_that_cannot_be_judged_is_refused(answer, settings, message):
    with pytest.raises(InputError, match=message):
        pl.wrap(Net(answer), ["a", "b", "c"], **SETTINGS, **settings)


def test_values_between_0_and_1_are_logits_where_that_is_said():
    squeezed = Net(lambda z: z.sigmoid())
    model = pl.wrap(squeezed, ["a", "b", "c"], task="multilabel", outputs="logits", **SETTINGS)
    assert 0 < float(model(torch.rand(1, 3, 12, 12)).min()) < 1
    head_at_zero = Net(lambda z: 0 * z)  # a head that was not trained yet
    pl.wrap(head_at_zero, ["a", "b", "c"], task="multilabel", **SETTINGS)


def test_a_normalisation_for_other_channels_is_named():
    with pytest.raises(InputError, match="first convolution takes 3 channels, and mean and std have 1 value"):
        pl.wrap(Net(), ["a", "b", "c"], size=12, channels=1, mean=[0.5], std=[0.5])
    with pytest.raises(InputError, match="found 2 values for mean and 3 for std"):
        pl.wrap(Net(), ["a", "b", "c"], size=12, mean=[0.5] * 2, std=[0.25] * 3)
    with pytest.raises(InputError, match="one value per channel, 3; found 2"):
        pl.wrap(Net(), ["a", "b", "c"], size=12, channels=3, mean=[0.5] * 2, std=[0.25] * 2)


def test_large_logits_are_the_heads_own_but_for_rounding():
    """Logits of a million have no digits left behind the point; one near 0 beside them has their rounding."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    with torch.no_grad():
        net[4].weight *= 1e7
        net[4].bias.sub_(pl.wrap(net, ["a", "b", "c"], **SETTINGS)(torch.full((1, 3, 12, 12), 0.5))[0])
    parts = {"mean": [0.5] * 3, "std": [0.25] * 3, "classes": ["a", "b", "c"], "task": "multiclass"}
    spec = InputSpec.square(3, 12)
    assert wrap(net, **parts, input_spec=spec, features=net[:2], head=net[4]).has_linear_head
    with pytest.raises(InputError, match="is not what the wrapped network returns"):
        wrap(net, **parts, input_spec=spec, features=net[:1], head=net[4])


def test_looking_at_a_network_leaves_it_as_it_is():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), Net())
    module[2].conv = nn.Conv2d(4, 8, 3)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    torch.manual_seed(3)
    pl.wrap(module, ["a", "b", "c"], **SETTINGS)
    assert torch.equal(torch.rand(2), torch.manual_seed(3) and torch.rand(2))
    assert module.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
