"""Judging explanations: every measure of trust on one method, or on the network itself, image by image."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pellucid.evaluation.manipulation.settings import BUDGETS
from pellucid.evaluation.metrics.heatmap_scores import energy_share, heatmap_scores
from pellucid.evaluation.metrics.similarity import is_constant, spearman
from pellucid.evaluation.trust.alignment import alignment
from pellucid.evaluation.trust.faithfulness import (
    STEPS,
    Curve,
    blurred,
    cell_numbers,
    deletion,
    insertion,
    mean_colour,
    random_ranks,
    replacement_curve,
)
from pellucid.evaluation.trust.grid_pointing import assemble, quarter_share
from pellucid.evaluation.trust.infidelity import SAMPLES, infidelity
from pellucid.evaluation.trust.randomization import cascade, cascade_depths, layers_from_the_head
from pellucid.evaluation.trust.shortcut import ShortcutTask, removal_effects
from pellucid.evaluation.trust.stability import RADIUS, max_sensitivity
from pellucid.models.classifier import frozen
from pellucid.models.inference import as_pixels, in_batches
from pellucid.types import InputError, device_of
from pellucid.utils.progress import advance, step

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    from torch import Tensor, nn

    from pellucid.evaluation.trust.grid_pointing import Mosaics
    from pellucid.evaluation.trust.maps import Mapper
    from pellucid.evaluation.trust.samples import TrustSamples
    from pellucid.types import Pixels

    Numbers = npt.NDArray[np.float64]

ORDERS = 4
"""Random orders that a map's order is held against; they serve all methods."""


@dataclass(frozen=True)
class TrustSettings:
    """How much is spent.

    Attributes:
        samples: moved images for each image, for the maximum sensitivity.
        radius: how far their pixels move.
        attacked: images whose explanations are attacked.
        attack_steps: gradient steps of an attack, for each budget.
        budgets: of the attacks, root mean square a pixel and channel, ascending.
        examples: images whose maps are kept to be shown.
        batch_size: images at a time.
        seed: of everything left to chance.
    """

    samples: int = 8
    radius: float = RADIUS
    attacked: int = 16
    attack_steps: int = 12
    budgets: tuple[float, ...] = BUDGETS
    examples: int = 4
    batch_size: int = 16
    seed: int = 0


@dataclass(frozen=True)
class Findings:
    """What was measured of one method, or of the network.

    Attributes:
        method: its name.
        values: by measure, one value an image (or finding, mosaic, image with a shortcut); NaN where undefined.
        reasons: by measure, why it was not measured.
        curves: by name, arrays to be drawn.
        layers: the layer that each depth of the randomisation reaches.
        cost: gradient evaluations, forward passes of explanations, images explained, seconds.
    """

    method: str
    values: dict[str, Numbers]
    reasons: dict[str, str]
    curves: dict[str, npt.NDArray[np.floating]]
    layers: tuple[str, ...] = ()
    cost: dict[str, float] = field(default_factory=dict)


def budget(classifier: nn.Module, subjects: TrustSamples, settings: TrustSettings, others: int = 0) -> dict[str, int]:
    """What judging one method takes, and the random orders once, before any work: explanations and forward passes.

    An explanation costs what the method costs: nothing but one forward pass for CAM, a gradient evaluation for
    saliency, hundreds for others.
    """
    count, size = len(subjects.images), subjects.images.shape[2:]
    depths = len(cascade_depths(len(layers_from_the_head(classifier, _pixels(classifier, subjects.images[:1])))))
    steps = min(STEPS, int(cell_numbers(*size).max()) + 1) + 1
    extra = sum(
        len(part)
        for part in (
            () if isinstance(subjects.place, str) else subjects.place.pair_image,
            () if isinstance(subjects.mosaics, str) else subjects.mosaics.rows,
            () if isinstance(subjects.shortcut, str) else subjects.shortcut.images,
        )
    )
    return {
        "explanations_per_method": count * (1 + depths + 1 + 1 + settings.samples + others) + extra,
        "forward_passes_per_method": count * (2 * steps + SAMPLES + 1),
        "forward_passes_of_random_orders": count * 2 * ORDERS * steps,
    }


def check_method(mapper: Mapper, classifier: nn.Module, subjects: TrustSamples) -> None:
    """Explain one image, so that a method that the network cannot serve is refused before any work.

    Raises:
        InputError: what the method says.
    """
    mapper(classifier, _pixels(classifier, subjects.images[:1]), _targets(classifier, subjects)[:1])
    mapper.explained = mapper.gradient_evaluations = mapper.forward_passes = 0


def judge_network(
    classifier: nn.Module,
    subjects: TrustSamples,
    settings: TrustSettings | None = None,
) -> Findings:
    """What no explanation takes part in: alignment, random orders as a yardstick, what the answer hangs on."""
    settings, started = settings or TrustSettings(), time.monotonic()
    images, targets = _pixels(classifier, subjects.images), _targets(classifier, subjects)
    network: Any = classifier
    found = alignment(network, images, targets, batch_size=settings.batch_size)
    values = {"alignment": found.alpha.numpy(), "alignment_cosine": found.cosine.numpy()}
    cells = cell_numbers(*images.shape[2:])
    ends = {"deletion": (images, mean_colour(images)), "insertion": (blurred(images), images)}
    curves: dict[str, Any] = {}
    for name, (start, end) in ends.items():
        drawn: list[Curve] = []
        for order in range(ORDERS):
            ranks = random_ranks(len(images), cells, settings.seed + order).to(images.device)
            drawn.append(replacement_curve(network, images, targets, ranks, start=start, end=end))
        values[f"{name}_area"] = torch.stack([c.area for c in drawn]).mean(0).numpy()
        curves |= _mean_curve(name, drawn)
    reasons = {}
    if isinstance(subjects.shortcut, ShortcutTask):
        values |= {f"{k}_effect": v for k, v in removal_effects(classifier, subjects.shortcut).items()}
    else:
        reasons = dict.fromkeys(("marker_effect", "finding_effect"), subjects.shortcut)
    cost = {"gradient_evaluations": len(images), "seconds": time.monotonic() - started}
    return Findings("", values, reasons, curves, cost=cost)


def judge_method(
    mapper: Mapper,
    classifier: nn.Module,
    subjects: TrustSamples,
    settings: TrustSettings | None = None,
    *,
    others: Mapping[str, nn.Module] | None = None,
) -> Findings:
    """Every measure on one method's maps.

    Args:
        mapper: what explains.
        classifier: what is explained; left as it was.
        subjects: what it is explained on.
        settings: how much is spent.
        others: networks of the same classes, whose maps are compared.

    Raises:
        InputError: a method that the network cannot serve.
    """
    settings, started, seed = settings or TrustSettings(), time.monotonic(), (settings or TrustSettings()).seed
    images, targets = _pixels(classifier, subjects.images), _targets(classifier, subjects)
    network: Any = classifier
    kept = settings.examples
    random = cascade(mapper, classifier, images, targets, seed=seed, keep=kept)
    values: dict[str, Numbers] = {
        "repeatability_rank": random.spearman[0].numpy(),
        "randomised_rank": random.spearman[-1].numpy(),
        "randomised_ssim": random.ssim[-1].numpy(),
        "dependence_rank": random.dependence().numpy(),
        "dependence_ssim": random.dependence("ssim").numpy(),
    }
    curves: dict[str, Any] = {
        "depths": np.array(random.depths),
        "rank_by_depth": _means(random.spearman),
        "ssim_by_depth": _means(random.ssim),
        "maps_by_depth": random.maps.numpy(),
    }
    values["max_sensitivity"] = max_sensitivity(
        mapper,
        network,
        images,
        targets,
        radius=settings.radius,
        samples=settings.samples,
        seed=seed,
    ).numpy()
    maps = mapper(network, images, targets, seed)
    curves["maps"] = maps[:kept].cpu().numpy()
    for name, way in (("deletion", deletion), ("insertion", insertion)):
        curve = way(network, images, targets, maps, seed=seed)
        values[f"{name}_area"] = curve.area.numpy()
        curves |= _mean_curve(name, [curve])
    with step(len(images)):
        values["infidelity"] = infidelity(network, images, targets, maps, seed=seed).numpy()
    for name, other in (others or {}).items():
        values[f"agreement: {name}"] = spearman(maps, mapper(other, images, targets, seed)).cpu().numpy()
        advance(len(images))
    reasons: dict[str, str] = {}
    for measure in (_place, _mosaics, _shortcut):
        measured, reason = measure(mapper, classifier, subjects, settings)
        values |= measured
        reasons |= reason
    cost = {
        "gradient_evaluations": mapper.gradient_evaluations,
        "forward_passes": mapper.forward_passes,
        "explained": mapper.explained,
        "seconds": time.monotonic() - started,
    }
    return Findings(mapper.name, values, reasons, curves, random.layers, cost)


Told = tuple[dict[str, "Numbers"], dict[str, str]]


def _place(mapper: Mapper, classifier: nn.Module, subjects: TrustSamples, settings: TrustSettings) -> Told:
    task, names = subjects.place, ("auprc", "pointing", "energy_ratio")
    if isinstance(task, str):
        return {}, dict.fromkeys((*names, "place_gain"), task)
    values = {name: np.full(len(task.pair_image), np.nan) for name in names}
    for rows in in_batches(len(task.pair_image), settings.batch_size):
        images = _pixels(classifier, task.images[task.pair_image[rows]])
        targets = torch.from_numpy(task.outputs[task.pair_class[rows]]).to(images.device)
        maps = mapper(classifier, images, targets, settings.seed)
        scores = heatmap_scores(maps, task.masks[rows])
        for name in names:
            values[name][rows] = np.where(is_constant(maps).cpu().numpy(), np.nan, scores[name])
        advance(len(images))
    return values, {}


def _mosaics(mapper: Mapper, classifier: nn.Module, subjects: TrustSamples, settings: TrustSettings) -> Told:
    task = subjects.mosaics
    if isinstance(task, str):
        return {}, {"grid_pointing": task}
    shares = np.full(len(task.rows), np.nan)
    images = _pixels(classifier, subjects.images)
    if not _takes_mosaics(classifier, images, task):
        side = images.shape[-1]
        return {}, {"grid_pointing": f"the network takes no images of {2 * side} pixels, which a mosaic has"}
    for rows in in_batches(len(task.rows), max(1, settings.batch_size // 4)):
        targets = torch.from_numpy(task.targets[rows]).to(images.device)
        maps = mapper(classifier, assemble(images, task.rows[rows]), targets, settings.seed)
        shares[rows] = quarter_share(maps, task.place[rows])
        advance(rows.stop - rows.start)
    return {"grid_pointing": shares}, {}


def _takes_mosaics(classifier: nn.Module, images: Tensor, task: Mosaics) -> bool:
    try:
        with torch.no_grad(), frozen(classifier):
            classifier(assemble(images, task.rows[:1]))
    except (RuntimeError, InputError):  # a network that ends in a layer for one size says so by a shape error
        return False
    return True


def _shortcut(mapper: Mapper, classifier: nn.Module, subjects: TrustSamples, settings: TrustSettings) -> Told:
    task = subjects.shortcut
    if isinstance(task, str):
        return {}, dict.fromkeys(("marker_share", "finding_share"), task)
    values = {name: np.full(len(task.images), np.nan) for name in ("marker_share", "finding_share")}
    for rows in in_batches(len(task.images), settings.batch_size):
        images = _pixels(classifier, task.images[rows])
        targets = torch.full((len(images),), task.output, device=images.device)
        maps = mapper(classifier, images, targets, settings.seed)
        constant = is_constant(maps).cpu().numpy()
        for name, masks in (("marker_share", task.marker), ("finding_share", task.finding)):
            values[name][rows] = np.where(constant, np.nan, energy_share(maps, masks[rows]))
        advance(len(images))
    return values, {}


def _pixels(classifier: nn.Module, images: Pixels) -> Tensor:
    return as_pixels(images, device_of(classifier))


def _targets(classifier: nn.Module, subjects: TrustSamples) -> Tensor:
    return torch.from_numpy(subjects.targets).to(device_of(classifier))


def _means(values: Tensor) -> npt.NDArray[np.float64]:
    """Over the images with a value; NaN where there is none."""
    found: npt.NDArray[np.float64] = values.nanmean(1).numpy()
    return found


def _mean_curve(name: str, drawn: list[Curve]) -> dict[str, npt.NDArray[np.float64]]:
    return {
        f"{name}_share": torch.stack([c.share for c in drawn]).mean((0, 1)).numpy(),
        f"{name}_score": torch.stack([c.score for c in drawn]).flatten(0, 1).nanmean(0).numpy(),
    }
