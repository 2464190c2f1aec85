"""Networks that take pixels in [0, 1] and give logits; loading, saving and wrapping them."""

from __future__ import annotations

from pellucid.models.classifier import Architecture, ConvolutionalClassifier, WrappedClassifier, frozen, wrap
from pellucid.models.dual_norm import dual_batch_norm, using_norm
from pellucid.models.registry import MODELS, ModelEntry, create_model, describe, model_names
from pellucid.models.sources.pretrained import load_pretrained
from pellucid.models.surgery import replace_activation
from pellucid.models.weights import load_model, read_model_card, save_model

__all__ = [
    "MODELS",
    "Architecture",
    "ConvolutionalClassifier",
    "ModelEntry",
    "WrappedClassifier",
    "create_model",
    "describe",
    "dual_batch_norm",
    "frozen",
    "load_model",
    "load_pretrained",
    "model_names",
    "read_model_card",
    "replace_activation",
    "save_model",
    "using_norm",
    "wrap",
]
