"""DenseNet (Huang et al. 2017, arXiv 1608.06993) with torchvision's parameter names and a finer last map."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OUTPUT_STRIDES = (32, 16, 8)

# torchvision's first checkpoints (2017) wrote `denselayer1.norm.1.weight`; it renames them in the same way
_NAMES_OF_2017 = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


def check_output_stride(output_stride: int) -> None:
    """Refuse an output stride that is not 32, 16 or 8.

    Raises:
        InputError: with the value found.
    """
    if output_stride not in OUTPUT_STRIDES:
        raise InputError(f"output_stride must be 32, 16 or 8; found {output_stride!r}.")


class DilatedAveragePool(nn.Module):
    """A 2 × 2 average with stride 1 over pixels `dilation` apart: average pooling without its subsampling."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, h, w) → (N, D, h, w); beyond the right and lower edge the last pixels are repeated."""
        d = self.dilation
        x = F.pad(x, (0, d, 0, d), mode="replicate")
        rows = x[..., :-d, :] + x[..., d:, :]
        return (rows[..., :-d] + rows[..., d:]) / 4


class DenseLayer(nn.Module):
    """BN → ReLU → 1 × 1 → BN → ReLU → 3 × 3: `growth` new channels from all that came before."""

    def __init__(self, in_channels: int, growth: int, bottleneck: int, dilation: int, drop_rate: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(in_channels, bottleneck * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(bottleneck * growth)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(bottleneck * growth, growth, 3, padding=dilation, dilation=dilation, bias=False)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, h, w) → (N, growth, h, w)."""
        new: Tensor = self.drop(self.conv2(self.relu2(self.norm2(self.conv1(self.relu1(self.norm1(x)))))))
        return new


class DenseBlock(nn.ModuleDict):
    """Layers that each see all earlier outputs of the block."""

    def __init__(
        self, layers: int, in_channels: int, growth: int, *, bottleneck: int, dilation: int, drop_rate: float
    ) -> None:
        super().__init__()
        for index in range(layers):
            self[f"denselayer{index + 1}"] = DenseLayer(
                in_channels + index * growth,
                growth,
                bottleneck=bottleneck,
                dilation=dilation,
                drop_rate=drop_rate,
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, h, w) → (N, in_channels + layers · growth, h, w)."""
        for layer in self.values():
            x = torch.cat((x, layer(x)), 1)
        return x


class DenseNet(nn.Module):
    """The convolutional part of DenseNet, up to the ReLU after its last norm.

    `output_stride` 16 or 8 takes the subsampling out of the last one or two transitions and dilates what
    follows (the pooling too), so the receptive field stays and published weights keep their meaning: at every
    second (fourth) position the finer map equals the original one, in evaluation and up to rounding.

    Args:
        in_channels: channels of the image.
        growth: new channels of each layer.
        layers: layers of each of the four blocks.
        stem_channels: channels after the first convolution.
        output_stride: image size over size of the last map: 32, 16 or 8.
        drop_rate: dropout after each layer, in training.

    Example:
        >>> net = DenseNet(1, growth=8, layers=(1, 1, 1, 1), stem_channels=16, output_stride=8)
        >>> net(torch.rand(1, 1, 64, 64)).shape
        torch.Size([1, 17, 8, 8])
    """

    first_convolution = "features.conv0.weight"

    def __init__(
        self,
        in_channels: int = 3,
        *,
        growth: int = 32,
        layers: Sequence[int] = (6, 12, 24, 16),
        stem_channels: int = 64,
        output_stride: int = 32,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        check_output_stride(output_stride)
        bottleneck = 4
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(in_channels, stem_channels, 7, stride=2, padding=3, bias=False),
            norm0=nn.BatchNorm2d(stem_channels),
            relu0=nn.ReLU(),
            pool0=nn.MaxPool2d(3, stride=2, padding=1),
        )
        channels, stride, dilation = stem_channels, 4, 1
        for index, count in enumerate(layers, start=1):
            parts[f"denseblock{index}"] = DenseBlock(
                count, channels, growth, bottleneck=bottleneck, dilation=dilation, drop_rate=drop_rate
            )
            channels += count * growth
            if index == len(layers):
                break
            pool: nn.Module
            if stride < output_stride:
                pool, stride = nn.AvgPool2d(2), stride * 2
            else:
                pool, dilation = DilatedAveragePool(dilation), dilation * 2
            parts[f"transition{index}"] = nn.Sequential(
                OrderedDict(
                    norm=nn.BatchNorm2d(channels),
                    relu=nn.ReLU(),
                    conv=nn.Conv2d(channels, channels // 2, 1, bias=False),
                    pool=pool,
                )
            )
            channels //= 2
        parts["norm5"] = nn.BatchNorm2d(channels)
        parts["relu5"] = nn.ReLU()
        self.features = nn.Sequential(parts)
        self.channels = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (N, C, H, W) → feature map (N, channels, h, w)."""
        feature_map: Tensor = self.features(x)
        return feature_map

    @staticmethod
    def published_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The names of torchvision's DenseNet files, of either generation, as a classifier's own.

        `features.…` becomes `backbone.features.…`; `classifier.…` (`classifier.0.…` in CheXNet's) `head.…`.
        """
        renamed = {}
        for name, tensor in state.items():
            plain = _NAMES_OF_2017.sub(r"\1\2", name.removeprefix("densenet121."))
            plain = re.sub(r"^classifier\.(0\.)?", "head.", plain)
            renamed[re.sub(r"^features\.", "backbone.features.", plain)] = tensor
        return renamed
