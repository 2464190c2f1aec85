"""What every test shares: one thread, the real data, and the rule that CI may not skip it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # one thread a worker: more of them slow each other down


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images: PELLUCID_TEST_DATA, or ../shared/data beside the checkout.

    Skips on a user's machine without it; fails in CI, where it must not be missing.
    """
    named = os.environ.get("PELLUCID_TEST_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        message = f"no real images at {folder}; set PELLUCID_TEST_DATA to a folder that has them"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return folder
