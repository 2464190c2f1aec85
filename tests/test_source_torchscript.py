"""Networks saved as TorchScript, traced, scripted and frozen."""

from __future__ import annotations

import copy

import pytest
import torch

import pellucid as pl
from helpers.foreign import GIVEN, make, write_code
from pellucid.models.sources.importing import import_network
from pellucid.models.sources.opening import Given
from pellucid.models.sources.torchscript import load_script
from pellucid.types import InputError


@pytest.mark.parametrize("kind", ["traced", "scripted", "frozen"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_saved_network_gives_the_modules_logits_and_gradients(kind, tmp_path):
    write_code(tmp_path)
    module = make(tmp_path)
    script = torch.jit.trace(module, torch.rand(2, 3, 32, 32)) if kind == "traced" else torch.jit.script(module)
    torch.jit.save(torch.jit.freeze(script) if kind == "frozen" else script, tmp_path / "net.pt")
    model = import_network("torchscript", str(tmp_path / "net.pt"), tmp_path / "m", Given(**GIVEN))
    images = torch.rand(3, 3, 32, 32, requires_grad=True)
    expected = module(model.normalise(images))
    (theirs,) = torch.autograd.grad(expected.square().sum(), images)
    for loaded in (model, pl.load(tmp_path / "m", trust_code=True)):
        logits = loaded(images)
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
        (mine,) = torch.autograd.grad(logits.square().sum(), images)
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)
    assert pl.explain(model, images.detach(), "saliency").maps.shape == (3, 32, 32)
    with pytest.raises(InputError, match="layers cannot be watched"):
        pl.explain(model, images.detach(), "cam")
    with pytest.raises(InputError, match="--trust-code"):
        pl.load(tmp_path / "m")


def test_another_file_is_no_torchscript(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "state.pt")
    with pytest.raises(InputError, match="is no file of TorchScript"):
        pl.load(f"torchscript:{tmp_path / 'state.pt'}", **GIVEN)
    with pytest.raises(InputError, match="no file"):
        pl.load(f"torchscript:{tmp_path / 'none.pt'}")


@pytest.mark.parametrize("change", [lambda m: m.double().float(), copy.deepcopy], ids=["other precision", "copy"])
def test_weights_that_are_drawn_anew_change_the_outputs(change, tmp_path):
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2)
    )
    torch.jit.script(module).save(tmp_path / "net.pt")
    network = change(load_script((tmp_path / "net.pt").read_bytes(), "net.pt"))
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(network(images), module(images))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert not network(images).any()
