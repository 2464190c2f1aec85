"""Networks that others published, from their own files into a folder like those that training writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.models.sources.woods2019 import SOURCE, read_woods2019
from pellucid.models.weights import CARD, WEIGHTS, read_model_card, save_model
from pellucid.types import InputError
from pellucid.utils.download import digest_of
from pellucid.utils.resources import nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from pellucid.models.classifier import ConvolutionalClassifier


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
    """

    title: str
    read: Callable[[Path], tuple[ConvolutionalClassifier, dict[str, Any]]]
    source: str
    licence: str
    citation: str
    card: dict[str, Any]


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
}
"""The formats that `import_model` knows, by name."""


def import_model(name: str, path: str | Path, folder: str | Path) -> ConvolutionalClassifier:
    """Write a published network as `weights.safetensors` and `model.toml`.

    The card gets the format's fields and a table `imported`: format, file, its SHA-256, source, licence, citation and
    `training_options`. It has no thresholds, for those are chosen on validation images; half a probability stands in.

    Args:
        name: one of `FORMATS`.
        path: the published file.
        folder: where to write; made if it is missing. The same file may be imported there again.

    Returns:
        The classifier, in evaluation mode.

    Raises:
        InputError: an unknown format, with the nearest one; a folder that holds another network; see also the reader.
    """
    if name not in FORMATS:
        raise InputError(f"unknown format {name!r}. {nearest(name, FORMATS)}")
    known, path, folder = FORMATS[name], Path(path), Path(folder)
    model, options = known.read(path)
    digest = digest_of(path)
    _check_free(folder, digest)
    imported = {
        "format": name,
        "file": path.name,
        "sha256": digest,
        "source": known.source,
        "licence": known.licence,
        "citation": known.citation,
        "training_options": options,
    }
    save_model(model, folder, extra={**known.card, "imported": imported})
    return model


def _check_free(folder: Path, digest: str) -> None:
    """Refuse a folder with a network that is not the one of this file."""
    if folder.is_file():
        raise InputError(f"{folder} is a file; --out names a folder.")
    held = [name for name in ("run.toml", CARD, WEIGHTS) if (folder / name).exists()]
    if not held:
        return
    if CARD in held and "run.toml" not in held:
        imported = read_model_card(folder).get("imported")
        if isinstance(imported, dict) and imported.get("sha256") == digest:
            return
    raise InputError(f"{folder} holds another network already ({', '.join(held)}). Choose another --out.")
