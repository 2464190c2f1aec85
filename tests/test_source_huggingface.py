"""Networks of transformers: tiny ViT, Swin, ConvNeXt and ResNet, beside transformers' own pipeline."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

import pellucid as pl
from helpers.foreign import settle
from helpers.optional import library
from pellucid.audit.settings import QUICK
from pellucid.data.decoding.fitting import fit
from pellucid.evaluation.discovery.results import Discovery
from pellucid.evaluation.discovery.settings import DiscoverySettings
from pellucid.evaluation.discovery.showing import check_same_network
from pellucid.models.sources.importing import import_network
from pellucid.models.sources.opening import Given
from pellucid.models.weights import weights_sha256_of
from pellucid.types import InputError, in_unit_range
from pellucid.verbs.session import results_key_of

transformers = library("transformers")

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
SEEN = {"num_labels": 3, "id2label": {0: "cat", 1: "dog", 2: "fox"}}
KINDS = ("vit", "swin", "convnext", "resnet")


@cache
def config_of(kind):
    """The configuration of a tiny network."""
    if kind == "vit":
        return transformers.ViTConfig(image_size=32, patch_size=8, **TINY, **SEEN)
    if kind == "swin":
        few = {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}
        return transformers.SwinConfig(image_size=32, patch_size=2, **few, **SEEN)
    if kind == "convnext":
        return transformers.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, **SEEN)
    few = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    return transformers.ResNetConfig(**few, **SEEN)


@cache
def processor_of(kind):
    """The processor of a kind of network, and what Pellucid calls what it does."""
    square = {"height": 32, "width": 32}
    if kind == "vit":
        return transformers.ViTImageProcessorPil(size=square), "stretch:32:bilinear:floor"
    if kind == "swin":
        made = transformers.BitImageProcessorPil(size={"shortest_edge": 37}, crop_size=square)
        return made, "crop:37:32:bicubic:floor"
    if kind == "convnext":
        made = transformers.ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=0.875)
        return made, "crop:36:32:bicubic:floor"
    size = {"height": 40, "width": 40}
    made = transformers.DeiTImageProcessorPil(size=size, crop_size=square, do_center_crop=True)
    return made, "stretch:40:32:bicubic:floor"


def saved(folder, kind, **changes):
    """A folder as transformers saves it."""
    config = type(config_of(kind)).from_dict({**config_of(kind).to_dict(), **changes})
    network = transformers.AutoModelForImageClassification.from_config(config)
    settle(network)
    network.eval().save_pretrained(folder)
    processor_of(kind)[0].save_pretrained(folder)
    return network


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_gives_the_logits_of_transformers_own_pipeline(kind, tmp_path):
    network = saved(tmp_path / "theirs", kind)
    model = import_network("huggingface", str(tmp_path / "theirs"), tmp_path / "mine", Given())
    assert model.classes == ("cat", "dog", "fox")
    assert model.task == "multiclass"
    assert model.input_spec.preprocess == processor_of(kind)[1]
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "theirs")
    for shape in ((61, 48), (40, 77)):
        pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
        with torch.no_grad():
            expected = network(**processor(Image.fromarray(pixels), return_tensors="pt")).logits
            found = model(in_unit_range(torch.tensor(fit(pixels, model.input_spec)))[None])
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    # the folder stands by itself
    again = pl.load(tmp_path / "mine")
    assert torch.equal(again(torch.ones(1, 3, 32, 32)), model(torch.ones(1, 3, 32, 32)))
    card = json.loads(again.source.options["config"])
    assert "id2label" not in card
    assert card["num_labels"] == 3


def test_a_network_is_the_same_wherever_it_lies(tmp_path):
    """Results are kept under its weights, images and configuration: not under the folder that it was read from."""
    saved(tmp_path / "theirs", "vit")
    shutil.copytree(tmp_path / "theirs", tmp_path / "copy")
    folders = [tmp_path / "first", tmp_path / "second"]
    for place, folder in zip(("theirs", "copy"), folders, strict=True):
        import_network("huggingface", str(tmp_path / place), folder, Given())
    files = [(folder / "weights.safetensors").read_bytes() for folder in folders]
    assert files[0] == files[1]
    addresses = [f"huggingface:{tmp_path / place}" for place in ("theirs", "copy")]
    same = [pl.load(place) for place in (*folders, *addresses)]
    assert len({results_key_of(model) for model in same}) == 1
    assert {weights_sha256_of(model) for model in same} == {hashlib.sha256(files[0]).hexdigest()}
    cropped = pl.load(addresses[0], preprocess="crop:37:32:bicubic")
    path = tmp_path / "copy" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"num_attention_heads": 4}))  # the same weights, and another function
    others = [results_key_of(model) for model in (cropped, pl.load(addresses[1]))]
    assert len({*others, results_key_of(pl.load(folders[0]))}) == 3


def images_of_three_classes(top, count, model=None):
    """In turn; or, of a model, a third each that it takes most for cats, for dogs among the others, and the rest."""
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    numbers = np.arange(count) % 3
    if model is not None:
        with torch.no_grad():
            logits = model(in_unit_range(torch.tensor(np.stack([fit(i, model.input_spec) for i in images])))).numpy()
        numbers = np.full(count, 2)
        numbers[np.argsort(logits[:, 0])[-count // 3 :]] = 0
        others = np.flatnonzero(numbers == 2)
        numbers[others[np.argsort(logits[others, 1])[-count // 3 :]]] = 1
    for place in ("cat", "dog", "fox"):
        (top / "test" / place).mkdir(parents=True)
    for k, (image, number) in enumerate(zip(images, numbers, strict=True)):
        Image.fromarray(image).save(top / "test" / ("cat", "dog", "fox")[number] / f"{k}.png")
    return pl.dataset("folder", top, "test")


def test_an_audit_goes_on_under_the_other_name_of_its_network(tmp_path, monkeypatch):
    saved(tmp_path / "theirs", "vit")
    folder = tmp_path / "vit"
    import_network("huggingface", str(tmp_path / "theirs"), folder, Given())
    data = images_of_three_classes(tmp_path / "images", 24)
    settings = replace(QUICK, few=4, corrupted=6, checked=1, steps=2, trust=replace(QUICK.trust, attacked=1))
    first = pl.audit(pl.load(folder), data, settings=settings, out=tmp_path / "audit")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "audit").rglob("*.npz")}
    monkeypatch.setattr("pellucid.verbs.auditing.measuring.predict", lambda *_, **__: pytest.fail("it was classified"))
    again = pl.audit(pl.load(f"huggingface:{tmp_path / 'theirs'}"), data, settings=settings, out=tmp_path / "audit")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "audit").rglob("*.npz")} == times
    assert [row["value"] for row in again.rows] == [row["value"] for row in first.rows]
    assert again.warnings[0].startswith(f"huggingface:{tmp_path / 'theirs'} has no record of the images")


@pytest.mark.slow
def test_suspects_are_of_the_network_whatever_it_is_called(tmp_path):
    """What was found under the name of its source is marked with the imported folder, and with no other geometry."""
    saved(tmp_path / "theirs", "vit")
    address = f"huggingface:{tmp_path / 'theirs'}"
    folder = import_network("huggingface", str(tmp_path / "theirs"), tmp_path / "mine", Given()).path
    data = images_of_three_classes(tmp_path / "images", 48, pl.load(address))
    plan = DiscoverySettings(cells=6, screened=8, tested=12, recipients=2, permutations=40)
    pl.discover(pl.load(address), data, settings=plan).save(tmp_path / "suspects")
    discovery = Discovery.load(tmp_path / "suspects")
    check_same_network(discovery, results_key_of(pl.load(folder)))
    with pytest.raises(InputError, match=r"another network .*by its weights or by how it takes images"):
        check_same_network(discovery, results_key_of(pl.load(address, preprocess="crop:37:32:bicubic")))


def test_a_crop_larger_than_the_resized_image_is_asked_about(tmp_path):
    """transformers pads it with black; nobody is taken to have meant that."""
    saved(tmp_path, "swin")
    transformers.BitImageProcessorPil(
        size={"shortest_edge": 28}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="does not say preprocess"):
        import_network("huggingface", str(tmp_path), tmp_path / "mine", Given())
    model = import_network("huggingface", str(tmp_path), tmp_path / "mine", Given(preprocess="crop:32"))
    assert model.input_spec.preprocess == "crop:32:bilinear"


def test_several_labels_and_half_precision(tmp_path):
    saved(tmp_path, "vit", problem_type="multi_label_classification", dtype="bfloat16")
    model = pl.load(f"huggingface:{tmp_path}")
    assert model.task == "multilabel"
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_a_module_in_memory_says_its_classes_and_with_a_processor_its_images(tmp_path):
    network = saved(tmp_path, "vit")
    model = pl.wrap(network, processor=processor_of("vit")[0])
    assert model.classes == ("cat", "dog", "fox")
    assert model.input_spec.shape == (3, 32, 32)
    assert model.mean.flatten().tolist() == [0.5] * 3
    with pytest.raises(InputError, match=r"give size=, mean=, std=.* processor= says all but the classes"):
        pl.wrap(network)


@pytest.mark.parametrize("progress", ["0", "1"])
def test_transformers_draws_no_bar_where_none_is_wanted(progress, tmp_path, monkeypatch, capfd):
    saved(tmp_path, "vit")
    monkeypatch.setenv("PELLUCID_PROGRESS", progress)
    capfd.readouterr()
    pl.load(f"huggingface:{tmp_path}", outputs="logits")
    assert ("Loading weights" in capfd.readouterr().err) == (progress == "1")
    assert transformers.utils.logging.is_progress_bar_enabled()  # as it was


def test_a_network_that_was_loaded_from_a_folder_is_prepared_as_the_folder_says(tmp_path):
    saved(tmp_path, "vit")
    network = transformers.AutoModelForImageClassification.from_pretrained(tmp_path)
    model, same = (
        pl.wrap(network, outputs="logits"),
        pl.load(f"huggingface:{tmp_path}", outputs="logits"),
    )
    assert model.input_spec == same.input_spec
    images = torch.rand(2, *model.input_spec.shape)
    torch.testing.assert_close(model(images), same(images))
    assert pl.wrap(network, mean=[0.1] * 3, outputs="logits").mean.flatten().tolist() == pytest.approx([0.1] * 3)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match="processor="):
        pl.wrap(network)


def test_weights_of_another_place_and_other_classes(tmp_path):
    trained = saved(tmp_path / "theirs", "vit", num_labels=2, id2label={0: "LABEL_0", 1: "LABEL_1"})
    place = f"huggingface:{tmp_path / 'theirs'}"
    with pytest.raises(InputError, match="does not say classes: give it"):
        pl.load(place)
    assert pl.load(place, classes=["a", "b"]).classes == ("a", "b")
    torch.save({"state_dict": {f"model.{k}": v for k, v in trained.state_dict().items()}}, tmp_path / "w.ckpt")
    saved(tmp_path / "base", "vit")  # of three classes
    with pytest.warns(UserWarning, match="taken off"):
        model = pl.load(f"huggingface:{tmp_path / 'base'}", weights=tmp_path / "w.ckpt", classes=["a", "b"])
    images = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(model(images), trained(model.normalise(images)).logits)
    with pytest.raises(InputError, match=r"have 2 outputs.*give classes, 2 names"):
        pl.load(f"huggingface:{tmp_path / 'base'}", weights=tmp_path / "w.ckpt")
    with pytest.raises(InputError, match="have 2 outputs, and 4 classes are named"):
        pl.load(f"huggingface:{tmp_path / 'base'}", weights=tmp_path / "w.ckpt", classes=list("abcd"))


def test_what_is_no_classifier_is_said(tmp_path):
    saved(tmp_path / "vit", "vit")
    backbone = transformers.ViTModel(config_of("vit"))
    backbone.save_pretrained(tmp_path / "backbone")
    processor_of("vit")[0].save_pretrained(tmp_path / "backbone")
    with pytest.raises(InputError, match=r"no weights for 2 parts.*classifier\.bias.*not trained to classify"):
        pl.load(f"huggingface:{tmp_path / 'backbone'}")
    with pytest.raises(InputError, match="no configuration of transformers at"):
        pl.load(f"huggingface:{tmp_path}")
    for place in ("./typo", str(tmp_path / "typo"), "a/b/c"):  # never asked for on the hub
        with pytest.raises(InputError, match="no folder"):
            pl.load(f"huggingface:{place}")
    config = tmp_path / "vit" / "config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "auto_map": {"AutoConfig": "own.Config"}}))
    with pytest.raises(InputError, match="own Python code, which is not run"):
        pl.load(f"huggingface:{tmp_path / 'vit'}")
    config.write_text(json.dumps(values))
    (tmp_path / "vit" / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match="does not say preprocess, mean, std"):
        pl.load(f"huggingface:{tmp_path / 'vit'}")
