"""Arguments of another kind than a verb takes, as newcomers give them: each refused in one sentence, at once."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from torch import nn

import pellucid as pl
from helpers.annotate import make_network
from pellucid.cli.app import app
from pellucid.evaluation.trust.findings import TrustSettings
from pellucid.types import InputError

JUDGING = ["ara", "audit", "certify", "certify_explanation", "discover", "evaluate", "localize", "trust"]
WITH_IMAGES = ["explain", "attack_explanation"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return pl.load(make_network(tmp_path_factory.mktemp("model") / "run"))


@pytest.fixture(scope="module")
def parts():
    return pl.dataset("phantom", size=32, train=4, validation=4, test=4)


@pytest.fixture(scope="module")
def pair():
    net = nn.Sequential(nn.Conv2d(1, 4, 5, 4), nn.ReLU(), nn.Flatten(), nn.Linear(196, 2))
    return pl.wrap(net, ["a", "b"], size=32, mean=[0.5], std=[0.25], outputs="logits")


@pytest.mark.parametrize("verb", [*JUDGING, *WITH_IMAGES, "attack"])
def test_what_is_no_model_is_refused_with_how_to_make_one(verb, parts):
    def run(model):
        images = torch.zeros(1, 1, 32, 32) if verb in {*WITH_IMAGES, "attack"} else parts["test"]
        return getattr(pl, verb)(model, images, *([[0]] if verb == "attack" else []))

    for given, message in [
        ("runs/tiny", r"found the text 'runs/tiny': load it, as pl\.load\('runs/tiny'\)"),
        (Path("runs/tiny"), r"found the path 'runs/tiny': load it, as pl\.load\('runs/tiny'\)"),
        (nn.Linear(2, 2), r"found the torch module Linear: wrap it, as pl\.wrap"),
        (None, r"found None: pl\.load and pl\.wrap give one"),
    ]:
        with pytest.raises(InputError, match=message):
            run(given)


@pytest.mark.parametrize("verb", JUDGING)
def test_what_is_no_part_of_a_dataset_is_refused_with_how_to_open_one(verb, model, parts):
    for given, message in [
        (parts, r"found all parts, 'train', 'validation', 'test': give one, as data\['test'\]"),
        ("phantom", r"found the text 'phantom': open it, as pl\.dataset\('phantom', split='test'\)"),
        (torch.zeros(2, 1, 32, 32), r"found a tensor \(2, 1, 32, 32\): pl\.dataset"),
        (None, "found None"),
    ]:
        with pytest.raises(InputError, match=message):
            getattr(pl, verb)(model, given)
    with pytest.raises(InputError, match="the model comes first, then the data: exchange the two"):
        getattr(pl, verb)(parts["test"], model)


def test_other_models_and_settings_of_another_kind_are_refused(model, parts):
    data = parts["test"]
    with pytest.raises(InputError, match="compare is a list of models; found the torch module"):
        pl.trust(model, data, compare=model)
    with pytest.raises(InputError, match=r"a model to compare with is expected .* load it"):
        pl.trust(model, data, compare=["runs/second"])
    with pytest.raises(InputError, match=r"takes a TrustSettings \(of pellucid\..*\); found dict"):
        pl.trust(model, data, settings={"samples": 2})
    with pytest.raises(InputError, match="the model to compare with is expected"):
        pl.audit(model, data, compare="runs/second")
    with pytest.raises(InputError, match=r"use= takes a Use \(of .*\); found dict"):
        pl.audit(model, data, use={"Mass": 0.1})
    with pytest.raises(InputError, match=r"compare is what discover returned before, .* found a tensor"):
        pl.discover(model, data, compare=torch.zeros(1))
    with pytest.raises(InputError, match=r"class_map is a dict .* found the text 'Mass=mass'"):
        pl.evaluate(model, data, class_map="Mass=mass")


def test_training_says_which_argument_is_which(parts, tmp_path):
    with pytest.raises(InputError, match="the recipe comes first, by its name or TOML file; found dict"):
        pl.train(parts, "standard", tmp_path / "run")
    with pytest.raises(InputError, match="the data must be one part of a dataset; found the text 'phantom'"):
        pl.train("standard", "phantom", tmp_path / "run")
    with pytest.raises(InputError, match="the validation part must be one part of a dataset; found all parts"):
        pl.train("standard", parts["train"], tmp_path / "run", validation=parts)
    with pytest.raises(InputError, match=r"the model to start from is expected .* wrap it"):
        pl.train("standard", parts, tmp_path / "run", init=nn.Linear(2, 2))
    with pytest.raises(InputError, match="name or TOML file; found dict"):
        pl.study(parts)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", [*WITH_IMAGES, "attack"])
def test_images_that_are_no_tensor_are_refused_with_how_to_make_one(verb, model, parts):
    image = np.zeros((1, 32, 32), np.float32)
    for given, message in [
        (image, r"a float tensor \(N, C, H, W\) .* found a numpy array\. torch\.from_numpy"),
        ([image], "found list"),
        (parts, r"found dict\. Of all parts of a dataset give one, as data\['test'\]"),
        (5, "found int"),
    ]:
        with pytest.raises(InputError, match=message):
            getattr(pl, verb)(model, given, *([[0]] if verb == "attack" else []))


def test_a_dataset_is_not_attacked_image_by_image(model, parts):
    with pytest.raises(InputError, match=r"found ImageDataset\. Of a part: torch\.stack"):
        pl.attack(model, parts["test"], [0])


def test_sizes_without_a_norm_and_labels_that_are_none_are_refused(pair):
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1])
    for eps in (8 / 255, 3):
        with pytest.raises(InputError, match=r"a size names its norm: write pl\.Epsilon\(linf="):
            pl.attack(pair, images, labels, "pgd", eps=eps)
    with pytest.raises(InputError, match=r"a size is a pl\.Epsilon, or a text as 'linf=8/255'; found dict"):
        pl.attack(pair, images, labels, "pgd", eps={"linf": 0.1})
    for wrong, message in [
        (["a", "b"], "must be the numbers of classes, or 0 and 1 .* found list"),
        (None, "found None"),
        ([0.5, 1.0], "from 0 to 1; found torch.float32"),
        ([0, 2], "from 0 to 1; found 2"),
    ]:
        with pytest.raises(InputError, match=message):
            pl.attack(pair, images, wrong, "fgsm", eps="linf=0.1")
    of_list, of_tensor = (pl.attack(pair, images, y, "fgsm", eps="linf=0.1").perturbed for y in ([0, 1], labels))
    assert torch.equal(of_list, of_tensor)


def test_labels_of_several_are_zero_one_or_unknown():
    net = nn.Sequential(nn.Flatten(), nn.Linear(1024, 2))
    several = pl.wrap(net, ["a", "b"], task="multilabel", size=32, mean=[0.5], std=[0.25], outputs="logits")
    image = torch.full((1, 32, 32), 0.5)
    with pytest.raises(InputError, match="must be 0 or 1, NaN where unknown"):
        pl.attack(several, image, [0.5, 1], "fgsm", eps="linf=0.1", label="a")
    assert pl.attack(several, image, [0, 1], "fgsm", eps="linf=0.1", label="a").found.shape == (1,)


def test_a_size_that_is_none_is_refused_in_words_however_it_is_given():
    with pytest.raises(InputError, match=r"Epsilon: linf: .*greater than 0; found -1"):
        pl.Epsilon(linf=-1)
    with pytest.raises(InputError, match=r"linf is at most 1, as pixels lie in \[0, 1\]; found 8\..*linf=8/255"):
        pl.Epsilon(linf=8)
    with pytest.raises(InputError, match="rms is at most 1"):
        pl.Epsilon.parse("rms=2")
    with pytest.raises(InputError, match=r"unknown key 'linff'\. Did you mean 'linf'"):
        pl.Epsilon(linff=0.1)
    assert pl.Epsilon(linf=1).value == 1
    assert pl.Epsilon(l2=8).value == 8  # no bound: it grows with the number of pixels


def test_one_attack_and_several_names_in_one_text_are_what_they_say(pair, parts):
    for attacks in ("fgsm:linf=1/255", pl.Epsilon(linf=0.01), "fgsm:linf=1/255, fgsm:l2=0.5"):
        with pytest.raises(InputError, match="the model is multiclass"):  # the attacks were understood: data come after
            pl.evaluate(pair, parts["test"], attacks)
        with pytest.raises(InputError, match="the model is multiclass"):
            pl.audit(pair, parts["test"], attacks=attacks, methods="saliency,rise")
    with pytest.raises(InputError, match="a size names its norm"):
        pl.evaluate(pair, parts["test"], 8 / 255)
    with pytest.raises(InputError, match="expected a name, or a list of names; found 3"):
        pl.explain(pair, torch.rand(1, 1, 32, 32), 3)
    both = pl.explain(pair, torch.rand(1, 1, 32, 32), "saliency, guided-backprop", targets=[1])
    assert [row["method"] for row in both.rows] == ["saliency", "guided-backprop"]
    assert both.targets.tolist() == [1]


def test_trust_takes_its_seed_as_the_other_verbs_do(model, parts):
    settings = TrustSettings(samples=1, attacked=0, examples=0, curve_steps=2, seed=3)
    assert pl.trust(model, parts["test"], "saliency", limit=1, settings=settings, seed=5).about["seed"] == 5


@pytest.mark.parametrize("verb", [*JUDGING, *WITH_IMAGES, "train", "study"])
def test_every_option_of_a_command_is_a_keyword_of_its_verb_or_is_said_to_have_another_name(verb):
    page = (Path(__file__).parent.parent / "docs" / "python.md").read_text(encoding="utf-8")
    command = typer.main.get_command(app).commands[verb.replace("_", "-")]
    keywords = inspect.signature(getattr(pl, verb)).parameters
    options = [option for option in command.params if option.param_type_name == "option" and option.name != "help"]
    assert options
    for option in options:
        names = {*option.opts, *option.secondary_opts}
        said = names & set(re.findall(r"--[a-z-]+", page.split("After the demo")[0]))
        assert said or keywords.keys() & {name.removeprefix("--").replace("-", "_") for name in names}, names


def test_a_study_refuses_a_device_that_torch_does_not_know_before_it_begins(tmp_path):
    with pytest.raises(InputError, match="must be auto, cpu, cuda or mps; found 'tpu'"):
        pl.study("demo", out=tmp_path / "out", device="tpu")
    assert not (tmp_path / "out").exists()
