"""Bad input on the command line: a status that is not 0, one message that says what to do, and nothing half-written."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings

import pytest
import torch
from PIL import Image

from helpers.models import small
from pellucid.cli.app import main
from pellucid.data.readers.phantom.findings import PHANTOM_CLASSES
from pellucid.models.weights import save_model

PHANTOM = ["--data", "phantom", "--data-option=size=32", "--data-option=train=16", "--data-option=test=16"]
CPU = ["--device", "cpu"]


@pytest.fixture
def refused(monkeypatch, capsys):
    """Run the command, which must fail; gives its one message."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setenv("PELLUCID_PROGRESS", "0")
    monkeypatch.setenv("COLUMNS", "1000")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["pellucid", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:  # any other exception would be a traceback for the user
            main()
        output = capsys.readouterr()
        if isinstance(ended.value.code, str):  # what Python itself prints then, with status 1
            message = ended.value.code
            assert message.startswith("pellucid: ")
            assert output.err == ""
        else:
            assert ended.value.code == 2  # the command line could not be read
            message = output.err
            assert message.count("Error") == 1
        assert "Traceback" not in message
        assert "wrote" not in output.out
        return message

    return run


def save(folder, **options):
    return save_model(
        small(classes=PHANTOM_CLASSES, **options), folder, extra={"thresholds": [0.5] * len(PHANTOM_CLASSES)}
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("models") / "run")


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "chest.png"
    Image.linear_gradient("L").save(path)
    return path


@pytest.fixture
def out(tmp_path):
    """Where a command would write; nothing may be there when it failed."""
    folder = tmp_path / "results" / "out"
    yield folder
    assert not folder.parent.exists()


def verbs(model, image, out):
    return [
        ["evaluate", model, *PHANTOM, *CPU, "--out", out],
        ["localize", model, *PHANTOM, *CPU, "--out", out],
        ["explain", model, image, *CPU, "--out", out],
        ["models", "show", model],
    ]


def test_no_such_model(tmp_path, image, out, refused):
    for command in verbs(tmp_path / "gone", image, out):
        message = refused(*command)
        assert str(tmp_path / "gone") in message
        assert "give a run folder" in message


def test_a_folder_that_is_no_run(tmp_path, image, out, refused):
    for command in verbs(tmp_path, image, out):
        message = refused(*command)
        assert str(tmp_path) in message
        assert "no model.toml" in message


def test_weights_of_another_network(tmp_path, model, image, out, refused):
    shutil.copytree(model, tmp_path / "mixed")
    other = save(tmp_path / "other", blocks=[1, 2], widths=[4, 16])
    shutil.copy(other / "weights.safetensors", tmp_path / "mixed")
    for command in verbs(tmp_path / "mixed", image, out):
        message = refused(*command)
        assert "another network" in message
        assert "backbone.stages.1.1.conv1.weight" in message  # unexpected
        assert "running_mean (16 instead of 8)" in message
        assert str(tmp_path / "mixed" / "weights.safetensors") in message


def test_weights_cut_off(tmp_path, model, image, out, refused):
    shutil.copytree(model, tmp_path / "cut")
    file = tmp_path / "cut" / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:500])
    for command in verbs(tmp_path / "cut", image, out):
        assert f"{file} is not a readable weights file" in refused(*command)


def test_a_model_card_that_is_no_toml(tmp_path, model, image, out, refused):
    shutil.copytree(model, tmp_path / "spoilt")
    (tmp_path / "spoilt" / "model.toml").write_text("classes = [")
    for command in verbs(tmp_path / "spoilt", image, out):
        assert "model.toml is not valid TOML" in refused(*command)


def test_unknown_names_come_with_the_nearest(model, image, out, refused):
    for verb in (["train", "standard"], ["evaluate", model], ["localize", model]):
        assert "Did you mean 'phantom'?" in refused(*verb, "--data", "fantom", "--out", out)
    assert "Did you mean 'phantom'?" in refused("data", "check", "phanton")
    for method in ("grad-can", "cam,grad-can"):
        assert "Did you mean 'grad-cam'?" in refused("localize", model, *PHANTOM, "--method", method, "--out", out)
        assert "Did you mean 'grad-cam'?" in refused("explain", model, image, "--method", method, "--out", out)
    message = refused("explain", model, image, *CPU, "--classes", "Nodul", "--out", out)
    assert "unknown class 'Nodul'" in message
    assert "Did you mean 'Nodule'?" in message
    assert "Did you mean 'khakzar2019-robust" in refused("train", "khakzar2019-robus", *PHANTOM, "--out", out)
    assert "Did you mean 'pneumonia'?" in refused("study", "pnuemonia", "--out", out)
    assert "has no 'tset' part" in refused("evaluate", model, *PHANTOM, *CPU, "--split", "tset", "--out", out)


@pytest.mark.parametrize("classes", ["top0", "topmost", ",", "Mass,Nodul"])
def test_classes_that_name_none(model, image, out, refused, classes):
    assert "class" in refused("explain", model, image, *CPU, "--classes", classes, "--out", out)


def test_a_dataset_of_other_classes(tmp_path, model, out, refused):
    for name in ("cat", "dog"):
        (tmp_path / "data" / "test" / name).mkdir(parents=True)
        (tmp_path / "data" / "train" / name).mkdir(parents=True)
        for i in range(3):
            for part in ("train", "test"):
                Image.new("L", (8, 8), 40 * i).save(tmp_path / "data" / part / name / f"{part}{name}{i}.png")
    message = refused("evaluate", model, "--data", "folder", "--root", tmp_path / "data", *CPU, "--out", out)
    assert "Atelectasis" in message
    assert "cat, dog" in message
    message = refused("localize", model, "--data", "folder", "--root", tmp_path / "data", *CPU, "--out", out)
    assert "no boxes or masks" in message
    assert "--region" in message


def test_a_region_that_nobody_marked(model, out, refused):
    message = refused("localize", model, *PHANTOM, *CPU, "--region", "Mass=Lesion", "--out", out)
    assert "marks no 'Lesion'" in message
    message = refused("localize", model, *PHANTOM, *CPU, "--region", "Mas=Mass", "--out", out)
    assert "Did you mean 'Mass'?" in message


def test_pictures_that_are_none(tmp_path, model, image, out, refused):
    (tmp_path / "empty").mkdir()
    cut = tmp_path / "cut.png"
    cut.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    text = tmp_path / "text.png"
    text.write_text("this is no picture")
    nothing = tmp_path / "nothing.png"
    nothing.write_bytes(b"")
    for path in (tmp_path / "gone.png", cut, text, nothing, tmp_path / "empty"):
        message = refused("explain", model, image, path, *CPU, "--out", out)  # the good one is not explained either
        assert str(path) in message


def test_a_broken_picture_among_the_training_images(tmp_path, out, refused):
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(12):
            Image.linear_gradient("L").resize((40 + i, 40)).save(tmp_path / "data" / name / f"{name}{i}.png")
    for file in (tmp_path / "data" / "a").iterdir():
        file.write_bytes(file.read_bytes()[:80])
    command = ["train", "standard", "--data", "folder", "--root", tmp_path / "data", *CPU, "--set=model.size=32"]
    assert str(tmp_path / "data" / "a" / "a") in refused(*command, "--out", out)


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("model.size=0", ["model.size", "found 0"]),
        ("model.size=-64", ["model.size", "found -64"]),
        ("objective.attack.size.linf=0", ["objective.attack.size.linf", "greater than 0"]),
        ("objective.atack.steps=2", ["Did you mean 'attack'?"]),
        ("training.epochs", ["expected key=value"]),
        ("training.select=auc", ["Did you mean 'auroc'?"]),
        ("objective.loss=cross_entropy", ["not for a multilabel task", "weighted_cross_entropy"]),
        ("model.pretrained=/nowhere/weights.pth", ["/nowhere/weights.pth"]),
    ],
)
def test_a_recipe_that_cannot_be(out, refused, override, parts):
    message = refused(
        "train", "khakzar2019-robust", *PHANTOM, *CPU, "--set=model.name=small", "--set", override, "--out", out
    )
    for part in parts:
        assert part in message


def test_a_recipe_file_with_a_misspelt_key(tmp_path, out, refused):
    (tmp_path / "mine.toml").write_text('base = "standard"\nname = "mine"\ntitle = "Mine"\n[training]\nepoch = 3\n')
    message = refused("train", tmp_path / "mine.toml", *PHANTOM, "--out", out)
    assert "mine.toml: unknown key 'training.epoch'. Did you mean 'epochs'?" in message


@pytest.mark.parametrize(
    ("option", "parts"),
    [
        ("size=0", ["size", "found 0"]),
        ("sise=64", ["Did you mean 'size'?"]),
        ("prevalence=2", ["prevalence", "found 2"]),
        ("shortcuts.letter.finding=Masses", ["Did you mean 'Mass'?"]),
        ("size", ["expected key=value"]),
    ],
)
def test_options_of_the_data_that_cannot_be(out, refused, option, parts):
    message = refused("train", "standard", "--data", "phantom", "--data-option", option, "--out", out)
    for part in parts:
        assert part in message


@pytest.mark.parametrize("attack", ["linf=0", "linf=-1", "0.1", "linff=0.1", "linf=much"])
def test_an_attack_that_cannot_be(model, out, refused, attack):
    message = refused("evaluate", model, *PHANTOM, *CPU, "--attack", attack, "--out", out)
    assert attack.split("=")[0] in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_device_that_is_not_there(model, image, out, refused):
    study = ["--set=data.options={size=32, train=8, validation=8, test=8}"]
    for command in (
        ["train", "standard", *PHANTOM],
        ["evaluate", model, *PHANTOM],
        ["localize", model, *PHANTOM],
        ["explain", model, image],
        ["study", "demo", *study],
        ["demo", *study],
    ):
        message = refused(*command, "--device", "cuda", "--out", out)
        assert "--device cuda" in message
        assert "auto" in message
        assert "found 'gpu'" in refused(*command, "--device", "gpu", "--out", out)


def test_data_without_its_folder(tmp_path, model, out, refused):
    for verb in (["train", "standard"], ["evaluate", model], ["localize", model]):
        message = refused(*verb, "--data", "chestxray14", *CPU, "--out", out)
        assert "give its folder" in message
        message = refused(*verb, "--data", "chestxray14", "--root", tmp_path / "gone", *CPU, "--out", out)
        assert f"{tmp_path / 'gone'}: no such folder" in message
    assert "kermany2018" in refused("study", "pneumonia", "--out", out)


def test_numbers_that_are_not_positive(model, image, out, refused):
    for command in (
        ["train", "standard", *PHANTOM],
        ["evaluate", model, *PHANTOM],
        ["localize", model, *PHANTOM],
        ["explain", model, image],
        ["study", "demo"],
        ["demo"],
    ):
        for value in ("0", "-3", "few"):
            message = refused(*command, "--limit", value, "--out", out)
            assert "--limit" in message
    assert "--seed" in refused("train", "standard", *PHANTOM, "--seed", "-1", "--out", out)
    assert "--batch-size" in refused("evaluate", model, *PHANTOM, "--batch-size", "0", "--out", out)


def test_a_file_in_place_of_the_folder(tmp_path, model, image, refused):
    file = tmp_path / "mine.txt"
    file.write_text("mine")
    for command in (
        ["train", "standard", *PHANTOM],
        ["evaluate", model, *PHANTOM],
        ["localize", model, *PHANTOM],
        ["explain", model, image],
        ["data", "check", "phantom"],
        ["study", "demo"],
        ["demo"],
    ):
        message = refused(*command, "--out", file)
        assert str(file) in message
        assert "is a file" in message
    assert file.read_text() == "mine"


def test_a_run_that_is_there_already(model, refused, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.toml").write_text("seed = 0\n")
    command = ["train", "standard", *PHANTOM, "--set=model.size=32", *CPU, "--out", tmp_path / "run"]
    assert "Add --resume" in refused(*command)
    assert (tmp_path / "run" / "run.toml").read_text() == "seed = 0\n"
    (tmp_path / "run" / "run.toml").write_text("seed = [")
    assert "run.toml is damaged (it is not valid TOML" in refused(*command, "--resume")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("evaluation.methods=['cam', 'gradcam']", ["Did you mean 'grad-cam'?"]),
        ("settings.model.size=0", ["model.size"]),
        ("settings.model.name=smal", ["Did you mean 'small'?"]),
        ("settings.objective.loss=cross_entropy", ["not for a multilabel task"]),
        ("seeds=[1, 1]", ["seeds must differ"]),
        (
            "variants=[{recipe='standard', label='y'}, {recipe='standart', label='x'}]",
            ["Did you mean 'standard'?"],
        ),
        ("data.name=fantom", ["Did you mean 'phantom'?"]),
        ("data.options.sise=32", ["Did you mean 'size'?"]),
        (
            "variants=[{recipe='standard', label='x'}, "
            "{recipe='standard', label='y', settings={model={options={width=3}}}}]",
            ["Did you mean 'widths'?"],  # of the second variant, before the first is trained
        ),
    ],
)
def test_a_study_that_cannot_be_is_refused_before_anything_is_trained(out, refused, override, parts):
    message = refused("study", "demo", "--set", override, *CPU, "--out", out)
    for part in parts:
        assert part in message


@pytest.mark.slow
def test_what_a_user_sees_of_an_error_is_one_line(tmp_path):
    """In a process of its own: the status, and the message on the error stream."""
    done = subprocess.run(
        [sys.executable, "-m", "pellucid.cli.app", "models", "show", str(tmp_path / "gone")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("pellucid: no model at")
    assert len(done.stderr.strip().splitlines()) == 1
