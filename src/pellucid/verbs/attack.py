"""`pl.attack`: images changed so that a model decides otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from pellucid.attacks import METHODS, Epsilon, Misclassified, fgsm, label_flipped, minimal, pgd, within
from pellucid.attacks.bounded import ENSEMBLES, METHOD_NAMES
from pellucid.attacks.epsilon import lengths
from pellucid.attacks.minimal import check_method
from pellucid.attacks.under_attack import task_loss
from pellucid.models.card import thresholds_of
from pellucid.report.pictures.perturbed import attack_pictures
from pellucid.types import InputError, check_images, device_of
from pellucid.utils.resources import check_known, nearest
from pellucid.utils.result import Result, Table
from pellucid.verbs.input_images import check_tensor
from pellucid.verbs.session import check_model, kind_of, name_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pellucid.attacks.criterion import Criterion
    from pellucid.attacks.epsilon import Norm
    from pellucid.verbs.session import Model

SHOWN = 4
"""Images in the picture, at most."""
BY_LOSS = {"pgd": pgd, "fgsm": fgsm}


@dataclass(frozen=True, eq=False, repr=False)
class AttackedImages(Result):
    """What an attack found, image by image.

    Attributes:
        images: (N, C, H, W), as given.
        perturbed: (N, C, H, W); where nothing was found, the image as given.
        found: bool (N,), whether the model decides otherwise on `perturbed`.
        method: of the attack.
        eps: its size; None where it looked for the smallest perturbation.
        norm: of the radii: `rms` or `linf`.
        model: what the model is called.

    Example:
        >>> import pellucid as pl
        >>> import torch
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b"], task="multiclass", size=32)
        >>> result = pl.attack(model, torch.rand(2, 1, 32, 32), torch.tensor([0, 1]), "fgsm", eps="linf=0.1")
        >>> bool((result.perturbed == result.images)[~result.found].all())  # no failed attempt is handed out
        True
    """

    name: ClassVar[str] = "attack"
    images: Tensor
    perturbed: Tensor
    found: Tensor
    method: str
    eps: Epsilon | None
    model: str
    norm: Norm = "rms"

    @property
    def radius(self) -> Tensor:
        """Length of the perturbation in `norm` (N,), float64; NaN where nothing was found."""
        radius = lengths(self.perturbed.double() - self.images.double(), self.norm)
        return radius.masked_fill(~self.found, torch.nan)

    @property
    def success_rate(self) -> float:
        """The share of images on which a perturbation was found, those that were wrong from the start included."""
        return float(self.found.double().mean())

    @property
    def rows(self) -> list[dict[str, Any]]:
        """For each image whether a perturbation was found, and its length."""
        return [
            {"image": i, "found": bool(is_found), "radius": float(radius) if is_found else None}
            for i, (is_found, radius) in enumerate(zip(self.found.tolist(), self.radius.tolist(), strict=True))
        ]

    def to_json(self) -> dict[str, Any]:
        """The model, the attack and the rows."""
        size = None if self.eps is None else str(self.eps)
        return {"model": self.model, "method": self.method, "eps": size, "norm": self.norm, "rows": self.rows}

    def tables(self) -> list[Table]:
        """How often it succeeded, and with how large a perturbation."""
        median = f"{float(self.radius.nanmedian()):.4f}" if bool(self.found.any()) else "none"
        size = "" if self.eps is None else f", {self.eps}"
        unit = "L∞" if self.norm == "linf" else "RMS"
        row = [f"{int(self.found.sum())} of {len(self.found)}", median]
        return [Table(f"{self.method}{size}", ["found", f"median radius ({unit})"], [row])]

    def draw(self, folder: Path) -> dict[Path, str]:
        """The first images, as they were, as the attack left them, and what it changed."""
        before, after = ([*pixels[:SHOWN].cpu().numpy()] for pixels in (self.images, self.perturbed))
        path = folder / "attack.png"
        attack_pictures(before, after, [f"image {number}" for number in range(1, len(before) + 1)], path)
        return {path: "Images before and after the attack, and the change"}


def attack(
    model: Model,
    images: Tensor,
    labels: Tensor | Sequence[int] | int,
    method: str = "tight",
    *,
    eps: Epsilon | str | None = None,
    effort: int = 1,
    norm: Norm = "rms",
    label: str | None = None,
    seed: int = 0,
    **options: Any,  # noqa: ANN401
) -> AttackedImages:
    """Change images so that a model decides otherwise, within a size or by as little as possible.

    Args:
        model: what is attacked; it is left as it was.
        images: float (N, C, H, W) in [0, 1], or one image (C, H, W).
        labels: int64 (N,) of a multiclass model; 0 or 1 (N, K) of a multi-label one; a tensor, or what torch makes one
            of, as a list.
        method: `margin`, `autoattack`, `pgd` and `fgsm` look within `eps`, which they need; `tight`, `fmn`, `ddn` and
            `woods2019` for the smallest perturbation.
        eps: the size, as ``Epsilon(linf=8 / 255)`` or ``"linf=8/255"``; a larger perturbation does not count as found.
        effort: of `tight`: 1, 2 or 4 times its budget, for smaller perturbations.
        norm: of smallest perturbations: `rms`, or `linf` by `tight` and `fmn`.
        label: of a multi-label model, which label is to flip; its only one where it has one.
        seed: of what the method leaves to chance.
        options: of the method, as ``steps=40``.

    Raises:
        InputError: images that are not pixels in [0, 1]; labels that are none; an unknown method or label; a size that
            is missing, or names no norm.

    Source:
        `fgsm` Goodfellow et al. 2015, arXiv 1412.6572; `pgd` Madry et al. 2018, arXiv 1706.06083; `autoattack` Croce &
        Hein 2020, arXiv 2003.01690; `fmn` Pintor et al. 2021, arXiv 2102.12827; `ddn` Rony et al. 2019, arXiv
        1811.09600; `woods2019` Woods et al. 2019, arXiv 1906.02896. `margin` and `tight` are our own.

    Example:
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b"], task="multiclass", size=32)
        >>> images, labels = torch.rand(2, 1, 32, 32), torch.tensor([0, 1])
        >>> result = attack(model, images, labels, eps="linf=0.01")
        >>> result.perturbed.shape
        torch.Size([2, 1, 32, 32])
    """
    check_model(model)
    check_known([method], [*METHOD_NAMES, *METHODS], "attack")
    check_tensor(images)
    size = None if eps is None else Epsilon.of(eps)
    if method in METHODS:
        check_method(method, norm=norm, effort=effort)
    elif (effort, norm) != (1, "rms"):
        raise InputError(f"{method} looks within a size, whose norm eps= names: leave out effort and norm.")
    if size is None and method in METHOD_NAMES:
        raise InputError(f"{method} looks within a size: give eps=, as eps=pl.Epsilon(linf=8 / 255).")
    device = device_of(model)
    batch, truth = (images[None] if images.ndim == 3 else images).to(device), _as_tensor(labels).to(device)
    check_images(batch, channels=model.input_spec.channels)
    if images.ndim == 3:
        truth = truth.reshape(1, *truth.shape[-1:]) if model.task == "multilabel" else truth.reshape(1)
    shape = (len(batch),) if model.task == "multiclass" else (len(batch), len(model.classes))
    if tuple(truth.shape) != shape:
        raise InputError(f"labels of a {model.task} model must have shape {shape}; found {tuple(truth.shape)}.")
    truth = _checked_labels(model, truth)
    criterion = _criterion(model, truth, label)
    if method in ENSEMBLES:
        assert size is not None
        bounded = within(model, batch, criterion, size, method=method, seed=seed, **options)
        perturbed, is_found = bounded.perturbed, bounded.fallen
    elif method in BY_LOSS:
        assert size is not None
        generator = torch.Generator(device).manual_seed(seed)
        perturbed = BY_LOSS[method](model, batch, truth, loss=task_loss, eps=size, generator=generator, **options)
        is_found = _satisfied(model, perturbed, batch, criterion)
    else:
        if METHODS[method].takes_effort:
            options = {"effort": effort, **options}
        result = minimal(model, batch, criterion, method=method, norm=norm, seed=seed, **options)
        perturbed, is_found = result.perturbed, result.found
        if size is not None:
            is_found = is_found & (lengths(perturbed.double() - batch.double(), size.norm) <= size.value)
    best = torch.where(is_found.view(-1, 1, 1, 1), perturbed, batch)
    return AttackedImages(batch, best, is_found, method, size, name_of(model), norm)


def _as_tensor(labels: object) -> Tensor:
    """Labels as a tensor.

    Raises:
        InputError: something that is no array of numbers.
    """
    try:
        return torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"labels must be the numbers of classes, or 0 and 1 for each label of a multi-label model; found "
            f"{kind_of(labels)}."
        ) from error


def _checked_labels(model: Model, truth: Tensor) -> Tensor:
    """Labels in the type that the model's task takes.

    Raises:
        InputError: no whole number, no class of the model, or another value than 0, 1 and NaN of a label.
    """
    if model.task == "multilabel":
        truth = truth.float()
        if not bool(((truth == 0) | (truth == 1) | truth.isnan()).all()):
            raise InputError("labels of a multilabel model must be 0 or 1, NaN where unknown; found other values.")
        return truth
    count = len(model.classes)
    if truth.is_floating_point() or truth.dtype == torch.bool:
        raise InputError(f"labels must be the numbers of classes, from 0 to {count - 1}; found {truth.dtype}.")
    outside = truth[(truth < 0) | (truth >= count)]
    if len(outside):
        raise InputError(f"labels must be the numbers of classes, from 0 to {count - 1}; found {int(outside[0])}.")
    return truth.long()


def _criterion(model: Model, truth: Tensor, label: str | None) -> Criterion:
    if model.task == "multiclass":
        return Misclassified(truth)
    name = label if label is not None else model.classes[0] if len(model.classes) == 1 else None
    if name not in model.classes:
        raise InputError(f"say which label is to flip: label=. {nearest(name or '', model.classes)}")
    index = model.classes.index(name)
    if bool(truth[:, index].isnan().any()):
        raise InputError(f"whether {name} is there is not known of every image: attack those where it is 0 or 1.")
    numbers = torch.full((len(truth),), index, device=truth.device)
    return label_flipped(numbers, truth[:, index] == 1, thresholds_of(model.card, len(model.classes)))


def _satisfied(model: Model, perturbed: Tensor, images: Tensor, criterion: Criterion) -> Tensor:
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return criterion.is_satisfied(model(perturbed), perturbed - images)
    finally:
        model.train(was_training)
