"""A classifier of a network that others made: what its source says and what the caller gives, looked at together."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pellucid.models.card import card_input
from pellucid.models.classifier import WrappedClassifier, wrap
from pellucid.models.layouts import LastMap
from pellucid.models.probe import check_classifier
from pellucid.models.sources.checkpoint import fit_to, load_exactly, read_nested
from pellucid.models.sources.python import checked_code
from pellucid.models.sources.registry import find_source
from pellucid.models.sources.source import Built, NewHead, Request, Source, SourceEntry, check_harmless
from pellucid.models.split import find_split
from pellucid.models.surgery import replace_linear
from pellucid.types import InputError, InputSpec
from pellucid.utils.download import digest_of
from pellucid.utils.words import first_of, joined

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

    from pellucid.models.outputs import OutputKind
    from pellucid.types import Task


_HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Given:
    """What a caller says of a network; None for what its source is to say.

    Attributes:
        weights: a file with its weights.
        classes: one name for each output.
        task: `multiclass` or `multilabel`.
        preprocess: how an image becomes what it takes, as ``crop:256:224:bicubic``.
        mean: what is subtracted from pixels in [0, 1], one value for each channel.
        std: what they are divided by then.
        outputs: `logits` or `probabilities`.
        options: for the one who builds it.
    """

    weights: str | Path | None = None
    classes: Sequence[str] | None = None
    task: Task | None = None
    preprocess: str | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    outputs: OutputKind | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def open_source(kind: str, name: str, overrides: Given) -> WrappedClassifier:
    """A network of others as a classifier in evaluation mode, its weights in single precision, looked at on images.

    Args:
        kind: of the source, one of `SOURCES`.
        name: as the source calls it.
        overrides: what the source does not say, or says otherwise.

    Raises:
        InputError: a source or name that is not known; weights of another network or a head of another size; what
            neither says, by name; whatever `check_classifier` refuses.
    """
    entry = find_source(kind)
    weights = None if overrides.weights is None else Path(overrides.weights)
    if weights is not None and not weights.is_file():
        raise InputError(f"no weights file at {weights}.")
    built = entry.build(Request(name, overrides.options, weights=weights is None, file=weights))
    weights = built.weights if weights is None else weights
    if weights is not None:
        built = _loaded(entry, name, overrides, built, weights)
    elif not built.loaded:
        _check_trained(entry, name, overrides, built)
    _tell_default(kind, name, built, overrides)
    _to_single_precision(built.module)
    _with_gradients(built.module)
    model = _wrapped(f"{kind}:{name}", built, overrides)
    model.source = Source(
        kind,
        built.name or name,
        built.options,
        built.code,
        "" if weights is None else weights.name,
        "" if weights is None else digest_of(weights),
    )
    if built.thresholds is not None and overrides.classes is None:
        model.card = {"thresholds": list(built.thresholds)}
    return find_split(model).eval()


def source_tables(model: WrappedClassifier) -> dict[str, Any]:
    """The tables of a card that say whose network a model is: `source`, `outputs`, `features`; its thresholds."""
    source = model.source
    assert source is not None
    table = {
        **source.built_from,
        "name": source.name,
        "weights": source.weights,
        "weights_sha256": source.weights_sha256,
    }
    thresholds = {"thresholds": model.card["thresholds"]} if "thresholds" in model.card else {}
    features = {} if model.last_map is None else {"features": model.last_map.to_card()}
    return {"source": table, "outputs": {"kind": model.outputs}, **features, **thresholds}


def reopen(card: Mapping[str, Any], folder: Path, *, trust_code: bool) -> WrappedClassifier:
    """The classifier of a card with the table `source`, without its weights.

    Raises:
        InputError: code in the folder that is not trusted, or that was altered; a library that is missing, or that
            does not know the network any more.
    """
    table = card["source"]
    entry = find_source(table["kind"])
    digests = table.get("code_sha256", {})
    if entry.runs_code and not trust_code:
        raise InputError(
            f"{folder} brings code of its own ({first_of(digests) or 'unnamed'}), which would run with all your "
            "rights. If you trust whoever made it, say so: --trust-code on the command line, trust_code=True in Python."
        )
    code = checked_code(folder, digests)
    source = Source(
        table["kind"],
        table["name"],
        table.get("options", {}),
        code,
        table.get("weights", ""),
        table.get("weights_sha256", ""),
        NewHead(**table["head"]) if "head" in table else None,
    )
    if not entry.runs_code:
        check_harmless(source, entry, folder)
    try:
        module = entry.rebuild(source, folder)
        if source.head is not None:
            replace_linear(module, source.head.layer, source.head.outputs)
    except InputError:
        raise
    except Exception as error:  # of a library: another version may know other names and options
        raise InputError(f"{folder}: {entry.kind} cannot build {source.name} again: {error}") from error
    _with_gradients(module)
    model = wrap(
        module.float() if any(p.dtype in _HALF for p in module.parameters()) else module,
        mean=card["input"]["mean"],
        std=card["input"]["std"],
        task=card["task"],
        classes=card["classes"],
        input_spec=card_input(card),
        outputs=card.get("outputs", {}).get("kind", "logits"),
        last_map=LastMap.from_card(card["features"]) if "features" in card else None,
    )
    model.source = source
    return model


def _loaded(entry: SourceEntry, name: str, overrides: Given, built: Built, path: Path) -> Built:
    """The network with the weights of a file, built anew for as many outputs as these have."""
    tensors, inside = read_nested(path)
    state, notes = _named_as(built, tensors, path)
    count = _outputs_of(built.module, state) if entry.counts else None
    if count is not None:
        class_count = None if overrides.classes is None else len(overrides.classes)
        if class_count is None:
            raise InputError(
                f"the weights of {path} have {_outputs(count)}, and {entry.kind}:{name} by itself others: give "
                f"classes, {count} names in the order of the outputs."
            )
        if count not in (class_count, 1 if class_count == 2 else class_count):
            raise InputError(
                f"the weights of {path} have {_outputs(count)}, and {class_count} classes are named: a head of another "
                "size cannot be judged. Name one class for each output, in their order."
            )
        built = entry.build(Request(name, overrides.options, count=count, file=path))
        state, notes = _named_as(built, tensors, path)
    load_exactly(built.module, state, source=str(path))
    messages = [*([inside] if inside else []), *notes]
    if messages:
        warnings.warn(f"{path.name}: {'; '.join(messages)}.", stacklevel=4)
    return built


def _outputs(count: int) -> str:
    return "1 output" if count == 1 else f"{count} outputs"


def _named_as(built: Built, tensors: dict[str, Tensor], path: Path) -> tuple[dict[str, Tensor], list[str]]:
    state, notes = fit_to(built.module, tensors, str(path))
    return (state if built.rename is None else built.rename(state)), notes


def _outputs_of(module: nn.Module, state: Mapping[str, Tensor]) -> int | None:
    """How many outputs weights have that differ from a module's in the size of their head alone; None otherwise."""
    own = {name: tensor.shape for name, tensor in module.state_dict().items() if isinstance(tensor, torch.Tensor)}
    differing = [name for name, tensor in state.items() if name in own and tensor.shape != own[name]]
    heads = [name for name in differing if state[name].ndim and state[name].shape[1:] == own[name][1:]]
    counts = {state[name].shape[0] for name in heads}
    return counts.pop() if len(counts) == 1 and len(heads) == len(differing) else None


def _check_trained(entry: SourceEntry, name: str, overrides: Given, built: Built) -> None:
    """Refuse a network whose weights are drawn anew each time that it is built."""
    again = entry.build(Request(name, overrides.options)).module.state_dict()
    random_keys = [key for key, tensor in built.module.state_dict().items() if not _same(tensor, again.get(key))]
    if random_keys:
        raise InputError(
            f"{entry.kind}:{name} makes a network with other weights each time ({first_of(random_keys)}): it was not "
            "trained. Give weights, the file that they were saved to."
        )


def _same(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.shape == other.shape and bool(torch.equal(one, other))
    return type(one) is type(other)


def _tell_default(kind: str, name: str, built: Built, overrides: Given) -> None:
    """Say whose classes, preprocessing and normalisation were taken where the name says no weights."""
    facts = {"classes": built.classes, "preprocess": built.input_spec, "mean": built.mean, "std": built.std}
    keys = [key for key, value in facts.items() if value is not None and getattr(overrides, key) is None]
    if not built.default or not (keys or built.loaded):
        return
    text = f"{kind}:{name} names no weights, and {built.default} is the default of {kind}"
    if built.loaded:
        text += ": these were taken."
    else:
        text += (
            f": {joined(keys)} {'is' if len(keys) == 1 else 'are'} taken from there. Where the file was made from "
            "other weights, name these, or give what differs."
        )
    warnings.warn(text, stacklevel=4)


def _to_single_precision(module: nn.Module) -> None:
    """Weights of half precision in single: gradients and small perturbations do not fit into half."""
    kinds = {p.dtype for p in module.parameters() if p.dtype in _HALF}
    if kinds:
        module.float()
        named = " and ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        warnings.warn(f"weights of {named} are computed with in float32.", stacklevel=4)


def _with_gradients(module: nn.Module) -> None:
    """Parameters that their author froze can be trained again; whole numbers have no gradient."""
    for parameter in module.parameters():
        parameter.requires_grad_(parameter.is_floating_point() or parameter.is_complex())


def _wrapped(address: str, built: Built, overrides: Given) -> WrappedClassifier:
    """The classifier, or one error that names all that is not known."""
    classes = overrides.classes if overrides.classes is not None else built.classes
    mean = overrides.mean if overrides.mean is not None else built.mean
    std = overrides.std if overrides.std is not None else built.std
    facts = {
        "classes": classes,
        "preprocess": overrides.preprocess or built.input_spec,
        "mean": mean,
        "std": std,
    }
    lacking = [key for key, value in facts.items() if value is None]
    if classes is None or mean is None or std is None or lacking:
        raise InputError(
            f"{address} does not say {', '.join(lacking)}: give {'it' if len(lacking) == 1 else 'them'} as in its "
            f"training. {' '.join(_ASKED[key] for key in lacking)}"
        )
    if overrides.preprocess is not None:
        spec = InputSpec.parse(overrides.preprocess, channels=len(mean))
    else:
        assert built.input_spec is not None
        spec = built.input_spec
    model = wrap(
        built.module,
        mean=mean,
        std=std,
        task=overrides.task or built.task or ("multiclass" if len(classes) > 1 else "multilabel"),
        classes=classes,
        input_spec=spec,
        outputs=overrides.outputs or built.outputs or "logits",
    )
    check_classifier(model, overrides.outputs or built.outputs)
    return model


_ASKED = {
    "classes": "classes: one name for each output, in their order, as NORMAL,PNEUMONIA.",
    "preprocess": "preprocess: FIT[:RESIZE]:SIZE[:INTERPOLATION], as crop:256:224:bicubic or stretch:224.",
    "mean": "mean: of each channel of pixels in [0, 1], ImageNet's are 0.485,0.456,0.406; 0,0,0 where the network "
    "normalises by itself.",
    "std": "std: the same, ImageNet's are 0.229,0.224,0.225; 1,1,1 where the network normalises by itself.",
}
