"""A suspect: something that a classifier goes by on many images, where it is, what it does and what follows."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from pellucid.evaluation.metrics.statistics import Estimate
from pellucid.types import Box
from pellucid.utils.resources import finite

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

Kind = Literal["place", "patch", "whole image", "metadata", "marked"]
"""What a suspect can be.

`place`: what an image shows at one place of the network's frame. `patch`: a look that appears at varying places.
`whole image`: a statistic of the whole, as brightness or noise. `metadata`: a column, which no intervention can change.
`marked`: what people marked as the finding.
"""
KINDS: tuple[Kind, ...] = get_args(Kind)
ARRAYS = (
    "region", "window", "present", "strength", "mean_patch", "mean_without", "tested_rows", "tested_worth",
)  # fmt: skip


@dataclass(frozen=True)
class Effect:
    """How far a suspect moves one class.

    Attributes:
        class_name: the class.
        taken_away: change of its log-odds on images with the suspect, when others' content takes its place.
        put_in: change of its log-odds on images without the suspect, when it is put in.
        share: the part of the distance between the mean log-odds of the class's positives and negatives that goes
            through the suspect; 1 is all of it.
        p: probability of an association as strong, had the suspect nothing to do with the class.
        p_corrected: the same, for the strongest of everything that was tested.
        p_taken: two-sided, of no mean change when it is taken away; NaN where that cannot be.
        p_put: two-sided, of no mean change when it is put in; NaN where that cannot be.
    """

    class_name: str
    taken_away: Estimate
    put_in: Estimate
    share: Estimate
    p: float
    p_corrected: float
    p_taken: float = math.nan
    p_put: float = math.nan


@dataclass(frozen=True)
class Consequence:
    """What follows for one class and one figure.

    Attributes:
        class_name: the class.
        metric: `auroc`, `sensitivity`, `specificity` or `accuracy`.
        with_it: on images with the suspect.
        without: on images without it.
        apart: with it less without it.
        p_apart: two-sided, of no difference.
        usual: on images that it was tested on, as they are; up to half of them have the class.
        neutralised: on the same images with the suspect taken away: each has what some other image shows there.
        change: the second less the first, paired.
        p_change: two-sided, of no change.
    """

    class_name: str
    metric: str
    with_it: Estimate
    without: Estimate
    apart: Estimate
    p_apart: float
    usual: Estimate
    neutralised: Estimate
    change: Estimate
    p_change: float


@dataclass(frozen=True)
class WorstGroup:
    """Of the positives and negatives of a class, with and without the suspect, those that are decided worst.

    Attributes:
        class_name: the class.
        positive: whether they are positives.
        with_it: whether they have the suspect.
        accuracy: the share that is decided rightly: the lowest of `groups`, and so lower than it would be elsewhere.
        groups: how many groups are large enough to be compared.
    """

    class_name: str
    positive: bool
    with_it: bool
    accuracy: Estimate
    groups: int


@dataclass(frozen=True)
class Prevalence:
    """How common a suspect is in one class.

    Attributes:
        positives: share of the class's positives that have it.
        negatives: share of its negatives.
        apart: the first less the second.
        p: two-sided, of no difference.
    """

    positives: Estimate
    negatives: Estimate
    apart: Estimate
    p: float


@dataclass(frozen=True, eq=False)
class Suspect:
    """Something that a classifier goes by on many images.

    Attributes:
        number: its place in the list, from 1.
        kind: see `Kind`.
        name: in plain words, as "upper right corner" or "overall brightness".
        verdict: in words: its share, and what follows when it is taken away.
        class_name: the class that it moves most.
        share: of that class, the `share` of its effect; what suspects are ranked by.
        expected: whether it lies where people marked the finding: what the classifier should go by.
        overlap: share of its region that people marked as the class's finding; NaN where nobody marked any.
        region: boolean (H, W) in the network's frame; all of it for a whole image, none of it for metadata.
        boxes: of images that show it, where, in pixels of the network's frame; empty where it is at no place.
        present: boolean (N,), which of the images have it (of a statistic: have much of it).
        strength: float (N,), how much of it each has, in units of the log-odds that it adds; of metadata NaN.
        prevalence: share of the images that have it.
        prevalence_of: by class, how common it is among positives and negatives.
        effects: by class, the one that it moves most first.
        consequences: of the class that it moves most.
        worst: of that class; None where no group is large enough.
        exemplars: ids of images that show it, the strongest first.
        without: ids of images without it.
        frame: the rectangle that the two patches show.
        mean_patch: float (C, h, w) in [0, 1], the mean of images with it; None where it is at no place.
        mean_without: the same of images without it.
        window: boolean (H, W) of a place: what was exchanged to test it, in which its region was found; else None.
        details: what else is known of it, in plain values.
        reason: why something of it cannot be told.
        confirmed: whether the intervention moved the network as it should: taken away, the log-odds of the class fall,
            and put in, they rise, each by an interval that excludes 0, as far as it can be done; None where nothing can
            be exchanged.
        tested_rows: int64 (D,), the images that it was tested on; None of what people marked.
        tested_worth: float (D,), what each of these was worth to the class; NaN where it took no part.
    """

    number: int
    kind: Kind
    name: str
    verdict: str
    class_name: str
    share: float
    expected: bool
    overlap: float
    region: npt.NDArray[np.bool_]
    boxes: Mapping[str, tuple[Box, ...]]
    present: npt.NDArray[np.bool_]
    strength: npt.NDArray[np.float64]
    prevalence: Estimate
    prevalence_of: Mapping[str, Prevalence]
    effects: tuple[Effect, ...]
    consequences: tuple[Consequence, ...]
    worst: WorstGroup | None
    exemplars: tuple[str, ...]
    without: tuple[str, ...]
    frame: Box | None = None
    mean_patch: npt.NDArray[np.float32] | None = None
    mean_without: npt.NDArray[np.float32] | None = None
    window: npt.NDArray[np.bool_] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    confirmed: bool | None = None
    tested_rows: npt.NDArray[np.int64] | None = None
    tested_worth: npt.NDArray[np.float64] | None = None

    @property
    def outline(self) -> npt.NDArray[np.bool_]:
        """What is marked of it, boolean (H, W): where it differs, and what was exchanged to test it."""
        return self.region if self.window is None else self.region | self.window

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Its arrays by name, those that it has."""
        return {name: value for name in ARRAYS if (value := getattr(self, name)) is not None}

    def to_json(self) -> dict[str, Any]:
        """All but its arrays, as JSON can hold it; numbers that are none are None."""
        plain: dict[str, Any] = finite({name: value for name, value in asdict(self).items() if name not in ARRAYS})
        return plain

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Suspect:
        """What `to_json` and `arrays` gave."""
        values = dict(stored) | dict(arrays)
        values |= {name: _number(stored[name]) for name in ("share", "overlap")}
        values["boxes"] = {name: tuple(Box(*box) for box in of) for name, of in stored["boxes"].items()}
        values["prevalence"] = Estimate.from_json(stored["prevalence"])
        values["prevalence_of"] = {name: Prevalence(**_fields(of)) for name, of in stored["prevalence_of"].items()}
        values["effects"] = tuple(Effect(**_fields(one)) for one in stored["effects"])
        values["consequences"] = tuple(Consequence(**_fields(one)) for one in stored["consequences"])
        values["worst"] = None if stored["worst"] is None else WorstGroup(**_fields(stored["worst"]))
        values["frame"] = None if stored["frame"] is None else Box(*stored["frame"])
        values |= {name: tuple(stored[name]) for name in ("exemplars", "without")}
        return cls(**values)


def _fields(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {k: Estimate.from_json(v) if isinstance(v, dict) else _number(v) for k, v in stored.items()}


def _number(value: Any) -> Any:  # noqa: ANN401
    return np.nan if value is None else value
