"""Parts of a dataset that share no patient: cutting them, checking them, naming them by a hash."""

from __future__ import annotations

import hashlib
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from pellucid.data.issues import FaultyDataError, Issue
from pellucid.types import InputError
from pellucid.utils.words import first_of, number_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pellucid.data.dataset import Dataset, Splits

PART_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "validate": "validation",
    "dev": "validation",
    "devel": "validation",
    "development": "validation",
    "test": "test",
    "testing": "test",
}
"""What a folder or a table may call a part, in small letters."""


def patient_split(
    patients: Sequence[str], fraction: float, seed: int, *, purpose: str = "validation"
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Cut a part off by patient: the rows that stay, and the rows of about `fraction` of the patients.

    A patient is cut off where a hash of name, seed and purpose, read as a number in [0, 1), is below
    `fraction`. So the decision depends on the patient alone: on a partial copy of a dataset every patient is
    on the same side as on the whole. At least one patient is cut off, and at least one stays.

    Args:
        patients: the patient of each row.
        fraction: the share of patients to cut off, in [0, 1); 0 cuts off nothing.
        seed: another seed gives another cut.
        purpose: cuts for different purposes are independent of each other.

    Raises:
        InputError: if the fraction is out of range, or there are fewer than two patients.

    Example:
        >>> kept, cut = patient_split(["ann", "ann", "bob", "cid"], 0.4, seed=0)
        >>> sorted([*kept.tolist(), *cut.tolist()])
        [0, 1, 2, 3]
    """
    if not 0 <= fraction < 1:
        raise InputError(f"the fraction for {purpose} must be at least 0 and below 1; found {fraction}.")
    rows = np.arange(len(patients), dtype=np.int64)
    if fraction == 0:
        return rows, rows[:0]
    place = {name: _place(name, seed, purpose) for name in set(patients)}
    if len(place) < 2:
        raise InputError(
            f"a {purpose} part needs at least two patients; found {len(place)}. "
            "Set the fraction to 0, or give more images."
        )
    order = sorted(place, key=lambda name: (place[name], name))
    below = sum(value < fraction for value in place.values())
    cut = set(order[: min(max(below, 1), len(order) - 1)])
    is_cut = np.array([name in cut for name in patients], dtype=bool)
    return rows[~is_cut], rows[is_cut]


def cut_parts(
    patients: Sequence[str],
    given_parts: Mapping[str, npt.NDArray[np.int64]] | None = None,
    *,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
) -> dict[str, npt.NDArray[np.int64]]:
    """The rows of each part: those that are given, and by patient what is not.

    Args:
        patients: the patient of each row.
        given_parts: the rows of the parts that are given; none, and the test part is cut off too.
        validation_fraction: the share of training patients to cut off where there is no validation part.
        test_fraction: the share of patients to cut off where no part is given; 1 for nothing but a test part.
        seed: another seed gives another cut.

    Raises:
        InputError: as for `patient_split`.

    Example:
        >>> {k: len(v) for k, v in cut_parts("abc", test_fraction=1, validation_fraction=0.1, seed=0).items()}
        {'test': 3}
    """
    parts = dict(given_parts or {})
    if not parts and test_fraction == 1:
        parts["test"] = np.arange(len(patients), dtype=np.int64)
    elif not parts:
        rest, cut = patient_split(patients, test_fraction, seed, purpose="test")
        parts = {"train": rest, "test": cut}
    if "train" in parts and "validation" not in parts:
        train = parts["train"]
        rest, cut = patient_split([patients[i] for i in train.tolist()], validation_fraction, seed)
        parts["train"], parts["validation"] = train[rest], train[cut]
    return {name: parts[name] for name in ("train", "validation", "test") if name in parts and len(parts[name])}


def _place(name: str, seed: int, purpose: str) -> float:
    digest = hashlib.sha256(f"{purpose}|{seed}|{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def check_disjoint(splits: Splits) -> None:
    """Refuse parts that share a patient or an image.

    Raises:
        FaultyDataError: naming two parts and some of what they share; its issues name all of it.
    """
    message, issues = "", []
    for (first, a), (second, b) in combinations(splits.items(), 2):
        for what, shared in (("patient", {*a.patients} & {*b.patients}), ("image", {*a.ids} & {*b.ids})):
            if shared:
                some = first_of(sorted(shared))
                message = message or (
                    f"{a.card.name}: {number_of(len(shared), f'{what}(s)')} both in {first} and in {second} ({some}). "
                    "A result on such parts would be too good; mend the lists or the patients' names."
                )
                issues += [
                    Issue(f"{what} {name}", f"occurs both in {first} and in {second}; a result would be too good")
                    for name in sorted(shared)
                ]
    if issues:
        raise FaultyDataError(issues, splits, message)


def split_hash(splits: Mapping[str, Dataset]) -> str:
    """A hash of which image of which patient is in which part, whatever the order; for the run's record.

    Example:
        >>> import pellucid as pl
        >>> parts = pl.dataset("phantom", size=32, train=8, validation=4, test=4)
        >>> split_hash(parts) == split_hash(dict(reversed(parts.items())))
        True
        >>> split_hash(parts) == split_hash({**parts, "test": parts["test"].limit(3)})
        False
    """
    rows = sorted(
        (part, patient, name)
        for part, data in splits.items()
        for patient, name in zip(data.patients, data.ids, strict=True)
    )
    digest = hashlib.sha256()
    for row in rows:
        digest.update("\0".join(row).encode() + b"\n")
    return digest.hexdigest()
