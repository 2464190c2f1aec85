"""Can an explanation be invalidated? The attack on explanations, within a budget, judged by the explainer itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from pellucid.attacks.engine import images_that_fit
from pellucid.attacks.epsilon import lengths, scale_to
from pellucid.evaluation.manipulation.explanation_attack import ExplanationAttack, explained
from pellucid.evaluation.manipulation.goals import SameDecision, SameMap, decide, probability_of
from pellucid.evaluation.manipulation.gradient_maps import check_method
from pellucid.evaluation.manipulation.target_maps import target_maps
from pellucid.evaluation.metrics.similarity import similarities, undefined
from pellucid.explainers import resolve_targets
from pellucid.models.classifier import frozen
from pellucid.models.inference import check_answers, in_batches
from pellucid.types import InputError, check_images
from pellucid.utils.progress import advance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from pellucid.evaluation.manipulation.goals import Decision
    from pellucid.evaluation.manipulation.settings import Attack
    from pellucid.types import Classifier
    from pellucid.utils.results_store import ResultsStore

    AnyGoal = SameMap | SameDecision

LARGEST_BATCH = 32


@dataclass(frozen=True)
class Manipulation:
    """What was found, image by image (N) and budget by budget (B). All maps are the explainer's own.

    Where no perturbation met the constraint the perturbed image is the image itself, `met` is False, and for the goal
    `same-map` the similarities are NaN. A larger budget never does worse: it may use what a smaller one found.

    Attributes:
        attack: what was wanted.
        classes: of the classifier.
        decision: about the unchanged images.
        images: (N, C, H, W).
        before: their maps (N, H, W).
        target_maps: the target maps (N, H, W), or None.
        perturbed: (B, N, C, H, W), in [0, 1].
        after: their maps (B, N, H, W).
        constraint_met: bool (B, N), whether the constraint holds: another decision, or the same with its confidence.
        found: bool (B, N), whether moreover the map stayed, or changed: the explanation is invalidated.
        rms: float64 (B, N), the perturbations' sizes.
        probability: float64 (B, N), of the class explained.
        decided: int64 (B, N), the class then most probable; the explained label where there are several.
        similarity: by name, float64 (B, N), of the maps to `before`.
        to_target: by name, float64 (B, N), of the maps to `target_maps`; empty without.
        target_before: by name, float64 (N,), of `before` to `target_maps`; empty without.
        noise: by name, float64 (B, N), of `before` to the maps under noise as large as the budget: what no attack does.
        gradient_evaluations: int64 (B, N), spent up to this budget on the attack; what is reported of its result costs
            a few maps more.
        reasons: why an image has no figures, or None.
    """

    attack: Attack
    classes: tuple[str, ...]
    decision: Decision
    images: Tensor
    before: Tensor
    target_maps: Tensor | None
    perturbed: Tensor
    after: Tensor
    constraint_met: Tensor
    found: Tensor
    rms: Tensor
    probability: Tensor
    decided: Tensor
    similarity: dict[str, Tensor]
    to_target: dict[str, Tensor]
    target_before: dict[str, Tensor]
    noise: dict[str, Tensor]
    gradient_evaluations: Tensor
    reasons: list[str | None]


def manipulate(
    classifier: Classifier,
    images: Tensor,
    attack: Attack,
    *,
    targets: Tensor | int | None = None,
    thresholds: Sequence[float] | None = None,
    batch_size: int | None = None,
    store: ResultsStore | None = None,
) -> Manipulation:
    """Attack the explanations of some images, budget by budget.

    Projected gradient descent on the differentiable form of the map, inside the ball of the budget and the pixel box.
    While the constraint is far from its limit a step follows the map's gradient; near it, only the part that does not
    work against the constraint; where it is broken, the constraint's gradient is added. Of the iterates that meet the
    constraint on the network itself, the one whose map the explainer itself scores best is kept.

    Args:
        classifier: in eval mode meanwhile, and left as it was.
        images: (N, C, H, W) in [0, 1], on the classifier's device.
        attack: what is wanted.
        targets: the classes explained, one per image or one for all; each image's most probable one by default.
        thresholds: the decision thresholds of a multi-label classifier, ½ by default.
        batch_size: images at a time; as many as fit, at most 32, by default.
        store: where a batch is kept after each budget, and read from; its record must name all that determines it.

    Raises:
        InputError: images that are not pixels in [0, 1], or none; targets that are no classes; a method that has no
            differentiable form or does not fit the classifier; a target map that is none.

    Source:
        Woods, Chen & Teuscher 2019, abstract and figure 1; Ghorbani, Abid & Zou 2019, arXiv 1710.10547; Dombrowski et
        al. 2019, arXiv 1906.07983.
    """
    check_images(images, channels=classifier.input_spec.channels)
    if len(images) == 0:
        raise InputError("there are no images whose explanations could be attacked.")
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size must be at least 1; found {batch_size}.")
    check_method(attack.method, classifier, attack.options)
    network: Any = classifier
    with torch.inference_mode(False):
        pixels = images.detach().clone().clamp(0, 1)
        indices = None if targets is None else resolve_targets(classifier, pixels, targets)
        decision = decide(_logits(classifier, pixels), indices, classifier.task, thresholds)
        before = explained(classifier, pixels, decision.targets, attack)
        goal_maps = None if attack.target_map is None else target_maps(attack.target_map, before)
        reasons = undefined(before, before if goal_maps is None else goal_maps, ("original", "target"))
        usable = torch.tensor([r is None for r in reasons], device=pixels.device).nonzero().squeeze(1)
        perturbed = pixels.repeat(len(attack.budgets), 1, 1, 1, 1)
        spent = torch.zeros((len(attack.budgets), len(pixels)), dtype=torch.int64, device=pixels.device)
        advance((len(pixels) - len(usable)) * len(attack.budgets))  # nothing to do
        rows_at_once = batch_size or min(LARGEST_BATCH, max(1, images_that_fit(network, pixels) // 2))
        for chunk in in_batches(len(usable), rows_at_once):
            rows = usable[chunk]
            with frozen(network):
                descent = ExplanationAttack(classifier, attack, pixels[rows], decision.rows(rows), before[rows],
                               None if goal_maps is None else goal_maps[rows], attack.seed + chunk.start)  # fmt: skip
                for number, budget in enumerate(attack.budgets):
                    part = f"images-{chunk.start}-{chunk.stop}-budget-{number}"
                    state = store.read(part) if store is not None else None
                    if state is not None:
                        descent.restore({name: torch.from_numpy(values) for name, values in state.items()}, budget)
                    else:
                        descent.within(budget)
                    perturbed[number, rows] = descent.best
                    spent[number, rows] = descent.gradient_evaluations
                    if store is not None and state is None:
                        store.write(part, {name: values.cpu().numpy() for name, values in descent.state().items()})
                    advance(len(rows))
        return _judge(classifier, attack, decision, pixels, before, goal_maps, perturbed, spent, reasons)


def _logits(classifier: Classifier, images: Tensor) -> Tensor:
    with frozen(classifier), torch.no_grad():
        logits = torch.cat([classifier(images[rows]) for rows in in_batches(len(images), LARGEST_BATCH)])
    check_answers(logits, "no decision could stay or change")
    return logits


def _judge(
    classifier: Classifier,
    attack: Attack,
    decision: Decision,
    images: Tensor,
    before: Tensor,
    goal_maps: Tensor | None,
    perturbed: Tensor,
    spent: Tensor,
    reasons: list[str | None],
) -> Manipulation:
    """Everything that is reported, from the perturbed images alone."""
    goal: AnyGoal = (
        SameMap(decision, before, before, attack.keep)
        if attack.goal == "same-map"
        else SameDecision(decision, before, before, goal_maps, attack.tolerance, attack.changed)
    )
    usable = torch.tensor([r is None for r in reasons], device=images.device)
    generator = torch.Generator(images.device).manual_seed(attack.seed)
    columns: dict[str, list[Tensor]] = {
        k: [] for k in ("after", "constraint_met", "found", "rms", "probability", "decided")
    }
    alike: list[dict[str, Tensor]] = []
    towards: list[dict[str, Tensor]] = []
    noisy: list[dict[str, Tensor]] = []
    for budget, attacked_images in zip(attack.budgets, perturbed, strict=True):
        logits = _logits(classifier, attacked_images)
        maps = explained(classifier, attacked_images, decision.targets, attack)
        valid = goal.is_satisfied(logits) & usable
        top = logits.argmax(1) if decision.task == "multiclass" else decision.targets
        probability = probability_of(logits, decision.targets, decision.task)
        values = (
            maps,
            valid,
            valid & goal.found(maps),
            lengths((attacked_images - images).double(), "rms"),
            probability,
            top,
        )
        for name, value in zip(columns, values, strict=True):
            columns[name].append(value)
        alike.append({k: v.masked_fill(~valid, torch.nan) for k, v in similarities(maps, before).items()})
        if goal_maps is not None:
            towards.append({k: v.masked_fill(~valid, torch.nan) for k, v in similarities(maps, goal_maps).items()})
        noise = scale_to(torch.empty_like(images).normal_(generator=generator), budget, "rms")
        blurred = explained(classifier, (images + noise).clamp(0, 1), decision.targets, attack)
        noisy.append(similarities(blurred, before))
    stacked = {name: torch.stack(parts) for name, parts in columns.items()}
    return Manipulation(
        attack=attack,
        classes=tuple(classifier.classes),
        decision=decision,
        images=images,
        before=before,
        target_maps=goal_maps,
        perturbed=perturbed,
        **stacked,
        similarity=_stack(alike),
        to_target=_stack(towards),
        target_before={} if goal_maps is None else similarities(before, goal_maps),
        noise=_stack(noisy),
        gradient_evaluations=spent,
        reasons=reasons,
    )


def _stack(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([part[name] for part in parts]) for name in (parts[0] if parts else ())}
