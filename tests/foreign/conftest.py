"""Tests beside timm, torchvision and others whose operators do not fit this torch: in a process of their own.

`tests/test_foreign_libraries.py` starts it, and nothing here is collected elsewhere; by hand it is
`PELLUCID_FOREIGN=.venv/foreign pytest tests/foreign`.
"""

from __future__ import annotations

import os
import sys

import torch

if FOREIGN := os.environ.get("PELLUCID_FOREIGN"):
    sys.path.append(FOREIGN)  # behind the environment, whose numpy and torch stay
    # torchvision registers the gradients of these at import, and this torch cannot load its file of operators;
    # they are of object detection, so that nothing here calls them
    OPERATORS = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
else:
    collect_ignore_glob = ["test_*.py"]
