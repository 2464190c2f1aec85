"""Where a network's derivative jumps: found by what it computes on an image, so that functions count as modules do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pellucid.models.architectures.half_huber import is_half_huber
from pellucid.models.classifier import frozen
from pellucid.models.second_order import twice_differentiable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

_MOVE = "Alias View UnsafeView ReshapeAlias AsStrided T Transpose Permute Squeeze Unsqueeze Expand Repeat Clone ToCopy "
_MOVE += "Cat Stack Split SplitWithSizes Unbind Slice Select Roll Flip Im2Col Col2Im PixelShuffle PixelUnshuffle "
_MOVE += "ConstantPadNd ReflectionPad2D ReplicationPad2D UpsampleNearest2D UpsampleBilinear2D UpsampleBicubic2D "
_LINEAR = "Add Sub Rsub Neg Mul Div Sum Mean AvgPool2D AdaptiveAvgPool2D Convolution Addmm Mm Bmm Baddbmm Addcmul Lerp "
_NORM = "NativeBatchNorm CudnnBatchNorm MiopenBatchNorm NativeGroupNorm NativeLayerNorm Var VarMean Rsqrt "
_CURVE = "Sigmoid Tanh Exp Erf Sin Cos Gelu Silu Mish Softplus LogSigmoid Glu Celu Softmax SafeSoftmax LogSoftmax "
_CURVE += "Logsumexp"
SMOOTH = frozenset((_MOVE + _LINEAR + _NORM + _CURVE).split())
"""torch's operations whose derivative is continuous wherever networks use them, as autograd names them."""
SMOOTH_IF: dict[str, Callable[[Any], bool]] = {
    "Elu": lambda node: node._saved_alpha * node._saved_input_scale == 1,  # SELU's slope is another left of 0
    "Pow": lambda node: float(node._saved_exponent).is_integer() and node._saved_exponent >= 1,
}
"""Those of which it depends on a constant."""


def kinks(network: nn.Module, images: Tensor) -> list[str]:
    """The operations of a network that have kinks, or that are not known to have none; empty for a smooth one.

    A kink is where the derivative jumps: the corner of a ReLU, the change of the largest value of max-pooling. The
    half-Huber ReLU has none, nor have GELU, SiLU, softplus, ELU with α = 1. A foreign function is not known, and a
    comparison (``x * (x > 0)``) counts, though no gradient passes through it. What happens in training mode alone is
    not looked at; dropout, which is that, has no kinks.

    Args:
        network: any; it is left as it is, in its mode and its buffers.
        images: float (N, C, H, W) on its device; one is enough.

    Returns:
        Their names as in torch, without repeats, in order of the alphabet.

    Example:
        >>> kinks(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU()), torch.rand(1, 1, 8, 8))
        ['Relu']
        >>> kinks(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.GELU()), torch.rand(1, 1, 8, 8))
        []
    """
    comparisons = _Comparisons()
    # parameters are held: what depends on them alone, not on the images, cannot have a kink in them
    with torch.enable_grad(), frozen(network), twice_differentiable(), comparisons:
        logits = network(images.detach().clone().requires_grad_())
    names = (
        {_name(node) for node in _graph(logits) if not _is_smooth(node)} if logits.requires_grad else {"no gradient"}
    )
    return sorted(names | comparisons.names)


class _Comparisons(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes which operations make whole numbers or truth values of numbers: through them no gradient is seen."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        result = func(*args, **(kwargs or {}))
        takes_numbers = any(isinstance(arg, torch.Tensor) and arg.is_floating_point() for arg in args)
        if takes_numbers and isinstance(result, torch.Tensor) and result.dtype in (torch.bool, torch.int64):
            self.names.add(func.overloadpacket.__name__)
        return result


def _graph(value: Tensor) -> Iterator[Any]:
    """Every node of the graph of a value."""
    visited, waiting = set(), [value.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in visited:
            visited.add(node)
            yield node
            waiting += [before for before, _ in node.next_functions]


def _name(node: Any) -> str:  # noqa: ANN401
    """`Relu` of ``ReluBackward0``."""
    return re.sub(r"Backward\d*$", "", node.name().rpartition("::")[2])


def _is_smooth(node: Any) -> bool:  # noqa: ANN401
    name = _name(node)
    if name in SMOOTH_IF:
        return SMOOTH_IF[name](node)
    return name in SMOOTH or name == "AccumulateGrad" or is_half_huber(node)
