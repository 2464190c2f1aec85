"""`pellucid trust` as a user types it: what lies in the folder, what is kept, and what is refused."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

import pellucid as pl
from helpers.models import small
from helpers.trust import samples_of
from pellucid.data.readers.phantom.reader import PHANTOM_CLASSES
from pellucid.evaluation.certified_maps.certificate import MapSmoothing
from pellucid.evaluation.certified_maps.measure import cell_maps, certify_maps
from pellucid.models.weights import save_model

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("empty_charts")]

SIZES = {"size": 32, "train": 1, "validation": 1, "test": 6, "prevalence": 0.5}
PLANTED = {**SIZES, "shortcuts": {"letter": {"finding": "Nodule"}}}
FINDING = "shortcuts.letter.finding=Nodule"
PHANTOM = [
    "--data",
    "phantom",
    *(f"--data-option={k}={v}" for k, v in SIZES.items()),
    "--data-option",
    FINDING,
    "--device",
    "cpu",
]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return save_model(small(classes=PHANTOM_CLASSES), tmp_path_factory.mktemp("net") / "first")


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """Two colour images per class of three classes, one so even that it is constant; and a network for them."""
    top = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    for k, name in enumerate(("a", "b", "c")):
        (top / "test" / name).mkdir(parents=True)
        for i in range(2):
            pixels = rng.integers(0, 256, (32, 32, 3)) if i else np.full((32, 32, 3), 60 * k + 40)
            Image.fromarray(pixels.astype(np.uint8)).save(top / "test" / name / f"{i}.png")
    net = small(channels=3, task="multiclass")
    return save_model(net, top / "net"), ["--data", "folder", "--root", top, "--device", "cpu"]


def certified_share(path):
    """The mean share of cells certified beyond 0.02 on the first and the last image, of the class explained."""
    model, part = pl.load(path), pl.dataset("phantom", split="test", **PLANTED)
    samples = samples_of(model, part)
    smoothing = MapSmoothing(0.02, attack_cells=0)
    rows = [0, len(samples.images) - 1]
    names = [samples.fitted.dataset.ids[row] for row in rows]
    cells = cell_maps(model, ["cam"], smoothing)["cam"]
    maps = certify_maps(cells, samples.images[rows], samples.targets[rows], names, smoothing)
    return (maps.radius > 0.02).mean()


def test_the_table_of_a_phantom(pellucid, network, tmp_path):
    out = tmp_path / "trust"
    arguments = [*PHANTOM, "--samples", 1, "--certified", 2, "--attack-steps", 4, "--out", out]
    status, printed, _ = pellucid("trust", network, *arguments, "--method", "cam,saliency", "--compare", network)
    assert status == 0
    assert "each method draws" in printed
    found = json.loads((out / "trust.json").read_text())
    assert found["images"] == 6
    assert found["curves"]["cam"]["depths"][0] == 0
    assert found["curves"]["cam"]["layers"][1] == "head"
    rows = list(csv.DictReader((out / "trust.csv").open()))
    assert len(rows) == len(found["rows"])
    assert {"cam", "saliency", "trivial: uniform", "trivial: mean box", "the network itself"} <= {
        r["method"] for r in rows
    }
    (share,) = [r for r in rows if r["measure"] == "marker_share" and r["method"] == "cam"]
    assert 0 <= float(share["value"]) <= 1
    (agreement,) = [r for r in rows if r["measure"] == "agreement" and r["method"] == "cam"]
    assert float(agreement["value"]) == pytest.approx(1.0)
    assert "same architecture" in agreement["label"]
    (certain,) = [r for r in rows if r["measure"] == "certified_cells" and r["method"] == "cam"]
    assert (certain["n"], certain["verdict"], certain["bar"]) == ("2", "", "")  # a useless map has it too
    assert float(certain["value"]) == pytest.approx(certified_share(network))
    (grid,) = [r for r in rows if r["measure"] == "grid_pointing" and r["method"] == "cam"]
    assert (grid["value"], grid["reason"]) == (
        "",
        "an image of several labels may show the class explained in any quarter",
    )
    page = (out / "trust.html").read_text()
    assert "<script" not in page
    assert 'src="http' not in page
    assert page.count("<svg") == 5
    assert page.count("image, attacked") > 1


def test_methods_are_kept_and_others_added(pellucid, network, tmp_path, monkeypatch):
    arguments = [*PHANTOM, "--limit", 2, "--samples", 1, "--out", tmp_path]
    assert pellucid("trust", network, *arguments, "--method", "saliency")[0] == 0
    first = [r for r in json.loads((tmp_path / "trust.json").read_text())["rows"] if r["method"] == "saliency"]
    from pellucid.evaluation.trust import run as trust_run

    judged, judge = [], trust_run.judge_method
    monkeypatch.setattr(trust_run, "judge_method", lambda m, *a, **k: judged.append(m.name) or judge(m, *a, **k))
    assert pellucid("trust", network, *arguments, "--method", "saliency,cam")[0] == 0
    assert judged == ["cam"]
    second = json.loads((tmp_path / "trust.json").read_text())["rows"]
    assert [r for r in second if r["method"] == "saliency"] == first
    status, *_ = pellucid("trust", network, *arguments[:-3], 3, "--out", tmp_path, "--method", "saliency")
    assert "samples: 1 there, 3 here" in str(status)


def test_colour_images_of_which_some_are_constant(pellucid, colours, tmp_path):
    network, data = colours
    status, _, _ = pellucid("trust", network, *data, "--method", "grad-cam", "--samples", 1, "--out", tmp_path)
    assert status == 0
    rows = {r["measure"]: r for r in json.loads((tmp_path / "trust.json").read_text())["rows"]}
    assert rows["place_gain"]["value"] is None
    assert "no boxes or masks" in rows["place_gain"]["reason"]
    assert "no planted shortcut" in rows["marker_share"]["reason"]
    assert rows["alignment_cosine"]["n"] == 3  # the other three are of one colour
    assert "one colour" in rows["alignment_cosine"]["reason"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "gradcam"], "Did you mean 'grad-cam'"),
        (["--method", "adversarial"], "unknown heat map 'adversarial'"),
        (["--split", "tset"], "has no 'tset' part"),
        (["--data-option", "shortcuts.letter.finding=Nodul"], "Did you mean 'Nodule'"),
    ],
)
def test_bad_input(pellucid, network, tmp_path, arguments, message):
    status, *_ = pellucid("trust", network, *PHANTOM, "--out", tmp_path, *arguments)
    assert message in str(status)
    assert not (tmp_path / "trust.json").exists()


def test_a_network_beside_of_other_classes_is_refused(pellucid, network, colours, tmp_path):
    status, *_ = pellucid("trust", network, *PHANTOM, "--compare", colours[0], "--out", tmp_path)
    assert "other classes" in str(status)


def test_a_network_without_a_linear_head_is_refused_before_any_work():
    from pellucid.data import open_dataset
    from pellucid.evaluation.trust.findings import TrustSettings
    from pellucid.evaluation.trust.run import TrustJudge
    from pellucid.types import InputError

    data = open_dataset("phantom", options=PLANTED)["test"]
    net = small(classes=data.classes)
    net.head = torch.nn.Sequential(net.head)
    with pytest.raises(InputError, match="linear head"):
        TrustJudge(net, samples_of(net, data, limit=1), ["cam"], TrustSettings()).refusals()
