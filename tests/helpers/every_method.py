"""Every explanation and every attack on a network: it works, or is refused in one sentence."""

from __future__ import annotations

import re

import pytest
import torch

import pellucid as pl
from pellucid.attacks import METHODS
from pellucid.attacks.bounded import ENSEMBLES, METHOD_NAMES
from pellucid.evaluation.manipulation.attack import manipulate
from pellucid.evaluation.manipulation.settings import Attack
from pellucid.explainers import EXPLAINERS, explain
from pellucid.models.card import thresholds_of
from pellucid.types import InputError

ATTACKS = [*METHOD_NAMES, *METHODS]
TELLS = 1e-4  # of the largest value: attention rollout of drawn weights varies by a thousandth of it
FEW = {
    "smoothgrad": {"samples": 2},
    "integrated-gradients": {"steps": 2},
    "rise": {"samples": 6},
    "lime": {"samples": 8, "segments": 4},
    "kernel-shap": {"samples": 8, "segments": 4},
    "occlusion": {"window": 16},
}
PLACED = ("cam", "grad-cam", "integrated-gradients", "attention-rollout", "adversarial")
"""Maps that change most where the image does, also of drawn weights: one of each way in which a map gets its place."""
RECTIFIED = ("grad-cam", "grad-cam++")
REFUSALS = {
    "cam": r"^a class activation map needs (a network that ends in pooling and one linear layer|a layer's feature map)",
    "grad-cam": "^Grad-CAM needs a layer's feature map, and a network of .* runs as one piece",
    "grad-cam++": r"^Grad-CAM\+\+ needs a layer's feature map, and a network of .* runs as one piece",
    "guided-backprop": r"^guided backpropagation needs rectifiers that are modules .*, and this network has none",
    "attention-rollout": (
        "^attention rollout needs (a transformer on tokens, and this network's last feature map is none"
        "|layers in which every token attends to all others)"
    ),
}
"""How a refusal begins: the method by its name for people, and what it needs."""


def check_explanation(method, model, images):
    """It explains two images, and none: each image and class by a map of its own, the same where it stands alone."""
    assert len(explain(method, model, images[:0], 1).maps) == 0
    first, second = images
    options = FEW.get(method, {})
    target, other = two_classes(method, model, images)
    one_by_one = torch.stack([first, first, second])
    found = explain(method, model, one_by_one, torch.tensor([target, other, target]), **options)
    assert found.kind == EXPLAINERS[method].kind
    assert found.maps.shape == (3, *(images.shape[2:] if found.kind == "heatmap" else images.shape[1:]))
    assert found.maps.isfinite().all()
    of_first, of_other_class, of_second = found.maps
    for one in (of_first, of_second) if method in RECTIFIED else found.maps:  # a ReLU may leave nothing of a class
        assert one.std() > TELLS * one.abs().max()
    assert differs(of_first, of_other_class) is not EXPLAINERS[method].class_agnostic
    assert differs(of_first, of_second)
    if found.kind == "image":
        assert (found.maps >= 0).all()
        assert (found.maps <= 1).all()
        assert all(differs(one, image) for one, image in zip(found.maps, one_by_one, strict=True))
    alone = explain(method, model, second[None], target, **options).maps[0]
    torch.testing.assert_close(alone, of_second, rtol=1e-3, atol=1e-4 * float(of_second.abs().max()))


def check_place(method, model, images):
    """Where a quarter of the image changes, its map changes most: no way to turn or mirror the map fits better."""
    image, half = images[0], images.shape[-1] // 2
    places = [(..., slice(y, y + half), slice(x, x + half)) for y in (0, half) for x in (0, half)]
    changed = [image.clone() for _ in places]
    for one, place in zip(changed, places, strict=True):
        one[place] = 1 - one[place]
    targets = "all" if method in RECTIFIED else 0  # of one class a ReLU may leave nothing
    maps = explain(method, model, torch.stack([image, *changed]), targets, **FEW.get(method, {})).maps
    change = (maps[1:] - maps[:1]).abs()
    shares = torch.tensor([[float(one[place].sum()) for place in places] for one in change])
    quarters = torch.arange(4).view(2, 2)
    ways = [way.flatten() for turns in range(4) for way in (quarters.rot90(turns), quarters.rot90(turns).T)]
    fits = [float(shares[torch.arange(4), way].sum()) for way in ways]
    assert fits[0] > max(fits[1:])


def two_classes(method, model, images):
    """The first class and the third; first that of whose Grad-CAM the ReLU leaves most, for it may leave nothing."""
    if method not in RECTIFIED:
        return 0, 2
    spread = explain(method, model, images, "all").maps.std((2, 3)).amin(0)
    target = int(spread.argmax())
    return target, int(spread.index_fill(0, torch.tensor(target), -1).argmax())


def differs(one, other):
    """Whether two maps differ by more than rounding."""
    return bool((one - other).abs().max() > TELLS * torch.maximum(one.abs().max(), other.abs().max()))


def check_refused(method, model, images):
    """In one sentence, which names the method and what it misses; and already before there is an image to explain."""
    with pytest.raises(InputError, match=REFUSALS[method]):
        explain(method, model, images[:0], 1)
    with pytest.raises(InputError, match=REFUSALS[method]) as refusal:
        explain(method, model, images, 1, **FEW.get(method, {}))
    assert "\n" not in str(refusal.value)
    assert re.search(r"(U|u)se [a-z]", str(refusal.value))  # what does it instead
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
