"""Judging explanations: every measure of trust on one method, or on the network itself, image by image."""

from __future__ import annotations

import time
from functools import reduce
from typing import TYPE_CHECKING

from pellucid.evaluation.certified_maps.certificate import MapSmoothing
from pellucid.evaluation.trust.faithfulness import cell_numbers
from pellucid.evaluation.trust.findings import Findings, TrustSettings
from pellucid.evaluation.trust.infidelity import SAMPLES, SharedAnswers
from pellucid.evaluation.trust.map_measures import MAP_MEASURES, TRIVIAL_MEASURES, MethodAtWork, certainty
from pellucid.evaluation.trust.maps import Mapper
from pellucid.evaluation.trust.network_measures import NETWORK_MEASURES, ORDERS
from pellucid.evaluation.trust.randomization import cascade_depths, layers_from_the_head
from pellucid.evaluation.trust.yardsticks import DRAWS, TRIVIAL_MAPS
from pellucid.utils.progress import step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import nn

    from pellucid.evaluation.trust.samples import TrustSamples

CURVE_ENDS = 3
"""Images at which curves start or end: as it is, its mean colour, and its blur."""
CERTIFYING = MapSmoothing.selection + MapSmoothing.samples
"""Maps of each image whose explanation is certified."""


def budget(classifier: nn.Module, samples: TrustSamples, settings: TrustSettings, others: int = 0) -> dict[str, int]:
    """What judging one method takes, and the trivial maps once, before any work: explanations and forward passes.

    A method's map, the mean map of other images, and two maps of its own spectrum are held against the answers; of the
    trivial maps that serve all methods, the centred one, the edges, and two random orders. What removing squares does,
    and the answers where every curve starts and ends, are measured once for all of them.

    An explanation costs what the method costs: nothing but one forward pass for CAM, a gradient evaluation for
    saliency, hundreds for others.
    """
    count, size = len(samples.images), samples.images.shape[2:]
    depths = len(cascade_depths(len(layers_from_the_head(classifier, samples.images[:1]))))
    between = min(settings.curve_steps, int(cell_numbers(*size).max()) + 1) - 1
    extra = sum(
        len(part)
        for part in (
            () if isinstance(samples.localization, str) else samples.localization.pair_image,
            () if isinstance(samples.mosaics, str) else samples.mosaics.rows,
            () if isinstance(samples.shortcut, str) else samples.shortcut.images,
        )
    )
    return {
        "explanations_per_method": count * (1 + depths + settings.samples + others)
        + min(count, settings.certified) * CERTIFYING
        + extra,
        "forward_passes_per_method": count * 2 * between * (2 + DRAWS),
        "forward_passes_of_trivial_maps": count
        * (2 * between * (len(TRIVIAL_MAPS) + ORDERS) + CURVE_ENDS + SAMPLES + 1),
    }


def steps_of_network(images: int) -> int:
    """What `judge_network` reports as progress, for so many images."""
    return 2 * (ORDERS + len(TRIVIAL_MAPS)) * images


def steps_of_method(planned: Mapping[str, int], images: int) -> int:
    """What `judge_method` reports as progress: explanations, and the curves of its maps and of its own yardsticks.

    The first explanation of an image is drawn without a step, which the infidelity takes.
    """
    return planned["explanations_per_method"] + 2 * (1 + 1 + DRAWS) * images


def judge_network(
    classifier: nn.Module,
    samples: TrustSamples,
    settings: TrustSettings | None = None,
    *,
    shared: SharedAnswers | None = None,
) -> Findings:
    """What no explanation takes part in: alignment, what the answer hangs on, and the trivial maps as yardsticks.

    Args:
        classifier: what is judged; left as it was.
        samples: what it is judged on.
        settings: how much is spent.
        shared: the classifier's answers on the samples' images with parts gone; None to measure them here.

    A yardstick that fails is left out and said to have failed.
    """
    settings, started = settings or TrustSettings(), time.monotonic()
    shared = shared or SharedAnswers(classifier, samples.images, samples.targets, settings.seed)
    parts = [measure(shared, samples, settings) for measure in NETWORK_MEASURES]
    for name, draw in TRIVIAL_MAPS.items():
        mapper = Mapper(name, draw, batch_size=settings.batch_size)
        with step(2 * len(samples.images)):
            work = MethodAtWork(mapper, classifier, samples, settings, shared, is_trivial=True)
            measured = reduce(Findings.joined, _measured(work, TRIVIAL_MEASURES))
        parts.append(Findings("", {}, {}, {}, yardsticks={name: measured.values}, failed=measured.failed))
    cost = {"gradient_evaluations": len(samples.images), "seconds": time.monotonic() - started}
    return reduce(Findings.joined, parts).joined(Findings("", {}, {}, {}, cost=cost))


def judge_method(
    mapper: Mapper,
    classifier: nn.Module,
    samples: TrustSamples,
    settings: TrustSettings | None = None,
    *,
    others: Mapping[str, nn.Module] | None = None,
    shared: SharedAnswers | None = None,
) -> Findings:
    """Every measure on one method's maps.

    Args:
        mapper: what explains.
        classifier: what is explained; left as it was.
        samples: what it is explained on.
        settings: how much is spent.
        others: networks of the same classes, whose maps are compared.
        shared: the classifier's answers on the samples' images with parts gone; None to measure them here.

    A measure that fails says why in the place of its figures, and the others go on; so do all of a method that the
    network cannot serve.
    """
    settings, started = settings or TrustSettings(), time.monotonic()
    shared = shared or SharedAnswers(classifier, samples.images, samples.targets, settings.seed)
    measures = [one for one in MAP_MEASURES if settings.certified or one[0] is not certainty]  # not asked for, no row
    try:
        work = MethodAtWork(mapper, classifier, samples, settings, shared, others or {})
    except Exception as error:  # whatever it is, it must not take the other methods' figures with it
        parts = [Findings.of_failure(mapper.name, names, error) for _, names in measures]
    else:
        parts = _measured(work, measures)
    cost = {
        "gradient_evaluations": mapper.gradient_evaluations,
        "forward_passes": mapper.forward_passes,
        "explained": mapper.explained,
        "seconds": time.monotonic() - started,
    }
    return reduce(Findings.joined, parts).joined(Findings(mapper.name, {}, {}, {}, cost=cost))


def _measured(
    work: MethodAtWork, measures: Sequence[tuple[Callable[[MethodAtWork], Findings], tuple[str, ...]]]
) -> list[Findings]:
    """What each measure found, or why it failed."""
    parts = []
    for measure, names in measures:
        try:
            parts.append(measure(work))
        except Exception as error:
            parts.append(Findings.of_failure(work.mapper.name, names, error))
    return parts
