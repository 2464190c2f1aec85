"""Pre-activation residual networks (He et al. 2016, arXiv 1603.05027), small enough to train on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


class PreactivationBlock(nn.Module):
    """`x + conv(act(bn(conv(act(bn(x))))))`; the shortcut is a convolution where the shape changes.

    The last convolution starts at zero, so that a fresh block is its shortcut (arXiv 1812.01187).
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int,
        shortcut_kernel: int,
    ) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.act1 = nn.ReLU()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.act2 = nn.ReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.shortcut = (
            nn.Conv2d(
                in_channels,
                channels,
                shortcut_kernel,
                stride=stride,
                padding=shortcut_kernel // 2,
                bias=False,
            )
            if stride != 1 or in_channels != channels
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, h, w) → (N, channels, h / stride, w / stride)."""
        pre = self.act1(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(pre)
        main: Tensor = self.conv2(self.act2(self.norm2(self.conv1(pre))))
        return main + shortcut


class PreactivationResNet(nn.Module):
    """Strided stem → stages of pre-activation blocks → batch norm → activation.

    The stem's kernel is twice its stride: every pixel then takes part in equally many positions, and the stem
    prints no grid of its stride's period on input gradients.

    Args:
        in_channels: channels of the image.
        widths: channels of each stage; the last is that of the feature map.
        blocks: residual blocks of each stage.
        strides: stride of each stage's first block.
        stem_stride: 1 (a 3 × 3 convolution), or an even number.
        shortcut_kernel: kernel of a shortcut that changes shape: 1, or 3 as in Woods et al.'s networks.

    Example:
        >>> import torch
        >>> net = PreactivationResNet(1, widths=(8, 16), blocks=(1, 1), strides=(1, 2), stem_stride=4)
        >>> net(torch.rand(2, 1, 64, 64)).shape, net.channels
        (torch.Size([2, 16, 8, 8]), 16)
    """

    first_convolution = "stem.weight"

    def __init__(
        self,
        in_channels: int,
        *,
        widths: Sequence[int],
        blocks: Sequence[int],
        strides: Sequence[int],
        stem_stride: int,
        shortcut_kernel: int = 1,
    ) -> None:
        super().__init__()
        if not len(widths) == len(blocks) == len(strides) > 0:
            raise InputError(
                "widths, blocks and strides give one number a stage; "
                f"found {list(widths)}, {list(blocks)} and {list(strides)}."
            )
        if min(*widths, *blocks, *strides, 1) < 1:
            raise InputError("widths, blocks and strides must be at least 1.")
        if stem_stride != 1 and (stem_stride < 2 or stem_stride % 2):
            raise InputError(f"stem_stride must be 1 or even; found {stem_stride}.")
        kernel, padding = (3, 1) if stem_stride == 1 else (2 * stem_stride, stem_stride // 2)
        self.channels = widths[-1]
        self.stem = nn.Conv2d(in_channels, widths[0], kernel, stride=stem_stride, padding=padding, bias=False)
        stages: list[nn.Module] = []
        current = widths[0]
        for width, count, stride in zip(widths, blocks, strides, strict=True):
            stage: list[nn.Module] = []
            for index in range(count):
                stage.append(
                    PreactivationBlock(
                        current,
                        width,
                        stride=stride if index == 0 else 1,
                        shortcut_kernel=shortcut_kernel,
                    )
                )
                current = width
            stages.append(nn.Sequential(*stage))
        self.stages = nn.Sequential(*stages)
        self.norm = nn.BatchNorm2d(current)
        self.act = nn.ReLU()
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight)
        for module in self.modules():
            if isinstance(module, PreactivationBlock):
                nn.init.zeros_(module.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (N, C, H, W) → feature map (N, channels, h, w)."""
        feature_map: Tensor = self.act(self.norm(self.stages(self.stem(x))))
        return feature_map
