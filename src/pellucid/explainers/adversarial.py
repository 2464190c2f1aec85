"""Adversarial explanations: the image as the classifier would have to see it to be more, or less, sure of a class."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch

from pellucid.attacks.criteria import Confidence, RadiusReached
from pellucid.attacks.engine import run_fixed_budget
from pellucid.attacks.epsilon import lengths
from pellucid.attacks.woods2019 import algorithm_1
from pellucid.explainers.ascent import ascend
from pellucid.explainers.explanation import Explanation, resolve_targets
from pellucid.models.classifier import frozen
from pellucid.models.inference import in_batches
from pellucid.types import InputError, check_images
from pellucid.utils.resources import check_known

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.attacks.criterion import WalkGoal
    from pellucid.attacks.engine import Algorithm
    from pellucid.explainers.explanation import Targets
    from pellucid.types import Classifier, Task

Direction = Literal["raise", "lower"]
DIRECTIONS: tuple[Direction, ...] = ("raise", "lower")
OPTIMISERS = ("tight", "woods2019")
RHO = 0.1
"""The paper's size for CIFAR-10 (0.075 for COCO)."""
BEFORE_AT_ONCE = 32  # images in the one forward pass that needs no gradient


@dataclass(frozen=True)
class AdversarialExplanation(Explanation):
    """Images that were moved until the classifier is more, or less, sure of a class; `maps` holds them.

    Attributes:
        rho: the size asked for, root mean square per pixel and channel.
        direction: `raise` or `lower`.
        optimiser: one of `OPTIMISERS`.
        rms: the size reached, float64 (N,), or (N, K) of all classes. `tight` reaches rho exactly unless the pixel
            box has no more room; `woods2019` ends near it.
        probabilities_before: float64 (N, K), of every class, of the images.
        probabilities: float64 (N, K), of every class, of the moved images; of all classes (N, K, K), the class that was
            aimed at first.

    Source:
        Woods, Chen & Teuscher 2019, arXiv 1906.02896 (adversarial explanations).

    Example:
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b", "c"], task="multilabel", size=32)
        >>> moved = adversarial(model, torch.rand(2, 1, 32, 32), 0, rho=0.05)
        >>> bool((moved.confidence >= moved.confidence_before).all()), moved.rms.round(decimals=4).tolist()
        (True, [0.05, 0.05])
    """

    rho: float
    direction: Direction
    optimiser: str
    rms: Tensor
    probabilities_before: Tensor
    probabilities: Tensor

    @property
    def confidence_before(self) -> Tensor:
        """The probability of the class explained in the image, (N,) or (N, K)."""
        if self.targets is None:
            return self.probabilities_before
        return self.probabilities_before.gather(1, self.targets[:, None]).squeeze(1)

    @property
    def confidence(self) -> Tensor:
        """The probability of the class explained in the moved image, (N,) or (N, K)."""
        if self.targets is None:
            return self.probabilities.diagonal(dim1=1, dim2=2)
        return self.probabilities.gather(1, self.targets[:, None]).squeeze(1)


def check_settings(rho: float, direction: str, optimiser: str) -> None:
    """Refuse a size that is none, and unknown names.

    Raises:
        InputError: with what was found, and the nearest name.
    """
    if not (isinstance(rho, (int, float)) and 0 < rho <= 1):  # also refuses NaN
        raise InputError(
            f"rho must be above 0 and at most 1, a root mean square per pixel of images in [0, 1]; found {rho!r}."
        )
    for kind, name, choices in (("direction", direction, DIRECTIONS), ("optimiser", optimiser, OPTIMISERS)):
        check_known([name], choices, kind)


def adversarial(
    classifier: Classifier,
    images: Tensor,
    targets: Targets,
    *,
    rho: float = RHO,
    direction: Direction = "raise",
    optimiser: str = "tight",
    batch_size: int | None = None,
) -> AdversarialExplanation:
    """The images, changed by ``RMS = ρ`` so that the classifier is as sure of a class as it can be made (or as unsure).

    A class's probability is its softmax, or of a multi-label classifier the label's own sigmoid. `tight` climbs the
    log-odds on the shell of that size inside the pixel box, 17 gradient evaluations per image and class; `woods2019` is
    the paper's Algorithm 1 as its code has it: 35 evaluations, a path of 5 ρ, pixels not kept in [0, 1]. The classifier
    is in eval mode meanwhile and is left as it was.

    Args:
        classifier: any.
        images: (N, C, H, W) in [0, 1], on the classifier's device.
        targets: class indices (N,), one index for all, or "all": every class of every image, in common batches.
        rho: size of the change, root mean square per pixel and channel, above 0.
        direction: `raise` (the paper's g_explain+) or `lower`.
        optimiser: `tight` or `woods2019`.
        batch_size: images at a time; as many as fit in memory by default.

    Raises:
        InputError: images that are not pixels in [0, 1], targets that are no classes, a rho that is none, an unknown
            direction or optimiser, logits that are not finite.

    Source:
        Woods, Chen & Teuscher 2019, section III.B (explanations), Algorithm 1; `main.py explain` of its code.

    Example:
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b", "c"], task="multilabel")
        >>> found = adversarial(model, torch.full((2, 1, 64, 64), 0.5), "all", rho=0.05)
        >>> found.maps.shape, found.probabilities.shape, found.gradient_evaluations
        (torch.Size([2, 3, 1, 64, 64]), torch.Size([2, 3, 3]), 51)
    """
    check_settings(rho, direction, optimiser)
    check_images(images, channels=classifier.input_spec.channels)
    indices = resolve_targets(classifier, images, targets)
    count = len(classifier.classes)
    shape = (len(images), count) if indices is None else (len(images),)
    with torch.inference_mode(False):
        originals = images.detach().clone().clamp(0, 1)
        repeated = originals if indices is not None else originals.repeat_interleave(count, 0)
        aims = indices.clone() if indices is not None else torch.arange(count, device=images.device).repeat(len(images))
        algorithm, criterion, box = _way(optimiser, aims, classifier.task, direction, rho)
        perturbed, after = torch.empty_like(repeated), repeated.new_empty((len(repeated), count), dtype=torch.float64)
        gradients = passes = 0
        network: Any = classifier  # a module, or anything that acts like one
        way = partial(run_fixed_budget, box=box, batch_size=batch_size)
        for rows, part, search in way(algorithm, network, repeated, criterion) if len(images) else ():
            perturbed[rows], after[rows] = part, _probabilities(classifier, part)
            gradients, passes = int(search.gradient_evaluations.max()), 1 + int(search.forward_passes.max())
        batches = in_batches(len(originals), batch_size or BEFORE_AT_ONCE)
        before = [_probabilities(classifier, originals[rows]) for rows in batches]
    return AdversarialExplanation(
        maps=perturbed.view(*shape, *images.shape[1:]),
        kind="image",
        name="adversarial",
        targets=indices,
        gradient_evaluations=gradients * (count if indices is None else 1),
        forward_passes=1 + passes * (count if indices is None else 1),
        rho=float(rho),
        direction=direction,
        optimiser=optimiser,
        rms=lengths(perturbed.double() - repeated.double(), "rms").view(shape),
        probabilities_before=torch.cat(before) if before else after.new_empty((0, count)),
        probabilities=after.view(*shape, count),
    )


def _way(
    optimiser: str, aims: Tensor, task: Task, direction: Direction, rho: float
) -> tuple[Algorithm, WalkGoal, bool]:
    """Algorithm, what it pursues, and whether it keeps the pixel box; no level is to be reached: ½ stands for it."""
    rising = torch.full_like(aims, direction == "raise", dtype=torch.bool)
    aim = Confidence(aims, torch.full_like(aims, 0.5, dtype=torch.float64), rising, task)
    if optimiser == "tight":
        return partial(ascend, rms=rho), aim, True
    paper = partial(algorithm_1, length=5 * rho, steps=35, momentum=0.0)
    return paper, RadiusReached(aim, rho), False


def _probabilities(classifier: Classifier, images: Tensor) -> Tensor:
    """Of every class, float64 (N, K)."""
    with frozen(classifier), torch.no_grad():
        logits = classifier(images).double()
    return logits.softmax(1) if classifier.task == "multiclass" else logits.sigmoid()
