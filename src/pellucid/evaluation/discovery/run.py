"""The whole search: halves, candidates, tests, and the description of what passed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast
from zlib import crc32

import numpy as np
from torch import nn

from pellucid.evaluation.discovery.content.windows import BANDS
from pellucid.evaluation.discovery.description import describe
from pellucid.evaluation.discovery.marked import can_be_exchanged, marked_suspects, measure_marked
from pellucid.evaluation.discovery.measuring import EXCHANGED, NEUTRALISED, measure_suspect
from pellucid.evaluation.discovery.mediation import by_features
from pellucid.evaluation.discovery.metadata import FAMILIES, metadata_suspects
from pellucid.evaluation.discovery.search import Search, candidates, distinct, test_exchanges
from pellucid.evaluation.metrics.plain import auroc
from pellucid.utils.progress import progress_context

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from pellucid.evaluation.discovery.samples import Samples
    from pellucid.evaluation.discovery.settings import DiscoverySettings
    from pellucid.evaluation.discovery.suspect import Suspect
    from pellucid.models.classifier import AnyClassifier
    from pellucid.utils.results_store import ResultsStore

AT_CHANCE = 0.55
"""AUROC up to which a class's answers are taken for chance."""


class InOrder(nn.Module):
    """A network whose classes come in another order.

    Args:
        network: images → logits (N, K).
        order: of its classes: K columns.
    """

    def __init__(self, network: nn.Module, order: Sequence[int]) -> None:
        super().__init__()
        self.network, self.order = network, list(order)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) in the new order."""
        logits: Tensor = self.network(images)[:, self.order]
        return logits

    @classmethod
    def of(cls, model: AnyClassifier, classes: Sequence[str]) -> AnyClassifier:
        """The network with its classes as named; itself where that is how it has them."""
        order = [model.classes.index(name) for name in classes]
        return model if order == list(range(len(order))) else cast("AnyClassifier", cls(model, order))


def two_classes(samples: Samples) -> Samples:
    """Where each image has one of two classes: the class that is searched for last, and every mark as one of it.

    The answer for one class is that for the other with its sign changed, so one of them is searched for: the one that
    is marked, where just one is, and else the second, as everywhere in Pellucid. What is marked for the other class is
    a place where something was marked, too. Samples of any other task are given back.
    """
    if not is_of_two(samples):
        return samples
    marks = samples.marks
    order = [1, 0] if set(marks.columns) == {0} else [0, 1]
    return replace(
        samples,
        labels=samples.labels[:, order],
        odds=samples.odds[:, order],
        classes=tuple(samples.classes[k] for k in order),
        marks=replace(marks, columns=np.ones_like(marks.columns)),
    )


def is_of_two(samples: Samples) -> bool:
    """Whether each image has one of two classes."""
    return samples.task == "multiclass" and len(samples.classes) == 2


def answerable(samples: Samples, settings: DiscoverySettings) -> tuple[list[int], dict[str, str]]:
    """The classes that something can be said of, and why nothing can be said of the others.

    Of two classes of which each image has one that is the second at most; see `two_classes`.
    """
    columns: list[int] = []
    unanswered: dict[str, str] = {}
    for column, name in list(enumerate(samples.classes))[1 if is_of_two(samples) else 0 :]:
        labels = samples.labels[:, column]
        counts = {"with": int((labels == 1).sum()), "without": int((labels == 0).sum())}
        few = [(kind, count) for kind, count in counts.items() if count < settings.fewest]
        area = auroc(samples.odds[:, column], labels) if not few else 0.0
        if few:
            kind, count = few[0]
            unanswered[name] = f"{count} images {kind} it, and {settings.fewest} are needed for a claim"
        elif area <= AT_CHANCE:
            unanswered[name] = _not_told(area)
        else:
            columns.append(column)
    return columns, unanswered


def _not_told(area: float) -> str:
    """Why nothing is looked for in answers of this AUROC."""
    if area < 1 - AT_CHANCE:
        return (
            f"the model is below chance (AUROC {area:.2f}): are its classes in another order, or names of the data "
            "mapped to the wrong ones?"
        )
    return f"the model is at chance (AUROC {area:.2f}), so there is nothing it goes by"


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
    """The suspects, numbered: those that nobody marked, by their share, and after them what people marked.

    Among the first those come last that the intervention did not confirm.

    Args:
        model: the classifier.
        samples: the images, of two classes as `two_classes` gives them.
        columns: the classes that are searched for.
        thresholds: of each of the model's classes, the probability from which on it is predicted.
        settings: how much is spent.
        store: where what was measured is kept.
        key: the name under which a part of the search is kept.
        batch_size: images at a time.

    Returns:
        The suspects; and `forward_passes`, `candidates` and `tested`.
    """
    first, second = samples.halves(settings.seed)
    network = InOrder.of(model, samples.classes)
    limits = [thresholds[model.classes.index(name)] for name in samples.classes]
    classes = np.array(columns, np.int64)
    search = Search(network, samples, settings, store, key, batch_size)
    donors = min(settings.screened, len(first))
    with progress_context("look for suspects", donors * ((settings.cells - 1) ** 2 + len(BANDS))):
        every, spent = candidates(search, first, classes)
    # columns have the other half of alpha
    level = replace(settings, alpha=settings.alpha / FAMILIES) if samples.columns else settings
    search = replace(search, settings=level)
    # each way has half of the level
    tested, of_tests = test_exchanges(search, second, every)
    tested = [replace(one, p_corrected=min(1.0, 2 * one.p_corrected)) for one in tested]
    carried, of_features = by_features(search, classes)
    tested += carried
    if samples.columns:
        tested = [replace(one, p_corrected=min(1.0, FAMILIES * one.p_corrected)) for one in tested]
    picked = distinct(tested, samples, settings)[: settings.most]
    passes = spent["forward_passes"] + of_tests + of_features
    each = 2 * EXCHANGED + NEUTRALISED
    of_images = [len(samples) * len(one.candidate.exchanges) if one.carrier is None else 0 for one in picked]
    arrays: list[Any] = []
    marked_columns = [k for k in columns if can_be_exchanged(samples, k)]
    total = sum(of_images) + each * len(picked) + 2 * EXCHANGED * len(marked_columns)
    with progress_context("measure them", total):
        for number, one in enumerate(picked):
            own_seed = settings.seed + 10 + number

            # by a feature it was tested on all images
            rows = second if one.carrier is None else np.arange(len(samples))

            def measure(one: Any = one, own_seed: int = own_seed, rows: Any = rows) -> Any:  # noqa: ANN401
                return measure_suspect(network, samples, one, rows, own_seed, batch_size)

            # with and without metadata the same number may be another one
            which = crc32(one.worth.tobytes(), crc32(f"{one.candidate.column}/{one.candidate.name}".encode()))
            arrays.append(store.measured(key(f"suspect-{number}-{which}"), measure))
        marked: dict[int, Any] = {}
        for column in marked_columns:

            def exchange(column: int = column) -> Any:  # noqa: ANN401
                return measure_marked(network, samples, column, settings.seed + 5, batch_size)

            marked[column] = store.measured(key(f"marked-{column}"), exchange)
    passes += sum(of_images) + sum(len(a[n]) for a in arrays for n in ("taken", "put", "neutral"))
    passes += sum(len(a["taken"]) + len(a["put"]) for a in marked.values())
    suspects = [describe(samples, one, of, 0, limits) for one, of in zip(picked, arrays, strict=True)]
    of_columns, columns_tested = metadata_suspects(samples, first, second, classes, settings, limits)
    suspects = sorted([*suspects, *of_columns], key=lambda one: (one.confirmed is False, -np.nan_to_num(one.share)))
    suspects += marked_suspects(samples, marked)
    numbered = [replace(one, number=number) for number, one in enumerate(suspects, 1)]
    return numbered, {
        "forward_passes": passes,
        "candidates": spent["windows"] * len(columns) + len(every),
        "tested": len(tested) + columns_tested,
    }
