"""What is measured of one method's maps: the list of measures, each a function of the method at work on the samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pellucid.evaluation.metrics.heatmap_scores import energy_share, heatmap_scores
from pellucid.evaluation.metrics.similarity import is_constant, spearman
from pellucid.evaluation.trust.faithfulness import deletion, insertion, mean_curve
from pellucid.evaluation.trust.findings import Findings
from pellucid.evaluation.trust.grid_pointing import assemble, quarter_share
from pellucid.evaluation.trust.infidelity import infidelity
from pellucid.evaluation.trust.randomization import cascade
from pellucid.evaluation.trust.stability import max_sensitivity
from pellucid.models.classifier import frozen
from pellucid.models.inference import in_batches
from pellucid.types import InputError
from pellucid.utils.progress import advance, step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt
    from torch import Tensor, nn

    from pellucid.evaluation.trust.findings import TrustSettings
    from pellucid.evaluation.trust.grid_pointing import Mosaics
    from pellucid.evaluation.trust.maps import Mapper
    from pellucid.evaluation.trust.marked_images import MarkedImages
    from pellucid.evaluation.trust.samples import TrustSamples


@dataclass(frozen=True, eq=False)
class MethodAtWork:
    """One method on one model's samples: all that a measure of its maps may look at.

    Attributes:
        mapper: draws the maps.
        model: what is explained; every measure leaves it as it was.
        samples: what it is explained on.
        settings: how much is spent.
        others: models of the same classes, whose maps are compared.
        maps: (N, H, W), of the samples' images.
    """

    mapper: Mapper
    model: Any  # a module, or anything that acts like one
    samples: TrustSamples
    settings: TrustSettings
    others: Mapping[str, nn.Module] = field(default_factory=dict)
    maps: Tensor = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "maps", self.draw(self.samples.images, self.samples.targets))

    def draw(self, images: Tensor, targets: Tensor) -> Tensor:
        """Maps of other images, with the same seed."""
        return self.mapper(self.model, images, targets, self.settings.seed)

    def findings(
        self,
        values: Mapping[str, npt.NDArray[np.float64]] | None = None,
        curves: Mapping[str, Any] | None = None,
        reasons: Mapping[str, str] | None = None,
        layers: tuple[str, ...] = (),
    ) -> Findings:
        """What one measure found."""
        return Findings(self.mapper.name, dict(values or {}), dict(reasons or {}), dict(curves or {}), layers)


def randomisation(work: MethodAtWork) -> Findings:
    """What a map loses as the model's layers become random, and how alike two maps of the same model are."""
    samples, settings = work.samples, work.settings
    random = cascade(
        work.mapper, work.model, samples.images, samples.targets, seed=settings.seed, keep=settings.examples
    )
    values = {
        "repeatability_rank": random.spearman[0].numpy(),
        "randomised_rank": random.spearman[-1].numpy(),
        "randomised_ssim": random.ssim[-1].numpy(),
        "dependence_rank": random.dependence().numpy(),
        "dependence_ssim": random.dependence("ssim").numpy(),
    }
    curves = {
        "depths": np.array(random.depths),
        "rank_by_depth": _means(random.spearman),
        "ssim_by_depth": _means(random.ssim),
        "maps_by_depth": random.maps.numpy(),
        "maps": work.maps[: settings.examples].cpu().numpy(),
    }
    return work.findings(values, curves, layers=random.layers)


def stability(work: MethodAtWork) -> Findings:
    """How far a map moves at most when the pixels move a little."""
    samples, settings = work.samples, work.settings
    sensitivity = max_sensitivity(
        work.mapper,
        work.model,
        samples.images,
        samples.targets,
        radius=settings.radius,
        samples=settings.samples,
        seed=settings.seed,
    )
    return work.findings({"max_sensitivity": sensitivity.numpy()})


def faithfulness(work: MethodAtWork) -> Findings:
    """How the answer falls and rises along the map's order, and whether the heat adds up to what removals do."""
    samples, seed = work.samples, work.settings.seed
    values: dict[str, npt.NDArray[np.float64]] = {}
    curves: dict[str, Any] = {}
    for name, way in (("deletion", deletion), ("insertion", insertion)):
        curve = way(work.model, samples.images, samples.targets, work.maps, seed=seed)
        values[f"{name}_area"] = curve.area.numpy()
        curves |= mean_curve(name, [curve])
    with step(len(samples.images)):
        infidelities = infidelity(work.model, samples.images, samples.targets, work.maps, seed=seed)
    return work.findings({**values, "infidelity": infidelities.numpy()}, curves)


def agreement(work: MethodAtWork) -> Findings:
    """How alike the maps of other models are, each by the same method."""
    samples, values = work.samples, {}
    for name, other in work.others.items():
        other_maps = work.mapper(other, samples.images, samples.targets, work.settings.seed)
        values[f"agreement: {name}"] = spearman(work.maps, other_maps).cpu().numpy()
        advance(len(samples.images))
    return work.findings(values)


def place(work: MethodAtWork) -> Findings:
    """Whether the heat lies on the marked findings."""
    marked, names = work.samples.on_findings, ("auprc", "pointing", "energy_ratio")
    if marked is None:
        return work.findings(reasons=dict.fromkeys((*names, "place_gain"), str(work.samples.place)))
    return work.findings(_by_region(work, marked, {"finding": names}, _place_scores))


def shortcut(work: MethodAtWork) -> Findings:
    """How much of the heat lies on the planted marker, and how much on the finding that it goes with."""
    marked, names = work.samples.on_shortcuts, {"marker": ("marker_share",), "finding": ("finding_share",)}
    if marked is None:
        reasons = dict.fromkeys(("marker_share", "finding_share"), str(work.samples.shortcut))
        return work.findings(reasons=reasons)
    return work.findings(_by_region(work, marked, names, _heat_shares))


def grid_pointing(work: MethodAtWork) -> Findings:
    """Of four images put together, whether the map finds the one that shows the class."""
    samples, task = work.samples, work.samples.mosaics
    if isinstance(task, str):
        return work.findings(reasons={"grid_pointing": task})
    if not _takes_mosaics(work.model, samples.images, task):
        side = 2 * samples.images.shape[-1]
        return work.findings(reasons={"grid_pointing": f"the network takes no images of {side} pixels, which a "
                                                       "mosaic has"})  # fmt: skip
    shares, targets = np.full(len(task.rows), np.nan), torch.from_numpy(task.targets).to(samples.images.device)
    for rows in in_batches(len(task.rows), max(1, work.settings.batch_size // 4)):
        maps = work.draw(assemble(samples.images, task.rows[rows]), targets[rows])
        shares[rows] = quarter_share(maps, task.place[rows])
        advance(rows.stop - rows.start)
    return work.findings({"grid_pointing": shares})


MAP_MEASURES: tuple[tuple[Callable[[MethodAtWork], Findings], tuple[str, ...]], ...] = (
    (
        randomisation,
        ("repeatability_rank", "randomised_rank", "randomised_ssim", "dependence_rank", "dependence_ssim"),
    ),
    (stability, ("max_sensitivity",)),
    (faithfulness, ("deletion_area", "insertion_area", "infidelity")),
    (agreement, ()),
    (place, ("auprc", "pointing", "energy_ratio", "place_gain")),
    (grid_pointing, ("grid_pointing",)),
    (shortcut, ("marker_share", "finding_share")),
)
"""Every measure of a method's maps, and the figures it gives.

The attack on the maps, which takes far longer, is kept apart (see `judge_attack`).
"""


def _by_region(
    work: MethodAtWork,
    marked: MarkedImages,
    names: Mapping[str, tuple[str, ...]],
    score: Callable[[Tensor, npt.NDArray[np.bool_]], Mapping[str, npt.NDArray[np.float64]]],
) -> dict[str, npt.NDArray[np.float64]]:
    """Scores of the maps of marked images against their regions, NaN where the map is the same everywhere."""
    values = {name: np.full(len(marked), np.nan) for measures in names.values() for name in measures}
    for rows in in_batches(len(marked), work.settings.batch_size):
        maps = work.draw(marked.images[marked.rows[rows]], marked.targets[rows])
        constant = is_constant(maps).cpu().numpy()
        for region, measures in names.items():
            scores = score(maps, marked.masks[region][rows])
            for name in measures:
                values[name][rows] = np.where(constant, np.nan, scores[name.removeprefix(f"{region}_")])
        advance(len(maps))
    return values


def _place_scores(maps: Tensor, masks: npt.NDArray[np.bool_]) -> Mapping[str, npt.NDArray[np.float64]]:
    return heatmap_scores(maps, masks)


def _heat_shares(maps: Tensor, masks: npt.NDArray[np.bool_]) -> Mapping[str, npt.NDArray[np.float64]]:
    return {"share": energy_share(maps, masks)}


def _takes_mosaics(model: Any, images: Tensor, task: Mosaics) -> bool:  # noqa: ANN401
    try:
        with torch.no_grad(), frozen(model):
            model(assemble(images, task.rows[:1]))
    except (RuntimeError, InputError):  # a network that ends in a layer for one size says so by a shape error
        return False
    return True


def _means(values: Tensor) -> npt.NDArray[np.float64]:
    """Over the images with a value; NaN where there is none."""
    means: npt.NDArray[np.float64] = values.nanmean(1).numpy()
    return means
