"""Training that starts from a trained network: `pellucid train RECIPE --init RUN`."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

import pellucid as pl
from helpers.models import small
from helpers.training import interrupted_after, run
from pellucid.models import load_model, save_model
from pellucid.models.activations import HalfHuberReLU
from pellucid.training import RunFolder, load_recipe
from pellucid.training.network import build_classifier, refuse_of_model, starting_from
from pellucid.types import InputError

DATA = ["--data=phantom"] + [
    f"--data-option={k}={v}" for k, v in {"size": 32, "train": 64, "validation": 16, "test": 4}.items()
]
STILL = "--set=optimizer.lr=1e-12"  # the network stays as it started


@pytest.fixture(scope="module")
def trained(phantom, tmp_path_factory):
    """A plain network with ReLUs and a normalisation of its own."""
    overrides = ["model.mean=[0.3]", "model.std=[0.2]", "optimizer.lr=0.02"]
    return run(phantom, tmp_path_factory.mktemp("runs") / "plain", *overrides, name="standard").path


def weights(folder):
    return {
        k: v for k, v in load_file(folder / "weights.safetensors").items() if "running" not in k and "tracked" not in k
    }


def tune(pellucid, trained, out, *arguments, recipe="woods2019-robust"):
    return pellucid("train", recipe, *DATA, f"--init={trained}", f"--out={out}", "--device=cpu", *arguments)


@pytest.mark.slow
def test_the_weights_are_kept_and_the_activation_is_the_recipes(pellucid, trained, tmp_path):
    status, output, errors = tune(pellucid, trained, tmp_path / "tuned", STILL, "--set=training.epochs=1")
    assert status == 0, errors
    made = RunFolder(tmp_path / "tuned")
    before, after = weights(trained), weights(made.path)
    assert before.keys() == after.keys()
    for name, tensor in before.items():  # to what a rate of 1e-12 may do
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-6)
    net = load_model(made.path)
    assert sum(isinstance(m, HalfHuberReLU) for m in net.modules()) == 5
    assert not any(isinstance(m, torch.nn.ReLU) for m in net.modules())
    assert net.input_spec.shape == (1, 32, 32)
    assert float(net.mean) == pytest.approx(0.3)
    assert float(net.std) == pytest.approx(0.2)
    assert "wrote " in output
    recipe = made.read()["recipe"]
    assert recipe["model"]["name"] == "small"  # not the recipe's resnet44
    assert recipe["model"]["channels"] == 1
    options = recipe["model"]["options"]
    assert (options["widths"], options["blocks"], options["activation"]) == ([4, 8], [1, 1], "half-huber")
    assert made.metrics()[0]["gradient_penalty"] > 0


def test_a_tenth_of_the_epochs_and_the_recipes_own_fine_tuning():
    recipe = load_recipe("woods2019-robust", fine_tuning=True)
    assert (recipe.training.epochs, recipe.optimizer.lr) == (20, 0.01)
    whole = load_recipe("woods2019-robust")
    assert (whole.training.epochs, whole.optimizer.lr) == (200, 0.1)
    assert recipe.objective == whole.objective
    assert load_recipe("khakzar2019-robust", fine_tuning=True).training.epochs == 1
    assert load_recipe("standard", ["training.epochs=7"], fine_tuning=True).training.epochs == 7  # the user's word


def test_a_tenth_is_rounded_up_and_a_file_may_say_otherwise(tmp_path):
    text = 'name = "mine"\ntitle = "mine"\n[training]\nepochs = 11\n'
    (tmp_path / "mine.toml").write_text(text)
    assert load_recipe(str(tmp_path / "mine.toml"), fine_tuning=True).training.epochs == 2
    (tmp_path / "mine.toml").write_text(text + "[fine_tuning]\nepochs = 0.5\nlr = 0.1\n[optimizer]\nlr = 0.5\n")
    mine = str(tmp_path / "mine.toml")
    tuned = load_recipe(mine, fine_tuning=True)
    assert (tuned.training.epochs, tuned.optimizer.lr) == (6, pytest.approx(0.05))
    assert load_recipe(mine).optimizer.lr == 0.5
    changed = load_recipe(mine, ["fine_tuning.epochs=0.3"], common={"training": {"epochs": 30}}, fine_tuning=True)
    assert changed.training.epochs == 9  # of what all recipes of a study share
    (tmp_path / "mine.toml").write_text(text + "[fine_tuning]\nepoch = 0.5\n")
    with pytest.raises(InputError, match="Did you mean 'epochs'"):
        load_recipe(str(tmp_path / "mine.toml"), fine_tuning=True)


def test_a_recipe_without_an_activation_keeps_the_networks(phantom, tmp_path):
    data = phantom["train"]
    save_model(small(task=data.task, size=48, classes=data.classes, activation="half-huber"), tmp_path / "net")
    recipe = starting_from(load_recipe("khakzar2019-robust", fine_tuning=True), tmp_path / "net")
    assert recipe.model.options["activation"] == "half-huber"
    assert recipe.model.size == 48
    net = build_classifier(recipe.model, data)
    images = torch.rand(2, 1, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(net.eval()(images), load_model(tmp_path / "net")(images))


def test_a_second_set_of_batch_norm_starts_as_the_first(phantom, trained):
    recipe = starting_from(load_recipe("han2021", fine_tuning=True), trained)
    net = build_classifier(recipe.model, phantom["train"])
    state, before = net.state_dict(), load_file(trained / "weights.safetensors")
    for name, tensor in before.items():
        assert torch.equal(state[name], tensor)
        if ".norm" in name:
            layer, leaf = name.rsplit(".", 1)
            assert torch.equal(state[f"{layer}.adversarial.{leaf}"], tensor)


def test_another_number_of_classes_gets_a_new_head(phantom, tmp_path):
    net = small()
    save_model(net, tmp_path / "three")
    recipe = starting_from(load_recipe("standard", fine_tuning=True), tmp_path / "three")
    with pytest.warns(UserWarning, match=r"the head of weights\.safetensors gives 3 logits .* left as it is"):
        built = build_classifier(recipe.model, phantom["train"])
    assert built.head.weight.shape == (len(phantom["train"].classes), 8)
    for name, tensor in net.backbone.state_dict().items():
        assert torch.equal(built.backbone.state_dict()[name], tensor)


@pytest.mark.slow
def test_the_same_classes_in_another_order_keep_the_head(phantom, tmp_path):
    names = phantom["train"].classes[::-1]
    net = small(classes=names)
    save_model(net, tmp_path / "net")
    start = load_model(tmp_path / "net")
    chosen = ["training.epochs=1", "optimizer.lr=1e-12", "optimizer.weight_decay=0"]
    tuned = pl.train("standard", phantom, tmp_path / "run", init=start, overrides=chosen, device="cpu").load()
    assert tuned.classes == names
    torch.testing.assert_close(tuned.head.weight, net.head.weight, rtol=0, atol=1e-6)
    with torch.no_grad():
        start.head.bias.add_(1)
    with pytest.raises(InputError, match="the weights are no longer those of"):
        pl.train("standard", phantom, tmp_path / "other", init=start, device="cpu")
    with pytest.raises(InputError, match="lies in no folder"):
        pl.train("standard", phantom, tmp_path / "other", init=net, device="cpu")


def test_what_is_no_trained_network_is_said_before_anything_is_written(pellucid, trained, tmp_path):
    status, _, errors = tune(pellucid, tmp_path / "nowhere", tmp_path / "out")
    assert status != 0
    assert "nowhere" in f"{status}{errors}"
    with pytest.raises(InputError, match="nowhere"):
        starting_from(load_recipe("standard"), tmp_path / "nowhere")
    shutil.copytree(trained, tmp_path / "spoilt")
    with (tmp_path / "spoilt" / "weights.safetensors").open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"\x7f")
    with pytest.raises(InputError, match="spoilt"):
        starting_from(load_recipe("standard"), tmp_path / "spoilt")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_fine_tuning_run_is_resumed(pellucid, trained, tmp_path):
    chosen = ["--set=training.epochs=2", "--set=training.batch_size=32", "--set=objective.gradient_penalty.weight=0.1"]
    assert tune(pellucid, trained, tmp_path / "whole", *chosen)[0] == 0
    with interrupted_after(1):
        assert tune(pellucid, trained, tmp_path / "part", *chosen)[0] != 0
    whole, part = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "part")
    assert not part.finished
    assert len(part.metrics()) == 1
    status, _, errors = pellucid("train", "woods2019-robust", *DATA, f"--out={part.path}", "--resume", *chosen)
    assert "another recipe" in f"{status}{errors}"  # the same, without --init
    status, _, errors = tune(pellucid, trained, part.path, *chosen, "--resume")
    assert status == 0, errors
    assert part.finished
    rows = [[{k: v for k, v in r.items() if k != "seconds"} for r in made.metrics()] for made in (whole, part)]
    assert rows[0] == rows[1]
    name = "last/weights.safetensors"
    assert (part.path / name).read_bytes() == (whole.path / name).read_bytes()


@pytest.mark.parametrize("text", ["model.size=64", "model.name=resnet44", "model.options={widths=[4]}"])
def test_a_network_that_was_trained_is_not_changed_beside_its_activation(text):
    with pytest.raises(InputError, match="--init brings its own network"):
        refuse_of_model([text])
    refuse_of_model(["model.options.activation=relu", "training.epochs=2"])


def test_a_head_is_kept_for_the_same_classes_alone(phantom, trained, tmp_path):
    """As many classes of other names are other classes; a file that says no classes is taken at the caller's word."""
    recipe = starting_from(load_recipe("standard", fine_tuning=True), trained)
    kept = build_classifier(recipe.model, phantom["train"])
    head = load_model(trained).head.weight
    assert torch.equal(kept.head.weight, head)
    names = tuple(f"{name} of old" for name in phantom["train"].classes)
    others = replace(phantom["train"], card=replace(phantom["train"].card, classes=names))
    with pytest.warns(UserWarning, match=r"the head of weights\.safetensors is for other classes"):
        anew = build_classifier(recipe.model, others)
    assert not torch.isclose(anew.head.weight, head).any(1).all()
    for (name, one), (_, other) in zip(kept.named_parameters(), anew.named_parameters(), strict=True):
        assert torch.equal(one, other) == (not name.startswith("head.")), name
    shutil.copy(trained / "weights.safetensors", tmp_path / "bare.safetensors")
    bare = recipe.model.model_copy(update={"pretrained": str(tmp_path / "bare.safetensors")})
    assert torch.equal(build_classifier(bare, others).head.weight, head)
