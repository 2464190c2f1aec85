"""A table of trust from beginning to end: judge what is not kept yet, and put all of it into rows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pellucid.evaluation.trust.attack import judge_attack, with_attack
from pellucid.evaluation.trust.judge import budget, check_method, judge_method, judge_network
from pellucid.evaluation.trust.maps import Mapper
from pellucid.evaluation.trust.network_measures import ORDERS
from pellucid.evaluation.trust.rows import RANDOM_ORDER, TrustRow, trust_table
from pellucid.evaluation.trust.store import keep_findings, read_findings
from pellucid.explainers.registry import layer_for
from pellucid.types import InputError
from pellucid.utils.progress import progress_context
from pellucid.utils.resources import finite
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import nn

    from pellucid.evaluation.trust.findings import Findings, TrustSettings
    from pellucid.evaluation.trust.samples import TrustSamples
    from pellucid.utils.results_store import ResultsStore


@dataclass(frozen=True)
class Trust:
    """What was found of one network.

    Attributes:
        network: what no explanation takes part in.
        methods: by name.
        rows: the table.
        planned: what a method took, as `budget` tells it.
        images: how many were explained.
    """

    network: Findings
    methods: dict[str, Findings]
    rows: list[TrustRow]
    planned: dict[str, int]
    images: int

    def to_json(self) -> dict[str, Any]:
        """Rows, curves without maps, and costs, as plain values; NaN is None."""
        plain: dict[str, Any] = finite(
            {
                "images": self.images,
                "budget": self.planned,
                "cost": {name: findings.cost for name, findings in self.methods.items()},
                "curves": {RANDOM_ORDER: _curves(self.network)} | {n: _curves(f) for n, f in self.methods.items()},
                "rows": [row.to_json() for row in self.rows],
            }
        )
        return plain


def check_methods(
    classifier: nn.Module, samples: TrustSamples, methods: Sequence[str], layer: str | None = None
) -> dict[str, str]:
    """Explain one image by each: why a method cannot explain this network, by name, before any work.

    Raises:
        InputError: none of them can; what the first says.
    """
    refused: dict[str, InputError] = {}
    for name in methods:
        try:
            check_method(Mapper(name, layer=layer_for(name, layer)), classifier, samples)
        except InputError as error:
            refused[name] = error
    if refused and len(refused) == len(methods):
        raise next(iter(refused.values()))
    return {name: str(error) for name, error in refused.items()}


def judge_all(
    classifier: nn.Module,
    samples: TrustSamples,
    methods: Sequence[str],
    settings: TrustSettings,
    store: ResultsStore,
    *,
    others: Mapping[str, nn.Module] | None = None,
    thresholds: Sequence[float] | None = None,
    layer: str | None = None,
) -> Trust:
    """Judge a network and its methods; each is kept as soon as it is done, and read where it was done before.

    A method that cannot explain the network, or a measure that fails, has its reason in the place of its figures, and
    the rest goes on; what failed is not kept. Attacks are kept beside the rest, by their number of images and steps
    and by the thresholds, so that others can be asked for later.

    Args:
        classifier: what is explained; left as it was.
        samples: what it is explained on.
        methods: heat maps by name.
        settings: how much is spent.
        store: where it is kept.
        others: networks of the same classes, whose maps are compared.
        thresholds: the decision thresholds of a multi-label classifier, ½ by default.
        layer: that the methods with this option explain at.
    """
    others, count = others or {}, len(samples.images)
    network = _kept(
        store, "network", "random order", 2 * ORDERS * count, partial(judge_network, classifier, samples, settings)
    )
    findings = {}
    # as many steps as maps: three maps are drawn without a step, for deletion, insertion and infidelity in their place
    planned = budget(classifier, samples, settings, len(others))
    attacks = 2 * len(settings.budgets) * min(count, settings.attacked)
    for name in methods:
        at = layer_for(name, layer)
        mapper = Mapper(name, batch_size=settings.batch_size, layer=at)
        judge = partial(judge_method, mapper, classifier, samples, settings, others=others)
        maps = _kept(store, name, name, planned["explanations_per_method"], judge)
        part_name = f"{name}.attacked-{settings.attacked}x{settings.attack_steps}{decided_at(thresholds)}"
        attack = partial(judge_attack, name, classifier, samples, settings, thresholds=thresholds, layer=at)
        findings[name] = with_attack(maps, _kept(store, part_name, f"attack {name}", attacks, attack))
    rows = trust_table(network, list(findings.values()), samples, settings.seed)
    return Trust(network, findings, rows, planned, count)


def planned_work(classifier: nn.Module, samples: TrustSamples, settings: TrustSettings, others: int = 0) -> str:
    """What the work costs, for people, before it begins."""
    planned = budget(classifier, samples, settings, others)
    return (
        f"{number_of(len(samples.images), 'image(s)')}; each method draws "
        f"{planned['explanations_per_method']:,} maps and looks at "
        f"{planned['forward_passes_per_method']:,} changed images more; random order, once, at "
        f"{planned['forward_passes_of_random_orders']:,}."
    )


def _kept(store: ResultsStore, name: str, title: str, steps: int, judge: Callable[[], Findings]) -> Findings:
    """What is kept under a name; judged first, and kept, where nothing is."""
    findings = read_findings(store, name)
    if findings is None:
        with progress_context(title, steps):
            findings = judge()
        if not findings.failed:
            keep_findings(store, name, findings)
    return findings


def decided_at(thresholds: Sequence[float] | None) -> str:
    """What thresholds add to the name under which an attack is kept: it depends on what counts as a decision.

    Example:
        >>> decided_at(None), decided_at([0.5, 0.25])
        ('', '-0c726ca0')
    """
    if thresholds is None:
        return ""
    return "-" + hashlib.sha256(repr([float(t) for t in thresholds]).encode()).hexdigest()[:8]


def _curves(findings: Findings) -> dict[str, Any]:
    """The curves that are drawn, as numbers; without the maps."""
    numbers = {name: values.tolist() for name, values in findings.curves.items() if not name.startswith("maps")}
    return numbers | ({"layers": list(findings.layers)} if findings.layers else {})
