"""ResNet with bottlenecks (He et al. 2016, arXiv 1512.03385), torchvision's parameter names and a finer last map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from pellucid.models.architectures.densenet import check_output_stride

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Bottleneck(nn.Module):
    """`act(shortcut(x) + bn(1 × 1(act(bn(3 × 3(act(bn(1 × 1(x)))))))))`; the 3 × 3 convolution has the stride.

    The last norm's weight starts at zero, so that a fresh block is its shortcut (Goyal et al. 2017, arXiv 1706.02677;
    He et al. 2018, arXiv 1812.01187).
    """

    expansion = 4

    def __init__(self, in_channels: int, width: int, *, stride: int, dilation: int) -> None:
        super().__init__()
        channels = width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.act2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.act3 = nn.ReLU()
        self.downsample = (
            nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels))
            if stride != 1 or in_channels != channels
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, h, w) → (N, 4 · width, h / stride, w / stride)."""
        main = self.act2(self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x))))))
        shortcut = x if self.downsample is None else self.downsample(x)
        result: Tensor = self.act3(self.bn3(self.conv3(main)) + shortcut)
        return result


class ResNet(nn.Module):
    """The convolutional part of a ResNet with bottlenecks: with the defaults, ResNet-50.

    `output_stride` 16 or 8 takes the stride out of the last one or two stages and dilates what follows, so the
    receptive field stays and published weights keep their meaning: at every second (fourth) position the finer map
    equals the original one, in evaluation and up to rounding.

    Args:
        in_channels: channels of the image.
        widths: channels inside the bottlenecks of each stage; a stage gives four times as many.
        blocks: bottlenecks of each of the four stages.
        output_stride: image size over size of the last map: 32, 16 or 8.

    Example:
        >>> import torch
        >>> net = ResNet(1, widths=(4, 4, 8, 8), blocks=(1, 1, 1, 1), output_stride=8)
        >>> net(torch.rand(1, 1, 64, 64)).shape
        torch.Size([1, 32, 8, 8])
    """

    first_convolution = "conv1.weight"

    def __init__(
        self,
        in_channels: int = 3,
        *,
        widths: Sequence[int] = (64, 128, 256, 512),
        blocks: Sequence[int] = (3, 4, 6, 3),
        output_stride: int = 32,
    ) -> None:
        super().__init__()
        check_output_stride(output_stride)
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.act = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels, total, dilation = 64, 4, 1
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True), start=1):
            stride = 1 if stage == 1 or total == output_stride else 2
            total *= stride
            # a stage that lost its stride: its first block still sees neighbours, the others every second pixel
            later = dilation if stage == 1 or stride == 2 else dilation * 2
            layer: list[nn.Module] = []
            for index in range(count):
                first = index == 0
                block = Bottleneck(
                    channels, width, stride=stride if first else 1, dilation=dilation if first else later
                )
                layer.append(block)
                channels = width * Bottleneck.expansion
            dilation = later
            self.add_module(f"layer{stage}", nn.Sequential(*layer))
        self.channels = channels
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (N, C, H, W) → feature map (N, channels, h, w)."""
        for part in self.children():  # in the order in which they were added
            x = part(x)
        return x

    @staticmethod
    def published_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The names of torchvision's ResNet files as a classifier's own: `fc.…` becomes `head.…`."""
        return {
            f"head.{name.removeprefix('fc.')}" if name.startswith("fc.") else f"backbone.{name}": tensor
            for name, tensor in state.items()
        }
