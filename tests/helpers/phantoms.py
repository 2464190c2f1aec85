"""The phantom, opened and drawn once: tests open the same few hundreds of times, each for half a second."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from unittest.mock import patch

from pellucid.data.readers.phantom import reader

MOST = 50  # that are kept


@contextmanager
def remembered():
    """`open_dataset("phantom")` and all commands take a phantom that was opened before; its own tests draw it anew."""
    real, opened = reader.open_phantom, {}

    def open_phantom(*, seed=0, options=None):
        parsed = reader.PhantomOptions.parse(options)
        key = (seed, parsed.model_dump_json())
        if key not in opened:
            parts = real(seed=seed, options=parsed)
            opened[key] = {name: replace(part, read=_kept(part.read)) for name, part in parts.items()}
            if len(opened) > MOST:
                del opened[next(iter(opened))]
        return {name: replace(part, targets=part.targets.copy()) for name, part in opened[key].items()}

    with patch.object(reader, "open_phantom", open_phantom):
        yield


def _kept(read):
    """Gives each caller an array of its own."""
    kept = cache(read)
    return lambda row: kept(row).copy()
