"""The memory order of a network's weights: `channels_last` is faster on a CPU, where it works."""

from __future__ import annotations

import math
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pellucid.models.classifier import frozen
from pellucid.types import device_of

if TYPE_CHECKING:
    from collections.abc import Iterator

NARROW = 8
"""From so many input channels on, oneDNN computes the gradient of a 1×1 convolution with a stride within bounds."""


def narrow_layers(network: nn.Module) -> list[str]:
    """The layers whose gradient a CPU does not compute within bounds in `channels_last`.

    The backward pass of a 1×1 convolution with a stride and fewer than 8 input channels writes beyond its memory in
    the oneDNN of torch 2.13 on processors with AVX2 (docs/decisions/0013-channels-last-on-a-cpu.md).

    Example:
        >>> narrow_layers(nn.Sequential(nn.Conv2d(4, 8, 1, 2), nn.Conv2d(8, 8, 1, 2)))
        ['0']
    """
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and max(module.stride) > 1
        and module.in_channels // module.groups < NARROW
    ]


@contextmanager
def channels_last(*classifiers: Any) -> Iterator[None]:  # noqa: ANN401 (classifiers, or anything that acts like one)
    """Inside, the weights of convolutions lie in `channels_last`; answers differ by rounding. Afterwards as before.

    Most networks of convolutions then take less of a CPU's time, up to a quarter. One on another device, without
    convolutions, with `narrow_layers`, or that cannot answer in this order (as it views a map as a vector), is left
    alone.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3))
        >>> with channels_last(net):
        ...     pass
        >>> net[0].weight.is_contiguous()
        True
    """
    with ExitStack() as orders:
        for classifier in classifiers:
            orders.enter_context(_turned(classifier))
        yield


@contextmanager
def _turned(classifier: Any) -> Iterator[None]:  # noqa: ANN401
    convolutions = isinstance(classifier, nn.Module) and any(isinstance(m, nn.Conv2d) for m in classifier.modules())
    if not convolutions or device_of(classifier).type != "cpu" or narrow_layers(classifier):
        yield
        return
    weights = [(p, p.data) for p in classifier.parameters() if p.ndim == 4]
    before = _answer(classifier)
    try:
        for parameter, data in weights:  # `contiguous` would leave kernels of one channel or pixel, which are in both
            parameter.data = data.to(memory_format=torch.channels_last)
        if not _same(before, _answer(classifier)):
            _put_back(weights)
        yield
    finally:
        _put_back(weights)


def _put_back(weights: list[tuple[nn.Parameter, torch.Tensor]]) -> None:
    for parameter, data in weights:
        parameter.data = data


def _answer(classifier: Any) -> torch.Tensor | None:  # noqa: ANN401
    """To one image that is not constant; None where there is none."""
    spec = getattr(classifier, "input_spec", None)
    if spec is None:
        return None
    ramp = torch.linspace(0, 1, math.prod(spec.shape)) * 37 % 1
    try:
        with torch.no_grad(), frozen(classifier):
            answer: torch.Tensor = classifier(ramp.view(1, *spec.shape))
    except RuntimeError:  # as of a view that this order does not have
        return None
    return answer


def _same(before: torch.Tensor | None, after: torch.Tensor | None) -> bool:
    if before is None or after is None:
        return False
    scale = max(float(before.abs().max()), 0.1)
    return float((after - before).abs().max()) <= 1e-4 * scale  # not where they are NaN
