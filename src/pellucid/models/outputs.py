"""What a network of others returns, as logits (N, K): tensors, named outputs, tuples, one column for two classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

import torch
from torch import Tensor

from pellucid.types import InputError, Task

OutputKind = Literal["logits", "probabilities"]

SMALLEST_PROBABILITY = 1e-12
"""A smaller probability of several classes counts as this one: its logarithm, and gradients of both orders, stay
finite in single precision."""
SMALLEST_SIGMOID = 1e-6
"""The probability of a class by itself counts as one between this and 1 less it: single precision has few numbers
nearer to 1, so that a logit beyond ±13.8 could not be told from infinity."""


def raw_outputs(output: Any, count: int, classes: int, task: Task) -> Tensor:  # noqa: ANN401
    """The one tensor (N, K) of what a module returned, or (N, 1) where that is enough.

    A tensor is taken as it is; of a named output, its `logits`; of a dict or a tuple with one tensor of the right
    shape, that one. (N, K, 1, 1) loses its last dimensions. One value per image is enough for the only class of a
    multi-label model, and for two classes that exclude each other.

    Args:
        output: what the module returned.
        count: N, the images in the batch.
        classes: K.
        task: of the model.

    Raises:
        InputError: no tensor of such a shape, or several.

    Example:
        >>> raw_outputs({"logits": torch.zeros(2, 3), "features": torch.zeros(2, 8)}, 2, 3, "multiclass").shape
        torch.Size([2, 3])
    """
    values = _tensor(output, count, classes, task)
    return values.flatten(1) if values.ndim > 1 else values[:, None]


def as_logits(values: Tensor, classes: int, task: Task, kind: OutputKind = "logits") -> Tensor:
    """Outputs (N, K) or (N, 1) as logits (N, K).

    One value per image for two classes is the logit of the second: the logits are then 0 and it. Probabilities become
    logits whose softmax, or sigmoid, they are, within the smallest that is told from 0.

    Example:
        >>> as_logits(torch.tensor([[0.8]]), 2, "multiclass", "probabilities").softmax(1)
        tensor([[0.2000, 0.8000]])
    """
    single = values.shape[1] == 1 and classes == 2
    if kind == "probabilities":
        by_itself = single or task == "multilabel"
        values = _logit(values) if by_itself else values.clamp_min(SMALLEST_PROBABILITY).log()
    return torch.cat([torch.zeros_like(values), values], 1) if single else values


def _logit(probabilities: Tensor) -> Tensor:
    return probabilities.clamp(SMALLEST_SIGMOID, 1 - SMALLEST_SIGMOID).logit()


def _fits(value: Any, count: int, classes: int, task: Task) -> bool:  # noqa: ANN401
    """Whether a value is a tensor of one number per image and class, or of one per image where that is enough."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return False
    shape = tuple(value.shape)
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    single = classes == 1 or (classes == 2 and task == "multiclass")
    return shape == (count, classes) or (single and shape in ((count,), (count, 1)))


def _is_map(value: Any) -> bool:  # noqa: ANN401
    """Whether a value has several places for an image."""
    return isinstance(value, Tensor) and value.ndim > 2 and value.shape[2:].numel() > 1


def _tensor(output: Any, count: int, classes: int, task: Task) -> Tensor:  # noqa: ANN401
    """The one tensor of the right shape in what a module returned."""
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(named, Tensor):
        output = named
    if isinstance(output, Mapping):
        parts = {str(key): value for key, value in output.items()}
    elif isinstance(output, tuple | list):
        parts = {str(place): value for place, value in enumerate(output)}
    else:
        parts = {"": output}
    fitting = [value for value in parts.values() if _fits(value, count, classes, task)]
    if len(fitting) == 1:
        (values,) = fitting
        return cast("Tensor", values)
    listing = ", ".join(f"{name}: {_shape(value)}" if name else _shape(value) for name, value in parts.items())
    if fitting:
        raise InputError(
            f"the network returns {len(fitting)} tensors that could be its logits ({listing}): let it return the "
            "logits alone, or a dict that has them under 'logits'."
        )
    if isinstance(output, Tensor) and not output.is_floating_point():
        raise InputError(
            f"the network returns {str(output.dtype).removeprefix('torch.')}, {_shape(output)}: decisions, or codes. "
            "Let it return its logits, floating-point numbers, one per class."
        )
    if parts and all(_is_map(value) for value in parts.values()):
        raise InputError(
            f"the network must return one number per class for each image, {(count, classes)}; found {listing}: a "
            "value for each place of an image, as networks of segmentation or of features give. That is no classifier. "
            "Give the network that its classes come from, or one that pools this map into a number per class."
        )
    classes_given = f"{classes} {'class is' if classes == 1 else 'classes are'} named"
    raise InputError(
        f"the wrapped network must return logits {(count, classes)}, one per class; found {listing or 'nothing'}. "
        f"{classes_given}: name one for each of its outputs, in their order."
    )


def _shape(value: Any) -> str:  # noqa: ANN401
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
