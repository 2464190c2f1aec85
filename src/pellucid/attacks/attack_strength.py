"""The weak-attack alarm: does PGD succeed below the radius that a search called the smallest?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from pellucid.attacks.attack_state import AttackState
from pellucid.attacks.ball_walk import ball_walk
from pellucid.attacks.criterion import with_margin
from pellucid.attacks.epsilon import scale_to
from pellucid.models.classifier import frozen
from pellucid.models.inference import in_batches
from pellucid.types import InputError, check_images
from pellucid.utils.words import whole_percent

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor, nn

    from pellucid.attacks.criterion import Criterion
    from pellucid.attacks.epsilon import Norm

SAMPLE = 32
SHARE = 0.95  # of the radius found: what PGD may use. A gain that is smaller would change no conclusion
STEPS = 20
WALKS: tuple[tuple[Literal["margin", "loss"], float, bool], ...] = (
    ("margin", 0.25, False),
    ("loss", 0.25, False),
    ("margin", 0.08, False),
    ("loss", 0.08, True),
)
"""What is differentiated, the length of a step as a share of the bound, and whether it starts at random."""
AIMED_STEPS, AIMED_STEP = (5, 8), 0.25
"""Steps towards each class that a criterion is met by way of, then on the criterion itself, and their length."""


@dataclass(frozen=True)
class Alarm:
    """What PGD found on a sample of the images that were attacked.

    Attributes:
        radius: float64 (n,), of what PGD found, where it changes an image within 0.95 of the radius that was found for
            it, or at all where none was found (within the largest radius found for any image); NaN elsewhere. Met by
            the image itself, in a forward pass.
        unfound: how many of those had no radius.
        largest: the largest relative improvement of a radius, 1 − PGD's / found; 0 where there is none.
        method: whose radii were tried.
        advice: what to do about it.
    """

    radius: npt.NDArray[np.float64]
    unfound: int
    largest: float
    method: str
    advice: str = ""

    @property
    def n(self) -> int:
        """Images of the sample."""
        return len(self.radius)

    @property
    def better(self) -> int:
        """On how many PGD does better."""
        return int(np.isfinite(self.radius).sum())

    @property
    def message(self) -> str | None:
        """What to tell people; None while all is quiet."""
        if not self.better:
            return None
        sentence = f"weak attack: plain PGD does better than {self.method} on {self.better} of {self.n} images tried"
        parts = [f"by up to {whole_percent(self.largest)}"] if self.largest else []
        parts += [f"{self.unfound} where it had found nothing"] if self.unfound else []
        rest = "Its radii are too large there, most likely on images that were not tried too, and so is the area."
        return " ".join(part for part in (f"{sentence} ({', '.join(parts)}).", rest, self.advice) if part)

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, without the radii."""
        numbers = {"n": self.n, "better": self.better, "unfound": self.unfound, "largest": self.largest}
        return numbers | {"message": self.message}


def choose(attacked: Tensor, *, sample: int = SAMPLE, seed: int = 0) -> Tensor:
    """Rows (at most `sample`, int64, ascending) at random among those with ``attacked`` (bool (N,)) true."""
    rows = attacked.cpu().nonzero().squeeze(1)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    return rows[order[:sample]].sort().values


def check_attack_strength(
    classifier: nn.Module,
    images: Tensor,
    criterion: Criterion,
    radius: Tensor,
    *,
    largest: float,
    method: str,
    advice: str = "",
    box: bool = True,
    norm: Norm = "rms",
    seed: int = 0,
    batch_size: int = SAMPLE,
) -> Alarm:
    """Try PGD within 0.95 of each image's own radius: four times 20 steps, along margin and loss of the criterion.

    Where the criterion may be met by way of any class, as worse than random, then also 13 steps by way of each, since
    the nearest class is seldom the one that gradients at the image point to. An image that was met leaves. At most 80
    gradient evaluations per image, and 117 more for nine classes.

    Args:
        classifier: images (N, C, H, W) → logits (N, K).
        images: (N, C, H, W) in [0, 1]: a sample of those that did not meet the criterion from the start.
        criterion: of these images.
        radius: (N,), of the perturbation found; NaN where none was.
        largest: the largest radius found for any image; PGD's bound where none was found. NaN where nothing was
            found at all: then the whole range of pixels, 1.
        method: that found them, for the message.
        advice: how to find smaller ones, for the message.
        box: whether PGD stays in [0, 1], as the method did.
        norm: of the radii: `rms` or `linf`.
        seed: of the random start.
        batch_size: images at a time.

    Raises:
        InputError: images outside [0, 1], numbers that differ, logits that are not finite.
    """
    check_images(images)
    if not len(images) == len(criterion) == len(radius):
        raise InputError(f"found {len(images)} images, {len(criterion)} criteria and {len(radius)} radii.")
    has_radius = radius.isfinite().to(images.device)
    bound = torch.where(has_radius, SHARE * radius.to(images), largest if math.isfinite(largest) else 1.0)
    radius_of_pgd = torch.full_like(bound, torch.inf)
    with frozen(classifier):
        for rows in in_batches(len(images), batch_size):
            index = torch.arange(rows.start, rows.stop, device=images.device)
            generator = torch.Generator(images.device).manual_seed(seed + rows.start)
            search = AttackState(
                classifier, images[rows], criterion.rows(index), box=box, norm=norm, generator=generator
            )
            _try(search, bound[rows])
            radius_of_pgd[rows] = search.radius
    better = radius_of_pgd.isfinite()
    gains = 1 - radius_of_pgd[better & has_radius] / radius.to(images)[better & has_radius]
    return Alarm(
        radius=radius_of_pgd.double().masked_fill(~better, torch.nan).cpu().numpy(),
        unfound=int((better & ~has_radius).sum()),
        largest=float(gains.max()) if len(gains) else 0.0,
        method=method,
        advice=advice,
    )


def _try(search: AttackState, bound: Tensor) -> None:
    """Walks within each image's own size (n,), each for the images that the earlier ones left."""
    for of, step, random in WALKS:
        rows = _left(search)
        if not len(rows):
            return
        start = torch.zeros_like(search.images[rows])
        if random:
            start = torch.empty_like(start).normal_(generator=search.generator)
            start = search.inside(scale_to(start, 0.5 * bound[rows], search.norm), rows)
        ball_walk(search, rows, bound[rows], start, of=of, steps=STEPS, step=step)
    rows = _left(search)
    if not len(rows):
        return
    origin = search.evaluate(torch.zeros_like(search.images), gradient=False)
    for aim in with_margin(search.criterion).aims(origin.logits):
        here = torch.zeros_like(search.images[rows])
        aimed, own = AIMED_STEPS
        here = ball_walk(search, rows, bound[rows], here, of=aim, steps=aimed, step=AIMED_STEP)
        ball_walk(search, rows, bound[rows], here, of="margin", steps=own, step=AIMED_STEP)
        rows = rows[search.radius[rows].isinf()]
        if not len(rows):
            return


def _left(search: AttackState) -> Tensor:
    return search.radius.isinf().nonzero().squeeze(1)
