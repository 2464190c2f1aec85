"""The encoder of FC-DenseNet103, "The One Hundred Layers Tiramisu" (Jégou et al. 2017, arXiv 1611.09326)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.models.architectures.densenet import check_output_stride

if TYPE_CHECKING:
    from collections.abc import Sequence


class DilatedMaxPool(nn.Module):
    """A 2 × 2 maximum with stride 1 over pixels `dilation` apart: max pooling without its subsampling."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, h, w) → (N, D, h, w); beyond the right and lower edge the last pixels are repeated."""
        d = self.dilation
        return F.max_pool2d(F.pad(x, (0, d, 0, d), mode="replicate"), 2, stride=1, dilation=d)


class TiramisuBlock(nn.ModuleList):
    """Dense block of BN → ReLU → 3 × 3 → dropout layers; the block's input is part of its output."""

    def __init__(self, layers: int, in_channels: int, growth: int, dilation: int, drop_rate: float) -> None:
        super().__init__(
            nn.Sequential(
                nn.BatchNorm2d(in_channels + index * growth),
                nn.ReLU(),
                nn.Conv2d(in_channels + index * growth, growth, 3, padding=dilation, dilation=dilation, bias=False),
                nn.Dropout(drop_rate),
            )
            for index in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, h, w) → (N, in_channels + layers · growth, h, w)."""
        for layer in self:
            x = torch.cat((x, layer(x)), 1)
        return x


class TiramisuEncoder(nn.Module):
    """First convolution, five dense blocks each followed by a transition down, the middle block, BN, ReLU.

    Channels with the defaults: 48 → 112 → 192 → 304 → 464 → 656 → 896. Khakzar et al. 2019 may have used this
    network; that is a plausible reading of indirect evidence, not an established fact. The first convolution
    has no bias; of the others the evidence does not say, and here none has one.

    Args:
        in_channels: channels of the image.
        growth: new channels of each layer.
        layers: layers of the five blocks and of the middle one.
        stem_channels: channels after the first convolution.
        output_stride: image size over size of the last map: 32, 16 or 8; a smaller one takes the subsampling
            out of the last transitions and dilates what follows.
        drop_rate: dropout after each convolution, in training.

    Example:
        >>> net = TiramisuEncoder(1, growth=4, layers=(1, 1, 1, 1, 1, 1), stem_channels=8, output_stride=16)
        >>> net(torch.rand(1, 1, 64, 64)).shape
        torch.Size([1, 32, 4, 4])
    """

    first_convolution = "stem.weight"

    def __init__(
        self,
        in_channels: int = 3,
        *,
        growth: int = 16,
        layers: Sequence[int] = (4, 5, 7, 10, 12, 15),
        stem_channels: int = 48,
        output_stride: int = 32,
        drop_rate: float = 0.2,
    ) -> None:
        super().__init__()
        check_output_stride(output_stride)
        self.stem = nn.Conv2d(in_channels, stem_channels, 3, padding=1, bias=False)
        parts: list[nn.Module] = []
        channels, stride, dilation = stem_channels, 1, 1
        *down, middle = layers
        for count in down:
            parts.append(TiramisuBlock(count, channels, growth, dilation, drop_rate))
            channels += count * growth
            pool: nn.Module
            if stride < output_stride:
                pool, stride = nn.MaxPool2d(2), stride * 2
            else:
                pool, dilation = DilatedMaxPool(dilation), dilation * 2
            parts.append(
                nn.Sequential(
                    nn.BatchNorm2d(channels),
                    nn.ReLU(),
                    nn.Conv2d(channels, channels, 1, bias=False),
                    nn.Dropout(drop_rate),
                    pool,
                )
            )
        parts.append(TiramisuBlock(middle, channels, growth, dilation, drop_rate))
        channels += middle * growth
        self.blocks = nn.Sequential(*parts)
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.channels = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (N, C, H, W) → feature map (N, channels, h, w)."""
        feature_map: Tensor = self.relu(self.norm(self.blocks(self.stem(x))))
        return feature_map
