"""Networks of timm, torchvision and torchxrayvision, beside each library's own pipeline on 8-bit images."""

from __future__ import annotations

import hashlib
import warnings

import numpy as np
import pytest
import timm
import torch
import torchvision
import torchxrayvision as xrv
from PIL import Image

import pellucid as pl
from pellucid.data.decoding.fitting import fit
from pellucid.models.sources.importing import import_network
from pellucid.models.sources.opening import Given
from pellucid.types import InputError, in_unit_range
from pellucid.utils.imagenet_classes import imagenet_names


def picture(shape=(261, 320), channels=3, noise=20):
    """An image of waves, and noise in which every step of a resize shows."""
    generator = np.random.default_rng(3)
    height, width = shape
    waves = np.sin(np.arange(width) / 7)[None, :, None] * np.cos(np.arange(height) / 5)[:, None, None]
    pixels = 127 + 80 * waves + generator.normal(0, noise, (height, width, channels))
    return pixels.clip(0, 255).astype(np.uint8).squeeze()


def logits_of(model, pixels):
    with torch.no_grad():
        return model(in_unit_range(torch.tensor(fit(pixels, model.input_spec)))[None])


def random_weights(network, path, seed=0):
    """Weights of a fresh network whose norms have statistics of their own."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            noise = torch.rand(tensor.shape, generator=generator) * 0.2
            tensor.copy_(noise + 0.9 if name.endswith("var") else noise)
    torch.save(network.state_dict(), path)
    return network.eval()


@pytest.mark.parametrize(
    ("name", "preprocess"),
    [
        ("mobilenetv3_small_050.lamb_in1k", "crop:256:224:bicubic"),
        ("test_vit.r160_in1k", "crop:168:160:bicubic"),
    ],
)
def test_timm_gives_the_logits_of_its_own_pipeline(name, preprocess, tmp_path):
    torch.manual_seed(0)
    network = random_weights(timm.create_model(name), tmp_path / "w.pth")
    model = pl.load(f"timm:{name}", weights=tmp_path / "w.pth")
    assert model.input_spec.preprocess == preprocess
    assert (len(model.classes), model.classes[0]) == (1000, "n01440764")
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
    pixels = picture()
    with torch.no_grad():
        expected = network(transform(Image.fromarray(pixels))[None])
    torch.testing.assert_close(logits_of(model, pixels), expected, atol=1e-4, rtol=1e-4)
    wrapped = pl.wrap(network, [f"class {k}" for k in range(1000)])
    torch.testing.assert_close(logits_of(wrapped, pixels), expected, atol=1e-4, rtol=1e-4)


def test_a_network_of_timm_in_memory_says_its_classes():
    """Those of ImageNet, where timm says so; of a head of another size they are asked for."""
    classes = pl.wrap(timm.create_model("mobilenetv3_small_050")).classes
    assert (len(classes), classes[0], classes[-1]) == (1000, "n01440764", "n15075141")
    network = timm.create_model("mobilenetv3_small_050", num_classes=2)
    with pytest.raises(InputError, match="give classes="):
        pl.wrap(network)
    assert pl.wrap(network, ["a", "b"]).classes == ("a", "b")


def test_timm_with_another_head_and_gray_images(tmp_path):
    network = random_weights(timm.create_model("mobilenetv3_small_050", num_classes=1, in_chans=1), tmp_path / "w.pth")
    given = {"weights": tmp_path / "w.pth", "classes": ["NORMAL", "PNEUMONIA"], "options": {"in_chans": 1}}
    given["outputs"] = "logits"  # of a drawn network they may all lie between 0 and 1
    with pytest.raises(InputError, match="does not say mean, std"):
        pl.load("timm:mobilenetv3_small_050", **given)
    model = pl.load("timm:mobilenetv3_small_050", mean=[0.5], std=[0.25], **given)
    images = torch.rand(2, 1, 224, 224)
    with torch.no_grad():
        expected = network((images - 0.5) / 0.25).sigmoid()
        torch.testing.assert_close(model(images).softmax(1)[:, 1:], expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(InputError, match=r"have 1 output,.*give classes"):
        pl.load("timm:mobilenetv3_small_050", weights=tmp_path / "w.pth", options={"in_chans": 1})
    with pytest.raises(InputError, match=r"Like it are: resnet50.*name their file with --weights"):
        pl.load("timm:resnet05")
    with pytest.raises(InputError, match="holds the weights of another network"):
        pl.load("timm:test_vit", **{**given, "options": {}})


def test_torchvision_gives_the_logits_of_its_own_pipeline(tmp_path):
    torch.manual_seed(0)
    name, plain = "mobilenet_v3_small.IMAGENET1K_V1", "mobilenet_v3_small"
    network = random_weights(torchvision.models.get_model(plain), tmp_path / "w.pth")
    model = import_network("torchvision", name, tmp_path / "m", Given(weights=tmp_path / "w.pth"))
    assert model.input_spec.preprocess == "crop:256:224:bilinear"
    assert (len(model.classes), model.classes[0]) == (1000, "n01440764")
    transform = torchvision.models.get_model_weights(plain).IMAGENET1K_V1.transforms()
    pixels = picture()
    with torch.no_grad():
        expected = network(transform(Image.fromarray(pixels))[None])
    torch.testing.assert_close(logits_of(model, pixels), expected, atol=1e-4, rtol=1e-4)


def test_the_classes_of_imagenet_are_called_as_torchvision_calls_them():
    own = torchvision.models.ResNet50_Weights.DEFAULT.meta["categories"]
    assert list(imagenet_names().values()) == own


def test_torchvision_without_the_name_of_weights(tmp_path, monkeypatch):
    """Its default is taken, which is said; a file that it published is known by the checksum in its address."""
    plain, file = "mobilenet_v2", tmp_path / "w.pth"
    random_weights(torchvision.models.get_model(plain), file)
    with pytest.warns(
        UserWarning, match=rf"{plain}.IMAGENET1K_V2 is the default of torchvision: classes, preprocess, mean and std"
    ):
        model = import_network("torchvision", plain, tmp_path / "m", Given(weights=file))
    assert model.source.address == f"torchvision:{plain}"
    assert model.input_spec.preprocess == "crop:232:224:bilinear"
    given = {"classes": model.classes, "preprocess": "crop:256:224:bilinear", "mean": [0.5] * 3, "std": [0.5] * 3}
    with pytest.warns(UserWarning, match=r"torchvision: mean is taken from there"):
        pl.load(f"torchvision:{plain}", weights=file, **{key: value for key, value in given.items() if key != "mean"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pl.load(f"torchvision:{plain}", weights=file, **given)
        named = pl.load(f"torchvision:{plain}.IMAGENET1K_V1", weights=file)
        # as if this file were what is published for V1, by the beginning of its SHA-256
        published = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1.value
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        monkeypatch.setattr(published, "url", f"https://download.pytorch.org/models/mobilenet_v2-{digest[:8]}.pth")
        known = pl.load(f"torchvision:{plain}", weights=file)
        assert pl.load(tmp_path / "m").source == model.source
        assert pl.load(f"torchvision:{plain}.IMAGENET1K_V1", weights=file).source == named.source
    assert known.source == named.source
    with pytest.raises(InputError, match=r"names the weights IMAGENET1K_V2, .* published as IMAGENET1K_V1; .*Ask for"):
        pl.load(f"torchvision:{plain}.IMAGENET1K_V2", weights=file)
    assert known.input_spec.preprocess == named.input_spec.preprocess == "crop:256:224:bilinear"


def test_torchvision_of_other_classes_without_the_name_of_weights(tmp_path):
    random_weights(torchvision.models.get_model("mobilenet_v3_small", num_classes=2), tmp_path / "w.pth")
    with pytest.warns(UserWarning, match="torchvision: preprocess, mean and std are taken from there"):
        model = pl.load(
            "torchvision:mobilenet_v3_small", weights=tmp_path / "w.pth", classes=["a", "b"], outputs="logits"
        )
    assert model.input_spec.preprocess == "crop:256:224:bilinear"


def test_timm_without_the_name_of_weights(tmp_path):
    random_weights(timm.create_model("test_vit"), tmp_path / "w.pth")
    with pytest.warns(
        UserWarning, match="timm:test_vit names no weights, and test_vit.r160_in1k is the default of timm"
    ):
        model = pl.load("timm:test_vit", weights=tmp_path / "w.pth")
    assert model.input_spec.preprocess == "crop:168:160:bicubic"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pl.load("timm:test_vit.r160_in1k", weights=tmp_path / "w.pth")


def test_torchvision_names(tmp_path):
    with pytest.raises(InputError, match="Like it are: resnet50"):
        pl.load("torchvision:resnet05")
    with pytest.raises(InputError, match="no weights 'V3' for resnet18"):
        pl.load("torchvision:resnet18.V3")
    with pytest.raises(InputError, match="no classifier 'fcn_resnet50'"):
        pl.load("torchvision:fcn_resnet50")


def test_torchxrayvision_gives_its_own_decisions(tmp_path):
    """Its outputs are put through its own scaling, which puts each operating point at a half, and then compared."""
    name, count = "densenet121-res224-chex", 11  # of 18 outputs, the others stand for nothing
    facts = xrv.models.model_urls[name]
    torch.manual_seed(0)
    small = {"growth_rate": 4, "block_config": [1, 1, 1, 1], "num_init_features": 8}
    network = random_weights(xrv.models.DenseNet(num_classes=18, **small), tmp_path / "state.pt")
    torch.save(network, tmp_path / "published.pt")  # as they are published: whole
    given = Given(weights=tmp_path / "published.pt", options=small)
    with pytest.warns(UserWarning, match="whole network in it, whose code was not run"):
        model = import_network("torchxrayvision", name, tmp_path / "m", given)
    places = [k for k, label in enumerate(facts["labels"]) if label]
    assert model.classes == tuple(facts["labels"][k] for k in places)
    assert len(model.classes) == count
    assert model.task == "multilabel"
    assert model.has_linear_head
    thresholds = torch.tensor(facts["op_threshs"])
    network.op_threshs = thresholds
    pixels = picture((224, 224), 1)
    theirs = torch.from_numpy(xrv.utils.normalize(pixels, 255, reshape=True))[None]
    with torch.no_grad():
        expected = network(theirs)[:, places]
        network.op_threshs = None
        raw = network(theirs)[:, places]
    logits = logits_of(model, pixels)
    torch.testing.assert_close(logits, raw, atol=1e-4, rtol=1e-4)
    scaled = xrv.models.op_norm(logits.sigmoid(), thresholds[places])
    torch.testing.assert_close(scaled, expected, atol=1e-4, rtol=1e-4)
    own = torch.tensor(model.card["thresholds"])
    assert torch.equal(logits.sigmoid() >= own, expected >= 0.5)
    assert torch.equal(torch.tensor(pl.load(tmp_path / "m").card["thresholds"]), own)


def test_torchxrayvision_cuts_the_square_out_of_the_middle(tmp_path):
    """As its own pipeline, with Pillow's resize: of films that are not square, whose cut-off part is odd or even."""
    name = "densenet121-res224-all"
    torch.manual_seed(0)
    few = {"growth_rate": 4, "block_config": [1, 1, 1, 1], "num_init_features": 8}
    network = random_weights(xrv.models.DenseNet(num_classes=18, **few), tmp_path / "state.pt")
    model = import_network("torchxrayvision", name, tmp_path / "m", Given(weights=tmp_path / "state.pt", options=few))
    assert (len(model.classes), model.input_spec.preprocess) == (18, "cut:224:bilinear")
    for size in ((301, 250), (250, 300), (260, 411)):
        pixels = picture(size, 1)
        square = xrv.datasets.XRayCenterCrop()(pixels[None])[0]
        resized = np.asarray(Image.fromarray(square).resize((224, 224), Image.Resampling.BILINEAR))
        with torch.no_grad():
            expected = network(torch.from_numpy(xrv.utils.normalize(resized, 255, reshape=True))[None])
        torch.testing.assert_close(logits_of(model, pixels), expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError, match=r"no weights 'densenet121-res224-al'.*Like it are: densenet121-res224-all"):
        pl.load("torchxrayvision:densenet121-res224-al")
