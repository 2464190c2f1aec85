"""The classifier contract on torch modules: normalise → features → global average pooling → linear head."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.models.layouts import outputs_at
from pellucid.models.outputs import OutputKind, as_logits, raw_outputs
from pellucid.types import InputError, InputSpec
from pellucid.utils.words import number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pellucid.models.layouts import LastMap, Layout
    from pellucid.models.sources.source import Source
    from pellucid.types import Classifier, Task


HIGHEST_MEAN = 2.0
"""No mean of pixels in [0, 1] comes near it; those of pixels up to 255 are far above."""


@dataclass(frozen=True)
class Architecture:
    """What a network is built from: its name in the registry and the options given there.

    Example:
        >>> from pellucid.models import create_model
        >>> built_from = create_model("small", classes=["a"], task="multilabel", activation="half-huber").architecture
        >>> built_from.name, built_from.options["activation"], built_from.options["widths"]
        ('small', 'half-huber', [24, 48, 64])
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


class _Normalised(nn.Module):
    """What every classifier holds: task, classes, the images it takes, and their normalisation.

    Attributes:
        path: the run folder or weights file that it was loaded from; None for one that was not loaded.
        source: of a network of others, whose it is and how it is built again; None for Pellucid's own, and for a module
            that was wrapped in memory.
        card: what the `model.toml` there says; empty for one that was not loaded.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        task: Task,
        classes: Sequence[str],
        input_spec: InputSpec,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        _check_labels(task, classes)
        self.task: Task = task
        self.classes = tuple(classes)
        self.input_spec = input_spec
        self.path: Path | None = None
        self.source: Source | None = None
        self.card: Mapping[str, Any] = {}
        if len(mean) != len(std):
            raise InputError(
                "mean and std need one value per channel each, one for grey images and three for colour ones; "
                f"found {number_of(len(mean), 'value(s)')} for mean and {len(std)} for std."
            )
        for name, values in (("mean", mean), ("std", std)):
            if not all(math.isfinite(value) for value in values):
                raise InputError(f"{name} must be finite numbers; found {list(values)}.")
            if len(values) != input_spec.channels:
                raise InputError(f"{name} needs one value per channel, {input_spec.channels}; found {len(values)}.")
            # not part of the weights file: model.toml carries them
            self.register_buffer(name, torch.tensor(list(values)).view(1, -1, 1, 1), persistent=False)
        if bool((self.std <= 0).any()):
            raise InputError(f"std must be positive; found {list(std)}.")
        if max(mean, default=0) > HIGHEST_MEAN:
            raise InputError(
                f"mean {list(mean)} is not of pixels in [0, 1]: of pixels up to 255, divide mean and std by 255."
            )

    def normalise(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] to what the network was made for.

        Raises:
            InputError: images of another number of dimensions or channels.
        """
        if images.ndim != 4 or images.shape[1] != self.input_spec.channels:
            raise InputError(
                f"the classifier takes images (N, {self.input_spec.channels}, H, W); found {tuple(images.shape)}."
            )
        return (images - self.mean) / self.std


class ConvolutionalClassifier(_Normalised):
    """Convolutions, global average pooling, one linear layer: class activation maps need no gradient.

    Attributes:
        backbone: normalised images (N, C, H, W) → the last feature map (N, D, h, w), after its last norm and
            activation: what is pooled.
        head: `nn.Linear(D, K)`.
        dropout: probability of dropping a pooled feature, in training only.
        architecture: how to build this network again; None for one that the registry did not build.

    Example:
        >>> net = ConvolutionalClassifier(
        ...     nn.Conv2d(1, 4, 3),
        ...     4,
        ...     task="multiclass",
        ...     classes=("a", "b"),
        ...     input_spec=InputSpec.square(1, 8),
        ...     mean=[0.5],
        ...     std=[0.25],
        ... )
        >>> net(torch.rand(3, 1, 8, 8)).shape, net.features(torch.rand(3, 1, 8, 8)).shape
        (torch.Size([3, 2]), torch.Size([3, 4, 6, 6]))
    """

    has_linear_head = True

    def __init__(
        self,
        backbone: nn.Module,
        feature_channels: int,
        *,
        task: Task,
        classes: Sequence[str],
        input_spec: InputSpec,
        mean: Sequence[float],
        std: Sequence[float],
        dropout: float = 0.0,
        architecture: Architecture | None = None,
    ) -> None:
        super().__init__(task=task, classes=classes, input_spec=input_spec, mean=mean, std=std)
        if not 0 <= dropout < 1:
            raise InputError(f"dropout is a probability below 1; found {dropout}.")
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(feature_channels, len(self.classes))
        self.architecture = architecture

    def features(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] to the last feature map (N, D, h, w)."""
        feature_map: Tensor = self.backbone(self.normalise(images))
        return feature_map

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] to logits (N, K); the pixels' range is not checked here."""
        logits: Tensor = self.head(self.dropout(self.features(images).mean((2, 3))))
        return logits


class WrappedClassifier(_Normalised):
    """Any module behind the classifier contract; see `wrap`.

    Attributes:
        module: normalised images (N, C, H, W) → its outputs, see `outputs.raw_outputs`.
        outputs: what these are, `logits` or `probabilities`.
        last_map: where its last feature map is, by name; None where that is not known, or given as functions.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 1), nn.Sigmoid())  # the probability of the second class
        >>> about = {"task": "multiclass", "classes": ["no", "yes"], "mean": [0.5], "std": [0.25]}
        >>> model = WrappedClassifier(net, **about, input_spec=InputSpec.square(1, 2), outputs="probabilities")
        >>> images = torch.rand(3, 1, 2, 2)
        >>> torch.allclose(model(images).softmax(1)[:, 1:], model.raw_outputs(images))
        True
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        task: Task,
        classes: Sequence[str],
        input_spec: InputSpec,
        mean: Sequence[float],
        std: Sequence[float],
        outputs: OutputKind = "logits",
        features: Callable[[Tensor], Tensor] | None = None,
        head: nn.Module | None = None,
        last_map: LastMap | None = None,
    ) -> None:
        super().__init__(task=task, classes=classes, input_spec=input_spec, mean=mean, std=std)
        if outputs not in get_args(OutputKind):
            raise InputError(f"outputs must be one of {', '.join(get_args(OutputKind))}; found {outputs!r}.")
        if (features is None) != (head is None):
            raise InputError("features and head describe one split of the network: give both or neither.")
        if features is not None and last_map is not None:
            raise InputError("the last feature map is given twice: as features= and as last_map=.")
        self.module = module
        self.outputs: OutputKind = outputs
        self.architecture: Architecture | None = None
        self.last_map = last_map
        # in a tuple, because both are parts of `module`: registered, their weights would be listed twice
        self._split = None if features is None or head is None else (features, head)

    @property
    def halves(self) -> tuple[Callable[[Tensor], Tensor] | nn.Module, ...]:
        """What `wrap` was told: normalised images → the feature map, and the head; empty where it was not."""
        return self._split or ()

    @property
    def feature_layer(self) -> str | None:
        """The name, inside `module`, of the layer that puts out the last feature map; None where none is known."""
        return None if self.last_map is None else self.last_map.layer

    @property
    def layout(self) -> Layout | None:
        """How that layer puts it out."""
        return None if self.last_map is None else self.last_map.layout.name

    @property
    def has_linear_head(self) -> bool:
        """Whether the logits are one linear layer on the pooled feature map."""
        return isinstance(self.head, nn.Linear)

    @property
    def head(self) -> nn.Module | None:
        """Pooled features (N, D) to logits (N, K); None where more, or something else, follows the feature map."""
        if self._split is not None:
            return self._split[1]
        return None if self.last_map is None or self.last_map.head is None else self._part(self.last_map.head)

    def _part(self, name: str) -> nn.Module:
        try:
            return self.module.get_submodule(name)
        except AttributeError as error:
            raise InputError(f"the wrapped network has no layer {name!r}, which its last feature map names.") from error

    def features(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] to the last feature map (N, D, h, w).

        Raises:
            InputError: nobody knows where the features are.
        """
        if self._split is not None:
            return self._split[0](self._cast(self.normalise(images)))
        if self.last_map is None:
            raise InputError("this wrapped network has no known feature map: give wrap() features= and head=.")
        with outputs_at(self._part(self.last_map.layer)) as outputs:
            self.module(self._cast(self.normalise(images)))
        feature_map = self.last_map.layout.to_map(outputs[0], (images.shape[2], images.shape[3]))
        return F.relu(feature_map) if self.last_map.rectified else feature_map

    def _cast(self, images: Tensor) -> Tensor:
        """Images in the precision of the module's weights, where that is one of half or double precision."""
        weight = next((p for p in self.module.parameters() if p.is_floating_point()), None)
        return images if weight is None else images.to(weight.dtype)

    def raw_outputs(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] to what the module itself gives, (N, K), or (N, 1) where that is enough."""
        output = self.module(self._cast(self.normalise(images)))
        return raw_outputs(output, images.shape[0], len(self.classes), self.task)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] to logits (N, K).

        Raises:
            InputError: the module returns nothing that could be (N, K) logits.
        """
        values = self.raw_outputs(images).to(images.dtype)
        return as_logits(values, len(self.classes), self.task, self.outputs)


AnyClassifier = ConvolutionalClassifier | WrappedClassifier
"""A network of Pellucid's own, or any other behind the same contract."""


def wrap(
    module: nn.Module,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    task: Task,
    classes: Sequence[str],
    input_spec: InputSpec,
    outputs: OutputKind = "logits",
    features: Callable[[Tensor], Tensor] | None = None,
    head: nn.Module | None = None,
    last_map: LastMap | None = None,
) -> WrappedClassifier:
    """Make a classifier of any module that returns logits or probabilities.

    Args:
        module: normalised images (N, C, H, W) → outputs (N, K), as a tensor, under `logits` or in a tuple or dict; one
            column is enough for two classes, and is that of the second.
        mean: what to subtract from pixels in [0, 1], one value per channel.
        std: what to divide by then, one value per channel.
        task: `multiclass` or `multilabel`.
        classes: one name per logit.
        input_spec: the channels, height and width that the network was made for, and how an image is brought there.
        outputs: `logits`, or `probabilities`, which are turned into logits.
        features: normalised images → the feature map (N, D, h, w) that the network pools, a part or bound
            method of `module`. Together with `head` it makes class activation maps possible.
        head: pooled features (N, D) → logits (N, K), a part of `module`.
        last_map: the same by names, in place of `features` and `head`; `models.split.find_last_map` finds it.

    Raises:
        InputError: `features` and `head` do not give the module's own logits, or labels and sizes disagree.

    Example:
        >>> body, head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)
        >>> net = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
        >>> spec = InputSpec.square(3, 16)
        >>> parts = {"mean": [0.5] * 3, "std": [0.25] * 3, "classes": ["cat", "dog"], "input_spec": spec}
        >>> wrap(net, task="multiclass", **parts).has_linear_head
        False
        >>> wrap(net, task="multiclass", **parts, features=body, head=head).has_linear_head
        True
    """
    wrapped = WrappedClassifier(
        module,
        mean=mean,
        std=std,
        task=task,
        classes=classes,
        input_spec=input_spec,
        outputs=outputs,
        features=features,
        head=head,
        last_map=last_map,
    )
    parameter = next(module.parameters(), None)
    if parameter is not None:
        wrapped.mean, wrapped.std = wrapped.mean.to(parameter.device), wrapped.std.to(parameter.device)
    check_split(wrapped)
    return wrapped


@contextmanager
def frozen(classifier: Classifier | nn.Module, *, training: bool = False) -> Iterator[None]:
    """Eval mode and no parameter gradients inside; mode, `requires_grad` and buffers as before afterwards.

    What runs inside may differentiate with respect to images, also where a caller runs in inference mode, but leaves
    no trace on the classifier, also when it raises. A classifier that is not a module is left alone. One thread at a
    time may hold one frozen.

    Args:
        classifier: what is held.
        training: leave the mode as it is, so that batch norm that is in training mode uses the batch's statistics.

    Example:
        >>> net = nn.Linear(2, 2)
        >>> with frozen(net):
        ...     print(net.training, net.weight.requires_grad)
        False False
        >>> net.training, net.weight.requires_grad
        (True, True)
    """
    if not isinstance(classifier, nn.Module):
        with _outside_inference_mode():
            yield
        return
    modes = [(module, module.training) for module in classifier.modules()]
    gradients = [(parameter, parameter.requires_grad) for parameter in classifier.parameters()]
    buffers = [(buffer, buffer.clone()) for buffer in classifier.buffers()]
    try:
        if not training:
            classifier.eval()
        for parameter, _ in gradients:
            parameter.requires_grad_(False)
        with _outside_inference_mode():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, required in gradients:
            parameter.requires_grad_(required)
        for buffer, copy in buffers:
            # .data: a graph that was built inside and kept must not see a buffer modified in place
            buffer.data.copy_(copy)


@contextmanager
def _outside_inference_mode() -> Iterator[None]:
    """No inference mode inside, under which nothing can be differentiated; whether gradients are taken is as before."""
    if not torch.is_inference_mode_enabled():
        yield
        return
    gradients = torch.is_grad_enabled()  # inference_mode(False) would take them in any case
    with torch.inference_mode(False), torch.set_grad_enabled(gradients):
        yield


def check_split(wrapped: WrappedClassifier) -> None:
    """Refuse features and a head that are not the module's own: their maps would explain another network.

    Raises:
        InputError: ``head(features(x).mean((2, 3)))`` is not what the module returns, or the features are no map. A
            classifier without a head has nothing to be checked.
    """
    head = wrapped.head
    if head is None:
        return
    shape = wrapped.input_spec.shape
    # an input that is not constant, the same every time, without touching the caller's random state
    ramp = torch.linspace(0, 1, math.prod(shape), device=wrapped.mean.device, dtype=wrapped.mean.dtype)
    image = (ramp * 37 % 1).view(1, *shape)
    with torch.no_grad(), frozen(wrapped):
        expected = wrapped(image)
        feature_map = wrapped.features(image)
        if feature_map.ndim != 4:
            raise InputError(f"features must give a map (N, D, h, w); found shape {tuple(feature_map.shape)}.")
        logits = head(feature_map.mean((2, 3))).to(expected.dtype)
    tolerance = 1e-3 if feature_map.dtype in (torch.float32, torch.float64) else 5e-2  # half precision has 3 digits
    # of all outputs, whatever their scale: one near 0 is what is left of large ones
    allowed = tolerance * max(float(expected.abs().max()), 0.1)
    if logits.shape != expected.shape or not float((logits - expected).abs().max()) <= allowed:
        raise InputError(
            "head(features(x).mean((2, 3))) is not what the wrapped network returns: features must be the "
            "map that it pools, after its last norm and activation, and head what follows the pooling."
        )


def _check_labels(task: str, classes: Sequence[str]) -> None:
    if task not in ("multiclass", "multilabel"):
        raise InputError(f"task must be 'multiclass' or 'multilabel'; found {task!r}.")
    if isinstance(classes, str):
        raise InputError(f"classes must be a list of names; found the one string {classes!r}.")
    if not classes:
        raise InputError(f"a {task} classifier has classes; found none.")
    if task == "multiclass" and len(classes) == 1:
        raise InputError(
            f"a multiclass classifier needs at least 2 classes; found the one {classes[0]!r}. A network with one "
            "output either has task='multilabel', or names both classes, of which its output is the second, as "
            f"classes=['no {classes[0]}', {classes[0]!r}]."
        )
    repeated = sorted(name for name, times in Counter(classes).items() if times > 1)
    if repeated:
        raise InputError(f"class names must differ; found more than once: {', '.join(repeated[:5])}.")
