"""Small networks for the tests of attacks, and counters around them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from pellucid.models import wrap
from pellucid.types import InputSpec

FEW = {"woods2019": {"steps": 60, "length": 6.0}, "fmn": {"steps": 40}, "ddn": {"steps": 40}, "tight": {}}
"""Options that make each method quick."""


def network(*, channels=3, task="multiclass", classes=4, activation=nn.ReLU, seed=0, dtype=torch.float32):
    """A random network with a batch norm that is not the identity, in eval mode, on images of 8 × 8."""
    generator = torch.Generator().manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        activation(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        activation(),
        nn.Flatten(),
        nn.Linear(16 * 16, classes),
    )
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point() and "running_var" not in name:
                fan = max(1, tensor[0].numel())
                tensor.normal_(0, (2 / fan) ** 0.5 if tensor.ndim > 1 else 0.1, generator=generator)
        module[1].weight += 1
    classifier = wrap(
        module,
        mean=[0.5] * channels,
        std=[0.25] * channels,
        task=task,
        classes=[f"c{i}" for i in range(classes)],
        input_spec=InputSpec.square(channels, 8),
    )
    return classifier.to(dtype).eval()


def pictures(count=6, *, channels=3, seed=0, dtype=torch.float32):
    """Random images of 8 × 8, the first of them black and white."""
    made = torch.rand(count, channels, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    made[0] = (made[0] > 0.5).to(dtype)
    return made


class Linear(nn.Module):
    """Logits W x + b, so that the smallest perturbation is known."""

    def __init__(self, weight, bias, task="multiclass"):
        super().__init__()
        self.weight, self.bias, self.task = nn.Parameter(weight), nn.Parameter(bias), task

    def forward(self, images):
        return images.flatten(1) @ self.weight.T + self.bias


class Scaled(nn.Module):
    """All logits times a constant: no decision changes."""

    def __init__(self, network, factor):
        super().__init__()
        self.network, self.task, self.factor = network, network.task, factor

    def forward(self, images):
        return self.factor * self.network(images)


class Counting(nn.Module):
    """Counts the images that pass a network forward, and those whose logits' gradient passes back."""

    def __init__(self, network):
        super().__init__()
        self.network, self.task = network, network.task
        self.forward_rows = self.backward_rows = 0

    def forward(self, images):
        logits = self.network(images)
        self.forward_rows += len(images)
        if logits.requires_grad:
            logits.register_hook(self._back)
        return logits

    def _back(self, gradient):
        self.backward_rows += len(gradient)


class Failing(nn.Module):
    """Raises at the k-th call."""

    def __init__(self, network, call):
        super().__init__()
        self.network, self.task, self.left = network, network.task, call

    def forward(self, images):
        self.left -= 1
        if self.left == 0:
            raise ZeroDivisionError
        return self.network(images)


def trained_on_digits(activation=nn.ReLU):
    """A network trained for a second on scikit-learn's handwritten digits, and 60 others that it gets right."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(digits.target)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            activation(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            activation(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(128, 10),
        )
        optimizer = torch.optim.Adam(net.parameters(), 1e-2)
        for _ in range(8):
            for rows in torch.randperm(1500).split(100):
                optimizer.zero_grad()
                F.cross_entropy(net(images[rows]), labels[rows]).backward()
                optimizer.step()
        optimizer.zero_grad()
    net.eval()
    with torch.no_grad():
        right = (net(images[1500:]).argmax(1) == labels[1500:]).nonzero().squeeze(1)[:60] + 1500
    return net, images[right], labels[right]


def snapshot(net):
    """All that an attack must leave as it was."""
    return (
        {name: module.training for name, module in net.named_modules()},
        {name: p.requires_grad for name, p in net.named_parameters()},
        {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None},
        {name: v.clone() for name, v in [*net.named_parameters(), *net.named_buffers()]},
    )


def assert_same(before, after):
    """Two snapshots are equal to the bit."""
    assert before[:2] == after[:2]
    for old, new in zip(before[2:], after[2:], strict=True):
        assert old.keys() == new.keys()
        assert all(torch.equal(old[k], new[k]) for k in old)
