"""`pellucid explain` with several methods at once: the panel, the numbers, the options, and what is refused."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

import pellucid as pl
from helpers.dicom import radiograph
from helpers.explaining import HEATMAPS_ON_CONVOLUTIONS
from helpers.models import draw_convolutions, small
from pellucid.data import open_dataset
from pellucid.explainers import explain
from pellucid.models.weights import save_model
from pellucid.report.heat_colours import placed
from pellucid.report.pictures.explanation_grid import Explained, explanation_grid
from pellucid.types import InputError

CPU = ["--device", "cpu"]
CLASSES = ["Mass", "Nodule", "Effusion"]


def small_network(**options):
    return draw_convolutions(small(classes=CLASSES, widths=[4, 6], **options))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(small_network(), tmp_path_factory.mktemp("models") / "run", extra={"thresholds": [0.5] * 3})


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "chest.png"
    Image.radial_gradient("L").resize((32, 32)).save(path)
    return path


@pytest.fixture
def pellucid(pellucid):
    """Run the command; gives its status or one message."""
    return lambda *arguments: pellucid(*arguments)[0]


@pytest.mark.slow
def test_every_method_in_one_panel(pellucid, model, image, tmp_path):
    out = tmp_path / "out"
    methods = [*HEATMAPS_ON_CONVOLUTIONS, "adversarial"]
    how = ["--method", ",".join(methods), "--classes", "Mass,Nodule", "--slider", 0]
    few = ["--samples", 24, "--segments", 6, "--seed", 3]
    assert pellucid("explain", model, image, *how, *few, *CPU, "--out", out) in (0, None)
    found = json.loads((out / "explain.json").read_text())
    assert found["adversarial"]["rho"] == 0.075
    assert found["options"]["lime"] == {"segments": 6, "samples": 24, "seed": 3}
    assert "cam" not in found["options"]
    (row,) = found["images"]
    assert row["panel"] == "chest.png"
    assert row["cost"]["cam"] == {"gradient_evaluations": 0, "forward_passes": 1}
    assert row["cost"]["lime"] == {"gradient_evaluations": 0, "forward_passes": 24}
    assert row["cost"]["smoothgrad"] == {"gradient_evaluations": 24, "forward_passes": 24}
    net, pixels = small_network(), torch.from_numpy(np.asarray(Image.open(image)).copy())[None, None].float() / 255
    with np.load(out / row["maps"]) as arrays:
        assert set(arrays.files) == {f"{c}|{m}" for c in ("Mass", "Nodule") for m in methods}
        for name, options in (("lime", found["options"]["lime"]), ("occlusion", {})):
            expected = explain(name, net, pixels, 1, **options).maps[0].numpy()
            np.testing.assert_allclose(arrays[f"Nodule|{name}"], expected, rtol=1e-3, atol=1e-5)
    with Image.open(out / "chest.png") as panel:  # 1 + 11 + 2 pictures of each class in lines of five
        assert panel.width < 1400
        assert panel.height > panel.width


@pytest.mark.parametrize(("options", "rho"), [(["--method", "adversarial"], 0.1), (["--rho", "0.03"], 0.03)])
def test_the_size_alone_and_when_it_is_given(pellucid, model, image, tmp_path, options, rho):
    method = [] if "--method" in options else ["--method", "cam,adversarial"]
    out = tmp_path / "out"
    end = ["--slider", 0, "--classes", "Mass", *CPU, "--out", out]
    assert pellucid("explain", model, image, *method, *options, *end) in (0, None)
    assert json.loads((out / "explain.json").read_text())["adversarial"]["rho"] == rho


def test_a_layer_by_name(pellucid, model, image, tmp_path):
    out = tmp_path / "out"
    how = ["--method", "cam,grad-cam", "--layer", "backbone.stem", "--classes", "Mass"]
    assert pellucid("explain", model, image, *how, *CPU, "--out", out) in (0, None)
    found = json.loads((out / "explain.json").read_text())
    assert found["options"] == {"grad-cam": {"layer": "backbone.stem"}}
    assert found["images"][0]["cost"]["grad-cam"]["gradient_evaluations"] == 1


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--method", "limes"], ["unknown method 'limes'", "Did you mean 'lime'"]),
        (["--method", "grad-cam", "--layer", "backbone.stme"], ["unknown layer", "Did you mean 'backbone.stem'"]),
        (["--method", "cam", "--layer", "backbone.stem"], ["layer is an option of none", "grad-cam, grad-cam++"]),
        (["--method", "adversarial", "--segments", "9"], ["segments is an option of none", "lime, kernel-shap"]),
        (["--method", "cam,lime", "--samples", "1"], ["samples must be at least 2; found 1"]),
        (["--method", "cam,kernel-shap", "--samples", "9"], ["samples", "segments"]),
        (["--method", "cam", "--rho", "0.1"], ["rho is an option of none"]),
        (["--data-option", "window=1"], ["window says how DICOM files are read, and none of these is one"]),
        (["--data-option", "frame=1"], ["frame says how DICOM files are read"]),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(pellucid, model, image, tmp_path, options, parts):
    out = tmp_path / "results" / "out"
    message = str(pellucid("explain", model, image, *options, *CPU, "--out", out))
    assert message.startswith("pellucid: ")
    assert all(part in message for part in parts), message
    assert not out.exists()


@pytest.mark.slow
def test_the_command_is_the_verb(pellucid, model, image, tmp_path):
    how = ["--method", "cam,rise,adversarial", "--classes", "top2", "--samples", 8, "--seed", 3, "--slider", 1]
    assert pellucid("explain", model, image, *how, *CPU, "--out", tmp_path / "command") in (0, None)
    asked = {"classes": "top2", "samples": 8, "seed": 3, "slider": 1}
    found = pl.explain(pl.load(model), [image], ["cam", "rise", "adversarial"], **asked)  # in memory
    assert not (tmp_path / "verb").exists()
    found.save(tmp_path / "verb")
    names = sorted(path.name for path in (tmp_path / "command").iterdir())
    assert names == [
        "boxes.csv",
        "chest-adversarial.png",
        "chest.npz",
        "chest.png",
        "explain.html",
        "explain.json",
        "slider.html",
    ]
    for name in names:
        assert (tmp_path / "verb" / name).read_bytes() == (tmp_path / "command" / name).read_bytes(), name


def test_an_option_of_other_files_is_refused_for_dicom_files(pellucid, model, tmp_path):
    radiograph(tmp_path / "a.dcm")
    option = ["--method", "cam", "--data-option", "bits=16"]
    message = pellucid("explain", model, tmp_path / "a.dcm", *option, *CPU, "--out", tmp_path / "out")
    assert "bits says how other files are read, and these are DICOM" in str(message)
    assert not (tmp_path / "out").exists()


def test_signed_maps_have_white_at_zero():
    for method in ("lime", "integrated-gradients"):
        values, colours = placed(np.array([[-3.0, 0.0, 1.0]]), method)
        assert colours == "RdBu_r"
        assert values[0, 1] == 0.5
        assert values[0, 0] < 0.5 < values[0, 2]
        assert (placed(np.zeros((2, 2)), method)[0] == 0.5).all()
        assert (placed(np.array([[np.nan, 1.0]]), method)[0] == 0.5).all()
    assert placed(np.array([[1.0, 3.0]]), "cam") == (pytest.approx(np.array([[0.0, 1.0]])), "inferno")


def test_the_sheet_shows_each_map_where_it_belongs(tmp_path):
    """Fine maps alone: a black image under them changes nothing; coarse ones over the image: it does."""
    heat = np.linspace(-1, 1, 64).reshape(8, 8)
    drawn = {}
    for method in ("smoothgrad", "occlusion"):
        for level in (0, 200):
            path = tmp_path / f"{method}{level}.png"
            picture = np.full((1, 8, 8), level, np.uint8)
            explanation_grid(picture, [Explained({("a", method): heat}, {"a": 0.5})], title="", path=path)
            with Image.open(path) as panel:
                drawn[method, level] = np.asarray(panel.convert("RGB"))[:, panel.width // 2 :]
    assert (drawn["smoothgrad", 0] == drawn["smoothgrad", 200]).all()
    assert (drawn["occlusion", 0] != drawn["occlusion", 200]).any()


@pytest.mark.slow
def test_two_networks_in_one_picture(pellucid, model, image, tmp_path):
    """The second's files are those of an `explain` of it alone for the same classes; the panel has a row of each."""
    torch.manual_seed(7)
    other = small_network()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    other = save_model(other, tmp_path / "other", extra={"thresholds": [0.5] * 3})
    how = ["--method", "cam,adversarial", "--rho", 0.05, *CPU]
    pair, alone, single = tmp_path / "pair", tmp_path / "alone", tmp_path / "single"
    assert pellucid("explain", model, image, *how, "--compare", other, "--classes", "top1", "--out", pair) in (
        0,
        None,
    )
    record = json.loads((pair / "explain.json").read_text())
    assert record["compared"] == {"model": str(other), "folder": "compared"}
    classes = record["images"][0]["explained"]
    theirs = json.loads((pair / "compared" / "explain.json").read_text())
    assert theirs["images"][0]["explained"] == classes  # those that the first finds most probable
    for path, out in ((model, single), (other, alone)):
        assert pellucid("explain", path, image, *how, "--classes", ",".join(classes), "--out", out) in (0, None)
    for one, two in ((pair, single), (pair / "compared", alone)):
        with np.load(one / "chest.npz") as found, np.load(two / "chest.npz") as expected:
            assert (
                set(found.files) == set(expected.files) == {f"{c}|{m}" for c in classes for m in ("cam", "adversarial")}
            )
            for name in found.files:
                np.testing.assert_array_equal(found[name], expected[name])
    with Image.open(pair / "chest.png") as both, Image.open(single / "chest.png") as one:
        assert both.width == one.width
        assert both.height > 1.8 * one.height
    for page in ("explain.html", "slider.html"):
        text = (pair / page).read_text()
        assert "run" in text
        assert "lie beside this page" not in text
        assert ">other<" in text or ", other" in text, page


def test_two_networks_from_python():
    """A result has both; models in memory are called by their order, and those of other classes are refused."""
    first, second = small_network(), small_network()
    images = torch.rand(2, 1, 32, 32)
    both = pl.explain(first, images, "adversarial", rho=0.05, targets=[0, 2], compare=second, slider=1)
    assert both.other is not None
    torch.testing.assert_close(both.other.maps, both.maps)
    assert [column.label for column in both.slides[0].columns] == ["first", "second"]
    assert len(both.rows) == 4
    assert both.tables()[0].columns[2:] == ["probability, first", "probability, second"]
    assert both.to_json()["compared"]["model"] == "a model in memory"
    strange = small(classes=["a", "b"])
    with pytest.raises(InputError, match=r"other classes, channels or image size"):
        pl.explain(first, images, "cam", compare=strange)
    with pytest.raises(InputError, match=r"the model to compare with is expected as pl\.load"):
        pl.explain(first, images, "cam", compare="runs/first")


def test_the_page_judges_several_labels_by_all_decisions_at_the_thresholds(tmp_path):
    """Counted anew from the probabilities; a network without thresholds has no verdict, an unknown label no part."""
    data = open_dataset("phantom", options={"size": 32, "test": 6})["test"]
    data.targets[0], data.targets[1], data.targets[2, :3] = 0, np.nan, np.nan
    net = draw_convolutions(small(classes=data.classes, widths=[4, 6]))
    bare = pl.explain(net, data, "cam")
    assert 'data-answer=""' in (bare.save(tmp_path / "bare")[1]).read_text()
    assert "✗" not in (tmp_path / "bare" / "explain.html").read_text()
    chances = bare.probabilities.numpy()
    cuts = np.sort(chances, axis=0)[3]  # three images decided present for each label
    net.card = {"thresholds": cuts.tolist()}
    data.targets[3] = chances[3] >= cuts
    found = pl.explain(net, data, "cam")
    unknown = np.isnan(data.targets)
    expected = [
        "" if gap.all() else "right" if all((row >= cuts)[~gap] == (truth == 1)[~gap]) else "wrong"
        for row, truth, gap in zip(chances, data.targets, unknown, strict=True)
    ]
    page = found.save(tmp_path / "page")[1].read_text()
    assert re.findall(r'data-answer="(\w*)"', page) == expected
    assert set(expected) == {"", "right", "wrong"}
    cuts = np.nextafter(chances[0].max(), 1) * np.ones(len(cuts))
    net.card = {"thresholds": cuts.tolist()}
    page = pl.explain(net, data, "cam", ids=data.ids[:1]).save(tmp_path / "normal")[1].read_text()
    assert re.findall(r'data-answer="(\w*)"', page) == ["right"]  # a normal image, and nothing is called present
