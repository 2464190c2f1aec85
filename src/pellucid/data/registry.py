"""The datasets by name, and the one function that opens them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, cast

from pellucid.data.download import releases
from pellucid.utils.registry import Registry
from pellucid.utils.resources import check_known
from pellucid.utils.settings import Section, validate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pellucid.data.dataset import DatasetCard, Splits
    from pellucid.data.download.release import Release
    from pellucid.data.issues import Issue


@dataclass(frozen=True)
class DatasetEntry:
    """One dataset of the registry; its module, which says what it is, is imported when it is first used.

    Attributes:
        name: what it is called on the command line.
        module: where its opener and card live.
        opener: the name of a function ``(root, *, seed, options) -> Splits``, without root where none
            is needed.
        settings: the name of the section that its options are validated by, so that a training record has the defaults
            too; without it the record has what was given.
        presets: the name of what goes under the options, where they have other defaults than the section's.
        card_name: the name of its DatasetCard.
        layout_name: the name of the text that says what is expected in its folder; empty where it needs none.
        checker: the name of a function ``(root) -> list of issues`` for what only this dataset can check.
        release: how it is published, which is what `pellucid data fetch` goes by; None for data of one's own and for
            what is built in.
    """

    name: str
    module: str
    opener: str
    settings: str = ""
    presets: str = ""
    card_name: str = "CARD"
    layout_name: str = "LAYOUT"
    checker: str = ""
    release: Release | None = None

    @property
    def needs_root(self) -> bool:
        """Whether it is read from a folder."""
        return bool(self.layout_name)

    @property
    def layout(self) -> str:
        """What is expected in its folder; empty where it needs none."""
        return cast("str", getattr(import_module(self.module), self.layout_name)) if self.needs_root else ""

    @property
    def card(self) -> DatasetCard:
        """What it is, where it comes from and under which terms."""
        return cast("DatasetCard", getattr(import_module(self.module), self.card_name))

    def open(self, root: str | Path | None, seed: int, options: Mapping[str, object] | None) -> Splits:
        """Open it; see `open_dataset`."""
        opener = getattr(import_module(self.module), self.opener)
        place = (root,) if self.needs_root else ()
        splits = cast("Splits", opener(*place, seed=seed, options=options))
        in_force = self.resolve(options) | {"seed": seed}
        return {name: replace(part, options=part.options or in_force) for name, part in splits.items()}

    def resolve(self, options: Mapping[str, object] | None) -> dict[str, object]:
        """The options in force, defaults among them, without those that change neither images nor labels nor parts.

        What is not set is left out, at every depth: a training record, which is TOML, has no None.
        """
        if not self.settings:
            return dict(options or {})
        module = import_module(self.module)
        presets = getattr(module, self.presets) if self.presets else {}
        kind: type[Section] = getattr(module, self.settings)
        settings = validate(kind, {**presets, **(options or {})}, f"options of {self.name}")
        return settings.model_dump(mode="json", exclude=_OF_NO_EFFECT, exclude_none=True)

    def check(self, root: Path) -> list[Issue]:
        """What only this dataset can check, such as images that its lists name and its folder lacks."""
        if not self.checker:
            return []
        checker = cast("Callable[[Path], list[Issue]]", getattr(import_module(self.module), self.checker))
        return checker(root)


_OF_NO_EFFECT = {"encoding", "delimiter", "outside", "show_patients", "url", "storage"}
"""Options that say how a table or a place is read; `storage` may hold keys, so that it must come into no record."""

DATASETS = Registry(
    "pellucid.datasets",
    DatasetEntry,
    (
        DatasetEntry(
            "phantom",
            "pellucid.data.readers.phantom.reader",
            "open_phantom",
            "PhantomOptions",
            card_name="PHANTOM_CARD",
            layout_name="",
        ),
        DatasetEntry(
            "chestxray14",
            "pellucid.data.readers.chestxray14.reader",
            "open_chestxray14",
            "ChestXray14Options",
            checker="check",
            release=releases.CHESTXRAY14,
        ),
        DatasetEntry(
            "kermany2018",
            "pellucid.data.readers.folder",
            "open_kermany2018",
            "FolderOptions",
            presets="KERMANY_OPTIONS",
            card_name="KERMANY_CARD",
            layout_name="KERMANY_LAYOUT",
            release=releases.KERMANY2018,
        ),
        DatasetEntry(
            "covid-findings",
            "pellucid.data.readers.covid_findings",
            "open_covid_findings",
            "CovidFindingsOptions",
            checker="check",
            release=releases.COVID_FINDINGS,
        ),
        DatasetEntry(
            "cifar10",
            "pellucid.data.readers.cifar10.reader",
            "open_cifar10",
            "Cifar10Options",
            checker="check",
            release=releases.CIFAR10,
        ),
        DatasetEntry(
            "imagenet",
            "pellucid.data.readers.imagenet",
            "open_imagenet",
            "ImagenetOptions",
            checker="check",
            release=releases.IMAGENET,
        ),
        DatasetEntry(
            "coco",
            "pellucid.data.readers.coco.reader",
            "open_coco",
            "CocoOptions",
            checker="check",
            release=releases.COCO,
        ),
        DatasetEntry(
            "jsrt",
            "pellucid.data.readers.jsrt.reader",
            "open_jsrt",
            "JsrtOptions",
            checker="check",
            release=releases.JSRT,
        ),
        DatasetEntry(
            "medmnist",
            "pellucid.data.readers.medmnist.reader",
            "open_medmnist",
            "MedMnistOptions",
            release=releases.MEDMNIST,
        ),
        DatasetEntry("shards", "pellucid.data.cache.shards", "open_shards", "ShardOptions", layout_name=""),
        DatasetEntry("folder", "pellucid.data.readers.folder", "open_folder", "FolderOptions"),
        DatasetEntry(
            "dicom", "pellucid.data.readers.dicom.reader", "open_dicom_folder", "DicomOptions", checker="check"
        ),
        DatasetEntry("table", "pellucid.data.readers.table.reader", "open_table", "TableOptions"),
    ),
)


def dataset_names() -> tuple[str, ...]:
    """The names of the datasets.

    Example:
        >>> dataset_names()  # doctest: +ELLIPSIS
        ('phantom', 'chestxray14', ...)
    """
    return tuple(DATASETS)


def get_entry(name: str) -> DatasetEntry:
    """The registry's entry of a dataset.

    Raises:
        InputError: for an unknown name, with the nearest one and all there are.

    Example:
        >>> get_entry("chestxray")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        pellucid.types.InputError: unknown dataset 'chestxray'. Did you mean 'chestxray14'? There are: ...
    """
    check_known([name], DATASETS, "dataset")
    return DATASETS[name]


def open_dataset(
    name: str, root: str | Path | None = None, *, seed: int = 0, options: Mapping[str, object] | None = None
) -> Splits:
    """Open a dataset by name; no pixels are read yet.

    Args:
        name: one of `dataset_names()`.
        root: its folder; left out for a dataset that is built in.
        seed: chooses what a dataset leaves to chance, such as the patients of a validation part.
        options: the dataset's own options, such as ``{"labels": ["Pneumonia"]}``.

    Returns:
        The parts by name: `train`, `validation`, `test`, or fewer.

    Raises:
        InputError: for an unknown name (with the nearest), a missing folder (with the layout expected in
            it), a wrong option, or whatever is wrong with the files (with the file).

    Example:
        >>> options = {"size": 32, "train": 8, "validation": 4, "test": 4}
        >>> splits = open_dataset("phantom", options=options)
        >>> {name: len(part) for name, part in splits.items()}
        {'train': 8, 'validation': 4, 'test': 4}
    """
    return get_entry(name).open(root, seed, options)
