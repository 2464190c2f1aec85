"""The planted shortcut: what the answer hangs on is known, so a map can be held against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from pellucid.evaluation.trust.faithfulness import target_scores
from pellucid.evaluation.trust.marked_images import MarkedImages
from pellucid.models.inference import as_pixels, in_batches
from pellucid.types import InputError
from pellucid.utils.resources import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from torch import Tensor

    from pellucid.data.cache.fitted_images import FittedImages
    from pellucid.data.dataset import Dataset
    from pellucid.data.readers.phantom.options import VisibleShortcut
    from pellucid.types import Classifier, Pixels

RING = 3  # pixels around a region that its filling is taken from


@dataclass(frozen=True)
class ShortcutTask:
    """Images that show both the finding and the shortcut, "the marker", that went with it in training.

    Attributes:
        dataset: the B images.
        images: uint8 or uint16 (B, C, H, W).
        output: the classifier's output of the finding.
        finding: boolean (B, H, W), where the finding is.
        marker: boolean (B, H, W), where the marker is.
    """

    dataset: Dataset
    images: Pixels
    output: int
    finding: npt.NDArray[np.bool_]
    marker: npt.NDArray[np.bool_]

    def marked(self, device: torch.device) -> MarkedImages:
        """The images on a device, with the class of the finding and both regions."""
        images = as_pixels(self.images, device)
        targets = torch.full((len(images),), self.output, device=device)
        return MarkedImages(images, np.arange(len(images)), targets, {"marker": self.marker, "finding": self.finding})


def shortcut_task(
    images: FittedImages, planted: VisibleShortcut, classes: Sequence[str], *, limit: int | None = None
) -> ShortcutTask:
    """Take the images of a dataset on which both the finding and the marker are marked.

    Args:
        images: of a phantom with a planted shortcut, best its test part, where the two are independent, as the
            classifier takes them.
        planted: the marker, and the finding that it goes with in training.
        classes: of the classifier.
        limit: at most so many images, chosen at random with seed 0.

    Raises:
        InputError: a dataset without a marker, a finding that is no class, or no image that shows both.
    """
    regions, (label, finding) = images.dataset.regions, planted
    if regions is None or label not in regions.labels:
        raise InputError(
            f"the images hold no planted shortcut of the kind {label!r}; the phantom has one with --data-option "
            f"shortcuts.{label}.finding=FINDING (in Python: shortcuts={{{label!r}: {{'finding': FINDING}}}}), "
            "for a network that was trained on it."
        )
    if finding not in classes:
        raise InputError(f"the classifier has no class {finding!r}. {nearest(finding, classes)}")
    finding_rows, marker_rows = ({i for i, _ in regions.pairs([of])} for of in (finding, label))
    rows = sorted(finding_rows & marker_rows)
    if not rows:
        raise InputError(f"no image shows both {finding} and the marker: take more images.")
    both = images.subset(rows).limit(limit)
    regions = both.dataset.regions
    assert regions is not None
    finding_masks, marker_masks = (
        np.stack([regions.mask(i, of, place) for i, place in enumerate(both.places)]) for of in (finding, label)
    )
    if not all(mask.any((1, 2)).all() for mask in (finding_masks, marker_masks)):
        raise InputError(
            f"the marker, or {finding}, lies outside what the network sees of some images ({both.spec.preprocess}): a "
            "shortcut can be judged only where both are seen. Take a network that sees whole images."
        )
    return ShortcutTask(both.dataset, both.pixels, classes.index(finding), finding_masks, marker_masks)


def painted_over(images: Tensor, masks: Tensor) -> Tensor:
    """Images (N, C, H, W) with each region (N, H, W) filled with the mean of the ring of pixels around it.

    Where a region leaves nothing around it, with the image's mean.
    """
    inside = masks[:, None].to(images.dtype)
    ring = F.max_pool2d(inside, 2 * RING + 1, stride=1, padding=RING) - inside
    ring = ring.where(ring.sum((2, 3), keepdim=True) > 0, 1.0)
    colour = (images * ring).sum((2, 3), keepdim=True) / ring.sum((2, 3), keepdim=True)
    return images * (1 - inside) + colour * inside


def removal_effects(
    classifier: Classifier, marked: MarkedImages, *, batch_size: int = 64
) -> dict[str, npt.NDArray[np.float64]]:
    """How far the finding's logit falls when the marker, or the finding, is painted over: float64 (B,) each.

    What the answer hangs on, measured without any explanation.
    """
    drops: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in marked.masks}
    for rows in in_batches(len(marked.images), batch_size):
        images, targets = marked.images[rows], marked.targets[rows]
        whole = target_scores(classifier, images, targets, "logit")
        for name, masks in marked.masks.items():
            without = painted_over(images, torch.from_numpy(masks[rows]).to(images.device))
            drops[name].append((whole - target_scores(classifier, without, targets, "logit")).numpy())
    return {name: np.concatenate(parts) for name, parts in drops.items()}
