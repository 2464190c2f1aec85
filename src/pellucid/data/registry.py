"""The datasets by name, and the one door to them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from pellucid.data import releases
from pellucid.data.opening import check_root
from pellucid.resources import nearest
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pellucid.data.dataset import DatasetCard, Splits
    from pellucid.data.opening import Remark
    from pellucid.data.release import Release


@dataclass(frozen=True)
class DatasetEntry:
    """One dataset of the registry; its module is imported when it is first used.

    Attributes:
        name: what it is called on the command line.
        summary: one line for lists.
        module: where its opener and card live.
        opener: the name of a function ``(root, *, seed, options) -> Splits``, without root where none
            is needed.
        card_name: the name of its DatasetCard.
        layout: what is expected in its folder; empty where it needs none.
        auditor: the name of a function ``(root) -> list of remarks`` for what only this dataset can check.
        release: how it is published, which is what `pellucid data fetch` goes by; None for data of one's own and for
            what is built in.
        file: whether a single file may stand for its folder.
    """

    name: str
    summary: str
    module: str
    opener: str
    card_name: str = "CARD"
    layout: str = ""
    auditor: str = ""
    release: Release | None = None
    file: bool = False

    @property
    def needs_root(self) -> bool:
        """Whether it is read from a folder."""
        return bool(self.layout)

    @property
    def card(self) -> DatasetCard:
        """What it is, where it comes from and under which terms."""
        return cast("DatasetCard", getattr(import_module(self.module), self.card_name))

    def open(self, root: str | Path | None, seed: int, options: Mapping[str, object] | None) -> Splits:
        """Open it; see `open_dataset`."""
        opener = getattr(import_module(self.module), self.opener)
        if not self.needs_root:
            return cast("Splits", opener(seed=seed, options=options))
        return cast(
            "Splits", opener(check_root(root, self.name, self.layout, file=self.file), seed=seed, options=options)
        )

    def audit(self, root: Path) -> list[Remark]:
        """What only this dataset can check, such as images that its lists name and its folder lacks."""
        if not self.auditor:
            return []
        auditor = cast("Callable[[Path], list[Remark]]", getattr(import_module(self.module), self.auditor))
        return auditor(root)


_FOLDERS = "CLASS/*.png, or train/CLASS/*.png and so on with val/ (or validation/) and test/; JPEG and others too."

DATASETS: dict[str, DatasetEntry] = {
    entry.name: entry
    for entry in (
        DatasetEntry(
            "phantom",
            "Synthetic chest radiographs with known findings and masks; built in, needs no download.",
            "pellucid.data.phantom",
            "open_phantom",
            card_name="PHANTOM_CARD",
        ),
        DatasetEntry(
            "chestxray14",
            "NIH ChestX-ray14: 112,120 frontal radiographs, 14 findings, boxes on 880 test images.",
            "pellucid.data.chestxray14",
            "open_chestxray14",
            layout=(
                "the official release: images/ or images_001/images … images_012/images, "
                "Data_Entry_2017_v2020.csv or Data_Entry_2017.csv, train_val_list.txt, test_list.txt, and "
                "BBox_List_2017.csv for the boxes."
            ),
            auditor="audit",
            release=releases.CHESTXRAY14,
        ),
        DatasetEntry(
            "kermany2018",
            "Pediatric chest radiographs, normal or pneumonia (Kermany et al. 2018); 5,856 images.",
            "pellucid.data.folder",
            "open_kermany2018",
            card_name="KERMANY_CARD",
            layout="train/, val/ and test/, each with NORMAL/*.jpeg and PNEUMONIA/*.jpeg.",
            release=releases.KERMANY2018,
        ),
        DatasetEntry(
            "covid-findings",
            "100 COVID-19 radiographs with pixel masks of findings and lungs; for scoring only.",
            "pellucid.data.masks",
            "open_covid_findings",
            layout="images/*.png, masks/<image>__<Class>.png of the same size, and metadata.csv.",
            auditor="audit",
            release=releases.COVID_FINDINGS,
        ),
        DatasetEntry(
            "cifar10",
            "CIFAR-10: 60,000 colour images of 32 × 32 pixels, ten classes; binary or python version, or a zip.",
            "pellucid.data.cifar10",
            "open_cifar10",
            layout=(
                "data_batch_1.bin … data_batch_5.bin and test_batch.bin of the binary version, or the same without "
                ".bin of the python version; or the folder cifar-10-batches-bin/ or cifar-10-batches-py/ that holds "
                "them; with the option train_zip, test_batch and a zip of class folders, or a zip of train/ and test/."
            ),
            auditor="audit",
            release=releases.CIFAR10,
        ),
        DatasetEntry(
            "imagenet",
            "ImageNet (ILSVRC 2012): 1,000 classes; folders by WordNet id, or a sample with labels.csv.",
            "pellucid.data.imagenet",
            "open_imagenet",
            layout=(
                "train/ and val/, each with a folder a class, as n01440764/*.JPEG; or images and labels.csv (file, "
                "class_index, and wnid if known)."
            ),
            auditor="audit",
            release=releases.IMAGENET,
        ),
        DatasetEntry(
            "coco",
            "COCO 2017: 80 categories, several an image, with boxes and outlines of the objects.",
            "pellucid.data.coco",
            "open_coco",
            layout=(
                "train2017/*.jpg and val2017/*.jpg, or either, with annotations/instances_train2017.json and "
                "annotations/instances_val2017.json."
            ),
            auditor="audit",
            release=releases.COCO,
        ),
        DatasetEntry(
            "jsrt",
            "JSRT: 247 chest radiographs, 154 with a lung nodule and its place; raw 12-bit files.",
            "pellucid.data.jsrt",
            "open_jsrt",
            layout=(
                "JPCLN001.IMG … JPCLN154.IMG and JPCNN001.IMG … JPCNN093.IMG, in one folder or several, and "
                "CLNDAT_EN.txt."
            ),
            auditor="audit",
            release=releases.JSRT,
        ),
        DatasetEntry(
            "medmnist",
            "MedMNIST: twelve sets of small medical images, 28 to 224 pixels; an npz file a set and size.",
            "pellucid.data.medmnist",
            "open_medmnist",
            layout="an npz file of MedMNIST, such as pneumoniamnist.npz or chestmnist_224.npz.",
            release=releases.MEDMNIST,
        ),
        DatasetEntry(
            "shards",
            "Another dataset, decoded into shards by `pellucid data cache --shard-size`; read from a folder or a URL.",
            "pellucid.data.shards",
            "open_shards",
        ),
        DatasetEntry(
            "folder",
            "Your own images, one folder a class.",
            "pellucid.data.folder",
            "open_folder",
            layout=_FOLDERS,
        ),
        DatasetEntry(
            "dicom",
            "Your own DICOM files, named by a table of SOP Instance UIDs, accession numbers or paths.",
            "pellucid.data.dicom",
            "open_dicom_folder",
            layout=(
                "DICOM files in any folders, and a CSV or Parquet table: a row an image or examination, with its "
                "SOPInstanceUID, AccessionNumber or path, its class, list of labels or columns of 0 and 1, and, if "
                "there is one, split; boxes in boxes.csv."
            ),
            auditor="audit",
        ),
        DatasetEntry(
            "table",
            "Your own images, named by a table with their labels, parts, patients and boxes; CSV or Parquet.",
            "pellucid.data.table",
            "open_table",
            layout=(
                "a CSV or Parquet table, or a folder that holds one: a row an image, with its path, its class, list of "
                "labels or columns of 0 and 1, and, if there are any, split, patient and id; boxes in boxes.csv."
            ),
            file=True,
        ),
    )
}


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
    if name not in DATASETS:
        raise InputError(f"unknown dataset {name!r}. {nearest(name, DATASETS)}")
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
    """
    return get_entry(name).open(root, seed, options)
