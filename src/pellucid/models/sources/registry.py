"""The sources of networks that others made, by name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pellucid.models.sources import huggingface, onnx, python, timm, torchscript, torchvision, torchxrayvision
from pellucid.models.sources.source import SourceEntry
from pellucid.utils.resources import check_known, optional

if TYPE_CHECKING:
    from pathlib import Path

SOURCES: dict[str, SourceEntry] = {
    entry.kind: entry
    for entry in (
        SourceEntry(
            "python",
            "a function of your own Python code that makes the network",
            "mymodel.py:build",
            python.build,
            python.rebuild,
            runs_code=True,
            counts=False,
        ),
        SourceEntry(
            "timm",
            "a network of timm",
            "resnet50.a1_in1k",
            timm.build,
            timm.rebuild,
            extra="timm",
            package="timm",
            fetching=frozenset(
                {"checkpoint_path", "cache_dir", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay"}
            ),
        ),
        SourceEntry(
            "torchvision",
            "a classifier of torchvision",
            "resnet50",
            torchvision.build,
            torchvision.rebuild,
            extra="torchvision",
            package="torchvision",
            fetching=frozenset({"weights", "weights_backbone", "pretrained"}),
        ),
        SourceEntry(
            "huggingface",
            "an image classifier of Hugging Face's transformers",
            "google/vit-base-patch16-224",
            huggingface.build,
            huggingface.rebuild,
            extra="huggingface",
            package="transformers",
            fetching=frozenset(
                {"auto_map", "trust_remote_code", "use_pretrained_backbone", "quantization_config", "custom_pipelines"}
            ),
        ),
        SourceEntry(
            "torchxrayvision",
            "a chest radiograph classifier of torchxrayvision",
            "densenet121-res224-all",
            torchxrayvision.build,
            torchxrayvision.rebuild,
            extra="torchxrayvision",
            package="torchxrayvision",
            fetching=frozenset({"weights", "cache_dir"}),
        ),
        SourceEntry(
            "onnx",
            "a network that was exported to ONNX",
            "network.onnx",
            onnx.build,
            onnx.rebuild,
            extra="onnx",
            package="onnx",
            counts=False,
        ),
        SourceEntry(
            "torchscript",
            "a network that was saved as TorchScript",
            "network.pt",
            torchscript.build,
            torchscript.rebuild,
            runs_code=True,
            counts=False,
        ),
    )
}


def find_source(kind: str) -> SourceEntry:
    """A source by name, its library there.

    Raises:
        InputError: an unknown source, with the nearest one; a library that is missing, with the extra that installs it.
    """
    check_known([kind], SOURCES, "source")
    entry = SOURCES[kind]
    if entry.package:
        optional(entry.package, entry.extra, f"a model of {kind}")
    return entry


def split_address(text: str | Path) -> tuple[str, str] | None:
    """``timm:resnet50`` as source and name; None for what names no source, as a path does.

    Example:
        >>> split_address("huggingface:microsoft/resnet-50"), split_address("runs/first")
        (('huggingface', 'microsoft/resnet-50'), None)
    """
    match = re.fullmatch(r"([a-z][a-z0-9]+):(.+)", str(text))
    return (match[1], match[2]) if match and match[1] in SOURCES else None
