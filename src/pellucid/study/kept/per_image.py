"""What a study's networks gave, image by image, in one small file: enough to judge them again without the networks."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.data.dataset import Dataset, DatasetCard
from pellucid.data.regions import CutOff
from pellucid.evaluation.metrics.explanations import LocalizationTask
from pellucid.study.evaluation_data import EvaluationData
from pellucid.study.kept.run_arrays import about_run, run_arrays, run_of
from pellucid.types import InputError
from pellucid.utils.digests import read_arrays, write_arrays

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from pellucid.study.config import StudyConfig
    from pellucid.study.evaluation_data import RunEvaluation
    from pellucid.types import Pixels

    Arrays = dict[str, npt.NDArray[Any]]

FILE = "per-image.npz"


def write_per_image(
    path: Path,
    study: StudyConfig,
    data: EvaluationData,
    evaluations: Mapping[str, Sequence[RunEvaluation]],
    more: Arrays | None = None,
) -> None:
    """Keep ids, patients, targets, regions, and every network's logits, scores, boxes and radii, as one npz file.

    Regions are kept as packed bits.

    Args:
        path: of the file.
        study: what was studied.
        data: what the networks were judged on.
        evaluations: by variant, one per seed.
        more: what is kept beside these, by names of its own: of tables of trust, or by a study of another kind.
    """
    arrays: Arrays = {**(more or {})}
    runs = []
    for part in ("test", "attacked", "measured"):
        arrays |= dataset_arrays(f"{part}/", getattr(data, part))
    for task in data.tasks:
        arrays |= dataset_arrays(f"task {task.name}/", task.dataset)
        for name in ("outputs", "pair_image", "pair_class", "true_image", "true_class", "true_box"):
            arrays[f"task {task.name}/{name}"] = getattr(task, name)
        arrays[f"task {task.name}/masks"] = np.packbits(task.masks)
    for variant, seeds in evaluations.items():
        for seed, one in zip(study.seeds, seeds, strict=True):
            prefix = prefix_of(variant, seed)
            arrays |= run_arrays(one, prefix)
            runs.append({"variant": variant, "seed": seed} | about_run(one))
    if data.folds is not None and data.attacked_folds is not None:
        arrays |= {"test/folds": data.folds, "attacked/folds": data.attacked_folds}
    about = {
        "format": 3,
        "study": study.name,
        "card": asdict(data.test.card),
        "tasks": [_about_task(task) for task in data.tasks],
        "runs": runs,
    }
    write_arrays(path, {"about": np.array(json.dumps(about)), **arrays})


def read_per_image(path: Path) -> tuple[EvaluationData, dict[str, list[RunEvaluation]]]:
    """What `write_per_image` kept: data without pixels, and by variant what each network gave.

    Raises:
        InputError: no such file, or it is not what was written.
    """
    if not path.is_file():
        raise InputError(f"{path} is not there: the study was run by an earlier version, or has not come to its end.")
    arrays = read_arrays(path, "Run the study again: what its networks gave is still there.")
    about = json.loads(str(arrays["about"]))
    if about["format"] != 3:
        raise InputError(f"{path} was written by an earlier version: run the study again.")
    card = _card(about["card"])
    test, attacked, measured = (kept_dataset(f"{part}/", card, arrays) for part in ("test", "attacked", "measured"))
    tasks = tuple(_task(one, arrays) for one in about["tasks"])
    evaluations: dict[str, list[RunEvaluation]] = {}
    for one in about["runs"]:
        prefix = prefix_of(one["variant"], one["seed"])
        evaluations.setdefault(one["variant"], []).append(run_of(one, prefix, arrays))
    nothing = np.empty((0, 0, 0, 0), dtype=np.uint8)
    folds = arrays.get("test/folds"), arrays.get("attacked/folds")
    return EvaluationData(test, test, nothing, attacked, nothing, measured, nothing, tasks, *folds), evaluations


def prefix_of(variant: str, seed: int) -> str:
    """What the names of a network's arrays begin with."""
    return f"{variant}, seed {seed}"


def dataset_arrays(prefix: str, dataset: Dataset) -> Arrays:
    """What is kept of a dataset, without its pixels, each array under `prefix` and a name."""
    return {
        f"{prefix}ids": np.array(dataset.ids),
        f"{prefix}patients": np.array(dataset.patients),
        f"{prefix}targets": np.asarray(dataset.targets),
    }


def _about_task(task: LocalizationTask) -> dict[str, Any]:
    return {
        "name": task.name,
        "card": asdict(task.dataset.card),
        "classes": task.classes,
        "shape": task.masks.shape,
        "has_masks": task.has_masks,
        "cut_off": asdict(task.cut_off),
    }


def _card(values: Mapping[str, Any]) -> DatasetCard:
    return DatasetCard(**{**values, "classes": tuple(values["classes"])})


def kept_dataset(prefix: str, card: DatasetCard, arrays: Mapping[str, npt.NDArray[Any]]) -> Dataset:
    """What `dataset_arrays` was given, without pixels."""

    def read(_index: int) -> Pixels:
        raise InputError(f"{FILE} keeps no pixels.")

    ids, patients = (tuple(arrays[f"{prefix}{name}"].tolist()) for name in ("ids", "patients"))
    return Dataset(card, "test", ids, patients, arrays[f"{prefix}targets"], read)


def _task(about: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> LocalizationTask:
    prefix, shape = f"task {about['name']}/", tuple(about["shape"])
    own_arrays = {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}
    return LocalizationTask(
        name=about["name"],
        dataset=kept_dataset(prefix, _card(about["card"]), arrays),
        images=np.empty((0, 0, 0, 0), dtype=np.uint8),
        classes=tuple(about["classes"]),
        outputs=own_arrays["outputs"],
        pair_image=own_arrays["pair_image"],
        pair_class=own_arrays["pair_class"],
        masks=np.unpackbits(own_arrays["masks"], count=int(np.prod(shape))).reshape(shape).astype(bool),
        true_image=own_arrays["true_image"],
        true_class=own_arrays["true_class"],
        true_box=own_arrays["true_box"],
        has_masks=about["has_masks"],
        cut_off=CutOff(**about["cut_off"]),
    )
