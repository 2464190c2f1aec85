"""What might be a suspect: windows, the strongest evidence outside marks, statistics of whole images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy  # its parts load when they are used

from pellucid.evaluation.discovery.exchange import Pairs, Window, exchanged_log_odds
from pellucid.evaluation.discovery.inference import mean_differences
from pellucid.evaluation.discovery.whole_image import STATISTICS, WholeImage
from pellucid.evaluation.discovery.windows import edges
from pellucid.explainers import explain, refusals
from pellucid.models.inference import as_pixels, in_batches
from pellucid.types import device_of
from pellucid.utils.progress import advance

if TYPE_CHECKING:
    import torch

    from pellucid.evaluation.discovery.exchange import Exchange
    from pellucid.evaluation.discovery.samples import Masks, Rows, Samples
    from pellucid.evaluation.discovery.settings import DiscoverySettings
    from pellucid.evaluation.discovery.suspect import Kind
    from pellucid.evaluation.metrics.bootstrap import FloatArray
    from pellucid.models.classifier import AnyClassifier

PATCH_CELLS = 3
"""Cells on a side of the window around the strongest evidence."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """Something that may move a class.

    Attributes:
        kind: as of a suspect.
        name: in plain words.
        column: the class.
        exchange: how it is put into another image.
        region: boolean (H, W), where it is.
        corners: (N, 2), row and column of each image's own window of a patch, −1 without one; None of other kinds.
        side: of that window.
    """

    kind: Kind
    name: str
    column: int
    exchange: Exchange
    region: Masks
    corners: Rows | None = None
    side: int = 0

    def taking(self) -> Exchange:
        """How it is taken away: as it is put in, at the recipient's window where each image has its own."""
        if isinstance(self.exchange, Window):
            return Window(self.exchange.mask_of, of_recipient=True)
        return self.exchange


def places(
    model: AnyClassifier,
    samples: Samples,
    rows: Rows,
    columns: Rows,
    windows: Masks,
    settings: DiscoverySettings,
    batch_size: int,
) -> FloatArray:
    """How strongly what each window shows goes with each class, by what it is worth to the class in other images.

    Args:
        model: the classifier.
        samples: all images.
        rows: those that are used.
        columns: the classes.
        windows: boolean (W, H, W').
        settings: how much is spent.
        batch_size: images at a time.

    Returns:
        z (W, K), NaN where nothing is known.
    """
    rng = np.random.default_rng(settings.seed + 1)
    donors = samples.balanced(rows, settings.screened, rng)
    pairs = Pairs.of(donors, rng.choice(rows, min(settings.recipients, len(rows)), replace=False), rng)
    odds = exchanged_log_odds(
        model, samples.pixels, pairs, [Window.fixed(mask) for mask in windows], samples.task, batch_size=batch_size
    )
    worth = np.where(samples.marks.touched(windows, samples.labels)[donors], np.nan, pairs.centred(odds))
    labels = np.broadcast_to(samples.labels[donors][:, None], worth.shape)
    z = np.full(worth.shape[1:], np.nan)
    z[:, columns] = mean_differences(
        worth[..., columns].reshape(len(donors), -1), labels[..., columns].reshape(len(donors), -1)
    )[1].reshape(len(windows), -1)
    return z


def best_windows(z: FloatArray, windows: Masks, count: int) -> list[int]:
    """The windows of the largest z (W,), none overlapping a better one by half of the smaller."""
    picked: list[int] = []
    flat = windows.reshape(len(windows), -1)
    sizes = flat.sum(1)
    for window in np.argsort(-np.nan_to_num(z, nan=-np.inf), kind="stable"):
        if np.isnan(z[window]) or z[window] <= 0 or len(picked) == count:
            break
        shared = (flat[picked] & flat[window]).sum(1) / np.minimum(sizes[picked], sizes[window])
        if (shared < 0.5).all():
            picked.append(int(window))
    return picked


def strongest_evidence(
    model: AnyClassifier, samples: Samples, columns: Rows, side: int, batch_size: int
) -> tuple[Rows, int, int]:
    """Where, outside what is marked of it, each image holds the most evidence for each class.

    By CAM where the model has a linear head, otherwise by Grad-CAM, or by the gradient where that does not fit either.

    Args:
        model: the classifier.
        samples: all images.
        columns: the classes.
        side: of the window, which touches no mark of the class.
        batch_size: images at a time.

    Images without a mark of the class leave out what is marked on one drawn from those that have one, so that the
    choice says nothing of the label.

    Returns:
        (N, K', 2), row and column of the window's corner, −1 where none fits beside the marks; forward passes,
        and gradient evaluations.
    """
    height, width = samples.frame
    method = _method(model, as_pixels(samples.pixels[:1], device_of(model)))
    corners = np.zeros((len(samples), len(columns), 2), np.int64)
    passes = gradients = 0
    partners = np.stack([_partners(samples, int(column)) for column in columns], 1)
    for batch in in_batches(len(samples), batch_size):
        images, rows = as_pixels(samples.pixels[batch], device_of(model)), np.arange(batch.start, batch.stop)
        for place, column in enumerate(columns):
            explanation = explain(method, model, images, int(column))
            passes += explanation.forward_passes * len(rows)
            gradients += explanation.gradient_evaluations * len(rows)
            heat = explanation.maps.detach().double().cpu().numpy()
            heat = scipy.ndimage.uniform_filter(heat, (0, side, side), mode="nearest")
            marked = samples.marks.of_images(partners[rows, place], int(column))
            near = scipy.ndimage.maximum_filter(marked, (0, side, side))
            heat = np.where(near, -np.inf, heat)
            first, last = side // 2, side - side // 2 - 1
            inside = heat[:, first : height - last, first : width - last]
            flat = inside.reshape(len(rows), -1)
            best = np.stack(np.unravel_index(flat.argmax(1), inside.shape[1:]), 1)
            corners[batch, place] = np.where(np.isfinite(flat.max(1, keepdims=True)), best, -1)
        advance(len(rows))
    return corners, passes, gradients


def _partners(samples: Samples, column: int) -> Rows:
    """Whose marks of a class count for each image: its own, or those of one drawn from the marked ones: (N,)."""
    own = samples.marks.rows[samples.marks.columns == column]
    partners = np.arange(len(samples))
    if len(own):
        without = np.setdiff1d(partners, own)
        partners[without] = np.random.default_rng(column).choice(own, len(without))
    return partners


def _method(model: AnyClassifier, image: torch.Tensor) -> str:
    names = ("cam", "grad-cam", "saliency")
    refused = refusals(names, model, image)
    return next(name for name in names if name not in refused or name == names[-1])


def patch_side(samples: Samples, cells: int) -> int:
    """The side of a patch's window, in pixels."""
    return int(edges(min(samples.frame), cells)[PATCH_CELLS])


def patch(samples: Samples, column: int, corners: Rows, side: int) -> Candidate:
    """The strongest evidence for a class outside its marks, wherever it lies: corners (N, 2)."""
    height, width = samples.frame
    down, across = np.arange(height)[None, :, None], np.arange(width)[None, None, :]

    def mask_of(rows: Rows) -> Masks:
        top, left = corners[rows, 0, None, None], corners[rows, 1, None, None]
        masks: Masks = (down >= top) & (down < top + side) & (across >= left) & (across < left + side)
        return masks & (top >= 0)

    name = f"what speaks most for {samples.classes[column]} outside its marks, at varying places"
    region = np.zeros(samples.frame, bool)
    return Candidate("patch", name, column, Window(mask_of), region, corners, side)


def whole_images(samples: Samples, column: int) -> list[Candidate]:
    """The statistics of whole images, for one class."""
    everywhere, partners = np.ones(samples.frame, bool), _partners(samples, column)
    return [
        Candidate("whole image", name, column, WholeImage(change, samples.marks, column, partners), everywhere)
        for name, change in STATISTICS.items()
    ]
