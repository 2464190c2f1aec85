"""Published weights into a classifier: foreign names, one-channel images, another head."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pellucid.models.dual_norm import for_both_norms
from pellucid.models.sources.checkpoint import load_exactly, read_tensors, shape_of
from pellucid.models.sources.download import fetch
from pellucid.utils.download import check_digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pellucid.models.classifier import ConvolutionalClassifier

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def load_pretrained(
    model: ConvolutionalClassifier,
    source: str | Path,
    *,
    sha256: str | None = None,
    std: Sequence[float] = IMAGENET_STD,
    keep_head: bool = True,
) -> tuple[str, ...]:
    """Load published weights from a file or an http(s) address into a classifier, in place.

    A first convolution for three channels is adapted to a grey classifier: grey is three equal channels, so
    the weights are summed, each scaled from the published normalisation of its channel to the classifier's
    own, ``W = Σ_c W_c · std / std_c``. Where the published means differ from the classifier's own
    there would be a constant in each filter's output; it is left out, since zero padding keeps it from being
    folded in exactly. The classifier's head is left as it was, with a warning, where the weights have one of another
    size, one for other classes, or none.

    Args:
        model: receives the weights.
        source: `.safetensors`, `.pt` or `.pth`; downloads are cached and resumed.
        sha256: checksum; a download needs one, if only in its name.
        std: what the weights were published to have each channel divided by.
        keep_head: whether the weights' head, where it has the size, is for the classifier's classes.

    Returns:
        What was adapted or left out, one sentence each.

    Raises:
        InputError: names the keys that do not fit; the model is as before then.

    Example:
        >>> import tempfile
        >>> from safetensors.torch import save_file
        >>> from pellucid.models import create_model
        >>> about = {"classes": ["a"], "task": "multilabel", "size": 32}
        >>> of_colours, of_grey = (create_model("small", **about, in_channels=channels) for channels in (3, 1))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_file(of_colours.state_dict(), f"{folder}/published.safetensors")
        ...     load_pretrained(of_grey, f"{folder}/published.safetensors")
        ('the first convolution was adapted from three channels to one',)
    """
    address = str(source)
    if address.startswith(("http://", "https://")):
        path = fetch(address, sha256=sha256)
    else:
        path = Path(source)
        if sha256 is not None and path.is_file():
            check_digest(path, sha256)
    state = read_tensors(path)
    rename = getattr(model.backbone, "published_names", None)
    if rename is not None and not any(name.startswith("backbone.") for name in state):
        state = rename(state)
    notices = []
    first = "backbone." + str(getattr(model.backbone, "first_convolution", ""))
    published = state.get(first)
    if published is not None and published.shape[1] == 3 and model.input_spec.channels == 1:
        scale = model.std.flatten().cpu() / torch.tensor(list(std))
        state[first] = (published * scale.view(1, -1, 1, 1)).sum(1, keepdim=True)
        notices.append("the first convolution was adapted from three channels to one")
    weight, notice = state.get("head.weight"), None
    if weight is None:
        notice = f"{path.name} holds no head that this classifier could use: its own was left as it is"
    elif weight.shape != model.head.weight.shape:
        notice = (
            f"the head of {path.name} gives {weight.shape[0]} logits from {weight.shape[1]} features; "
            f"this classifier's, {shape_of(model.head.weight)}, was left as it is"
        )
    elif not keep_head:
        notice = f"the head of {path.name} is for other classes: this classifier's own was left as it is"
    if notice is not None:
        warnings.warn(notice, stacklevel=2)
        notices.append(notice)
        state.update({f"head.{name}": tensor for name, tensor in model.head.state_dict().items()})
    load_exactly(model, for_both_norms(model, state), source=str(path))
    return tuple(notices)
