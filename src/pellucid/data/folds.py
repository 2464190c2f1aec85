"""Cross-validation by patient: every image is in the test part of one fold, and its patient in no other part of it."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import Counter
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from pellucid.data.regions import Regions
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from pellucid.data.dataset import Dataset, Splits
    from pellucid.types import Pixels


def join(parts: Sequence[Dataset]) -> Dataset:
    """The images of several parts of one dataset, one part after the other."""
    first, sizes = parts[0], [len(part) for part in parts]
    starts = [0, *accumulate(sizes)]

    def read(index: int) -> Pixels:
        part = bisect_right(starts, index) - 1
        return parts[part].read(index - starts[part])

    regions = None
    if any(part.regions is not None for part in parts):
        items = [
            replace(region, image=region.image + start)
            for part, start in zip(parts, starts, strict=False)
            for region in (part.regions.items if part.regions is not None else ())
        ]
        regions = Regions(tuple(items))
    columns = [name for name in first.metadata if all(name in part.metadata for part in parts)]
    return replace(
        first,
        split="all",
        ids=tuple(name for part in parts for name in part.ids),
        patients=tuple(name for part in parts for name in part.patients),
        targets=np.concatenate([part.targets for part in parts]),
        read=read,
        regions=regions,
        files=tuple(f for part in parts for f in part.files) if all(part.files for part in parts) else (),
        bits=max(part.bits for part in parts),
        origin="|".join(dict.fromkeys(part.origin for part in parts if part.origin)),
        shards=None,
        stable_ids=tuple(n for part in parts for n in part.stable_ids) if all(p.stable_ids for p in parts) else (),
        metadata={name: tuple(v for part in parts for v in part.metadata[name]) for name in columns},
        uncorrected=None,
    )


def assign_folds(dataset: Dataset, count: int, seed: int, *, purpose: str = "folds") -> npt.NDArray[np.int64]:
    """The fold of each image, by patient: (N,) of 0 … count − 1.

    Folds have about as many images, of each label and with regions. Patients are dealt one by one, those of rare labels
    first and those of many images before those of few, each to the fold that has the smallest share of what the patient
    brings: images, images with regions, images of each of its labels (after Sechidis et al. 2011). Among equals a hash
    of name and seed decides: the same patients, labels and seed always give the same folds.

    Args:
        dataset: whose patients are dealt; its images where patients are not known.
        count: of folds.
        seed: another seed gives other folds.
        purpose: folds for different purposes are independent of each other.

    Raises:
        InputError: fewer than two folds, or fewer patients than folds.

    Source:
        K. Sechidis, G. Tsoumakas, I. Vlahavas: On the stratification of multi-label data. ECML PKDD 2011.
    """
    patients = list(dict.fromkeys(dataset.patients))
    if count < 2:
        raise InputError(f"there must be at least 2 folds; found {count}.")
    if len(patients) < count:
        whose = "images" if by_image(dataset) else "patients"
        raise InputError(
            f"{dataset.card.name}: {count} folds need at least as many {whose}; found {len(patients)}. Ask "
            "for fewer folds."
        )
    brought = _brought(dataset)
    totals: Counter[str] = Counter()
    for counts in brought.values():
        totals.update(counts)
    order = sorted(
        patients,
        key=lambda name: (
            min(totals[k] for k in brought[name]),
            -sum(brought[name].values()),
            _hash(name, seed, purpose),
        ),
    )
    in_folds: list[Counter[str]] = [Counter() for _ in range(count)]
    fold_of: dict[str, int] = {}
    for name in order:
        own = brought[name]
        shares = [sum(n * dealt[k] / totals[k] for k, n in own.items()) for dealt in in_folds]
        fold_of[name] = fold = min(range(count), key=lambda f: (round(shares[f], 9), in_folds[f][_IMAGE], f))
        in_folds[fold].update(own)
    return np.array([fold_of[name] for name in dataset.patients], dtype=np.int64)


def fold_parts(
    dataset: Dataset, folds: npt.NDArray[np.int64], fold: int, *, validation_fraction: float, seed: int
) -> Splits:
    """What the network of one fold is trained on, chosen by, and judged on.

    Args:
        dataset: all images.
        folds: (N,), as `assign_folds` gives them.
        fold: whose images are the test part.
        validation_fraction: about this share of the others is the validation part, dealt by patient as folds are.
        seed: of that.

    Raises:
        InputError: too few patients for a validation part.
    """
    rest = np.flatnonzero(folds != fold)
    others = dataset.subset(rest)
    groups = assign_folds(others, max(2, round(1 / validation_fraction)), seed, purpose=f"validation of fold {fold}")
    rows = {"train": rest[groups != 0], "validation": rest[groups == 0], "test": np.flatnonzero(folds == fold)}
    return {name: replace(dataset.subset(where), split=name) for name, where in rows.items()}


def by_image(dataset: Dataset) -> bool:
    """Whether nothing is known of patients, so that each image counts as one of its own."""
    return dataset.patients == dataset.ids


_IMAGE, _MARKED = "image", "with regions"


def _brought(dataset: Dataset) -> dict[str, Counter[str]]:
    """By patient: how many images it has, with regions, and of each class."""
    brought: dict[str, Counter[str]] = {name: Counter() for name in dataset.patients}
    for name in dataset.patients:
        brought[name][_IMAGE] += 1
    for image in {r.image for r in dataset.regions.items} if dataset.regions is not None else ():
        brought[dataset.patients[image]][_MARKED] += 1
    targets = np.asarray(dataset.targets)
    if targets.ndim == 1:
        targets = targets[:, None] == np.arange(len(dataset.classes))
    for row, label in zip(*(axis.tolist() for axis in np.nonzero(targets == 1)), strict=True):
        brought[dataset.patients[row]][f"class {label}"] += 1
    return brought


def _hash(name: str, seed: int, purpose: str) -> str:
    return hashlib.sha256(f"{purpose}|{seed}|{name}".encode()).hexdigest()
