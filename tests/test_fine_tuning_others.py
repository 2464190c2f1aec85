"""Fine-tuning networks of others: what is kept, what is replaced, what is refused, and the folder that is left."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import pellucid as pl
from helpers import foreign
from helpers.foreign import make, write_code
from helpers.training import interrupted_after
from pellucid.audit.facts import source_of
from pellucid.models.sources.importing import import_network
from pellucid.models.sources.opening import Given
from pellucid.models.weights import read_training_record
from pellucid.training import RunFolder
from pellucid.training.recipe import load_recipe, with_fitting_loss
from pellucid.types import InputError

STILL = ["optimizer.lr=1e-12", "optimizer.weight_decay=0", "training.epochs=1", "training.freeze_batch_norm=true"]

GIVEN = foreign.GIVEN | {"outputs": "logits"}  # those of drawn networks may all lie between 0 and 1


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twelve colour images of three classes."""
    top, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for split in ("train", "validation"):
        for name in ("NORMAL", "PNEUMONIA", "OTHER"):
            folder = top / split / name
            folder.mkdir(parents=True)
            for number in range(4):
                pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{split}-{name}-{number}.png")
    return top


def parts(data, classes):
    options = {"classes": list(classes), "validation": "folder"}
    return {split: pl.dataset("folder", data, split, **options) for split in ("train", "validation")}


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A model folder of somebody's Python code: NORMAL, PNEUMONIA."""
    folder = tmp_path_factory.mktemp("theirs")
    code = write_code(folder)
    torch.save(make(folder).state_dict(), folder / "best.pt")
    import_network("python", f"{code}:build", folder / "mine", Given(weights=folder / "best.pt", **GIVEN))
    return folder / "mine"


def tune(start, data, out, *overrides, recipe="standard", **options):
    options = {"device": "cpu", "trust_code": True} | options
    return pl.train(recipe, data, out, init=start, overrides=[*STILL, *overrides], **options)


def test_the_same_classes_in_another_order_keep_the_network(mine, data, tmp_path):
    run = tune(mine, parts(data, ["PNEUMONIA", "NORMAL"]), tmp_path)
    before, after = pl.load(mine, trust_code=True), run.load(trust_code=True)
    assert after.classes == before.classes == ("NORMAL", "PNEUMONIA")
    images = torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(after(images), before(images), atol=1e-5, rtol=1e-5)
    assert after.input_spec == before.input_spec
    assert torch.equal(after.mean, before.mean)
    assert torch.equal(after.std, before.std)
    assert after.last_map == before.last_map
    with pytest.raises(InputError, match="--trust-code"):
        pl.load(tmp_path)
    recipe = run.run.read()["recipe"]["model"]
    assert (recipe["name"], recipe["size"], recipe["geometry"]["fit"]) == ("python:mymodel.py:build", 32, "crop")


def test_other_classes_get_a_head_of_their_own(mine, data, tmp_path):
    three = parts(data, ["NORMAL", "OTHER", "PNEUMONIA"])
    run = tune(mine, three, tmp_path / "first")
    model = run.load(trust_code=True)
    assert model.classes == three["train"].classes
    assert model.head.weight.shape == (3, 6)
    assert source_of(model).endswith("; fine-tuned by Pellucid, recipe standard, on folder")
    assert model.has_linear_head  # so class activation maps are to be had
    old, new = load_file(mine / "weights.safetensors"), load_file(tmp_path / "first" / "weights.safetensors")
    assert old.keys() == new.keys()
    for name, tensor in old.items():
        if not name.startswith("4."):
            torch.testing.assert_close(new[name], tensor, atol=1e-6, rtol=1e-6)
    audited = pl.evaluate(model, three["validation"], allow_training_images=True)
    assert audited.accuracy.n == 12
    # what it was trained on is known, and is kept through a second training
    for out, start in ((tmp_path / "first", mine), (tmp_path / "second", tmp_path / "first")):
        if out.name == "second":
            tune(start, parts(data, ["NORMAL", "OTHER"]), out)
        record = read_training_record(out)
        assert len(record.trained) == 12
        assert any("nobody recorded" in phrase for phrase in record.unknown)
    assert [s["train"]["images"] for s in record.stages] == [12, 8]
    with pytest.raises(InputError, match="was trained on"):
        pl.evaluate(model, three["train"])


@pytest.mark.filterwarnings("ignore:the loss of khakzar2019-robust")
def test_it_learns_and_goes_on_where_it_was_cut(mine, data, tmp_path):
    three = parts(data, ["NORMAL", "OTHER", "PNEUMONIA"])
    chosen = ["training.epochs=2", "training.batch_size=6", "optimizer.lr=0.01", "training.freeze_batch_norm=false"]
    chosen += ["objective.attack.steps=1"]
    options = {"recipe": "khakzar2019-robust"}
    model = pl.load(mine, trust_code=True)
    untouched = copy.deepcopy(model.state_dict())
    with pytest.warns(
        UserWarning, match="the loss of khakzar2019-robust, weighted_cross_entropy, is not for a multiclass"
    ):
        tune(model, three, tmp_path / "whole", *chosen, **options)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in untouched.items())
    with interrupted_after(1), pytest.raises(KeyboardInterrupt):
        tune(mine, three, tmp_path / "part", *chosen, **options)
    assert len(RunFolder(tmp_path / "part").metrics()) == 1
    tune(mine, three, tmp_path / "part", *chosen, resume=True, **options)
    name = "last/weights.safetensors"
    assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    first, last = (load_file(path)["0.0.weight"] for path in (mine / "weights.safetensors", tmp_path / "whole" / name))
    assert not torch.allclose(first, last, atol=1e-4)


@pytest.mark.parametrize(
    ("recipe", "task", "overrides", "expected"),
    [
        ("khakzar2019-robust", "multiclass", [], "auto"),
        ("khakzar2019-robust", "multilabel", [], "weighted_cross_entropy"),
        ("khakzar2019-robust", "multiclass", ["objective.loss=weighted_cross_entropy"], "weighted_cross_entropy"),
        ("khakzar2019-robust", "multiclass", ["objective.loss=cross_entropy"], "cross_entropy"),
        ("standard", "multilabel", [], "auto"),
    ],
)
def test_a_recipes_loss_of_the_other_task_gives_way_and_a_users_does_not(recipe, task, overrides, expected):
    settings = load_recipe(recipe, overrides)
    other = (expected == "auto") != (settings.objective.loss == "auto")
    with pytest.warns(UserWarning, match="cross_entropy takes its place") if other else nullcontext():
        assert with_fitting_loss(settings, task, overrides).objective.loss == expected


def exported(folder, kind):
    """The same small network as a file of another kind."""
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2)
    ).eval()
    if kind == "onnx":
        pytest.importorskip("onnx")
        torch.onnx.export(network, (torch.rand(2, 3, 32, 32),), folder / "net.onnx", dynamo=False,
                          input_names=["x"], dynamic_axes={"x": {0: "n"}})  # fmt: skip
    elif kind == "torchscript":
        torch.jit.script(network).save(folder / "net.pt")
    else:
        torch.jit.freeze(torch.jit.script(network)).save(folder / "net.pt")
    return f"{kind.removesuffix('-frozen')}:{folder / ('net.onnx' if kind == 'onnx' else 'net.pt')}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["onnx", "torchscript", "huggingface"])
def test_every_source_that_has_gradients_is_trained(kind, data, tmp_path):
    if kind == "huggingface":
        transformers = pytest.importorskip("transformers")
        tiny = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
        names = {"num_labels": 2, "id2label": {0: "NORMAL", 1: "PNEUMONIA"}}
        config = transformers.ViTConfig(image_size=32, patch_size=16, **tiny, **names)
        transformers.AutoModelForImageClassification.from_config(config).save_pretrained(tmp_path / "vit")
        start = pl.load(f"huggingface:{tmp_path / 'vit'}", **{k: v for k, v in GIVEN.items() if k != "classes"})
    else:
        start = pl.load(exported(tmp_path, kind), **GIVEN)
    changed = ["optimizer.lr=0.01", "training.freeze_batch_norm=false"]
    run = tune(start, parts(data, ["NORMAL", "PNEUMONIA"]), tmp_path / "run", *changed)
    model, images = run.load(trust_code=True), torch.rand(2, 3, 32, 32)
    assert not torch.allclose(model(images), start(images), atol=1e-4)
    three = parts(data, ["NORMAL", "OTHER", "PNEUMONIA"])
    if kind == "torchscript":
        with pytest.raises(InputError, match="its head cannot be replaced: its outputs are not those of one linear"):
            tune(start, three, tmp_path / "three")
    else:
        run = tune(start, three, tmp_path / "three", *changed)
        assert run.load().eval()(images).shape == (2, 3)
    assert start.classes == ("NORMAL", "PNEUMONIA")


@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_trained_is_refused_before_anything_is_written(mine, data, tmp_path):
    two = parts(data, ["NORMAL", "PNEUMONIA"])
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"activation = 'half-huber'.*--set model\.options\.activation=relu"):
        tune(mine, two, out, recipe="woods2019-robust")
    tuned = ["model.options.activation=relu", "objective.gradient_penalty.weight=0.1"]
    with pytest.raises(InputError, match=r"model\.options\.batch_norms = 2"):
        tune(mine, two, out, *tuned, recipe="han2021")
    with pytest.raises(InputError, match="--trust-code"):
        tune(mine, two, out, trust_code=False)
    frozen = pl.load(exported(tmp_path, "torchscript-frozen"), **GIVEN)
    with pytest.raises(InputError, match=r"not trained further: it has no weights that could be changed"):
        tune(frozen, two, out)
    wrapped = pl.wrap(make(mine.parent), **GIVEN)
    with pytest.raises(InputError, match="wrapped in memory cannot be trained"):
        tune(wrapped, two, out)
    code = f"python:{mine.parent / 'mymodel.py'}"
    torch.save(make(mine.parent, "probabilities").state_dict(), tmp_path / "p.pt")
    given = {**GIVEN, "weights": tmp_path / "p.pt", "outputs": "probabilities"}
    with pytest.raises(InputError, match="its own classes alone"):
        tune(pl.load(f"{code}:probabilities", **given), parts(data, ["NORMAL", "OTHER"]), out)
    assert not out.exists()
