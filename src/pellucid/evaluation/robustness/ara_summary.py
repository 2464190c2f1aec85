"""From radii to `ara.json`: areas with intervals, what they cost, and whether the attack is to be trusted."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.attacks.attack_strength import SAMPLE
from pellucid.evaluation.metrics.statistics import Replicates
from pellucid.evaluation.robustness.ara import Area, Curve, accuracy_curve, ara, balanced_ara, mean_area, mean_curve
from pellucid.evaluation.robustness.radius_check import as_checked, check_radii
from pellucid.utils.digests import DamageError, digest, read_sealed, write_sealed
from pellucid.utils.resources import finite
from pellucid.utils.results_store import ResultsStore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt
    from torch import nn

    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.metrics.bootstrap import Bootstrap
    from pellucid.evaluation.robustness.radii import AttackConfig, Radii
    from pellucid.types import Pixels

FILE = "ara.json"


@dataclass(frozen=True)
class Areas:
    """The areas of one kind.

    Attributes:
        overall: of a multiclass network; of a multi-label one the mean over the labels that have one.
        labels: of each label, by name; empty for a multiclass network.
    """

    overall: Area
    labels: dict[str, Area]


def areas_of(radii: Radii, dataset: Dataset, bootstrap: Bootstrap) -> Areas:
    """The areas that radii give.

    Args:
        radii: those of one robustness target.
        dataset: the images that were measured.
        bootstrap: over these images.

    Returns:
        The areas; NaN with a reason for a label without enough positives or negatives.
    """
    robustness_target = radii.robustness_target
    if robustness_target.task == "multiclass":
        return Areas(ara(radii.radius, radii.found, robustness_target.naive, bootstrap), {})
    missing, labels = robustness_target.undefined(dataset.targets), {}
    for number, name in enumerate(dataset.classes):
        if number in missing:
            none = Replicates.undefined(missing[number], 0, bootstrap)
            labels[name] = Area(none, none, 0)
        else:
            image, lengths, is_found, present = _of_label(radii, dataset, number)
            labels[name] = balanced_ara(lengths, is_found, present, bootstrap.take(image))
    return Areas(mean_area(list(labels.values())), labels)


def curve_of(radii: Radii, dataset: Dataset) -> Curve:
    """Accuracy against radius; of a multi-label network the mean over labels of the balanced accuracy."""
    if radii.robustness_target.task == "multiclass":
        return accuracy_curve(radii.radius, radii.found)
    return mean_curve([accuracy_curve(*_of_label(radii, dataset, k)[1:]) for k in np.unique(radii.label)])


def _of_label(
    radii: Radii, dataset: Dataset, number: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """One label's images, radii, whether they were found, and whether the label is present."""
    rows = radii.label == number
    image = radii.image[rows]
    return image, radii.radius[rows], radii.found[rows], np.asarray(dataset.targets)[image, number] == 1


def summarize_ara(
    classifier: nn.Module,
    images: Pixels,
    dataset: Dataset,
    measured: Mapping[str, Radii],
    config: AttackConfig,
    bootstrap: Bootstrap,
    folder: Path,
    *,
    about: Mapping[str, Any] | None = None,
    checked: int = SAMPLE,
) -> dict[str, Any]:
    """`folder`/ara.json, written by whichever process gets here first; the others read it.

    Some radii are checked by another attack; where that finds smaller ones, those count in all figures, and
    `shorter` in the kind's `alarm` names them (`radius_check.as_checked` puts them in place).

    Args:
        classifier: the network.
        images: uint8 or uint16 (N, C, H, W), the pixels of the dataset.
        dataset: what was measured.
        measured: the radii by kind, all of them.
        config: that found them.
        bootstrap: over the images.
        folder: that holds their `radii.csv`.
        about: more of what the file should say at its top; its `notes`, sentences, are those of the last call.
        checked: attacked images on which another attack is tried, to tell whether this one is too weak.
    """
    with ResultsStore(folder).lock("finish"):
        path, measured_sha256 = folder / FILE, _digest_of(measured, dataset, bootstrap, checked)
        notes = (about or {}).get("notes", [])  # what is said beside the figures hangs on the call
        if (stored := _stored(path, measured_sha256)) is not None:
            if stored.get("notes", []) == notes:
                return stored
            stored = stored | {"notes": notes}
            write_sealed(path, stored)
            return stored
        checks = {
            kind: check_radii(classifier, images, dataset, radii, config, checked) for kind, radii in measured.items()
        }
        document: dict[str, Any] = {
            "format": 1,
            **(about or {}),
            "protocol": config.name,
            "options": config.all_options,
            "norm": config.norm,
            "box": config.box,
            "seed": config.seed,
            "images": len(dataset),
            "patients": len(set(dataset.patients)),
            "resamples": bootstrap.resamples,
            "radii_sha256": measured_sha256,
            "kinds": {
                kind: summary(radii, areas_of(radii, dataset, bootstrap))
                | {"protocol": config.name, "alarm": checks[kind]}
                for kind, radii in as_checked(measured, checks, dataset).items()
            },
        }
        document = dict(finite(document))
        write_sealed(path, document)
        return document


def _digest_of(measured: Mapping[str, Radii], dataset: Dataset, bootstrap: Bootstrap, checked: int) -> str:
    """Of what the summary is of: it is made anew where the radii are others, or are checked otherwise."""
    radii = {
        kind: [one.image.tolist(), one.label.tolist(), one.found.tolist(), one.correct_at_start.tolist(),
               one.radius.tolist(), one.gradient_evaluations.tolist(), one.forward_passes.tolist()]
        for kind, one in measured.items()
    }  # fmt: skip
    key = (dataset.fingerprint, bootstrap.resamples, radii) + ((checked,) if checked != SAMPLE else ())
    return digest(repr(key).encode())


def _stored(path: Path, radii_sha256: str) -> dict[str, Any] | None:
    try:
        stored = read_sealed(path, "It is made again.")
    except FileNotFoundError:
        return None
    except DamageError as error:
        warnings.warn(str(error), stacklevel=2)
        return None
    return stored if stored.get("radii_sha256") == radii_sha256 else None


def summary(radii: Radii, areas: Areas) -> dict[str, Any]:
    """What `ara.json` says of a kind, the alarm apart; NaN where undefined."""
    hit = radii.correct_at_start & radii.found
    lengths = radii.radius[hit]
    attacked = radii.gradient_evaluations[radii.correct_at_start]
    return {
        **_figures(areas.overall),
        "mean_radius": _mean(lengths),
        "median_radius": float(np.median(lengths)) if len(lengths) else math.nan,
        "found": int(radii.found.sum()),
        "n": len(radii.found),
        "correct_at_start": int(radii.correct_at_start.sum()),
        "gradient_evaluations_per_image": _mean(radii.gradient_evaluations),
        "gradient_evaluations_per_attacked": _mean(attacked),
        "forward_passes_per_image": _mean(radii.forward_passes),
        "naive": radii.robustness_target.naive,
        "criterion": radii.robustness_target.criterion,
        "seconds": radii.seconds,
        "labels": {name: _figures(area) | {"n": area.n} for name, area in areas.labels.items()},
    }


def _mean(values: npt.NDArray[np.generic]) -> float:
    return float(np.asarray(values, dtype=np.float64).mean()) if len(values) else math.nan


def _figures(area: Area) -> dict[str, Any]:
    return {
        "ara": area.replicates.value,
        "interval": list(area.interval()),
        "lower": area.lower.value,
        "upper": area.upper.value,
        "failed": area.failed,
        "reason": area.reason,
    }
