"""The engine: any algorithm on any number of images, in batches that fit, without trace on the classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from pellucid.attacks.attack_state import AttackState, check_logits
from pellucid.attacks.criterion import with_margin
from pellucid.attacks.result import AttackResult, concatenate
from pellucid.models.classifier import frozen
from pellucid.models.inference import in_batches
from pellucid.types import InputError, check_images
from pellucid.utils.progress import advance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from pellucid.attacks.criterion import Criterion, WalkGoal
    from pellucid.attacks.epsilon import Norm

CPU_BUDGET = 2**30  # bytes for one batch's activations; beyond it a CPU gains nothing from larger batches
GPU_SHARE = 0.6  # of the memory that is free
LARGEST_BATCH = 512


class Algorithm(Protocol):
    """Moves a search forward until its budget is spent or nothing is left to gain."""

    def __call__(self, search: AttackState, /) -> Tensor:
        """Look, and look again; returns the last perturbation (n, C, H, W), while `search.best` holds the best."""
        ...


def run_minimum_norm(
    algorithm: Algorithm,
    classifier: nn.Module,
    images: Tensor,
    criterion: Criterion,
    *,
    name: str,
    box: bool = True,
    norm: Norm = "rms",
    seed: int = 0,
    batch_size: int | None = None,
) -> AttackResult:
    """The smallest perturbation that an algorithm finds for each image that does not meet the criterion yet.

    An image that meets it already costs one forward pass. The classifier is in eval mode and its parameters are
    frozen meanwhile; mode, buffers, `requires_grad` and gradients are afterwards as they were, also after an
    exception.

    Args:
        algorithm: what to do with each batch.
        classifier: images (N, C, H, W) → logits (N, K).
        images: float (N, C, H, W) in [0, 1], on the classifier's device.
        criterion: what is wanted of each of them.
        name: of the algorithm, for the result.
        box: keep perturbed images in [0, 1].
        norm: in which they are small: `rms` or `linf`.
        seed: of whatever the algorithm leaves to chance.
        batch_size: images at a time; as many as fit in memory by default.

    Raises:
        InputError: images outside [0, 1], a criterion without a margin, or for another number of images or another kind
            of classifier, logits that are not finite or not one per class.
    """
    parts: list[AttackResult] = []
    images, criterion = images.detach(), with_margin(criterion)
    with frozen(classifier):
        rows_at_once = prepare(classifier, images, criterion, batch_size)
        for rows in in_batches(len(images), rows_at_once):
            index = torch.arange(rows.start, rows.stop, device=images.device)
            part = _smallest(
                algorithm, classifier, images[rows], criterion.rows(index),
                name=name, box=box, norm=norm, seed=seed + rows.start,
            )  # fmt: skip
            parts.append(part)
            advance(rows.stop - rows.start)
    return concatenate(parts)


def run_fixed_budget(
    algorithm: Algorithm,
    classifier: nn.Module,
    images: Tensor,
    criterion: WalkGoal,
    *,
    box: bool = True,
    seed: int = 0,
    batch_size: int | None = None,
) -> Iterator[tuple[slice, Tensor, AttackState]]:
    """Where an algorithm ends, batch by batch: for perturbations of a given size, which are all of use.

    Arguments and errors as `run_minimum_norm`, but for goals without a margin, which are taken. Between two batches the
    classifier is as it was.

    Yields:
        The rows of a batch, its perturbed images (n, C, H, W), and its search with what was spent.
    """
    images = images.detach()
    with frozen(classifier):
        rows_at_once = prepare(classifier, images, criterion, batch_size)
    for rows in in_batches(len(images), rows_at_once):
        index = torch.arange(rows.start, rows.stop, device=images.device)
        with frozen(classifier):
            search = _search(classifier, images[rows], criterion.rows(index), box, "rms", seed + rows.start)
            perturbation = algorithm(search)
        perturbed = images[rows] + perturbation
        yield rows, perturbed.clamp(0, 1) if box else perturbed, search
        advance(rows.stop - rows.start)


def images_that_fit(classifier: nn.Module, images: Tensor) -> int:
    """How many images a batch may hold so that one gradient evaluation stays within the memory budget.

    One image is run once and the bytes that autograd keeps for it are counted; twice that is reckoned with, for
    what the backward pass itself needs. On a CPU the budget is 1 GiB, on a GPU 60 % of what is free.
    """
    bytes_at: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        bytes_at[storage.data_ptr()] = storage.nbytes()
        return tensor

    sample = images[:1].detach().clone().requires_grad_(True)
    weights = {p.untyped_storage().data_ptr() for p in classifier.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), torch.enable_grad():
        classifier(sample)
    own = sum(size for pointer, size in bytes_at.items() if pointer not in weights)
    each = 2 * own + 16 * sample[0].numel() * sample.element_size()
    budget = CPU_BUDGET
    if images.device.type == "cuda":
        budget = int(GPU_SHARE * torch.cuda.mem_get_info(images.device)[0])
    return max(1, min(LARGEST_BATCH, budget // each))


def prepare(classifier: nn.Module, images: Tensor, criterion: WalkGoal, batch_size: int | None) -> int:
    """Look at everything that can be wrong before the work, and choose the size of a batch.

    Raises:
        InputError: see `run_minimum_norm`.
    """
    spec = getattr(classifier, "input_spec", None)
    check_images(images, channels=None if spec is None else spec.channels)
    if len(images) == 0:
        raise InputError("there are no images to attack.")
    if len(criterion) != len(images):
        raise InputError(f"the criterion speaks of {len(criterion)} images; found {len(images)}.")
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size must be at least 1; found {batch_size}.")
    with torch.no_grad():
        logits = classifier(images[:1])
    classes = getattr(classifier, "classes", None)
    if logits.ndim != 2 or (classes is not None and logits.shape[1] != len(classes)):
        expected = "K" if classes is None else str(len(classes))
        raise InputError(
            f"the classifier must return logits (N, {expected}), one per class; found {tuple(logits.shape)}."
        )
    check_logits(logits)
    criterion.check(getattr(classifier, "task", "multiclass"), logits.shape[1])
    return batch_size or images_that_fit(classifier, images)


def _search(
    classifier: nn.Module, images: Tensor, criterion: WalkGoal, box: bool, norm: Norm, seed: int
) -> AttackState:
    generator = torch.Generator(images.device).manual_seed(seed)
    return AttackState(classifier, images, criterion, box=box, norm=norm, generator=generator)


def _smallest(
    algorithm: Algorithm,
    classifier: nn.Module,
    images: Tensor,
    criterion: Criterion,
    *,
    name: str,
    box: bool,
    norm: Norm,
    seed: int,
) -> AttackResult:
    with torch.no_grad():
        logits = classifier(images)
    check_logits(logits)
    start = criterion.is_satisfied(logits, torch.zeros_like(images))
    perturbed, is_found = images.clone(), start.clone()
    forward = torch.ones(len(images), dtype=torch.int64, device=images.device)
    gradients, first = torch.zeros_like(forward), start.long() - 1
    rows = (~start).nonzero().squeeze(1)
    if len(rows):
        search = _search(classifier, images[rows], criterion.rows(rows), box, norm, seed)
        algorithm(search)
        perturbed[rows] = search.best
        is_found[rows] = search.radius.isfinite()
        forward[rows] += search.forward_passes
        gradients[rows] = search.gradient_evaluations
        first[rows] = search.first_met
    return AttackResult(images, perturbed, is_found, start, gradients, forward, first, name, norm)
