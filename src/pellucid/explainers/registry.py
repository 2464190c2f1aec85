"""Every method of explanation with all that the project knows of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pellucid.explainers.activation_maps import cam, grad_cam, has_head
from pellucid.explainers.adversarial import adversarial
from pellucid.explainers.attention_rollout import attention_rollout
from pellucid.explainers.explanation import Explanation
from pellucid.explainers.grad_cam_plus_plus import grad_cam_plus_plus
from pellucid.explainers.gradients import saliency_explanation
from pellucid.explainers.guided_backprop import guided_backprop
from pellucid.explainers.integrated_gradients import integrated_gradients
from pellucid.explainers.layers import layer_named
from pellucid.explainers.occlusion import occlusion
from pellucid.explainers.rise import rise
from pellucid.explainers.smoothgrad import smoothgrad
from pellucid.explainers.surrogates import kernel_shap, lime
from pellucid.models.layouts import LAYOUTS, Layout
from pellucid.types import InputError
from pellucid.utils.registry import Registry, Selection

if TYPE_CHECKING:
    from pellucid.types import Classifier

Explainer = Callable[..., Explanation]  # (classifier, images, targets, **options)


@dataclass(frozen=True)
class ExplainerEntry:
    """One method of the registry.

    Attributes:
        name: as given to `explain`.
        label: its name for people.
        explainer: a function ``(classifier, images, targets, **options) -> Explanation``; a heat map comes at the
            resolution that the method has.
        kind: `heatmap`, which can be scored against regions, or `image`.
        signed: whether a map has a meaningful zero: above it a pixel speaks for the class, below it against.
        fine: whether a map changes from pixel to pixel, too fine to be read on top of an image or to have regions.
        all_classes_at_once: whether one forward pass gives the maps of all classes, where the classifier ends in a
            head on the mean of its feature map; see `explains_all_classes_at_once`.
        layouts: of the classifier's feature map, those that the method can read (`models.layouts`). Empty where it
            needs no feature map and takes any classifier.
        class_agnostic: whether a map is the same for every class: it says where a network looks, not for what.
        differentiable: whether `evaluation.manipulation.gradient_maps` has the map as a differentiable function of the
            image, which attacks climb.

    Example:
        >>> entry = EXPLAINERS["lime"]
        >>> entry.label, entry.signed, entry.seeded, entry.layouts
        ('LIME', True, True, ())
    """

    name: str
    label: str
    explainer: Explainer
    kind: Literal["heatmap", "image"] = "heatmap"
    signed: bool = False
    fine: bool = False
    all_classes_at_once: bool = False
    layouts: tuple[Layout, ...] = ()
    class_agnostic: bool = False
    differentiable: bool = False

    @property
    def options(self) -> tuple[str, ...]:
        """What can be chosen, in order.

        Example:
            >>> EXPLAINERS["grad-cam"].options
            ('layer', 'layout', 'batch_size')
        """
        parameters = inspect.signature(self.explainer).parameters.values()
        return tuple(p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)

    @property
    def seeded(self) -> bool:
        """Whether it leaves something to chance, which its option `seed` fixes."""
        return "seed" in self.options


EXPLAINERS = Registry(
    "pellucid.explainers",
    ExplainerEntry,
    (
        ExplainerEntry("cam", "CAM", cam, all_classes_at_once=True, layouts=LAYOUTS, differentiable=True),
        ExplainerEntry(
            "grad-cam", "Grad-CAM", grad_cam, all_classes_at_once=True, layouts=LAYOUTS, differentiable=True
        ),
        ExplainerEntry("grad-cam++", "Grad-CAM++", grad_cam_plus_plus, all_classes_at_once=True, layouts=LAYOUTS),
        ExplainerEntry("saliency", "Saliency", saliency_explanation, fine=True, differentiable=True),
        ExplainerEntry("smoothgrad", "SmoothGrad", smoothgrad, fine=True),
        ExplainerEntry(
            "integrated-gradients",
            "Integrated gradients",
            integrated_gradients,
            signed=True,
            fine=True,
            differentiable=True,
        ),
        ExplainerEntry("guided-backprop", "Guided backprop", guided_backprop, fine=True),
        ExplainerEntry("occlusion", "Occlusion", occlusion, signed=True),
        ExplainerEntry("lime", "LIME", lime, signed=True, differentiable=True),
        ExplainerEntry("kernel-shap", "Kernel SHAP", kernel_shap, signed=True),
        ExplainerEntry("rise", "RISE", rise, signed=True),
        ExplainerEntry(
            "attention-rollout",
            "Attention rollout",
            attention_rollout,
            all_classes_at_once=True,
            class_agnostic=True,
            layouts=("tokens",),
        ),
        ExplainerEntry("adversarial", "Adversarial", adversarial, kind="image"),
    ),
)

HEATMAPS = Selection(EXPLAINERS, lambda entry: entry.kind == "heatmap")
"""The methods whose explanation is a heat map."""
DIFFERENTIABLE = Selection(EXPLAINERS, lambda entry: entry.differentiable)
"""The methods whose explanation can be attacked."""


def explains_all_classes_at_once(name: str, classifier: Classifier, layer: str | None = None) -> bool:
    """Whether one forward pass gives a method's maps of all classes of this classifier, at a layer that is named."""
    entry = EXPLAINERS[name]
    if not entry.all_classes_at_once:
        return False
    return "layer" not in entry.options or (layer is None and has_head(classifier))


def layer_option(method: str, layer: str | None) -> dict[str, Any]:
    """The option by which a method explains at a layer; empty where it has none, or none is named.

    Example:
        >>> layer_option("grad-cam", "layer3"), layer_option("saliency", "layer3"), layer_option("grad-cam", None)
        ({'layer': 'layer3'}, {}, {})
    """
    return {} if layer is None or "layer" not in EXPLAINERS[method].options else {"layer": layer}


def check_layer(classifier: Classifier, methods: Sequence[str], layer: str | None) -> None:
    """Refuse a layer that none of some methods takes, or that the classifier does not have.

    Raises:
        InputError: with the methods that take one, or the nearest layers.
    """
    if layer is None:
        return
    if not any(layer_option(name, layer) for name in methods):
        raise InputError(
            f"a layer is named ({layer}), and none of {', '.join(methods)} takes one: "
            f"{', '.join(entry.name for entry in with_option('layer'))} do."
        )
    layer_named(classifier, layer)


def is_signed(name: str) -> bool:
    """Whether the maps of a method have a meaningful zero; what is no method, as a trivial map, has none.

    Example:
        >>> is_signed("lime"), is_signed("cam"), is_signed("trivial: mean box")
        (True, False, False)
    """
    return name in EXPLAINERS and EXPLAINERS[name].signed


def is_fine(name: str) -> bool:
    """Whether the maps of a method are too fine to be read on top of an image; what is no method is coarse.

    Example:
        >>> is_fine("saliency"), is_fine("cam"), is_fine("trivial: mean box")
        (True, False, False)
    """
    return name in EXPLAINERS and EXPLAINERS[name].fine


def label_of(name: str) -> str:
    """A method's name for people; of what is no method, the name as it is.

    Example:
        >>> label_of("kernel-shap"), label_of("mine")
        ('Kernel SHAP', 'mine')
    """
    return EXPLAINERS[name].label if name in EXPLAINERS else name


def with_option(option: str) -> list[ExplainerEntry]:
    """The methods that have an option.

    Example:
        >>> [entry.label for entry in with_option("layer")]
        ['Grad-CAM', 'Grad-CAM++']
    """
    return [entry for entry in EXPLAINERS.values() if option in entry.options]
