"""Every explanation and every attack on a network: it works, or is refused in one sentence."""

from __future__ import annotations

import pytest
import torch

import pellucid as pl
from pellucid.attacks import METHODS
from pellucid.attacks.bounded import ENSEMBLES, METHOD_NAMES
from pellucid.evaluation.manipulation.attack import manipulate
from pellucid.evaluation.manipulation.settings import Attack
from pellucid.explainers import explain
from pellucid.models.card import thresholds_of
from pellucid.types import InputError

ATTACKS = [*METHOD_NAMES, *METHODS]
FEW = {
    "smoothgrad": {"samples": 2},
    "integrated-gradients": {"steps": 2},
    "rise": {"samples": 6},
    "lime": {"samples": 8, "segments": 4},
    "kernel-shap": {"samples": 8, "segments": 4},
    "occlusion": {"window": 16},
}


def check_explanation(method, model, images):
    """It explains two images, and none."""
    assert len(explain(method, model, images[:0], 1).maps) == 0
    found = explain(method, model, images, torch.tensor([0, 2]), batch_size=2, **FEW.get(method, {}))
    shape = images.shape[2:] if found.kind == "heatmap" else images.shape[1:]
    assert found.maps.shape == (2, *shape)
    assert found.maps.isfinite().all()
    assert found.maps.std() > 0 or method.startswith("grad-cam")  # whose ReLU may leave nothing


def check_refused(method, model, images):
    """It is refused in one sentence, and already before there is an image to explain."""
    with pytest.raises(InputError):
        explain(method, model, images[:0], 1)
    with pytest.raises(InputError) as refusal:
        explain(method, model, images, 1, **FEW.get(method, {}))
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).endswith(".")


def attacked(method, model, images):
    """The images attacked with few steps, so that the decision turns, or that on the first label."""
    options = {"steps": 1} if method not in ("fgsm", "tight") else {}
    if method in ENSEMBLES:
        options |= {"targets": 1, "queries": 2} | ({"targeted_steps": 1, "last_steps": 1} if method == "margin" else {})
    if model.task == "multilabel":
        options["label"] = model.classes[0]
    truth = decisions(model, images)
    return pl.attack(
        model, images, truth if model.task == "multiclass" else truth.float(), method, eps="linf=0.2", **options
    )


def check_attack(method, model, images):
    """A gradient that is not 0 reaches the images; what it found is an image, decided otherwise where it says so."""
    gradients = []

    def note(_, given):
        if given[0].requires_grad:
            given[0].register_hook(lambda gradient: gradients.append(gradient.detach().clone()))

    handle = model.register_forward_pre_hook(note)
    found = attacked(method, model, images)
    handle.remove()
    assert any(bool(gradient.count_nonzero()) for gradient in gradients)
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert found.perturbed.shape == images.shape
    assert found.perturbed.isfinite().all()
    differs = decisions(model, found.perturbed) != decisions(model, images)
    differs = differs if model.task == "multiclass" else differs[:, 0]
    assert differs[found.found].all()
    assert torch.equal(found.perturbed[~found.found], images[~found.found])  # as given, where nothing was found


def decisions(model, images):
    with torch.no_grad():
        logits = model(images)
    if model.task == "multiclass":
        return logits.argmax(1)
    return logits.sigmoid() >= torch.tensor(thresholds_of(model.card, len(model.classes)))


def one_step(method):
    """An attack on the explanations of a method, of one step."""
    return Attack(method, "same-decision", (0.02,), steps=1, options=FEW.get(method, {}))


def check_attack_on_explanation(method, model, images):
    """The decision on what it found is the same."""
    found = manipulate(model, images[:1], one_step(method))
    assert found.perturbed.isfinite().all()
    assert found.constraint_met.all()
