"""Datasets and their splits, ground truth of where, decoding, cache, augmentation."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pellucid.data.augment import Augmentation, AugmentOptions
    from pellucid.data.cache.pixels import materialize
    from pellucid.data.checks.check import check_dataset
    from pellucid.data.checks.report import CheckReport
    from pellucid.data.dataset import Dataset, DatasetCard, Splits, get_split
    from pellucid.data.readers.splits import patient_split, split_hash
    from pellucid.data.regions import Region, Regions
    from pellucid.data.registry import dataset_names, open_dataset

_HOME = {
    "AugmentOptions": "augment",
    "Augmentation": "augment",
    "CheckReport": "checks.report",
    "Dataset": "dataset",
    "DatasetCard": "dataset",
    "Region": "regions",
    "Regions": "regions",
    "Splits": "dataset",
    "check_dataset": "checks.check",
    "dataset_names": "registry",
    "get_split": "dataset",
    "materialize": "cache.pixels",
    "open_dataset": "registry",
    "patient_split": "readers.splits",
    "split_hash": "readers.splits",
}

__all__ = [
    "AugmentOptions",
    "Augmentation",
    "CheckReport",
    "Dataset",
    "DatasetCard",
    "Region",
    "Regions",
    "Splits",
    "check_dataset",
    "dataset_names",
    "get_split",
    "materialize",
    "open_dataset",
    "patient_split",
    "split_hash",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import what is asked for the first time it is used."""
    if name in _HOME:
        return getattr(import_module(f"pellucid.data.{_HOME[name]}"), name)
    raise AttributeError(f"module 'pellucid.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
