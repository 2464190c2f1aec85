"""`pl.load` and `pl.wrap`: a model from disk, and any torch module as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid.models.classifier import wrap as wrap_module
from pellucid.models.probe import check_classifier
from pellucid.models.sources.in_memory import read_module
from pellucid.models.sources.opening import Given
from pellucid.models.split import find_split
from pellucid.models.weights import load_model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import torch
    from torch import Tensor, nn

    from pellucid.models.classifier import AnyClassifier, WrappedClassifier
    from pellucid.models.outputs import OutputKind
    from pellucid.types import Task


def load(
    path: str | Path,
    device: str | torch.device = "cpu",
    *,
    trust_code: bool = False,
    weights: str | Path | None = None,
    classes: Sequence[str] | None = None,
    task: Task | None = None,
    preprocess: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    outputs: OutputKind | None = None,
    options: Mapping[str, Any] | None = None,
) -> AnyClassifier:
    """A model in evaluation mode: of a folder, or a network of others by its source and name.

    What its card says is in `.card`, and whose network it is in `.source`.

    Args:
        path: a run folder, a model folder, a weights file beside its `model.toml`; or ``timm:NAME``,
            ``torchvision:NAME``, ``huggingface:FOLDER`` (or a name on the hub), ``torchxrayvision:NAME``,
            ``python:FILE.py:FUNCTION``, and for these all that follows.
        device: where it computes, as ``"cuda"``.
        trust_code: run the Python code that a model folder brings; without it, such a folder is refused.
        weights: a file with the weights of a network of others; the source's own by default.
        classes: one name for each output, where the source does not say them.
        task: `multiclass` or `multilabel`.
        preprocess: how an image becomes what the network takes: ``FIT[:RESIZE]:SIZE[:INTERPOLATION]``, as
            ``crop:256:224:bicubic``.
        mean: what to subtract from pixels in [0, 1], one value for each channel.
        std: what to divide by then.
        outputs: `logits` or `probabilities`.
        options: for the one who builds the network.

    Raises:
        InputError: files that are missing, weights of another model, what the source does not say and is not given,
            or a network that cannot be judged: its output is NaN, changes from call to call, or is probabilities that
            nobody called so.

    Example:
        >>> import tempfile
        >>> from pellucid.models import create_model, save_model
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = save_model(create_model("small", classes=["cat", "dog"], task="multiclass"), folder)
        ...     load(folder).classes
        ('cat', 'dog')
    """
    overrides = Given(weights, classes, task, preprocess, mean, std, outputs, options or {})
    return load_model(path, device, trust_code=trust_code, overrides=overrides)


def wrap(
    module: nn.Module,
    classes: Sequence[str] | None = None,
    *,
    task: Task | None = None,
    preprocess: str | None = None,
    size: int | None = None,
    channels: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    outputs: OutputKind | None = None,
    processor: Any = None,  # noqa: ANN401
    features: Callable[[Tensor], Tensor] | None = None,
    head: nn.Module | None = None,
) -> WrappedClassifier:
    """Any torch module that returns logits or probabilities, as a model that every verb takes.

    What is not given is taken from the module's own configuration: of timm normalisation, size, crop and interpolation;
    of transformers the classes, and with its image processor the same. The last feature map is found by running the
    module, also of transformers and of networks with channels last, and is then what Grad-CAM explains (`.last_map`);
    where the logits are a linear layer on its mean, class activation maps are to be had. Where none is found, give
    `features` and `head`, name a layer to the explanation, or use one that needs neither, as `saliency`.

    Args:
        module: normalised images (N, C, H, W) → outputs (N, K): a tensor, or under `logits`, in a tuple or in a dict.
            One column is enough for two classes, and is that of the second.
        classes: one name for each output.
        task: `multiclass`, or `multilabel` for several labels at once.
        preprocess: how an image becomes what it takes: ``FIT[:RESIZE]:SIZE[:INTERPOLATION]``, as
            ``crop:256:224:bicubic``.
        size: height and width, to which images are stretched; in place of `preprocess`.
        channels: of these images; those that its first convolution takes by default.
        mean: what to subtract from pixels in [0, 1], one value for each channel; zeros for a module that normalises
            by itself.
        std: what to divide by then; ones for a module that normalises by itself.
        outputs: `logits` or `probabilities`; values that look like probabilities are asked about.
        processor: the image processor of transformers that belongs to the module; by default that of the local folder
            that the module was loaded from.
        features: normalised images → the feature map (N, D, h, w) that the module pools, a part or method of it.
        head: pooled features (N, D) → logits (N, K), a part of it.

    Raises:
        InputError: a setting that is neither given nor known; features and head that do not give the module's logits;
            a module that cannot be judged: it raises an error, its output is NaN, changes from call to call, or is
            probabilities that nobody called so.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> model = wrap(net, ["cat", "dog"], size=32, mean=[0.5] * 3, std=[0.25] * 3, outputs="logits")
        >>> model.has_linear_head, model.input_spec.shape
        (True, (3, 32, 32))
    """
    built = read_module(
        module,
        processor=processor,
        preprocess=preprocess,
        size=size,
        channels=channels,
        classes=classes,
        mean=mean,
        std=std,
    )
    assert built.input_spec is not None
    model = wrap_module(
        module,
        mean=built.mean or (),
        std=built.std or (),
        task=task or built.task or "multiclass",
        classes=built.classes or (),
        input_spec=built.input_spec,
        outputs=outputs or "logits",
        features=features,
        head=head,
    )
    check_classifier(model, outputs)
    return model if features is not None else find_split(model)
