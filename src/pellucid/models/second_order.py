"""What has to hold where a gradient is differentiated again: attacks on explanations, gradient penalties."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch.nn.attention import SDPBackend, sdpa_kernel

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Inside, attention is computed by operations whose gradients have gradients, instead of by a fused kernel.

    The fused kernels of `scaled_dot_product_attention` have a first derivative only. The forward pass has to be inside.

    Example:
        >>> import torch
        >>> import torch.nn.functional as F
        >>> x = torch.rand(1, 1, 3, 2, requires_grad=True)
        >>> with twice_differentiable():
        ...     value = F.scaled_dot_product_attention(x, x, x).sum()
        ...     (slope,) = torch.autograd.grad(value, x, create_graph=True)
        >>> torch.autograd.grad(slope.square().sum(), x)[0].shape
        torch.Size([1, 1, 3, 2])
    """
    with sdpa_kernel([SDPBackend.MATH]):
        yield
