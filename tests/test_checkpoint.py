"""The state of a run on disk: whole or not at all, also when the disk is full or the process killed."""

from __future__ import annotations

import errno
import math
import shutil
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from pellucid.training import RunFolder
from pellucid.training import checkpoint as checkpoint_module
from pellucid.training.checkpoint import load_state, save_state
from pellucid.training.optimization import build_optimizer
from pellucid.training.recipe import OptimizerSettings
from pellucid.types import InputError


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "progress.json"])
def test_a_full_disk_while_saving_keeps_the_state_before(tmp_path, monkeypatch, name):
    net = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(net.parameters())
    F.mse_loss(net(torch.ones(1, 3)), torch.zeros(1, 2)).backward()
    optimizer.step()
    save_state(tmp_path, net, optimizer, {"global_step": 1, "epoch": 0})
    before = {f.relative_to(tmp_path): f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    first = net.weight.detach().clone()
    with torch.no_grad():
        net.weight.add_(1)
    real = type(tmp_path).replace

    def full(self, target):
        if target.name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(type(tmp_path), "replace", full)
    with pytest.raises(InputError, match="the disk is full"):
        save_state(tmp_path, net, optimizer, {"global_step": 2, "epoch": 1})
    monkeypatch.undo()
    assert {f.relative_to(tmp_path): f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()} == before
    assert [p.name for p in tmp_path.glob("step-*")] == ["step-00000001"]
    assert load_state(tmp_path, net, optimizer)["global_step"] == 1
    assert torch.equal(net.weight, first)


FULL_DISK = """
import sys, torch
from pathlib import Path
from pellucid.training.checkpoint import save_state
folder = Path(sys.argv[1])
net = torch.nn.Linear(400, 400)
optimizer = torch.optim.AdamW(net.parameters())
net(torch.ones(1, 400)).sum().backward()
optimizer.step()
try:
    save_state(folder, net, optimizer, {"global_step": 1})
except ValueError as error:
    print(type(error).__name__, error, sorted(p.name for p in folder.rglob("*")))
"""


@pytest.mark.slow
def test_a_disk_that_is_really_full(tmp_path):
    """On a file system of one megabyte the weights fit and the optimiser's state does not."""
    (tmp_path / "disk").mkdir()
    command = (
        f"mount -t tmpfs -o size=1m none {tmp_path}/disk && exec {sys.executable} -c '{FULL_DISK}' {tmp_path}/disk"
    )
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(tmp_path / "disk")]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a file system of its own")
    done = subprocess.run(["unshare", "-rm", "sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("InputError cannot write")
    assert "the disk is full" in done.stdout
    assert done.stdout.strip().endswith("[]")


def test_state_round_trip_for_both_optimisers(tmp_path):
    for name in ("sgd", "adamw"):
        nets = [torch.nn.Linear(3, 2) for _ in range(2)]
        optimizers = [build_optimizer(net, OptimizerSettings(name=name)) for net in nets]
        for _ in range(3):
            nets[0].zero_grad()
            nets[0](torch.ones(1, 3)).square().sum().backward()
            optimizers[0].step()
        save_state(tmp_path / name, nets[0], optimizers[0], {"global_step": 3, "sums": {"loss": 1 / 3}})
        assert load_state(tmp_path / name, nets[1], optimizers[1]) == {"global_step": 3, "sums": {"loss": 1 / 3}}
        for net, optimizer in zip(nets, optimizers, strict=True):  # both go on in the same way
            net.zero_grad()
            net(torch.ones(1, 3)).square().sum().backward()
            optimizer.step()
        assert torch.equal(nets[0].weight, nets[1].weight)
        assert torch.equal(nets[0].bias, nets[1].bias)


def test_a_state_counts_only_when_it_is_whole(tmp_path, monkeypatch):
    """Killed between any two writes, the state before counts: `progress.json` is written when the others are there."""
    net = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    save_state(tmp_path, net, optimizer, {"global_step": 1})
    written = []
    real = checkpoint_module.whole_file

    def observed(path):
        written.append((path.name, load_state(tmp_path, torch.nn.Linear(2, 2), optimizer)["global_step"]))
        return real(path)

    monkeypatch.setattr("pellucid.utils.resources.whole_file", observed)
    monkeypatch.setattr(checkpoint_module, "whole_file", observed)
    save_state(tmp_path, net, optimizer, {"global_step": 2})
    assert written == [("model.safetensors", 1), ("optimizer.safetensors", 1), ("progress.json", 1)]
    assert load_state(tmp_path, net, optimizer) == {"global_step": 2}


def test_metrics_of_a_later_epoch_go_when_an_earlier_one_is_written_again(tmp_path):
    made = RunFolder(tmp_path)
    for epoch in (1, 2, 3):
        made.append_metrics({"epoch": epoch, "loss": float(epoch)})
    made.append_metrics({"epoch": 2, "loss": math.nan})
    assert made.metrics() == [{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": None}]
