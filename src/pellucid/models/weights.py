"""A classifier on disk: `weights.safetensors` and the card `model.toml` that says how to build and use it."""

from __future__ import annotations

import hashlib
import json
import tomllib
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tomli_w
import torch
from safetensors.torch import save
from torch import Tensor

from pellucid.models.card import FORMAT, card_input, check_card, input_table
from pellucid.models.classifier import AnyClassifier, Architecture, ConvolutionalClassifier, WrappedClassifier
from pellucid.models.registry import create_model
from pellucid.models.sources.checkpoint import load_exactly, read_nested, read_tensors, tensors_of
from pellucid.models.sources.opening import Given, open_source, reopen, source_tables
from pellucid.models.sources.python import new_code
from pellucid.models.sources.registry import SOURCES, split_address
from pellucid.models.training_record import IMAGES, TABLE, TrainingRecord, parse_record
from pellucid.types import InputError
from pellucid.utils.digests import KEY, seal, unseal
from pellucid.utils.download import digest_of
from pellucid.utils.resources import flush, whole_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

WEIGHTS = "weights.safetensors"
CARD = "model.toml"


def save_model(
    model: AnyClassifier,
    folder: str | Path,
    *,
    extra: Mapping[str, Any] | None = None,
    record: TrainingRecord | None = None,
) -> Path:
    """Write `weights.safetensors` and `model.toml` into a folder; they replace earlier ones once all are written.

    Args:
        model: a classifier that the registry built, or one of a source of others' networks; Python code that built it
            is copied into the folder `code`.
        folder: made if it is missing; earlier files of these names are replaced.
        extra: more fields of the card (label frequencies, thresholds, the best constant prediction, the
            recipe …): numbers (NaN too), texts, lists and tables; tensors and arrays become lists.
        record: what images it was trained on, for a table of the card and `training_images.npz`; None where nobody
            knows, and then an earlier file of that name goes.

    Returns:
        The folder.

    Raises:
        InputError: a classifier that could not be built again, or a field that TOML cannot hold; a full
            disk, and then the earlier files are as they were.

    Example:
        >>> import tempfile
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b"], task="multiclass", size=32)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save_model(model, Path(folder) / "net")
        ...     load_model(path).classes, read_model_card(path)["task"]
        (('a', 'b'), 'multiclass')
    """
    card = model_card(model)
    clashing = sorted({*card, "weights_sha256", TABLE, KEY} & set(extra or {}))
    if clashing:
        raise InputError(f"the card has fields of these names already: {', '.join(clashing)}.")
    card = _plain(card | dict(extra or {}), "model.toml")
    check_card(card, f"the {CARD} to write")
    folder = Path(folder)
    source = model.source if isinstance(model, WrappedClassifier) else None
    weights = _content(model, card)
    card["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    if record is not None:
        card[TABLE] = record.table()
    code = {} if source is None else source.code
    contents = {CARD: tomli_w.dumps(seal(card)).encode(), WEIGHTS: weights}
    contents |= {} if record is None else {IMAGES: record.file}
    # all lie on the disk before the first of them takes its place; the card, which names the others, is the last
    with ExitStack() as parts:
        for name, content in contents.items():
            part = parts.enter_context(whole_file(folder / name))
            part.write_bytes(content)
            flush(part)
        parts.enter_context(new_code(folder, code))
    if record is None:
        (folder / IMAGES).unlink(missing_ok=True)
    return folder


def _content(model: AnyClassifier, card: Mapping[str, Any]) -> bytes:
    """What stands in the weights file of a model with such a card."""
    network = model.module if isinstance(model, WrappedClassifier) else model
    # copies, since tensors that share their memory cannot be written
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors_of(network).items()}
    # the file's hash stands for a model, and so covers all that its outputs depend on
    source = model.source if isinstance(model, WrappedClassifier) else None
    built = {"source": source.built_from} | {key: card[key] for key in ("outputs", "input", "task")} if source else {}
    return save(
        tensors, {"network": hashlib.sha256(json.dumps(built, sort_keys=True).encode()).hexdigest()} if built else None
    )


def weights_sha256_of(model: AnyClassifier) -> str:
    """The hash of a model's weights file: of one that was named as ``timm:NAME`` that which `save_model` would write.

    Of a module that was wrapped in memory, which no folder can hold, that of its tensors.
    """
    if model.path is not None:
        return digest_of(weights_file(model.path))
    if model.source is not None:
        return hashlib.sha256(_content(model, _plain(model_card(model), CARD))).hexdigest()
    return tensors_sha256(model)


def read_model_card(path: str | Path) -> dict[str, Any]:
    """The card of a run folder or of a weights file: what `save_model` wrote, with its extra fields.

    Raises:
        InputError: there is none, or it does not fit the digest that it carries; every field that is missing or of the
            wrong kind is named.

    Example:
        >>> import tempfile
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b"], task="multilabel", size=32)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     read_model_card(save_model(model, folder, extra={"thresholds": [0.4, 0.6]}))["thresholds"]
        [0.4, 0.6]
    """
    path = Path(path)
    card_path = path / CARD if path.is_dir() else path.parent / CARD
    if not path.exists():
        raise InputError(
            f"no model at {path}: give a run folder, a weights file with its {CARD} beside it, or a network of others "
            f"as SOURCE:NAME (SOURCE one of {', '.join(SOURCES)})."
        )
    if not card_path.is_file():
        raise InputError(f"no {CARD} at {card_path.parent}: without it the network cannot be built.")
    try:
        card = tomllib.loads(card_path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{card_path} is not valid TOML: {error}") from error
    if KEY in card:  # one that was written by hand, or by an earlier version, has none
        card = unseal(card, card_path, f"Put back what was written, or, if you changed it, delete its line {KEY}.")
    if card.get("format") != FORMAT:
        raise InputError(
            f"{card_path} has format {card.get('format')!r}; this version of pellucid reads format {FORMAT}."
        )
    check_card(card, str(card_path))
    return card


def card_of_weights(weights: Path) -> dict[str, Any] | None:
    """The card beside a weights file, where it was written for just these weights; None where there is no such card."""
    if not (weights.parent / CARD).is_file() or not weights.is_file():
        return None
    try:
        card = read_model_card(weights)
    except InputError:  # the card of something else
        return None
    return card if card.get("weights_sha256") == digest_of(weights) else None


def read_training_record(path: str | Path) -> TrainingRecord | None:
    """What images the network of a run folder or of a weights file was trained on; None where its card does not say.

    Raises:
        InputError: no card, or a record whose file is missing or was altered.
    """
    card, path = read_model_card(path), Path(path)
    return parse_record(card[TABLE], path if path.is_dir() else path.parent) if TABLE in card else None


def weights_file(path: str | Path) -> Path:
    """The weights of a run folder, or the file itself.

    Example:
        >>> weights_file("runs/first/weights.safetensors").name
        'weights.safetensors'
    """
    path = Path(path)
    return path / WEIGHTS if path.is_dir() else path


def tensors_sha256(network: nn.Module) -> str:
    """A hash of a network's parameters and buffers, of their names, types and shapes too."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode() + b"\0" + str(tensor.dtype).encode() + str(tuple(tensor.shape)).encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_model(
    path: str | Path,
    device: str | torch.device = "cpu",
    *,
    trust_code: bool = False,
    overrides: Given = Given(),  # noqa: B008  # frozen
) -> AnyClassifier:
    """The classifier of a run folder or of a weights file with its `model.toml`, in evaluation mode.

    Args:
        path: the folder or file; or, as ``timm:resnet50.a1_in1k``, a network of others by source and name.
        device: where it computes.
        trust_code: run the Python code that a folder brings with it. Without it such a folder is refused: it may come
            from anybody.
        overrides: of a network of others by source and name, what its source does not say.

    Raises:
        InputError: files that are missing, or weights of another network, named key by key; code that is not trusted,
            or that was altered.

    Example:
        >>> import tempfile
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=["a", "b"], task="multiclass", size=32).eval()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     again = load_model(save_model(model, folder))
        >>> images = torch.rand(2, 1, 32, 32)
        >>> torch.equal(again(images), model(images))
        True
    """
    address = None if Path(path).exists() else split_address(path)
    if address is not None:
        opened = open_source(*address, overrides)
        opened.card = model_card(opened)
        return opened.to(device)
    path = Path(path)
    card = read_model_card(path)
    if overrides != Given():
        raise InputError(
            f"{path} says itself what its classes, images and weights are. These are given for a network of others by "
            "source and name, as timm:NAME."
        )
    weights = weights_file(path)
    model = _own(card, path) if "architecture" in card else reopen(card, weights.parent, trust_code=trust_code)
    network = model.module if isinstance(model, WrappedClassifier) else model
    tensors = read_nested(weights)[0] if isinstance(model, WrappedClassifier) else read_tensors(weights)
    load_exactly(network, tensors, source=str(weights))
    expected = card.get("weights_sha256")
    if expected is not None and weights.suffix == ".safetensors" and digest_of(weights) != expected:
        raise InputError(
            f"{weights} is not the file that its {CARD} was written for (SHA-256 differs): thresholds and "
            "the rest of the card may not fit it. Save both with save_model, or delete weights_sha256."
        )
    model.path, model.card = path, card
    return model.to(device).eval()


def load_trained(path: str | Path, device: str | torch.device = "cpu") -> ConvolutionalClassifier:
    """The classifier of a run, or another of Pellucid's own networks; see `load_model`.

    Raises:
        InputError: a network of others.
    """
    model = load_model(path, device)
    if isinstance(model, WrappedClassifier):
        raise InputError(f"{path} is a network of others, where one of Pellucid's own is needed.")
    return model


def _own(card: Mapping[str, Any], path: Path) -> ConvolutionalClassifier:
    """The network of the registry that a card describes, without its weights."""
    architecture, spec = card["architecture"], card_input(card)
    options = dict(architecture.get("options", {}))
    try:
        model = create_model(
            architecture["name"],
            classes=card["classes"],
            task=card["task"],
            in_channels=spec.channels,
            size=(spec.height, spec.width),
            geometry=spec.geometry,
            mean=card["input"]["mean"],
            std=card["input"]["std"],
            **options,
        )
    except InputError as error:
        raise InputError(f"the {CARD} of {path} describes no network: {error}") from error
    model.architecture = Architecture(architecture["name"], options)
    return model


def model_card(model: AnyClassifier) -> dict[str, Any]:
    """What the card of a model says of itself, without what is known of its training.

    Raises:
        InputError: a module that was wrapped in memory, which nothing on disk could build again.
    """
    card: dict[str, Any] = {
        "format": FORMAT,
        "task": model.task,
        "classes": list(model.classes),
        "input": {**input_table(model.input_spec), "mean": _exact(model.mean), "std": _exact(model.std)},
    }
    if isinstance(model, WrappedClassifier) and model.source is not None:
        card |= source_tables(model)
    elif model.architecture is not None:
        card["architecture"] = {"name": model.architecture.name, "options": model.architecture.options}
    else:
        raise InputError(
            "only a classifier made by create_model, or one that a source gave (pl.load with timm:NAME …), can be "
            "saved: to build another one again takes its code."
        )
    return card


def _exact(values: Tensor) -> list[float]:
    """Float32 values as the shortest decimals that give them back."""
    return [float(str(value)) for value in values.flatten().cpu().numpy()]


def _plain(value: Any, where: str) -> Any:  # noqa: ANN401
    """A value as TOML can hold it."""
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(key): _plain(item, f"{where}: {key}") for key, item in value.items()}
    if isinstance(value, Tensor):
        return _plain(value.detach().cpu().tolist(), where)
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist(), where)
    if isinstance(value, list | tuple):
        return [_plain(item, where) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bool | int | float | str):
        return value
    raise InputError(f"{where} cannot be written to a card: {type(value).__name__} {value!r}.")
