"""Whether a network of others can be judged: a few images through it, before any long work starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pellucid.models.classifier import frozen
from pellucid.types import InputError
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from pellucid.models.classifier import WrappedClassifier
    from pellucid.models.outputs import OutputKind

IMAGES = 4
"""So many are looked at: flat grey, a gradient, and noise of two kinds."""
TOLERANCE = 1e-3
"""How far two outputs for the same image may lie apart, of the spread of all outputs: rounding stays far below."""


def probe_images(channels: int, height: int, width: int) -> Tensor:
    """Images (4, C, H, W) in [0, 1] that are the same every time, without touching the caller's random state."""
    generator = torch.Generator().manual_seed(0)
    fine = torch.rand(channels, height, width, generator=generator)
    blocks = torch.rand(1, channels, 8, 8, generator=generator)
    coarse = nn.functional.interpolate(blocks, size=(height, width), mode="bilinear", align_corners=False)[0]
    ramp = torch.linspace(0, 1, width).expand(channels, height, width)
    return torch.stack([torch.full_like(fine, 0.5), ramp, fine, coarse])


def check_classifier(model: WrappedClassifier, outputs: OutputKind | None = None) -> None:
    """Refuse a network that fails on images, or whose outputs are not what they are taken for.

    Args:
        model: is looked at in evaluation mode, and left as it is.
        outputs: what the caller says they are; None where the caller did not say, and then values that look like
            probabilities are asked about.

    Raises:
        InputError: the network raises an error; it returns NaN or infinity; its output changes from call to call, or
            with the other images of the batch; outputs of another shape; logits that look like probabilities, or
            probabilities that are none.
    """
    try:
        images = probe_images(*model.input_spec.shape).to(model.mean.device)
    except (RuntimeError, MemoryError) as error:
        raise InputError(
            f"{IMAGES} images of {model.input_spec.height:,} × {model.input_spec.width:,} pixels do not fit into "
            "memory: give the size that the network takes (--preprocess)."
        ) from error
    with torch.no_grad(), frozen(model):
        raw = _run(model, images)
        again = _run(model, images)
        alone = _run(model, images[2:3])
    if not bool(torch.isfinite(raw).all()):
        what = "NaN" if bool(raw.isnan().any()) else "infinity"
        raise InputError(
            f"the network returns {what} for ordinary images: look whether its weights are whole and whether mean and "
            "std are those of its training."
        )
    allowed = TOLERANCE * max(float(raw.max() - raw.min()), 1e-6)
    if raw.dtype not in (torch.float32, torch.float64):
        allowed *= 20  # half precision has three digits
    if not float((again - raw).abs().max()) <= allowed:  # also where it is NaN
        raise InputError(
            "the network gives another output each time for the same image, also in evaluation mode: dropout or other "
            "randomness is left on, as F.dropout without training=self.training. Nothing can be measured on it."
        )
    if not float((alone - raw[2:3]).abs().max()) <= allowed:
        raise InputError(
            "the network's output for an image changes with the other images of the batch, also in evaluation mode: "
            "batch normalisation is left in training mode, as F.batch_norm with training=True."
        )
    _check_kind(raw, model, outputs)


def _run(model: WrappedClassifier, images: Tensor) -> Tensor:
    """The outputs as the network gives them, (N, K) or (N, 1), before anything is made of them."""
    try:
        return model.raw_outputs(images)
    except InputError:
        raise
    except Exception as error:  # anybody's code: it may raise anything
        shape = " × ".join(map(str, images.shape[1:]))
        count = number_of(len(images), "image(s)")
        first = next((m for m in model.module.modules() if isinstance(m, nn.Conv2d)), None)
        takes = "" if first is None or first.in_channels == images.shape[1] else _channels(first, images.shape[1])
        raise InputError(f"the network raised {type(error).__name__} on {count} of {shape}: {error}{takes}") from error


def _channels(first: nn.Conv2d, count: int) -> str:
    return (
        f". Its first convolution takes {number_of(first.in_channels, 'channel(s)')}, and mean and std have "
        f"{number_of(count, 'value(s)')}: give one for each channel."
    )


def _check_kind(raw: Tensor, model: WrappedClassifier, outputs: OutputKind | None) -> None:
    low, high = float(raw.min()), float(raw.max())
    inside = low >= 0 and high <= 1 and high > 0  # all zero: a head that was not trained yet
    single = raw.shape[1] == 1
    sums_to_one = bool(((raw.sum(1) - 1).abs() < 1e-2).all())
    several = model.task == "multiclass" and not single
    if model.outputs == "probabilities":
        if not inside:
            raise InputError(
                f"the outputs are no probabilities: they range from {low:.4g} to {high:.4g}. Leave out outputs, or set "
                "it to logits."
            )
        if several and not sums_to_one:
            raise InputError(
                f"the probabilities of the {raw.shape[1]} classes do not sum to one, as those of classes that exclude "
                "each other do: set task to multilabel."
            )
        return
    if outputs is None and inside:
        sums = "" if not several else f" and {'' if sums_to_one else 'do not '}sum to one for each image"
        each = "" if not several or sums_to_one else " of sigmoids, for which task must be multilabel"
        raise InputError(
            f"all outputs lie between 0 and 1 ({low:.3g} to {high:.3g}){sums}: they look like probabilities{each}, and "
            "taken for logits they would make everything that is measured wrong. Set outputs (--outputs on the command "
            "line) to probabilities, or to logits if that is what they are."
        )
