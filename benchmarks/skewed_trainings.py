"""How often two recipes with the same true mean are called different where trainings do not scatter normally.

`paired_difference` errs in at most 5 % where trainings scatter normally. Here an AUROC of a training is Φ(c + σz):
its tail to bad networks is long. The second recipe has the same true mean and scatters as much, .3 times as much, or
not at all. Then a fifth of the first recipe's trainings fail outright (AUROC .5), the others come to .94, and the
second's are all alike at the first's mean; or a tenth do, and the others scatter a little, as the second's do. In the
last cells a training comes to one of two values, each as often. The patients' part is normal and known. Whether a
difference is found is the package's own rule (`reach_by_parts`); *any of 27* is found by the first step of Holm's
correction (a difference passes any step only if the smallest p passes the first), of independent scores, or of scores
for which half of the trainings' and of the patients' luck is common (of failed trainings: the same fail for all).

`threefold`: how often the two spreads of trainings as seen differ by more than three times, of all studies and of those
that find a difference.

Writes results/skewed_trainings.csv, about 20 seconds on one core.

    python benchmarks/skewed_trainings.py [--studies 40000] [--families 6000]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri
from scipy.stats import binomtest

from pellucid.evaluation.metrics.differences import reach_by_parts
from pellucid.evaluation.metrics.verdicts import ALPHA
from table import write

if TYPE_CHECKING:
    from collections.abc import Iterator

RESULTS = Path(__file__).parent / "results" / "skewed_trainings.csv"
FAMILY = 27
TRAININGS = (2, 3, 5, 10)
WORKS, FAILS, FAILED = 0.94, 0.5, 0.2
LITTLE = 0.042  # in z: .005 of an AUROC of .94
TWO_VALUES = 0.043  # as widely as the first cells
COLUMNS = ("one", "any of 27, independent", "any of 27, half in common")
FloatArray = npt.NDArray[np.floating]


class Recipe(NamedTuple):
    """How the AUROCs of a recipe's trainings scatter: Φ(centre + spread · z), and how many fail outright.

    Or, `is_one_of_two`, they are Φ(centre) ± spread.
    """

    centre: float
    spread: float
    failed: float = 0.0
    is_one_of_two: bool = False

    @property
    def mean(self) -> float:
        """The true mean over trainings."""
        if self.is_one_of_two:
            return float(ndtr(self.centre))
        return (1 - self.failed) * float(ndtr(self.centre / np.sqrt(1 + self.spread**2))) + self.failed * FAILS

    @property
    def deviation(self) -> float:
        """The true standard deviation over trainings, by a fine grid of z."""
        if self.is_one_of_two:
            return self.spread
        works = ndtr(self.centre + self.spread * ndtri((np.arange(100_000) + 0.5) / 100_000))
        second = (1 - self.failed) * np.square(works).mean() + self.failed * FAILS**2
        return float(np.sqrt(max(second - self.mean**2, 0.0)))

    def draw(self, luck: FloatArray, failure: FloatArray) -> FloatArray:
        """AUROCs of trainings with this luck; the last numbers, uniform, say which fail."""
        if self.is_one_of_two:
            return ndtr(self.centre) + self.spread * np.sign(luck)
        return np.where(failure < self.failed, FAILS, ndtr(self.centre + self.spread * luck))


def with_mean(mean: float, spread: float) -> Recipe:
    """The recipe that scatters so much about this true mean."""
    return Recipe(float(ndtri(mean)) * float(np.sqrt(1 + spread**2)), spread)


def settings() -> Iterator[tuple[str, Recipe, Recipe]]:
    """What the second does, and both recipes."""
    for centre, spread in ((1.645, 0.354), (1.645, 0.707), (2.326, 0.707)):
        first = Recipe(centre, spread)
        for times in (1.0, 0.3, 0.0):
            yield f"{times:g}", first, with_mean(first.mean, times * spread)
    first = Recipe(float(ndtri(WORKS)), 0.0, FAILED)
    yield "a fifth of the first's fail", first, with_mean(first.mean, 0.0)
    yield "a fifth of both fail", first, first
    first = Recipe(float(ndtri(WORKS)), LITTLE, 0.1)
    yield "a tenth of the first's fail", first, with_mean(first.mean, LITTLE)
    first = Recipe(float(ndtri(WORKS)), TWO_VALUES, is_one_of_two=True)
    yield "two values, not at all", first, Recipe(first.centre, 0.0)
    yield "two values, alike", first, first


def luck(rng: np.random.Generator, shape: tuple[int, ...], common: float) -> FloatArray:
    """Normal numbers (E, K, …), in part those of all K scores."""
    own = rng.standard_normal(shape)
    if not common:
        return own
    return np.sqrt(common) * rng.standard_normal((shape[0], 1, *shape[2:])) + np.sqrt(1 - common) * own


def differences(
    recipes: tuple[Recipe, Recipe], trainings: int, patients: float, size: tuple[int, int], common: float, seed: int
) -> tuple[FloatArray, list[FloatArray]]:
    """The differences of (studies, scores), and the variances of either recipe's trainings as seen."""
    rng = np.random.default_rng(seed)
    values = []
    for recipe in recipes:
        shape = (*size, trainings)
        failure = rng.random((size[0], 1 if common else size[1], trainings))
        values.append(recipe.draw(luck(rng, shape, common), failure))
    value = values[0].mean(-1) - values[1].mean(-1) + patients * luck(rng, size, common)
    return value, [v.var(-1, ddof=1) for v in values]


def different(value: FloatArray, squares: list[FloatArray], trainings: int, patients: float, tests: int) -> FloatArray:
    """Whether each difference is called one among so many."""
    spreads = [square / trainings for square in squares]
    error = np.sqrt(patients**2 + sum(spreads))
    z = -float(ndtri(ALPHA / 2 / tests))
    return np.abs(value) > reach_by_parts(z, error, spreads, [trainings - 1] * 2)


def rows(studies: int, families: int) -> Iterator[dict[str, object]]:
    """One of each setting, error of the patients and number of trainings."""
    number = 0
    for name, *recipes in settings():
        for patients in (0.004, 0.02):
            for trainings in TRAININGS:
                number += 1
                both = (recipes[0], recipes[1])
                place = {
                    "mean": f"{both[0].mean:.3f}",
                    "deviation": f"{both[0].deviation:.3f}",
                    "deviation of the second": f"{both[1].deviation:.3f}",
                    "second": name,
                    "patients": patients,
                    "trainings": trainings,
                }
                value, squares = differences(both, trainings, patients, (studies, 1), 0.0, number)
                single = different(value, squares, trainings, patients, 1)[:, 0]
                low, high = np.sort(np.sqrt([square[:, 0] for square in squares]), axis=0)
                unequal = high > 3 * low + 1e-12
                counts = [single]
                for common in (0.0, 0.5):
                    value, squares = differences(both, trainings, patients, (families, FAMILY), common, number)
                    counts.append(different(value, squares, trainings, patients, FAMILY).any(1))
                row: dict[str, object] = dict(place)
                for column, said in zip(COLUMNS, counts, strict=True):
                    interval = binomtest(int(said.sum()), len(said)).proportion_ci(method="exact")
                    row |= {
                        column: f"{said.mean():.4f}",
                        f"{column} from": f"{interval.low:.4f}",
                        f"{column} to": f"{interval.high:.4f}",
                    }
                row |= {
                    "threefold": f"{unequal.mean():.3f}",
                    "threefold of those called different": f"{unequal[single].mean():.3f}" if single.any() else "",
                    "studies": studies,
                    "families": families,
                }
                yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=40_000, help="of one comparison, a cell")
    parser.add_argument("--families", type=int, default=6_000, help="studies of 27 comparisons, a cell")
    arguments = parser.parse_args()
    write(RESULTS, list(rows(arguments.studies, arguments.families)))


if __name__ == "__main__":
    main()
