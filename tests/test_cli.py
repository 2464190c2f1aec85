"""Every verb from end to end on a small phantom, as a user types it, and what lies in the folder afterwards."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from helpers.forked import run_forked
from helpers.launch import run_command
from helpers.training import TWO_VARIANTS
from pellucid.cli.method_help import OWN, registered
from pellucid.data import open_dataset
from pellucid.data.cache.pixels import materialize
from pellucid.models import load_model
from pellucid.models.inference import predict
from pellucid.types import InputSpec

OPTIONS = {"size": 32, "train": 48, "validation": 32, "test": 40, "prevalence": 0.4}
PHANTOM = ["--data", "phantom", *(f"--data-option={k}={v}" for k, v in OPTIONS.items())]
NETWORK = [
    "--set=model.name=small",
    "--set=model.size=32",
    "--set=model.options={widths=[4, 8], blocks=[1, 1], strides=[1, 2]}",
]
CPU = ["--device", "cpu"]


TRAIN = ["train", "khakzar2019-robust", *PHANTOM, *NETWORK, *CPU, "--seed", "1"]
TRAIN += ["--set=training.epochs=2", "--set=training.batch_size=16", "--out"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder that the command made."""
    out = tmp_path_factory.mktemp("cli") / "run"
    run_command(*TRAIN, out)
    return out


@pytest.fixture(scope="module")
def held_out():
    return open_dataset("phantom", options=OPTIONS)["test"]


@pytest.mark.slow
def test_train_makes_a_run_folder_and_says_so(tmp_path):
    """In a process of its own, which shows a bar."""
    out = tmp_path / "run"
    done = run_forked(*TRAIN, out, environment={"PELLUCID_PROGRESS": "1"})
    assert done.returncode == 0, done.stderr
    assert {"run.toml", "model.toml", "weights.safetensors", "metrics.jsonl", "metrics.json", "last"} <= {
        p.name for p in out.iterdir()
    }
    assert f"wrote {out / 'weights.safetensors'}" in done.stdout
    assert "validation_auroc" in done.stdout
    assert "6/6" in done.stderr  # the bar, of 3 steps in 2 epochs
    assert "step/s" in done.stderr
    assert [row["epoch"] for row in json.loads((out / "metrics.json").read_text())["rows"]] == [1, 2]


def test_evaluate_writes_the_figures_that_scikit_learn_gives(trained, tmp_path, pellucid, held_out):
    model = trained
    arguments = [
        "evaluate",
        model,
        *PHANTOM,
        *CPU,
        "--attack",
        "pgd:linf=0.005",
        "--attack",
        "pgd:l2=0.5",
        "--steps",
        3,
    ]
    code, output, _ = pellucid(*arguments, "--out", tmp_path)
    assert code == 0
    assert "AUROC" in output.upper()
    found = json.loads((tmp_path / "classification.json").read_text())
    assert found["n"] == 40
    assert found["fingerprint"] == held_out.fingerprint
    logits = predict(load_model(model), materialize(held_out, InputSpec.square(1, 32)))
    rows = {(r["section"], r["metric"], r["class"], r["at"]): r for r in found["rows"]}
    for k, name in enumerate(held_out.classes):
        truth, score = held_out.targets[:, k], logits[:, k]
        assert rows["classification", "auroc", name, ""]["value"] == pytest.approx(roc_auc_score(truth, score))
        precision = rows["classification", "average_precision", name, ""]["value"]
        assert precision == pytest.approx(average_precision_score(truth, score))
    interval = rows["classification", "auroc", "mean", ""]
    assert interval["low"] < interval["value"] < interval["high"]
    assert found["attacks"]["PGD L2 0.5"] == {
        "method": "pgd",
        "steps": 3,
        "gradient_evaluations_per_image": 3.0,
        "forward_passes_per_image": 5.0,
        "masked": 0,
    }
    sizes = {at for section, _, _, at in rows if section == "robustness"}
    assert len(sizes) == 3
    auroc = {at: rows["robustness", "auroc", "mean", at]["value"] for at in sizes}
    assert auroc["0"] == pytest.approx(interval["value"])
    assert all(auroc[at] <= auroc["0"] for at in sizes)
    with (tmp_path / "classification.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == len(found["rows"])
    assert float(lines[0]["value"]) == pytest.approx(found["rows"][0]["value"])


def test_evaluate_gives_the_same_figures_again(trained, tmp_path, pellucid):
    model = trained
    for name in "ab":
        pellucid("evaluate", model, *PHANTOM, *CPU, "--limit", 12, "--seed", 3, "--out", tmp_path / name)
    assert (tmp_path / "a/classification.json").read_text() == (tmp_path / "b/classification.json").read_text()
    assert json.loads((tmp_path / "a/classification.json").read_text())["n"] == 12


def test_localize_writes_scores_beside_those_of_trivial_maps(trained, tmp_path, pellucid, held_out):
    model = trained
    code, output, _ = pellucid("localize", model, *PHANTOM, *CPU, "--method", "cam,saliency", "--out", tmp_path)
    assert code == 0
    assert "Wang et al. 2017" in output
    found = json.loads((tmp_path / "localization.json").read_text())
    annotated = {image for image, _ in held_out.regions.pairs(held_out.classes)}
    assert found["images"] == len(annotated)
    assert set(found["thresholds"]) == set(held_out.classes)
    methods = {r["method"] for r in found["rows"] if r["section"] == "localization"}
    assert methods == {"cam", "saliency", "trivial: uniform", "trivial: centred", "trivial: mean box"}
    rows = {
        (r["section"], r["method"], r["metric"], r["class"], r["gate"], r["at"], r["threshold"]): r
        for r in found["rows"]
    }
    chance = rows["localization", "trivial: uniform", "energy_ratio", "mean", "", "", None]
    assert chance["value"] == pytest.approx(1.0)
    for gate in ("annotated", "predicted"):
        tight = rows["wang", "cam", "accuracy", "mean", gate, "IoBB > 0.9", None]
        loose = rows["wang", "cam", "accuracy", "mean", gate, "IoBB > 0.1", None]
        assert 0 <= tight["value"] <= loose["value"] <= 1
    assert {r["section"] for r in found["rows"]} == {"localization", "wang", "sweep"}
    assert (tmp_path / "localization.csv").is_file()


@pytest.fixture
def two_images(tmp_path, held_out):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(2):
        Image.fromarray(held_out.read(i)).save(folder / f"chest{i}.png")
    (folder / "notes.txt").write_text("no picture")
    return sorted(folder.glob("*.png"))


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "expected"), [("Mass,Nodule", ["Mass", "Nodule"]), ("all", 8), ("top2", 2)])
def test_explain_draws_a_panel_an_image_and_keeps_the_maps(trained, tmp_path, pellucid, two_images, classes, expected):
    model = trained
    out = tmp_path / "explained"
    code, _, _ = pellucid(
        "explain", model, *two_images, *CPU, "--method", "cam,saliency", "--classes", classes, "--out", out
    )
    assert code == 0
    found = json.loads((out / "explain.json").read_text())
    assert [row["image"] for row in found["images"]] == [str(p) for p in two_images]
    network = load_model(model)
    for row, path in zip(found["images"], two_images, strict=True):
        pixels = np.asarray(Image.open(path))[None, None]
        probabilities = 1 / (1 + np.exp(-predict(network, pixels)[0].astype(float)))
        assert list(row["probabilities"].values()) == pytest.approx(probabilities.tolist(), rel=1e-4)
        ranked = sorted(network.classes, key=lambda c: -row["probabilities"][c])
        named = expected if isinstance(expected, list) else ranked[:expected]
        assert sorted(row["explained"]) == sorted(named)
        maps = np.load(out / row["maps"])
        assert sorted(maps.files) == sorted(f"{c}|{m}" for c in named for m in ("cam", "saliency"))
        assert all(maps[name].shape == (32, 32) and np.isfinite(maps[name]).all() for name in maps.files)
        with Image.open(out / row["panel"]) as panel:
            panel.verify()
            assert min(panel.size) > 100
    assert len(list(out.iterdir())) == 2 * len(two_images) + 3  # explain.json, explain.html and boxes.csv


def test_explain_takes_a_folder_and_a_limit_and_keeps_namesakes_apart(trained, tmp_path, pellucid, two_images):
    model = trained
    folder = two_images[0].parent
    code, _, _ = pellucid("explain", model, folder, *CPU, "--method", "cam", "--limit", 1, "--out", tmp_path / "one")
    assert code == 0
    assert {p.name for p in (tmp_path / "one").iterdir()} == {
        "boxes.csv",
        "chest0.png",
        "chest0.npz",
        "explain.html",
        "explain.json",
    }
    (folder / "again").mkdir()
    Image.open(two_images[1]).save(folder / "again" / "chest0.png")
    pellucid("explain", model, two_images[0], folder / "again", *CPU, "--method", "cam", "--out", tmp_path / "two")
    rows = json.loads((tmp_path / "two" / "explain.json").read_text())["images"]
    assert len({row["panel"] for row in rows}) == 2
    assert rows[0]["probabilities"] != rows[1]["probabilities"]


def test_models_show_says_what_a_network_is(trained, pellucid):
    model = trained
    code, output, _ = pellucid("models", "show", model)
    assert code == 0
    for word in ("small", "multilabel", "khakzar2019-robust", "weighted_cross_entropy", "Pneumothorax", "thresholds"):
        assert word in output
    assert pellucid("models", "show", model / "weights.safetensors")[1].count("│ Pneumothorax ") == 1
    code, output, _ = pellucid("models", "show", model, "--json")
    assert json.loads(output)["architecture"]["options"]["widths"] == [4, 8]


def test_models_list_and_data_list_name_what_there_is(pellucid):
    code, output, _ = pellucid("models", "list")
    assert code == 0
    assert all(
        name in output for name in ("densenet121", "fc-densenet103-encoder", "small", "resnet44", "efficientnet-lite0")
    )
    code, output, _ = pellucid("data", "list")
    assert code == 0
    assert all(name in output for name in ("phantom", "chestxray14", "folder", "covid-findings", "cifar10", "licence"))
    assert "  JSRT chest radiographs with and without a lung nodule. 154 films with one nodule, 93 without" in output
    assert "  on disk: train/, val/ and test/, each with NORMAL/*.jpeg and PNEUMONIA/*.jpeg." in output


def test_data_check_counts_a_folder_of_images_and_finds_the_broken_one(tmp_path, pellucid):
    rng = np.random.default_rng(0)
    for name in ("normal", "ill"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 255, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{name}{i}.png")
    arguments = ["data", "check", "folder", "--root", tmp_path / "data", "--out", tmp_path / "checked"]
    code, output, _ = pellucid(*arguments)
    assert code == 0
    assert "20 of 20 images" in output
    assert "nothing is wrong" in output
    assert json.loads((tmp_path / "checked" / "check.json").read_text())
    broken = tmp_path / "data" / "ill" / "ill3.png"
    broken.write_bytes(broken.read_bytes()[:60])
    code, output, _ = pellucid(*arguments)
    assert code == 1
    assert "ill3.png" in output
    assert "nothing is wrong" not in output


def test_data_check_of_no_folder_is_a_problem(tmp_path, pellucid):
    for arguments, expected in (([], "give its folder"), (["--root", tmp_path / "gone"], "no such folder")):
        code, output, _ = pellucid("data", "check", "chestxray14", *arguments)
        assert code == 1
        assert "problem: " in output
        assert expected in output


STUDY = [
    f"--set={TWO_VARIANTS}",
    "--limit=16",
    "--jobs=1",
    "--device=cpu",
    "--set=data.options={size=32, train=32, validation=24, test=24, prevalence=0.4}",
    "--set=settings.model={name='small', size=32, options={widths=[4, 8], blocks=[1, 1], strides=[1, 2]}}",
    "--set=settings.training={epochs=1, batch_size=8}",
    "--set=evaluation.robustness={sizes=['pgd:linf=0.01'], steps=2, limit=8}",
    "--set=evaluation.resamples=100",
    "--set=evaluation.panels=1",
    "--set=evaluation.adversarial.cases=0",
    "--set=evaluation.trust={methods=['cam'], limit=2, samples=1, attacked=1, attack_steps=1}",
]


@pytest.mark.slow
@pytest.mark.usefixtures("empty_charts")
def test_a_study_from_end_to_end_and_not_twice(tmp_path, pellucid):
    out = tmp_path / "study"
    code, output, _ = pellucid("study", "demo", *STUDY, "--out", out)
    assert code == 0
    assert f"open {out / 'report.html'} in a browser" in output
    results = json.loads((out / "results.json").read_text())
    assert [v["label"] for v in results["variants"]] == ["baseline", "robust"]
    assert results["limit"] == 16
    assert "Only 16 images" in results["limits"][0]
    assert {r["section"] for r in results["rows"]} == {"classification", "robustness", "localization", "wang", "sweep"}
    assert all(math.isfinite(r["value"]) for r in results["rows"] if r["value"] is not None)
    page = (out / "report.html").read_text()
    assert "<html" in page
    assert results["title"] in page
    assert "robust" in page
    assert list((out / "tables").glob("*.csv"))
    assert {p.name for p in (out / "runs").iterdir()} == {"baseline-seed0", "robust-seed0"}

    def stamps(folder):
        return {p: p.stat().st_mtime_ns for p in (out / folder).rglob("*") if p.is_file()}

    before = stamps("runs"), stamps("evaluations")
    time.sleep(0.02)
    code, _, _ = pellucid("study", "demo", *STUDY, "--out", out)
    assert code == 0
    assert (stamps("runs"), stamps("evaluations")) == before  # nothing trained and nothing judged again
    again = json.loads((out / "results.json").read_text())
    assert again["rows"] == results["rows"]


def python(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "100", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


HELPS = """
import sys
from contextlib import redirect_stdout
from io import StringIO
import typer

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "numpy", "scipy", "sklearn", "matplotlib", "kornia", "accelerate"}:
            raise AssertionError(f"{name} is imported")

sys.meta_path.insert(0, Refuse())
from pellucid.cli.app import app

def commands(group, words):
    yield words
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, [*words, name])

top = typer.main.get_command(app)
for words in commands(top, []):
    with redirect_stdout(StringIO()) as text:
        top.main([*words, "--help"], prog_name="pellucid", standalone_mode=False)
    assert "--help" in text.getvalue(), words
    print(" ".join(words))
"""


def test_no_help_imports_torch():
    """Every command's, in one process in which torch and its like cannot be imported."""
    helped = python(HELPS).splitlines()
    verbs = {"demo", "study", "train", "audit", "evaluate", "localize", "explain", "trust", "annotate serve"}
    assert verbs <= set(helped)


@pytest.mark.parametrize("words", ["pellucid ", "pellucid explain --", "pellucid annotate serve --da"])
def test_completion_in_a_shell_imports_no_torch(words):
    code = "import sys; sys.argv = ['pellucid']\nfrom pellucid.cli.app import main\ntry: main()\nfinally: "
    output = python(
        code + "print('torch' in sys.modules)",
        _PELLUCID_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split(" ")) - 1),
    ).splitlines()
    assert output[-1] == "False"
    assert {"pellucid ": "explain", "pellucid explain --": "--method"}.get(words, "--data") in output


def test_help_names_the_methods_that_there_are():
    """What the help says without torch, beside the registries."""
    assert {word: registered(word) for word in OWN} == OWN


@pytest.mark.slow
def test_importing_the_package_imports_nothing_but_itself():
    code = (
        "import sys, pellucid\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('torch', 'numpy', 'pydantic', 'pellucid')))\n"
        "print(pellucid.types.Box(0, 0, 2, 3).area, 'torch' in sys.modules, pellucid.attacks.fgsm.__name__)\n"
        "print('torch' in sys.modules)"
    )
    first, second, third = python(code).splitlines()
    assert first == "['pellucid', 'pellucid.utils', 'pellucid.utils.process_settings']"  # of the C library
    assert second == "6 False fgsm"
    assert third == "True"


@pytest.mark.slow
def test_verbs_wait_for_no_library_that_they_may_not_use():
    code = (
        "import sys, pellucid\n"
        "print(*[name for name, place in pellucid.VERBS.items() if getattr(pellucid, name)])\n"
        "print(sorted({'scipy.stats', 'sklearn', 'pandas', 'kornia', 'captum'} & set(sys.modules)))"
    )
    verbs, loaded = python(code).splitlines()
    assert {"train", "evaluate", "audit", "study"} <= set(verbs.split())
    assert loaded == "[]"


def test_it_runs_as_a_module():
    command = [sys.executable, "-m", "pellucid", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith("pellucid ")


def test_the_version_is_said(pellucid):
    import pellucid as package

    assert pellucid("--version")[:2] == (0, f"pellucid {package.__version__}\n")


@pytest.mark.parametrize("command", ["train", "evaluate", "discover", "audit"])
def test_help_says_where_datasets_and_networks_are_listed(command, pellucid):
    status, output, _ = pellucid(command, "--help")
    text = " ".join(output.replace("│", " ").split())
    assert status == 0
    assert "pellucid data list" in text
    assert ("pellucid models list" if command == "train" else "pellucid models import --help") in text
