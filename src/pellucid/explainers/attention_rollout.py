"""Attention rollout: how much of each patch reaches a transformer's last tokens through its layers of attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pellucid.explainers.budget import in_parts
from pellucid.explainers.explanation import Explanation, resolve_targets
from pellucid.models.classifier import WrappedClassifier, frozen
from pellucid.models.layouts import leaf_at
from pellucid.types import InputError, check_images

if TYPE_CHECKING:
    from collections.abc import Callable

    from pellucid.explainers.explanation import Targets
    from pellucid.models.layouts import LastMap
    from pellucid.types import Classifier

SOFTMAXES = frozenset({F.softmax, torch.softmax, torch.Tensor.softmax})


def attention_rollout(
    classifier: Classifier, images: Tensor, targets: Targets, *, batch_size: int | None = None
) -> Explanation:
    """``R = Π_l (Ā_l + I) / 2`` from the last layer to the first, with Ā_l the attention averaged over heads.

    The map is the row of R of the class token, or the mean over the rows of the patches where the logits depend on no
    class token, at the columns of the patches. It does not depend on the class: it says where a transformer gathers
    what it decides by, not what speaks for which class. One forward pass; the weights are read where they are computed,
    whichever library the network is from.

    Args:
        classifier: a wrapped transformer whose tokens are known (`.layout` is `tokens`) and attend to all others.
        images: (N, C, H, W) in [0, 1].
        targets: class indices (N,), one index for all, or "all": the same map for each.
        batch_size: images at a time; as many as fit in memory by default.

    Returns:
        Maps (N, h, w), not negative, at the patches' resolution; (N, K, h, w) for "all".

    Raises:
        InputError: a network without attention, whose tokens attend to a part of the others only (as in windows), or
            whose weights are not to be had; images that are not pixels in [0, 1]; targets that are no classes.

    Source:
        Abnar & Zuidema 2020, "Quantifying attention flow in transformers", arXiv 2005.00928, section 3; for images
        Dosovitskiy et al. 2021, arXiv 2010.11929, appendix D.7.
    """
    check_images(images, channels=classifier.input_spec.channels)
    indices = resolve_targets(classifier, images, targets)
    if not isinstance(classifier, WrappedClassifier) or classifier.last_map is None or classifier.layout != "tokens":
        raise InputError(
            "attention rollout needs a transformer on tokens, and this network's last feature map is none: use "
            "grad-cam, or saliency, which takes any network."
        )
    from_class_token = _class_token_counts(classifier, classifier.last_map, images[:1])

    def maps_of(part: Tensor, _targets: Tensor | None) -> Tensor:
        return _rollout(classifier, part, from_class_token=from_class_token)

    maps = in_parts(maps_of, classifier, images, indices, batch_size)
    if indices is None:
        maps = maps[:, None].expand(-1, len(classifier.classes), -1, -1)
    return Explanation(maps, "heatmap", "attention-rollout", indices, gradient_evaluations=0, forward_passes=1)


def _rollout(classifier: WrappedClassifier, images: Tensor, *, from_class_token: bool) -> Tensor:
    last = classifier.last_map
    assert last is not None  # attention_rollout has looked
    layout, size = last.layout, (images.shape[2], images.shape[3])
    with torch.no_grad(), frozen(classifier), AttentionWeights() as recorded:
        classifier(images)
    count = len(images)
    layers = recorded.weights
    if not layers or any(len(w) != count or w.shape != layers[0].shape for w in layers):
        shapes = sorted({tuple(w.shape[1:]) for w in layers})
        raise InputError(
            "attention rollout needs layers in which every token attends to all others, with weights that torch "
            f"computes: found {f'weights of the shapes {shapes}' if layers else 'none'}. Use grad-cam."
        )
    flow = torch.eye(layers[0].shape[-1], dtype=torch.float32, device=images.device).expand(count, -1, -1)
    for weights in layers:
        flow = (weights.float().mean(1) @ flow + flow) / 2
    rows = flow[:, 0] if from_class_token else flow[:, layout.extra_tokens :].mean(1)
    return layout.to_map(rows[:, :, None], size)[:, 0]


def _class_token_counts(classifier: WrappedClassifier, last: LastMap, images: Tensor) -> bool:
    """Whether the logits depend on the first of the extra tokens behind the last block."""
    block = last.layer.rpartition(".")[0]
    if not last.layout.extra_tokens or not len(images):
        return bool(last.layout.extra_tokens)
    with leaf_at(classifier.module.get_submodule(block)) as leaves, frozen(classifier), torch.enable_grad():
        logits = classifier(images.detach().clone())
        if len(leaves) != 1 or leaves[0].ndim != 3 or not logits.requires_grad:
            return True
        weights = torch.linspace(1, 2, logits.shape[1], device=logits.device, dtype=logits.dtype)
        (gradient,) = torch.autograd.grad((logits * weights).sum(), leaves[0])
    return bool(gradient[:, 0].any())


class AttentionWeights(TorchFunctionMode):
    """Inside, the weights of each attention that torch computes, in order: (N, heads, tokens, tokens) each.

    Attributes:
        weights: of the layers so far.

    Example:
        >>> x = torch.rand(1, 2, 5, 4)
        >>> with AttentionWeights() as recorded:
        ...     same = F.scaled_dot_product_attention(x, x, x)
        >>> recorded.weights[0].shape, bool(torch.allclose(recorded.weights[0] @ x, same))
        (torch.Size([1, 2, 5, 5]), True)
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        options = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._attend(*args, **options)
        if func is F.multi_head_attention_forward:  # of nn.MultiheadAttention; inside it nothing is seen
            output, weights = func(*args, **options | {"need_weights": True, "average_attn_weights": False})
            self.weights.append(weights)
            return output, None
        result = func(*args, **options)
        if func in SOFTMAXES and result.ndim == 4 and result.shape[2] == result.shape[3]:
            self.weights.append(result)
        return result

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,  # noqa: ARG002 (0 in evaluation mode)
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if is_causal or enable_gqa:
            raise InputError("attention rollout knows no causal or grouped attention: use grad-cam.")
        scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
        if attn_mask is not None:
            masked = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, -torch.inf) if masked else scores + attn_mask
        weights = scores.softmax(-1)
        self.weights.append(weights)
        return weights @ value
