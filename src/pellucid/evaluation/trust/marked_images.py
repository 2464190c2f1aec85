"""Images whose maps are held against regions, on the model's device once for all that is measured of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class MarkedImages:
    """Images, and of each of M maps of them the image, the class explained, and regions.

    Attributes:
        images: float32 (B, C, H, W) in [0, 1], on the model's device.
        rows: int64 (M,), the image of each map.
        targets: int64 (M,), on the device.
        masks: boolean (M, H, W), by the name of the region.
    """

    images: Tensor
    rows: npt.NDArray[np.int64]
    targets: Tensor
    masks: dict[str, npt.NDArray[np.bool_]]

    def __len__(self) -> int:
        return len(self.rows)
