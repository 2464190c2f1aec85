"""What a process asks of the C library, and of the threads that torch computes with, before torch is loaded."""

from __future__ import annotations

import ctypes
import os
import sys

OWN_SETTINGS = ("GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_")
"""Environment variables by which users choose themselves; setting one, even to nothing, leaves glibc as it is."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGEST_BLOCK = 1 << 30
NEVER = (1 << 31) - 1


def keep_freed_memory() -> bool:
    """Let the C library of Linux keep what this process frees, up to blocks of 1 GiB; whether that was done.

    By default glibc maps each block beyond 32 MiB anew and gives it back when it is freed, so that every pass of a
    network over a batch of larger images has its feature maps faulted in and zeroed page by page, which can take longer
    than the arithmetic (benchmarks/allocator.py). The process then stays as large as it was at its peak. Nothing is
    done on other systems, or where an environment variable of `OWN_SETTINGS` is set.
    """
    if sys.platform != "linux" or any(name in os.environ for name in OWN_SETTINGS):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and bool(mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK) and mallopt(M_TRIM_THRESHOLD, NEVER))


WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
"""Environment variables by which users say how threads wait."""
TURNS = "20000"


def wait_briefly() -> bool:
    """Let a thread that waits give its core away after 20,000 turns of GNU OpenMP's loop; whether that was done.

    By default it is 300,000 turns, some milliseconds. Where other work wants the cores too, the thread that is waited
    for may need just that core, and a training step takes several times as long. On idle cores it takes the same
    (benchmarks/busy_cores.py). Child processes do so too. Nothing is done where a variable of `WAITING` is set; it is
    too late where torch was imported before, and other OpenMP libraries do not look at it.
    """
    if any(name in os.environ for name in WAITING):
        return False
    os.environ["GOMP_SPINCOUNT"] = TURNS
    return True
