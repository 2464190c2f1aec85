"""The CIFAR-10 networks published with Woods, Chen & Teuscher 2019, read without running their pickles."""

from __future__ import annotations

import math
import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.models.registry import create_model
from pellucid.models.sources.checkpoint import load_exactly
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pellucid.models.classifier import ConvolutionalClassifier

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SOURCE = "github.com/wwoods/adversarial-explanations-cifar"


def _nothing(*_: object) -> None:
    """Stands for the one function that the files name; a file that calls it is refused."""
    raise pickle.UnpicklingError("the file calls a function")


FOREIGN_NAME = "__main__.cifar10_preprocess"
"""The function that the published files mention beside tensors and plain values: they name it, they never need it."""

_LAYERS = {"pre.0": "norm1", "main.0": "conv1", "main.1": "norm2", "main.3": "conv2", "shortcut": "shortcut"}


def read_woods2019(path: str | Path) -> tuple[ConvolutionalClassifier, dict[str, Any]]:
    """A published network and how it was trained.

    The pickle is read with an allow-list: tensors, plain values, and one foreign name which is mapped to nothing.

    Args:
        path: `resnet44-standard.pt`, `resnet44-adv-train.pt`, `resnet44-all.pt` or `resnet44-robust.pt`.

    Returns:
        The classifier in evaluation mode, taking pixels in [0, 1], and the training options that the file states
        (`robust_additions`, `adversarial_training`, `l2_min`, `robust_integration` and with it the last ψ).

    Raises:
        InputError: no such file, a pickle with any other name in it, or another network.

    Source:
        github.com/wwoods/adversarial-explanations-cifar, `prebuilt/`.
    """
    path = Path(path)
    content = _unpickle(path)
    try:
        options = dict(content["training_options"])
        model = _built(content["model_params"], options.pop("arch"), source=str(path))
        if "robust_integration" in options:
            options["psi"] = 220.0 * math.exp(0.02 * options["robust_integration"])  # the integrating controller's
    except InputError as error:
        raise InputError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        raise InputError(f"{path} is not a network of {SOURCE}: {error}.") from error
    options.pop("input_offset", None)  # the classifier's own mean and std
    return model.eval(), options


def _built(state: Mapping[str, Tensor], architecture: Sequence[Any], *, source: str) -> ConvolutionalClassifier:
    """The network of the author's `arch`: size, preprocessing, blocks and widths of the stages, number of classes."""
    size, _, blocks, widths, count = architecture
    if not all(isinstance(value, Tensor) for value in state.values()) or state["input_offset"].shape != (2, 3):
        raise ValueError("its tensors are not those of a network")
    if count != len(CLASSES):
        raise ValueError(f"it tells {count} classes apart, not CIFAR-10's ten")
    deltas = {float(value) for name, value in state.items() if name.endswith(".d")}
    if deltas - {0.5}:
        raise ValueError(f"it has half-Huber ReLUs of another delta than 0.5: {sorted(deltas)}")
    # float32 values as the shortest decimals that give them back
    mean, std = ([float(str(value)) for value in row] for row in state["input_offset"].float().numpy())
    model = create_model(
        "resnet44",
        classes=CLASSES,
        task="multiclass",
        in_channels=3,
        size=int(size),
        mean=mean,
        std=std,
        widths=[int(width) for width in widths],
        blocks=[int(block) for block in blocks],
        activation="half-huber" if deltas else "relu",
    )
    load_exactly(model, _renamed(state), source=source)
    return model


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The author's names (`pipe.<stage>.<block>.<layer>`) as this library's."""
    tail = max(int(name.split(".")[1]) for name in state if name.startswith("pipe."))
    first_norm = tail - 3  # …, stages, batch norm, activation, pooling, 1 × 1 convolution
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name == "input_offset" or name.endswith(".d"):
            continue
        block = re.fullmatch(r"pipe\.(\d+)\.(\d+)\.(pre\.0|main\.[013]|shortcut)\.(\w+)", name)
        outer = re.fullmatch(r"pipe\.(\d+)\.(\w+)", name)
        if block:
            stage, index, layer, leaf = block.groups()
            renamed[f"backbone.stages.{int(stage) - 1}.{index}.{_LAYERS[layer]}.{leaf}"] = tensor
        elif outer and int(outer[1]) == 0:
            renamed[f"backbone.stem.{outer[2]}"] = tensor
        elif outer and int(outer[1]) == first_norm:
            renamed[f"backbone.norm.{outer[2]}"] = tensor
        elif outer and int(outer[1]) == tail:
            renamed[f"head.{outer[2]}"] = tensor.flatten(1) if outer[2] == "weight" else tensor
        else:
            renamed[name] = tensor  # unknown: load_exactly names it
    return renamed


def _unpickle(path: Path) -> Any:  # noqa: ANN401
    if not path.is_file():
        raise InputError(f"no file at {path}; the published networks come from {SOURCE}, folder prebuilt.")
    try:
        with torch.serialization.safe_globals([(_nothing, FOREIGN_NAME)]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        foreign = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"names {foreign[1]}, which is" if foreign else "holds something"
        raise InputError(
            f"{path} {what} beyond tensors, plain values and {FOREIGN_NAME}, or is no checkpoint: it is not opened, "
            "since that could run code of the file."
        ) from error
    except Exception as error:  # what a damaged pickle raises is anyone's guess: IndexError, TypeError, struct.error …
        raise InputError(f"{path} is not a readable checkpoint ({type(error).__name__}: {error}).") from error
