"""Bounds that hold for the network itself: how far its decisions cannot change, by relaxing every activation.

Within a ball each activation lies between two parallel lines: the chord between the ends of what can enter it, and the
tangent of the same slope. So the network is a linear function plus offsets that are known up to an interval each, and
the least value of any linear function of its logits follows from one backward pass. What can enter an activation is
bounded the same way, from the first to the last.
"""

from __future__ import annotations

import math
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pellucid.models.activations import HalfHuberReLU
from pellucid.models.classifier import frozen
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEMORY = 1 << 28  # bytes of activations held at a time
HALVINGS = 24  # from the linear estimate down: below a 16-millionth of it nothing is certified
PRECISION = 1.02  # a radius is given up to this factor
ROUNDING = {torch.float32: 1e-5, torch.float64: 1e-12}  # of a bound's terms
_RELUS = frozenset({F.relu, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_})


@dataclass(frozen=True)
class Bounds:
    """Certificates by bounds, of the network itself; they hold without a probability of error.

    Attributes:
        attack: whether the network is attacked too.
        seed: of the attack.
    """

    attack: bool = True
    seed: int = 0
    alpha: ClassVar[float] = 0.0

    def to_json(self) -> dict[str, Any]:
        """Everything that determines the results, as plain values."""
        return {"method": "bounds", "confidence": 1.0, "attacked": self.attack, "seed": self.seed}


class Lines(NamedTuple):
    """Two parallel lines around an activation: slope · x + low ≤ activation(x) ≤ slope · x + high, elementwise."""

    slope: Tensor
    low: Tensor
    high: Tensor


def lines_around(low: Tensor, high: Tensor, delta: float = 0.0) -> Lines:
    """The chord of a half-Huber ReLU between two ends, and the tangent parallel to it.

    Args:
        low: any shape, the least that enters.
        high: the most.
        delta: width of the parabola; 0 for a ReLU.

    Source:
        Wong & Kolter 2018 for ReLU (section 3.1); the half-Huber ReLU is convex too, so that the same two lines hold.

    Example:
        >>> lines_around(torch.tensor([-1.0]), torch.tensor([3.0]))
        Lines(slope=tensor([0.7500]), low=tensor([-0.]), high=tensor([0.7500]))
    """

    def value(x: Tensor) -> Tensor:
        if delta == 0:
            return x.clamp(min=0)
        parabola = x.clamp(0, delta)
        return parabola * (x - parabola / 2) / delta

    width = high - low
    inside = width > 0
    slope = torch.where(inside, (value(high) - value(low)) / torch.where(inside, width, 1.0), (low > 0).to(low.dtype))
    slope = slope.clamp(0, 1)
    # the tangent of slope s touches the parabola at s·delta, and lies below a convex function everywhere
    return Lines(slope, -(slope**2) * delta / 2, torch.maximum(value(high) - slope * high, value(low) - slope * low))


class _ReachedActivation(Exception):  # noqa: N818 (no error: it carries what enters the first one without lines)
    def __init__(self, entering: Tensor, delta: float) -> None:
        super().__init__()
        self.entering, self.delta = entering, delta


class _Relaxed(TorchFunctionMode):
    """Inside, the activations of a forward pass are their lines, in order; the first one without stops the pass."""

    def __init__(self, lines: list[Lines]) -> None:
        super().__init__()
        self.lines, self.offsets, self.position = lines, list[Tensor](), 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        if func in _RELUS:
            return self.relax(args[0] if args else (kwargs or {})["input"], 0.0)
        return func(*args, **(kwargs or {}))

    def relax(self, entering: Tensor, delta: float) -> Tensor:
        if self.position == len(self.lines):
            raise _ReachedActivation(entering, delta)
        slope = self.lines[self.position].slope
        offset = torch.zeros_like(entering).requires_grad_()
        self.position += 1
        self.offsets.append(offset)
        return slope * entering + offset


@contextmanager
def _relaxed(network: nn.Module, lines: list[Lines]) -> Iterator[_Relaxed]:
    mode = _Relaxed(lines)
    with ExitStack() as stack:
        for module in network.modules():
            if isinstance(module, HalfHuberReLU):
                module.__dict__["forward"] = partial(mode.relax, delta=module.delta)  # before the class's own
                stack.callback(module.__dict__.pop, "forward")
        stack.enter_context(mode)
        yield mode


class LinearBounds:
    """Least values of linear functions of a network's logits over Euclidean balls around one image.

    Args:
        network: made of affine operations, ReLUs and half-Huber ReLUs, in any graph; it is left as it is.
        pixels: float (C, H, W) in [0, 1], the centre of the balls. Pixels outside [0, 1] are not left out.

    Raises:
        InputError: another operation between two activations, such as max-pooling.

    Source:
        Wong & Kolter 2018, with the dual norm of the Euclidean ball; Weng et al. 2018 (Fast-Lin) give the same bounds.
    """

    def __init__(self, network: nn.Module, pixels: Tensor) -> None:
        self.network = network
        self.pixels = pixels[None].detach()
        self.type = next((p.dtype for p in network.parameters()), self.pixels.dtype)
        self.pixels = self.pixels.to(self.type)
        self.lines: list[Lines] = []
        self._first: tuple[Tensor, Tensor] | None = None

    def least(self, radius: float, weights: Tensor) -> Tensor:
        """Lower bounds (M,) of ``weights @ logits`` over the ball.

        Args:
            radius: Euclidean, above 0.
            weights: float (M, K), a linear function of the logits in each row.
        """
        self.lines = []
        with frozen(self.network):
            while (stop := self._stop()) is not None:
                entering, delta = stop
                low, high = self._range(radius, entering)
                self.lines.append(lines_around(low, high, delta))
            return self._bounds(radius, weights.to(self.pixels))[0]

    def estimate(self, weights: Tensor, constants: Tensor) -> Tensor:
        """How far (M,) each margin is from 0 if the network is as steep as at the centre; 0 for one not above 0.

        No bound: where the search begins.
        """
        images = self.pixels.expand(len(weights), *self.pixels.shape[1:]).clone().requires_grad_()
        with torch.enable_grad(), frozen(self.network):
            margins = (weights.to(images) * self.network(images)).sum(1) + constants.to(images)
            (slopes,) = torch.autograd.grad(margins.sum(), images)
        lengths: Tensor = margins.detach().clamp(min=0) / slopes.flatten(1).norm(dim=1)
        return lengths

    def check(self) -> None:
        """Refuse a network that is not affine between its activations: asked after `least`."""
        generator = torch.Generator().manual_seed(0)
        shape = (3, *self.pixels.shape[1:])
        points = torch.rand(shape, generator=generator, dtype=self.type).to(self.pixels.device)
        points[2] = (points[0] + points[1]) / 2
        with torch.no_grad(), frozen(self.network), _relaxed(self.network, self.lines):
            first, second, middle = self.network(points)
        error = (first / 2 + second / 2 - middle).abs().max()
        if not error <= 1e-4 * (1 + first.abs().max() + second.abs().max()):
            raise InputError(
                "bounds need a network that is affine between its ReLUs or half-Huber ReLUs; this one has something "
                "else there, such as max-pooling, another activation or attention. Take method smoothing, which knows "
                "no such limit."
            )

    def _stop(self) -> tuple[Tensor, float] | None:
        try:
            with torch.no_grad(), _relaxed(self.network, self.lines):
                self.network(self.pixels)
        except _ReachedActivation as stop:
            return stop.entering, stop.delta
        return None

    def _range(self, radius: float, entering: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the most that enters an activation."""
        if not self.lines and self._first is not None:  # affine so far: the same at every radius
            centre, norm = self._first
            reach = radius * norm + ROUNDING[self.type] * (3 * centre.abs() + 3 * radius * norm)
            return centre - reach, centre + reach
        count = entering.numel()
        low, high, norms = (entering.new_empty(count) for _ in range(3))
        bytes_a_row = entering.element_size() * (
            self.pixels.numel() + entering.numel() + sum(line.slope.numel() for line in self.lines)
        )
        block = max(1, min(count, MEMORY // (3 * bytes_a_row)))
        for start in range(0, count, block):
            rows = entering.new_zeros(min(block, count - start), count)
            rows[torch.arange(len(rows)), start + torch.arange(len(rows))] = 1
            part = slice(start, start + len(rows))
            low[part], high[part], norms[part] = self._bounds(radius, rows)
        low, high = (x.view_as(entering) for x in (low, high))
        if not self.lines:
            self._first = (low + high) / 2, norms.view_as(entering)
        return low, high

    def _bounds(self, radius: float, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Bounds (M,) of linear functions of the logits, or of what enters the next activation; their slopes' norms."""
        images = self.pixels.expand(len(weights), *self.pixels.shape[1:]).clone().requires_grad_()
        with torch.enable_grad(), _relaxed(self.network, self.lines) as mode:
            try:
                output = self.network(images)
            except _ReachedActivation as stop:
                output = stop.entering
            values = (weights * output.flatten(1)).sum(1)
            slopes, *effects = torch.autograd.grad(values.sum(), [images, *mode.offsets])
        norm = slopes.flatten(1).norm(dim=1)
        low, high = values.detach() - radius * norm, values.detach() + radius * norm
        for effect, line in zip(effects, self.lines, strict=True):
            up, down = effect.clamp(min=0), effect.clamp(max=0)
            low += (up * line.low + down * line.high).flatten(1).sum(1)
            high += (up * line.high + down * line.low).flatten(1).sum(1)
        slack = ROUNDING[self.type] * (values.detach().abs() + radius * norm + low.abs() + high.abs())
        return low - slack, high + slack, norm


def certified_radii(network: nn.Module, pixels: Tensor, decisions: list[tuple[Tensor, Tensor]]) -> list[float]:
    """The Euclidean length within which each decision on an image cannot change, by bisection of the bounds.

    Args:
        network: as of `LinearBounds`.
        pixels: float (C, H, W) in [0, 1].
        decisions: of each the weights (M, K) and constants (M,) of the margins that must all stay above 0.

    Returns:
        A length each, at most 2 % below the largest that the bounds certify; 0 where a margin is not above 0.

    Raises:
        InputError: a network that bounds do not cover.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
        >>> with torch.no_grad():
        ...     _ = network[1].weight.fill_(1), network[1].bias.fill_(-1)
        >>> (radius,) = certified_radii(network, torch.full((1, 2, 2), 0.5), [(torch.ones(1, 1), torch.zeros(1))])
        >>> 0.49 <= radius <= 0.5  # the margin is 1, its gradient's length 2
        True
    """
    bounds = LinearBounds(network, pixels)
    weights = torch.cat([w for w, _ in decisions])
    constants = torch.cat([b for _, b in decisions]).to(bounds.pixels)
    sizes = [len(b) for _, b in decisions]
    starts = [float(part.min()) for part in torch.split(bounds.estimate(weights, constants), sizes)]
    low, high = [0.0] * len(decisions), [math.inf if start > 0 else 0.0 for start in starts]

    def evaluate(radius: float) -> None:
        margins = bounds.least(radius, weights) + constants
        for k, part in enumerate(torch.split(margins, sizes)):
            if low[k] < radius < high[k]:
                low[k], high[k] = (radius, high[k]) if bool((part > 0).all()) else (low[k], radius)

    # a network that is flat around the image may bend elsewhere: begin with the length of the whole box of pixels
    longest = math.sqrt(pixels.numel())
    above = [min(start, longest) for start in starts if start > 0]
    if not above:
        return low
    radius = max(above)
    evaluate(radius)
    bounds.check()
    for _ in range(HALVINGS):
        if not any(lo > 0 and math.isinf(h) for lo, h in zip(low, high, strict=True)):
            break
        radius *= 2
        evaluate(radius)
    radius = min(radius, max(above))
    for _ in range(HALVINGS):
        if all(lo > 0 or h == 0 for lo, h in zip(low, high, strict=True)):
            break
        radius /= 2
        evaluate(radius)
    while wide := [
        (h / lo, k) for k, (lo, h) in enumerate(zip(low, high, strict=True)) if lo > 0 and PRECISION * lo < h < math.inf
    ]:
        _, k = max(wide)
        evaluate(math.sqrt(low[k] * high[k]))
    return low
