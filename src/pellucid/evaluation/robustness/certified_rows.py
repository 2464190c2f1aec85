"""Certificates and attacks over a dataset: image by image, kept in `certify.csv`, resumable.

By randomised smoothing, of the network under noise; or by bounds, of the network itself.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from pellucid.attacks.engine import images_that_fit
from pellucid.attacks.minimal import minimal
from pellucid.evaluation.robustness.bounds import Bounds, certified_radii
from pellucid.evaluation.robustness.certified import BLOCK, Smoothing, certify, predicted, seed_of, votes
from pellucid.evaluation.robustness.certified_attack import AttackedDecision, attack_smoothed
from pellucid.evaluation.robustness.radii import AttackConfig, record_of
from pellucid.models.classifier import frozen
from pellucid.models.inference import as_pixels
from pellucid.types import InputError, device_of
from pellucid.utils.progress import step
from pellucid.utils.results_store import ResultsStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from torch import nn

    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.robustness.robustness_target import RobustnessTarget
    from pellucid.types import Pixels

ROWS = "certify.csv"
SIDES = ("absent", "present")


class CertifiedRow(NamedTuple):
    """One line of `certify.csv`: a decision on an image.

    Attributes:
        id: the image's, in its dataset.
        label: the label that is decided on; empty for a multiclass network.
        truth: its class; of a label `present` or `absent`.
        predicted: what the smoothed classifier answers (PREDICT), empty where it abstains; by bounds the network.
        answer: what the selection draws chose, which the certificate speaks of; by bounds the same as `predicted`.
        p_bound: lower confidence bound of the probability that a draw votes for it; by bounds 1.
        certified_l2: Euclidean length below which the answer is certain to hold; 0 where nothing is certified.
        certified_rms: the same as a root mean square per pixel and channel.
        abstained: whether nothing is certified.
        right: whether something is, and the answer is the truth: else the area counts a radius of 0.
        attack_found: whether a perturbation was confirmed to change the answer; None where none was asked for.
        attack_rms: root mean square of it; 0 where the answer is wrong from the start, NaN where there is none.
        gradient_evaluations: of the network, spent on the attack.
        forward_passes: of the network, spent on the attack, those of the gradient evaluations included.
    """

    id: str
    label: str
    truth: str
    predicted: str
    answer: str
    p_bound: float
    certified_l2: float
    certified_rms: float
    abstained: bool
    right: bool
    attack_found: bool | None
    attack_rms: float
    gradient_evaluations: int
    forward_passes: int

    @property
    def key(self) -> tuple[str, str]:
        """The decision: image and label."""
        return self.id, self.label


def measure_certified(
    classifier: nn.Module,
    images: Pixels,
    dataset: Dataset,
    robustness_target: RobustnessTarget,
    smoothing: Smoothing | Bounds,
    folder: Path,
    *,
    weights_sha256: str,
) -> list[CertifiedRow]:
    """Every decision certified and attacked, from `folder`/certify.csv as far as it is there.

    An image's draws depend on its name and the seed only. A process that is killed loses the image that it was at.

    Args:
        classifier: the network.
        images: uint8 or uint16 (N, C, H, W), the pixels of the dataset.
        dataset: their ids and targets.
        robustness_target: of kind `attack`.
        smoothing: noise, draws and confidence; or bounds.
        folder: for `certify.csv` and `evaluation.json`.
        weights_sha256: of the network, so that its certificates are not taken for another's.

    Returns:
        One row per decision, in the robustness target's order.

    Raises:
        InputError: certificates of another network, dataset or setting in the folder; another process at work there;
            logits that are not finite; a network that bounds do not cover.
    """
    record = record_of(dataset, [robustness_target], AttackConfig("tight", smoothing.seed), weights_sha256)
    store = ResultsStore(folder, record | smoothing.to_json())
    log = store.rows(ROWS, CertifiedRow._fields, _parsed)
    image, label = robustness_target.decisions(dataset.targets)
    keys = [(dataset.ids[i], "" if k < 0 else dataset.classes[k]) for i, k in zip(image, label, strict=True)]
    with _alone(store):
        row_of = {row.key: row for row in log.read()}
        rows_at_once = 1 if isinstance(smoothing, Bounds) else _fitting(classifier, images)
        for index in np.unique(image):
            own = np.nonzero(image == index)[0]
            with step(1):
                if any(keys[u] not in row_of for u in own):
                    about = classifier, images[index], dataset, int(index), label[own].tolist(), robustness_target
                    if isinstance(smoothing, Bounds):
                        rows = _one_by_bounds(*about, smoothing)
                    else:
                        rows = _one_by_smoothing(*about, smoothing, rows_at_once)
                    new = [row for row in rows if row.key not in row_of]
                    log.append(map(_plain, new))
                    row_of |= {row.key: row for row in new}
    return [row_of[key] for key in keys]


def _one_by_smoothing(
    classifier: nn.Module,
    picture: Pixels,
    dataset: Dataset,
    index: int,
    labels: Sequence[int],
    robustness_target: RobustnessTarget,
    smoothing: Smoothing,
    rows: int,
) -> list[CertifiedRow]:
    """Certify and attack the decisions on one image under noise."""
    name, several = dataset.ids[index], robustness_target.task == "multilabel"
    pixels = as_pixels(picture[None], device_of(classifier))[0]
    selection, estimation = (
        votes(
            classifier,
            pixels,
            smoothing.sigma,
            draws,
            seed=seed_of(smoothing.seed, name, use),
            thresholds=robustness_target.levels if several else None,
            rows=rows,
        )
        for use, draws in (("selection", smoothing.selection), ("estimation", smoothing.samples))
    )
    target = np.asarray(dataset.targets[index])
    truths = [int(target[k]) for k in labels] if several else [int(target)]
    attacked: list[AttackedDecision | None] = [None] * len(labels)
    if smoothing.attack is not None:
        attacked = list(
            attack_smoothed(
                classifier, pixels, robustness_target, truths, labels, estimation, smoothing, name=name, rows=rows
            )
        )
    sides = SIDES if several else dataset.classes
    results = []
    for label, truth, attack in zip(labels, truths, attacked, strict=True):
        row = max(label, 0)
        certificate = certify(selection[row], estimation[row], smoothing.sigma, smoothing.alpha)
        answer = predicted(estimation[row], smoothing.alpha)
        results.append(
            CertifiedRow(
                name,
                dataset.classes[label] if several else "",
                sides[truth],
                "" if answer is None else sides[answer],
                sides[certificate.answer],
                certificate.bound,
                certificate.l2,
                certificate.l2 / math.sqrt(pixels.numel()),
                certificate.abstained,
                certificate.answer == truth and not certificate.abstained,
                None if attack is None else attack.found,
                math.nan if attack is None else attack.radius,
                0 if attack is None else attack.gradient_evaluations,
                0 if attack is None else attack.forward_passes,
            )
        )
    return results


def _one_by_bounds(
    classifier: nn.Module,
    picture: Pixels,
    dataset: Dataset,
    index: int,
    labels: Sequence[int],
    robustness_target: RobustnessTarget,
    bounds: Bounds,
) -> list[CertifiedRow]:
    """Certify and attack the network's own decisions on one image."""
    name, several = dataset.ids[index], robustness_target.task == "multilabel"
    pixels = as_pixels(picture[None], device_of(classifier))
    where = np.full(len(labels), index), np.asarray(labels)
    criterion = robustness_target.criterion_for(dataset.targets, *where, device_of(classifier))
    with torch.no_grad(), frozen(classifier):
        logits = classifier(pixels)[0].double().cpu()
    target, eye = np.asarray(dataset.targets[index]), torch.eye(len(logits), dtype=torch.float64)
    truths = [int(target[k]) for k in labels] if several else [int(target)]
    sides = SIDES if several else dataset.classes
    if several:
        levels = [robustness_target.levels[k] for k in labels]
        answers = [int(logits[k].sigmoid() >= level) for k, level in zip(labels, levels, strict=True)]
        signs = [1.0 if answer else -1.0 for answer in answers]
        cuts = [math.log(level / (1 - level)) for level in levels]
        margins = [
            (sign * eye[[k]], torch.tensor([-sign * cut])) for k, sign, cut in zip(labels, signs, cuts, strict=True)
        ]
    else:
        answers = [int(logits.argmax())]
        others = [k for k in range(len(logits)) if k != answers[0]]
        margins = [(eye[answers[0]] - eye[others], torch.zeros(len(others)))]
    device = pixels.device
    radii = certified_radii(classifier, pixels[0], [(w.to(device), b.to(device)) for w, b in margins])
    attacked = None
    if bounds.attack:
        seed = seed_of(bounds.seed, name)
        attacked = minimal(classifier, pixels.expand(len(labels), -1, -1, -1), criterion, seed=seed)
    return [
        CertifiedRow(
            name,
            dataset.classes[label] if several else "",
            sides[truth],
            sides[answer],
            sides[answer],
            1.0,
            radius,
            radius / math.sqrt(pixels.numel()),
            False,
            answer == truth,
            None if attacked is None else bool(attacked.found[row]),
            math.nan if attacked is None else 0.0 if attacked.met_at_start[row] else float(attacked.radius[row]),
            0 if attacked is None else int(attacked.gradient_evaluations[row]),
            0 if attacked is None else int(attacked.forward_passes[row]),
        )
        for row, (label, truth, answer, radius) in enumerate(zip(labels, truths, answers, radii, strict=True))
    ]


def _fitting(classifier: nn.Module, images: Pixels) -> int:
    with frozen(classifier):
        return min(BLOCK, images_that_fit(classifier, as_pixels(images[:1], device_of(classifier))))


@contextmanager
def _alone(store: ResultsStore) -> Iterator[None]:
    with store.claim("certify") as claim:
        if claim is None:
            raise InputError(
                f"another process is writing to {store.folder}. Wait for it, or choose another --out: certificates "
                "are not shared between processes."
            )
        yield


def _plain(row: CertifiedRow) -> list[object]:
    return [_cell(value) for value in row]


def _cell(value: object) -> object:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return int(value) if isinstance(value, bool) else repr(value) if isinstance(value, float) else value


def _parsed(cells: list[str]) -> CertifiedRow:
    marks = {"0": False, "1": True}
    name, label, truth, answer, candidate, bound, l2, rms, abstained, right, is_found, length, gradients, passes = cells
    return CertifiedRow(
        name,
        label,
        truth,
        answer,
        candidate,
        *(float(bound), float(l2), float(rms)),
        marks[abstained],
        marks[right],
        marks[is_found] if is_found else None,
        float(length) if length else math.nan,
        *(int(gradients), int(passes)),
    )
