"""New activations in finished networks: every place, shared ones, other people's, and the names of the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pellucid.models import create_model, describe, load_model, model_names, replace_activation, save_model, wrap
from pellucid.models.activations import ACTIVATIONS, HalfHuberReLU, activation_named, half_huber
from pellucid.types import InputError, InputSpec

SPEC = InputSpec.square(3, 16)
LABELS = {"task": "multiclass", "classes": ["a", "b"]}


def activations(model: nn.Module) -> set[type[nn.Module]]:
    kinds = {type(make()) for make in ACTIVATIONS.values()}
    return {type(part) for part in model.modules() if type(part) in kinds}


@pytest.mark.slow
@pytest.mark.parametrize("name", model_names())
def test_every_network_takes_every_activation_and_keeps_it_on_disk(name, tmp_path):
    own = describe(name).options["activation"]
    plain = create_model(name, size=32, **LABELS)
    assert plain.architecture.options["activation"] == own
    assert activations(plain) == {type(activation_named(own)())}
    smooth = create_model(name, size=32, activation="half-huber", **LABELS)
    assert activations(smooth) == {HalfHuberReLU}
    assert smooth.state_dict().keys() == plain.state_dict().keys()
    calls = []
    for part in smooth.modules():
        if isinstance(part, HalfHuberReLU):
            part.register_forward_hook(lambda part, _inputs, _output: calls.append(part))
    images = torch.rand(2, 1, 32, 32)
    expected = smooth.eval()(images)
    assert set(calls) == {part for part in smooth.modules() if isinstance(part, HalfHuberReLU)}  # none stands idle
    save_model(smooth, tmp_path / "net")
    loaded = load_model(tmp_path / "net")
    assert loaded.architecture.options == smooth.architecture.options
    assert torch.equal(loaded(images), expected)


def test_a_new_activation_leaves_the_drawn_weights_as_they_were():
    networks = []
    for activation in ("relu", "half-huber"):
        torch.manual_seed(3)
        networks.append(create_model("small", activation=activation, **LABELS).state_dict())
    assert all(torch.equal(networks[0][name], tensor) for name, tensor in networks[1].items())


def test_a_card_of_before_the_option_was_everyones_still_loads(tmp_path):
    model = create_model("small", size=32, activation="half-huber", **LABELS).eval()
    save_model(model, tmp_path / "net")
    card = tmp_path / "net" / "model.toml"
    lines = card.read_text(encoding="utf-8").splitlines()
    assert "batch_norms = 1" in lines
    card.write_text(
        "\n".join(line for line in lines if line != "batch_norms = 1" and line[:6] != "sha256"), encoding="utf-8"
    )
    loaded = load_model(tmp_path / "net")
    assert activations(loaded) == {HalfHuberReLU}
    images = torch.rand(2, 1, 32, 32)
    assert torch.equal(loaded(images), model(images))


class Foreign(nn.Module):
    """Somebody's network: one activation in two places, one in a list and in a dictionary, one left out."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3), self.relu)
        self.list = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.ReLU()])
        self.dict = nn.ModuleDict({"act": nn.ReLU(), "other": nn.LeakyReLU()})
        self.nothing = None
        self.fc = nn.Linear(4, 2)

    def maps(self, x):
        x = self.list[1](self.list[0](self.first(x)))
        return self.dict["other"](self.dict["act"](self.relu(x) - 1))

    def forward(self, x):
        return self.fc(self.maps(x).mean((2, 3)))


def by_hand(net: Foreign, x: torch.Tensor, delta: float) -> torch.Tensor:
    x = half_huber(net.first[0](x), delta)
    x = half_huber(half_huber(net.list[0](x), delta), delta) - 1
    return net.fc(half_huber(x, delta).mean((2, 3)))


def test_shared_and_listed_activations_of_a_foreign_network():
    net = Foreign().eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    made = []

    def make() -> nn.Module:
        made.append(HalfHuberReLU(0.3))
        return made[-1]

    assert replace_activation(net, make) == len(made) == 3
    assert net.relu is net.first[1] is made[0]
    assert isinstance(net.dict["other"], nn.LeakyReLU)
    assert not any(part.training for part in net.modules())
    assert net.state_dict().keys() == before.keys()
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(net(x), by_hand(net, x, 0.3))
    assert replace_activation(net, nn.ReLU, old=(HalfHuberReLU, nn.LeakyReLU)) == 4


@pytest.mark.parametrize("split", ["method", "container"])
def test_a_wrapped_network_explains_what_it_computes(split):
    """The feature map may come from a container that the network itself does not hold."""
    torch.manual_seed(1)  # not every draw leaves a unit of the last activation alive
    if split == "method":
        foreign = Foreign()
        parts = {"features": foreign.maps, "head": foreign.fc}
    else:
        layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU()]
        head = nn.Linear(4, 2)
        foreign = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
        parts = {"features": nn.Sequential(*layers), "head": head}
    wrapped = wrap(foreign, mean=[0.5] * 3, std=[0.25] * 3, input_spec=SPEC, **LABELS, **parts).eval()
    images = torch.rand(2, 3, 16, 16)
    before = wrapped(images)
    assert replace_activation(wrapped, lambda: HalfHuberReLU(2.0)) == (3 if split == "method" else 2)
    assert not torch.allclose(wrapped(images), before, atol=1e-4)
    torch.testing.assert_close(wrapped.head(wrapped.features(images).mean((2, 3))), wrapped(images))


def test_what_is_not_there_is_named():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU6(), nn.ReLU6(), nn.Tanh())
    with pytest.raises(InputError, match=r"has no ReLU; it has ReLU6 ×2, Tanh ×1\. Pass old=nn\.ReLU6"):
        replace_activation(net, HalfHuberReLU)
    with pytest.raises(InputError, match=r"no ReLU or ELU; it has HalfHuberReLU ×1"):
        replace_activation(nn.Sequential(HalfHuberReLU()), HalfHuberReLU, old=(nn.ReLU, nn.ELU))
    with pytest.raises(InputError, match=r"no activation module at all.*F\.relu"):
        replace_activation(nn.Conv2d(3, 4, 3), HalfHuberReLU)
    with pytest.raises(InputError, match="ReLU is itself what is to be replaced"):
        replace_activation(nn.ReLU(), HalfHuberReLU)
    with pytest.raises(InputError, match=r"densenet121 has no option 'activations'\. Did you mean 'activation'"):
        create_model("densenet121", activations="relu", **LABELS)
    with pytest.raises(InputError, match=r"unknown activation 'half-hubert'\. Did you mean 'half-huber'"):
        create_model("densenet121", activation="half-hubert", **LABELS)
