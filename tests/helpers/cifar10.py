"""Images of 32 × 32 pixels that survive JPEG, and zips of them."""

from __future__ import annotations

import io
import zipfile

import numpy as np
from PIL import Image


def picture(rng):
    """A random 4 × 4 mosaic of 32 × 32 pixels: JPEG keeps it, and any two differ widely."""
    return np.kron(rng.integers(0, 256, (4, 4, 3)), np.ones((8, 8, 1))).astype(np.uint8)


def encoded(image, kind="JPEG"):
    out = io.BytesIO()
    Image.fromarray(image).save(out, kind, quality=95)
    return out.getvalue()


def write_zip(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
