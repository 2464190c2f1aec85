"""The weak-attack alarm: does plain PGD succeed below the radius that a search called the smallest?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from pellucid.attacks.attack_state import AttackState
from pellucid.attacks.epsilon import project, scale_to
from pellucid.attacks.pgd import projected_ascent
from pellucid.models.classifier import frozen
from pellucid.models.inference import in_batches
from pellucid.types import InputError, check_images

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pellucid.attacks.criterion import Criterion

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


@dataclass(frozen=True)
class Alarm:
    """What PGD found on a sample of the images that were attacked.

    Attributes:
        n: images of the sample.
        better: how many of them PGD changes within 0.95 of the radius that was found for them, or at all where none
            was found (within the largest radius found for any image).
        unfound: how many of `better` had no radius.
        largest: the largest relative improvement of a radius, 1 − PGD's / found; 0 where there is none.
        method: whose radii were tried.
    """

    n: int
    better: int
    unfound: int
    largest: float
    method: str

    @property
    def message(self) -> str | None:
        """What to tell people; None while all is quiet."""
        if not self.better:
            return None
        sentence = f"weak attack: plain PGD does better than {self.method} on {self.better} of {self.n} images tried"
        parts = [f"by up to {self.largest:.0%}"] if self.largest else []
        parts += [f"{self.unfound} where it had found nothing"] if self.unfound else []
        return f"{sentence} ({', '.join(parts)}). Its radii are too large there, and so is the area."

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
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
    box: bool = True,
    seed: int = 0,
    batch_size: int = SAMPLE,
) -> Alarm:
    """Try L2 PGD within 0.95 of each image's own radius, four times 20 steps, along both directions of the criterion.

    An image that was met leaves. At most 80 gradient evaluations per image.

    Args:
        classifier: images (N, C, H, W) → logits (N, K).
        images: (N, C, H, W) in [0, 1]: a sample of those that did not meet the criterion from the start.
        criterion: of these images.
        radius: (N,), root mean square of the perturbation found; NaN where none was.
        largest: the largest radius found for any image; PGD's bound where none was found. NaN where nothing was
            found at all: then the whole range of pixels, 1.
        method: that found them, for the message.
        box: whether PGD stays in [0, 1], as the method did.
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
            search = AttackState(classifier, images[rows], criterion.rows(index), box=box, generator=generator)
            for of, step, random in WALKS:
                _walk(search, bound[rows], of, step, random)
            radius_of_pgd[rows] = search.radius
    better = radius_of_pgd.isfinite()
    gains = 1 - radius_of_pgd[better & has_radius] / radius.to(images)[better & has_radius]
    return Alarm(
        n=len(images),
        better=int(better.sum()),
        unfound=int((better & ~has_radius).sum()),
        largest=float(gains.max()) if len(gains) else 0.0,
        method=method,
    )


def _walk(search: AttackState, bound: Tensor, of: Literal["margin", "loss"], step: float, random: bool) -> None:
    """PGD in the ball of each image's own size (n,), until the criterion is met there or the steps are used up."""
    delta = torch.zeros_like(search.images)
    if random:
        delta = torch.empty_like(delta).normal_(generator=search.generator)
        delta = search.inside(scale_to(delta, 0.5 * bound, "rms"))
    sign = 1.0 if of == "loss" else -1.0

    def uphill(here: Tensor, _: int) -> Tensor | None:
        rows = search.radius.isinf().nonzero().squeeze(1)
        if len(rows) == 0:
            return None
        evaluation = search.evaluate(here[rows], rows, of=of)
        assert evaluation.gradient is not None
        change = torch.zeros_like(here)  # an image that was met stays where it is
        change[rows] = sign * scale_to(evaluation.gradient, step * bound[rows], "rms")
        return change

    def inside(candidate: Tensor) -> Tensor:
        return search.inside(project(candidate, bound, "rms"))

    delta = projected_ascent(delta, uphill, inside, STEPS)
    rows = search.radius.isinf().nonzero().squeeze(1)
    if len(rows):
        search.evaluate(delta[rows], rows, gradient=False, of=of)
