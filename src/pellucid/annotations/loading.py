"""The annotations that training reads, from a database that belongs to its images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.annotations.belonging import check_images
from pellucid.utils.resources import optional

if TYPE_CHECKING:
    from pathlib import Path

    from pellucid.annotations.records import AnnotationSet
    from pellucid.data.dataset import Dataset


def load_annotations(source: str | Path, dataset: Dataset) -> AnnotationSet:
    """The annotations of an annotation database that belongs to a dataset.

    Args:
        source: the database's file, or its URL (``postgresql+pg8000://…``).
        dataset: the part of the dataset whose images were annotated, as it is trained on.

    Raises:
        InputError: no such database; one of another dataset, of other classes, or of images that the part does not
            have or that have another proportion there; the extra `annotate` is not installed.
    """
    optional("sqlalchemy", "annotate", "an annotation database")
    from pellucid.annotations.store import open_store

    with open_store(source) as store:
        annotation_set = store.annotations()
        check_images(store.info, store.image_sizes(), annotation_set.image_ids, dataset, store.name)
    return annotation_set
