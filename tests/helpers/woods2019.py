"""The training of Woods et al. 2019 in plain torch, written from its description: what tests compare this library with.

A network of two residual blocks by functions alone, the half-Huber ReLU, Algorithm 1, the penalty, the controller, SGD.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

MEAN = torch.tensor([0.4914, 0.4822, 0.4465], dtype=torch.float64).view(1, 3, 1, 1)
STD = torch.tensor([0.247, 0.243, 0.261], dtype=torch.float64).view(1, 3, 1, 1)


def half_huber(x, delta=0.5):
    return torch.where(x <= 0, 0 * x, torch.where(x <= delta, x * x / (2 * delta), x - delta / 2))


def network(p, images, act, *, statistics=None):
    """Stem, a block a stage of strides 1 and 2, BN, act, mean, linear; batch norm by the batch, or by `statistics`."""

    def norm(name, x):
        if statistics is None:
            mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
        else:
            mean, variance = (statistics[f"{name}.{k}"].view(1, -1, 1, 1) for k in ("running_mean", "running_var"))
        x = (x - mean) / (variance + 1e-5).sqrt()
        return x * p[f"{name}.weight"].view(1, -1, 1, 1) + p[f"{name}.bias"].view(1, -1, 1, 1)

    x = F.conv2d((images - MEAN) / STD, p["backbone.stem.weight"], padding=1)
    for stage, stride in ((0, 1), (1, 2)):
        name = f"backbone.stages.{stage}.0"
        pre = act(norm(f"{name}.norm1", x))
        main = F.conv2d(pre, p[f"{name}.conv1.weight"], stride=stride, padding=1)
        main = F.conv2d(act(norm(f"{name}.norm2", main)), p[f"{name}.conv2.weight"], padding=1)
        shortcut = p.get(f"{name}.shortcut.weight")
        x = main + (x if shortcut is None else F.conv2d(pre, shortcut, stride=stride, padding=1))
    return F.linear(act(norm("backbone.norm", x)).mean((2, 3)), p["head.weight"], p["head.bias"])


def algorithm_1(f, images, ascend, met, *, size, steps, smallest, box=False):
    """Algorithm 1 as it is printed, image by image; `f` sees all images, `ascend` gives their losses."""
    count = len(images)
    delta, best, best_square = torch.zeros_like(images), torch.zeros_like(images), [math.inf] * count
    for t in range(steps + 1):
        moved = (images + delta).detach().requires_grad_()
        z = f(moved)
        (gradient,) = torch.autograd.grad(ascend(z).sum(), moved)
        eta = size * (steps - t) / (steps * (steps + 1) / 2)
        following = delta.clone()
        for b in range(count):
            reached = bool(met(z[b], delta[b], b))
            if reached and float(delta[b].square().mean()) < best_square[b]:
                best[b], best_square[b] = delta[b], float(delta[b].square().mean())
            d = -delta[b] if reached else gradient[b]
            following[b] = delta[b] + eta * d / (1e-8 + d.square().mean().sqrt())
        if t == steps:  # one more look, for the smallest
            break
        delta = (images + following).clamp(0, 1) - images if box else following
    return (images + (best if smallest else delta)).detach()


def penalty(logits, images, labels, draws, coin, *, zeta=0.2, z=2):
    """A random logit per image or, with probability zeta, the true one minus the runner-up: mean |∂/∂x|^z."""
    outputs = []
    for b, y in enumerate(labels.tolist()):
        if coin[b] < zeta:
            outputs.append(logits[b, y] - max(logits[b, j] for j in range(logits.shape[1]) if j != y))
        else:
            outputs.append(logits[b, int(draws[b].argmax())])
    (slope,) = torch.autograd.grad(sum(outputs), images, create_graph=True)
    return (slope.abs() ** z).mean()


def controller(integral, loss, *, target=1.5, start=220.0):
    """The integral and ψ after one more batch."""
    integral = max(0.0, integral + min(max(-math.log(loss / target), -0.01), 1.0))
    return integral, start * math.exp(0.02 * integral)


def sgd(parameters, gradients, momenta, *, lr=0.1, momentum=0.9, decay=1e-4):
    """In place, also the momenta, which start empty; weight decay on every parameter."""
    for name, values in parameters.items():
        p = values.detach()  # the same memory
        g = gradients[name] + decay * p
        momenta[name] = g if name not in momenta else momentum * momenta[name] + g
        p -= lr * momenta[name]
