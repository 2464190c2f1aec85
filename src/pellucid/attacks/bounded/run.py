"""An attack of a given size on any number of images, in batches that fit, without trace on the classifier."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from pellucid.attacks.bounded.autoattack import autoattack
from pellucid.attacks.bounded.margin import margin
from pellucid.attacks.bounded.search import BoundedSearch
from pellucid.attacks.criterion import with_margin
from pellucid.attacks.engine import prepare
from pellucid.attacks.epsilon import lengths
from pellucid.models.classifier import frozen
from pellucid.models.inference import in_batches
from pellucid.utils.progress import advance
from pellucid.utils.resources import check_known

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from pellucid.attacks.criterion import Criterion
    from pellucid.attacks.epsilon import Epsilon

ENSEMBLES: dict[str, Callable[..., None]] = {"margin": margin, "autoattack": autoattack}
"""Attacks that `within` can run."""
RANDOM_SEARCH = "square"
"""The part of both that follows no gradient."""


@dataclass(frozen=True)
class BoundedResult:
    """What an attack of a given size changed, image by image.

    Attributes:
        images: (N, C, H, W), as given.
        perturbed: (N, C, H, W), in the ball and the pixel box: where the criterion is met, a point that meets it;
            elsewhere the point that came closest.
        fallen: bool (N,), whether `perturbed` meets the criterion; true also for images that met it from the start.
        met_at_start: bool (N,).
        logits: (N, K), of `perturbed`.
        broken_by: the part of the attack that each image fell to, "start" where it met the criterion, "" where it
            stands.
        gradient_evaluations: int64 (N,), backward passes spent on each image.
        forward_passes: int64 (N,), forward passes, those of the backward passes included.
        method: the attack's name.

    Example:
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b"], task="multiclass", size=32)
        >>> import torch
        >>> from pellucid.attacks import Epsilon, Misclassified, within
        >>> images, wanted = torch.rand(2, 1, 32, 32), Misclassified(torch.tensor([0, 1]))
        >>> result = within(model, images, wanted, Epsilon(linf=0.01), steps=3)
        >>> bool(((result.perturbed - result.images).abs() <= 0.0101).all()), result.fallen.shape
        (True, torch.Size([2]))
    """

    images: Tensor
    perturbed: Tensor
    fallen: Tensor
    met_at_start: Tensor
    logits: Tensor
    broken_by: tuple[str, ...]
    gradient_evaluations: Tensor
    forward_passes: Tensor
    method: str

    @property
    def radius(self) -> Tensor:
        """Root mean square of the perturbation (N,), float64; 0 where met at the start, NaN where not met.

        The smallest perturbation is no longer than that.
        """
        radius = lengths(self.perturbed.double() - self.images.double(), "rms")
        return radius.masked_fill(self.met_at_start, 0.0).masked_fill(~self.fallen, torch.nan)

    @property
    def masked(self) -> Tensor:
        """Which images only random search changed, bool (N,): a sign that gradients mislead."""
        return torch.tensor([name == RANDOM_SEARCH for name in self.broken_by], device=self.fallen.device)


def within(
    classifier: nn.Module,
    images: Tensor,
    criterion: Criterion,
    eps: Epsilon,
    *,
    method: str = "margin",
    seed: int = 0,
    batch_size: int | None = None,
    **options: Any,  # noqa: ANN401
) -> BoundedResult:
    """Whether a perturbation of a given size meets a criterion on each image.

    Args:
        classifier: images (N, C, H, W) → logits (N, K).
        images: float (N, C, H, W) in [0, 1], on the classifier's device.
        criterion: `Misclassified(labels)`, or `label_flipped(…)` for one label of each image.
        eps: the largest perturbation.
        method: one of `ENSEMBLES`.
        seed: of whatever the method leaves to chance.
        batch_size: images at a time; as many as fit in memory by default.
        options: of the method, as `steps`.

    Raises:
        InputError: an unknown method, images outside [0, 1], a criterion without a margin, or for another number of
            images or another kind of classifier, logits that are not finite.

    Example:
        >>> from torch import nn
        >>> from pellucid.attacks import Epsilon, Misclassified
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> _ = net[1].weight.data.copy_(torch.tensor([[1.0, 1, 1, 1], [-1, -1, -1, -1]]))
        >>> _ = net[1].bias.data.copy_(torch.tensor([-1.0, 1]))
        >>> images, wanted = torch.full((1, 1, 2, 2), 0.5), Misclassified(torch.tensor([0]))
        >>> [within(net, images, wanted, Epsilon(linf=size)).fallen.item() for size in (0.249, 0.251)]
        [False, True]
    """
    check_known([method], ENSEMBLES, "attack")
    run = partial(ENSEMBLES[method], **options)
    images, criterion = images.detach(), with_margin(criterion)
    searches = []
    with frozen(classifier):
        rows_at_once = prepare(classifier, images, criterion, batch_size)
        for rows in in_batches(len(images), rows_at_once):
            index = torch.arange(rows.start, rows.stop, device=images.device)
            generator = torch.Generator(images.device).manual_seed(seed + rows.start)
            search = BoundedSearch(classifier, images[rows], criterion.rows(index), eps, generator=generator)
            run(search)
            searches.append(search)
            advance(rows.stop - rows.start)

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(search, name) for search in searches])

    return BoundedResult(
        images=images,
        perturbed=joined("points"),
        fallen=joined("fallen"),
        met_at_start=torch.cat([search.broken_by == 0 for search in searches]),
        logits=joined("logits"),
        broken_by=tuple(["", *search.names][1 + number] for search in searches for number in search.broken_by.tolist()),
        gradient_evaluations=joined("gradient_evaluations"),
        forward_passes=joined("forward_passes"),
        method=method,
    )
