"""What an explanation is judged on: images with the class explained, marked findings, mosaics, planted shortcuts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from pellucid.evaluation.metrics.explanations import LocalizationTask, localization_task
from pellucid.evaluation.trust.grid_pointing import Mosaics, compose
from pellucid.evaluation.trust.marked_images import MarkedImages
from pellucid.evaluation.trust.shortcut import ShortcutTask, shortcut_task
from pellucid.models.inference import as_pixels, check_answers, predict
from pellucid.types import InputError, device_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from torch import Tensor

    from pellucid.data.cache.fitted_images import FittedImages
    from pellucid.data.dataset import Dataset
    from pellucid.data.readers.phantom.options import VisibleShortcut
    from pellucid.models.classifier import AnyClassifier
    from pellucid.types import Pixels

MOSAICS = 64  # at most
LIMIT = 100
"""Images where no number is given: each is explained some thirty times."""


@dataclass(frozen=True, eq=False)
class TrustPatients:
    """Whose a table's values are, image by image: what its intervals need once the images are gone.

    Attributes:
        images: the patient of each image.
        findings: the patient of each image with marked findings; None where there are none.
        finding_images: int (R,), the image that each marked finding lies in.
        mosaics: int (M,), which of `images` is explained in each mosaic; None where there are none.
        shortcuts: the patient of each image with a shortcut; None where there are none.
    """

    images: Sequence[str]
    findings: Sequence[str] | None = None
    finding_images: npt.NDArray[np.int64] | None = None
    mosaics: npt.NDArray[np.int64] | None = None
    shortcuts: Sequence[str] | None = None


@dataclass(frozen=True, eq=False)
class TrustSamples:
    """Everything that the methods of one network are judged on, on its device; what there is none of says why.

    Attributes:
        whole: the part of a dataset that they were chosen from.
        limit: at most so many images of it; None for all.
        fitted: the N images.
        images: float32 (N, C, H, W) in [0, 1], their pixels.
        targets: int64 (N,), the class explained; see `targets_of`.
        localization: marked findings, or the reason why there are none.
        mosaics: of `images`, or the reason why there are none.
        shortcut: images with a planted shortcut, or the reason why there are none.
        on_findings: the images of `localization`, one map for each region; None where there are none.
        on_shortcuts: the images of `shortcut`; None where there are none.
    """

    whole: Dataset
    limit: int | None
    fitted: FittedImages
    images: Tensor
    targets: Tensor
    localization: LocalizationTask | str
    mosaics: Mosaics | str
    shortcut: ShortcutTask | str
    on_findings: MarkedImages | None
    on_shortcuts: MarkedImages | None

    @property
    def patients(self) -> TrustPatients:
        """Whose the values are that come of these images."""
        localization, mosaics, shortcut = self.localization, self.mosaics, self.shortcut
        return TrustPatients(
            self.fitted.dataset.patients,
            None if isinstance(localization, str) else localization.dataset.patients,
            None if isinstance(localization, str) else localization.pair_image,
            None if isinstance(mosaics, str) else mosaics.rows[np.arange(len(mosaics.rows)), mosaics.quarter],
            None if isinstance(shortcut, str) else shortcut.dataset.patients,
        )

    def parts(self) -> list[tuple[Dataset, Pixels]]:
        """All images that a judgement rests on, and their pixels; an image may be in several parts."""
        marked = [part for part in (self.localization, self.shortcut) if not isinstance(part, str)]
        return [(self.fitted.dataset, self.fitted.pixels), *((part.dataset, part.images) for part in marked)]


def gather_trust_samples(
    classifier: AnyClassifier,
    images: FittedImages,
    *,
    planted: VisibleShortcut | None = None,
    limit: int | None = LIMIT,
    seed: int = 0,
) -> TrustSamples:
    """Choose the images, and look what else the dataset offers.

    Args:
        classifier: what is judged.
        images: of one part of a dataset with the classifier's classes, as the classifier takes them.
        planted: the shortcut in the images, and the finding that it goes with; None where none was planted.
        limit: at most so many images, of those with marked findings and with a shortcut as well.
        seed: of the choice.

    Raises:
        InputError: a dataset without images, or an image that cannot be read.
    """
    dataset, sample = images.dataset, images.limit(limit, seed=seed)
    if len(dataset) == 0:
        raise InputError(f"{dataset.card.name}/{dataset.split} holds no images to explain.")
    logits = predict(classifier, sample.pixels)
    check_answers(logits, "its explanations explain nothing", sample.dataset.ids)
    localization: LocalizationTask | str
    shortcut: ShortcutTask | str
    mosaics: Mosaics | str
    try:
        localization = localization_task(images, classifier.classes, limit=limit)
    except InputError as error:
        localization = str(error)
    try:
        if planted is None:
            raise InputError(
                "the images hold no planted shortcut whose finding is known "
                "(phantom: shortcuts.letter.finding=FINDING)."
            )
        shortcut = shortcut_task(images, planted, classifier.classes, limit=limit)
    except InputError as error:
        shortcut = str(error)
    if dataset.task != "multiclass":
        mosaics = "an image of several labels may show the class explained in any quarter"
    else:
        mosaics = compose(np.asarray(sample.dataset.targets), logits.argmax(1), limit=MOSAICS, seed=seed)
        if len(mosaics.rows) == 0:
            mosaics = "fewer than two classes are ever classified rightly, so no mosaic can be made"
    device = device_of(classifier)
    targets = targets_of(logits, np.asarray(sample.dataset.targets), dataset.task)
    return TrustSamples(
        whole=dataset,
        limit=limit,
        fitted=sample,
        images=as_pixels(sample.pixels, device),
        targets=torch.from_numpy(targets).to(device),
        localization=localization,
        mosaics=mosaics,
        shortcut=shortcut,
        on_findings=None
        if isinstance(localization, str)
        else MarkedImages(
            as_pixels(localization.images, device),
            localization.pair_image,
            torch.from_numpy(localization.outputs[localization.pair_class]).to(device),
            {"finding": localization.masks},
        ),
        on_shortcuts=None if isinstance(shortcut, str) else shortcut.marked(device),
    )


def targets_of(logits: npt.NDArray[np.floating], truth: npt.NDArray[np.generic], task: str) -> npt.NDArray[np.int64]:
    """The class explained of each image: the network's decision.

    Of several labels, the most confident of those that the image shows; of all of them where it shows none.

    Example:
        >>> targets_of(np.array([[3.0, 1.0], [3.0, 1.0]]), np.array([[0.0, 1.0], [0.0, 0.0]]), "multilabel")
        array([1, 0])
    """
    if task == "multiclass":
        return np.asarray(logits.argmax(1), dtype=np.int64)
    is_present = np.asarray(truth == 1)
    among = np.where(is_present.any(1, keepdims=True), is_present, True)
    return np.asarray(np.where(among, logits, -np.inf).argmax(1), dtype=np.int64)
