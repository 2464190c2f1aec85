"""The annotations that training reads, from a database that belongs to its images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pellucid.types import InputError
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
            have; the extra `annotate` is not installed.
    """
    optional("sqlalchemy", "annotate", "an annotation database")
    from pellucid.annotations.schema import store_name
    from pellucid.annotations.store import open_store

    with open_store(source) as store:
        store.info.check(dataset)
        found = store.annotations()
    missing = sorted(set(found.image_ids) - set(dataset.ids))
    if missing:
        raise InputError(
            f"{store_name(source)}: {len(missing)} of {len(found.image_ids)} annotated images are not in "
            f"{dataset.card.name}/{dataset.split} ({', '.join(missing[:3])}{', …' if len(missing) > 3 else ''}). "
            f"They were annotated in its part {store.info.split!r}; open the dataset with the same options."
        )
    return found
