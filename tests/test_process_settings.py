"""Whether freed memory is kept, by the pages that a process has to fetch from the system; how long threads wait."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pellucid.utils.process_settings import WAITING

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


@pytest.mark.parametrize(
    ("chosen", "turns"),
    [({}, "20000"), ({"OMP_WAIT_POLICY": "active"}, "None"), ({"GOMP_SPINCOUNT": "7"}, "7")],
)
def test_threads_wait_briefly_unless_users_choose_themselves(chosen, turns):
    others = {name: value for name, value in os.environ.items() if name not in WAITING}
    code = "import os, pellucid; print(os.environ.get('GOMP_SPINCOUNT'))"
    assert subprocess.check_output([sys.executable, "-c", code], env=others | chosen, text=True).strip() == turns
