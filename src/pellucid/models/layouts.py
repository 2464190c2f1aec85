"""How a layer's output holds its feature map: channels first, channels last, or as a row of tokens."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import nn

Layout = Literal["nchw", "nhwc", "tokens"]
LAYOUTS: tuple[Layout, ...] = ("nchw", "nhwc", "tokens")


@dataclass(frozen=True)
class FeatureLayout:
    """How a layer's output holds a feature map of D channels and h × w positions.

    Attributes:
        name: `nchw`, (N, D, h, w); `nhwc`, (N, h, w, D); `tokens`, (N, extra + h·w, D), the positions row by row.
        extra_tokens: of `tokens`, how many stand before the positions: the class token, registers.
        grid: of `tokens`, h and w, where the shape of the image does not say them.

    Raises:
        InputError: an unknown layout; extra tokens or a grid of a layout that has none.
    """

    name: Layout
    extra_tokens: int = 0
    grid: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.name not in LAYOUTS:
            raise InputError(f"a layout is {', '.join(LAYOUTS)}; found {self.name!r}.")
        if self.extra_tokens < 0 or (self.name != "tokens" and (self.extra_tokens or self.grid)):
            raise InputError(
                f"only tokens have extra ones before a grid, 0 or more; found {self.extra_tokens} and the grid "
                f"{self.grid} of {self.name}."
            )

    def to_map(self, output: Tensor, size: tuple[int, int]) -> Tensor:
        """A layer's output as the feature map (N, D, h, w); see `to_map`."""
        grid = self.grid
        if self.name == "tokens" and grid is None and output.ndim == 3:
            grid = grid_of(output.shape[1] - self.extra_tokens, size)
        return to_map(output, self.name, grid, self.extra_tokens)


@dataclass(frozen=True)
class LastMap:
    """Where a module's last feature map is, and whether the rest is pooling and one linear layer.

    Attributes:
        layer: the name of the layer that puts the map out, as in `named_modules()`.
        layout: how.
        head: the name of the linear layer that turns the map's mean over positions into logits; None where more than
            that follows.
        rectified: whether a ReLU that is no module follows the layer, as in torchvision's DenseNet.
    """

    layer: str
    layout: FeatureLayout
    head: str | None = None
    rectified: bool = False

    def to_card(self) -> dict[str, Any]:
        """As a table of `model.toml`.

        Example:
            >>> LastMap("stages", FeatureLayout("nchw"), head="fc").to_card()
            {'layer': 'stages', 'layout': 'nchw', 'head': 'fc'}
        """
        layout = self.layout
        plain = {
            "layer": self.layer,
            "layout": layout.name,
            "extra_tokens": layout.extra_tokens,
            "grid": list(layout.grid or ()),
            "head": self.head,
            "rectified": self.rectified,
        }
        return {name: value for name, value in plain.items() if value}

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> LastMap:
        """What `to_card` wrote.

        Raises:
            InputError: a table without a layer or layout, or with what is none.
        """
        keys = {"layer", "layout", "extra_tokens", "grid", "head", "rectified"}
        if not {"layer", "layout"} <= set(card) <= keys:
            raise InputError(f"features names a layer and its layout, of {sorted(keys)}; found {sorted(card)}.")
        grid = tuple(card.get("grid", ())) or None
        layout = FeatureLayout(card["layout"], card.get("extra_tokens", 0), grid)
        return cls(card["layer"], layout, card.get("head"), card.get("rectified", False))


def to_map(output: Tensor, layout: Layout, grid: tuple[int, int] | None = None, extra_tokens: int = 0) -> Tensor:
    """A layer's output as the feature map (N, D, h, w), differentiable.

    Args:
        output: as `layout` says.
        layout: see `FeatureLayout`.
        grid: of tokens, h and w; h·w must be what is left of the extra ones.
        extra_tokens: of tokens, how many to drop at the beginning.

    Raises:
        InputError: another number of dimensions or tokens.

    Example:
        >>> import torch
        >>> to_map(torch.zeros(2, 5, 3), "tokens", (2, 2), extra_tokens=1).shape
        torch.Size([2, 3, 2, 2])
    """
    dimensions = 3 if layout == "tokens" else 4
    if output.ndim != dimensions:
        raise InputError(f"a layer in the layout {layout} has {dimensions} dimensions; found {tuple(output.shape)}.")
    if layout == "nchw":
        return output
    if layout == "nhwc":
        return output.permute(0, 3, 1, 2)
    if grid is None or output.shape[1] - extra_tokens != grid[0] * grid[1]:
        raise InputError(
            f"{output.shape[1]} tokens, {extra_tokens} of them extra, are no grid"
            + ("." if grid is None else f" of {grid[0]} × {grid[1]}.")
        )
    return output[:, extra_tokens:].reshape(len(output), *grid, -1).permute(0, 3, 1, 2)


def grid_of(positions: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """The grid h × w of so many positions over an image of height and width `size`; None where there is none.

    Patches are square and lie over the image edge to edge, the last of a row cut off or padded where they do not fit.

    Example:
        >>> grid_of(196, (224, 224)), grid_of(32, (64, 128)), grid_of(50, (224, 224))
        ((14, 14), (4, 8), None)
    """
    height, width = size
    grids = []
    for h in range(1, positions + 1):
        w = positions // h
        smallest = max(height / (h + 1), width / (w + 1))  # side of a patch of which so many fit, cut or padded
        largest = min(height / max(h - 1, 1e-9), width / max(w - 1, 1e-9))
        if h * w == positions and smallest < largest and (h == w or height != width):
            grids.append((abs(h * width / height - w), (h, w)))
    return min(grids)[1] if grids else None


def tensor_of(output: object) -> Tensor | None:
    """The tensor that a module puts out, be it alone or the first of several; None where there is none."""
    if isinstance(output, tuple | list) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None


def with_tensor(output: Any, tensor: Tensor) -> Any:  # noqa: ANN401 (whatever the module puts out)
    """What a module puts out, with another tensor in the place of `tensor_of`."""
    if isinstance(output, Tensor):
        return tensor
    return type(output)([tensor, *output[1:]])


@contextmanager
def outputs_at(module: nn.Module) -> Iterator[list[Tensor]]:
    """Inside, a list of what the module puts out, call by call."""
    outputs: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: object) -> None:
        tensor = tensor_of(output)
        if tensor is not None:
            outputs.append(tensor)

    handle = module.register_forward_hook(keep)
    try:
        yield outputs
    finally:
        handle.remove()


@contextmanager
def leaf_at(module: nn.Module) -> Iterator[list[Tensor]]:
    """Inside, what the module puts out is cut off from what came before: a list of leaves to differentiate by."""
    leaves: list[Tensor] = []

    def cut(_module: nn.Module, _inputs: object, output: Any) -> Any:  # noqa: ANN401
        tensor = tensor_of(output)
        if tensor is None or not tensor.is_floating_point():
            return None
        leaves.append(tensor.detach().clone().requires_grad_(True))
        return with_tensor(output, leaves[-1].clone())  # what follows may change its input in place

    handle = module.register_forward_hook(cut)
    try:
        yield leaves
    finally:
        handle.remove()
