"""How often "this recipe is better" is said where it is not, and where it is: methods beside each other, simulated.

Two recipes with S trainings each are judged on the same 94 patients. A score of a network is the mean of a number per
patient, the share of patients on the right side, or an AUROC (47 positives near .85; 15 near .92). What a patient adds
has a part that all networks share, one that a recipe's networks share ("patients suit either recipe") and one of each
network; a training moves its network's true score. `trainings` is that movement's standard deviation over the patients'
error of one network's score in such a comparison. Both recipes have the same true score, or one is better by one, two
or three of the true standard errors of the difference; the table says in which share of the studies a difference is
said. Families of 27 scores are corrected after Holm; their scores have half of everything that varies in common, as the
scores of one map do, or nothing.

Methods, all from the same 300 resamples of the patients:

- networks held fixed: what the reports did until now, the answer to another question;
- trainings only: Welch's t test of the scores, as if the patients were all there are;
- crossed bootstrap: patients and trainings drawn with replacement, percentiles; and with the trainings' deviations
  widened by sqrt(S / (S - 1));
- both summed: the patients' error of these networks and Welch's together, so that what networks and patients share
  counts twice;
- mixed, pooled: Obuchowski and Rockette's error, the trainings' variance taken as equal in both recipes;
- mixed: the same without that, with Satterthwaite's degrees of freedom, at most five times those of the trainings;
- mixed, uncapped: without an upper bound of the degrees of freedom;
- mixed, by seed: the differences seed by seed, right only where seeds share something;
- mixed, never narrower: its error at least that of the networks held fixed, without that bound.

- used: what the package does, `paired_difference` and `judge_family`: the error of `mixed`, each side as wide as the
  single intervals make it, to neither side surer than the networks held fixed, and each recipe's trainings by their own
  degrees of freedom (`tail_by_parts`). It needs every network's interval, so it is of fewer studies; it is also
  simulated of trainings that scatter eight times as much as the patients in recipes that scatter unequally or are
  trained unequally often, and its families also of 3, 70 and 576 scores and of two trainings.

Tails: how far out t can be trusted does not depend on the patients, so families of independent differences that are
normal, with a patients' part that is known, are computed in many more cells, by three rules. Nothing is drawn there:
given the trainings' variances the share of differences beyond the bar is known, and that is integrated over them.

Writes results/recipe_inference.csv and results/recipe_families.csv, about 6 minutes on one core each without `used`,
and results/recipe_tails.csv, in a minute.

    python benchmarks/recipe_inference.py [--studies 2000] [--only singles|families|tails]
    python benchmarks/recipe_inference.py --used 1000 --only singles  # only this method's rows anew
    python benchmarks/recipe_inference.py --used 400 --only families
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri, stdtrit
from scipy.stats import norm
from scipy.stats import t as students_t

from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.differences import RecipeVariance, Z, recipe_variance, tail_by_parts
from pellucid.evaluation.metrics.intervals import auroc_influence, auroc_interval, ratio_intervals
from pellucid.evaluation.metrics.paired_tests import holm
from pellucid.evaluation.metrics.statistics import UNBOUNDED, mean_over_images
from pellucid.evaluation.metrics.verdicts import ALPHA
from table import write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

RESULTS = Path(__file__).parent / "results"
PATIENTS, RESAMPLES, FAMILY = 94, 300, 27
CHUNK, FEW = 400, 50  # studies of one score, and of a family of 27, that are in memory at once
SIZES = (1, 3, 9, 27, 96, 576)  # of families of tails
POINTS = np.linspace(-40.0, 4.5, 140)  # logarithms of a variance over its mean, where it is integrated
SHIFTS = (1, 2, 3, 5)  # true standard errors
MIXED, USED = "mixed", "used"
MOST_DF = 5.0  # of Satterthwaite's, for each that the trainings have
SATTERTHWAITE, LEAST, BY_PARTS = "Satterthwaite", "min(S_a, S_b) - 1", "by parts"  # rules of tails
SAME = 1e-9  # a figure whose resamples differ by less does not move
BETTER = ("no difference", "one standard error", "two", "three")
FloatArray = npt.NDArray[np.floating]


class Score(NamedTuple):
    """A kind of score.

    Attributes:
        name: of it.
        positives: of an AUROC; 0 of a mean over the patients.
        distance: between an AUROC's classes; of a share, by how much the mean patient is on the right side.
        share: whether only the sign of a patient's number counts, as in accuracy and the pointing game.
    """

    name: str
    positives: int = 0
    distance: float = 0.0
    share: bool = False


SCORES = (
    Score("mean"),
    Score("share, .7", distance=0.524, share=True),
    Score("AUROC, 47 of 94 at .85", 47, 1.466),
    Score("AUROC, 15 of 94 at .92", 15, 1.987),
)


class Cell(NamedTuple):
    """One setting of the simulation.

    Attributes:
        score: the kind of score.
        seeds: trainings of each recipe.
        trainings: their standard deviation over the patients' error of one network.
        suits: whether some patients suit one recipe and some the other.
        shared: the correlation of the trainings' movements of the same seed in both recipes.
        unequal: how many times more the second recipe's trainings scatter.
        alike: the share of whatever varies that several scores have in common.
        size: scores of a family.
    """

    score: Score
    seeds: tuple[int, int]
    trainings: float
    suits: bool
    shared: float = 0.0
    unequal: float = 1.0
    alike: float = 0.5
    size: int = FAMILY


class Study(NamedTuple):
    """Simulated studies: (E, S) figures of each recipe's networks, and all networks' figures (E, S_a + S_b, B).

    `ends` are the intervals of all networks (E, S_a + S_b, 2); empty, (E, 0, 2), where they were not asked for.
    """

    first: FloatArray
    second: FloatArray
    samples: FloatArray
    ends: FloatArray


def weights() -> FloatArray:
    """How often each patient is drawn in each resample, (B, 94), as a study draws them."""
    return Bootstrap(range(PATIENTS), RESAMPLES).weights


def simulate(
    cell: Cell, studies: int, rng: np.random.Generator, scores: int = 1, *, with_intervals: bool = False
) -> Study:
    """So many studies of a cell, with `scores` scores each; `with_intervals` of every network, which `used` needs."""
    moved = movement(cell)
    parts = [
        _simulate(cell, min(CHUNK, studies - start), rng, scores, moved, with_intervals=with_intervals)
        for start in range(0, studies, CHUNK)
    ]
    return Study(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def movement(cell: Cell) -> float:
    """The standard deviation of a training's movement: of the mean, or of the distance between the classes."""
    if not cell.score.positives and not cell.score.share:
        return float(cell.trainings * np.sqrt((2.0 if cell.suits else 1.0) / PATIENTS))
    pilot = _simulate(cell._replace(seeds=(1, 1)), 2000, np.random.default_rng(0), 1, 0.0)
    error = (pilot.first - pilot.second).std() / np.sqrt(2)
    scale = 1.0 if cell.score.share else np.sqrt(2)
    slope = norm.pdf(cell.score.distance / scale) / scale
    return float(cell.trainings * error / slope)


def _simulate(
    cell: Cell, studies: int, rng: np.random.Generator, scores: int, moved: float, *, with_intervals: bool = False
) -> Study:
    first, second = cell.seeds
    total = first + second
    recipe = np.repeat([0, 1], [first, second])
    width = 2.0 if cell.suits else 1.0

    def draw(*shape: int) -> FloatArray:
        """Normal numbers of each score, in part those of all."""
        own = rng.standard_normal((studies, scores, *shape))
        if scores == 1 or not cell.alike:
            return own
        return np.sqrt(cell.alike) * rng.standard_normal((studies, 1, *shape)) + np.sqrt(1 - cell.alike) * own

    moves = draw(total)
    if cell.shared:
        common = rng.standard_normal((studies, 1, max(first, second)))
        place = np.concatenate([np.arange(first), np.arange(second)])
        moves = np.sqrt(1 - cell.shared) * moves + np.sqrt(cell.shared) * common[..., place]
    moves = moves * moved * np.where(recipe == 1, cell.unequal, 1.0)
    suited = draw(2, PATIENTS)[:, :, recipe] if cell.suits else 0.0
    parts = draw(1, PATIENTS) * np.sqrt(1.5 * width) + suited + draw(total, PATIENTS)
    if not cell.score.positives:
        numbers = parts + moves[..., None]
        if cell.score.share:
            numbers = (parts / np.sqrt(2.5 * width) + cell.score.distance + moves[..., None] > 0).astype(np.float64)
        values, samples = numbers.mean(-1), numbers @ (weights().T / PATIENTS)
        ends = (
            _ends_of_means(numbers, share=cell.score.share) if with_intervals else np.empty((*values.shape[:2], 0, 2))
        )
    else:
        numbers = parts / np.sqrt(2.5 * width)
        shown = numbers[..., : cell.score.positives] + cell.score.distance + moves[..., None]
        others = numbers[..., cell.score.positives :]
        values, samples = _areas(shown, others)
        ends = _ends_of_areas(shown, others) if with_intervals else np.empty((*values.shape[:2], 0, 2))
    values, samples, ends = (v.reshape(studies * scores, *v.shape[2:]) for v in (values, samples, ends))
    return Study(values[:, :first], values[:, first:], samples, ends)


def _areas(shown: FloatArray, others: FloatArray) -> tuple[FloatArray, FloatArray]:
    """AUROCs of scores (…, P) and (…, Q) without ties, over all patients and in every resample."""
    drawn = weights()
    above, below = drawn[:, : shown.shape[-1]], drawn[:, shown.shape[-1] :]
    shape = shown.shape[:-1]
    flat = [x.reshape(-1, x.shape[-1]).astype(np.float32) for x in (shown, others)]
    values, samples = np.empty(len(flat[0])), np.empty((len(flat[0]), len(drawn)), dtype=np.float32)
    for start in range(0, len(values), CHUNK):
        rows = slice(start, start + CHUNK)
        wins = (flat[0][rows, :, None] > flat[1][rows, None, :]).astype(np.float32)
        values[rows] = wins.mean((1, 2))
        samples[rows] = ((wins @ below.T) * above.T).sum(1) / (above.sum(1) * below.sum(1))
    return values.reshape(shape), samples.reshape(*shape, -1)


def _ends_of_means(numbers: FloatArray, *, share: bool) -> FloatArray:
    """The intervals (…, 2) of the mean over the patients of numbers (…, 94)."""
    columns = numbers.reshape(-1, PATIENTS).T
    within = (0.0, 1.0) if share else UNBOUNDED
    ends, _ = ratio_intervals(columns, np.ones((PATIENTS, 1)), np.arange(PATIENTS), within)
    return ends.reshape(*numbers.shape[:-1], 2)


def _ends_of_areas(shown: FloatArray, others: FloatArray) -> FloatArray:
    """The intervals (…, 2) of the AUROCs of scores (…, P) and (…, Q)."""
    scores = np.concatenate([shown, others], axis=-1)
    positive, patients = np.arange(PATIENTS) < shown.shape[-1], np.arange(PATIENTS)
    ends = []
    for one in scores.reshape(-1, PATIENTS):
        area, influence = auroc_influence(one, positive, ~positive)
        ends.append(auroc_interval(area, influence, positive, ~positive, patients))
    return np.array(ends).reshape(*scores.shape[:-1], 2)


class Used(NamedTuple):
    """What the package says of the recipes, (E,) each: the difference and its errors to either side.

    `spreads` is what each recipe's trainings add to the square of the error, `spreads_df` their degrees of freedom.
    """

    value: FloatArray
    below: FloatArray
    above: FloatArray
    spreads: tuple[FloatArray, ...]
    spreads_df: tuple[int, ...]

    def p(self, shift: float = 0.0) -> FloatArray:
        """Two-sided p values, with `shift` added to every difference; above 0.05 they are the normal's, if smaller."""
        value = self.value + shift
        error = np.where(value > 0, self.below, self.above)
        p = np.where(value == 0, 1.0, 2 * norm.sf(np.abs(value) / error))
        small = p <= ALPHA  # no quantile of t is smaller than the normal's: a larger p is nothing either way
        parts = [spread[small] for spread in self.spreads], self.spreads_df
        p[small] = 2 * tail_by_parts(np.abs(value)[small], error[small], *parts)
        return p


def used(study: Study) -> Used:
    """`paired_difference` of many studies at once; a test holds one against the other."""
    counts = study.first.shape[1], study.second.shape[1]
    centred = study.samples - study.samples.mean(-1, keepdims=True)
    covariance = (centred @ centred.swapaxes(1, 2) / (centred.shape[-1] - 1)).astype(np.float64)
    spread = np.sqrt(np.einsum("eii->ei", covariance))
    moves = spread > SAME
    correlation = covariance / np.where(moves, spread, np.inf)[:, :, None] / np.where(moves, spread, np.inf)[:, None]
    values = np.concatenate([study.first, study.second], axis=1)
    parts = [slice(0, counts[0]), slice(counts[0], sum(counts))]
    reaches = [values - study.ends[..., 0], study.ends[..., 1] - values]
    (low, high), (less_low, less_high) = (
        [_reach_of_mean(reach[:, part], correlation[:, part, part], moves[:, part]) for reach in reaches]
        for part in parts
    )
    blocks = [[covariance[:, one, other].mean((1, 2)) for other in parts] for one in parts]
    product = np.sqrt(blocks[0][0] * blocks[1][1])
    r = np.where(product > 0, blocks[0][1] / np.where(product > 0, product, 1.0), 0.0)
    whole = blocks[0][0] + blocks[1][1] - 2 * blocks[0][1]
    variance = recipe_variance((study.first, study.second), covariance)
    share = np.where(whole > 0, variance.patients / np.where(whole > 0, whole, 1.0), 1.0)
    sides = []
    for own, other in ((low, less_high), (high, less_low)):
        networks = np.sqrt(np.maximum(own**2 + other**2 - 2 * r * own * other, 0.0)) / Z
        sides.append(np.maximum(networks, np.sqrt(share * networks**2 + variance.trainings)))
    value = study.first.mean(1) - study.second.mean(1)
    return Used(value, *sides, variance.spreads, variance.spreads_df)


def _reach_of_mean(reach: FloatArray, correlation: FloatArray, moves: npt.NDArray[np.bool_]) -> FloatArray:
    """How far the end of the mean of a recipe's networks lies from it, (E,), from those of its networks (E, S)."""
    apart = np.sqrt(np.maximum(np.einsum("ei,eij,ej->e", reach, correlation, reach), 0.0))
    return np.asarray((apart + np.where(moves, 0.0, reach).sum(1)) / reach.shape[1])


def p_values(study: Study, shift: float = 0.0, rng: np.random.Generator | None = None) -> dict[str, FloatArray]:
    """(E,) two-sided p values by method; of the crossed bootstraps 0 or 1, whether the interval excludes 0.

    Args:
        study: simulated.
        shift: added to every figure of the first recipe.
        rng: draws trainings for the crossed bootstraps; None leaves them out.
    """
    first, second = study.first + shift, study.second
    counts = first.shape[1], second.shape[1]
    difference = first.mean(1) - second.mean(1)
    centred = study.samples - study.samples.mean(-1, keepdims=True)
    covariance = centred @ centred.swapaxes(1, 2) / (centred.shape[-1] - 1)
    contrast = np.repeat([1 / counts[0], -1 / counts[1]], counts)
    networks = np.einsum("i,eij,j->e", contrast, covariance, contrast)
    found = {"networks held fixed": 2 * norm.sf(np.abs(difference) / np.sqrt(networks))}
    if 1 in counts:  # nothing else has an answer
        return found

    def student(error: FloatArray, df: FloatArray) -> FloatArray:
        return np.asarray(2 * students_t.sf(np.abs(difference) / error, df))

    spreads = [v.var(1, ddof=1) / v.shape[1] for v in (first, second)]
    trainings = spreads[0] + spreads[1]
    weight = sum(s**2 / (n - 1) for s, n in zip(spreads, counts, strict=True))
    found["trainings only"] = student(np.sqrt(trainings), trainings**2 / weight)
    both = networks + trainings
    found["both summed"] = student(np.sqrt(both), both**2 / weight)
    mixed = recipe_variance((first, second), covariance)
    error, df = mixed.error, satterthwaite(mixed)
    squares = sum(s * n * (n - 1) for s, n in zip(spreads, counts, strict=True)) / (sum(counts) - 2)
    pooled = squares * (1 / counts[0] + 1 / counts[1])
    alike = np.maximum(error**2 - trainings, 0) + pooled
    found["mixed, pooled"] = student(np.sqrt(alike), alike**2 / pooled**2 * (sum(counts) - 2))
    found[MIXED] = student(error, df)
    found["mixed, uncapped"] = student(error, error**4 / weight)
    widest = np.maximum(error, np.sqrt(networks))
    found["mixed, never narrower"] = student(widest, widest**4 / weight)
    if counts[0] == counts[1]:
        turned = np.concatenate([np.eye(counts[0]), -np.eye(counts[0])], axis=1)
        by_seed = recipe_variance((first - second,), turned @ covariance @ turned.T)
        found["mixed, by seed"] = student(by_seed.error, satterthwaite(by_seed))
    if rng is not None:
        found |= _crossed(study, shift, rng)
    return found


def satterthwaite(variance: RecipeVariance) -> FloatArray:
    """Satterthwaite's degrees of freedom of the whole error, at most five times those of the trainings."""
    weight = sum(s**2 / df for s, df in zip(variance.spreads, variance.spreads_df, strict=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        guessed = variance.error**4 / weight
    return np.asarray(np.fmin(guessed, MOST_DF * sum(variance.spreads_df)))


def _crossed(study: Study, shift: float, rng: np.random.Generator) -> dict[str, FloatArray]:
    counts = study.first.shape[1], study.second.shape[1]
    drawn, fixed = [], []
    for number, count in enumerate(counts):
        samples = study.samples[:, number * counts[0] : number * counts[0] + count]
        places = rng.integers(count, size=(count, samples.shape[-1]))[None]
        drawn.append(np.take_along_axis(samples, np.broadcast_to(places, samples.shape), axis=1).mean(1))
        fixed.append(samples.mean(1))
    bare = drawn[0] - drawn[1] + shift
    wide = fixed[0] - fixed[1] + shift
    for one, mean, count in zip(drawn, fixed, counts, strict=True):
        wide = wide + (1 if one is drawn[0] else -1) * (one - mean) * np.sqrt(count / (count - 1))
    ends = {"crossed bootstrap": bare, "crossed bootstrap, widened": wide}
    return {
        name: 1.0 - ((low > 0) | (high < 0))
        for name, values in ends.items()
        for low, high in [np.quantile(values, [0.025, 0.975], axis=1)]
    }


def single(cell: Cell, studies: int, rng: np.random.Generator) -> list[dict[str, object]]:
    """How often each method says that two recipes differ that do not, and by one, two and three standard errors."""
    study = simulate(cell, studies, rng)
    error = float((study.first.mean(1) - study.second.mean(1)).std())
    tables = [p_values(study, better * error, rng) for better in range(len(BETTER))]
    shares = {method: [float((p[method] <= 0.05).mean()) for p in tables] for method in tables[0]}
    return [_row(cell, method, share, studies) for method, share in shares.items()]


def single_used(cell: Cell, studies: int, rng: np.random.Generator) -> dict[str, object]:
    """The row of what the package says, of so many studies."""
    study = simulate(cell, studies, rng, with_intervals=True)
    error, answers = float((study.first.mean(1) - study.second.mean(1)).std()), used(study)
    shares = [float((answers.p(better * error) <= 0.05).mean()) for better in range(len(BETTER))]
    return _row(cell, USED, shares, studies)


def family(
    cell: Cell, studies: int, rng: np.random.Generator, *, only_used: bool = False
) -> dict[str, dict[str, FloatArray]]:
    """What each method says of each score of a family after Holm's correction; all of them, or `used` alone.

    Returns:
        Method → what differs ("none", "all" or "the first", by one, two or three standard errors) → (E, size)
        whether it is called different.
    """
    pilot = simulate(cell, 2000, rng)
    error = float((pilot.first.mean(1) - pilot.second.mean(1)).std())
    said: dict[str, dict[str, list[FloatArray]]] = {}
    few = max(1, FEW * FAMILY // cell.size)
    for start in range(0, studies, few):
        study = simulate(cell, min(few, studies - start), rng, cell.size, with_intervals=only_used)
        if only_used:
            answers = used(study)
            tables = [{USED: answers.p(better * error)} for better in range(len(BETTER))]
        else:
            tables = [p_values(study, better * error) for better in range(len(BETTER))]
        for method in tables[0]:
            p = [table[method].reshape(-1, cell.size) for table in tables]
            found = said.setdefault(method, {})
            found.setdefault("none", []).append(_corrected(p[0]))
            for name, one in zip(BETTER[1:], p[1:], strict=True):
                found.setdefault(f"all, {name}", []).append(_corrected(one))
                first = np.concatenate([one[:, :1], p[0][:, 1:]], axis=1)
                found.setdefault(f"the first, {name}", []).append(_corrected(first))
    return {m: {what: np.concatenate(parts) for what, parts in found.items()} for m, found in said.items()}


def _corrected(p: FloatArray) -> FloatArray:
    return np.array([holm(one) for one in p]) <= ALPHA


def family_rows(
    cell: Cell, studies: int, rng: np.random.Generator, *, only_used: bool = False
) -> Iterator[dict[str, object]]:
    """How often any score of a family is called different, how many of those that differ, and one that differs alone.

    Each with its 95 % interval over the studies.
    """
    place = {
        "score": cell.score.name,
        "seeds": _numbers(cell.seeds),
        "trainings": cell.trainings,
        "spread of the second": cell.unequal,
        "alike": cell.alike,
    }
    for method, said in family(cell, studies, rng, only_used=only_used).items():
        counted = {f"any of {cell.size}": [said["none"].any(1), *(said[f"all, {name}"].any(1) for name in BETTER[1:])]}
        if method in {MIXED, USED} and cell.size == FAMILY:  # of the others the tails say it
            counted["of 27 that differ"] = [None, *(said[f"all, {name}"].mean(1) for name in BETTER[1:])]
            counted["the one of 27 that differs"] = [
                None,
                *(said[f"the first, {name}"][:, 0] for name in BETTER[1:]),
            ]
        for what, shares in counted.items():
            row = {**place, "method": method, "counted": what}
            for name, values in zip(BETTER, shares, strict=True):
                row |= _with_interval(name, values)
            yield {**row, "studies": studies}


def _with_interval(name: str, values: FloatArray | None) -> dict[str, str]:
    names = (name, f"{name} from", f"{name} to")
    if values is None:
        return dict.fromkeys(names, "")
    share = mean_over_images(values.astype(np.float64), Bootstrap(range(len(values)), 1), within=(0.0, 1.0)).estimate()
    return dict(zip(names, (f"{x:.3f}" for x in (share.value, share.low, share.high)), strict=True))


def _row(cell: Cell, method: str, shares: Sequence[float], studies: int) -> dict[str, object]:
    return {
        "score": cell.score.name,
        "seeds": _numbers(cell.seeds),
        "trainings": cell.trainings,
        "patients": "suit either recipe" if cell.suits else "as any",
        "seeds shared": cell.shared,
        "spread of the second": cell.unequal,
        "method": method,
        **{name: f"{share:.3f}" for name, share in zip(BETTER, shares, strict=True)},
        "studies": studies,
    }


def _numbers(seeds: tuple[int, int]) -> str:
    return " and ".join(map(str, dict.fromkeys(seeds)))


def cells() -> list[Cell]:
    """The settings: 2, 3, 5 and 10 trainings, three spreads; unequal numbers and spreads; shared seeds."""
    every = [
        Cell(score, (seeds, seeds), trainings, suits)
        for score in SCORES
        for suits in (False, True)
        for trainings in (0.5, 1.0, 2.0)
        for seeds in (2, 3, 5, 10)
    ]
    every += [Cell(score, (3, 3), 0.0, suits=True) for score in SCORES]  # networks held fixed is right here
    every += [Cell(score, (1, 1), 1.0, suits=False) for score in SCORES]
    odd = [Cell(SCORES[0], seeds, 1.0, suits=True) for seeds in ((2, 5), (3, 10))]
    odd += [Cell(SCORES[0], (n, n), 1.0, suits=True, unequal=3.0) for n in (3, 5, 10)]
    odd += [Cell(SCORES[0], (n, n), 1.0, suits=True, shared=0.5) for n in (3, 5, 10)]
    return every + odd


def families() -> list[Cell]:
    """The settings of families: 3, 5 and 10 trainings; scores that are alike in half, and independent ones."""
    scattered = [(SCORES[0], trainings) for trainings in (0.5, 1.0, 2.0)] + [(SCORES[2], 1.0)]
    return [
        Cell(score, (n, n), trainings, suits=True, alike=alike)
        for alike in (0.5, 0.0)
        for score, trainings in scattered
        for n in (3, 5, 10)
    ]


def used_families() -> list[tuple[Cell, int]]:
    """Those and, with the divisor of the studies, families of two trainings, of wide scatter, of 3, 70 and 576."""
    every = [(cell, 8 if cell.score.positives else 1) for cell in families()]
    places = [(27, n, wide) for wide in (0.5, 1.0, 2.0) for n in (2,)]
    places += [(27, n, wide) for wide in (4.0, 8.0) for n in (2, 3, 5, 10)]
    places += [(size, n, wide) for size in (3, 70, 576) for wide in (4.0, 8.0) for n in (2, 3, 5)]
    more = [
        (Cell(SCORES[0], (n, n), wide, suits=True, alike=alike, size=size), 8 if size > 100 else 1)
        for size, n, wide in places
        for alike in ((0.5, 0.0) if size == FAMILY else (0.0,))
    ]
    return every + more + [(cell, 2) for cell in uneven() if cell.seeds not in {(2, 2), (10, 10)}]


def uneven() -> list[Cell]:
    """Recipes that scatter unequally, or are trained unequally often, with trainings that scatter widely."""
    return [
        Cell(SCORES[0], seeds, 8.0, suits=True, unequal=unequal, alike=0.0)
        for seeds in ((2, 2), (3, 3), (5, 5), (10, 10), (2, 5), (3, 10), (2, 10))
        for unequal in ((1.0, 0.3, 0.0) if seeds[0] < seeds[1] else (0.3, 0.0))
    ]


def tails() -> Iterator[dict[str, object]]:
    """Families of normal differences: how often any is called different, and how often each that differs is.

    `ratio` is the variance that the trainings add over that of the patients, which is known. A score is found by the
    first step of Holm's correction. One comparison alone is a family of 1. The package judges by parts.
    """
    for seeds in ((2, 2), (3, 3), (5, 5), (10, 10), (2, 5), (3, 10), (2, 10)):
        uneven = [(0.3, 1.0), (0.0, 1.0)] if seeds[0] < seeds[1] else []
        for spreads in [(1.0, 1.0), (1.0, 0.3), (1.0, 0.0), *uneven]:
            for ratio in (0.3, 1.0, 3.0, 10.0, 30.0, np.inf):
                yield from tails_of(seeds, spreads, ratio)


def tails_of(seeds: tuple[int, int], spreads: tuple[float, float], ratio: float) -> Iterator[dict[str, object]]:
    """The rows of one cell, of each size of a family."""
    patients, trainings = (0.0, 1.0) if np.isinf(ratio) else (1.0, ratio)
    own = [count - 1 for count in seeds]
    added = np.array([spread**2 / count for spread, count in zip(spreads, seeds, strict=True)])
    added *= trainings / added.sum()
    drawn = [square * np.exp(points) for square, points in zip(added, (POINTS[:, None], POINTS[None]), strict=True)]
    density = _density(own[0])[:, None] * _density(own[1])[None]
    error = np.sqrt(patients + trainings)
    place = {"seeds": _numbers(seeds), "spreads": " and ".join(f"{s:g}" for s in spreads), "ratio": ratio}
    for size in SIZES:
        row: dict[str, object] = {"scores": size, **place}
        for rule, bar in _bars(patients, drawn, own, size).items():
            each = [
                float((density * (ndtr(shift - bar / error) + ndtr(-shift - bar / error))).sum())
                for shift in (0, *SHIFTS)
            ]
            row[f"any of equal ones, {rule}"] = f"{1 - (1 - each[0]) ** size:.4f}"
            row |= {f"{s} errors, {rule}": f"{share:.3f}" for s, share in zip(SHIFTS, each[1:], strict=True)}
        yield row


def _density(df: int) -> FloatArray:
    """How much weight each of `POINTS` has: chi-squared over its degrees of freedom, by its logarithm."""
    density = np.exp(df / 2 * (POINTS - np.exp(POINTS)))
    return np.asarray(density / density.sum())


def _bars(patients: float, spreads: Sequence[FloatArray], own: Sequence[int], size: int) -> dict[str, FloatArray]:
    """How large a difference must be to be found among so many, by rule."""
    level = 1 - ALPHA / 2 / size
    trainings = spreads[0] + spreads[1]
    weight = sum(spread**2 / df for spread, df in zip(spreads, own, strict=True))
    guessed = (patients + trainings) ** 2 / weight
    most = {SATTERTHWAITE: MOST_DF * sum(own), LEAST: float(min(own))}
    bars = {rule: stdtrit(np.minimum(guessed, df), level) * np.sqrt(patients + trainings) for rule, df in most.items()}
    by_parts = ndtri(level) ** 2 * patients
    for spread, df in zip(spreads, own, strict=True):
        by_parts = by_parts + stdtrit(df, level) ** 2 * spread
    return bars | {BY_PARTS: np.sqrt(by_parts)}


def anew(studies: int, only: str | None) -> None:
    """The rows of `used` simulated again, behind those of the other methods as they are."""
    if only != "families":
        every = [c for c in cells() if min(c.seeds) > 1] + uneven()
        rows = [single_used(cell, studies, np.random.default_rng(number)) for number, cell in enumerate(every)]
        _put(RESULTS / "recipe_inference.csv", rows)
    if only != "singles":
        rows = []
        for number, (cell, divisor) in enumerate(used_families()):
            rows += family_rows(cell, studies // divisor, np.random.default_rng(1000 + number), only_used=True)
            print(rows[-1], flush=True)
        _put(RESULTS / "recipe_families.csv", rows)


def _put(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        others = [row for row in csv.DictReader(file) if row["method"] != USED]
    write(path, [*({name: row.get(name, "1.0") for name in rows[0]} for row in others), *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=2000, help="of a cell; half as many of a family of AUROCs")
    parser.add_argument("--only", choices=("singles", "families", "tails"))
    parser.add_argument(
        "--used",
        type=int,
        metavar="STUDIES",
        help="only what the package does: so many studies of a cell, an eighth of a family of AUROCs or of 576",
    )
    arguments = parser.parse_args()
    np.seterr(divide="ignore", invalid="ignore")  # two trainings of the same score have no spread
    if arguments.used:
        anew(arguments.used, arguments.only)
        return
    if arguments.only in (None, "tails"):
        write(RESULTS / "recipe_tails.csv", list(tails()))
    if arguments.only in (None, "singles"):
        every = [single(cell, arguments.studies, np.random.default_rng(number)) for number, cell in enumerate(cells())]
        write(RESULTS / "recipe_inference.csv", [row for rows in every for row in rows])
    if arguments.only in (None, "families"):
        rows = []
        for number, cell in enumerate(families()):
            studies = arguments.studies // (2 if cell.score.positives else 1)
            rows += family_rows(cell, studies, np.random.default_rng(1000 + number))
            print(rows[-1], flush=True)
        write(RESULTS / "recipe_families.csv", rows)


if __name__ == "__main__":
    main()
