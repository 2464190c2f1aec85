"""The libraries that others' networks are compared with are those beside the environment."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["torchvision", "timm", "torchxrayvision", "pytorch_grad_cam"])
def test_the_library_is_the_one_beside_the_environment(name):
    assert Path(importlib.import_module(name).__file__).is_relative_to(os.environ["PELLUCID_FOREIGN"])
