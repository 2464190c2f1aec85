"""Networks that others published, from their own files into a folder like those that training writes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from pellucid.models.probe import TOLERANCE, probe_images
from pellucid.models.registry import create_model, describe, model_names
from pellucid.models.sources.opening import Given, open_source, source_tables
from pellucid.models.sources.registry import SOURCES
from pellucid.models.sources.woods2019 import SOURCE, read_woods2019
from pellucid.models.weights import CARD, WEIGHTS, load_model, read_model_card, save_model
from pellucid.types import InputError, InputSpec
from pellucid.utils.download import digest_of
from pellucid.utils.imagenet_classes import imagenet_classes
from pellucid.utils.resources import check_known, replace_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from pellucid.models.classifier import AnyClassifier, ConvolutionalClassifier
    from pellucid.models.registry import Published


@dataclass(frozen=True)
class PublishedFormat:
    """How somebody publishes networks.

    Attributes:
        title: what they are, in one line.
        read: file → the classifier and the training options that the file states.
        source: where the files come from.
        licence: the terms of the files.
        citation: the paper.
        card: fields of the card that hold for every network of the format: training data, loss, label frequencies
            and the constant prediction that minimises that loss on them.
        digest: of the weights, by which a folder that holds them already is known.
    """

    title: str
    read: Callable[[Path], tuple[ConvolutionalClassifier, dict[str, Any]]]
    source: str
    licence: str
    citation: str
    card: dict[str, Any]
    digest: Callable[[Path], str] = digest_of


def _read_imagenet(path: Path) -> tuple[ConvolutionalClassifier, dict[str, Any]]:
    """A network of the registry with its ImageNet weights and head, for images prepared as its own evaluation does."""
    entry = _with_weights(path)
    spec = InputSpec.parse(entry.preprocess, channels=3)
    size, classes = (spec.height, spec.width), imagenet_classes()
    model = create_model(
        path.name, classes=classes, task="multiclass", in_channels=3, size=size, geometry=spec.geometry, pretrained=True
    )
    return model.eval(), {"source": entry.title, "licence": entry.licence, "preprocess": entry.preprocess}


def _with_weights(path: Path) -> Published:
    published = describe(path.name).published
    if published is None:
        some = ", ".join(name for name in model_names() if describe(name).published)
        raise InputError(f"nobody published ImageNet weights for {path.name}; there are some for: {some}.")
    return published


FORMATS: dict[str, PublishedFormat] = {
    "woods2019": PublishedFormat(
        "the CIFAR-10 networks of Woods et al. 2019 (resnet44-standard.pt, resnet44-all.pt …)",
        read_woods2019,
        SOURCE,
        "MIT",
        "W. Woods, J. Chen, C. Teuscher: Adversarial explanations for understanding image classification decisions "
        "and improved neural network robustness. Nature Machine Intelligence 1, 2019; arXiv 1906.02896.",
        # CIFAR-10's 50,000 training images are 5,000 of each class
        {"data": "cifar10", "loss": "cross_entropy", "label_frequencies": [0.1] * 10, "best_constant": [0.1] * 10},
    ),
    "imagenet": PublishedFormat(
        "Pellucid's own networks with their published ImageNet weights (efficientnet-lite0, resnet50, densenet121)",
        _read_imagenet,
        "",  # each network's own
        "",
        "O. Russakovsky, J. Deng, H. Su et al.: ImageNet Large Scale Visual Recognition Challenge. International "
        "Journal of Computer Vision 115(3), 2015.",
        {"data": "imagenet", "loss": "cross_entropy"},
        digest=lambda path: _with_weights(path).sha256,
    ),
}
"""The formats that `import_published` knows, by name."""


def import_any(source: str, name: str, folder: str | Path, overrides: Given) -> AnyClassifier:
    """Write a network into a model folder: a published one by `import_published`, another by `import_network`.

    Args:
        source: one of `FORMATS` or `SOURCES`.
        name: the network, as the source calls it; of a published format its file.
        folder: where to write; made if it is missing.
        overrides: what the source does not say, or says otherwise; nothing for a published format.

    Returns:
        The classifier, in evaluation mode.

    Raises:
        InputError: an unknown source, with the nearest one; overrides of a published format; see also the two.
    """
    check_known([source], [*SOURCES, *FORMATS], "source")
    if source not in FORMATS:
        return import_network(source, name, folder, overrides)
    if overrides != Given():
        raise InputError(f"{source} says all of its networks itself: it takes NAME and --out alone.")
    return import_published(source, name, folder)


def import_published(name: str, path: str | Path, folder: str | Path) -> ConvolutionalClassifier:
    """Write a published network as `weights.safetensors` and `model.toml`.

    The card gets the format's fields and a table `imported`: format, file, its SHA-256, source, licence, citation and
    `training_options`. It has no thresholds, for those are chosen on validation images; half a probability stands in.

    Args:
        name: one of `FORMATS`.
        path: the published file; of `imagenet` the network's name.
        folder: where to write; made if it is missing. The same file may be imported there again.

    Returns:
        The classifier, in evaluation mode.

    Raises:
        InputError: an unknown format, with the nearest one; a folder that holds another network; see also the reader.
    """
    check_known([name], FORMATS, "format")
    entry, path, folder = FORMATS[name], Path(path), Path(folder)
    model, options = entry.read(path)
    digest = entry.digest(path)
    _check_free(folder, lambda card: card.get("imported", {}).get("sha256") == digest)
    imported = {
        "format": name,
        "file": path.name,
        "sha256": digest,
        "source": options.pop("source", entry.source),
        "licence": options.pop("licence", entry.licence),
        "citation": entry.citation,
        "training_options": options,
    }
    save_model(model, folder, extra={**entry.card, "imported": imported})
    model.path, model.card = folder, read_model_card(folder)
    return model


def import_network(kind: str, name: str, folder: str | Path, overrides: Given) -> AnyClassifier:
    """Write a network of others into a model folder: `weights.safetensors`, `model.toml`, and the code of Python code.

    What was written is read again and must give the same outputs; only then does it stand in the folder.

    Args:
        kind: of the source, one of `SOURCES`.
        name: as the source calls it.
        folder: where to write; made if it is missing. The same network (its name, options, code and weights) may be
            imported there again.
        overrides: what the source does not say, or says otherwise.

    Returns:
        The classifier, in evaluation mode.

    Raises:
        InputError: a folder that holds another network; a network that cannot be built again; see also `open_source`.
    """
    folder = Path(folder)
    _check_free(folder, lambda card: _is_of(card, kind, name))  # before it is built, which takes long and runs code
    model = open_source(kind, name, overrides)
    _check_free(folder, lambda card: _identity(card["source"]) == _identity(source_tables(model)["source"]))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as place:
        hidden = Path(place)
        save_model(model, hidden)
        again = load_model(hidden, trust_code=True)
        images = probe_images(*model.input_spec.shape)
        with torch.no_grad():
            here, there = model(images), again(images)
        if not float((here - there).abs().max()) <= TOLERANCE * max(float(here.max() - here.min()), 1e-6):
            raise InputError(
                f"{kind}:{name} gives other outputs when it is built again with the same weights: something that it "
                "computes with is neither in its weights nor always built the same way."
            )
        folder.mkdir(exist_ok=True)
        for part in sorted(hidden.iterdir(), key=lambda path: path.name == CARD):  # the card last: it names the rest
            if part.is_dir():
                replace_folder(folder / part.name, part)
            else:
                part.replace(folder / part.name)
    again.path = folder
    return again


def _is_of(card: dict[str, Any], kind: str, name: str) -> bool:
    """Whether a card's network is called so: another one may be, too."""
    source = card.get("source", {})
    return source.get("kind") == kind and source.get("name") in (name, Path(name).name)


def _identity(source: dict[str, Any]) -> str:
    """What makes a network of others this one and no other: its name, options, code and weights."""
    return json.dumps(source, sort_keys=True)


def _check_free(folder: Path, same: Callable[[dict[str, Any]], bool]) -> None:
    """Refuse a folder with a network that is not the same."""
    if folder.is_file():
        raise InputError(f"{folder} is a file; --out names a folder.")
    files = [name for name in ("run.toml", CARD, WEIGHTS) if (folder / name).exists()]
    if not files:
        return
    if CARD in files and "run.toml" not in files and same(read_model_card(folder)):
        return
    raise InputError(f"{folder} holds another network already ({', '.join(files)}). Choose another --out.")
