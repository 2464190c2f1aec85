"""Judging explanations: every measure of trust on one method, or on the network itself, image by image."""

from __future__ import annotations

import time
from functools import reduce
from typing import TYPE_CHECKING

from pellucid.evaluation.trust.faithfulness import STEPS, cell_numbers
from pellucid.evaluation.trust.findings import Findings, TrustSettings
from pellucid.evaluation.trust.infidelity import SAMPLES
from pellucid.evaluation.trust.map_measures import MAP_MEASURES, MethodAtWork
from pellucid.evaluation.trust.network_measures import NETWORK_MEASURES, ORDERS
from pellucid.evaluation.trust.randomization import cascade_depths, layers_from_the_head

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from pellucid.evaluation.trust.maps import Mapper
    from pellucid.evaluation.trust.samples import TrustSamples


def budget(classifier: nn.Module, samples: TrustSamples, settings: TrustSettings, others: int = 0) -> dict[str, int]:
    """What judging one method takes, and the random orders once, before any work: explanations and forward passes.

    An explanation costs what the method costs: nothing but one forward pass for CAM, a gradient evaluation for
    saliency, hundreds for others.
    """
    count, size = len(samples.images), samples.images.shape[2:]
    depths = len(cascade_depths(len(layers_from_the_head(classifier, samples.images[:1]))))
    steps = min(STEPS, int(cell_numbers(*size).max()) + 1) + 1
    extra = sum(
        len(part)
        for part in (
            () if isinstance(samples.place, str) else samples.place.pair_image,
            () if isinstance(samples.mosaics, str) else samples.mosaics.rows,
            () if isinstance(samples.shortcut, str) else samples.shortcut.images,
        )
    )
    return {
        "explanations_per_method": count * (1 + depths + 1 + 1 + settings.samples + others) + extra,
        "forward_passes_per_method": count * (2 * steps + SAMPLES + 1),
        "forward_passes_of_random_orders": count * 2 * ORDERS * steps,
    }


def check_method(mapper: Mapper, classifier: nn.Module, samples: TrustSamples) -> None:
    """Explain one image, so that a method that the network cannot serve is refused before any work.

    Raises:
        InputError: what the method says.
    """
    mapper(classifier, samples.images[:1], samples.targets[:1])
    mapper.explained = mapper.gradient_evaluations = mapper.forward_passes = 0


def judge_network(
    classifier: nn.Module,
    samples: TrustSamples,
    settings: TrustSettings | None = None,
) -> Findings:
    """What no explanation takes part in: alignment, random orders as a yardstick, what the answer hangs on."""
    settings, started = settings or TrustSettings(), time.monotonic()
    parts = [measure(classifier, samples, settings) for measure in NETWORK_MEASURES]
    cost = {"gradient_evaluations": len(samples.images), "seconds": time.monotonic() - started}
    return reduce(Findings.joined, parts).joined(Findings("", {}, {}, {}, cost=cost))


def judge_method(
    mapper: Mapper,
    classifier: nn.Module,
    samples: TrustSamples,
    settings: TrustSettings | None = None,
    *,
    others: Mapping[str, nn.Module] | None = None,
) -> Findings:
    """Every measure on one method's maps.

    Args:
        mapper: what explains.
        classifier: what is explained; left as it was.
        samples: what it is explained on.
        settings: how much is spent.
        others: networks of the same classes, whose maps are compared.

    A measure that fails says why in the place of its figures, and the others go on; so do all of a method that the
    network cannot serve.
    """
    started = time.monotonic()
    parts: list[Findings] = []
    try:
        work = MethodAtWork(mapper, classifier, samples, settings or TrustSettings(), others or {})
    except Exception as error:  # whatever it is, it must not take the other methods' figures with it
        parts = [Findings.of_failure(mapper.name, names, error) for _, names in MAP_MEASURES]
    else:
        for measure, names in MAP_MEASURES:
            try:
                parts.append(measure(work))
            except Exception as error:
                parts.append(Findings.of_failure(mapper.name, names, error))
    cost = {
        "gradient_evaluations": mapper.gradient_evaluations,
        "forward_passes": mapper.forward_passes,
        "explained": mapper.explained,
        "seconds": time.monotonic() - started,
    }
    return reduce(Findings.joined, parts).joined(Findings(mapper.name, {}, {}, {}, cost=cost))
