"""A network of one's own Python code: imported, loaded from its folder, judged, and refused where it must be."""

from __future__ import annotations

import errno
import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import pellucid as pl
from helpers.foreign import GIVEN, make, write_code
from pellucid.models import load_model, save_model
from pellucid.models.sources.importing import import_network
from pellucid.models.sources.opening import Given
from pellucid.types import InputError


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the code, a Lightning-style checkpoint, and the model folder `mine`."""
    folder = tmp_path_factory.mktemp("theirs")
    code = write_code(folder)
    network = make(folder)
    torch.save({"state_dict": {f"model.{k}": v for k, v in network.state_dict().items()}}, folder / "best.ckpt")
    with pytest.warns(UserWarning, match=r"'model\.' before the network's names was taken off"):
        import_network("python", f"{code}:build", folder / "mine", Given(weights=folder / "best.ckpt", **GIVEN))
    return folder


@pytest.fixture
def given(place):
    return {**GIVEN, "weights": place / "best.ckpt"}


def test_a_folder_gives_the_logits_of_the_script(place, tmp_path):
    """Of an 8-bit image that Pillow resizes, crops and normalises as the script's own pipeline does."""
    model = pl.load(place / "mine", trust_code=True)
    pixels = np.random.default_rng(0).integers(0, 256, (61, 53, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    resized = image.resize((40, 46), Image.Resampling.BICUBIC)  # the shorter side to 40: int(40 * 61 / 53) = 46
    cropped = np.asarray(resized.crop((4, 7, 36, 39)), dtype=np.float32) / 255
    mean, std = (np.float32(GIVEN[name]) for name in ("mean", "std"))
    theirs = torch.from_numpy((cropped - mean) / std).permute(2, 0, 1)[None]
    with torch.no_grad():
        network = make(place)
        network.load_state_dict(load_file(place / "mine" / "weights.safetensors"))
        expected = network(theirs)
        found = model(torch.from_numpy(cropped).permute(2, 0, 1)[None])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert model.input_spec.preprocess == "crop:40:32:bicubic"
    assert model.has_linear_head
    assert model.source.address == "python:mymodel.py:build"
    assert sorted(path.name for path in (place / "mine" / "code").iterdir()) == ["layers.py", "mymodel.py"]


def test_code_of_a_folder_runs_only_where_it_is_trusted(place, tmp_path):
    with pytest.raises(InputError, match=r"brings code of its own \(layers\.py, mymodel\.py\).*--trust-code"):
        pl.load(place / "mine")
    copy = tmp_path / "copy"
    shutil.copytree(place / "mine", copy)
    mark = tmp_path / "mark"
    (copy / "code" / "layers.py").write_text(f"open({str(mark)!r}, 'w')")
    with pytest.raises(InputError, match=r"layers\.py is not the code that the model was imported with"):
        pl.load(copy, trust_code=True)
    shutil.rmtree(copy)
    shutil.copytree(place / "mine", copy)
    (copy / "code" / "torch.py").write_text(f"open({str(mark)!r}, 'w')")
    with pytest.raises(InputError, match=r"torch\.py is not named by the model's card"):
        pl.load(copy, trust_code=True)
    (copy / "code" / "torch.py").unlink()
    (copy / "code" / "layers.py").unlink()
    with pytest.raises(InputError, match=r"layers\.py is missing"):
        pl.load(copy, trust_code=True)
    assert not mark.exists()


def test_two_models_may_have_files_of_the_same_name(place, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    code = write_code(other)
    (other / "layers.py").write_text((other / "layers.py").read_text().replace("nn.ReLU()", "nn.Tanh()"))
    torch.save(make(other).state_dict(), other / "w.pt")
    theirs = pl.load(f"python:{code}:build", weights=other / "w.pt", **GIVEN)
    mine = pl.load(place / "mine", trust_code=True)
    assert any(isinstance(part, torch.nn.Tanh) for part in theirs.modules())
    assert not any(isinstance(part, torch.nn.Tanh) for part in mine.modules())
    assert "layers" not in sys.modules
    assert "mymodel" not in sys.modules
    assert str(place) not in sys.path


def test_the_weights_file_of_other_code_is_another(place, tmp_path, given):
    """Results are kept under its hash: those of code that computes something else must not be taken for these."""
    other = tmp_path / "other"
    other.mkdir()
    code = write_code(other)
    (other / "layers.py").write_text((other / "layers.py").read_text().replace("nn.ReLU()", "nn.Tanh()"))
    with pytest.warns(UserWarning, match="taken off"):
        import_network("python", f"{code}:build", tmp_path / "m", Given(**given))
    files = [folder / "weights.safetensors" for folder in (place / "mine", tmp_path / "m")]
    mine, theirs = (load_file(path) for path in files)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert files[0].read_bytes() != files[1].read_bytes()


def test_half_precision_is_computed_with_in_single(place, tmp_path, given):
    network = make(place)
    for kind in (torch.float16, torch.bfloat16):
        torch.save(
            {k: v.to(kind) if v.is_floating_point() else v for k, v in network.state_dict().items()}, tmp_path / "h"
        )
        model = pl.load(f"python:{place / 'mymodel.py'}:build", **{**given, "weights": tmp_path / "h"})
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        expected = network.to(kind).float()
        images = torch.rand(2, 3, 32, 32)
        torch.testing.assert_close(model(images), expected(model.normalise(images)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("factory", "change", "message"),
    [
        (
            "build",
            {"classes": None, "preprocess": None, "mean": None},
            "does not say classes, preprocess, mean: give them",
        ),
        ("build", {"std": None}, "does not say std: give it"),
        ("build", {"weights": None}, "other weights each time.*was not trained"),
        ("build", {"weights": "nowhere.pt"}, r"no weights file at nowhere\.pt"),
        ("build", {"classes": ["a", "b", "c"]}, r"found \(4, 2\)\. 3 classes are named"),
        (
            "build",
            {"options": {"outputs": 3}},
            r"4\.weight \(2 × 6 instead of 3 × 6\).*same classes and options\.$",
        ),
        (
            "build",
            {"options": {"width": 7}},
            r"best\.ckpt holds the weights of another network.*of another shape: 0\.0",
        ),
        ("build", {"options": {"wide": 7}}, r"build\(wide=7\) of .*mymodel\.py raised TypeError"),
        ("build", {"mean": [0.5], "std": [0.5]}, "first convolution takes 3 channels, and mean and std have 1 value"),
        ("build", {"mean": [0.5] * 2}, "three for colour ones; found 2 values for mean and 3 for std"),
        ("build", {"mean": [0.5, 0.5, math.nan]}, r"mean must be finite numbers; found \[0\.5, 0\.5, nan\]"),
        ("build", {"mean": [124, 116, 104], "std": [58, 57, 57]}, "of pixels up to 255, divide mean and std by 255"),
        ("build", {"preprocess": "stretch:20000000"}, "20,000,000 × 20,000,000 pixels do not fit into memory"),
        ("build", {"std": [0.2, 0.2, 0]}, "std must be positive"),
        ("build", {"preprocess": "crop:20:32"}, "20 has no crop of 32 × 32"),
        ("build", {"preprocess": "crop:big"}, "is not FIT"),
        ("build", {"classes": ["a", "a"]}, "class names must differ"),
        ("build", {"outputs": "chances"}, "outputs must be one of logits, probabilities; found 'chances'"),
        ("build", {"task": "both"}, "task must be"),
        ("raises", {}, r"raises\(\) of .*raised RuntimeError: no such thing\. Mend it there, or give it other options"),
        ("no_module", {}, "must return a torch.nn.Module; it returned int"),
        ("biuld", {}, r"has no function 'biuld'\. Did you mean 'build'"),
        ("Wrapped", {"options": {"how": "nan"}}, "returns NaN"),
        ("Wrapped", {"options": {"how": "dropout"}}, "another output each time"),
        ("Wrapped", {"options": {"how": "batch"}}, "other images of the batch"),
        ("probabilities", {}, "look like probabilities"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_cannot_be_imported_is_said_and_nothing_written(factory, change, message, place, given, tmp_path):
    given = {**given, **change}
    if factory == "probabilities":  # the same weights one level deeper
        state = torch.load(given["weights"], weights_only=True)["state_dict"]
        given["weights"] = tmp_path / "p.pt"
        torch.save({k.replace("model.", "0."): v for k, v in state.items()}, given["weights"])
    with pytest.raises(InputError, match=message):
        import_network("python", f"{place / 'mymodel.py'}:{factory}", tmp_path / "out", Given(**given))
    assert not (tmp_path / "out").exists()
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    ("text", "message"),
    [("import nothing_of_that_name", "raised ModuleNotFoundError"), ("def build(:", "raised SyntaxError")],
)
def test_code_that_cannot_run_is_said(text, message, tmp_path):
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(InputError, match=message):
        pl.load(f"python:{tmp_path / 'bad.py'}:build")
    with pytest.raises(InputError, match="no file"):
        pl.load(f"python:{tmp_path / 'none.py'}:build")
    with pytest.raises(InputError, match=r"is not FILE\.py:NAME"):
        pl.load("python:build")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--data', required=True)\n"
            "arguments = parser.parse_args([])\ndef build(): ...",
            r"bad\.py ends the program when it is imported \(SystemExit: 2\), before its function build can be called",
        ),
        (
            "import sys\ndef build(): sys.exit('no data')",
            r"the function build of .*bad\.py ends the program \(SystemExit: no data\)",
        ),
    ],
)
def test_a_script_that_ends_the_program_is_an_error_that_says_what_to_do(text, message, tmp_path):
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        pl.load(f"python:{tmp_path / 'bad.py'}:build")
    assert 'under `if __name__ == "__main__":`' in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*was taken off")
def test_another_network_of_the_same_name_is_no_reason_to_overwrite(place, given, tmp_path):
    """Two projects each have a mymodel.py with a build; so has the same project a week later."""
    other = tmp_path / "other"
    shutil.copytree(place, other)
    layers = (other / "layers.py").read_text(encoding="utf-8")
    (other / "layers.py").write_text(f"{layers}\n# another\n", encoding="utf-8")
    before = {path: path.read_bytes() for path in (place / "mine").rglob("*") if path.is_file()}
    assert len(before) == 4
    with pytest.raises(InputError, match="mine holds another network already"):
        import_network("python", f"{other / 'mymodel.py'}:build", place / "mine", Given(**given))
    assert {path: path.read_bytes() for path in (place / "mine").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("interrupted", [".code", "weights.safetensors", "model.toml"])
def test_a_model_that_is_replaced_is_not_lost_where_the_new_one_cannot_be_written(
    interrupted, place, tmp_path, monkeypatch
):
    """The disk is full at any of its files: the earlier model is whole, and its code is there."""
    folder = tmp_path / "m"
    shutil.copytree(place / "mine", folder)
    before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    model = pl.load(place / "mine", trust_code=True)
    model.source = replace(model.source, code={**model.source.code, "mymodel.py": b"changed = True\n"})
    write, full = Path.write_bytes, OSError(errno.ENOSPC, "No space left on device")

    def write_bytes(path, content):
        if interrupted in str(path.relative_to(folder)):
            raise full
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(InputError, match="the disk is full"):
        save_model(model, folder)
    assert {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    monkeypatch.undo()
    save_model(model, folder)
    assert (folder / "code" / "mymodel.py").read_bytes() == b"changed = True\n"
    assert sorted(path.name for path in folder.iterdir()) == ["code", "model.toml", "weights.safetensors"]


def test_whole_numbers_among_the_parameters_need_no_gradient(tmp_path):
    (tmp_path / "counts.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.table = torch.nn.Parameter(torch.arange(2), requires_grad=False)\n"
        "        self.scale = torch.nn.Parameter(torch.tensor([3.0, -3.0]), requires_grad=False)\n"
        "    def forward(self, images):\n"
        "        return images.mean((1, 2, 3))[:, None] * self.scale[self.table]\n",
        encoding="utf-8",
    )
    given = Given(classes=["a", "b"], preprocess="stretch:8", mean=[0.0], std=[1.0])
    model = import_network("python", f"{tmp_path / 'counts.py'}:Net", tmp_path / "m", given)
    images = torch.tensor([0.2, 0.4]).view(2, 1, 1, 1).expand(2, 1, 8, 8)
    torch.testing.assert_close(model(images), torch.tensor([[0.6, -0.6], [1.2, -1.2]]))
    again = load_model(tmp_path / "m", trust_code=True)
    for net in (model.module, again.module):
        assert [(name, p.requires_grad) for name, p in net.named_parameters()] == [("table", False), ("scale", True)]


def test_settings_are_for_networks_of_others_alone(place):
    with pytest.raises(InputError, match="says itself what its classes"):
        pl.load(place / "mine", classes=["a", "b"], trust_code=True)
    with pytest.raises(InputError, match=r"SOURCE one of python, timm, torchvision"):
        load_model("tim:resnet50")


@pytest.mark.slow
def test_the_commands_take_it(place, pellucid, tmp_path):
    code = f"{place / 'mymodel.py'}:build"
    given = ["--weights", place / "best.ckpt", "--classes", "NORMAL,PNEUMONIA", "--preprocess", "crop:40:32:bicubic"]
    given += ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]
    status, out, err = pellucid("models", "import", "python", code, *given, "--out", tmp_path / "m")
    assert status == 0, err
    for words in ("python:mymodel.py:build", "crop:40:32:bicubic", "2: NORMAL, PNEUMONIA", "best.ckpt, SHA-256"):
        assert words in out
    assert pellucid("models", "import", "python", code, *given, "--out", tmp_path / "m")[0] == 0  # the same again
    status, _, err = pellucid(
        "models", "import", "python", f"{place / 'mymodel.py'}:Wrapped", *given, "--out", tmp_path / "m"
    )
    assert "holds another network already" in str(status) + err
    status, _, err = pellucid("models", "show", tmp_path / "m")
    assert "--trust-code" in str(status) + err
    status, out, _ = pellucid("models", "show", tmp_path / "m", "--trust-code")
    assert status == 0
    assert "NORMAL" in out
    for split in ("train", "test"):
        for name in ("NORMAL", "PNEUMONIA"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for k in range(3):
                pixels = np.random.default_rng(k).integers(0, 256, (50, 44, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / split / name / f"{name}{k}.png")
    judged = ["--data", "folder", "--root", tmp_path / "data", "--trust-code", "--device", "cpu"]
    status, out, err = pellucid("evaluate", tmp_path / "m", *judged, "--out", tmp_path / "evaluated")
    assert status == 0, err
    picture = tmp_path / "data" / "test" / "NORMAL" / "NORMAL0.png"
    status, out, err = pellucid(
        "explain", tmp_path / "m", picture, "--method", "cam,saliency", "--trust-code", "--out", tmp_path / "explained"
    )
    assert status == 0, err


def test_a_mistyped_source_is_said(pellucid, tmp_path):
    status, _, err = pellucid("models", "import", "tim", "resnet50", "--out", tmp_path / "m")
    assert "unknown source 'tim'. Did you mean 'timm'?" in str(status) + err
    status, _, err = pellucid("models", "import", "python", "a.py:b", "--mean", "0,5;1", "--out", tmp_path / "m")
    assert "expected numbers separated by commas" in str(status) + err
    (tmp_path / "none.txt").write_text("\n")
    for classes, message in (("nowhere.txt", "no file nowhere.txt"), (tmp_path / "none.txt", "names no class")):
        status, _, err = pellucid("models", "import", "python", "a.py:b", "--classes", classes, "--out", tmp_path / "m")
        assert message in str(status) + err
