"""What went through the network in a step, for the terms that are added to the task loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.training.objectives.replayable import ReplayableForward


@dataclass(frozen=True)
class ForwardPass:
    """Images as they went through the network, and what came out.

    Attributes:
        network: what they went through.
        images: (N, C, H, W); they require a gradient where a term needs it.
        targets: of them.
        logits: (N, K), with their graph.
        feature_map: (N, D, h, w), what was pooled for them, where a term needs it.
        copies: 2 where the first half are clean images and the second half the same ones, adversarial.
    """

    network: ReplayableForward
    images: Tensor
    targets: Tensor
    logits: Tensor
    feature_map: Tensor | None = None
    copies: int = 1
