"""Pellucid trains image classifiers robustly, explains their answers, and measures how far explanations can be trusted.

Example:
    >>> import pellucid as pl
    >>> len(pl.dataset("phantom", split="test", size=32, train=8, validation=4, test=4))
    4
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pellucid.utils.process_settings import keep_freed_memory, wait_briefly

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
    from pellucid.evaluation.metrics.operating_points import Use
    from pellucid.evaluation.metrics.plain import accuracy, auroc, average_precision
    from pellucid.verbs.ara import ara
    from pellucid.verbs.attack import attack
    from pellucid.verbs.attack_explanation import attack_explanation
    from pellucid.verbs.audit import audit
    from pellucid.verbs.certify import certify
    from pellucid.verbs.certify_explanation import certify_explanation
    from pellucid.verbs.data import dataset
    from pellucid.verbs.discover import discover
    from pellucid.verbs.evaluate import evaluate
    from pellucid.verbs.explain import explain
    from pellucid.verbs.localize import localize
    from pellucid.verbs.models import load, wrap
    from pellucid.verbs.study import study
    from pellucid.verbs.train import train
    from pellucid.verbs.trust import trust

__version__ = "0.1.0"

PACKAGES = ("attacks", "data", "evaluation", "explainers", "models", "report", "training", "types")

VERBS = {
    "Epsilon": "pellucid.attacks:Epsilon",
    "Use": "pellucid.evaluation.metrics.operating_points:Use",
    "accuracy": "pellucid.evaluation.metrics.plain:accuracy",
    "ara": "pellucid.verbs.ara:ara",
    "attack": "pellucid.verbs.attack:attack",
    "attack_explanation": "pellucid.verbs.attack_explanation:attack_explanation",
    "audit": "pellucid.verbs.audit:audit",
    "auroc": "pellucid.evaluation.metrics.plain:auroc",
    "average_precision": "pellucid.evaluation.metrics.plain:average_precision",
    "certify": "pellucid.verbs.certify:certify",
    "certify_explanation": "pellucid.verbs.certify_explanation:certify_explanation",
    "dataset": "pellucid.verbs.data:dataset",
    "discover": "pellucid.verbs.discover:discover",
    "evaluate": "pellucid.verbs.evaluate:evaluate",
    "explain": "pellucid.verbs.explain:explain",
    "load": "pellucid.verbs.models:load",
    "localize": "pellucid.verbs.localize:localize",
    "study": "pellucid.verbs.study:study",
    "train": "pellucid.verbs.train:train",
    "trust": "pellucid.verbs.trust:trust",
    "wrap": "pellucid.verbs.models:wrap",
}
"""Where each name lies, as `module:attribute`; it is imported when it is first used."""

__all__ = [
    "Epsilon",
    "Use",
    "accuracy",
    "ara",
    "attack",
    "attack_explanation",
    "attacks",
    "audit",
    "auroc",
    "average_precision",
    "certify",
    "certify_explanation",
    "data",
    "dataset",
    "discover",
    "evaluate",
    "evaluation",
    "explain",
    "explainers",
    "load",
    "localize",
    "models",
    "report",
    "study",
    "train",
    "training",
    "trust",
    "types",
    "wrap",
]


class _FrontDoor(ModuleType):
    """The package: a verb that is called as a package below it, `study`, stays the verb once that is imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in VERBS and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _FrontDoor
keep_freed_memory()  # before torch takes any
wait_briefly()


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
