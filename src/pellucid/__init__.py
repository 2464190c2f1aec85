"""Pellucid trains image classifiers whose explanations can be trusted, and measures how far they can be.

Example:
    >>> import pellucid as pl
    >>> len(pl.dataset("phantom", split="test", size=32, train=8, validation=4, test=4))
    4
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pellucid import (
        attacks,
        data,
        evaluation,
        explainers,
        models,
        report,
        training,
        types,
    )
    from pellucid.attacks import Epsilon
    from pellucid.verbs.data import dataset

__version__ = "0.1.0"

PACKAGES = ("attacks", "data", "evaluation", "explainers", "models", "report", "training", "types")

VERBS = {
    "Epsilon": "pellucid.attacks:Epsilon",
    "dataset": "pellucid.verbs.data:dataset",
}
"""Where each name lies, as `module:attribute`; it is imported when it is first used."""

__all__ = [
    "Epsilon",
    "attacks",
    "data",
    "dataset",
    "evaluation",
    "explainers",
    "models",
    "report",
    "training",
    "types",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import a verb or a package the first time it is used, so that ``import pellucid`` costs nothing."""
    if name in VERBS:
        module, _, attribute = VERBS[name].partition(":")
        return getattr(import_module(module), attribute)
    if name in PACKAGES:
        return import_module(f"pellucid.{name}")
    raise AttributeError(f"module 'pellucid' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
