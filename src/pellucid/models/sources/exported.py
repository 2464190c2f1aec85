"""What a file that Pellucid exported says of its network: written into the file, and read when it is brought back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args

from pellucid.types import InputError, InputSpec, Task
from pellucid.utils.resources import finite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pellucid.models.classifier import AnyClassifier

EXTRA_FILE = "pellucid.json"
"""The file inside a file of TorchScript."""
_KEYS = ("classes", "task", "preprocess", "channels", "thresholds", "outputs")


def facts_of(model: AnyClassifier) -> dict[str, Any]:
    """Classes, task, preprocessing, channels, thresholds (None where a class has none) and kind of output."""
    spec = model.input_spec
    return {
        "classes": list(model.classes),
        "task": model.task,
        "preprocess": spec.preprocess,
        "channels": spec.channels,
        "thresholds": finite(list(model.card.get("thresholds", ()))),
        "outputs": "logits",
    }


def read_facts(entries: Mapping[str, str], place: str) -> dict[str, Any]:
    """The fields of `Built` that the entries of a file say; empty for a file of other programs.

    Its normalisation is inside the network, so the mean is 0 and the standard deviation 1.

    Args:
        entries: name → JSON, as `facts_of` gives them.
        place: the file, for messages.

    Raises:
        InputError: entries of these names that say something else.
    """
    if not all(key in entries for key in _KEYS):
        return {}
    try:
        facts = {key: json.loads(entries[key]) for key in _KEYS}
        classes, task, thresholds = [str(name) for name in facts["classes"]], facts["task"], facts["thresholds"]
        channels = int(facts["channels"])
        spec = InputSpec.parse(facts["preprocess"], channels)
        limits = [float("nan") if value is None else float(value) for value in thresholds]
        if (
            not isinstance(facts["classes"], list)
            or task not in get_args(Task)
            or facts["outputs"] != "logits"
            or len(limits) not in (0, len(classes))
        ):
            raise ValueError("classes, task, outputs or thresholds")
    except (ValueError, TypeError, AttributeError, InputError) as error:
        raise InputError(
            f"what {place} says of its classes and images is not as Pellucid writes it ({error}): export it again."
        ) from error
    return {
        "classes": classes,
        "task": task,
        "input_spec": spec,
        "mean": [0.0] * channels,
        "std": [1.0] * channels,
        "outputs": "logits",
        "thresholds": limits or None,
    }
