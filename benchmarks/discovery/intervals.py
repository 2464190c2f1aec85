"""Intervals that know of seeds: the networks of a seed share their drawings and the network they were trained from.

A share has Wilson's interval (1927) with as many networks as independent ones would be worth: their number over the
design effect, which is the variance of the share by seeds over that of independent networks (Kish 1965), and no less
than 1; the quantile is Student's, of one degree of freedom less than there are seeds. Where all networks or none are
hits nothing can be said of the variance by seeds, and a seed counts as one network: with 20 seeds the limit that is
open is the twentieth root of .05, some 3 of 20 ("rule of three", Hanley & Lippman-Hand 1983). Other figures have the
interval of 2,000 bootstrap samples of seeds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import t

from pellucid.utils.words import figure_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

RESAMPLES = 2000
FEWEST = 6  # seeds, from which on a figure has an interval
TWO_PLACES = "{:.2f}".format


def share_interval(hits: Sequence[bool], seeds: Sequence[int]) -> tuple[float, float]:
    """The 95 % interval of a share of networks, by the seeds of the networks.

    Args:
        hits: of each network, one at least.
        seeds: of each network.

    Returns:
        Its ends; 0 and 1 of networks of one seed.
    """
    values = np.asarray(hits, float)
    _, of = np.unique(seeds, return_inverse=True)
    n, m, share = len(values), int(of.max()) + 1, float(values.mean())
    if m < 2:
        return 0.0, 1.0
    if share in (0.0, 1.0):
        open_end = 0.05 ** (1 / m)
        return (open_end, 1.0) if share else (0.0, 1 - open_end)
    residuals = np.bincount(of, values - share)
    variance = m / (m - 1) * float((residuals**2).sum()) / n**2
    effective = n / max(variance / (share * (1 - share) / n), 1.0)
    square = float(t.ppf(0.975, m - 1)) ** 2 / effective
    centre = (share + square / 2) / (1 + square)
    half = float(np.sqrt(square * share * (1 - share) + square**2 / 4)) / (1 + square)
    return centre - half, centre + half


def share_text(hits: Sequence[bool], seeds: Sequence[int]) -> str:
    """A share with its interval, and of how many networks and seeds; nothing of nothing."""
    if not hits:
        return "– (0 networks)"
    low, high = share_interval(hits, seeds)
    count = f"{sum(hits)} of {len(hits)}; seeds: {len(set(seeds))}"
    return f"{figure_text(sum(hits) / len(hits), low, high, TWO_PLACES)} ({count})"


def figure_by_seeds(
    values: npt.NDArray[Any], seeds: Sequence[int], figure: Callable[[npt.NDArray[Any]], float], form: str = ".2f"
) -> str:
    """A figure of networks with its bootstrap interval over seeds.

    Args:
        values: (n, …), of each network.
        seeds: of each network.
        figure: of the values of some networks.
        form: of a number.
    """
    if not len(values):
        return "– (n = 0)"
    names, of = np.unique(seeds, return_inverse=True)
    tail = f"(n = {len(values)}; seeds: {len(names)})"
    if len(names) < FEWEST:
        return f"{figure(values):{form}} {tail[:-1]}: too few for an interval)"
    rows = [np.flatnonzero(of == one) for one in range(len(names))]
    rng = np.random.default_rng(0)
    draws = [
        figure(values[np.concatenate([rows[one] for one in rng.integers(len(rows), size=len(rows))])])
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{figure_text(figure(values), low, high, lambda value: f'{value:{form}}')} {tail}"
