"""Yardsticks of trust: maps that know nothing, and whether a method is above the best of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy  # its parts load when they are used
import torch

from pellucid.evaluation.metrics.differences import ALIKE
from pellucid.evaluation.metrics.intervals import too_few_patients
from pellucid.evaluation.metrics.statistics import Estimate, join_reasons, mean_over_images
from pellucid.evaluation.metrics.trivial_maps import centred_gaussian, edges

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt
    from torch import Tensor

    from pellucid.evaluation.metrics.bootstrap import Bootstrap
    from pellucid.evaluation.metrics.statistics import Replicates

TRIVIAL = "trivial: "
"""Begins the name of a yardstick where methods stand."""
UNIFORM, MEAN_BOX = "uniform", "mean box"
CENTRED, EDGES = "centred", "edges of the image"
MEAN_MAP, OWN_SPECTRUM = "mean map of other images", "random map of the same spectrum"
"""A method's own: what it draws for the other patients' images, and its maps with their phases drawn."""
ROUNDING = 1e-6
"""Two shares or probabilities that differ by less are the same: a mean of equal maps is that map but for rounding."""
DRAWS = 2
"""Maps of the same spectrum that are drawn for each of a method's maps."""


def _centred(_: object, images: Tensor, __: Tensor, ___: int) -> Tensor:
    gaussian = centred_gaussian(1, (images.shape[2], images.shape[3]))
    return torch.from_numpy(gaussian.copy()).to(images.device).expand(len(images), -1, -1)


def _edges(_: object, images: Tensor, __: Tensor, ___: int) -> Tensor:
    return edges(images)


TRIVIAL_MAPS: dict[str, Callable[[Any, Tensor, Tensor, int], Tensor]] = {CENTRED: _centred, EDGES: _edges}
"""Maps that look at no network, drawn as a `Mapper` draws them. The uniform map's figures are known without drawing."""


class Gain(NamedTuple):
    """How far a figure of a method lies above that of the best trivial map.

    Attributes:
        figure: the measure that is compared, image by image.
        sign: 1 where more of it is better, −1 where less is.
        shared: the trivial maps that all methods are held against.
        own: those that are made of the method's own maps.
    """

    figure: str
    sign: int
    shared: tuple[str, ...]
    own: tuple[str, ...]


_EVERYWHERE = (UNIFORM, CENTRED, EDGES)
GAINS = {
    "flipping_gain": Gain("deletion_area", -1, _EVERYWHERE, (MEAN_MAP, OWN_SPECTRUM)),
    "insertion_gain": Gain("insertion_area", 1, _EVERYWHERE, (MEAN_MAP, OWN_SPECTRUM)),
    "place_gain": Gain("auprc", 1, (*_EVERYWHERE, MEAN_BOX), (MEAN_MAP,)),
    "grid_gain": Gain("grid_pointing", 1, _EVERYWHERE, (MEAN_MAP,)),
}
"""By the measure that it is shown as; every one is held against all of its yardsticks."""


def own_yardstick(name: str, method: str) -> str:
    """What a method's own yardstick is called where methods stand."""
    return f"{TRIVIAL}{name}, {method}"


def yardstick_beside(yardstick: str, method: str) -> str | None:
    """The name of a yardstick that a method is held against; None for another method's own.

    Args:
        yardstick: as it is called where methods stand.
        method: any.

    Example:
        >>> yardstick_beside("trivial: centred", "cam")
        'centred'
        >>> yardstick_beside("trivial: mean map of other images, cam", "cam")
        'mean map of other images'
        >>> yardstick_beside("trivial: mean map of other images, lime", "cam")
    """
    names = {f"{TRIVIAL}{name}": name for name in (UNIFORM, CENTRED, EDGES, MEAN_BOX)}
    names |= {own_yardstick(name, method): name for name in (MEAN_MAP, OWN_SPECTRUM, *TRIVIAL_MAPS)}
    return names.get(yardstick)


def above_best(
    values: npt.NDArray[np.float64],
    yardsticks: Mapping[str, npt.NDArray[np.float64]],
    bootstrap: Bootstrap,
    *,
    sign: int = 1,
    of: str = "images",
) -> tuple[Estimate, str | None]:
    """How far a mean lies above the best yardstick's, with an interval that holds whichever is the best.

    Every yardstick is held against the same images, and patients are resampled together. Which is the best is not
    known but estimated too, so none is chosen first. The lower end is the lowest of the lower ends: above 0 only where
    the method is above each yardstick by itself, for which nothing need be corrected (Berger 1982). The upper end is
    the lowest of the upper ends, each at a level that is corrected for how many there are (Bonferroni): at or below 0
    only where the method is shown to be no better than at least one of them. All are percentiles of the resamples, as
    far out as few patients make necessary (Hesterberg 2015).

    Args:
        values: (N,), the method's; NaN where undefined.
        yardsticks: (N,) each, by name; one without any value is left out.
        bootstrap: over the N images.
        sign: 1 where more is better, −1 where less is.
        of: what the values are called.

    Returns:
        The estimate, and the name of the best yardstick; NaN and None where nothing can be compared.

    Source:
        Berger 1982, Technometrics 24: tests of a union of hypotheses by the intersection of their rejections.
        Hesterberg 2015, American Statistician 69, section 3.3: expanded percentiles.

    Example:
        >>> from pellucid.evaluation.metrics.bootstrap import Bootstrap
        >>> ours = np.array([3.0, 4.0, 5.0, 6.0, 7.0])
        >>> estimate, best = above_best(ours, {"low": 0 * ours, "high": ours - 2}, Bootstrap(range(5)))
        >>> best, estimate.value, estimate.reason
        ('high', 2.0, 'the same on every image: nothing says how far it would differ on others')
    """
    differences = {name: sign * (values - other) for name, other in yardsticks.items()}
    differences = {
        name: np.where(np.abs(d) < ROUNDING, 0.0, d) for name, d in differences.items() if not np.isnan(d).all()
    }
    if not differences:
        return Estimate(math.nan, math.nan, math.nan, 0, "there is no pair of figures to compare"), None
    share = (1 - 0.95) / 2  # of resamples beyond each end
    means: dict[str, Replicates] = {}
    ends: list[tuple[float, float]] = []
    reasons = [f"no value of the {name}" for name in yardsticks if name not in differences]
    for name, difference in differences.items():
        mean = means[name] = mean_over_images(difference, bootstrap, of=of)
        resamples = mean.samples[~np.isnan(mean.samples)]
        patients = mean.patients or 0
        is_alike = mean.value != 0 and float(np.nanmin(difference)) == float(np.nanmax(difference))
        lacking = too_few_patients(patients, unit=bootstrap.unit) or (ALIKE if is_alike else None)
        reasons += [reason for reason in (mean.reason, lacking) if reason]
        if lacking:
            ends.append((math.nan, math.nan))
        else:
            shares = [_tail(share, patients), 1 - _tail(share / len(differences), patients)]
            ends.append((float(np.quantile(resamples, shares[0])), float(np.quantile(resamples, shares[1]))))
    best = min(means, key=lambda name: means[name].value)
    low, high = np.min(ends, axis=0).tolist()  # NaN where one is
    count = min(mean.n for mean in means.values())
    patients = min(mean.patients or 0 for mean in means.values())
    return Estimate(means[best].value, low, high, count, join_reasons(*reasons), patients=patients), best


def _tail(share: float, patients: int) -> float:
    """The share of resamples beyond an end that gives a mean of few patients the interval of Student's t."""
    return float(scipy.special.ndtr(scipy.special.stdtrit(patients - 1, share) * math.sqrt(patients / (patients - 1))))
