"""Where the batches of a run come from: images decoded before it starts, or shards fetched while it trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.training.batches import Batches
from pellucid.training.streamed import StreamedBatches
from pellucid.types import InputError
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from accelerate import Accelerator

    from pellucid.data.cache.shard_store import Shards
    from pellucid.data.dataset import Dataset
    from pellucid.training.annotation_data import AnnotatedImages
    from pellucid.training.recipe import Recipe
    from pellucid.types import Pixels

AnyBatches = Batches | StreamedBatches


def load_batches(
    data: Dataset,
    recipe: Recipe,
    accelerator: Accelerator,
    decode: Callable[[Dataset], Pixels],
    *,
    cache: Path | None = None,
    annotated: AnnotatedImages | None = None,
) -> AnyBatches:
    """The training batches of this process: streamed, where the data are shards and no cache is named.

    Raises:
        InputError: for shards of another size or geometry than the recipe's, annotations on streamed images, or as by
            `decode`.
    """
    place = (accelerator.device, accelerator.process_index, accelerator.num_processes)
    if data.shards is not None and cache is None:
        _check_shards(data.shards, recipe, annotated)
        return StreamedBatches(data.shards, data.targets, recipe.training.batch_size, *place)
    share = recipe.objective.annotations.annotated_share if recipe.objective.annotations else 0.0
    return Batches(decode(data), data.targets, recipe.training.batch_size, *place, annotated, share)


def _check_shards(shards: Shards, recipe: Recipe, annotated: AnnotatedImages | None) -> None:
    stored, needed = shards.manifest.spec, recipe.model.input_spec
    if stored.shape != needed.shape:
        raise InputError(
            f"the shards hold images of {stored.size_text} pixels and {number_of(stored.channels, 'channel(s)')}, the "
            f"recipe asks for {needed.size_text} and {needed.channels}. Set model.size={stored.height} and "
            f"model.channels={stored.channels}, or name a folder with --cache, where all of them are "
            "fetched to and fitted."
        )
    if stored.geometry != needed.geometry:
        raise InputError(
            f"the shards hold images that were fitted by {stored.preprocess}, the recipe asks for {needed.preprocess}: "
            f"train with --preprocess {stored.preprocess}, or write other shards."
        )
    if annotated is not None:
        raise InputError("annotated images cannot be streamed: name a folder with --cache, to fetch them all first.")
