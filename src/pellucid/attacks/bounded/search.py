"""A search within a ball: what stands, what fell to which attack, the lowest margin so far, and what was spent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from pellucid.attacks.attack_state import check_logits
from pellucid.attacks.criteria import Misclassified
from pellucid.attacks.epsilon import lengths, scale_to, within_ball

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from pellucid.attacks.criterion import Criterion
    from pellucid.attacks.epsilon import Epsilon, Norm

    Objective = Callable[[Tensor, Tensor], Tensor]
    """(logits (n, K), rows (n,)) → what an attack raises (n,), one value per image, differentiable."""

ROUNDING = 1.2e-7  # of a pixel value near 1, which an image plus a perturbation cannot avoid


class BoundedSearch:
    """Decisions that an attack may change within one size: images, what is wanted of them, and what became of them.

    An attack asks for `standing` rows and evaluates points; whatever meets its criterion within the ball has fallen and
    stands no more. Several attacks in a row share one search, each on what still stands.

    Attributes:
        images: (n, C, H, W) in [0, 1].
        criterion: of these images: `Misclassified`, or `LabelFlipped` for one label of a multi-label classifier each.
        norm: `linf` or `l2`; a root mean square is turned into `l2`.
        length: the size in that norm.
        generator: the only source of chance.
        clean: (n, K), logits of the images as given.
        fallen: bool (n,), met within the ball, or from the start.
        points: (n, C, H, W), where the margin was lowest, in the ball and the pixel box.
        margin: (n,), the criterion's margin there.
        logits: (n, K), the logits there.
        broken_by: int64 (n,), the number of the attack in `names` that it fell to; −1 where it stands.
        names: the attacks that took part; the first is "start": wrong without any.
        gradient_evaluations: int64 (n,).
        forward_passes: int64 (n,), those of the gradient evaluations included.
        met_last: bool, whether the points evaluated last meet the criterion, in the ball or not.
    """

    def __init__(
        self,
        classifier: nn.Module,
        images: Tensor,
        criterion: Criterion,
        eps: Epsilon,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        self.images, self.criterion = images, criterion
        root = math.sqrt(images[0].numel())
        self.norm: Norm = "linf" if eps.norm == "linf" else "l2"
        self.length = eps.value * root if eps.norm == "rms" else eps.value
        self.generator = generator or torch.Generator(images.device).manual_seed(0)
        self.names: list[str] = []
        self._classifier = classifier
        count, device = len(images), images.device
        self.points = images.clone()
        self.fallen = torch.zeros(count, dtype=torch.bool, device=device)
        self.broken_by = torch.full((count,), -1, dtype=torch.int64, device=device)
        self.gradient_evaluations = torch.zeros(count, dtype=torch.int64, device=device)
        self.forward_passes = torch.zeros_like(self.gradient_evaluations)
        self.margin = images.new_full((count,), torch.inf)
        with torch.no_grad():
            self.clean = classifier(images).detach()
        check_logits(self.clean)
        self.logits = self.clean.clone()
        self.begin("start")
        self._keep(images, self.clean, torch.arange(count, device=device))
        self.forward_passes += 1

    @property
    def standing(self) -> Tensor:
        """The rows that no attack has changed yet, int64."""
        return (~self.fallen).nonzero().squeeze(1)

    def begin(self, name: str) -> None:
        """What falls from now on falls to this attack."""
        if name not in self.names:
            self.names.append(name)
        self._number = self.names.index(name)

    def inside(self, points: Tensor, rows: Tensor) -> Tensor:
        """The points (n, C, H, W), cut to the ball around their images and then to the pixel box."""
        return within_ball(points, self.images[rows], self.length, self.norm)

    def random_start(self, rows: Tensor) -> Tensor:
        """Points (n, C, H, W) at random on the ball's border, cut to the pixel box."""
        noise = torch.empty_like(self.images[rows])
        if self.norm == "linf":
            noise.uniform_(-1, 1, generator=self.generator)
        else:
            noise.normal_(generator=self.generator)
        return (self.images[rows] + scale_to(noise, self.length, self.norm)).clamp(0, 1)

    def evaluate(
        self, points: Tensor, rows: Tensor, objective: Objective | None = None, *, gradient: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """Run the classifier on points of some rows, note what falls, and keep the lowest margins.

        Points outside the ball are let through, for attacks that approach it from there; they count for nothing.

        Args:
            points: (n, C, H, W), in the pixel box.
            rows: int64 (n,), whose they are.
            objective: what is differentiated; the criterion's margin, negative, by default.
            gradient: whether its gradient is wanted: one gradient evaluation per image.

        Returns:
            The objective (n,) and its gradient (n, C, H, W), or None.

        Raises:
            InputError: logits that are not numbers.
        """
        points = points.detach()
        with torch.set_grad_enabled(gradient):
            points.requires_grad_(gradient)
            logits = self._classifier(points)
            value = -self.criterion.rows(rows).margin(logits) if objective is None else objective(logits, rows)
            (slope,) = torch.autograd.grad(value.sum(), points) if gradient else (None,)
        points, logits = points.detach(), logits.detach()
        check_logits(logits)
        self.forward_passes[rows] += 1
        if gradient:
            self.gradient_evaluations[rows] += 1
        self._keep(points, logits, rows)
        return value.detach(), slope

    def _keep(self, points: Tensor, logits: Tensor, rows: Tensor) -> None:
        criterion, images = self.criterion.rows(rows), self.images[rows]
        within = self.reaches(points, images)
        self.met_last = criterion.is_satisfied(logits, points - images)
        is_met = self.met_last & within
        margin = criterion.margin(logits).to(self.margin.dtype)
        # a point that meets the criterion goes before one that does not, whatever rounding makes of their margins
        better = within & (
            (is_met & ~self.fallen[rows]) | ((is_met == self.fallen[rows]) & (margin < self.margin[rows]))
        )
        self.margin[rows[better]] = margin[better]
        self.points[rows[better]], self.logits[rows[better]] = points[better], logits[better]
        self.broken_by[rows[is_met & ~self.fallen[rows]]] = self._number
        self.fallen[rows[is_met]] = True

    def reaches(self, points: Tensor, images: Tensor) -> Tensor:
        """Whether points (n, C, H, W) lie in the ball around images, up to rounding of float32: bool (n,)."""
        distance = lengths(points - images, self.norm)
        slack = ROUNDING if self.norm == "linf" else ROUNDING * math.sqrt(images[0].numel())
        return distance <= self.length * (1 + 1e-6) + min(slack, 0.01 * self.length)


def is_multiclass(criterion: Criterion) -> bool:
    """Whether the criterion is that another class becomes the most probable."""
    return isinstance(criterion, Misclassified)
