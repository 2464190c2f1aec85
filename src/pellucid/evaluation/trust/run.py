"""A table of trust from beginning to end: judge what is not kept yet, and put all of it into rows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast

from pellucid.evaluation.trust.attack import judge_attack, with_attack
from pellucid.evaluation.trust.findings import keep_findings, read_findings
from pellucid.evaluation.trust.infidelity import SharedAnswers
from pellucid.evaluation.trust.judge import (
    budget,
    judge_method,
    judge_network,
    steps_of_method,
    steps_of_network,
)
from pellucid.evaluation.trust.maps import Mapper
from pellucid.evaluation.trust.measures import RULES
from pellucid.evaluation.trust.rows import RANDOM_ORDER, TrustRow, trust_table
from pellucid.explainers import refusals
from pellucid.types import InputError
from pellucid.utils.progress import progress_context
from pellucid.utils.resources import finite
from pellucid.utils.results_store import ResultsStore
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from pellucid.evaluation.trust.findings import Findings, TrustSettings
    from pellucid.evaluation.trust.samples import TrustSamples
    from pellucid.types import Classifier


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


@dataclass(frozen=True, eq=False)
class TrustJudge:
    """A network, what it is explained on and by which methods, and how much is spent on that.

    Attributes:
        classifier: what is explained; left as it was.
        samples: what it is explained on.
        methods: heat maps by name.
        settings: how much is spent.
        others: networks of the same classes, whose maps are compared.
        thresholds: the decision thresholds of a multi-label classifier, ½ by default.
        layer: that the methods with this option explain at.
        results_key: what results of the network are kept under.
        keys_of_others: the same of the other networks, by name.
    """

    classifier: nn.Module
    samples: TrustSamples
    methods: Sequence[str]
    settings: TrustSettings
    others: Mapping[str, nn.Module] = field(default_factory=dict)
    thresholds: Sequence[float] | None = None
    layer: str | None = None
    results_key: str = ""
    keys_of_others: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def planned(self) -> dict[str, int]:
        """What a method takes, as `budget` tells it."""
        return budget(self.classifier, self.samples, self.settings, len(self.others))

    @cached_property
    def shared(self) -> SharedAnswers:
        """The network's answers on the samples' images with parts gone, once for all maps."""
        return SharedAnswers(self.classifier, self.samples.images, self.samples.targets, self.settings.seed)

    @property
    def announcement(self) -> str:
        """What the work costs, for people, before it begins."""
        return (
            f"{number_of(len(self.samples.images), 'image(s)')}; each method draws "
            f"{self.planned['explanations_per_method']:,} maps and scores "
            f"{self.planned['forward_passes_per_method']:,} more changed images; the trivial maps take "
            f"{self.planned['forward_passes_of_trivial_maps']:,}, once."
        )

    def refusals(self) -> dict[str, str]:
        """Why a method cannot explain this network, by name, before any work.

        Raises:
            InputError: none of them can; what the first says.
        """
        images, targets = self.samples.images[:1], self.samples.targets[:1]
        refused = refusals(self.methods, cast("Classifier", self.classifier), images, targets, layer=self.layer)
        if refused and len(refused) == len(self.methods):
            raise InputError(next(iter(refused.values())))
        return refused

    @property
    def record(self) -> dict[str, Any]:
        """Everything that determines what is kept, but for what stands in its names."""
        settings, data = self.settings, self.samples.whole
        return {
            "rules": RULES,
            "weights": self.results_key,
            "beside": dict(self.keys_of_others),
            "data": data.card.name,
            "split": data.split,
            "fingerprint": data.fingerprint,
            "limit": self.samples.limit,
            "samples": settings.samples,
            "radius": settings.radius,
            "curve_steps": settings.curve_steps,
            "certified": settings.certified,
            "budgets": list(settings.budgets),
            "examples": settings.examples,
            "seed": settings.seed,
            "layer": self.layer,
        }

    def judge(self, folder: Path) -> Trust:
        """Judge the network and its methods; each is kept as soon as it is done, and read where it was done before.

        Args:
            folder: where they are kept.

        Raises:
            InputError: results of something else in the folder.

        A method that cannot explain the network, or a measure that fails, has its reason in the place of its figures,
        and the rest goes on; what failed is not kept. Attacks are kept beside the rest, by their number of images and
        steps and by the thresholds, so that others can be asked for later.
        """
        samples, settings, count = self.samples, self.settings, len(self.samples.images)
        store = ResultsStore(folder, self.record)
        judge = partial(judge_network, self.classifier, samples, settings, shared=self.shared)
        network = _kept(store, "network", "trivial maps", steps_of_network(count), judge)
        findings = {name: self._method(name, store) for name in self.methods}
        rows = trust_table(network, list(findings.values()), samples.patients, settings.seed)
        return Trust(network, findings, rows, self.planned, count)

    def _method(self, name: str, store: ResultsStore) -> Findings:
        samples, settings = self.samples, self.settings
        judge = partial(
            judge_method,
            self._mapper(name),
            self.classifier,
            samples,
            settings,
            others=self.others,
            shared=self.shared,
        )
        maps = _kept(store, name, name, steps_of_method(self.planned, len(samples.images)), judge)
        attack_name = f"{name}.attacked-{settings.attacked}x{settings.attack_steps}{decided_at(self.thresholds)}"
        attack = partial(
            judge_attack, name, self.classifier, samples, settings, thresholds=self.thresholds, layer=self.layer
        )
        attacks = 2 * len(settings.budgets) * min(len(samples.images), settings.attacked)
        return with_attack(maps, _kept(store, attack_name, f"attack {name}", attacks, attack))

    def _mapper(self, name: str) -> Mapper:
        return Mapper(name, batch_size=self.settings.batch_size, layer=self.layer)


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
