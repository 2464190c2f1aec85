"""Two sets of batch norm: which is used, which learns, what the weights file holds, and who gets restored."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from pellucid.models import create_model, dual_batch_norm, frozen, load_model, load_pretrained, save_model, using_norm
from pellucid.models.dual_norm import DualBatchNorm2d, for_both_norms, has_dual_norm
from pellucid.types import InputError

LABELS = {"task": "multiclass", "classes": ["a", "b"], "size": 32}
IMAGES = torch.rand(8, 1, 32, 32, generator=torch.Generator().manual_seed(0))


def trained(**options: object) -> nn.Module:
    """A network whose norms are nobody's defaults."""
    torch.manual_seed(0)
    model = create_model("small", **LABELS, **options)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
        elif isinstance(part, nn.Conv2d):
            nn.init.normal_(part.weight, std=0.1)  # the last ones of the blocks start at zero
    return model


def norms_of(model: nn.Module, which: int) -> dict[str, torch.Tensor]:
    duals = {name: part for name, part in model.named_modules() if isinstance(part, DualBatchNorm2d)}
    halves = {name: part.adversarial if which else part for name, part in duals.items()}
    kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return {f"{name}.{kind}": getattr(half, kind) for name, half in halves.items() for kind in kinds}


def test_both_sets_start_as_the_old_norm_was():
    plain = trained().eval()
    dual = copy.deepcopy(plain)
    names = [name for name, part in dual.named_modules() if isinstance(part, nn.BatchNorm2d)]
    dual.backbone.norm.bias.requires_grad_(False)
    dual.backbone.norm.eps = 0.25
    plain.backbone.norm.eps = 0.25
    assert dual_batch_norm(dual) == len(names) == 9
    assert has_dual_norm(dual)
    assert not has_dual_norm(plain)
    assert not dual.backbone.norm.adversarial.bias.requires_grad
    assert not any(part.training for part in dual.modules())
    with torch.no_grad():
        expected = plain(IMAGES)
        assert torch.equal(dual(IMAGES), expected)
        with using_norm(dual, 1):
            assert torch.equal(dual(IMAGES), expected)
    for name, tensor in plain.state_dict().items():
        assert torch.equal(dual.state_dict()[name], tensor)  # set 0 has the plain network's names
    with torch.no_grad():
        dual.backbone.norm.weight.zero_()
    assert dual.backbone.norm.adversarial.weight.abs().min() > 0  # no tensor is shared


@pytest.mark.parametrize("which", [0, 1])
def test_only_the_set_in_use_sees_the_images_and_learns(which):
    plain = trained().train()
    dual = copy.deepcopy(plain)
    dual_batch_norm(dual)
    other = {name: tensor.clone() for name, tensor in norms_of(dual, 1 - which).items()}
    with using_norm(dual, which):
        logits = dual(IMAGES)
    logits.square().sum().backward()  # outside, as a training loop may
    expected = plain(IMAGES)
    expected.square().sum().backward()
    torch.testing.assert_close(logits, expected)
    own, untouched = norms_of(dual, which), norms_of(dual, 1 - which)
    state = plain.state_dict()
    for name, tensor in own.items():
        torch.testing.assert_close(tensor, state[name])  # the statistics followed these images
    assert all(torch.equal(untouched[name], tensor) for name, tensor in other.items())
    gradients = {name: parameter.grad for name, parameter in plain.named_parameters()}
    for name, parameter in own.items():
        if name in gradients:
            torch.testing.assert_close(parameter.grad, gradients[name])
            assert untouched[name].grad is None


def test_the_choice_ends_with_the_block_also_after_an_exception():
    model = trained(batch_norms=2)
    parts = [part for part in model.modules() if isinstance(part, DualBatchNorm2d)]
    with pytest.raises(ZeroDivisionError), using_norm(model, 1):  # noqa: PT012 (the block is what is tested)
        assert {part.which for part in parts} == {1}
        with using_norm(model, 0):
            assert {part.which for part in parts} == {0}
        assert {part.which for part in parts} == {1}
        raise ZeroDivisionError
    assert {part.which for part in parts} == {0}


def test_the_sets_part_and_both_survive_the_disk(tmp_path):
    model = trained(batch_norms=2).train()
    with using_norm(model, 1):
        model(IMAGES * 3)
    model.eval()
    save_model(model, tmp_path / "net")
    loaded = load_model(tmp_path / "net")
    assert loaded.architecture.options["batch_norms"] == 2
    with torch.no_grad():
        clean = model(IMAGES)
        assert torch.equal(loaded(IMAGES), clean)
        with using_norm(model, 1), using_norm(loaded, 1):
            assert torch.equal(loaded(IMAGES), model(IMAGES))
            assert not torch.allclose(loaded(IMAGES), clean, atol=1e-3)


def test_a_plain_networks_weights_go_into_both_sets(tmp_path):
    plain = trained().eval()
    save_model(plain, tmp_path / "net")
    by_torch, by_file = (create_model("small", batch_norms=2, **LABELS).eval() for _ in range(2))
    by_torch.load_state_dict(plain.state_dict())
    load_pretrained(by_file, tmp_path / "net" / "weights.safetensors")
    at_once = create_model("small", batch_norms=2, pretrained=tmp_path / "net" / "weights.safetensors", **LABELS).eval()
    with torch.no_grad():
        for model in (by_torch, by_file, at_once):
            for which in (0, 1):
                with using_norm(model, which):
                    assert torch.equal(model(IMAGES), plain(IMAGES))


def test_half_of_a_set_is_not_completed(tmp_path):
    """A file that is neither a plain network's nor a whole dual one's is refused with the names."""
    model = trained(batch_norms=2)
    state = dict(model.state_dict())
    del state["backbone.norm.adversarial.bias"]
    assert for_both_norms(model, state).keys() == state.keys()
    torch.save(state, tmp_path / "half.pt")
    with pytest.raises(InputError, match=r"1 missing: backbone\.norm\.adversarial\.bias"):
        load_pretrained(model, tmp_path / "half.pt")
    with pytest.raises(RuntimeError, match=r"Missing key.*norm\.adversarial\.bias"):
        model.load_state_dict(state)


def test_frozen_restores_both_sets():
    model = trained(batch_norms=2).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with frozen(model), using_norm(model, 1):
        for part in model.modules():
            part.training = True  # what a careless guest might do
        model(IMAGES)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_mistakes_are_explained():
    plain, dual = create_model("small", **LABELS), create_model("small", batch_norms=2, **LABELS)
    with pytest.raises(InputError, match=r"0 \(clean\) and 1 \(adversarial\); found 2"), using_norm(dual, 2):
        pass
    with pytest.raises(InputError, match="batch_norms=2"), using_norm(plain, 1):
        pass
    with pytest.raises(InputError, match="two sets of batch norm already"):
        dual_batch_norm(dual)
    with pytest.raises(InputError, match=r"no nn\.BatchNorm2d"):
        dual_batch_norm(nn.Sequential(nn.Conv2d(1, 1, 1)))
    with pytest.raises(InputError, match=r"batch_norms must be 1, or 2 .* found 3"):
        create_model("small", batch_norms=3, **LABELS)
