"""Certified heat maps of many images: image by image, kept as they come, so that the same work goes on later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pellucid.attacks.engine import images_that_fit
from pellucid.evaluation.certified_maps.attack import attack_cells
from pellucid.evaluation.certified_maps.cells import cell_map
from pellucid.evaluation.certified_maps.certificate import certified_cells, top_votes
from pellucid.evaluation.manipulation.gradient_maps import check_method
from pellucid.evaluation.robustness.certified import BLOCK, seed_of
from pellucid.explainers import EXPLAINERS
from pellucid.explainers.registry import DIFFERENTIABLE, layer_option
from pellucid.models.classifier import frozen
from pellucid.types import InputError, device_of
from pellucid.utils.progress import step
from pellucid.utils.results_store import keyed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    from torch import Tensor

    from pellucid.evaluation.certified_maps.cells import CellMap
    from pellucid.evaluation.certified_maps.certificate import MapSmoothing
    from pellucid.models.classifier import AnyClassifier
    from pellucid.utils.results_store import ResultsStore

NO_SLOPE = (
    "this map has no differentiable form without chance, so no attack on it is known; that is no sign that it resists"
)
NONE_ATTACKED = "no cell was attacked"


@dataclass(frozen=True, eq=False)
class CertifiedMaps:
    """One method's maps of N images in cells, certified and attacked.

    Attributes:
        method: of explanation.
        shape: rows and columns of cells, G in all.
        largest_radius: what a cell gets on which all draws agree: no more can be certified with so many.
        heat: float32 (N, G), the cells of the map of the image itself, without noise.
        inside: bool (N, G), whether the smoothed map has the cell in its top share; of a cell that abstains what the
            selection draws say.
        radius: float64 (N, G), certified L2 radius; 0 where the cell abstains.
        attacked: bool (N, G), which cells an attack aimed at.
        length: float64 (N, G), the shortest confirmed L2 length after which the cell is on the other side; infinite
            where none was found.
        gradient_evaluations: int64 (N,), of the network, spent on the attack.
        maps: int64 (N,), drawn.
        not_attacked: why no cell was attacked; None where some were.
    """

    method: str
    shape: tuple[int, int]
    largest_radius: float
    heat: npt.NDArray[np.float32]
    inside: npt.NDArray[np.bool_]
    radius: npt.NDArray[np.float64]
    attacked: npt.NDArray[np.bool_]
    length: npt.NDArray[np.float64]
    gradient_evaluations: npt.NDArray[np.int64]
    maps: npt.NDArray[np.int64]
    not_attacked: str | None = None

    @property
    def empty(self) -> npt.NDArray[np.bool_]:
        """Of which images (N,) the smoothed map has no cell in its top share: the same heat everywhere, for most draws.

        All its cells may be certified to stay outside, and that says nothing.
        """
        nothing: npt.NDArray[np.bool_] = np.logical_not(self.inside.any(1))
        return nothing

    @property
    def violated(self) -> npt.NDArray[np.bool_]:
        """Which cells (N, G) a confirmed attack changed within their certified radius: none, but for chance."""
        within: npt.NDArray[np.bool_] = np.less(self.length, self.radius)
        return within


def cell_maps(
    classifier: AnyClassifier, methods: Sequence[str], smoothing: MapSmoothing, layer: str | None = None
) -> dict[str, CellMap]:
    """What each method is certified as, after all that can be wrong was looked at, before long work.

    Raises:
        InputError: a method that the classifier does not serve; a grid that does not fit; too few draws.
    """
    sample = torch.full((1, *classifier.input_spec.shape), 0.5, device=device_of(classifier))
    with frozen(classifier):
        rows = min(BLOCK, images_that_fit(classifier, sample))
    result = {}
    for method in methods:
        cells = cell_map(
            classifier, method, grid=smoothing.grid, top=smoothing.top, seed=smoothing.seed, rows=rows, layer=layer
        )
        smoothing.check_samples(cells.cells)
        result[method] = cells
    return result


def reason_for_no_attack(cells: CellMap, smoothing: MapSmoothing) -> str | None:
    """Why a method's cells are not attacked; None where they can be."""
    if smoothing.attack_cells == 0:
        return NONE_ATTACKED
    if cells.method not in DIFFERENTIABLE or EXPLAINERS[cells.method].seeded:
        return NO_SLOPE
    try:
        check_method(cells.method, cells.classifier, layer_option(cells.method, cells.options.get("layer")))
    except InputError as error:
        return str(error)
    return None


def certify_maps(
    cells: CellMap,
    images: Tensor,
    targets: Tensor,
    names: Sequence[str],
    smoothing: MapSmoothing,
    store: ResultsStore | None = None,
) -> CertifiedMaps:
    """Certify, and attack, one method's maps of some images. Each image reports as one step of progress.

    An image's draws depend on its name, the method and the seed, on nothing else in the run.

    Args:
        cells: what explains, as `cell_maps` gives it.
        images: (N, C, H, W) in [0, 1].
        targets: int64 (N,), the class explained of each image, and of all its noisy copies.
        names: of the images.
        smoothing: noise, draws and confidence.
        store: where each image's results are kept, and read from; its record must name all that determines them.
    """
    reason = reason_for_no_attack(cells, smoothing)
    parts = []
    for image, target, name in zip(images, targets.tolist(), names, strict=True):
        with step(1):

            def measure(
                image: Tensor = image, target: int = target, name: str = name
            ) -> Mapping[str, npt.NDArray[Any]]:
                return _one(cells, image, target, name, smoothing, attacked=reason is None)

            kept_as = keyed(cells.method, name, target)
            parts.append(measure() if store is None else store.measured(kept_as, measure))
    joined = {field: np.stack([part[field] for part in parts]) for field in parts[0]}
    return CertifiedMaps(
        cells.method, cells.shape, smoothing.largest_radius(cells.cells), **joined, not_attacked=reason
    )


def _one(
    cells: CellMap, image: Tensor, target: int, name: str, smoothing: MapSmoothing, *, attacked: bool
) -> dict[str, npt.NDArray[Any]]:
    selection, estimation = (
        top_votes(cells, image[None], target, smoothing.sigma, draws, seed_of(smoothing.seed, name, cells.method, use))[
            0
        ].numpy()
        for use, draws in (("selection", smoothing.selection), ("estimation", smoothing.samples))
    )
    certificates = certified_cells(selection, estimation, smoothing)
    heat = cells(image[None], torch.tensor([target], device=image.device))[0].cpu().numpy()
    is_attacked, length = np.zeros(cells.cells, dtype=bool), np.full(cells.cells, np.inf)
    gradients, maps = 0, smoothing.selection + smoothing.samples + 1
    if attacked:
        result = attack_cells(cells, image, target, certificates, smoothing, name=name)
        is_attacked, length = result.attacked, result.length
        gradients, maps = result.gradient_evaluations, maps + result.maps
    return {
        "heat": heat,
        "inside": certificates.inside,
        "radius": certificates.radius,
        "attacked": is_attacked,
        "length": length,
        "gradient_evaluations": np.array(gradients),
        "maps": np.array(maps),
    }
