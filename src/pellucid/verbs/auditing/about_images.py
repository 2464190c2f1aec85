"""What is known of a dataset's images beside their labels: columns of metadata, and the marks of each class."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pellucid.data.metadata import read_metadata
from pellucid.types import InputError
from pellucid.utils.resources import check_known

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pellucid.data.cache.fitted_images import FittedImages
    from pellucid.verbs.session import Session


def known_columns(session: Session, path: str | Path | None) -> tuple[dict[str, Sequence[str]], list[str]]:
    """What is known of the images: of a table, and of the data themselves; and by what the table's rows were found."""
    dataset = session.dataset
    columns = dict(dataset.metadata)
    if path is None:
        return columns, []
    of_table, notes = read_metadata(path, dataset, session.whole)
    return columns | of_table, notes


def with_regions(
    session: Session, regions: Mapping[str, Sequence[str]] | None, class_map: Mapping[str, str] | None
) -> Session:
    """The session with the marked regions under the names of the model's classes, as every part looks for them."""
    whole = session.whole
    own = {} if whole.regions is None else {c: [d] for c, d in (class_map or {}).items() if d in whole.regions.labels}
    names = own | dict(regions or {})
    if not names:
        return session
    check_known(names, session.model.classes, "class")
    if whole.regions is None:
        raise InputError(f"{whole.card.name}/{whole.split} has no marked regions: leave out --region.")

    def renamed(images: FittedImages) -> FittedImages:
        regions = images.dataset.regions
        return replace(images, dataset=replace(images.dataset, regions=regions and regions.called(names)))

    return replace(session, part=renamed(session.part), images=renamed(session.images))
