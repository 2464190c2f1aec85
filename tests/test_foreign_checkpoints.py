"""Weights of somebody else's network: the ways in which scripts save them, and files that are of another network."""

from __future__ import annotations

import builtins
import subprocess
import sys
from argparse import Namespace
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from helpers.foreign import make, settle, write_code
from pellucid.models.sources.checkpoint import fit_to, load_exactly, read_nested, read_tensors
from pellucid.types import InputError


class Setting:
    """A class of the script that saved the checkpoint, which nobody else has."""

    def __init__(self):
        self.rate = 0.1


THEIRS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.fc = nn.Linear(4, 2)
        self.register_buffer("passing", torch.ones(2), persistent=False)
        self.register_buffer("scale", torch.full((1,), 7.0))
"""


@pytest.fixture
def network(tmp_path):
    write_code(tmp_path)
    return make(tmp_path)


def lightning(state):
    settings = {"path": Path("data"), "setting": Setting(), "args": Namespace(a=1), "count": defaultdict(int, a=1)}
    return {
        "epoch": 3,
        "state_dict": {f"model.{name}": tensor for name, tensor in state.items()} | {"criterion.weight": torch.ones(2)},
        "hyper_parameters": settings,
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]}],
    }


@pytest.mark.parametrize(
    ("saved", "notes"),
    [
        (dict, []),
        (lambda s: {f"module.{k}": v for k, v in s.items()}, ["'module.' before"]),
        (lambda s: {f"_orig_mod.module.{k}": v for k, v in s.items()}, ["'_orig_mod.module.' before"]),
        (lambda s: {"model_state_dict": s, "epoch": 2}, []),
        (lambda s: {"model": {"state_dict": {f"net.{k}": v for k, v in s.items()}}}, ["'net.' before"]),
        (lightning, ["'model.' before", "beside the network was left out: criterion.weight"]),
        (lambda s: {k: v.half() if v.is_floating_point() else v for k, v in s.items()}, []),
        (lambda s: {k: v for k, v in s.items() if not k.endswith("num_batches_tracked")}, []),
    ],
)
def test_weights_are_found_in_what_scripts_save(saved, notes, network, tmp_path):
    path = tmp_path / "weights.ckpt"
    torch.save(saved(network.state_dict()), path)
    tensors, _ = read_nested(path)
    state, told = fit_to(network, tensors, str(path))
    assert [part for part, note in zip(notes, told, strict=True) if part in note] == notes
    other = make(tmp_path)
    settle(other, seed=1)
    load_exactly(other, state, source=str(path))
    half = any(tensor.dtype == torch.float16 for tensor in tensors.values())
    for name, tensor in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            expected = tensor.half().float() if half and tensor.is_floating_point() else tensor
            assert torch.equal(other.state_dict()[name], expected), name


def test_a_wrapper_of_the_network_itself_is_put_before_the_names(network, tmp_path):
    wrapper = make(tmp_path, "Wrapped")
    state, _ = fit_to(wrapper, network.state_dict(), "w.pt")
    assert state.keys() == wrapper.state_dict().keys()
    state, _ = fit_to(wrapper, {f"model.{k}": v for k, v in wrapper.state_dict().items()}, "w.pt")
    assert state.keys() == wrapper.state_dict().keys()


def test_two_networks_in_a_file_are_not_chosen_between(network):
    both = {f"{who}.{k}": v for who in ("student", "teacher") for k, v in network.state_dict().items()}
    with pytest.raises(InputError, match=r"2 networks that fit, under 'student\.', 'teacher\.'"):
        fit_to(network, both, "w.pt")


def test_a_whole_network_is_read_without_its_code(tmp_path, monkeypatch):
    """Saved where its class is known, and read where it is not, so that it cannot be built from the file."""
    theirs = ModuleType("theirs")
    exec(THEIRS, theirs.__dict__)
    with monkeypatch.context() as there:
        there.setitem(sys.modules, "theirs", theirs)
        network = theirs.Net()
        torch.save(network, tmp_path / "whole.pt")
        torch.save({"epoch": 1, "model": network}, tmp_path / "nested.pt")
    expected = network.state_dict()
    with pytest.raises(ModuleNotFoundError):
        torch.load(tmp_path / "whole.pt", weights_only=False)
    for name in ("whole.pt", "nested.pt"):
        with pytest.warns(UserWarning, match="the whole network in it, whose code was not run"):
            found = read_tensors(tmp_path / name)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)


class Call:
    """Pickled, it calls a function with arguments."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def attacks(mark):
    import os

    command = f"touch {mark}"
    return {
        "os": Call(os.system, command),
        "eval": Call(builtins.eval, f"open({str(mark)!r}, 'w')"),
        "exec": Call(builtins.exec, f"open({str(mark)!r}, 'w')"),
        "subprocess": Call(subprocess.getoutput, command),
        "library": Call(Path.touch, mark),
    }


@pytest.mark.parametrize("kind", ["os", "eval", "exec", "subprocess", "library"])
def test_no_code_of_a_file_runs(kind, network, tmp_path):
    mark = tmp_path / "mark"
    trap = attacks(mark)[kind]
    torch.save({"state_dict": network.state_dict(), "trap": trap}, tmp_path / "trap.pt")
    try:
        read_nested(tmp_path / "trap.pt")
    except InputError as error:
        assert "could run code" in str(error)  # noqa: PT017
    assert not mark.exists()
    torch.load(tmp_path / "trap.pt", weights_only=False)  # it does run where it is let: the test could fail
    assert mark.exists()


def test_shared_safetensors_and_files_that_are_none(network, tmp_path):
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    assert read_nested(tmp_path / "w.safetensors")[0].keys() == network.state_dict().keys()
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "empty.pt").write_text("")
    (tmp_path / "folder.pt").mkdir()
    torch.save(network.state_dict(), tmp_path / "cut.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:-500])
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"student": {"weights": network.state_dict()}, "epoch": 3}, tmp_path / "deep.pt")
    for name, message in (
        ("text.pt", r"text\.pt is not a readable weights file \(.*Give a \.safetensors file"),
        ("cut.pt", "cut off, damaged, or of another kind"),
        ("empty.pt", r"empty\.pt is empty"),
        ("folder.pt", r"folder\.pt, which is a folder"),
        ("list.pt", "does not hold named tensors.*it holds a list"),
        ("deep.pt", r"holds a dict with 'student' \(dict\), 'epoch' \(int\)\. Save the weights alone"),
    ):
        with pytest.raises(InputError, match=message):
            read_nested(tmp_path / name)
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "script.pt")
    with pytest.raises(InputError, match=r"script\.pt is not a readable weights file|could run code"):
        read_nested(tmp_path / "script.pt")
