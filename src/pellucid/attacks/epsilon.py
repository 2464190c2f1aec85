"""The size of a perturbation, which always names its norm."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import torch
from pydantic import BeforeValidator, Field, model_validator

from pellucid.types import InputError
from pellucid.utils.settings import Section, parse_override, validate

if TYPE_CHECKING:
    from torch import Tensor

Norm = Literal["linf", "l2", "rms"]


def _number(value: Any) -> Any:  # noqa: ANN401
    """A fraction such as ``8/255`` as a number; anything else as it is."""
    if not isinstance(value, str) or "/" not in value:
        return value
    above, _, below = value.partition("/")
    try:
        return float(above) / float(below)
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError("expected a number or a fraction, as 8/255") from error


Length = Annotated[Annotated[float, Field(gt=0)] | None, BeforeValidator(_number)]


class Epsilon(Section):
    """A length in exactly one norm, on pixels in [0, 1].

    `linf` is the largest change of any value, `l2` the Euclidean length over all values of an image, `rms` the
    root mean square per value (Woods et al. 2019 use it throughout): ``l2 = rms · sqrt(C·H·W)``. A length may be given
    as a fraction, ``"8/255"``, in settings too.

    Example:
        >>> Epsilon(linf=0.005).norm, Epsilon(linf=0.005).value
        ('linf', 0.005)
    """

    linf: Length = None
    l2: Length = None
    rms: Length = None

    @model_validator(mode="after")
    def _one_norm(self) -> Self:
        norms = [n for n in ("linf", "l2", "rms") if getattr(self, n) is not None]
        if len(norms) != 1:
            raise ValueError(
                f"a perturbation's size names exactly one norm (linf, l2 or rms); found {', '.join(norms) or 'none'}"
            )
        if self.norm != "l2" and self.value > 1:
            raise ValueError(
                f"{self.norm} is at most 1, as pixels lie in [0, 1]; found {self.value:g}. For 8-bit pixels write "
                f"{self.norm}={self.value:g}/255"
            )
        return self

    @classmethod
    def parse(cls, text: str) -> Epsilon:
        """What ``NORM=LENGTH`` says; the length may be a fraction, as people give it for 8-bit pixels.

        Raises:
            InputError: another norm, or a length that is none.

        Example:
            >>> print(Epsilon.parse("linf=8/255"), Epsilon.parse("l2=0.5"))
            L∞ 0.0313725 L2 0.5
        """
        if "=" not in text:
            raise InputError(f"a size is NORM=LENGTH, as linf=8/255 or l2=0.5; found {text!r}.")
        return validate(cls, parse_override(text), f"the size {text!r}")

    @classmethod
    def of(cls, eps: Epsilon | str) -> Epsilon:
        """A size from a text, or as it is.

        Raises:
            InputError: something else, as a number, which names no norm; a text that is no size.
        """
        if isinstance(eps, str):
            return cls.parse(eps)
        if not isinstance(eps, Epsilon):
            raise InputError(no_size(eps))
        return eps

    @property
    def norm(self) -> Norm:
        """The norm that was named."""
        return "linf" if self.linf is not None else "l2" if self.l2 is not None else "rms"

    @property
    def value(self) -> float:
        """The length in that norm."""
        return next(v for v in (self.linf, self.l2, self.rms) if v is not None)

    def __str__(self) -> str:
        return f"{ {'linf': 'L∞', 'l2': 'L2', 'rms': 'RMS'}[self.norm] } {self.value:g}".replace("  ", " ")


def no_size(value: object) -> str:
    """What is wrong with a value that was given as the size of a perturbation."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"a size names its norm: write pl.Epsilon(linf={value:g}) or 'linf={value:g}'; found {value:g} alone."
    return f"a size is a pl.Epsilon, or a text as 'linf=8/255'; found {type(value).__name__}."


def lengths(perturbation: Tensor, norm: Norm) -> Tensor:
    """The length (N,) of each perturbation (N, C, H, W) in `norm`.

    Example:
        >>> lengths(torch.full((1, 1, 2, 2), 0.5), "l2")
        tensor([1.])
    """
    flat = perturbation.flatten(1)
    if norm == "linf":
        return flat.abs().amax(1)
    euclidean: Tensor = torch.linalg.vector_norm(flat, dim=1)
    return euclidean / math.sqrt(flat.shape[1]) if norm == "rms" else euclidean


def scale_to(perturbation: Tensor, length: float | Tensor, norm: Norm) -> Tensor:
    """Perturbations (N, C, H, W) rescaled to a length; a zero perturbation stays zero."""
    now = lengths(perturbation, norm)
    factor = torch.as_tensor(length, device=now.device, dtype=now.dtype) / now.clamp_min(1e-30)
    return perturbation * factor.expand_as(now).view(-1, 1, 1, 1)


def project(perturbation: Tensor, length: float | Tensor, norm: Norm) -> Tensor:
    """The nearest perturbations (N, C, H, W) no longer than `length`, one for all or one per image (N,).

    Example:
        >>> project(torch.ones(2, 1, 1, 1), torch.tensor([0.5, 2.0]), "l2").flatten()
        tensor([0.5000, 1.0000])
    """
    if norm == "linf":
        reach = torch.as_tensor(length, dtype=perturbation.dtype, device=perturbation.device).view(-1, 1, 1, 1)
        return perturbation.clamp(-reach, reach)
    now = lengths(perturbation, norm)
    return perturbation * (length / now.clamp_min(1e-30)).clamp_max(1.0).view(-1, 1, 1, 1)


def within_ball(points: Tensor, images: Tensor, length: float | Tensor, norm: Norm) -> Tensor:
    """The points (N, C, H, W), cut to the ball around their images (N, C, H, W) in [0, 1], then to the pixel box.

    Example:
        >>> within_ball(torch.tensor([[[[0.5, 1.5]]]]), torch.tensor([[[[0.9, 0.9]]]]), 0.25, "linf").flatten()
        tensor([0.6500, 1.0000])
    """
    return (images + project(points - images, length, norm)).clamp(0, 1)


def steepest(gradient: Tensor, norm: Norm) -> Tensor:
    """The direction of length 1 in `norm` along which a function with this gradient (N, C, H, W) rises fastest."""
    return gradient.sign() if norm == "linf" else scale_to(gradient, 1.0, norm)


def nowhere_zero(gradient: Tensor, generator: torch.Generator) -> Tensor:
    """The gradient (N, C, H, W), with a random direction for each image where it vanishes: zero leads nowhere."""
    flat = lengths(gradient, "l2") == 0
    if not bool(flat.any()):
        return gradient
    noise = torch.empty_like(gradient[flat]).normal_(generator=generator)
    return gradient.masked_scatter(flat.view(-1, 1, 1, 1), noise)


def random_within(like: Tensor, length: float, norm: Norm, generator: torch.Generator | None = None) -> Tensor:
    """Random perturbations of at most `length`, uniform in the ball of `norm`, shaped like (N, C, H, W)."""
    noise = torch.empty_like(like)
    if norm == "linf":
        return noise.uniform_(-length, length, generator=generator)
    noise.normal_(generator=generator)
    radius = torch.rand(len(like), device=like.device, generator=generator) ** (1.0 / like[0].numel())
    return scale_to(noise, radius * length, norm)
