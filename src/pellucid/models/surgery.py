"""Exchanging parts of a finished network, in place: its activations, or whatever else is found in it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from torch import nn

from pellucid.models.activations import HalfHuberReLU
from pellucid.models.classifier import WrappedClassifier
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def replace_activation(
    module: nn.Module,
    new: Callable[[], nn.Module],
    *,
    old: type[nn.Module] | tuple[type[nn.Module], ...] = nn.ReLU,
) -> int:
    """Put new activations in the places of a network's old ones, in place.

    Weights and the names of parameters stay. An activation that stands in several places is replaced by one new one in
    all of them. A network that calls functions (`F.relu`) instead of modules has nothing there to replace.

    Args:
        module: any network, also one behind `wrap`.
        new: makes one activation; called once for each that is replaced.
        old: the kind or kinds to replace, subclasses too.

    Returns:
        How many were replaced.

    Raises:
        InputError: there is none of that kind; the message says which activations there are. Or `module` is itself
            the activation, which nothing can replace in place.

    Example:
        >>> from pellucid.models.activations import HalfHuberReLU
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU6(), nn.Conv2d(4, 4, 3), nn.ReLU6())
        >>> replace_activation(net, HalfHuberReLU, old=nn.ReLU6)
        2
        >>> net[1]
        HalfHuberReLU(delta=0.5)
    """
    count = replace_modules(module, lambda part: isinstance(part, old), lambda _: new())
    if not count:
        kinds = old if isinstance(old, tuple) else (old,)
        raise InputError(f"the network has no {' or '.join(kind.__name__ for kind in kinds)}; {_activations(module)}")
    return count


def replace_linear(module: nn.Module, name: str, outputs: int) -> nn.Linear:
    """Put a fresh linear layer with so many outputs in the place of a network's own, in place.

    Args:
        module: the network.
        name: of its layer, as `named_modules` calls it.
        outputs: of the new one, which is drawn from torch's global generator.

    Raises:
        InputError: there is no linear layer of that name.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> replace_linear(net, "1", 3)
        Linear(in_features=4, out_features=3, bias=True)
    """
    old = dict(module.named_modules()).get(name)
    if not name or not isinstance(old, nn.Linear):
        raise InputError(f"{type(module).__name__} has no linear layer {name!r} to be replaced.")
    weight = old.weight
    new = nn.Linear(old.in_features, outputs, old.bias is not None, device=weight.device, dtype=weight.dtype)
    parent, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(parent), leaf, new.train(old.training))
    return new


def replace_modules(
    module: nn.Module, is_replaced: Callable[[nn.Module], bool], make: Callable[[nn.Module], nn.Module]
) -> int:
    """Put `make(part)` in the place of each chosen part of a network, in place, and return how many parts there were.

    A part that stands in several places is made anew once. What a chosen part contains is not looked at. The new part
    is in training mode where the old one was.

    Raises:
        InputError: the network itself is chosen.
    """
    if is_replaced(module):
        raise InputError(
            f"{type(module).__name__} is itself what is to be replaced, and stands in no place where another could: "
            "make the other one instead, or put it into nn.Sequential first."
        )
    new_of: dict[nn.Module, nn.Module] = {}
    visited: set[nn.Module] = set()

    def visit(parent: nn.Module) -> None:
        visited.add(parent)
        for name, part in list(parent._modules.items()):
            if part is None or part in visited:
                continue
            if is_replaced(part):
                if part not in new_of:
                    new_of[part] = make(part).train(part.training)
                setattr(parent, name, new_of[part])
            else:
                visit(part)

    for root in (module, *_unregistered(module)):
        if root not in visited:
            visit(root)
    return len(new_of)


def _unregistered(module: nn.Module) -> Iterator[nn.Module]:
    """What `wrap` was told of a network's halves: containers of its parts that the network itself may not hold."""
    for part in module.modules():
        if isinstance(part, WrappedClassifier):
            yield from (half for half in part.halves if isinstance(half, nn.Module))


def _activations(module: nn.Module) -> str:
    """The activations that a network has, in words, and what to pass for them."""
    counts = Counter(
        type(part).__name__
        for part in module.modules()
        if isinstance(part, HalfHuberReLU)
        or (type(part).__module__ == nn.ReLU.__module__ and not isinstance(part, nn.MultiheadAttention))
    )
    if not counts:
        return "it has no activation module at all: activations that it calls as functions (F.relu) stay as they are."
    listing = ", ".join(f"{name} ×{count}" for name, count in counts.most_common())
    return f"it has {listing}. Pass old=nn.{next(iter(counts))}, or whichever you mean."
