"""Whether networks that were trained with attacks withstand any: a comparison of others says nothing of robustness."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from pellucid.report.tables.metrics import metric, number
from pellucid.report.tables.results_index import MEAN
from pellucid.study.stages import stages_of
from pellucid.utils.words import figure_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pellucid.evaluation.metrics.comparison import Row
    from pellucid.study.config import StudyConfig

CHANCE = 0.5  # AUROC of answers that know nothing


def not_robust(study: StudyConfig, rows: Sequence[Row]) -> list[str]:
    """A sentence for every variant that was trained with attacks and is turned over by one that is no larger.

    Turned over means: under an attack of a norm and at most the size that the recipe trains with, the whole interval of
    the mean AUROC lies below chance. Of images with one class AUROC is not measured under attack, and nothing is said.

    Args:
        study: its configuration.
        rows: of all sections.
    """
    under_attack = {
        (row.variant, row.at): row
        for row in rows
        if (row.section, row.metric, row.class_name) == ("robustness", "auroc", MEAN)
    }
    text_of = partial(number, decimals=metric("auroc").decimals)
    sentences = []
    for stage in stages_of(study):
        objective = stage.recipe.objective
        if not objective.attacks:
            continue
        trained = objective.attack.size
        smaller = [
            size
            for size in study.evaluation.robustness.sizes
            if size.norm == trained.norm and size.value <= trained.value * (1 + 1e-9)
        ]
        for size in sorted(smaller, key=lambda size: size.value):
            row = under_attack.get((stage.label, str(size)))
            if row is None or math.isnan(row.value) or not row.high < CHANCE:
                continue
            area = figure_text(row.value, row.low, row.high, text_of, [CHANCE])
            sentences.append(
                f"{stage.label} is not robust: it was trained with attacks of {trained}, and under {size} its "
                f"{metric('auroc').label} is {area} (n {row.n}), below chance. So nothing here speaks of robust "
                "networks; it needs longer training, or smaller attacks."
            )
            break
    return sentences
