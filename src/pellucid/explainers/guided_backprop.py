"""Guided backpropagation: the gradient of a logit, of which every ReLU lets only the positive part through."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pellucid.explainers.gradients import saliency_in_parts
from pellucid.models.activations import HalfHuberReLU
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pellucid.explainers.explanation import Explanation, Targets
    from pellucid.types import Classifier

RECTIFIERS = (nn.ReLU, nn.ReLU6, HalfHuberReLU)


def guided_backprop(
    classifier: Classifier, images: Tensor, targets: Targets, *, batch_size: int | None = None
) -> Explanation:
    """``max_channels |g|`` of the guided gradient g: behind every rectifier, ``max(0, h'(z) · ∂f_c/∂h)``.

    The paper's rule for a ReLU, whose slope h' is 0 or 1. The same rule serves the half-Huber ReLU and ReLU6: their
    slope is never negative, so that the positive part is taken before or after it alike. A network whose rectifiers
    are functions instead of modules cannot be seen into; where some are, only the modules are guided.

    Args:
        classifier: a torch module with `nn.ReLU`, `nn.ReLU6` or `HalfHuberReLU` modules; in place or used several
            times does no harm.
        images: (N, C, H, W) in [0, 1].
        targets: class indices (N,), one index for all, or "all", which costs one backward pass per class.
        batch_size: images at a time; as many as fit in memory by default.

    Returns:
        Maps (N, H, W), not negative; (N, K, H, W) for "all".

    Raises:
        InputError: a network without such modules; images that are not pixels in [0, 1]; targets that are no classes.

    Source:
        Springenberg et al. 2015, "Striving for simplicity: the all convolutional net", arXiv 1412.6806, section 3.4.
        Its maps depend little on what a network has learned: Adebayo et al. 2018, arXiv 1810.03292.
    """
    modules = classifier.modules() if isinstance(classifier, nn.Module) else ()
    rectifiers = [module for module in modules if isinstance(module, RECTIFIERS)]
    if not rectifiers:
        raise InputError(
            "guided backpropagation needs rectifiers that are modules (nn.ReLU, nn.ReLU6, HalfHuberReLU), and this "
            "network has none: use saliency or smoothgrad, or write F.relu as an nn.ReLU of its own."
        )
    with _guided(rectifiers):
        return saliency_in_parts("guided-backprop", classifier, images, targets, batch_size)


class _PositiveGradient(torch.autograd.Function):
    """The identity, whose gradient is cut at 0; a copy, so that a rectifier in place cannot reach its input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401, ARG004 (torch's own signature)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ANN401, ARG004
        return gradients[0].relu()


@contextmanager
def _guided(rectifiers: Sequence[nn.Module]) -> Iterator[None]:
    """Hooks on the rectifiers' inputs, gone afterwards."""

    def cut(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (_PositiveGradient.apply(inputs[0]), *inputs[1:])  # type: ignore[no-untyped-call]

    handles = [module.register_forward_pre_hook(cut) for module in rectifiers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
