"""What the networks of an annotation loop gave, image by image, in the one small file that every study keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pellucid.evaluation.trust.shortcut import ShortcutTask
from pellucid.study.annotation_loop.measures import LoopData, Measured
from pellucid.study.annotation_loop.results import loop_runs
from pellucid.study.kept.per_image import dataset_arrays, kept_dataset, prefix_of, read_per_image, write_per_image
from pellucid.utils.digests import read_arrays

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pellucid.study.annotation_loop.results import LoopRun
    from pellucid.study.config import StudyConfig
    from pellucid.study.evaluation_data import RunEvaluation
    from pellucid.study.kept.per_image import Arrays

PLACES = ("marker", "finding")


def write_loop_per_image(path: Path, study: StudyConfig, data: LoopData, measured: Mapping[LoopRun, Measured]) -> None:
    """Keep what every study keeps, the logits where the marker tells, the shares of heat and the effects.

    Args:
        path: of the file.
        study: what was studied.
        data: what the networks were judged on.
        measured: by network.
    """
    shortcut = data.shortcut
    arrays: Arrays = dataset_arrays("telling/", data.telling) | dataset_arrays("shortcut/", shortcut.dataset)
    arrays["shortcut/output"] = np.array(shortcut.output)
    evaluations: dict[str, list[RunEvaluation]] = {}
    for run in loop_runs(study):
        one, prefix = measured[run], prefix_of(run.name, run.seed)
        evaluations.setdefault(run.name, []).append(one.evaluation)
        arrays[f"{prefix}/telling"] = one.telling
        arrays |= {f"{prefix}/share {method} {where}": values for (method, where), values in one.shares.items()}
        arrays |= {f"{prefix}/effect {where}": values for where, values in one.effects.items()}
    write_per_image(path, study, data.test, evaluations, arrays)


def read_loop_per_image(path: Path, study: StudyConfig) -> tuple[LoopData, dict[LoopRun, Measured]]:
    """What `write_loop_per_image` kept of the same study: data without pixels, and what each network gave.

    Raises:
        InputError: no such file, or it is not what was written.
    """
    test, evaluations = read_per_image(path)
    arrays = read_arrays(path, "Run the study again: what its networks gave is still there.")
    telling, both = (kept_dataset(f"{part}/", test.test.card, arrays) for part in ("telling", "shortcut"))
    nothing = np.empty((0, 0, 0, 0), dtype=np.uint8)
    nowhere = np.empty((0, 0, 0), dtype=bool)
    data = LoopData(
        test, telling, nothing, ShortcutTask(both, nothing, int(arrays["shortcut/output"]), nowhere, nowhere)
    )
    measured = {}
    for run in loop_runs(study):
        prefix = prefix_of(run.name, run.seed)
        measured[run] = Measured(
            evaluations[run.name][study.seeds.index(run.seed)],
            arrays[f"{prefix}/telling"],
            {(m, where): arrays[f"{prefix}/share {m} {where}"] for m in study.evaluation.methods for where in PLACES},
            {where: arrays[f"{prefix}/effect {where}"] for where in PLACES},
        )
    return data, measured
