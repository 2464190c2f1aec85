"""Cascading randomisation: what depends on the weights passes; noise of either kind and a fixed mask do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from helpers.models import small
from helpers.trust import constant, drawn, fixed_noise, fresh_noise, linear
from pellucid.data import open_dataset
from pellucid.evaluation.trust.maps import Mapper
from pellucid.evaluation.trust.randomization import (
    _calibrate,
    cascade,
    cascade_depths,
    layers_from_the_head,
    randomize,
    restored,
)
from pellucid.models import wrap
from pellucid.types import InputError, InputSpec

IMAGES = torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(3))
TARGETS = torch.tensor([0, 1, 2, 0, 1, 2])


def test_saliency_of_a_linear_network_is_lost_as_two_drawn_templates_are_unlike():
    """It is the |template|: of two unrelated draws the correlation is about 0, also where the seeds are the same."""
    torch.manual_seed(0)
    template = torch.randn(3, 1, 32, 32)
    found = cascade(Mapper("saliency"), linear(template), IMAGES, TARGETS)
    assert found.depths == (0, 1)
    assert found.spearman[0].tolist() == pytest.approx([1.0] * 6)
    assert found.spearman[1].abs().max() < 4 / 32  # four standard deviations of 1024 pairs
    assert found.dependence().tolist() == pytest.approx((1 - found.spearman[1]).tolist())


def test_a_map_that_cannot_depend_on_the_head_stays_until_deeper_layers_go():
    """Grad of the summed feature map ignores the head: randomising it alone must leave the map exactly as it was."""

    def features_only(classifier, images, _targets, _seed):
        with torch.enable_grad():
            pixels = images.clone().requires_grad_(True)
            return torch.autograd.grad(classifier.features(pixels).sum(), pixels)[0].abs().amax(1)

    net = small()
    order = layers_from_the_head(net, IMAGES)
    found = cascade(Mapper("features", features_only), net, IMAGES, TARGETS, depths=(0, 1, len(order)))
    assert order[0][0] == "head"
    assert found.layers[1] == "head"
    assert found.spearman[1].tolist() == pytest.approx([1.0] * 6)
    assert found.ssim[1].tolist() == pytest.approx([1.0] * 6)
    assert found.spearman[2].mean() < 0.8
    # saliency of a logit goes through the head: the same step changes it
    assert cascade(Mapper("saliency"), net, IMAGES, TARGETS, depths=(0, 1)).spearman[1].max() < 0.999


def test_saliency_of_a_network_with_one_feature_does_not_depend_on_its_head():
    """With a single feature the head only scales the gradient, which rank correlation and SSIM do not see."""

    class OneFeature(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Conv2d(1, 1, 5)
            self.head = nn.Linear(1, 3)

        def forward(self, images):
            return self.head(self.body(images).square().mean((2, 3)))

    torch.manual_seed(0)
    spec = {"mean": [0.0], "std": [1.0], "task": "multiclass", "classes": ["a", "b", "c"]}
    net = wrap(OneFeature(), **spec, input_spec=InputSpec.square(1, 32))
    found = cascade(Mapper("saliency"), net, IMAGES, TARGETS)
    assert found.layers == ("", "module.head", "module.body")
    assert found.spearman[1].tolist() == pytest.approx([1.0] * 6, abs=1e-4)
    assert found.ssim[1].tolist() == pytest.approx([1.0] * 6, abs=1e-4)
    assert found.spearman[2].max() < 0.99


@pytest.mark.parametrize(("explainer", "repeats"), [(fresh_noise(), 0.0), (fixed_noise(), 1.0)])
def test_noise_loses_nothing_to_randomisation(explainer, repeats):
    found = cascade(explainer, small(), IMAGES, TARGETS)
    assert found.spearman[0].mean() == pytest.approx(repeats, abs=0.1)
    for measure in ("spearman", "ssim"):
        assert found.dependence(measure).abs().max() < 0.2


def test_the_true_mask_of_the_phantom_stays_whatever_the_weights():
    sizes = {"size": 32, "train": 1, "validation": 1, "test": 6}
    data = open_dataset("phantom", options={**sizes, "prevalence": 0.5})["test"]
    regions = data.regions
    pairs = regions.pairs()[:6]
    masks = torch.from_numpy(np.stack([regions.mask(i, label, 32) for i, label in pairs])).float()
    found = cascade(drawn(masks), small(classes=data.classes), IMAGES, TARGETS)
    assert found.dependence().tolist() == [0.0] * 6
    assert found.dependence("ssim").tolist() == pytest.approx([0.0] * 6)


def test_a_constant_map_has_no_similarity():
    found = cascade(constant(), small(), IMAGES, TARGETS)
    assert found.spearman.isnan().all()
    assert found.ssim.isnan().all()


def test_the_network_is_left_as_it_was():
    net = small()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    cascade(Mapper("saliency"), net, IMAGES, TARGETS)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert torch.equal(torch.rand(3), expected)  # the global generator is where it was

    def fail(*_):
        raise RuntimeError("an explainer's own")

    with pytest.raises(RuntimeError, match="own"):
        cascade(Mapper("failing", fail), net, IMAGES, TARGETS)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_the_same_seed_gives_the_same_numbers():
    one, same, other = (cascade(Mapper("saliency"), small(), IMAGES, TARGETS, seed=s).spearman for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one[1:], other[1:])


def test_layers_come_in_the_order_of_acting_not_of_definition():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(4, 2)
            self.idle = nn.Linear(3, 3)
            self.first = nn.Linear(4, 4)

        def forward(self, images):
            return self.last(self.first(images.flatten(1)))

    assert [n for n, _ in layers_from_the_head(Backwards(), torch.rand(1, 1, 2, 2))] == ["last", "first", "idle"]


def test_fresh_norm_layers_take_the_statistics_of_what_reaches_them():
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)
    net = nn.Sequential(conv, norm, nn.Flatten()).eval()
    with torch.no_grad(), restored(net):
        randomize(conv)
        _calibrate([conv, norm], net, IMAGES)
        reached = conv(IMAGES)
        torch.testing.assert_close(norm.running_mean, reached.mean((0, 2, 3)))
        torch.testing.assert_close(norm.running_var, reached.var((0, 2, 3), unbiased=False))
    assert norm.running_mean.tolist() == [0.0] * 3


@pytest.mark.parametrize("size", [(1, 1), (3, 7)])
def test_one_image_of_one_pixel_or_odd_sides(size):
    net = linear(torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(1)))
    found = cascade(Mapper("saliency"), net, torch.rand(1, 1, *size), torch.tensor([1]))
    assert bool(found.spearman.isnan().all()) == (size == (1, 1))


def test_bad_input():
    class Fixed(nn.Module):
        def forward(self, images):
            return images.flatten(1)[:, :2]

    net = wrap(
        Fixed(), mean=[0.0], std=[1.0], task="multiclass", classes=["a", "b"], input_spec=InputSpec.square(1, 32)
    )
    with pytest.raises(InputError, match="no parameters"):
        cascade(Mapper("saliency"), net, IMAGES, TARGETS)
    with pytest.raises(InputError, match=r"rise from 0 to at most 1 layers; found \(0, 3\)"):
        cascade(Mapper("saliency"), linear(torch.rand(3, 1, 32, 32)), IMAGES, TARGETS, depths=(0, 3))
    with pytest.raises(InputError, match="at least one image"):
        cascade(Mapper("saliency"), small(), IMAGES[:0], TARGETS[:0])
    with pytest.raises(InputError, match="Did you mean 'grad-cam'"):
        Mapper("gradcam")
    with pytest.raises(InputError, match="needs the feature map"):
        cascade(Mapper("cam"), linear(torch.rand(3, 1, 32, 32)), IMAGES, TARGETS)
    with pytest.raises(InputError, match="must give one map per image"):
        Mapper("wrong", lambda _, x, __, ___: x)(small(), IMAGES, TARGETS)
    assert cascade_depths(1) == (0, 1)
