"""The minimal attack over a dataset: batch by batch, resumable, by as many processes as one likes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.attacks import METHODS, minimal
from pellucid.attacks.engine import images_that_fit
from pellucid.attacks.minimal import check_method
from pellucid.attacks.tight import EFFORTS
from pellucid.evaluation.robustness.radius_log import RadiusLog, RadiusRow
from pellucid.models.classifier import frozen
from pellucid.models.inference import as_pixels, in_batches
from pellucid.types import device_of
from pellucid.utils.progress import advance, step
from pellucid.utils.resources import check_known, version_of
from pellucid.utils.results_store import ResultsStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt
    from torch import nn

    from pellucid.attacks.epsilon import Norm
    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.robustness.robustness_target import RobustnessTarget
    from pellucid.types import Pixels

LARGEST_BATCH = {"cuda": 256}  # what is lost when a process is killed
LARGEST_BATCH_ELSEWHERE = 64
PATIENCE = 0.5  # seconds between two looks at what other processes have done


@dataclass(frozen=True)
class AttackConfig:
    """How the smallest perturbations are looked for.

    Attributes:
        name: one of `pellucid.attacks.METHODS`.
        seed: of what the method leaves to chance.
        options: of the method, as `steps`.
        effort: of `tight`: 1, 2 or 4 times its budget; the other methods have one only.
        norm: what is to be small: `rms` or `linf`.

    Raises:
        InputError: for an unknown name; an effort or a norm that the method does not know.
    """

    name: str = "tight"
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    effort: int = 1
    norm: Norm = "rms"

    def __post_init__(self) -> None:
        check_known([self.name], METHODS, "protocol")
        check_method(self.name, norm=self.norm, effort=self.effort)

    @property
    def all_options(self) -> dict[str, Any]:
        """The options, the effort among them where it is one."""
        return {**self.options, **({"effort": self.effort} if METHODS[self.name].takes_effort else {})}

    @property
    def advice(self) -> str:
        """What to do where its radii prove too large."""
        if not METHODS[self.name].takes_effort:
            return "Take the protocol tight, which most often finds smaller ones."
        if self.effort < EFFORTS[-1]:
            more = EFFORTS[EFFORTS.index(self.effort) + 1]
            return f"Look again with more effort: `--effort {more}` instead of {self.effort}."
        return "There is no more effort to spend: read the area as an upper bound, and look for masked gradients."

    @property
    def box(self) -> bool:
        """Whether perturbed images stay in [0, 1]."""
        return METHODS[self.name].box


@dataclass(frozen=True)
class Radii:
    """The radii of one robustness target, one per decision: an image, or a label of an image.

    Attributes:
        robustness_target: what was asked.
        image: int64 (U,), the image's row in the dataset.
        label: int64 (U,), the label's number; −1 for a multiclass network.
        found: bool (U,), whether a perturbation was found, or none was needed.
        correct_at_start: bool (U,), whether one was needed.
        radius: float64 (U,), its length in the protocol's norm; 0 where none was needed, NaN where none was found.
        gradient_evaluations: int64 (U,).
        forward_passes: int64 (U,).
        seconds: spent on all of them, by all processes together.
    """

    robustness_target: RobustnessTarget
    image: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    found: npt.NDArray[np.bool_]
    correct_at_start: npt.NDArray[np.bool_]
    radius: npt.NDArray[np.float64]
    gradient_evaluations: npt.NDArray[np.int64]
    forward_passes: npt.NDArray[np.int64]
    seconds: float


def record_of(
    dataset: Dataset, robustness_targets: Sequence[RobustnessTarget], config: AttackConfig, weights_sha256: str
) -> dict[str, Any]:
    """Everything that determines radii: network, images, robustness targets, attack and the version of the code."""
    return {
        "weights_sha256": weights_sha256,
        "data": dataset.card.name,
        "split": dataset.split,
        "images": len(dataset),
        "fingerprint": dataset.fingerprint,
        "protocol": config.name,
        "options": config.all_options,
        "norm": config.norm,
        "seed": config.seed,
        "kinds": [q.kind for q in robustness_targets],
        "questions": [q.to_json() for q in robustness_targets],
        "version": version_of(),
    }


def measure(
    classifier: nn.Module,
    images: Pixels,
    dataset: Dataset,
    robustness_targets: Sequence[RobustnessTarget],
    config: AttackConfig,
    folder: Path,
    *,
    weights_sha256: str,
    batch_size: int | None = None,
) -> dict[str, Radii]:
    """The radius of every decision of every robustness target, from `folder`/radii.csv as far as they are there.

    Several processes that are given the same share the work: each takes batches that no other holds, and returns once
    all are done. A process that is killed loses the batch that it was busy with, and no other.

    Args:
        classifier: the network.
        images: uint8 or uint16 (N, C, H, W), the pixels of the dataset.
        dataset: their ids and targets.
        robustness_targets: of different kinds.
        config: the attack.
        folder: for `radii.csv` and `evaluation.json`.
        weights_sha256: of the network, so that its radii are not taken for another's.
        batch_size: decisions at a time; by default what fits in memory, at most 64 (256 on a GPU). The batches of an
            evaluation that has begun stay as they are.

    Returns:
        The radii by kind.

    Raises:
        InputError: radii of another network, dataset or protocol in the folder; logits that are not finite.
    """
    wished = batch_size or _fitting(classifier, images)
    record = record_of(dataset, robustness_targets, config, weights_sha256) | {"batch_size": wished}
    store = ResultsStore(folder, record, adopted=["batch_size"])
    log = RadiusLog(store)
    size = int(store.record["batch_size"])
    work = [
        _Batch(robustness_target, image[rows], label[rows], rows.start)
        for robustness_target in robustness_targets
        for image, label in [robustness_target.decisions(dataset.targets)]
        for rows in in_batches(len(image), size)
    ]
    pending = work
    while pending:
        log.read()
        now = [batch for batch in pending if not batch.done(log, dataset)]
        if len(now) < len(pending):
            advance(sum(len(b.image) for b in pending) - sum(len(b.image) for b in now))
        pending = now
        with step(0):  # counted once a batch is in the log, here or elsewhere
            took_one = any(_take(batch, store, log, classifier, images, dataset, config) for batch in pending)
        if pending and not took_one:
            time.sleep(PATIENCE)  # others are busy with all that is left; should one of them die, its lock is free
    return {q.kind: _collect(q, log, dataset, store.seconds(f"{q.kind}-")) for q in robustness_targets}


@dataclass(frozen=True)
class _Batch:
    robustness_target: RobustnessTarget
    image: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    start: int

    @property
    def name(self) -> str:
        return f"{self.robustness_target.kind}-{self.start:08d}"

    def keys(self, dataset: Dataset) -> list[tuple[str, str, str]]:
        """What its rows are called in the log."""
        return _keys(self.robustness_target, self.image, self.label, dataset)

    def done(self, log: RadiusLog, dataset: Dataset) -> bool:
        return all(key in log.rows for key in self.keys(dataset))


def _keys(
    robustness_target: RobustnessTarget, image: npt.NDArray[np.int64], label: npt.NDArray[np.int64], dataset: Dataset
) -> list[tuple[str, str, str]]:
    return [
        (robustness_target.kind, dataset.ids[i], "" if k < 0 else dataset.classes[k])
        for i, k in zip(image, label, strict=True)
    ]


def _take(
    batch: _Batch,
    store: ResultsStore,
    log: RadiusLog,
    classifier: nn.Module,
    images: Pixels,
    dataset: Dataset,
    config: AttackConfig,
) -> bool:
    """Do a batch unless another process is busy with it or has done it; whether it was done here."""
    with store.claim(batch.name) as claim:
        if claim is None:
            return False
        log.read()
        if batch.done(log, dataset):
            return False
        started = time.monotonic()
        device = device_of(classifier)
        result = minimal(
            classifier,
            as_pixels(images[batch.image], device),
            batch.robustness_target.criterion_for(dataset.targets, batch.image, batch.label, device),
            method=config.name,
            norm=config.norm,
            seed=config.seed + batch.start,
            batch_size=len(batch.image),
            **config.all_options,
        )
        columns = (
            result.found,
            ~result.met_at_start,
            result.radius,
            result.gradient_evaluations,
            result.forward_passes,
        )
        plain = zip(*(column.tolist() for column in columns), strict=True)
        rows = [RadiusRow(*key, *values) for key, values in zip(batch.keys(dataset), plain, strict=True)]
        log.append(row for row in rows if row[:3] not in log.rows)
        claim.spent(time.monotonic() - started)
        return True


def _collect(robustness_target: RobustnessTarget, log: RadiusLog, dataset: Dataset, seconds: float) -> Radii:
    image, label = robustness_target.decisions(dataset.targets)
    rows = [log.rows[key] for key in _keys(robustness_target, image, label, dataset)]
    return Radii(
        robustness_target=robustness_target,
        image=image,
        label=label,
        found=np.array([r.found for r in rows], dtype=bool),
        correct_at_start=np.array([r.correct_at_start for r in rows], dtype=bool),
        radius=np.array([r.radius for r in rows], dtype=np.float64),
        gradient_evaluations=np.array([r.gradient_evaluations for r in rows], dtype=np.int64),
        forward_passes=np.array([r.forward_passes for r in rows], dtype=np.int64),
        seconds=seconds,
    )


def _fitting(classifier: nn.Module, images: Pixels) -> int:
    device = device_of(classifier)
    with frozen(classifier):
        fitting = images_that_fit(classifier, as_pixels(images[:1], device))
    return min(fitting, LARGEST_BATCH.get(device.type, LARGEST_BATCH_ELSEWHERE))
