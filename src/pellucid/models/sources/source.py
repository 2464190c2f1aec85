"""What a library, or a person's own code, gives of a network: the module, and what it says of images and classes."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pellucid.types import InputError
from pellucid.utils.imagenet_classes import imagenet_classes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from pellucid.models.outputs import OutputKind
    from pellucid.types import InputSpec, Task


PLACES = frozenset({"huggingface", "onnx", "torchscript"})
"""Sources whose names only say where a network lay: its configuration or its graph builds it."""


@dataclass(frozen=True)
class NewHead:
    """The linear layer that fine-tuning put in the place of a network's own.

    Attributes:
        layer: its name in the network.
        outputs: how many it has.
    """

    layer: str
    outputs: int


@dataclass(frozen=True)
class Source:
    """Whose network a model is, and how it is built again.

    Attributes:
        kind: one of `registry.SOURCES`.
        name: as that source calls it.
        options: what the source needs to build the module again, without weights.
        code: of Python code or a graph, each file by its name beside the others; empty for a library.
        weights: the file that the weights were read from, by name; empty where the source had them itself.
        weights_sha256: of that file.
        head: of a network that was fine-tuned for other classes; None of one that has its own.
    """

    kind: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, bytes] = field(default_factory=dict)
    weights: str = ""
    weights_sha256: str = ""
    head: NewHead | None = None

    @property
    def address(self) -> str:
        """As it is given where a model is asked for."""
        return f"{self.kind}:{self.name}"

    @property
    def built_from(self) -> dict[str, Any]:
        """All that the module depends on besides its weights, as plain values; not where it lay.

        Example:
            >>> Source("huggingface", "a/vit").built_from == Source("huggingface", "/tmp/b").built_from
            True
            >>> Source("timm", "resnet18").built_from == Source("timm", "resnet34").built_from
            False
        """
        built: dict[str, Any] = {
            "kind": self.kind,
            "options": dict(self.options),
            "code_sha256": {name: hashlib.sha256(content).hexdigest() for name, content in self.code.items()},
        }
        if self.kind not in PLACES and "architecture" not in self.options:
            built["name"] = self.name
        if self.head is not None:
            built["head"] = asdict(self.head)
        return built


@dataclass(frozen=True)
class Request:
    """What a source is to build.

    Attributes:
        name: of the network.
        options: for the one who builds it.
        count: outputs; None for as many as the network has by itself.
        weights: whether the source is to give its own weights too.
        file: the weights that are loaded instead, by which a source may tell whose they are.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    count: int | None = None
    weights: bool = False
    file: Path | None = None


@dataclass(frozen=True)
class Built:
    """A network as its source gives it, with what the source says of it; None for what it does not say.

    Attributes:
        module: normalised images → outputs.
        options: that build the same module again.
        classes: one name for each output.
        task: of the network.
        input_spec: the images that it takes.
        mean: of its normalisation, for pixels in [0, 1].
        std: the same.
        thresholds: the probability of each class from which on it counts as predicted.
        weights: a file with the weights, where the source names one instead of loading it.
        loaded: whether the module holds trained weights.
        code: the files of Python code, or of a graph, that build it.
        name: as it is called in a model folder, where that is not as it was asked for.
        default: of a library with several sets of weights those, by their full name, that it took because none were
            named: what it says of images and classes is said of these.
        rename: the names that files of weights use → those of the module.
    """

    module: nn.Module
    options: Mapping[str, Any] = field(default_factory=dict)
    classes: Sequence[str] | None = None
    task: Task | None = None
    input_spec: InputSpec | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    outputs: OutputKind | None = None
    thresholds: Sequence[float] | None = None
    weights: Path | None = None
    loaded: bool = False
    code: Mapping[str, bytes] = field(default_factory=dict)
    name: str = ""
    default: str = ""
    rename: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None


@dataclass(frozen=True)
class SourceEntry:
    """A source of networks.

    Attributes:
        kind: its name in commands and cards.
        title: what it is, in one line.
        example: a name that it knows.
        build: a network with what is known of it.
        rebuild: the module of a card, without weights: `rebuild(source, folder)`.
        extra: of Pellucid, that installs its library; empty where none is needed.
        package: that library.
        runs_code: whether what it keeps in a model folder is code that runs there.
        counts: whether `build` makes as many outputs as it is asked for.
        fetching: options by which its library would read a file, fetch something or run code: a folder may come from
            anybody, so a card that has them is refused.
    """

    kind: str
    title: str
    example: str
    build: Callable[[Request], Built]
    rebuild: Callable[[Source, Path], nn.Module]
    extra: str = ""
    package: str = ""
    runs_code: bool = False
    counts: bool = True
    fetching: frozenset[str] = frozenset()


def check_harmless(source: Source, entry: SourceEntry, folder: Path) -> None:
    """Refuse a card by which a library would read another file, fetch something or run code.

    Raises:
        InputError: naming the option, or the name that leads elsewhere.
    """
    for key, value in _settings({"name": source.options.get("architecture", source.name), **source.options}):
        elsewhere = isinstance(value, str) and re.search(r"[/\\:]", value) and key != "config"
        if (key in entry.fetching and value) or (elsewhere and (key != "name" or entry.kind == "timm")):
            raise InputError(
                f"{folder}: its card builds {entry.kind}:{source.name} with {key} = {value!r}, by which "
                f"{entry.package} would read another file, fetch something or run code. A model folder is its card and "
                "its weights alone: import the network again."
            )


def _settings(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every setting by its name, also those inside of others and of a configuration that is kept as text."""
    for key, value in values.items():
        inner = json.loads(value) if key == "config" and isinstance(value, str) else value
        parts = inner if isinstance(inner, list) else [inner]
        for part in parts:
            if isinstance(part, dict):
                yield from _settings(part)
        yield key, value


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Names with their place added where two are the same, as ImageNet's two cranes.

    Example:
        >>> distinct(["crane", "cat", "crane"])
        ('crane (0)', 'cat', 'crane (2)')
    """
    return tuple(f"{name} ({k})" if names.count(name) > 1 else name for k, name in enumerate(list(names)))


def class_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names that differ; of the 1,000 classes of ImageNet the WordNet ids, as the folders of its images are called.

    Example:
        >>> class_names(["tench, Tinca tinca", *map(str, range(998)), "toilet tissue"])[:2]
        ('n01440764', 'n01443537')
    """
    imagenet = len(names) == 1000 and names[0].startswith("tench") and names[999].startswith("toilet tissue")
    return imagenet_classes() if imagenet else distinct(names)


def similar(name: str, names: Iterable[str]) -> str:
    """The end of a message for a name that a library does not know, which knows hundreds: those that are like it.

    Example:
        >>> similar("resnet5", ["resnet50", "resnet34", "vgg16"])
        'Like it are: resnet50, resnet34.'
    """
    close = difflib.get_close_matches(name, list(names), n=5, cutoff=0.6)
    return f"Like it are: {', '.join(close)}." if close else "None that it knows is called like that."
