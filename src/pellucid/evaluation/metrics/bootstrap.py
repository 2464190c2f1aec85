"""Patients drawn with replacement, once for a whole evaluation."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

Values: TypeAlias = npt.ArrayLike | Tensor
FloatArray: TypeAlias = npt.NDArray[np.float64]

CHUNK = 2**22  # numbers held at once by the loops over resamples


def as_array(values: Values) -> npt.NDArray[Any]:
    """A tensor of any device, or anything array-like, as a numpy array."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values if values.dtype.itemsize != 2 or not values.is_floating_point() else values.float()).numpy()
    return np.asarray(values)


class Bootstrap:
    """Patients drawn with replacement, once for a whole evaluation, so that all its figures are paired.

    The draws depend only on the set of patients, `resamples` and `seed`, not on the order of the images.

    Attributes:
        weights: float32 (resamples, N), how often each image is drawn; images of a patient come together.
        patients: int64 (N,), the number of each image's patient.
        key: equal for bootstraps that draw the same patients.
        unit: what is drawn, for sentences: an `image`, where each is of a patient of its own or none is known, or a
            `patient`.

    Example:
        >>> draws = Bootstrap(["ann", "ann", "bob", "eve"], resamples=200)
        >>> draws.weights.shape, bool((draws.weights[:, 0] == draws.weights[:, 1]).all())
        ((200, 4), True)
    """

    weights: npt.NDArray[np.float32]
    patients: npt.NDArray[np.int64]
    key: str
    unit: str

    def __init__(self, groups: Sequence[Hashable], resamples: int = 1000, seed: int = 0) -> None:
        if len(groups) == 0:
            raise InputError("there are no images, and so no figure of them: give the values of one at least.")
        if resamples < 1:
            raise InputError(f"resamples must be 1 or more; found {resamples}.")
        names = sorted(dict.fromkeys(groups), key=str)
        code = {name: i for i, name in enumerate(names)}
        self.patients = np.array([code[g] for g in groups], dtype=np.int64)
        self.unit = "image" if len(names) == len(groups) else "patient"
        digest = hashlib.sha256("\0".join(str(name) for name in names).encode()).hexdigest()[:16]
        self.key = f"{digest}-{seed}-{resamples}"
        rng, count = np.random.default_rng(seed), len(names)
        self.weights = np.empty((resamples, len(groups)), dtype=np.float32)
        for rows in chunks(resamples, count):
            draws = rng.integers(count, size=(rows.stop - rows.start, count))
            draws += np.arange(len(draws))[:, None] * count
            counts = np.bincount(draws.ravel(), minlength=draws.size).reshape(draws.shape)
            self.weights[rows] = counts[:, self.patients]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.patients)

    @property
    def resamples(self) -> int:
        """The number of resamples."""
        return len(self.weights)

    def take(self, rows: npt.ArrayLike) -> Bootstrap:
        """The same draws for the images `rows` (repeats allowed), still paired with this bootstrap."""
        indices = np.asarray(rows)
        part = object.__new__(Bootstrap)
        part.weights, part.patients, part.key = self.weights[:, indices], self.patients[indices], self.key
        part.unit = self.unit
        return part

    def sums(self, values: FloatArray) -> FloatArray:
        """Weighted sums over the images: (N, T) → (resamples, T)."""
        out = np.empty((self.resamples, values.shape[1]))
        for rows in chunks(self.resamples, len(self)):
            out[rows] = self.weights[rows].astype(np.float64) @ values
        return out


def chunks(count: int, width: int) -> Iterator[slice]:
    """Slices of range(count), each of at most CHUNK numbers when a row holds `width`."""
    step = max(1, CHUNK // max(1, width))
    return (slice(a, min(a + step, count)) for a in range(0, count, step))
