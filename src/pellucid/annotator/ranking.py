"""The order in which images are offered, brought up to date as people mark them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from pellucid.annotator.acquisition import arrange, disagreement, outside, uncertainty, usual_place
from pellucid.data.placement import Placement
from pellucid.explainers import class_activation_maps, grad_cam_maps
from pellucid.models.inference import as_pixels, in_batches
from pellucid.types import InputError, device_of
from pellucid.utils.progress import advance

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from pellucid.annotations.records import AnnotationSet
    from pellucid.annotator.acquisition import Order
    from pellucid.data.dataset import Dataset
    from pellucid.models.classifier import AnyClassifier
    from pellucid.types import Pixels


class Ranking:
    """Image ids, the one to ask about first in front.

    Args:
        dataset: the images.
        probabilities: of the network, (N, K).
        order: one of `acquisition.ORDERS`.
        seed: of what is left to chance.
        heat: the network's heat maps (N, K, h, w), for the orders `outside` and `mixed`.
        compare: probabilities of a second network, for the order `disagreement`.
        place: of an image, by its id, in what the network takes; by default every image is stretched over all of it.

    Raises:
        InputError: an order that needs what was not given.
    """

    def __init__(
        self,
        dataset: Dataset,
        probabilities: npt.NDArray[np.floating],
        order: Order,
        seed: int,
        *,
        heat: npt.NDArray[np.floating] | None = None,
        compare: npt.NDArray[np.floating] | None = None,
        place: Callable[[str], Placement] | None = None,
    ) -> None:
        self.order = order
        self._ids, self._classes, self._seed = dataset.ids, dataset.classes, seed
        self._probabilities, self._heat, self._place = probabilities, heat, place
        self._scores = {"uncertainty": uncertainty(probabilities, dataset.task)}
        if compare is not None:
            self._scores["disagreement"] = disagreement(probabilities, compare, dataset.task)
        if order == "outside" and heat is None:
            raise InputError("the order 'outside' needs a network with a feature map, for class activation maps.")
        self.ids: tuple[str, ...] = ()
        self.refresh(None)

    @property
    def follows_marks(self) -> bool:
        """Whether the order changes with what people mark."""
        return self._heat is not None and self.order in ("outside", "mixed")

    def refresh(self, annotations: AnnotationSet | None) -> None:
        """Arrange the images again, with what was marked since."""
        scores = dict(self._scores)
        if self.follows_marks:
            scores["outside"] = self._outside(annotations)
        self.ids = tuple(self._ids[row] for row in arrange(self.order, scores, len(self._ids), self._seed))

    def _outside(self, annotations: AnnotationSet | None) -> npt.NDArray[np.float64]:
        """The score by the regions of each image, where it has any, and else by where its classes usually are."""
        if annotations is None or not annotations.marks or self._heat is None:
            return np.full(len(self._ids), np.nan)
        height, width = self._heat.shape[-2:]
        marked = annotations.image_ids
        whole = Placement.whole(height, width)
        places = [whole if self._place is None else self._place(name).at(height, width) for name in marked]
        relevant, _ = annotations.masks(marked, self._classes, places)
        usual = usual_place(relevant)
        regions = np.broadcast_to(usual, self._heat.shape).copy()
        row_of = {name: row for row, name in enumerate(self._ids)}
        for masks, name in zip(relevant, marked, strict=True):
            if name in row_of:
                own = masks.any((1, 2))
                regions[row_of[name], own] = masks[own]
        return outside(self._heat, regions, self._probabilities)


def heat_of(network: AnyClassifier, pictures: Pixels) -> npt.NDArray[np.float16] | None:
    """Class activation maps (N, K, h, w) of many images at the resolution of the feature map; None without one.

    Grad-CAM where the head is not linear.
    """
    maps_of = class_activation_maps if network.has_linear_head else grad_cam_maps
    if not network.has_linear_head and getattr(network, "head", None) is None:
        return None
    parts = []
    for rows in in_batches(len(pictures), 64):
        maps = maps_of(network, as_pixels(pictures[rows], device_of(network)))
        parts.append(maps.to(torch.float16).cpu().numpy())
        advance(rows.stop - rows.start)
    return np.concatenate(parts)
