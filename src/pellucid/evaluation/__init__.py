"""How good a classifier and its explanations are: metrics, each with its interval over patients."""

from pellucid.attacks.under_attack import answers_under_attack
from pellucid.evaluation.metrics.classification import auroc, average_precision, classification_table, youden_thresholds
from pellucid.evaluation.metrics.differences import paired_difference
from pellucid.evaluation.metrics.explanations import localization_task, score_explanations
from pellucid.evaluation.metrics.heatmap_scores import heatmap_scores
from pellucid.evaluation.metrics.localization import localization_table, match_boxes
from pellucid.evaluation.metrics.statistics import Bootstrap, Estimate, Replicates

__all__ = [
    "Bootstrap",
    "Estimate",
    "Replicates",
    "answers_under_attack",
    "auroc",
    "average_precision",
    "classification_table",
    "heatmap_scores",
    "localization_table",
    "localization_task",
    "match_boxes",
    "paired_difference",
    "score_explanations",
    "youden_thresholds",
]
