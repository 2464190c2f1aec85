"""Networks with attention where a gradient is differentiated again: fused kernels cannot, so none runs there."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, jacrev, vmap

from helpers.penalty import parameter_gradient
from helpers.transformer import class_token_transformer
from pellucid.evaluation.manipulation.attack import manipulate
from pellucid.evaluation.manipulation.gradient_maps import gradient_map
from pellucid.evaluation.manipulation.settings import Attack
from pellucid.explainers import explain
from pellucid.models.classifier import frozen
from pellucid.models.second_order import twice_differentiable
from pellucid.training import Objective
from pellucid.training.recipe import ObjectiveSettings
from pellucid.types import Batch

TARGETS = torch.tensor([1, 0])


@pytest.fixture(scope="module")
def model():
    return class_token_transformer()


@pytest.fixture
def images():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(4))


def test_the_fused_kernel_has_no_second_derivative():
    """What the rest of this file is about; where torch learns it, the context can go."""
    x = torch.rand(1, 1, 5, 8, requires_grad=True)
    (slope,) = torch.autograd.grad(F.scaled_dot_product_attention(x, x, x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"not implemented|does not require grad"):
        torch.autograd.grad(slope.square().sum(), x)
    with twice_differentiable():
        (exact,) = torch.autograd.grad(F.scaled_dot_product_attention(x, x, x).sum(), x, create_graph=True)
    torch.testing.assert_close(exact, slope)
    assert torch.autograd.grad(exact.square().sum(), x)[0].abs().max() > 0


@pytest.mark.parametrize("method", ["saliency", "integrated-gradients", "grad-cam"])
def test_maps_of_a_transformer_can_be_climbed(method, model, images):
    """The slope of the map is that of central differences."""
    net, pixels = class_token_transformer().double(), images.double()
    direction = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def value(points):
        maps = gradient_map(method, net, pixels, {}).maps(points, TARGETS)
        return (maps * torch.linspace(-1, 1, maps[0].numel()).view_as(maps[0])).sum()

    with frozen(net):
        points = pixels.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(value(points), points)
        ends = [value((pixels + sign * 1e-5 * direction).requires_grad_(True)).item() for sign in (1, -1)]
    torch.testing.assert_close((slope * direction).sum().item(), (ends[0] - ends[1]) / 2e-5, rtol=1e-4, atol=1e-8)


def test_the_form_that_is_climbed_is_grad_cam(model, images):
    with frozen(model):
        maps = gradient_map("grad-cam", model, images, {}).maps(images.clone().requires_grad_(True), TARGETS)
    expected = explain("grad-cam", model, images, TARGETS, size=4).maps
    torch.testing.assert_close(maps.detach().relu(), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("method", ["saliency", "grad-cam"])
def test_explanations_of_a_transformer_are_attacked(method, model, images):
    found = manipulate(model, images, Attack(method, "same-decision", (0.02,), steps=3), targets=TARGETS)
    assert found.constraint_met.all()
    assert (found.similarity["rank_correlation"] < 0.999).any()


def test_an_exact_penalty_of_a_transformer_is_its_jacobians(images):
    net, labels = class_token_transformer(), TARGETS
    penalty = {"outputs": "all", "method": "exact", "reduction": "sum", "weight": 1.0}
    settings = ObjectiveSettings.model_validate({"loss": "cross_entropy", "gradient_penalty": penalty})
    total, _ = Objective(net, settings, labels)(Batch(images, labels, torch.arange(2)))
    parameters = dict(net.named_parameters())

    def squares(parameters):
        with twice_differentiable():
            rows = vmap(jacrev(lambda x: functional_call(net, parameters, (x[None],))[0]))(images)
        return rows.square().sum() / len(images)

    expected = F.cross_entropy(net(images), labels) + squares(parameters)
    torch.testing.assert_close(total, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(parameter_gradient(total, net), parameter_gradient(expected, net), rtol=1e-3, atol=1e-4)
