"""A device that this machine does not have: tensors that claim to be there, and may not meet those of the processor.

Their numbers lie on the processor. An operation that a real accelerator refuses, for tensors of two devices or a
generator of another, raises `WrongDeviceError`; one that names no device makes a tensor of the processor, as anywhere.
"""

from __future__ import annotations

from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

ELSEWHERE = torch.device("xpu", 0)
aten = torch.ops.aten
# where a real accelerator takes tensors of the processor as well: copies, and the places of an index
MIXED = {aten.copy_.default, aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
# made of others in C++, which asks the wrapped tensor where it is
COMPOSITE = {nn.functional.one_hot}


class WrongDeviceError(RuntimeError):
    """Two devices met in one operation."""


class _Generator(torch.Generator):
    """A generator of the processor, or one that claims to be of `ELSEWHERE`."""

    def __new__(cls, device="cpu"):
        generator = super().__new__(cls)
        generator.there = is_there(device)
        return generator


class Elsewhere(Tensor):
    """A tensor that claims to be on `ELSEWHERE`."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner):
        return Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=inner.device,
        )

    def __init__(self, inner):
        self.inner = inner

    @property
    def device(self):
        return ELSEWHERE

    def untyped_storage(self):
        return self.inner.untyped_storage()

    def __repr__(self):
        return f"Elsewhere({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        strangers = [t for t in tensors if not isinstance(t, Elsewhere) and t.ndim > 0]
        if strangers and (func not in MIXED or not isinstance(tensors[0], Elsewhere)):
            shapes = [tuple(t.shape) for t in strangers]
            raise WrongDeviceError(f"{func}: tensors of {ELSEWHERE}, and of the processor, of shapes {shapes}")
        inner_args, inner_kwargs = tree_map_only(Elsewhere, lambda t: t.inner, (args, kwargs))
        result = func(*inner_args, **inner_kwargs)
        return return_and_correct_aliasing(func, args, kwargs, tree_map_only(Tensor, Elsewhere, result))


class There(torch.autograd.Function):
    """A copy of a tensor on `ELSEWHERE`."""

    @staticmethod
    def forward(ctx, tensor):
        return Elsewhere(tensor.detach().clone())

    @staticmethod
    def backward(ctx, gradient):
        return Back.apply(gradient)


class Back(torch.autograd.Function):
    """A copy of such a tensor on the processor."""

    @staticmethod
    def forward(ctx, tensor):
        return tensor.inner.detach().clone()

    @staticmethod
    def backward(ctx, gradient):
        return There.apply(gradient)


def moved(tensor, device):
    if device is None or torch.device(device).type == tensor.device.type:
        return tensor
    return (Back if isinstance(tensor, Elsewhere) else There).apply(tensor)


def is_there(device):
    return device is not None and torch.device(device).type == ELSEWHERE.type


class _Calls(TorchFunctionMode):
    """What names the device that is not here makes its tensors on the processor, and lets them claim to be there."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        first = args[0] if args else None
        if func in (Tensor.cpu, Tensor.tolist, Tensor.numpy) and isinstance(first, Elsewhere):
            if func is Tensor.numpy:
                raise TypeError(f"can't convert {ELSEWHERE} device type tensor to numpy")
            return Back.apply(first) if func is Tensor.cpu else first.inner.tolist()
        if func in COMPOSITE and isinstance(first, Elsewhere):
            return Elsewhere(func(first.inner, *args[1:], **kwargs))
        if func is Tensor.to:
            return self._to(first, args[1:], kwargs)
        there = is_there(kwargs.get("device"))
        if "device" in kwargs and there:
            kwargs["device"] = "cpu"
        generator = kwargs.get("generator")
        if generator is not None:
            target = there or (kwargs.get("device") is None and isinstance(first, Elsewhere))
            if target != generator.there:
                raise WrongDeviceError(f"{func.__name__}: a generator of another device than its numbers")
        result = func(*args, **kwargs)
        if not there or isinstance(result, Elsewhere):
            return result
        if torch.is_grad_enabled() and result.requires_grad and result.is_leaf:
            return Elsewhere(result.detach()).requires_grad_()
        return There.apply(result)

    def _to(self, tensor, args, kwargs):
        kwargs = dict(kwargs)
        device, rest = kwargs.pop("device", None), []
        for each in args:
            if isinstance(each, Tensor):
                device, _ = each.device, kwargs.setdefault("dtype", each.dtype)
            elif isinstance(each, torch.device | str):
                device = each
            else:
                rest.append(each)
        if rest or kwargs:
            tensor = Tensor.to(tensor, *rest, **kwargs)
        return moved(tensor, device)


@contextmanager
def other_device():
    """Until the block ends, `ELSEWHERE` can be named as a device."""
    with _Calls(), patch.object(torch, "Generator", _Generator):
        yield


def module_there(module: nn.Module) -> nn.Module:
    """The module with its parameters and buffers on `ELSEWHERE`."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        return module._apply(lambda t: Elsewhere(t.detach().clone()))
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
