"""What the matrix of explanations asks of a map can fail: each way in which one may be wrong is seen."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers import every_method
from helpers.models import small
from pellucid.explainers import explain
from pellucid.types import InputError

WRONG = {
    "not finite": lambda maps: torch.where(maps == maps.amax(), torch.nan, maps),
    "constant": torch.ones_like,
    "zero": torch.zeros_like,
    "of another size": lambda maps: maps[..., ::2, ::2],
    "of the other image": lambda maps: maps.flip(0),
    "the same for both images": lambda maps: maps[[0, 1, 0][: len(maps)]],
    "the same for both classes": lambda maps: maps[[0, 0, 2][: len(maps)]],
    "mixed over the batch": lambda maps: maps + 0.1 * maps.mean(0),
}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return small(channels=3, task="multiclass", classes=["a", "b", "c"])


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def spoil(monkeypatch, wrong):
    def wrongly(method, classifier, given, targets, **options):
        explanation = explain(method, classifier, given, targets, **options)
        return replace(explanation, maps=wrong(explanation.maps)) if len(given) else explanation

    monkeypatch.setattr(every_method, "explain", wrongly)


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("method", ["saliency", "cam"])
def test_a_wrong_map_is_seen(monkeypatch, model, images, method, wrong):
    every_method.check_explanation(method, model, images)
    spoil(monkeypatch, wrong)
    with pytest.raises(AssertionError):
        every_method.check_explanation(method, model, images)


@pytest.mark.parametrize("turn", [lambda maps: maps.mT, lambda maps: maps.flip(-1), lambda maps: maps.flip(-2)])
def test_a_turned_map_is_seen(monkeypatch, model, images, turn):
    every_method.check_place("grad-cam", model, images)
    spoil(monkeypatch, turn)
    with pytest.raises(AssertionError):
        every_method.check_place("grad-cam", model, images)


@pytest.mark.parametrize(
    "words",
    [
        "no.",
        "attention rollout does not work.",
        "saliency needs a transformer on tokens, and this network's last feature map is none: use grad-cam.",
        "attention rollout needs a transformer on tokens, and this network's last feature map is none.",
        "attention rollout needs a transformer on tokens, and this network's last feature map is none:\nuse grad-cam.",
    ],
)
def test_a_refusal_in_other_words_is_seen(monkeypatch, model, images, words):
    every_method.check_refused("attention-rollout", model, images)

    def refuse(*_, **__):
        raise InputError(words)

    monkeypatch.setattr(every_method, "explain", refuse)
    with pytest.raises(AssertionError):
        every_method.check_refused("attention-rollout", model, images)
