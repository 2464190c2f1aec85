"""What is measured of one method's maps: the list of measures, each a function of the method at work on the samples."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pellucid.evaluation.certified_maps.certificate import MapSmoothing
from pellucid.evaluation.certified_maps.measure import cell_maps, certify_maps
from pellucid.evaluation.metrics.heatmap_scores import energy_share, heatmap_scores
from pellucid.evaluation.metrics.similarity import is_constant, spearman, ssim
from pellucid.evaluation.metrics.trivial_maps import mean_of_others, same_spectrum
from pellucid.evaluation.trust.attack import attacked_rows
from pellucid.evaluation.trust.faithfulness import ScoreCurve, hottest_first_curve, mean_curve
from pellucid.evaluation.trust.findings import Findings
from pellucid.evaluation.trust.grid_pointing import assemble, quarter_share
from pellucid.evaluation.trust.infidelity import infidelity
from pellucid.evaluation.trust.randomization import cascade
from pellucid.evaluation.trust.stability import max_sensitivity
from pellucid.evaluation.trust.yardsticks import DRAWS, MEAN_MAP, OWN_SPECTRUM
from pellucid.explainers import EXPLAINERS
from pellucid.models.classifier import frozen
from pellucid.models.inference import in_batches
from pellucid.types import InputError
from pellucid.utils.progress import advance, step

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    import numpy.typing as npt
    from torch import Tensor, nn

    from pellucid.evaluation.trust.findings import Numbers, TrustSettings
    from pellucid.evaluation.trust.grid_pointing import Mosaics
    from pellucid.evaluation.trust.infidelity import SharedAnswers
    from pellucid.evaluation.trust.maps import Mapper
    from pellucid.evaluation.trust.marked_images import MarkedImages
    from pellucid.evaluation.trust.samples import TrustSamples

    Score = Callable[[Tensor, npt.NDArray[np.bool_]], Mapping[str, Numbers]]

CERTIFIED_SIGMA = 0.02  # of the noise, and the L2 radius at which a cell counts as certain
CHEAP = 2  # passes through the network that a map may cost to be certified
EXPENSIVE = "{once} maps of an image of this method take too long here; `pellucid certify-explanation` makes them"


@dataclass(frozen=True, eq=False)
class MethodAtWork:
    """One method on one model's samples: all that a measure of its maps may look at.

    Attributes:
        mapper: draws the maps.
        model: what is explained; every measure leaves it as it was.
        samples: what it is explained on.
        settings: how much is spent.
        shared: the model's answers on the samples' images with parts gone, which serve all methods.
        others: models of the same classes, whose maps are compared.
        is_trivial: whether the maps are a yardstick themselves, so that none is made of them.
        maps: (N, H, W), of the samples' images.
    """

    mapper: Mapper
    model: Any  # a module, or anything that acts like one
    samples: TrustSamples
    settings: TrustSettings
    shared: SharedAnswers
    others: Mapping[str, nn.Module] = field(default_factory=dict)
    is_trivial: bool = False
    maps: Tensor = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "maps", self.draw(self.samples.images, self.samples.targets))

    def draw(self, images: Tensor, targets: Tensor) -> Tensor:
        """Maps of other images, with the same seed."""
        return self.mapper(self.model, images, targets, self.settings.seed)

    def mean_maps(self, maps: Tensor) -> Tensor:
        """For each of the samples' images, the mean of these maps over the other patients."""
        return mean_of_others(maps, self.samples.fitted.dataset.patients)

    def findings(
        self,
        values: Mapping[str, Numbers] | None = None,
        curves: Mapping[str, Any] | None = None,
        reasons: Mapping[str, str] | None = None,
        layers: tuple[str, ...] = (),
        yardsticks: Mapping[str, Callable[[], Mapping[str, Numbers]]] | None = None,
    ) -> Findings:
        """What one measure found; the yardsticks that are made of the method's maps are measured where it needs any."""
        beside = {} if self.is_trivial else {name: dict(of()) for name, of in (yardsticks or {}).items()}
        return Findings(self.mapper.name, dict(values or {}), dict(reasons or {}), dict(curves or {}), layers, beside)


def randomisation(work: MethodAtWork) -> Findings:
    """What a map loses as the model's layers become random, and how alike two maps of the same model are."""
    samples, settings = work.samples, work.settings
    random = cascade(
        work.mapper,
        work.model,
        samples.images,
        samples.targets,
        before=work.maps,
        seed=settings.seed,
        keep=settings.examples,
    )
    values = _likeness(random.spearman[0], random.spearman[-1], random.ssim[0], random.ssim[-1])

    def mean_map() -> Mapping[str, Numbers]:
        before, again, after = (work.mean_maps(maps) for maps in (work.maps, *random.ends))
        ranks, structures = ([like(before, maps).cpu() for maps in (again, after)] for like in (spearman, ssim))
        return _likeness(*ranks, *structures)

    curves = {
        "depths": np.array(random.depths),
        "rank_by_depth": _means(random.spearman),
        "ssim_by_depth": _means(random.ssim),
        "maps_by_depth": random.maps.numpy(),
        "maps": work.maps[: settings.examples].cpu().numpy(),
    }
    return work.findings(values, curves, layers=random.layers, yardsticks={MEAN_MAP: mean_map})


def unchanging(work: MethodAtWork) -> Findings:
    """What `randomisation` says of maps that look at no network, and are drawn without chance: nothing changes them."""
    alike = torch.where(is_constant(work.maps), torch.nan, 1.0).double().cpu()
    return work.findings(_likeness(alike, alike, alike, alike))


def stability(work: MethodAtWork) -> Findings:
    """How far a map moves at most when the pixels move a little."""
    samples, settings = work.samples, work.settings
    sensitivity = max_sensitivity(
        work.mapper,
        work.model,
        samples.images,
        samples.targets,
        before=work.maps,
        radius=settings.radius,
        samples=settings.samples,
        seed=settings.seed,
    )

    def mean_map() -> Mapping[str, Numbers]:
        moved_by = torch.where(is_constant(work.mean_maps(work.maps)), torch.nan, 0.0)  # other images do not move
        return {"max_sensitivity": moved_by.double().cpu().numpy()}

    return work.findings({"max_sensitivity": sensitivity.numpy()}, yardsticks={MEAN_MAP: mean_map})


def certainty(work: MethodAtWork) -> Findings:
    """How many cells of the smoothed map are certain to keep their side; nothing where no image is to be certified."""
    rows = attacked_rows(len(work.maps), work.settings.certified)
    if work.is_trivial or len(rows) == 0:
        return work.findings()
    if work.mapper.name not in EXPLAINERS:
        return work.findings(reasons={"certified_cells": "only methods by name are certified"})
    smoothing = MapSmoothing(CERTIFIED_SIGMA, attack_cells=0, seed=work.settings.seed)
    once, samples = smoothing.selection + smoothing.samples, work.samples
    price = work.mapper.gradient_evaluations + work.mapper.forward_passes  # so far, of `explained` maps
    if price > CHEAP * work.mapper.explained:
        advance(once * len(rows))
        return work.findings(reasons={"certified_cells": EXPENSIVE.format(once=once)})
    cells = cell_maps(work.model, [work.mapper.name], smoothing, work.mapper.layer)[work.mapper.name]
    shares = []
    for row in rows:
        one, name = slice(row, row + 1), samples.fitted.dataset.ids[row]
        with step(once):
            maps = certify_maps(cells, samples.images[one], samples.targets[one], [name], smoothing)
        shares.append(math.nan if maps.empty[0] else float((maps.radius[0] > CERTIFIED_SIGMA).mean()))
    return work.findings({"certified_cells": np.array(shares)})


def faithfulness(work: MethodAtWork) -> Findings:
    """How the answer falls and rises along the map's order, and whether the heat adds up to what removals do."""
    seed = work.settings.seed
    with step(len(work.maps)):
        effects = work.shared.squares
    curves = _replaced(work, work.maps)
    values = _areas([curves]) | {"infidelity": infidelity(effects, work.maps).numpy()}

    def mean_map() -> Mapping[str, Numbers]:
        maps = work.mean_maps(work.maps)
        return _areas([_replaced(work, maps)]) | {"infidelity": infidelity(effects, maps).numpy()}

    def own_spectrum() -> Mapping[str, Numbers]:
        surrogates = (same_spectrum(work.maps, seed + draw) for draw in range(DRAWS))
        return _areas([_replaced(work, maps) for maps in surrogates])

    points = {k: v for name, curve in curves.items() for k, v in mean_curve(name, [curve]).items()}
    return work.findings(values, points, yardsticks={MEAN_MAP: mean_map, OWN_SPECTRUM: own_spectrum})


def agreement(work: MethodAtWork) -> Findings:
    """How alike the maps of other models are, each by the same method."""
    samples, values, means = work.samples, {}, {}
    own = work.mean_maps(work.maps)
    for name, other in work.others.items():
        other_maps = work.mapper(other, samples.images, samples.targets, work.settings.seed)
        values[f"agreement: {name}"] = spearman(work.maps, other_maps).cpu().numpy()
        means[f"agreement: {name}"] = spearman(own, work.mean_maps(other_maps)).cpu().numpy()
        advance(len(samples.images))
    return work.findings(values, yardsticks={MEAN_MAP: lambda: means} if means else None)


def localization(work: MethodAtWork) -> Findings:
    """Whether the heat lies on the marked findings."""
    marked, task, names = work.samples.on_findings, work.samples.localization, ("auprc", "pointing", "energy_ratio")
    if marked is None or isinstance(task, str):
        return work.findings(reasons=dict.fromkeys(names, str(task)))
    patients = [task.dataset.patients[i] for i in task.pair_image]
    return _by_region(work, marked, patients, {"finding": names}, heatmap_scores)


def shortcut(work: MethodAtWork) -> Findings:
    """How much of the heat lies on the planted marker, and how much on the finding that it goes with."""
    marked, task = work.samples.on_shortcuts, work.samples.shortcut
    names = {"marker": ("marker_share",), "finding": ("finding_share",)}
    if marked is None or isinstance(task, str):
        return work.findings(reasons=dict.fromkeys(("marker_share", "finding_share"), str(task)))
    return _by_region(work, marked, task.dataset.patients, names, _heat_shares)


def grid_pointing(work: MethodAtWork) -> Findings:
    """Of four images put together, whether the map finds the one that shows the class."""
    samples, task = work.samples, work.samples.mosaics
    if isinstance(task, str):
        return work.findings(reasons={"grid_pointing": task})
    if not _takes_mosaics(work.model, samples.images, task):
        side = 2 * samples.images.shape[-1]
        why = f"the network takes no images of {side} pixels, which a mosaic has"
        return work.findings(reasons={"grid_pointing": why})
    targets, parts = torch.from_numpy(task.targets).to(samples.images.device), []
    for rows in in_batches(len(task.rows), max(1, work.settings.batch_size // 4)):
        parts.append(work.draw(assemble(samples.images, task.rows[rows]), targets[rows]))
        advance(rows.stop - rows.start)
    maps, everybody = torch.cat(parts), samples.fitted.dataset.patients
    explained = [everybody[i] for i in task.rows[np.arange(len(task.rows)), task.quarter]]

    def mean_map() -> Mapping[str, Numbers]:
        return {"grid_pointing": quarter_share(mean_of_others(maps, explained), task.quarter)}

    return work.findings({"grid_pointing": quarter_share(maps, task.quarter)}, yardsticks={MEAN_MAP: mean_map})


MAP_MEASURES: tuple[tuple[Callable[[MethodAtWork], Findings], tuple[str, ...]], ...] = (
    (
        randomisation,
        ("repeatability_rank", "randomised_rank", "randomised_ssim", "dependence_rank", "dependence_ssim"),
    ),
    (stability, ("max_sensitivity",)),
    (certainty, ("certified_cells",)),
    (faithfulness, ("deletion_area", "insertion_area", "infidelity")),
    (agreement, ()),
    (localization, ("auprc", "pointing", "energy_ratio")),
    (grid_pointing, ("grid_pointing",)),
    (shortcut, ("marker_share", "finding_share")),
)
"""Every measure of a method's maps, and the figures it gives.

The attack on the maps, which takes far longer, is kept apart (see `judge_attack`).
"""
TRIVIAL_MEASURES = tuple(
    (unchanging if measure is randomisation else measure, names) for measure, names in MAP_MEASURES
)
"""The same for maps that look at no network."""


def _likeness(again: Tensor, after: Tensor, structure_again: Tensor, structure_after: Tensor) -> dict[str, Numbers]:
    """Likeness of maps drawn twice, and once every layer is random, by rank and by structure; (N,) each."""
    return {
        "repeatability_rank": again.numpy(),
        "randomised_rank": after.numpy(),
        "randomised_ssim": structure_after.numpy(),
        "dependence_rank": (again - after).numpy(),
        "dependence_ssim": (structure_again - structure_after).numpy(),
    }


def _replaced(work: MethodAtWork, maps: Tensor) -> dict[str, ScoreCurve]:
    """The answers while places go, and while they come, the hottest of the maps first."""
    samples, settings = work.samples, work.settings
    options: dict[str, Any] = {"steps": settings.curve_steps, "seed": settings.seed}
    return {
        way: hottest_first_curve(way, work.model, samples.images, samples.targets, maps, ends=ends, **options)
        for way, ends in work.shared.ends.items()
    }


def _areas(draws: Sequence[Mapping[str, ScoreCurve]]) -> dict[str, Numbers]:
    """Areas under the curves, image by image, as means over draws."""
    names = draws[0]
    return {f"{name}_area": torch.stack([curves[name].area for curves in draws]).mean(0).numpy() for name in names}


MISSES = ("pointing", "energy_ratio")
"""What a map without positive heat scores 0 in."""


def _by_region(
    work: MethodAtWork,
    marked: MarkedImages,
    patients: Sequence[Hashable],
    names: Mapping[str, tuple[str, ...]],
    score: Score,
) -> Findings:
    """Scores of the maps of marked images against their regions, NaN where the map is the same everywhere."""
    parts = []
    for rows in in_batches(len(marked), work.settings.batch_size):
        parts.append(work.draw(marked.images[marked.rows[rows]], marked.targets[rows]).cpu())
        advance(rows.stop - rows.start)
    maps = torch.cat(parts)
    values = scores_by_region(maps, marked.masks, names, score)
    beside = {MEAN_MAP: lambda: scores_by_region(mean_of_others(maps, patients), marked.masks, names, score)}
    return work.findings(values, yardsticks=beside)


def scores_by_region(
    maps: Tensor, masks: Mapping[str, npt.NDArray[np.bool_]], names: Mapping[str, tuple[str, ...]], score: Score
) -> dict[str, Numbers]:
    """Scores of maps (M, H, W) against each region's masks (M, H, W), NaN where the map is the same everywhere.

    One of these without positive heat misses the region, so it scores 0 where hits and heat are counted.
    """
    constant = is_constant(maps).cpu().numpy()
    cold = constant & (maps.flatten(1) <= 0).all(1).cpu().numpy()
    values: dict[str, Numbers] = {}
    for region, measures in names.items():
        scores = score(torch.where(torch.from_numpy(constant)[:, None, None], 1.0, maps), masks[region])
        values |= {name: np.where(constant, np.nan, scores[name.removeprefix(f"{region}_")]) for name in measures}
        values |= {name: np.where(cold, 0.0, values[name]) for name in measures if name in MISSES}
    return values


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
