"""The classes of a dataset as a model has them: matched by name, in any order; what one side lacks is said."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pellucid.types import InputError
from pellucid.utils.resources import close_to, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pellucid.data.dataset import Dataset
    from pellucid.types import Task

IN_PYTHON = "(in Python: an option of pl.dataset)"


def match_classes(
    dataset: Dataset, classes: Sequence[str], task: Task, names: Mapping[str, str] | None = None
) -> tuple[Dataset, list[str]]:
    """The dataset with the model's classes in the model's order, and what a reader must know of it.

    Of several labels, one that the dataset does not have is unknown on every image. Of exclusive classes, one that the
    dataset does not have is on none; an image of a class that the model does not have cannot be judged.

    Args:
        dataset: some images with their labels.
        classes: of the model.
        task: of the model.
        names: the dataset's name for each of the model's classes that it calls otherwise.

    Returns:
        The dataset itself where it has the same classes in the same order.

    Raises:
        InputError: another task; no class in common; unknown or repeated names in `names`; images of a class that the
            model does not have.
    """
    where = f"{dataset.card.name}/{dataset.split}"
    _check_task(dataset, classes, task)
    names = dict(names or {})
    _check_names(dataset, classes, names)
    names_in_data = [names.get(c, c) for c in classes]
    for name in names.values():
        if names_in_data.count(name) > 1:
            raise InputError(f"two classes of the model are matched with {name!r} of {where}: match each with its own.")
    source = [dataset.classes.index(c) if c in dataset.classes else None for c in names_in_data]
    if source == list(range(len(dataset.classes))):
        same = tuple(classes) == dataset.classes
        return (dataset if same else _renamed(dataset, classes, dataset.targets)), []
    if all(s is None for s in source):
        example = _example(classes, dataset.classes)
        raise InputError(
            f"the model tells apart {_listed(classes)}, and {dataset.card.name} is labelled with "
            f"{_listed(dataset.classes)}: no class in common. Name the ones that are the same, {example}, or see "
            f"--data-option {IN_PYTHON}."
        )
    missing = [c for c, s in zip(classes, source, strict=True) if s is None]
    extra = [c for k, c in enumerate(dataset.classes) if k not in source]
    notes = [f"{where} has no {_listed(missing)}, which the model tells apart; nothing is known of it there."] * bool(
        missing
    )
    if task == "multilabel":
        notes += [f"the model has no {_listed(extra)}, which {where} is labelled with; it is left out."] * bool(extra)
        return _renamed(dataset, classes, _label_columns(dataset.targets, source)), notes
    _check_no_images(dataset, extra)
    number = {s: k for k, s in enumerate(source) if s is not None}
    targets = np.array([number[int(t)] for t in dataset.targets], dtype=np.int64)
    return _renamed(dataset, classes, targets), notes


def _example(classes: Sequence[str], in_data: Sequence[str]) -> str:
    """How to say that two names mean the same: two that are alike, or else which name stands on which side."""
    for name in classes:
        alike = close_to(name, in_data)
        if alike is not None:
            return f"as --map {name}={alike} (in Python: class_map={{{name!r}: {alike!r}}})"
    own, other = classes[0] if len(classes) == 1 else "NAME_IN_MODEL", "NAME_IN_DATA"
    return f"as --map {own}={other} (in Python: class_map={{{own!r}: {other!r}}})"


def _check_task(dataset: Dataset, classes: Sequence[str], task: Task) -> None:
    if dataset.task == task:
        return
    hint = f"Open the data for the model's task: see --data-option {IN_PYTHON}."
    if task == "multilabel" and len(classes) == 1:
        example = classes[0] if classes[0] in dataset.classes else f"one of {', '.join(dataset.classes)}"
        hint = f"It has the one label {classes[0]}: where the data are folders, say which of them shows it, as "
        hint += f"--data-option positive={example if example == classes[0] else '…, ' + example} {IN_PYTHON}."
    raise InputError(
        f"the model is {task} and tells apart {_listed(classes)}; {dataset.card.name} is {dataset.task}, labelled with "
        f"{_listed(dataset.classes)}. {hint}"
    )


def _check_names(dataset: Dataset, classes: Sequence[str], names: Mapping[str, str]) -> None:
    for of_model, of_data in names.items():
        if of_model not in classes:
            raise InputError(f"the model has no class {of_model!r}. {nearest(of_model, classes)}")
        if of_data not in dataset.classes:
            raise InputError(f"{dataset.card.name} has no class {of_data!r}. {nearest(of_data, dataset.classes)}")


def _check_no_images(dataset: Dataset, extra: Sequence[str]) -> None:
    """Refuse images that show a class which the model does not have."""
    count = {c: int((dataset.targets == dataset.classes.index(c)).sum()) for c in extra}
    lines = [f"{c} ({n:,} images)" for c, n in count.items() if n]
    if lines:
        raise InputError(
            f"{dataset.card.name}/{dataset.split} has images of classes that the model does not have: "
            f"{', '.join(lines)}. If they have other names there, match them with --map MODEL=DATA (in Python: "
            "class_map={MODEL: DATA}); if not, open the data without them (a folder: --data-option 'classes=[\"…\"]', "
            "in Python: pl.dataset(…, classes=[…]))."
        )


def _label_columns(targets: npt.NDArray[np.generic], source: Sequence[int | None]) -> npt.NDArray[np.float32]:
    columns = np.full((len(targets), len(source)), math.nan, dtype=np.float32)
    for k, s in enumerate(source):
        if s is not None:
            columns[:, k] = targets[:, s]
    return columns


def _renamed(dataset: Dataset, classes: Sequence[str], targets: npt.NDArray[np.generic]) -> Dataset:
    return replace(dataset, card=replace(dataset.card, classes=tuple(classes)), targets=targets, uncorrected=None)


def _listed(names: Sequence[str]) -> str:
    text = ", ".join(names[:8])
    return text if len(names) <= 8 else f"{text} and {len(names) - 8:,} more"
