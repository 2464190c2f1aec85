"""Images whose class can be told by brightness, in folders, for the tests that need a multiclass task on disk."""

from __future__ import annotations

import numpy as np
from PIL import Image


def gray_shapes(top, test):
    """One folder per class, train/ and test/: three classes of grey noise of different brightness, 32 × 32."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 2), ("test", test)):
        for k, name in enumerate(("dark", "gray", "light")):
            (top / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(rng.normal(60 + 60 * k, 30, (32, 32)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(top / part / name / f"{i}.png")
    return top
