"""Running a classifier over many images without gradients, and what its logits say, where they say anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from pellucid.models.classifier import frozen
from pellucid.types import InputError, device_of, in_unit_range
from pellucid.utils.progress import advance

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt
    from torch import Tensor, nn

    from pellucid.types import Pixels

LOGITS_RULES = 1
"""Counted up whenever a model is asked otherwise, so that what was kept before is not read as this."""


def as_pixels(images: Pixels, device: torch.device | None = None) -> Tensor:
    """uint8 or uint16 images (N, C, H, W) as float32 in [0, 1] on `device`.

    Example:
        >>> as_pixels(np.full((1, 1, 1, 2), 255, np.uint8))
        tensor([[[[1., 1.]]]])
    """
    return in_unit_range(torch.tensor(np.asarray(images), device=device or "cpu"))  # a copy: maps are read-only


def in_batches(count: int, batch_size: int) -> Iterator[slice]:
    """Slices of at most `batch_size` that cover `count` rows."""
    for start in range(0, count, batch_size):
        yield slice(start, min(start + batch_size, count))


def predict(
    classifier: nn.Module,
    images: Pixels,
    *,
    batch_size: int = 64,
) -> npt.NDArray[np.float32]:
    """Logits (N, K) of images (N, C, H, W), uint8 or uint16, in eval mode, on the classifier's device.

    Args:
        classifier: images → logits.
        images: in memory or a memory map.
        batch_size: images at a time.
    """
    device = device_of(classifier)
    logits: list[Tensor] = []
    with frozen(classifier), torch.inference_mode():
        for rows in in_batches(len(images), batch_size):
            logits.append(classifier(as_pixels(images[rows], device)).float())
            advance(rows.stop - rows.start)
    return torch.cat(logits).cpu().numpy()


def unanswered(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """On which images a network gives no answer: bool (N,), where any of its logits (N, K) is NaN or infinite.

    Example:
        >>> unanswered(np.array([[0.0, 1.0], [0.0, np.nan], [np.inf, 0.0]]))
        array([False,  True,  True])
    """
    return np.asarray(~np.isfinite(np.asarray(logits)).all(1))


def probabilities(logits: npt.NDArray[np.floating], task: str) -> npt.NDArray[np.float64]:
    """Logits (N, K) as probabilities: softmax for a multiclass task, a sigmoid for each label of a multi-label one.

    NaN for every class of an image without an answer (see `unanswered`).

    Example:
        >>> probabilities(np.array([[0.0, 0.0], [0.0, np.inf]]), "multilabel")
        array([[0.5, 0.5],
               [nan, nan]])
    """
    values = torch.from_numpy(np.asarray(logits, dtype=np.float64))
    shares = (values.softmax(1) if task == "multiclass" else values.sigmoid()).numpy()
    return np.where(unanswered(logits)[:, None], np.nan, shares)


def decisions(
    logits: npt.NDArray[np.floating], task: str, thresholds: npt.ArrayLike | None = None
) -> npt.NDArray[np.float64]:
    """What a network decides: its class numbers (N,), or of several labels 0 or 1 (N, K); NaN where it has no answer.

    The one way from logits to decisions: the largest of numbers that are none would be the first class.

    Args:
        logits: (N, K).
        task: `multiclass`, or `multilabel`: then a label is present from its threshold on.
        thresholds: K probabilities, or (N, K), a half each by default; a label with NaN is never present.

    Example:
        >>> decisions(np.array([[0.0, 1.0], [np.nan, np.nan]]), "multiclass")
        array([ 1., nan])
        >>> decisions(np.array([[0.0, -1.0], [np.nan, 2.0]]), "multilabel")
        array([[ 1.,  0.],
               [nan, nan]])
    """
    missing = unanswered(logits)
    if task == "multiclass":
        return np.where(missing, np.nan, np.asarray(logits).argmax(1))
    cuts = 0.5 if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    return np.where(missing[:, None], np.nan, probabilities(logits, task) >= cuts)


def check_answers(logits: Tensor | npt.NDArray[np.floating], purpose: str, names: Sequence[str] | None = None) -> None:
    """Refuse logits (N, K) that are not all finite, where nothing can be made of them.

    Args:
        logits: of the images.
        purpose: what they are for, as in "an attack needs numbers".
        names: of the images, for the message.

    Raises:
        InputError: with how many there are, and the first image.

    Example:
        >>> check_answers(np.array([[0.0, np.nan]]), "nothing can be explained", ["a.png"])
        Traceback (most recent call last):
        ...
        pellucid.types.InputError: the classifier returned 1 logits that are not finite, of 2 (the first on a.png); \
nothing can be explained. Look at its weights and at its normalisation.
    """
    bad = ~torch.as_tensor(logits).isfinite()
    if not bool(bad.any()):
        return
    first = f" (the first on {names[int(bad.any(1).nonzero()[0])]})" if names is not None else ""
    raise InputError(
        f"the classifier returned {int(bad.sum())} logits that are not finite, of {bad.numel()}{first}; {purpose}. "
        "Look at its weights and at its normalisation."
    )
