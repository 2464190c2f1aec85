"""A ReLU that bends: values and first derivatives stay the network's own, the second derivative is a smooth one's.

The gradient of a ReLU network is constant on pieces, so its own derivative is zero and nothing shows how to change a
saliency map. Ghorbani et al. 2019 and Dombrowski et al. 2019 replace each ReLU by a softplus and attack that other
network. Here only the second derivative is the softplus's, so the map that is being changed is always the real one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from torch import Tensor

SHARPNESS = 10.0
"""β of the softplus whose second derivative stands in: ``β σ(βx) (1 − σ(βx))``."""


class _Bent(torch.autograd.Function):
    """clamp(x, 0, ceiling) with its gradient, which is differentiable in turn."""

    @staticmethod
    def forward(x: Tensor, sharpness: float, ceiling: float | None) -> tuple[Tensor, Tensor, Tensor]:
        slope = (x > 0).to(x.dtype)
        bend = _bump(x, sharpness)
        if ceiling is not None:
            slope = slope * (x < ceiling)
            bend = bend - _bump(x - ceiling, sharpness)
        return x.clamp(0, ceiling), slope, bend

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:  # noqa: ANN401, ARG004
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*output[1:])  # and not x, which an in-place ReLU overwrites

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        raise NotImplementedError  # pragma: no cover
