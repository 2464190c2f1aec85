"""Libraries of others that are imported by the first test that uses them, not while tests are collected."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import pytest


class Library:
    """Stands for a library until something of it is used: each worker of pytest collects every file, and runs some."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, attribute):
        return getattr(import_module(self._name), attribute)


def library(name):
    """The library; where it is not installed, the file that asks for it is skipped, as by `pytest.importorskip`."""
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed", allow_module_level=True)
    return Library(name)
