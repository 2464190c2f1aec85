"""What each metric is called, which way is better, how many digits it deserves, and what it says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeGuard

from pellucid.explainers.registry import label_of
from pellucid.utils.imagenet_classes import imagenet_names

MINUS = "\u2212"


@dataclass(frozen=True)
class Metric:
    """How one metric is shown.

    Attributes:
        label: its name in tables and charts.
        better: +1 where more is better, -1 where less is, 0 where neither can be said.
        decimals: digits after the point.
        meaning: one sentence for a reader who does not know it.
    """

    label: str
    better: int
    decimals: int
    meaning: str


METRICS: dict[str, Metric] = {
    "auroc": Metric(
        "AUROC",
        1,
        3,
        "the chance that an image that shows it is scored above one that does not; 0.5 is chance",
    ),
    "average_precision": Metric(
        "Average precision",
        1,
        3,
        "precision averaged over recall; chance is the share of images that show it",
    ),
    "accuracy": Metric("Accuracy", 1, 3, "the share of right answers"),
    "balanced_accuracy": Metric(
        "Balanced accuracy",
        1,
        3,
        "the share of right answers, averaged over the classes; of a label, over the images with and without it",
    ),
    "recall": Metric("Recall", 1, 3, "the share of a class's images that are recognised"),
    "sensitivity": Metric("Sensitivity", 1, 3, "the share of the images that show it that are decided so"),
    "specificity": Metric("Specificity", 1, 3, "the share of the images that do not show it that are decided so"),
    "cost": Metric("Cost", -1, 3, "what the errors cost for each image"),
    "calibration_error": Metric(
        "Calibration error",
        -1,
        3,
        "how far its confidences are from the shares that come true, without the bias of few images",
    ),
    "overconfidence": Metric(
        "Overconfidence", 0, 3, "mean confidence less the share that comes true; above 0 it is too sure of itself"
    ),
    "brier": Metric("Brier score", -1, 3, "the mean squared distance of the probabilities from what is true"),
    "pointing": Metric("Pointing game", 1, 3, "how often the hottest pixel lies inside the marked region"),
    "energy_share": Metric(
        "Energy inside", 1, 3, "the share of the map's positive part that lies inside the marked region"
    ),
    "energy_ratio": Metric(
        "Energy over area",
        1,
        2,
        "that share over the region's share of the image; 1 is what a uniform map gets",
    ),
    "auprc": Metric("AUPRC of the map", 1, 3, "average precision of the map's pixels as a detector of the region"),
    "effective_heat_ratio": Metric(
        "Effective heat ratio",
        1,
        3,
        "the share of the heat above a threshold inside the region, over all thresholds",
    ),
    "otsu_iou": Metric("IoU at Otsu's threshold", 1, 3, "overlap of the region and the map cut at Otsu's threshold"),
    "ara_attack": Metric(
        "Attack ARA",
        1,
        4,
        "the area between the share of images still right and that of the best constant answer, over the size of the "
        "smallest perturbation (root mean square per pixel)",
    ),
    "ara_btr": Metric(
        "BTR ARA",
        1,
        4,
        "the same with images counted while the network says more of the right class than a constant answer",
    ),
    "afp": Metric("AFP", -1, 3, "false boxes over the annotated boxes of the set; less is better"),
    "mean_box_area": Metric("Mean box area", 0, 3, "the mean area of the predicted boxes, as a share of the image"),
    "boxes_per_map": Metric("Boxes per map", 0, 2, "how many boxes one heat map yields"),
}


def metric(name: str) -> Metric:
    """The metric of that name; one without a direction where the name is new.

    Example:
        >>> metric("auroc").label, metric("some_score").label, metric("some_score").better
        ('AUROC', 'Some score', 0)
    """
    return METRICS.get(name) or Metric(readable(name).capitalize(), 0, 3, "")


def method_label(name: str) -> str:
    """A method's name for people.

    Example:
        >>> method_label("cam"), method_label("trivial: mean box")
        ('CAM', 'Trivial map: mean box')
    """
    if name.startswith("trivial: "):
        return f"Trivial map: {name.removeprefix('trivial: ')}"
    return label_of(name)


def readable(name: str) -> str:
    """A class's or key's name with spaces for underscores; for the WordNet id of a class of ImageNet its name.

    Example:
        >>> readable("Pleural_Thickening"), readable("n02128925")
        ('Pleural Thickening', 'jaguar')
    """
    return imagenet_names().get(name) or name.replace("_", " ")


def defined(value: object) -> TypeGuard[float]:
    """Whether this is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def number(value: float, decimals: int = 3, *, signed: bool = False) -> str:
    """A number with a real minus sign, and a plus sign where differences are meant.

    Example:
        >>> number(0.8124), number(-0.02, signed=True), number(0.02, 2, signed=True), number(-0.0001, 2)
        ('0.812', '−0.020', '+0.02', '0.00')
    """
    text = f"{abs(value):.{decimals}f}"
    if not any(digit in text for digit in "123456789"):
        return text
    if value < 0:
        return MINUS + text
    return f"+{text}" if signed else text


def small_share(value: float) -> str:
    """A share with two decimals, or with four where two would show nothing of it.

    Example:
        >>> small_share(0.649), small_share(0.01), small_share(0.005), small_share(0.0012)
        ('0.65', '0.01', '0.005', '0.0012')
    """
    return number(value, 2) if value >= 0.01 else f"{value:.2g}"


def duration(seconds: float) -> str:
    """A time as people say it.

    Example:
        >>> duration(12.3), duration(754), duration(7322)
        ('12 s', '12 min 34 s', '2 h 2 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def p_text(value: float | None) -> str:
    """A p value for people.

    Example:
        >>> p_text(0.0004), p_text(0.0214), p_text(None)
        ('< 0.001', '0.021', 'undefined')
    """
    return "undefined" if value is None else "< 0.001" if value < 0.001 else number(value, 3)
