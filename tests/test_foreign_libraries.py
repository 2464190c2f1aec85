"""The tests of `tests/foreign`, which need timm, torchvision and others, in one process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
FOREIGN = Path(sys.prefix) / "foreign"  # where the Makefile puts them: in the environment they would break it


@pytest.mark.slow
def test_beside_the_libraries_of_others():
    if not FOREIGN.is_dir():
        message = f"no libraries at {FOREIGN}; `make test` installs them there"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", str(HERE / "foreign")],
        cwd=HERE.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PELLUCID_FOREIGN": str(FOREIGN)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2_000:]
