"""What is audited: the model, where it comes from, the images, and what is not known of either."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pellucid.models.card import thresholds_of
from pellucid.report.tables.metrics import readable
from pellucid.utils import words
from pellucid.utils.resources import version_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pellucid.data.cache.fitted_images import FittedImages
    from pellucid.data.dataset import Dataset
    from pellucid.models.classifier import ConvolutionalClassifier, WrappedClassifier

    Model = ConvolutionalClassifier | WrappedClassifier

PACKAGES = {
    "timm": ("timm",), "huggingface": ("transformers",), "torchvision": ("torchvision",),
    "torchxrayvision": ("torchxrayvision",), "onnx": ("onnx", "onnxruntime"),
}  # fmt: skip
"""The libraries that make a network of a source, by its name."""
NAMED = 12
"""Classes that are listed by name; of more, the first of them and how many there are."""


def what_it_is(model: Model, whole: Dataset, used: Dataset, weights_sha256: str) -> dict[str, str]:
    """What is known of a model and of the images that it is audited on, in words.

    Args:
        model: what is audited.
        whole: the part of the dataset.
        used: the images of it that are judged.
        weights_sha256: of the model's weights.
    """
    card, shape = model.card, model.input_spec
    channels = {1: "grey", 3: "colour"}.get(shape.channels, f"{shape.channels} channels")
    numbers = [", ".join(f"{v:g}" for v in part.flatten().tolist()) for part in (model.mean, model.std)]
    kind = "exclusive classes" if model.task == "multiclass" else "labels, of which an image may show several"
    facts = {
        "Source": source_of(model),
        "Network": f"{_network(model)}, {sum(p.numel() for p in model.parameters()):,} parameters",
        "Weights, SHA-256": weights_sha256,
        "Tells apart": f"{len(model.classes):,} {kind}: {listed(model.classes)}",
        "Takes": f"{channels} images, {_size(model)}",
        "Normalisation": f"mean {numbers[0]}; standard deviation {numbers[1]}; of pixels in [0, 1]",
        "Thresholds": _thresholds(model),
        "Images": _images(whole, used),
        "Credit of the images": whole.card.citation,
        "Licence of the images": whole.card.licence or "not stated",
        "Fingerprint of the images": used.fingerprint,
        "Intended use": str(card.get("intended_use", "")),
    }
    return {name: text for name, text in facts.items() if text}


def what_is_not_known(model: Model, images: FittedImages, record: Mapping[str, Any]) -> list[str]:
    """What a reader would want to know, and nothing here says; a sentence each.

    Args:
        model: what is audited.
        images: on which it is judged.
        record: how many of the images it has seen before, as `SeenImages.to_json` says it.
    """
    missing = []
    if record["trained_on"] is None:
        missing.append("The training images are not known, nor whether some of these are among them.")
    missing += [f"Of its training: it {phrase}." for phrase in record["unknown"] if record["trained_on"] is not None]
    if model.task == "multilabel" and not model.card.get("thresholds"):
        missing.append("The thresholds it is used with: a probability of one half stands in for each.")
    if model.source is None and "imported" not in model.card and "recipe" not in model.card:
        missing.append("Who trained the model, how, and under which terms it may be used.")
    if images.small is None:
        missing.append(
            "Whether some of the images are smaller than what the model takes, and were enlarged for it: they were "
            f"{'decoded before that was recorded' if images.dataset.fitted is None else 'stored at a fixed size'}."
        )
    if images.dataset.patients == images.dataset.ids:
        missing.append(
            "Which images belong together, as of one patient or scene: the intervals take each by itself, perhaps too "
            "narrow."
        )
    missing.append("Who labelled the images, how, and how often two people agree on them.")
    return missing


def source_versions(model: Model) -> dict[str, str]:
    """The versions of the installed libraries that make a network of the model's source; none of other models."""
    kind = "" if model.source is None else model.source.address.partition(":")[0]
    versions = {package: version_of(package) for package in PACKAGES.get(kind, ())}
    return {package: version for package, version in versions.items() if version != "unknown"}


def source_of(model: Model) -> str:
    """Where a model comes from, in words.

    Example:
        >>> from pellucid.models import create_model
        >>> source_of(create_model("small", classes=["a", "b"], task="multiclass"))
        'a module in memory'
    """
    card = model.card
    if (source := model.source) is not None:
        weights = f", weights {source.weights} (SHA-256 {source.weights_sha256})" if source.weights else ""
        tuned = f"; fine-tuned by Pellucid, recipe {card['recipe']}, on {card.get('data')}" if "recipe" in card else ""
        return f"{source.address}{weights}{tuned}"
    if imported := card.get("imported"):
        return ", ".join(str(imported[key]) for key in ("source", "file", "licence") if imported.get(key))
    if recipe := card.get("recipe"):
        return f"trained by Pellucid, recipe {recipe}, on {card.get('data', 'unknown data')}"
    return "a module in memory" if model.path is None else "a model folder that does not say"


def listed(names: Sequence[str], most: int = NAMED) -> str:
    """Names for a sentence: not more than `most` of them.

    Example:
        >>> listed(["a", "b"]), listed(["a", "b", "c", "d"], 2)
        ('a and b', 'a, b and 2 more')
    """
    return words.listed([readable(name) for name in names], most)


def _network(model: Model) -> str:
    if model.architecture is not None:
        options = ", ".join(f"{k} {v}" for k, v in model.architecture.options.items())
        return f"{model.architecture.name}{f' ({options})' if options else ''}"
    return type(getattr(model, "module", model)).__name__


def _size(model: Model) -> str:
    spec = model.input_spec
    return f"{spec.height} × {spec.width} pixels; {spec.geometry}"


def _thresholds(model: Model) -> str:
    if model.task == "multiclass":
        return "none: the most probable class is said"
    cuts = thresholds_of(model.card, len(model.classes))
    cut_texts = ["none" if math.isnan(threshold) else f"{threshold:.3g}" for threshold in cuts]
    names_shown = [f"{readable(name)} {text}" for name, text in zip(model.classes, cut_texts, strict=True)]
    return listed(names_shown)


def _images(whole: Dataset, used: Dataset) -> str:
    card, patients = whole.card, len(set(used.patients))
    some = "" if len(used) == len(whole) else f", chosen at random from {len(whole):,}"
    people = "" if used.patients == used.ids else f" of {patients:,} patients"
    return f"{card.title}, part {whole.split}: {len(used):,} images{people}{_of_how_many_classes(whole)}{some}"


def title_of(whole: Dataset) -> str:
    """What a part of a dataset is called in a headline; of a sample that lacks classes, with how many it has."""
    of = _of_how_many_classes(whole)
    return f"{whole.card.title} ({len(whole):,} images{of})" if of else whole.card.title


def classes_without_images(whole: Dataset) -> int:
    """How many exclusive classes no image of a part shows; none of labels, which an image may lack."""
    return 0 if whole.task == "multilabel" else len(whole.classes) - len(set(whole.targets.tolist()))


def _of_how_many_classes(whole: Dataset) -> str:
    if not (missing := classes_without_images(whole)):
        return ""
    there = len(whole.classes) - missing
    each = ", one of each of" if len(whole) == there else " of"
    return f"{each} {there:,} of the {len(whole.classes):,} classes"
