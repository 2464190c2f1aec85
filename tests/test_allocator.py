"""Whether freed memory is kept, by the pages that a process has to fetch from the system."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

TAKE_AND_FREE = """
import resource
import numpy as np
import pellucid

def take():
    np.empty(1 << 26, dtype=np.uint8).fill(1)

take()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    take()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only the C library of Linux is told to keep freed memory")
def test_blocks_larger_than_glibc_keeps_are_kept_unless_users_choose_themselves():
    kept, own = (
        int(subprocess.check_output([sys.executable, "-c", TAKE_AND_FREE], env={**os.environ, **chosen}, text=True))
        for chosen in ({}, {"GLIBC_TUNABLES": ""})
    )
    assert own > 300  # ten times 64 MiB, in pages of at most 2 MiB
    assert kept < own / 10
