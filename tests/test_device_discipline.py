"""Every attack, explanation and term of training makes its tensors where its images are: seen without a second device.

What comes out there is compared with what the processor gives, so that nothing slips by unnoticed.
"""

from __future__ import annotations

import pytest
import torch

from helpers.models import small
from helpers.other_device import ELSEWHERE, Elsewhere, WrongDeviceError, module_there, other_device
from pellucid.attacks import METHODS
from pellucid.explainers import EXPLAINERS, HEATMAPS, explain
from pellucid.training import Objective, load_recipe
from pellucid.training.distributed import BatchRandom
from pellucid.types import Batch, Marks
from pellucid.verbs.attack import METHOD_NAMES, attack


def network(task="multiclass", **options):
    return small(task=task, **options)


IMAGES = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(1))
LABELS = {
    "multiclass": torch.tensor([0, 1, 2, 0]),
    "multilabel": torch.tensor([[1.0, 0, 0], [0, 1, 1], [1, 1, 0], [0, 0, 0]]),
}


def test_the_device_refuses_what_an_accelerator_refuses():
    with other_device():
        there, here = IMAGES.to(ELSEWHERE), torch.ones(4, 1, 32, 32)
        assert there.device == ELSEWHERE
        assert torch.zeros_like(there).device == torch.zeros(3, device=ELSEWHERE).device == ELSEWHERE
        with pytest.raises(WrongDeviceError):
            there + here
        with pytest.raises(WrongDeviceError):
            here[there[:, 0, 0, 0] > 0.5]
        with pytest.raises(WrongDeviceError):
            torch.rand(3, device=ELSEWHERE, generator=torch.Generator())
        with pytest.raises(TypeError):
            there.numpy()
        assert (there * torch.tensor(2.0)).cpu().equal(IMAGES * 2)  # a number may come from anywhere
        assert there[torch.tensor([1, 0])].cpu().equal(IMAGES[[1, 0]])  # and so may an index
        leaf = IMAGES.to(ELSEWHERE).requires_grad_()
        (gradient,) = torch.autograd.grad((leaf**3).sum(), leaf, create_graph=True)
        (second,) = torch.autograd.grad(gradient.sum(), leaf)
        torch.testing.assert_close(second.cpu(), 6 * IMAGES)


# of several labels only where the attack itself looks at them; autoattack is made of the same steps, and takes long
@pytest.mark.parametrize(
    ("method", "task"),
    [
        *((name, "multiclass") for name in ("fgsm", "pgd", "margin", *METHODS)),
        ("pgd", "multilabel"),
        ("fmn", "multilabel"),
    ],
)
def test_attacks(method, task):
    options = {"eps": "linf=8/255"} if method in METHOD_NAMES else {}
    options |= {"steps": 3} if method in ("pgd", "fmn", "ddn", "woods2019") else {}
    if task == "multilabel":
        options["label"] = "a"
    images, labels = IMAGES[:2], LABELS[task][:2]
    here = attack(network(task), images, labels, method, **options)
    with other_device():
        there = attack(module_there(network(task)), images, labels, method, **options)
        assert isinstance(there.perturbed, Elsewhere)
        assert there.found.cpu().equal(here.found)
        torch.testing.assert_close(there.perturbed.cpu(), here.perturbed)


@pytest.mark.parametrize("method", [name for name in HEATMAPS if name != "attention-rollout"])  # of transformers
def test_explanations(method):
    options = {"seed": 0} if EXPLAINERS[method].seeded else {}
    options |= {"samples": 8} if method in ("lime", "kernel-shap", "rise", "smoothgrad") else {}
    options |= {"segments": 4} if method in ("lime", "kernel-shap") else {}
    here = explain(method, network(), IMAGES[:2], 1, **options)
    with other_device():
        there = explain(method, module_there(network()), IMAGES[:2].to(ELSEWHERE), 1, **options)
        torch.testing.assert_close(there.maps.cpu(), here.maps)


TERMS = {
    "plain": [],
    "fgsm": ["objective.mix=0.5"],
    "pgd": ["objective.mix=0.5", "objective.attack.method='pgd'", "objective.attack.steps=2"],
    "algorithm-1": ["objective.mix=0.5", "objective.attack={method='woods2019', steps=2, size={rms=0.01}, share=0.5}"],
    "algorithm-1-min": ["objective.mix=0.5", "objective.attack={method='woods2019-min', steps=2, size={rms=0.1}}"],
    "trades": ["objective.form='trades'", "objective.attack.steps=1"],
    "noise": ["objective.noise=0.1"],
    "exact": ["objective.gradient_penalty={method='exact', tandem=0.5, adaptive={}}"],
    "finite-difference": ["objective.gradient_penalty={method='finite-difference', tandem=0.5, adaptive={}}"],
    "projections": ["objective.gradient_penalty={method='exact', outputs='projections'}"],
    "gradient of the loss": ["objective.gradient_penalty={method='exact', outputs='loss'}"],
    "marks, gradient": ["objective.annotations={weight=1, explanation='gradient'}"],
    "marks, cam": ["objective.annotations={weight=1, explanation='cam'}"],
    "marks, adversarial": ["objective.annotations={weight=1, explanation='adversarial'}"],
}


def one_step(model, images, labels, marks, overrides):
    objective = Objective(model, load_recipe("standard", overrides).objective, LABELS[model.task]).train()
    rows = torch.arange(4, device=images.device)
    torch.manual_seed(0)
    loss, parts = objective(Batch(images, labels, rows, marks), None, BatchRandom(3))
    loss.backward()
    return loss.detach(), parts, [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize(
    ("term", "task"),
    [*((term, "multiclass") for term in TERMS), ("algorithm-1-min", "multilabel"), ("exact", "multilabel")],
)
def test_the_training_step(term, task):
    overrides = [*TERMS[term]]
    marks = None
    if term.startswith("marks"):
        regions = torch.zeros(4, 1, 32, 32)
        regions[:, :, 3:9, 3:9] = 1
        marks = Marks(torch.tensor([[0], [1], [2], [0]]), regions, 1 - regions)
    loss, _, gradients = one_step(network(task), IMAGES, LABELS[task], marks, overrides)
    with other_device():
        model = module_there(network(task))
        marks = None if marks is None else Marks(*(part.to(ELSEWHERE) for part in marks))
        there, parts, gradients_there = one_step(
            model, IMAGES.to(ELSEWHERE), LABELS[task].to(ELSEWHERE), marks, overrides
        )
        assert all(isinstance(part, Elsewhere) for part in (there, *parts.values(), *gradients_there))
        torch.testing.assert_close(there.cpu(), loss)
        for one, other in zip(gradients_there, gradients, strict=True):
            torch.testing.assert_close(one.cpu(), other, rtol=1e-3, atol=1e-5)
