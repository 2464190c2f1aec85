"""The whole search: halves, candidates, tests, and the description of what passed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.evaluation.discovery.description import describe
from pellucid.evaluation.discovery.marked import can_be_exchanged, marked_suspects, measure_marked
from pellucid.evaluation.discovery.measuring import EXCHANGED, NEUTRALISED, measure_suspect
from pellucid.evaluation.discovery.metadata import metadata_suspects
from pellucid.evaluation.discovery.search import candidates, distinct, test_candidates
from pellucid.evaluation.discovery.windows import BANDS
from pellucid.evaluation.metrics.plain import auroc
from pellucid.utils.progress import progress_context

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pellucid.evaluation.discovery.samples import Samples
    from pellucid.evaluation.discovery.settings import DiscoverySettings
    from pellucid.evaluation.discovery.suspect import Suspect
    from pellucid.models.classifier import AnyClassifier
    from pellucid.utils.results_store import ResultsStore

AT_CHANCE = 0.55
"""AUROC up to which a class's answers are taken for chance."""


def answerable(samples: Samples, settings: DiscoverySettings) -> tuple[list[int], dict[str, str]]:
    """The classes that something can be said of, and why nothing can be said of the others."""
    columns: list[int] = []
    unanswered: dict[str, str] = {}
    for column, name in enumerate(samples.classes):
        labels = samples.labels[:, column]
        counts = {"with": int((labels == 1).sum()), "without": int((labels == 0).sum())}
        few = [(kind, count) for kind, count in counts.items() if count < settings.fewest]
        area = auroc(samples.odds[:, column], labels) if not few else 0.0
        if few:
            kind, count = few[0]
            unanswered[name] = f"{count} images {kind} it, and {settings.fewest} are needed for a claim"
        elif area <= AT_CHANCE:
            unanswered[name] = f"the model is at chance (AUROC {area:.2f}), so there is nothing it goes by"
        elif samples.task == "multiclass" and len(samples.classes) == 2 and columns:
            continue  # its answer is the other's, with its sign changed
        else:
            columns.append(column)
    return columns, unanswered


def find_suspects(
    model: AnyClassifier,
    samples: Samples,
    columns: Sequence[int],
    thresholds: Sequence[float],
    settings: DiscoverySettings,
    store: ResultsStore,
    key: Callable[[str], str],
    batch_size: int,
) -> tuple[list[Suspect], dict[str, int]]:
    """The suspects, numbered: those that nobody marked, by their cost, and after them what people marked.

    Args:
        model: the classifier.
        samples: the images.
        columns: the classes that are searched for.
        thresholds: of each class, the probability from which on it is predicted.
        settings: how much is spent.
        store: where what was measured is kept.
        key: the name under which a part of the search is kept.
        batch_size: images at a time.

    Returns:
        The suspects; and `forward_passes`, `candidates` and `tested`.
    """
    first, second = samples.halves(settings.seed)
    classes = np.array(columns, np.int64)
    common: tuple[Any, ...] = (settings, store, key, batch_size)
    donors = min(settings.screened, len(first))
    with progress_context("look for suspects", donors * ((settings.cells - 1) ** 2 + len(BANDS))):
        every, spent = candidates(model, samples, first, classes, *common)
    exchanges = len({id(exchange) for one in every for exchange in one.exchanges})
    with progress_context("test them", min(settings.tested, len(second)) * exchanges):
        tested = test_candidates(model, samples, second, every, *common)
    passes = spent["forward_passes"] + len(tested[0].donors) * exchanges
    picked = distinct(tested, samples, settings)[: settings.most]
    each = 2 * EXCHANGED + NEUTRALISED
    of_images = [len(samples) * len(one.candidate.exchanges) for one in picked]
    arrays: list[Any] = []
    marked_columns = [k for k in columns if can_be_exchanged(samples, k)]
    total = sum(of_images) + each * len(picked) + 2 * EXCHANGED * len(marked_columns)
    with progress_context("measure them", total):
        for number, one in enumerate(picked):
            own_seed = settings.seed + 10 + number

            def measure(one: Any = one, own_seed: int = own_seed) -> Any:  # noqa: ANN401
                return measure_suspect(model, samples, one.candidate, second, own_seed, batch_size)

            arrays.append(store.measured(key(f"suspect-{number}"), measure))
        marked: dict[int, Any] = {}
        for column in marked_columns:

            def exchange(column: int = column) -> Any:  # noqa: ANN401
                return measure_marked(model, samples, column, settings.seed + 5, batch_size)

            marked[column] = store.measured(key(f"marked-{column}"), exchange)
    passes += sum(of_images) + sum(len(a[n]) for a in arrays for n in ("taken", "put", "neutral"))
    passes += sum(len(a["taken"]) + len(a["put"]) for a in marked.values())
    suspects = [describe(samples, one, of, 0, thresholds) for one, of in zip(picked, arrays, strict=True)]
    of_columns, columns_tested = metadata_suspects(samples, first, second, classes, settings)
    suspects = sorted([*suspects, *of_columns], key=lambda one: -np.nan_to_num(one.cost))
    suspects += marked_suspects(samples, marked)
    numbered = [replace(one, number=number) for number, one in enumerate(suspects, 1)]
    return numbered, {
        "forward_passes": passes,
        "candidates": spent["windows"] * len(columns) + len(every),
        "tested": len(every) + columns_tested,
    }
