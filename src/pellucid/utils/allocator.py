"""Blocks of memory that were freed are kept for the next step, instead of being given back to the system."""

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
