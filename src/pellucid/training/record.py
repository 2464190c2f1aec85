"""Making the training record of a run: its own images, and those of the network that it started from."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.data.checks.image_hashes import content_hashes, id_hashes
from pellucid.data.decoding.file_pixels import decoding_of
from pellucid.models.registry import describe
from pellucid.models.training_record import ImageHashes, TrainingRecord
from pellucid.models.weights import card_of_weights, read_training_record
from pellucid.training.batches import Batches

if TYPE_CHECKING:
    from pellucid.data.dataset import Dataset
    from pellucid.training.loading import AnyBatches
    from pellucid.training.recipe import ModelSettings
    from pellucid.types import InputSpec, Pixels


def make_record(
    train: Dataset,
    batches: AnyBatches,
    validation: Dataset,
    validation_images: Pixels,
    spec: InputSpec,
    start: TrainingRecord | str | None,
) -> TrainingRecord:
    """The record of a run that is about to start.

    Args:
        train: the images to learn from.
        batches: what gives their pixels: in memory or mapped, of which each image is hashed once, or shards, which were
            hashed when they were written.
        validation: the images that choose the checkpoint.
        validation_images: their pixels.
        spec: of the images that the network takes.
        start: of `record_of_start`.
    """
    content = content_hashes(batches.images) if isinstance(batches, Batches) else batches.shards.content
    stage: dict[str, Any] = {"dataset": train.card.name, "options": dict(train.options)}
    stage["pixels"] = {"channels": spec.channels, "preprocess": spec.preprocess, **decoding_of(train)}
    stage |= {part.split: {"images": len(part), "fingerprint": part.fingerprint} for part in (train, validation)}
    own = TrainingRecord(
        (stage,),
        ImageHashes(content, id_hashes(train)),
        ImageHashes(content_hashes(validation_images), id_hashes(validation)),
        (start,) if isinstance(start, str) else (),
    )
    if not isinstance(start, TrainingRecord):
        return own
    record = own.after(start)
    for phrase in record.unrecognised:
        warnings.warn(f"the network {phrase}.", stacklevel=3)
    overlap = int(start.trained.hold(own.selected).sum())
    if overlap:
        warnings.warn(
            f"the network was trained before on {overlap:,} of the {len(validation):,} validation images: validation "
            "figures flatter it, and so may the choice of the checkpoint.",
            stacklevel=3,
        )
    return record


def record_of_start(model: ModelSettings) -> TrainingRecord | str | None:
    """What the weights that a recipe starts from were trained on.

    Returns:
        Their record; what to say where they have none; None where training starts from random weights.

    Raises:
        InputError: a record whose file is missing or was altered.
    """
    if model.pretrained is False:
        return None
    if model.pretrained is True:
        published = describe(model.name).published
        what = published.title if published is not None else "published weights"
        return f"started from {what}, whose images are not recorded"
    path = Path(model.pretrained)
    named = f"started from the weights {path.name}, and nobody recorded which images those were trained on"
    return (None if card_of_weights(path) is None else read_training_record(path)) or named
