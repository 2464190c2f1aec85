"""How a layer holds its feature map, told by its shape and by where it changes when the image does."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.models.classifier import frozen
from pellucid.models.layouts import FeatureLayout, grid_of, leaf_at, outputs_at, tensor_of
from pellucid.types import InputError, device_of
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from typing import Any

MOST_EXTRA_TOKENS = 64
BLOCKS = 4  # places along each side of the image that are changed one by one
IN_PLACE = 0.6  # least correlation of where an image was changed and where its map changes
CHANGE = 0.3  # how far the pixels there go towards other ones
AT_ONCE = 8
EARLY = 3  # layers of tokens in which their order may show
MOST = 0.5  # of the tokens


def find_layout(classifier: nn.Module, layer: nn.Module, name: str) -> FeatureLayout:
    """How a layer's output holds its feature map: what its shape allows, and images confirm.

    Shapes alone mislead: (N, 8, 8, 8) may be channels first or last, a square attention matrix looks like a map, and
    tokens may stand in another order than row by row. So an image twice as high shows which axis holds the rows. Of
    tokens, and of networks that take one size only, the image is changed place by place instead: the layout is the one
    in which the map changes where the image does. Deep in a trained transformer every token changes with every place;
    there, the tokens are followed from the first layer in which they do not.

    Args:
        classifier: with `input_spec`; in evaluation mode meanwhile, and left as it was.
        layer: one of its modules.
        name: of the layer, for messages.

    Raises:
        InputError: a layer that holds no feature map, or one whose layout cannot be told.
    """
    images = _changed_images(classifier)
    size = (images.shape[2], images.shape[3])
    output = _outputs(classifier, layer, name, images[:1])
    candidates = _candidates(output, size, _patch_grids(classifier, images[:1]))
    if not candidates:
        raise InputError(
            f"layer {name!r} must put out a feature map, (N, D, h, w), (N, h, w, D) or tokens (N, h·w, D), to be "
            f"explained; found {_shape(output)} for images of {size[0]} × {size[1]} pixels."
        )
    taller = _taller(classifier, layer, output) if output.ndim == 4 else None
    if taller is not None:
        fitting = [layout for layout in candidates if layout.name == taller]
    else:
        outputs = torch.cat([_outputs(classifier, layer, name, part) for part in torch.split(images, AT_ONCE)])
        fitting = [layout for layout in candidates if _moves_with_the_image(layout.to_map(outputs, size))]
        if not fitting and len(candidates) == 1 and candidates[0].name == "tokens":  # deep attention mixes all places
            fitting = candidates if _keeps_order(classifier, layer, candidates[0], images) else []
    if len(fitting) != 1:
        fit = "both" if fitting else "neither" if len(candidates) > 1 else "no such map"
        raise InputError(
            f"the layout of layer {name!r} cannot be told: its output {_shape(output)} could be "
            f"{' or '.join(layout.name for layout in candidates)}, and what it does as the image changes fits {fit}. "
            "Name another layer (--layer), or in Python give its layout (layout=)."
        )
    if fitting[0].extra_tokens:
        _check_positions_matter(classifier, layer, name, fitting[0], images[:1])
    return fitting[0]


def _taller(classifier: nn.Module, layer: nn.Module, output: Tensor) -> str | None:
    """The layout whose rows become more where the image is twice as high; `other` where that fits none.

    None where the layer puts out the same for every size, or is not reached by images of another.
    """
    images = probe_images(classifier, 1)
    # whatever it refuses by
    with outputs_at(layer) as outputs, torch.no_grad(), frozen(classifier), suppress(Exception):
        classifier(torch.cat([images, images], dim=2))
    if not outputs or outputs[0].shape == output.shape:
        return None
    axes = [axis for axis in range(4) if outputs[0].ndim != 4 or outputs[0].shape[axis] != output.shape[axis]]
    return "nchw" if axes == [2] else "nhwc" if axes == [1] else "other"


def _check_positions_matter(
    classifier: nn.Module, layer: nn.Module, name: str, layout: FeatureLayout, images: Tensor
) -> None:
    """Refuse tokens of which only the extra ones reach the logits, as those after a transformer's last attention."""
    with leaf_at(layer) as leaf, frozen(classifier), torch.enable_grad():
        logits = classifier(images)
        weights = torch.linspace(1, 2, logits.shape[1], device=logits.device, dtype=logits.dtype)
        gradient = _gradient((logits * weights).sum(), leaf[0])
    if not bool(gradient[:, layout.extra_tokens :].any()):
        raise InputError(
            f"only the class token of layer {name!r} reaches the logits, so its positions explain nothing: name a "
            "layer before the last attention, as the first norm of the last block."
        )


def _gradient(value: Tensor, leaf: Tensor) -> Tensor:
    if not value.requires_grad:
        return torch.zeros_like(leaf)
    (gradient,) = torch.autograd.grad(value, leaf, allow_unused=True)
    return torch.zeros_like(leaf) if gradient is None else gradient


def _shape(output: Tensor) -> str:
    return f"({', '.join(['N', *map(str, output.shape[1:])])})"


def _candidates(output: Tensor, size: tuple[int, int], patches: list[tuple[int, int]]) -> list[FeatureLayout]:
    """The layouts that a shape allows."""
    if output.ndim == 3:
        if patches:
            fits = [output.shape[1] - h * w for h, w in patches]
        else:
            fits = [extra for extra in range(output.shape[1]) if grid_of(output.shape[1] - extra, size)]
        extra = min((e for e in fits if e >= 0), default=MOST_EXTRA_TOKENS + 1)
        return [FeatureLayout("tokens", extra)] if extra <= MOST_EXTRA_TOKENS else []
    if output.ndim != 4:
        return []
    _, a, b, c = output.shape
    layouts = [FeatureLayout("nchw")] if _is_grid(b, c, size) else []
    return layouts + ([FeatureLayout("nhwc")] if _is_grid(a, b, size) else [])


def _is_grid(h: int, w: int, size: tuple[int, int]) -> bool:
    """Whether so many rows and columns can lie over an image; its edges may cost a map of another shape a few."""
    height, width = size
    if height == width:
        return h == w <= height
    return h <= height and w <= width and abs(h * width / height - w) <= 1 + w / 4


def _patch_grids(classifier: nn.Module, images: Tensor) -> list[tuple[int, int]]:
    """The grid of a network's patches and the coarser ones that merging them by two gives; none without patches.

    Patches are what a convolution cuts whose stride is its kernel, before anything else looks at the image.
    """
    first = next((m for m in classifier.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None or first.stride != first.kernel_size or max(first.stride) < 2:
        return []
    with outputs_at(first) as outputs, torch.no_grad(), frozen(classifier):
        classifier(images)
    if not outputs or outputs[0].ndim != 4:
        return []
    h, w = (int(side) for side in outputs[0].shape[2:])
    grids: list[tuple[int, int]] = []
    while not grids or grids[-1] != (1, 1):
        grids.append((h, w))
        h, w = math.ceil(h / 2), math.ceil(w / 2)
    return grids


def probe_images(classifier: Any, count: int) -> Tensor:  # noqa: ANN401 (a classifier that is a module)
    """Images (count, C, H, W) of uniform noise, the same every time; the global generator is left alone."""
    generator = torch.Generator().manual_seed(0)
    device = device_of(classifier)
    return torch.rand((count, *classifier.input_spec.shape), generator=generator).to(device)


def _changed_images(classifier: nn.Module) -> Tensor:
    """An image of noise, and BLOCKS² more in which one place after the other holds some other noise, row by row.

    Noise, because a grey image is a singular point of norms; a little of it, so that places change and do not saturate.
    """
    image, other = probe_images(classifier, 2)
    images: Tensor = image.repeat(1 + BLOCKS**2, 1, 1, 1)
    for block in range(BLOCKS**2):
        rows, columns = (_span(place, side) for place, side in zip(divmod(block, BLOCKS), image.shape[1:], strict=True))
        images[1 + block, :, rows, columns] += CHANGE * (other - image)[:, rows, columns]
    return images


def _span(place: int, side: int) -> slice:
    return slice(place * side // BLOCKS, (place + 1) * side // BLOCKS)


def _outputs(classifier: Any, layer: nn.Module, name: str, images: Tensor) -> Tensor:  # noqa: ANN401
    with outputs_at(layer) as outputs, torch.no_grad(), frozen(classifier):
        classifier(images)
    if len(outputs) != 1:
        raise InputError(f"layer {name!r} must run once in a forward pass; it ran {len(outputs)} times.")
    output: Tensor = outputs[0].detach().float()
    if output.ndim == 0 or len(output) != len(images):  # windows of the images, or tokens before images
        raise InputError(
            f"layer {name!r} must put out one feature map per image to be explained; found {tuple(output.shape)} for "
            f"{number_of(len(images), 'image(s)')}."
        )
    return output


def _moves_with_the_image(maps: Tensor) -> bool:
    """Whether a map changes where the image was changed, along both axes.

    Args:
        maps: (1 + BLOCKS², D, h, w) of `_changed_images`.
    """
    change = (maps[1:] - maps[:1]).norm(dim=1)  # (B, h, w)
    total = change.sum(0, keepdim=True)
    share = torch.where(total > 0, change / total - 1 / len(change), 0.0)  # what each position tells of the blocks
    for axis, other, blocks in ((1, 2, _places() // BLOCKS), (2, 1, _places() % BLOCKS)):
        if maps.shape[axis + 1] == 1:
            continue
        along = share.sum(other)  # (B, positions)
        centre = along @ torch.arange(along.shape[1], dtype=along.dtype, device=along.device)
        pair = torch.stack([centre, blocks.to(centre)])
        if not float(torch.corrcoef(pair)[0, 1]) >= IN_PLACE:  # also where nothing moves
            return False
    return True


def _keeps_order(classifier: nn.Module, layer: nn.Module, layout: FeatureLayout, images: Tensor) -> bool:
    """Whether a layer's tokens stand in the order of those that an early layer has where the image is.

    What a block adds to a token leaves it most like itself. So, from the early layer on, each layer of as many tokens
    in which most are likest to the token of their own place in the last such layer is in the same order.

    Args:
        classifier: with `input_spec`.
        layer: one of its modules.
        layout: of the layer, tokens.
        images: of `_changed_images`.
    """
    size = (images.shape[2], images.shape[3])
    layers: list[tuple[nn.Module, Tensor]] = []

    def note(part: nn.Module, _inputs: object, output: object) -> None:
        tensor = tensor_of(output)
        if tensor is not None and tensor.ndim == 3:
            layers.append((part, tensor.detach().float()))

    handles = [part.register_forward_hook(note) for part in classifier.modules()]
    try:
        with torch.no_grad(), frozen(classifier):
            classifier(probe_images(classifier, AT_ONCE))
    finally:
        for handle in handles:
            handle.remove()
    last = next((tokens for part, tokens in reversed(layers) if part is layer), None)
    if last is None:
        return False
    alike = [(part, tokens) for part, tokens in layers if tokens.shape == last.shape]
    for start, (first, tokens) in enumerate(alike[:EARLY]):
        outputs = torch.cat([_outputs(classifier, first, "", part) for part in torch.split(images, AT_ONCE)])
        if not _moves_with_the_image(layout.to_map(outputs, size)):
            continue
        reference = tokens
        for part, later in alike[start + 1 :]:
            in_order = _share_in_place(reference[:, layout.extra_tokens :], later[:, layout.extra_tokens :]) >= MOST
            reference = later if in_order else reference
            if part is layer:
                return in_order
    return False


def _share_in_place(before: Tensor, after: Tensor) -> float:
    """Of tokens (N, T, D), how many are likest, over all images, to the one before them that has their place."""
    directions = [F.normalize(tokens - tokens.mean(1, keepdim=True), dim=2) for tokens in (after, before)]
    similarity = (directions[0] @ directions[1].mT).mean(0)
    return float((similarity.argmax(1) == torch.arange(after.shape[1], device=after.device)).float().mean())


def _places() -> Tensor:
    return torch.arange(BLOCKS**2)
