"""Heat maps that can be differentiated with respect to the image: what an attack on an explanation climbs.

They stand beside the explainers of `pellucid.explainers`, which hand out numbers. An attack climbs these and is judged
by those, so a difference between the two can make an attack weaker but never its report wrong.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pellucid.evaluation.manipulation.fixed_surrogate import FixedSurrogate
from pellucid.evaluation.manipulation.frozen_layers import FrozenLayers
from pellucid.evaluation.manipulation.soft_relu import SoftReLU
from pellucid.explainers import EXPLAINERS, check_options
from pellucid.explainers.activation_maps import check_parts, has_head
from pellucid.explainers.layers import last_layer, layer_named, layout_of
from pellucid.explainers.registry import DIFFERENTIABLE
from pellucid.explainers.removal import baseline_of
from pellucid.models.layouts import outputs_at
from pellucid.models.second_order import twice_differentiable
from pellucid.types import InputError
from pellucid.utils.resources import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import Tensor

    from pellucid.types import Classifier

LEAK = 0.05
"""Where Grad-CAM's ReLU is 0 nothing would show the way out: this share of the slope is left while climbing."""
PATH_STEPS = 8  # points of the path of integrated gradients; the explainer that judges takes its own number


@dataclass(frozen=True)
class GradientMap:
    """A method's map with a gradient, around some images.

    Attributes:
        forward: (images that require a gradient, targets) → the maps (N, h, w) at the method's own resolution, and the
            network's logits (N, K) where the same pass gives them; None for a method that looks at other images only.
        cost: what a map and its gradient cost, in gradient evaluations of the network.
    """

    forward: Callable[[Tensor, Tensor], tuple[Tensor, Tensor | None]]
    cost: int

    def maps(self, points: Tensor, targets: Tensor) -> Tensor:
        """The maps alone."""
        return self.forward(points, targets)[0]


def check_method(name: str, classifier: Classifier, options: Mapping[str, Any]) -> None:
    """Refuse an explanation that cannot be attacked, before any work.

    Raises:
        InputError: a method that has no differentiable form, with those that do; a classifier without the feature map
            or the linear head that the method needs; an option that it does not have; a layer without a feature map.
    """
    if name not in DIFFERENTIABLE:
        raise InputError(f"no attack on the explanation {name!r} is known. {nearest(name, DIFFERENTIABLE)}")
    check_options(name, options)
    if options.get("layer") is not None:
        layout_of(classifier, options["layer"])
        return
    head = getattr(classifier, "head", None)
    if EXPLAINERS[name].layouts and not isinstance(head, nn.Module):
        if name == "cam" and last_layer(classifier) is not None:
            raise InputError("a class activation map needs pooling and a linear layer at the end. Attack grad-cam.")
        if last_layer(classifier) is None:
            check_parts(name, classifier)
            raise InputError(
                f"{name} needs the feature map that the network pools and the head behind it, which this classifier "
                "does not name: give wrap() features= and head=, or attack saliency, which needs neither."
            )
    elif name == "cam" and not isinstance(head, nn.Linear):
        raise InputError(
            f"a class activation map needs a linear head; this one is {type(head).__name__}. Attack grad-cam."
        )


def gradient_map(name: str, classifier: Classifier, images: Tensor, options: Mapping[str, Any]) -> GradientMap:
    """The differentiable form of a method, which `check_method` has let pass.

    Args:
        name: one of `explainers.registry.DIFFERENTIABLE`.
        classifier: frozen and in eval mode.
        images: (N, C, H, W) in [0, 1], unchanged: what a method chooses by the image, it chooses by these.
        options: of the explainer.
    """
    return FORMS[name](classifier, images, options)


def _cam(classifier: Classifier, _images: Tensor, _options: Mapping[str, Any]) -> GradientMap:
    network: Any = classifier  # check_method has looked

    def forward(points: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        feature_map = network.features(points)
        maps = torch.einsum("nd,ndhw->nhw", network.head.weight[targets], feature_map)
        return maps, network.head(feature_map.mean((2, 3)))

    return GradientMap(forward, 1)


def _grad_cam(classifier: Classifier, _images: Tensor, options: Mapping[str, Any]) -> GradientMap:
    network: Any = classifier
    layer = options.get("layer")

    def through_the_head(points: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        feature_map = network.features(points)
        with SoftReLU():  # of a head that has one
            pooled = feature_map.mean((2, 3))
            logits = network.head(pooled)
            (weights,) = torch.autograd.grad(_score(logits, targets), pooled, create_graph=True)
        return feature_map, weights, logits

    def through_the_rest(points: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        name = layer or network.feature_layer
        layout = options.get("layout") or layout_of(classifier, name)
        with _second_order(), outputs_at(layer_named(classifier, name)) as outputs:
            logits = classifier(points)
            (gradient,) = torch.autograd.grad(_score(logits, targets), outputs[0], create_graph=True)
        size = (points.shape[2], points.shape[3])
        return layout.to_map(outputs[0], size), layout.to_map(gradient, size).mean((2, 3)), logits

    by_head = layer is None and has_head(classifier)
    parts = through_the_head if by_head else through_the_rest

    def forward(points: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        feature_map, weights, logits = parts(points, targets)
        maps = torch.nn.functional.leaky_relu(torch.einsum("nd,ndhw->nhw", weights, feature_map), LEAK)
        return maps, logits

    return GradientMap(forward, 1 if by_head else 2)


def _saliency(classifier: Classifier, _images: Tensor, _options: Mapping[str, Any]) -> GradientMap:
    def forward(points: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        slope, logits = _slope(classifier, points, targets)
        return slope.abs().amax(1), logits

    return GradientMap(forward, 2)


def _integrated_gradients(classifier: Classifier, images: Tensor, options: Mapping[str, Any]) -> GradientMap:
    """Signed and summed over the channels, by the midpoint rule."""
    start = baseline_of(images, options.get("baseline", 0.0))

    def forward(points: Tensor, targets: Tensor) -> tuple[Tensor, None]:
        total = torch.zeros_like(points)
        for step in range(PATH_STEPS):
            total = total + _slope(classifier, start + (points - start) * ((step + 0.5) / PATH_STEPS), targets)[0]
        return ((points - start) * total / PATH_STEPS).sum(1), None

    return GradientMap(forward, 2 * PATH_STEPS)


def _lime(classifier: Classifier, images: Tensor, options: Mapping[str, Any]) -> GradientMap:
    surrogate = FixedSurrogate(classifier, images, options)
    return GradientMap(lambda points, targets: (surrogate.maps(points, targets), None), surrogate.samples)


def _slope(classifier: Classifier, points: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """∂f_c/∂x, differentiable, also of a network of ReLUs or with attention; and f, the logits."""
    with _second_order():
        logits = classifier(points)
        (gradient,) = torch.autograd.grad(_score(logits, targets), points, create_graph=True)
    return gradient, logits


def _score(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.gather(1, targets[:, None]).sum()


@contextmanager
def _second_order() -> Iterator[None]:
    """Inside, gradients of a frozen network have gradients, at no more than they cost."""
    with SoftReLU(), FrozenLayers(), twice_differentiable():
        yield


FORMS: dict[str, Callable[[Classifier, Tensor, Mapping[str, Any]], GradientMap]] = {
    "cam": _cam,
    "grad-cam": _grad_cam,
    "saliency": _saliency,
    "integrated-gradients": _integrated_gradients,
    "lime": _lime,
}
"""The form that an attack climbs, of each entry of the registry that is `differentiable`."""
