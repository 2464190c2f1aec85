"""The penalty's gradient on networks with kinks: exact unless something else is asked for, and then warned."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import pellucid as pl
from helpers.models import small
from helpers.penalty import cosine, parameter_gradient
from pellucid.cli.app import app
from pellucid.models.sources.woods2019 import read_woods2019
from pellucid.training import Objective, RunFolder
from pellucid.training.distributed import BatchRandom
from pellucid.training.objectives.gradient_penalty import PenaltySettings, gradient_penalty, penalty_method
from pellucid.training.objectives.replayable import ReplayableForward
from pellucid.training.recipe import ObjectiveSettings
from pellucid.types import Batch, InputError

LABELS = torch.tensor([0, 3, 1, 1])


def two_layers(activation):
    """s = V a(W x) in float64, and images of 2 × 3 × 3."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(18, 30, bias=False), activation, nn.Linear(30, 4, bias=False)).double()
    return net, torch.rand(4, 2, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.5


class Half(nn.Module):
    """x²/2: a quadratic network."""

    def forward(self, x):
        return x**2 / 2


def penalised(net, images, *, notes_sides=True, **settings):
    images = images.clone().requires_grad_()
    passed = ReplayableForward(net, notes_sides=notes_sides)
    chosen = PenaltySettings(outputs="all", reduction="sum", **settings)
    value = gradient_penalty(passed, images, passed(images), LABELS, chosen, task="multiclass").value
    return value, parameter_gradient(value, net)


def by_hand(net, images, slope):
    """With G_bk = Wᵀ (v_k ∘ a'(W x_b)): (1/N) Σ |G|², and its derivatives by W and V, where a'' is 0 or 1."""
    weight, outer = (net[i].weight.detach() for i in (1, 3))
    value, by_weight, by_outer = 0.0, torch.zeros_like(weight), torch.zeros_like(outer)
    for image in images.flatten(1):
        first, second = slope(weight @ image)
        for k, row in enumerate(outer):
            gradient = weight.T @ (row * first)
            value += float(gradient @ gradient)
            by_outer[k] += 2 * first * (weight @ gradient)
            by_weight += 2 * torch.outer(row * first, gradient)
            by_weight += 2 * torch.outer(row * (weight @ gradient) * second, image)
    count = len(images)
    return value / count, torch.cat([by_weight.flatten(), by_outer.flatten()]) / count


NETWORKS = {  # activation, its first and second derivative, what is chosen
    "linear": (nn.Identity(), lambda h: (torch.ones_like(h), torch.zeros_like(h)), "finite-difference"),
    "quadratic": (Half(), lambda h: (h, torch.ones_like(h)), "finite-difference"),
    "relu": (nn.ReLU(), lambda h: ((h > 0).to(h), torch.zeros_like(h)), "same-side"),
    "relu in place": (nn.ReLU(inplace=True), lambda h: ((h > 0).to(h), torch.zeros_like(h)), "same-side"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_automatic_is_the_closed_form(name):
    activation, slope, method = NETWORKS[name]
    net, images = two_layers(activation)
    value, gradient = by_hand(net, images, slope)
    assert penalty_method(PenaltySettings(), net, images[:1]).name == method
    found, slope_found = penalised(net, images, step=1e-6)
    assert float(found.detach()) == pytest.approx(value, rel=1e-12)
    torch.testing.assert_close(slope_found, gradient, rtol=1e-5, atol=1e-6 * float(gradient.norm()))
    exact = penalised(net, images, method="exact")[1]
    torch.testing.assert_close(exact, gradient, rtol=1e-10, atol=1e-12)


def test_on_the_published_relu_network_the_finite_difference_is_another_regulariser(real_data):
    """The network that Woods et al. trained plainly, in training mode: a difference that crosses no corner is right."""
    net = read_woods2019(real_data / "weights" / "resnet44-standard.pt")[0].train()
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(2)).requires_grad_()
    passed = ReplayableForward(net, notes_sides=True)
    logits = passed(images)

    def gradient(method):
        value = gradient_penalty(
            passed, images, logits, LABELS.repeat(2), PenaltySettings(method=method), task="multiclass"
        ).value
        return parameter_gradient(value, net)

    one_hot = torch.nn.functional.one_hot(BatchRandom(0).uniform(8, 10).argmax(1), 10)  # which outputs were drawn
    (slope,) = torch.autograd.grad((one_hot * logits).sum(), images, create_graph=True)
    reference = parameter_gradient(slope.square().mean(), net)
    torch.testing.assert_close(gradient("exact"), reference, rtol=1e-4, atol=1e-5 * float(reference.norm()))
    same_side = gradient("auto")
    assert cosine(same_side, reference) > 0.999
    assert float(same_side.norm() / reference.norm()) == pytest.approx(1, abs=0.01)
    difference = gradient("finite-difference")
    assert cosine(difference, reference) < 0.6
    assert float(difference.norm() / reference.norm()) > 1.5


def objective(activation, **penalty):
    settings = ObjectiveSettings.model_validate({"gradient_penalty": {"weight": 100.0, **penalty}})
    return Objective(small(task="multiclass", classes="abcd", activation=activation), settings, LABELS).train()


BATCH = Batch(torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(3)), LABELS, torch.arange(4))


def slope_of(objective, batch=BATCH):
    total, _ = objective(batch, random=BatchRandom(0))
    return parameter_gradient(total, objective.classifier)


@pytest.mark.parametrize(
    ("activation", "method", "reason"),
    [
        ("relu", "same-side", "the network's only kinks are those of ReLUs"),
        ("relu6", "exact", "the network has kinks: Hardtanh"),
        ("half-huber", "finite-difference", "the network has no kinks"),
    ],
)
def test_an_objective_chooses_by_its_network_and_says_so(activation, method, reason):
    automatic = objective(activation)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = slope_of(automatic)
    assert automatic.penalty_method == (method, reason)
    assert automatic.settings.gradient_penalty.method == method
    assert torch.equal(found, slope_of(objective(activation, method=method)))


def test_a_finite_difference_across_kinks_is_warned_of_once_and_done():
    asked = objective("relu", method="finite-difference")
    with pytest.warns(UserWarning, match=r"finite-difference.*kinks: Relu.*'auto' or 'exact'") as caught:
        difference = slope_of(asked)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        slope_of(asked)
    assert asked.settings.gradient_penalty.method == "finite-difference"
    assert not torch.equal(difference, slope_of(objective("relu", method="exact")))


def test_sides_are_kept_of_networks_whose_only_kinks_are_relus():
    """In training mode with batch norm and dropout; and what is asked for where it cannot be has its reason."""
    torch.manual_seed(4)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3), nn.Conv2d(6, 8, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(8 * 28 * 28, 4),
    ).double()  # fmt: skip
    images = BATCH.images.double()
    exact, same = [], []
    for method, found in (("exact", exact), ("same-side", same)):
        torch.manual_seed(5)
        found.append(penalised(net, images, method=method)[1])
    torch.testing.assert_close(same[0], exact[0], rtol=1e-3, atol=1e-4 * float(exact[0].norm()))
    pooled = nn.Sequential(net[0], nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(6 * 15 * 15, 4)).double()
    assert penalty_method(PenaltySettings(), pooled, images[:1]).name == "exact"
    for other, kinks in ((pooled, "MaxPool2DWithIndices, Relu"), (net[:2], "none")):
        with pytest.raises(InputError, match=f"needs a network whose only kinks are theirs; this one has {kinks}"):
            penalty_method(PenaltySettings(method="same-side"), other, images[:1])
    passed, others = ReplayableForward(net.eval(), notes_sides=True), images.flip(0)
    passed(images)
    assert torch.equal(passed.again(others), net(others))  # only what asks for it keeps to the sides
    with pytest.raises(InputError, match="notes_sides=True"):
        penalised(net, images, notes_sides=False, method="same-side")
    compiled = torch.jit.trace(net.eval(), images[:1])  # its ReLUs are out of sight
    assert penalty_method(PenaltySettings(), compiled, images[:1]).name == "exact"


def test_no_penalty_has_no_method():
    plain = Objective(small(task="multiclass", classes="abcd"), ObjectiveSettings(), LABELS)
    plain(BATCH)
    assert plain.penalty_method is None


def test_exact_in_channels_last_is_the_same():
    expected = slope_of(objective("relu", method="exact"))
    turned = objective("relu", method="exact").to(memory_format=torch.channels_last)
    batch = BATCH._replace(images=BATCH.images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(slope_of(turned, batch), expected, rtol=1e-3, atol=1e-5 * float(expected.norm()))


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_exact_under_mixed_precision(precision):
    """float16 overflows in second derivatives, whatever the loss is scaled by: it is left there."""
    reference = slope_of(objective("relu", method="exact"))
    mixed = objective("relu", method="auto" if precision == torch.bfloat16 else "exact")
    with torch.autocast("cpu", dtype=precision):
        total, _ = mixed(BATCH, random=BatchRandom(0))
    found = parameter_gradient(total, mixed.classifier)
    assert found.isfinite().all()
    assert cosine(found, reference) > 0.99
    assert torch.equal(found, reference) == (precision == torch.float16)


OPTIONS = {"size": 32, "train": 16, "validation": 8, "test": 4, "prevalence": 0.4}
OVERRIDES = [
    "model={name='small', size=32, options={widths=[4, 8], blocks=[1, 1], strides=[1, 2]}}",
    "objective.gradient_penalty.weight=1.0",
    "training={epochs=1, batch_size=8}",
]


def trained(out, *more, resume=False):
    data = pl.dataset("phantom", **OPTIONS)
    return pl.train("standard", data, out, overrides=[*OVERRIDES, *more], device="cpu", resume=resume)


def test_a_run_records_its_method_and_goes_on_with_no_other(tmp_path):
    run = trained(tmp_path / "run")
    record = RunFolder(run.path).read()
    assert record["recipe"]["objective"]["gradient_penalty"]["method"] == "same-side"
    assert record["penalty_method"] == {"name": "same-side", "reason": "the network's only kinks are those of ReLUs"}
    assert run.penalty_method == "gradient penalty: same-side; the network's only kinks are those of ReLUs"
    command = ["train", "standard", "--data", "phantom", "--out", str(run.path), "--device", "cpu", "--resume"]
    command += [f"--data-option={k}={v}" for k, v in OPTIONS.items()] + [f"--set={text}" for text in OVERRIDES]
    done = CliRunner().invoke(app, command)
    assert run.penalty_method in done.output
    weights = (run.path / "weights.safetensors").read_bytes()
    method = "objective.gradient_penalty.method={}"
    for same in ("auto", "same-side"):
        again = trained(run.path, method.format(same), resume=True)
        assert (again.path / "weights.safetensors").read_bytes() == weights
    with (
        pytest.warns(UserWarning, match="kinks"),
        pytest.raises(InputError, match=r"another recipe: objective\.gradient_penalty\.method was 'same-side'"),
    ):
        trained(run.path, method.format("finite-difference"), resume=True)
