"""What a module says of its images, and where its last feature map is: what it computes shows that, not its names."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.models.classifier import WrappedClassifier, check_split, frozen
from pellucid.models.find_layout import find_layout, probe_images
from pellucid.models.layouts import FeatureLayout, LastMap, tensor_of
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

TRIED = 4  # layers of each kind, from the last
POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.AvgPool2d, nn.MaxPool2d)


def find_split(model: WrappedClassifier) -> WrappedClassifier:
    """The model, with its last feature map noted where one is found; else as it is. See `find_last_map`."""
    model.last_map = find_last_map(model)
    return model


def find_last_map(model: WrappedClassifier) -> LastMap | None:
    """The last feature map of a model, by what it computes; None where there is none that can be explained.

    Where the logits are one linear layer on the mean of a map over its positions, it is that map, and class activation
    maps are to be had. Where they are not, it is the last map that the logits depend on: the last one (N, D, h, w) or
    the last norm of tokens; of a transformer with a class token the first norm of its last block, because after the
    last attention the class token alone counts.

    Source:
        The layers are those that pytorch-grad-cam recommends (Gildenblat 2021).
    """
    images = probe_images(model, 2)
    head = _last_linear(model, images)
    pooled = None if head is None else _pooled(model, images, *head)
    if pooled is not None and _holds(model, pooled):
        return pooled
    for name, with_extra in _last_layers(model, images):
        try:
            layout = find_layout(model, model.module.get_submodule(name), name)
        except InputError:
            continue
        if with_extra or not layout.extra_tokens:
            return LastMap(name, layout)
    return None


def find_head(model: WrappedClassifier) -> str | None:
    """The name of the linear layer whose output is the module's own; None where there is none, or it is not known."""
    images = probe_images(model, 2)
    layers: list[tuple[str, Tensor]] = []

    def note(name: str, part: nn.Module, output: Tensor, _inputs: object) -> None:
        if isinstance(part, nn.Linear) and output.ndim == 2:
            layers.append((name, output))

    with _watching(model, note):
        raw = model.raw_outputs(images)
    same = [name for name, output in layers if output.shape == raw.shape and torch.equal(output, raw)]
    return same[-1] if same and model.outputs == "logits" else None


def _holds(model: WrappedClassifier, last: LastMap) -> bool:
    """Whether the head on that map's mean gives the model's own logits."""
    before = model.last_map
    model.last_map = last
    try:
        check_split(model)
    except InputError:
        return False
    finally:
        model.last_map = before
    return True


@contextmanager
def _watching(model: WrappedClassifier, note: Callable[[str, nn.Module, Tensor, Any], None]) -> Iterator[None]:
    """Inside, `note` gets the name of each part that has run, the part, the tensor it puts out, and its inputs."""

    def hook(name: str, part: nn.Module, inputs: Any, output: object) -> None:  # noqa: ANN401
        tensor = tensor_of(output)
        if tensor is not None:
            note(name, part, tensor, inputs)

    parts = [(name, part) for name, part in model.module.named_modules() if name]
    handles = [part.register_forward_hook(partial(hook, name)) for name, part in parts]
    try:
        with torch.no_grad(), frozen(model):
            yield
    finally:
        for handle in handles:
            handle.remove()


def _last_linear(model: WrappedClassifier, images: Tensor) -> tuple[str, Tensor] | None:
    """The linear layer whose output is the logits, and its input (N, D)."""
    layers: list[tuple[str, Tensor, Tensor]] = []

    def note(name: str, part: nn.Module, output: Tensor, inputs: Any) -> None:  # noqa: ANN401
        if isinstance(part, nn.Linear) and output.ndim == 2 and len(inputs) == 1:
            layers.append((name, inputs[0], output))

    with _watching(model, note):
        logits = model(images)
    same = [(name, features) for name, features, output in layers if torch.equal(output.to(logits.dtype), logits)]
    return same[-1] if same else None


def _pooled(model: WrappedClassifier, images: Tensor, head: str, features: Tensor) -> LastMap | None:
    """The map whose mean over its positions is what the linear layer `head` takes, (N, D)."""
    candidates: list[LastMap] = []

    def note(name: str, _part: nn.Module, output: Tensor, _inputs: object) -> None:
        for layout, pooled in _means(output, features):
            for rectified in (False, True):
                if _alike(pooled(F.relu(output) if rectified else output), features):
                    candidates.append(LastMap(name, layout, head, rectified))
                    break

    with _watching(model, note):
        model(images)
    candidates.sort(key=lambda one: one.layer.count("."))
    for last in _rectified_last(model, images, candidates):
        if last.layout.name == "nchw":
            return last
        try:
            layout = find_layout(model, model.module.get_submodule(last.layer), last.layer)
        except InputError:
            continue
        if layout == last.layout:
            return last
    return None


def _rectified_last(model: WrappedClassifier, images: Tensor, candidates: Sequence[LastMap]) -> Iterator[LastMap]:
    """The candidates, those first of which nothing below zero is cut off before the mean."""
    rectified = [one for one in candidates if one.rectified]
    for one in candidates:
        if not one.rectified:
            if not _is_cut(model, images, one):
                yield one
            else:
                rectified.append(replace(one, rectified=True))
    yield from rectified


def _is_cut(model: WrappedClassifier, images: Tensor, last: LastMap) -> bool:
    """Whether what a map has below zero is cut off before its mean is taken.

    On some images nothing is below zero, and a convolution then has the same mean as the ReLU after it. So the map is
    shifted until half of it is, and what the head gets is compared with both means.
    """
    means: list[tuple[Tensor, Tensor]] = []
    heads: list[Tensor] = []

    def lower(_part: nn.Module, _inputs: object, output: object) -> Tensor | None:
        if not isinstance(output, Tensor):
            return None
        shifted = output - output.mean()
        axes = {"nchw": (2, 3), "nhwc": (1, 2), "tokens": (1,)}[last.layout.name]
        means.append((shifted.mean(axes), F.relu(shifted).mean(axes)))
        return shifted

    def note(_part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        heads.append(inputs[0])

    assert last.head is not None
    handles = [
        model.module.get_submodule(last.layer).register_forward_hook(lower),
        model.module.get_submodule(last.head).register_forward_pre_hook(note),
    ]
    try:
        with torch.no_grad(), frozen(model):
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    if not means or heads[-1].shape != means[-1][0].shape:
        return False
    whole, cut = means[-1]
    return not _alike(whole, heads[-1]) and _alike(cut, heads[-1])


def _means(output: Tensor, features: Tensor) -> Iterator[tuple[FeatureLayout, Callable[[Tensor], Tensor]]]:
    """The layouts in which an output of several positions has as many channels as there are features, and the means."""
    count, channels = features.shape
    if output.ndim not in (3, 4) or len(output) != count or output.numel() <= features.numel():
        return
    if output.ndim == 4 and output.shape[1] == channels:
        yield FeatureLayout("nchw"), lambda x: x.mean((2, 3))
    if output.ndim == 4 and output.shape[3] == channels:
        yield FeatureLayout("nhwc"), lambda x: x.mean((1, 2))
    if output.ndim == 3 and output.shape[2] == channels:
        yield FeatureLayout("tokens"), lambda x: x.mean(1)


def _alike(values: Tensor, expected: Tensor) -> bool:
    tolerance = 1e-4 if expected.dtype in (torch.float32, torch.float64) else 2e-2
    scale = float(expected.abs().max())
    return float((values - expected).abs().max()) <= tolerance * scale and scale > 0


def _last_layers(model: WrappedClassifier, images: Tensor) -> list[tuple[str, bool]]:
    """Layers that may put out the last feature map, the likeliest first, and whether extra tokens are welcome there."""
    maps: list[str] = []
    tokens: list[str] = []
    norms: list[str] = []
    order: list[int] = []  # 4 or 3 dimensions, as they come

    def note(name: str, part: nn.Module, output: Tensor, _inputs: object) -> None:
        if output.ndim not in (3, 4) or len(output) != len(images) or isinstance(part, (*POOLS, nn.Identity)):
            return
        order.append(output.ndim)
        if output.ndim == 3:
            tokens.append(name)
            norms.extend([name] if _is_norm(part) else [])
        elif output.shape[2] > 1:  # more than one position, in either layout
            maps.append(name)

    with _watching(model, note):
        model(images)
    last = [(norms[-1], False)] if norms else []
    blocks_of_tokens = _blocks(model.module, tokens)
    for block in blocks_of_tokens[::-1]:
        last += [(name, True) for name in norms if name.startswith(f"{block}.")][:1]
    if not blocks_of_tokens:  # a graph that was exported is a flat list of nodes
        last += [(name, True) for name in norms[-2::-1]]
    last = last[:TRIED]
    blocks = [(name, True) for name in _outermost(maps)[:TRIED]]
    return last + blocks if order and order[-1] == 3 else blocks + last


def _outermost(names: Sequence[str]) -> list[str]:
    """Layers from the last to run to the first, without those inside of one that comes before them in this order."""
    outer_names: list[str] = []
    for name in reversed(names):
        if not any(name.startswith(f"{outer}.") for outer in outer_names):
            outer_names.append(name)
    return outer_names


def _is_norm(part: nn.Module) -> bool:
    return "norm" in type(part).__name__.lower()


def _blocks(module: nn.Module, names: Sequence[str]) -> list[str]:
    """The blocks that the parts of these names belong to, in the order they ran: parts of a list of their likes."""
    blocks: dict[str, None] = {}
    for name in names:
        parts = name.split(".")
        for depth in range(len(parts) - 1, 0, -1):
            parent = module.get_submodule(".".join(parts[:depth]))
            block = ".".join(parts[: depth + 1])
            if isinstance(parent, nn.ModuleList | nn.Sequential) and any(
                _is_norm(part) for part in module.get_submodule(block).modules()
            ):
                blocks.pop(block, None)
                blocks[block] = None
                break
    return list(blocks)
