"""Pellucid trains image classifiers whose explanations can be trusted, and measures how far they can be."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pellucid import attacks, data, models, report, study, training, types
    from pellucid import evaluation as evaluate
    from pellucid import explainers as explain

__version__ = "0.1.0"
__all__ = ["attacks", "data", "evaluate", "explain", "models", "report", "study", "training", "types"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import a room the first time it is used, so that ``import pellucid`` costs nothing."""
    if name in __all__:
        return import_module(f"pellucid.{name}")
    raise AttributeError(f"module 'pellucid' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
