"""What an audit measures, part by part: each by the verb that measures it alone, and kept as soon as it is there."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.attacks.under_attack import ANSWERS_RULES, AnswersUnderAttack, answers_under_attack
from pellucid.audit.cases import three_pictures
from pellucid.audit.classification import Answers, classify, draws_for
from pellucid.audit.comparison import compare_answers
from pellucid.audit.elsewhere import corruption_figures
from pellucid.audit.groups import difference_test
from pellucid.audit.half_lead import constant_figure, half_lead, lead
from pellucid.audit.results import area_rows
from pellucid.audit.settings import AuditSettings
from pellucid.evaluation.metrics.classification import classification_table
from pellucid.evaluation.metrics.comparison import Row, accuracy_under_attack, robustness_rows
from pellucid.evaluation.metrics.intervals import MINIMUM
from pellucid.evaluation.metrics.statistics import Bootstrap
from pellucid.evaluation.metrics.trivial_maps import patient_halves
from pellucid.evaluation.robustness.consistency import KIND, Withstood, broken
from pellucid.evaluation.robustness.corruptions import CORRUPTION_RULES, SEVERITIES, logits_corrupted
from pellucid.evaluation.trust.measures import RULES
from pellucid.explainers import refusals
from pellucid.explainers.registry import layer_option
from pellucid.models.inference import LOGITS_RULES, as_pixels, check_answers, predict
from pellucid.types import InputError, device_of
from pellucid.utils.progress import progress_context
from pellucid.utils.resources import finite
from pellucid.utils.results_store import keyed
from pellucid.verbs.ara import ara
from pellucid.verbs.discover import FEWEST, discover
from pellucid.verbs.folders import model_names
from pellucid.verbs.localize import localize
from pellucid.verbs.session import open_session, path_of
from pellucid.verbs.trust import trust

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from pellucid.attacks import BoundedAttack
    from pellucid.audit.classification import Classification
    from pellucid.data.cache.fitted_images import FittedImages
    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.metrics.operating_points import Use
    from pellucid.evaluation.metrics.statistics import Replicates
    from pellucid.evaluation.robustness.radii import Radii
    from pellucid.report.pages.audit import Shown
    from pellucid.types import Pixels
    from pellucid.utils.results_store import ResultsStore
    from pellucid.verbs.discover import DiscoveryWithPage
    from pellucid.verbs.session import Model, Session


@dataclass(frozen=True)
class Measuring:
    """What the parts share: what is judged, what is spent, and where results are kept.

    Attributes:
        session: of the parts that look at no marks, so that others change nothing of what is kept of these.
        marked: the same with the marked regions under the names of the model's classes.
    """

    session: Session
    marked: Session
    plan: AuditSettings
    store: ResultsStore
    label: str
    batch_size: int
    common: dict[str, Any]
    layer: str | None = None

    @cached_property
    def few(self) -> FittedImages:
        """The images that are attacked."""
        return self.session.part.limit(self.plan.few, seed=self.plan.seed)

    def logits(self, dataset: Dataset, pixels: Pixels) -> npt.NDArray[np.float32]:
        """Of unchanged images, kept as soon as they are there."""
        model = self.session.model

        def compute() -> dict[str, npt.NDArray[Any]]:
            with progress_context("classify", len(pixels)):
                return {"logits": predict(model, pixels, batch_size=self.batch_size)}

        key = (LOGITS_RULES, dataset.fingerprint, str(model.input_spec), self.batch_size)
        logits: npt.NDArray[np.float32] = self.store.measured(keyed("logits", *key), compute)["logits"]
        return logits

    def classified(self, pixels: Pixels, use: Use) -> tuple[Answers, Classification]:
        """The model's answers, and the figures of its classification."""
        dataset = self.session.dataset
        answers = Answers(self.label, self.logits(dataset, pixels), dataset, self.session.thresholds)
        return answers, classify(answers, use, draws_for(dataset, self.plan.seed))

    def answers(self, dataset: Dataset, pixels: Pixels, attack: BoundedAttack) -> AnswersUnderAttack:
        """On attacked images, kept as soon as they are there."""
        model, plan, thresholds = self.session.model, self.plan, self.session.thresholds

        def compute() -> dict[str, npt.NDArray[Any]]:
            with progress_context(f"attack {attack}", len(pixels)):
                return answers_under_attack(
                    model, pixels, dataset.targets, attack,
                    thresholds=thresholds, steps=plan.steps, seed=plan.seed, batch_size=self.batch_size,
                ).arrays()  # fmt: skip

        how = (str(attack), thresholds, plan.steps, plan.seed, self.batch_size)
        key = keyed("answers", ANSWERS_RULES, dataset.fingerprint, str(model.input_spec), *how)
        return AnswersUnderAttack(**self.store.measured(key, compute))

    def against(
        self, other: Model, data: Dataset, answers: Answers, class_map: Mapping[str, str] | None
    ) -> dict[str, Any]:
        """The answers of another model on the same images, compared."""
        options = {k: v for k, v in self.common.items() if k != "seed"}
        session = open_session(other, data, limit=self.plan.limit, seed=self.plan.seed, class_map=class_map, **options)
        classes = answers.dataset.classes
        pixels = session.pixels()
        label = model_names([path_of(other)])[0]
        label = f"{label} (the other)" if label == self.label else label

        def compute() -> dict[str, npt.NDArray[Any]]:
            with progress_context("classify with the other", len(pixels)):
                return {"logits": predict(other, pixels, batch_size=self.batch_size)}

        key = (LOGITS_RULES, session.dataset.fingerprint, session.results_key)
        logits = self.store.measured(keyed("logits-of-other", *key), compute)["logits"]
        order = [other.classes.index(name) for name in classes]
        thresholds = [session.thresholds[k] for k in order]
        theirs = Answers(label, logits[:, order], answers.dataset, thresholds)
        draws = draws_for(answers.dataset, self.plan.seed)
        notes = list(session.warnings)
        if other.input_spec != self.session.model.input_spec and (small := session.images.small):
            notes += [f"{label}: {text}" for text in [small.sentence(len(pixels), other.input_spec)] if text]
        record = {"training_images": session.seen(), "notes": notes}
        return compare_answers(answers, theirs, draws) | record

    def corrupted(self) -> dict[str, Any]:
        """What common corruptions leave of the answers, at five severities each."""
        session, plan = self.session, self.plan
        images = session.part.limit(plan.corrupted, seed=plan.seed)
        dataset, pixels = images.dataset, session.check.pixels(images)
        clean = self.logits(dataset, pixels)
        logits: dict[str, list[npt.NDArray[np.float32]]] = {}
        for name, (_, strengths) in SEVERITIES.items():

            def compute(name: str = name, count: int = len(strengths)) -> dict[str, npt.NDArray[Any]]:
                with progress_context(f"corrupt: {name}", count * len(pixels)):
                    options: dict[str, Any] = {"seed": plan.seed, "batch_size": self.batch_size}
                    every = [logits_corrupted(session.model, pixels, name, s, **options) for s in range(1, count + 1)]
                    return {"logits": np.stack(every)}

            whose = (dataset.fingerprint, str(session.model.input_spec))
            how = (CORRUPTION_RULES, LOGITS_RULES, name, strengths, plan.seed, self.batch_size)
            key = keyed("corrupted", *whose, *how)
            logits[name] = list(self.store.measured(key, compute)["logits"])
        return corruption_figures(clean, logits, dataset, plan.seed)

    def attacked(self) -> Withstood:
        """What each attack left."""
        dataset, pixels = self.few.dataset, self.session.check.pixels(self.few)
        check_answers(self.logits(dataset, pixels), "an attack needs numbers", dataset.ids)
        answers = [self.answers(dataset, pixels, attack) for attack in self.plan.attacks]
        return Withstood(dataset.ids, self.plan.attacks, answers)

    def attack_rows(self, withstood: Withstood, radii: Mapping[str, Radii]) -> tuple[list[Row], dict[str, Any]]:
        """Accuracy and AUROC under each attack; what a smallest perturbation breaks counts as broken.

        Returns:
            The rows; and by attack what it took, as a paired difference, whether half of the lead over a constant
            answer is left, and what is left of the lead itself, of the figure that the verdict goes by: of several
            labels the AUROC, else the accuracy.
        """
        dataset, pixels = self.few.dataset, self.session.check.pixels(self.few)
        logits = {"0": self.logits(dataset, pixels)}
        logits |= {str(a): one.logits for a, one in zip(withstood.attacks, withstood.answers, strict=True)}
        fallen = {}
        if KIND in radii:
            fallen = broken(radii[KIND], dataset.ids, self.plan.protocol, withstood, math.prod(pixels.shape[1:]))
        draws = Bootstrap(dataset.patients, seed=self.plan.seed)
        thresholds = {self.label: [self.session.thresholds]}
        rows = robustness_rows({self.label: [logits]}, thresholds, dataset, draws, broken={self.label: [fallen]})

        def figure(size: str) -> Replicates:
            if dataset.task == "multilabel":
                table = classification_table(logits[size], dataset.targets, dataset.classes, dataset.task, draws)
                return table["mean"]["auroc"]
            return accuracy_under_attack(logits[size], self.session.thresholds, dataset, draws, fallen.get(size))

        clean, base = figure("0"), constant_figure(dataset, draws)
        losses: dict[str, Any] = finite(
            {at: {**difference_test(own := figure(at), clean), "half": half_lead(own, clean, base),
                  "lead": lead(own, base)}
             for at in logits if at != "0"}
        )  # fmt: skip
        return rows, losses

    def areas(self, withstood: Withstood | None) -> tuple[list[Row], dict[str, Any], Mapping[str, Radii]]:
        """The Accuracy-Robustness Area, its curve for the report, and the radii, none beyond what broke a size."""
        plan, session = self.plan, self.session
        key = (session.whole.fingerprint, plan.few, plan.protocol, plan.effort, plan.seed, tuple(session.thresholds))
        place = self.store.folder / keyed("ara", *key)
        result = ara(
            session.model, session.whole, "attack",
            protocol=plan.protocol, effort=plan.effort, checked=plan.checked, out=place, name=self.label,
            limit=plan.few, withstood=withstood, **self.common,
        )  # fmt: skip
        curves, attacks = [], []
        for curve in result.curves:
            upper = curve.accuracy if curve.upper is None else curve.upper
            whose = {"variant": self.label, "seed": plan.seed, "kind": curve.kind}
            lines = {"radius": curve.radius, "accuracy": curve.accuracy, "upper": upper}
            curves.append({**whose, "naive": curve.naive, "measure": curve.measure,
                           **{k: np.round(v, 6).tolist() for k, v in lines.items()}})  # fmt: skip
            one = result.kinds[curve.kind]
            spent = round(one["gradient_evaluations_per_image"] * one["n"])
            attacks.append({**whose, "n": one["n"], "found": one["found"], "gradient_evaluations": spent})
        alarms = [one["alarm"]["message"] for one in result.kinds.values() if one["alarm"]["message"]]
        summary = {"protocol": plan.protocol, "images": result.found["images"], "curves": curves}
        rows = area_rows(self.label, result.found)
        return rows, summary | {"attacks": attacks, "alarms": alarms}, result.measured

    def methods(self, pixels: Pixels) -> tuple[list[str], dict[str, str]]:
        """The methods of explanation that the model serves, and why not the others."""
        batch = as_pixels(pixels[:1], device_of(self.session.model))
        refused = refusals(self.plan.methods, self.session.model, batch, layer=self.layer)
        return [name for name in self.plan.methods if name not in refused], refused

    def searched(self, metadata: str | Path | None, groups: Mapping[str, Sequence[float]] | None) -> DiscoveryWithPage:
        """What the model goes by, and nobody marked."""
        plan, session = self.plan, self.marked
        if not plan.searched:
            there = min(len(session.whole), plan.limit or len(session.whole))
            if there < FEWEST:
                raise InputError(f"not looked for: {there} images are too few, and {FEWEST} are needed at least")
            count = min(AuditSettings.searched, len(session.whole))
            raise InputError(
                f"not looked for in a quick look, which it would make several times as long; --searched {count} looks "
                f"for it (in Python searched={count}), and so does pellucid discover"
            )
        key = (session.whole.fingerprint, plan.searched, plan.seed, str(metadata), sorted((groups or {}).items()))
        return discover(
            session.model, session.whole,
            metadata=metadata, groups=groups, out=self.store.folder / keyed("discovery", *key),
            limit=plan.searched, batch_size=self.batch_size, **self.common,
        )  # fmt: skip

    def pictures(self, answers: Answers, pixels: Pixels, served: Sequence[str], *, visible: bool) -> list[Shown]:
        """Three of them: right, wrong, and what the model would have to see; none where they are not wanted."""
        if not visible:
            return []
        return three_pictures(self.session.model, answers, pixels, next(iter(served), None), self.layer)

    def _layer(self, served: Sequence[str]) -> str | None:
        """The layer that was asked for, where one of the methods that the model serves explains at one."""
        return self.layer if any(layer_option(name, self.layer) for name in served) else None

    def judged(self, served: Sequence[str], refused: Mapping[str, str]) -> dict[str, Any]:
        """The table of trust."""
        if not served:
            raise InputError("; ".join(f"{name}: {why}" for name, why in refused.items()))
        plan, session = self.plan, self.marked
        layer = self._layer(served)
        key = (session.whole.fingerprint, plan.few, plan.trust, plan.seed, layer, RULES)
        place = self.store.folder / keyed("trust", *key)
        settings = replace(plan.trust, seed=plan.seed)
        common = {k: v for k, v in self.common.items() if k != "seed"}
        result = trust(
            session.model, session.whole, served,
            out=place, limit=plan.few, settings=settings, layer=layer, **common,
        )  # fmt: skip
        return result.to_json()

    def located(self, served: Sequence[str]) -> tuple[list[Row], list[dict[str, Any]]]:
        """Where maps fall, beside maps that look at no network, all on the same images and classes.

        Classes of too few patients for an interval are left out, so that every mean has one; unless all are.
        """
        session, whole = self.marked, self.marked.whole
        if not served:
            raise InputError("the model serves none of the heat maps.")
        regions, few = None, dict[str, int]()
        if whole.regions is not None and whole.regions.items:
            whole = whole.subset(sorted({image for image, _ in whole.regions.pairs()}))
            whole = whole.limit(self.plan.few, seed=self.plan.seed)
            usable, few = _marked_of_enough(whole, session.model.classes)
            regions = {name: (name,) for name in usable}
        place = self.store.folder / "localization"
        result = localize(
            session.model, whole, served,
            boxes=False, out=place, limit=self.plan.few, layer=self._layer(served),
            regions=regions, **self.common,
        )  # fmt: skip
        rows = [r if r.method.startswith("trivial") else replace(r, variant=self.label) for r in result.measured]
        target = {"name": rows[0].target, "title": f"the marked regions of {whole.card.name}", "regions": {},
                  "images": result.about["images"], "pairs": result.about["pairs"],
                  "left_out": few}  # fmt: skip
        return [r for r in rows if r.section == "localization"], [target]


def _marked_of_enough(dataset: Dataset, classes: Sequence[str]) -> tuple[list[str], dict[str, int]]:
    """The classes that are marked of patients enough for an interval and some in each half, for the mean box.

    Returns:
        Their names, and of the other marked ones of how many patients they are; all of them, and none, where no class
        is marked of enough.
    """
    assert dataset.regions is not None
    pairs = [(dataset.patients[image], label) for image, label in dataset.regions.pairs(classes)]
    patients = {name: {p for p, label in pairs if label == name} for name in classes}
    marked = [name for name in classes if patients[name]]
    usable = [name for name in marked if len(patients[name]) >= MINIMUM]
    while usable:
        names = sorted(set[str]().union(*(patients[name] for name in usable)))
        half = dict(zip(names, patient_halves(names), strict=True))
        split = [name for name in usable if len({half[p] for p in patients[name]}) == 2]
        if split == usable:
            return usable, {name: len(patients[name]) for name in marked if name not in usable}
        usable = split
    return marked, {}
