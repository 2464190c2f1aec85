"""For whom? The figures of each group of images, as of a sex or an age, and how they differ from those of the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.audit.classification import balanced_of_labels
from pellucid.evaluation.metrics.calibration import brier_score, reliability_of
from pellucid.evaluation.metrics.classification import auroc, average_precision
from pellucid.evaluation.metrics.differences import paired_difference
from pellucid.evaluation.metrics.operating_points import Use, operating_points
from pellucid.evaluation.metrics.paired_tests import holm
from pellucid.evaluation.metrics.statistics import Bootstrap, Replicates, join_reasons, ratio
from pellucid.evaluation.metrics.validation import one_hot
from pellucid.models.inference import check_answers
from pellucid.report.tables.results_index import MEAN
from pellucid.types import InputError
from pellucid.utils.resources import finite, nearest
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pellucid.audit.classification import Answers

    Rows = npt.NDArray[np.int64]

TESTED = ("auroc", "accuracy", "sensitivity", "specificity")
"""Figures by which groups are compared."""
DESCRIBED = ("balanced_accuracy", "average_precision", "calibration_error", "overconfidence", "brier")
"""Figures of each group that are not tested.

Average precision and Brier score also follow how common the classes are in a group, the calibration error how many
images it has; overconfidence is an error above 0 and below it; balanced accuracy is made of figures that are tested.
"""
OF_CLASSES = ("auroc", "sensitivity", "specificity", "balanced_accuracy", "average_precision")
OF_EACH = tuple(name for name in TESTED if name in OF_CLASSES)
"""Also given, and tested, for each class: a mean over classes hides what is lost in one and won in another."""
FEWEST = 20
"""Images of a group, and of the rest, from which on they have figures."""
FEWEST_OF_EACH = 10
"""Images with a class, and without it, in the group and in the rest, from which on the class counts there."""
MOST_GROUPS = 20
"""Different texts in a column, at most: a column of more, as of names or dates, makes no groups."""
FEW_NUMBERS = 6
"""Different numbers in a column up to which each is a group; of more they are put into bands."""
AGES = (18.0, 40.0, 60.0, 80.0)
"""The bands of a column that is called `age`, in years."""
RESAMPLES = 500


@dataclass(frozen=True, eq=False)
class Grouping:
    """The groups that a column makes.

    Attributes:
        column: its name.
        names: of the groups, in order.
        members: (N,), the number of each image's group; -1 where the column says nothing of it.
        bands: of numbers, where the bands begin.
    """

    column: str
    names: tuple[str, ...]
    members: Rows
    bands: tuple[float, ...] = ()


def make_groupings(
    columns: Mapping[str, Sequence[str]], edges_of: Mapping[str, Sequence[float]] | None = None
) -> tuple[list[Grouping], dict[str, str]]:
    """The groups of images by each column, and why some columns make none.

    Numbers are put into bands: into those of `edges_of`, an age into those of `AGES`, all others into three with about
    as many images each.

    Args:
        columns: of each a text per image, empty where it is not known.
        edges_of: the columns to take, each with where its bands begin, or nothing where these are to be found; all
            columns by default.

    Raises:
        InputError: a column of `edges_of` that is not there; bands of a column that holds other things than numbers.

    Example:
        >>> (sex,), _ = make_groupings({"sex": ["F", "M", "", "F"]})
        >>> sex.names, sex.members.tolist()
        (('F', 'M'), [0, 1, -1, 0])
        >>> (age,), _ = make_groupings({"age": ["30", "50", "70"]}, {"age": [40, 60]})
        >>> age.names
        ('below 40', '40 to below 60', '60 and above')
    """
    for name in edges_of or {}:
        if name not in columns:
            raise InputError(f"no column {name!r} says anything of the images. {nearest(name, columns)}")
    groupings, left_out = [], {}
    for name in columns if edges_of is None else edges_of:
        edges = tuple((edges_of or {}).get(name, ()))
        grouping = _grouping(name, [str(text).strip() for text in columns[name]], edges)
        if isinstance(grouping, str):
            left_out[name] = grouping
        else:
            groupings.append(grouping)
    return groupings, left_out


def _grouping(name: str, texts: Sequence[str], edges: tuple[float, ...]) -> Grouping | str:
    numbers = [_number(text) for text in texts]
    numeric = all(math.isfinite(n) for n, text in zip(numbers, texts, strict=True) if text)
    different = sorted({text for text in texts if text})
    if len(different) < 2:
        return "it says the same of all images"
    if edges and not numeric:
        odd = next(text for n, text in zip(numbers, texts, strict=True) if text and not math.isfinite(n))
        raise InputError(f"bands are given for {name}, which holds {odd!r}: they are for columns of numbers.")
    if numeric and (edges or len({n for n in numbers if math.isfinite(n)}) > FEW_NUMBERS):
        values = np.array(numbers)
        bands = edges or (AGES if name.lower() == "age" else _terciles(values[np.isfinite(values)]))
        members = np.where(np.isfinite(values), np.searchsorted(bands, values, side="right"), -1)
        return Grouping(name, _band_names(bands), members.astype(np.int64), bands)
    if len(different) > MOST_GROUPS:
        return f"it holds {len(different):,} different texts; more than {MOST_GROUPS} make no groups"
    order = sorted(different, key=lambda text: (_number(text), text)) if numeric else different
    place = {text: number for number, text in enumerate(order)}
    return Grouping(name, tuple(order), np.array([place.get(text, -1) for text in texts], dtype=np.int64))


def group_figures(
    answers: Answers, groupings: Sequence[Grouping], seed: int = 0, use: Use | None = None
) -> dict[str, Any]:
    """Each group's figures, their difference from those of the rest of the images, and p values corrected after Holm.

    The figures `OF_CLASSES` are means over the classes of which group and rest have enough images, and those `OF_EACH`
    are there for each of these classes, too; the difference compares the same classes. Of two exclusive classes the
    mean sensitivity, the mean specificity and the balanced accuracy would be one figure, so that sensitivity and
    specificity are those of one class: the one that `use` says costs are of, or else the second. Those that are
    `DESCRIBED` have no difference and no p value. The rest are the images of the other groups of the column. An error
    and its p value come from the bootstrap over patients, who may have images in both.

    Args:
        answers: of N images.
        groupings: of these.
        seed: of the bootstrap.
        use: where the model is to be used.

    Returns:
        `columns`, `rows` (one for each column, group and metric, with the `class` that it is of, "mean" over classes),
        `class_rows` (of each class, as well), `class`, of which sensitivity and specificity are (None over classes),
        `tested`, the metrics that are, and `tests`, how many p values are corrected together.
    """
    check_answers(answers.logits, "its figures in groups are undefined", answers.dataset.ids)
    draws = Bootstrap(answers.dataset.patients, RESAMPLES, seed)
    classes, exclusive = answers.dataset.classes, answers.dataset.task == "multiclass"
    named = (Use() if use is None else use).tied_to(classes, exclusive=exclusive)
    rows, class_rows = list[dict[str, Any]](), list[dict[str, Any]]()
    for grouping in groupings:
        for number, name in enumerate(grouping.names):
            inside = np.flatnonzero(grouping.members == number)
            if len(inside) == 0:  # a band that nobody is in
                continue
            others = np.flatnonzero((grouping.members >= 0) & (grouping.members != number))
            place = {"column": grouping.column, "group": name, "images": len(inside)}
            over, of_each = _compare(answers, inside, others, draws, named)
            rows += [place | figure for figure in over]
            class_rows += [place | figure for figure in of_each]
    # of two groups the one is the rest of the other: one test
    tests: dict[tuple[str, str, str, str], float] = {}
    sizes = {g.column: len(np.unique(g.members[g.members >= 0])) for g in groupings}  # a band may be empty
    for row in (*rows, *class_rows):
        key = (row["column"], row["group"] if sizes[row["column"]] > 2 else "", row["metric"], row["class"])
        tests.setdefault(key, row["p"])
        row["test"] = key
    corrected = dict(zip(tests, holm(list(tests.values())), strict=True))
    for row in (*rows, *class_rows):
        row["p_corrected"] = corrected[row.pop("test")]
    columns = [{"name": g.column, "groups": list(g.names), "bands": list(g.bands)} for g in groupings]
    count = sum(not math.isnan(p) for p in tests.values())
    figures = {"columns": columns, "rows": rows, "class_rows": class_rows, "class": named}
    plain: dict[str, Any] = finite({**figures, "tested": list(TESTED), "tests": count})
    return plain


def _compare(
    answers: Answers, inside: Rows, others: Rows, draws: Bootstrap, named: str | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The figures of a group, those of the rest, and the differences that are tested: over classes, and of each."""
    classes = answers.dataset.classes
    few = [(rows, whose) for rows, whose in ((inside, "this group"), (others, "the rest")) if len(rows) < FEWEST]
    if few:
        rows, whose = few[0]
        reason = f"{whose} has {number_of(len(rows), 'image(s)')}, and {FEWEST} are needed"
        figure_names = [{"metric": metric, "class": _whose(metric, named)} for metric in (*TESTED, *DESCRIBED)]
        return [_undefined(one, len(inside), reason) for one in figure_names], []
    truth = one_hot(answers.dataset).astype(np.float64)
    counts = [[int((truth[rows, k] == value).sum()) for rows in (inside, others) for value in (0, 1)]
              for k in range(truth.shape[1])]  # fmt: skip
    usable = [k for k, of_class in enumerate(counts) if min(of_class) >= FEWEST_OF_EACH]
    note = f"{len(usable)} of {len(counts)} classes; of the others there are too few images"
    if not usable:
        note = f"no class has {FEWEST_OF_EACH} images with it and {FEWEST_OF_EACH} without in the group and the rest"
    records = list[dict[str, Any]]()
    figures = [_figures(answers, rows, usable, truth, draws, named) for rows in (inside, others)]
    for metric, number in figures[0]:
        own, rest = (of[metric, number] for of in figures)
        over = classes[usable[0]] if len(usable) == 1 and metric in OF_CLASSES else _whose(metric, named)
        which = {"metric": metric, "class": over if number is None else classes[number]}
        if own is None or rest is None:
            records.append(_undefined(which, len(inside), note))
            continue
        is_partial = number is None and metric in OF_CLASSES and len(usable) < len(counts)
        estimate = own.estimate()
        why = join_reasons(estimate.reason, note if is_partial else None)
        records.append(
            {
                **which,
                **estimate.to_json(),
                "reason": why,
                "rest": rest.estimate().to_json(),
                **(difference_test(own, rest) if metric in TESTED else _UNTESTED),
            }
        )
    count = len(TESTED) + len(DESCRIBED)
    return records[:count], records[count:]


def _whose(metric: str, named: str | None) -> str:
    """The class that a figure over all classes is of."""
    return named if named is not None and metric in ("sensitivity", "specificity") else MEAN


def _figures(
    answers: Answers,
    rows: Rows,
    usable: Sequence[int],
    truth: npt.NDArray[np.float64],
    draws: Bootstrap,
    named: str | None,
) -> dict[tuple[str, int | None], Replicates | None]:
    """Of some images, by metric and class number, which is None over all classes; None where no class has enough."""
    part, labels, decided = draws.take(rows), truth[rows], answers.decided[rows]
    if answers.dataset.task == "multiclass":
        right, count = (decided * labels).sum(1), np.ones(len(rows))
    else:
        is_known = ~np.isnan(labels) & ~np.isnan(decided)
        right, count = ((decided == labels) & is_known).sum(1).astype(np.float64), is_known.sum(1).astype(np.float64)
    scores, targets = answers.probabilities[rows], answers.dataset.targets[rows]
    nothing = Replicates.undefined("no known label", len(rows), part)
    calibrated = reliability_of(scores, targets, part) if count.any() else None
    figures: dict[str, Replicates | None] = {
        **dict.fromkeys(OF_CLASSES),
        "accuracy": ratio(right, count, part, within=(0, 1)),
        "calibration_error": nothing if calibrated is None else calibrated.error,
        "overconfidence": nothing if calibrated is None else calibrated.overconfidence,
        "brier": brier_score(scores, targets, part),
    }
    single = dict[tuple[str, int | None], Replicates | None]()
    if usable:
        of_each = {
            metric: [measure(scores[:, k], labels[:, k], part) for k in usable]
            for metric, measure in (("auroc", auroc), ("average_precision", average_precision))
        }
        pairs = operating_points(decided[:, list(usable)], labels[:, list(usable)], part)
        of_each |= dict(zip(("sensitivity", "specificity"), pairs, strict=True))
        means = {metric: Replicates.mean(of, of="classes") for metric, of in of_each.items()}
        several = balanced_of_labels(*pairs, labels[:, list(usable)]) if targets.ndim == 2 else means["sensitivity"]
        figures |= means | {"balanced_accuracy": several}
        if named is not None:  # of two exclusive classes all three means are one figure
            number = usable.index(answers.dataset.classes.index(named))
            figures |= {metric: of_each[metric][number] for metric in ("sensitivity", "specificity")}
        elif len(usable) > 1:
            single = {(metric, k): of for metric in OF_EACH for k, of in zip(usable, of_each[metric], strict=True)}
    return {(metric, None): figures[metric] for metric in (*TESTED, *DESCRIBED)} | single


def difference_test(own: Replicates, other: Replicates) -> dict[str, Any]:
    """The difference of two figures with its interval, over other patients, and its p value.

    Where it is the same in all resamples, as where nothing changed, there is nothing to test, and no p value.
    """
    networks = paired_difference([own], [other]).networks
    return {
        "difference": {"value": networks.value, "low": networks.low, "high": networks.high},
        "p": networks.p if networks.is_known else math.nan,
    }


_NOTHING = {"value": math.nan, "low": math.nan, "high": math.nan}
_UNTESTED: dict[str, Any] = {"difference": _NOTHING, "p": math.nan}


def _undefined(which: Mapping[str, str], n: int, reason: str) -> dict[str, Any]:
    return {
        **which, **_NOTHING, "n": n, "reason": reason, "positives": None, "patients": None,
        "rest": {**_NOTHING, "n": 0, "reason": reason}, **_UNTESTED,
    }  # fmt: skip


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _terciles(values: npt.NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(dict.fromkeys(float(v) for v in np.quantile(values, [1 / 3, 2 / 3])))


def _band_names(edges: Sequence[float]) -> tuple[str, ...]:
    between = [f"{low:g} to below {high:g}" for low, high in pairwise(edges)]
    return (f"below {edges[0]:g}", *between, f"{edges[-1]:g} and above")


def parse_groups(texts: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Columns as they are given on the command line, with where their bands begin.

    Raises:
        InputError: bands that are no ascending numbers.

    Example:
        >>> parse_groups(["sex", "age=40,60"])
        {'sex': (), 'age': (40.0, 60.0)}
    """
    edges_of: dict[str, tuple[float, ...]] = {}
    for text in texts:
        name, _, numbers = text.partition("=")
        edges = tuple(_number(part) for part in numbers.split(",")) if numbers else ()
        if not all(math.isfinite(e) for e in edges) or list(edges) != sorted(set(edges)):
            raise InputError(f"--group COLUMN=EDGES takes ascending numbers, as age=40,60; found {text!r}.")
        edges_of[name.strip()] = edges
    return edges_of
