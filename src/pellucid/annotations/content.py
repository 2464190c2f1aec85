"""All that an annotation database holds, as plain data: what a file of it holds, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pellucid.types import InputError

if TYPE_CHECKING:
    from pellucid.annotations.records import LabelAnswer, Mark, Note, Visit
    from pellucid.data.dataset import Dataset


@dataclass(frozen=True)
class StoreInfo:
    """The dataset that a database's annotations belong to."""

    name: str
    split: str
    task: str
    classes: tuple[str, ...]
    fingerprint: str
    origin: str

    @classmethod
    def of(cls, dataset: Dataset) -> StoreInfo:
        """What identifies a part of a dataset."""
        return cls(dataset.card.name, dataset.split, dataset.task, dataset.classes, dataset.fingerprint, dataset.origin)

    def check(self, dataset: Dataset) -> None:
        """Refuse another dataset, one drawn otherwise, and one without the classes that were annotated.

        The fingerprint may differ, as it does where fewer images of the same dataset are opened.

        Raises:
            InputError: with what the database holds and what was opened.
        """
        if self.fingerprint == dataset.fingerprint:
            return
        if self.name != dataset.card.name:
            raise InputError(f"these annotations belong to the dataset {self.name}, not to {dataset.card.name}.")
        if self.origin != dataset.origin:
            raise InputError(
                f"these annotations belong to other images of {self.name}: made with {self.origin}, opened with "
                f"{dataset.origin}. Give the same --data-option (in Python: options of pl.dataset) as when "
                "they were annotated."
            )
        absent = [name for name in self.classes if name not in dataset.classes]
        if absent:
            raise InputError(
                f"these annotations speak of {', '.join(absent)}; {self.name} was opened with the classes "
                f"{', '.join(dataset.classes)}."
            )


@dataclass(frozen=True)
class StoreContent:
    """All that a database holds, or a file of it.

    Attributes:
        info: the dataset.
        sizes: width and height of every image that was offered or marked, None where not known.
        marks: those that were undone too, in the order of arrival.
        verdicts: the last one of each person.
        notes: the last one of each person.
        visits: how far people are with the images.
    """

    info: StoreInfo
    sizes: dict[str, tuple[int, int] | None]
    marks: tuple[Mark, ...]
    verdicts: tuple[LabelAnswer, ...] = ()
    notes: tuple[Note, ...] = ()
    visits: tuple[Visit, ...] = ()

    @property
    def images(self) -> set[str]:
        """The images that anything is said of."""
        return {m.image for m in self.marks} | {v.image for v in self.verdicts} | {n.image for n in self.notes}
