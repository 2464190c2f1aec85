"""Cascading randomisation: does a map change when what the network learned is destroyed, from the head downwards?"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pellucid.evaluation.metrics.similarity import spearman, ssim
from pellucid.models.classifier import frozen
from pellucid.types import InputError
from pellucid.utils.progress import advance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pellucid.evaluation.trust.maps import Mapper

APART = 0x5EED_0000  # so that no user's seed draws the very weights that the network started from
CALIBRATION = 64  # images at most that the statistics of fresh norm layers are taken from


@dataclass(frozen=True)
class Randomization:
    """How alike the maps stay; NaN where one of the two maps is the same everywhere.

    Attributes:
        depths: layers randomised, rising, the first 0: the unchanged network explained once more, with another seed.
        layers: the layer that each depth reaches; empty for 0.
        spearman: (len(depths), N), the rank correlation with the map of the unchanged network.
        ssim: (len(depths), N), the structural similarity with it.
        maps: (len(depths), E, H, W), the maps themselves of the first E images, to be shown.
        ends: (2, N, H, W), the maps of all images at the first depth and at the last.
    """

    depths: tuple[int, ...]
    layers: tuple[str, ...]
    spearman: Tensor
    ssim: Tensor
    maps: Tensor
    ends: Tensor

    def dependence(self, measure: str = "spearman") -> Tensor:
        """What the map loses once every layer is random: repeatability less similarity afterwards, (N,).

        1: the map repeats exactly, and after randomisation nothing of it is left. 0: the weights do not matter, be it
        that the map stays (fixed noise, an edge detector, the true mask) or that it never repeated (fresh noise).
        """
        values: Tensor = getattr(self, measure)
        return values[0] - values[-1]


def layers_from_the_head(classifier: nn.Module, images: Tensor) -> list[tuple[str, nn.Module]]:
    """The modules that hold parameters of their own, the last to act first; those that do not act at the end.

    Args:
        classifier: any module; it is run once, on the first image.
        images: (N, C, H, W) in [0, 1].

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2, 3))
        >>> [name for name, _ in layers_from_the_head(net, torch.rand(1, 1, 3, 3))]
        ['3', '0']
    """
    own = {name: m for name, m in classifier.named_modules() if next(m.parameters(recurse=False), None) is not None}
    acted: dict[str, int] = {}
    count = 0

    def note(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            nonlocal count
            count += 1
            acted[name] = count

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in own.items()]
    try:
        with torch.no_grad(), frozen(classifier):
            classifier(images[:1])
    finally:
        for handle in handles:
            handle.remove()
    return sorted(own.items(), key=lambda pair: -acted.get(pair[0], 0))


def cascade_depths(count: int) -> tuple[int, ...]:
    """0, 1, 2, 4, … and all `count` layers.

    Example:
        >>> cascade_depths(10), cascade_depths(1)
        ((0, 1, 2, 4, 8, 10), (0, 1))
    """
    if count < 1:
        raise InputError("the network has no parameters, so nothing that was learned can be randomised.")
    powers = [2**k for k in range(count.bit_length()) if 2**k < count]
    return (0, *powers, count)


@contextmanager
def restored(classifier: nn.Module) -> Iterator[None]:
    """Parameters and buffers as before afterwards, also when what runs inside raises."""
    tensors = [*classifier.parameters(), *classifier.buffers()]
    copies = [t.detach().clone() for t in tensors]
    try:
        yield
    finally:
        for tensor, copy in zip(tensors, copies, strict=True):
            tensor.data.copy_(copy)


def randomize(module: nn.Module) -> None:
    """Draw a layer's parameters afresh from torch's global generator, in place.

    As the layer itself is made (`reset_parameters`); where it has no such method, from a normal distribution with the
    standard deviation of what was learned.
    """
    reset = getattr(module, "reset_parameters", None)
    own = [(parameter, parameter.data) for parameter in module.parameters(recurse=False)]
    for parameter, data in own:
        parameter.data = data.contiguous()  # torch draws in the order in which weights lie in memory
    if callable(reset):
        reset()
    else:
        for parameter, _ in own:
            spread = float(parameter.detach().float().std(unbiased=False)) or 1.0
            nn.init.normal_(parameter.data, std=spread)
    for parameter, data in own:
        parameter.data = data.copy_(parameter.data)


def cascade(
    mapper: Mapper,
    classifier: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    before: Tensor | None = None,
    depths: Sequence[int] | None = None,
    seed: int = 0,
    keep: int = 0,
) -> Randomization:
    """Randomise layers from the head downwards, and compare each map with that of the unchanged network.

    Batch norms that were randomised take mean and variance from the images, as training would have left them: with
    neither, the signal of a deep random network would vanish and the test would only ask what is left at 0. Every map
    is drawn with a seed of its own, so that an explainer's own chance counts as such.

    Args:
        mapper: what explains.
        classifier: is changed in place meanwhile, and left as it was.
        images: (N, C, H, W) in [0, 1].
        targets: int64 (N,), the classes explained.
        before: (N, H, W), the maps of the unchanged network with this seed; drawn here by default.
        depths: numbers of layers, rising from 0; `cascade_depths` by default.
        seed: of the new weights and of the maps.
        keep: E, how many images' maps are handed out.

    Raises:
        InputError: a network without parameters; depths that do not rise from 0 or exceed its layers.

    Source:
        Adebayo et al. 2018, arXiv 1810.03292, section 3 (cascading randomisation); Arun et al. 2021, arXiv
        2008.02766, which reads it by SSIM.
    """
    if len(images) == 0:
        raise InputError("randomisation needs at least one image; found none.")
    order = layers_from_the_head(classifier, images)
    stages = cascade_depths(len(order)) if depths is None else tuple(depths)
    if not stages or stages[0] != 0 or list(stages) != sorted(set(stages)) or stages[-1] > len(order):
        raise InputError(f"depths must rise from 0 to at most {len(order)} layers; found {stages}.")
    ranks, structures, examples, ends = [], [], [], []
    before = mapper(classifier, images, targets, seed) if before is None else before
    devices = [images.device] if images.device.type == "cuda" else []
    with restored(classifier), torch.random.fork_rng(devices=devices):
        torch.manual_seed(APART + seed)
        for step, depth in enumerate(stages):
            previous = stages[step - 1] if step else 0
            for _, module in order[previous:depth]:
                randomize(module)
            if depth:
                _calibrate([module for _, module in order[:depth]], classifier, images[:CALIBRATION])
            after = mapper(classifier, images, targets, seed + 1 + step)
            ranks.append(spearman(before, after).cpu())
            structures.append(ssim(before, after).cpu())
            examples.append(after[:keep].cpu())
            if step in {0, len(stages) - 1}:
                ends.append(after)
            advance(len(images))
    names = tuple(order[depth - 1][0] if depth else "" for depth in stages)
    return Randomization(
        stages,
        names,
        torch.stack(ranks),
        torch.stack(structures),
        torch.stack(examples),
        torch.stack([ends[0], ends[-1]]),
    )


def _calibrate(modules: Sequence[nn.Module], classifier: nn.Module, images: Tensor) -> None:
    """Give norm layers the statistics of what reaches them, one after the other, in a single pass."""

    def take(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        others = [d for d in range(inputs[0].ndim) if d != 1]
        mean, variance = inputs[0].mean(others), inputs[0].var(others, unbiased=False)
        module.running_mean.copy_(mean)  # type: ignore[operator]  # only modules that have it
        module.running_var.copy_(torch.where(variance > 0, variance, 1.0))  # type: ignore[operator]

    norms = [m for m in modules if isinstance(getattr(m, "running_mean", None), Tensor)]
    handles = [m.register_forward_pre_hook(take) for m in norms]
    try:
        if norms:
            with torch.no_grad():
                modes = [(m, m.training) for m in classifier.modules()]
                classifier.eval()  # not `frozen`, which would put the old statistics back
                classifier(images)
                for module, mode in modes:
                    module.training = mode
    finally:
        for handle in handles:
            handle.remove()
