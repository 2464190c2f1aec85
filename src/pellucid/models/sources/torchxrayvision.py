"""Chest radiograph classifiers of torchxrayvision: `densenet121-res224-all` and the others of its list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.models.sources.source import Built, Request, Source, similar
from pellucid.types import Geometry, InputError, InputSpec
from pellucid.utils.resources import optional

if TYPE_CHECKING:
    from collections.abc import Mapping

# torchxrayvision's pixels go from -1024 (black) to 1024 (white): (x - 0.5) / (1 / 2048) for x in [0, 1]
MEAN, STD = [0.5], [1 / 2048]


def build(request: Request) -> Built:
    """A network of torchxrayvision with its findings, the range of its pixels, and its operating points.

    The outputs are the logits before torchxrayvision's own scaling, which puts each operating point at a half; the
    operating points become the thresholds instead, so that the decisions are the same. Outputs that stand for no
    finding in these weights are left out.

    Raises:
        InputError: torchxrayvision is missing or does not know the name.
    """
    urls = _library().models.model_urls
    if request.name not in urls:
        names = [name for name in urls if "-" in name]
        raise InputError(
            f"torchxrayvision has no weights {request.name!r}. {similar(request.name, names)} There are: "
            f"{', '.join(names)}."
        )
    facts = urls[request.name]
    places = [k for k, name in enumerate(facts["labels"]) if name]
    points = np.asarray(facts.get("op_threshs", [np.nan] * len(facts["labels"])), dtype=float)
    own = request.count in (None, len(facts["labels"]), len(places))
    count = len(places) if own else request.count
    weights = None
    if request.weights:
        try:
            weights = Path(_library().models.get_weights(request.name))
        except Exception as error:  # between here and the server
            raise InputError(
                f"torchxrayvision could not fetch {facts['weights_url']}: {error}. Fetch that file yourself and "
                "give it as weights."
            ) from error
    size = int(facts["input_resolution"])
    options = {**request.options, "count": count}
    return Built(
        _module(request.name, options),
        options=options,
        classes=tuple(facts["labels"][k] for k in places) if own else None,
        task="multilabel",
        input_spec=InputSpec.square(1, size, Geometry("cut")),
        mean=MEAN,
        std=STD,
        outputs="logits",
        thresholds=[float(points[k]) for k in places] if own else None,
        weights=weights,
        rename=lambda tensors: _of_findings(tensors, places, len(facts["labels"])),
    )


def rebuild(source: Source, _folder: Path) -> nn.Module:
    """The module of a card, without weights."""
    _library()
    return _module(source.name, source.options)


def _library() -> Any:  # noqa: ANN401
    return optional("torchxrayvision", "torchxrayvision", "a network of torchxrayvision")


def _module(name: str, options: Mapping[str, Any]) -> nn.Module:
    """The network without weights, one grey channel, logits."""
    rest = {key: value for key, value in options.items() if key != "count"}
    if name.startswith("resnet"):  # torchxrayvision's own class always fetches the weights
        models = optional("torchvision", "torchxrayvision", "a network of torchxrayvision").models
        network: nn.Module = models.get_model(
            name.partition("-")[0], weights=None, num_classes=options["count"], **rest
        )
        network.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
        return network
    models = _library().models
    # beside its ten short names, all are called after the network
    named = name.partition("-")[0] if name.startswith("densenet") else "densenet121"
    settings = {**models.get_densenet_params(named), **rest}
    densenet: nn.Module = models.DenseNet(num_classes=options["count"], in_channels=1, **settings)
    return densenet


def _of_findings(tensors: dict[str, Tensor], places: list[int], count: int) -> dict[str, Tensor]:
    """The tensors with a head of those outputs that stand for a finding."""
    indices = torch.tensor(places)
    return {
        name: tensor[indices]
        if name.startswith(("classifier.", "fc.")) and tensor.ndim and tensor.shape[0] == count
        else tensor
        for name, tensor in tensors.items()
        if name != "op_threshs"
    }
