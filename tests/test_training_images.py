"""What a network was trained on is known again wherever it lies; commands that judge refuse it, or count it."""

from __future__ import annotations

import json
import shutil
import tomllib

import numpy as np
import pytest
import tomli_w
from PIL import Image

from helpers.training_record import CPU, NETWORK, QUICK, images_of, trained_on
from pellucid.data import open_dataset
from pellucid.data.registry import dataset_names, get_entry
from pellucid.evaluation.training_images import other_options
from pellucid.models.training_record import TrainingRecord
from pellucid.models.weights import load_model, read_training_record, save_model
from pellucid.types import InputError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("empty_charts")]

ALLOW = "--allow-training-images"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return images_of(tmp_path_factory.mktemp("images") / "own")


@pytest.fixture(scope="module")
def model(folder, tmp_path_factory):
    return trained_on(folder, tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture(scope="module")
def parts(folder):
    return {name: set(part.ids) for name, part in open_dataset("folder", folder).items()}


@pytest.mark.parametrize("name", dataset_names())
def test_options_in_force_come_back_from_a_record_as_they_were(name):
    needed = {"shards": {"url": "somewhere"}}
    options = get_entry(name).resolve(needed.get(name))
    assert tomllib.loads(tomli_w.dumps(options)) == options  # so that the same options are not "opened otherwise"


def judge(pellucid, command, model, root, out, *more):
    whole = "--data-option=test_fraction=1"
    return pellucid(
        command, model, "--data", "folder", "--root", root, whole, *QUICK[command], *CPU, "--out", out, *more
    )


def counted(path):
    results = json.loads(path.read_text())
    return results.get("about", results)["training_images"]


@pytest.mark.parametrize("command", list(QUICK))
def test_every_command_that_judges_refuses_what_was_trained_on_or_counts_it(
    command, model, folder, parts, tmp_path, pellucid
):
    out = tmp_path / "out"
    code, output, _ = judge(pellucid, command, model, folder, out)
    trained, selected = len(parts["train"]), len(parts["validation"])
    assert f"was trained on {trained} of the 80 images of folder/test" in code
    assert "test_fraction = 0.2 → 1.0" in code  # what was opened otherwise
    assert ALLOW in code
    assert output == ""
    assert not out.exists()
    code, _, messages = judge(pellucid, command, model, folder, out, ALLOW)
    assert code == 0
    found = counted(out / ("classification.json" if command == "evaluate" else f"{command}.json"))
    assert found["trained_on"] == trained
    assert found["selected_on"] == selected
    assert found["images"] == 80
    assert f"{trained} of the 80 images are images that {model} was trained on" in messages
    assert f"{selected} of the 80 images chose the checkpoint and thresholds" in messages


def test_the_part_that_training_left_out_is_judged_without_a_word(model, folder, tmp_path, pellucid):
    code, _, messages = pellucid("evaluate", model, "--data", "folder", "--root", folder, *CPU, "--out", tmp_path)
    assert (code, messages) == (0, "")
    assert counted(tmp_path / "classification.json") == {
        "images": len(open_dataset("folder", folder)["test"]),
        "trained_on": 0,
        "selected_on": 0,
        "unknown": [],
        "other_options": [],
    }


def test_how_many_images_are_drawn_is_no_other_option():
    few, many = ({"size": 32, "train": n, "validation": n, "test": n} for n in (4, 9))
    first, second = (open_dataset("phantom", options=options)["test"] for options in (few, many))
    stages = [{"dataset": "phantom", "options": first.options}]
    assert other_options(stages, second) == ()
    assert all(np.array_equal(first.read(i), second.read(i)) for i in range(4))  # they are the same images
    larger = open_dataset("phantom", options=many | {"size": 48})["test"]
    assert other_options(stages, larger) == ("size = 32 → 48",)


def test_validation_images_are_counted_and_not_refused(model, folder, parts, tmp_path, pellucid):
    place = ["--data", "folder", "--root", folder, "--split", "validation"]
    code, _, messages = pellucid("evaluate", model, *place, *CPU, "--out", tmp_path)
    assert code == 0
    found = counted(tmp_path / "classification.json")
    assert (found["trained_on"], found["selected_on"]) == (0, len(parts["validation"]))
    assert "flatter it" in messages


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_a_copy_under_other_names_and_compressed_otherwise_is_known_again(
    suffix, model, folder, parts, tmp_path, pellucid
):
    for number, path in enumerate(sorted(folder.glob("*/*.png"))):
        place = tmp_path / "copy" / path.parent.name
        place.mkdir(parents=True, exist_ok=True)
        Image.open(path).save(place / f"other-{number:03d}{suffix}")
    code, _, _ = judge(pellucid, "evaluate", model, tmp_path / "copy", tmp_path / "out")
    assert f"was trained on {len(parts['train'])} of the 80 images" in code


def test_other_images_of_the_same_names_are_others(model, tmp_path, pellucid):
    other = images_of(tmp_path / "other", seed=1)
    code, _, _ = judge(pellucid, "evaluate", model, other, tmp_path / "out")
    assert code == 0
    found = counted(tmp_path / "out" / "classification.json")
    assert (found["images"], found["trained_on"], found["selected_on"]) == (80, 0, 0)


def test_the_record_holds_what_the_parts_hold(model, folder, parts):
    card = tomllib.loads((model / "model.toml").read_text())["training_record"]
    assert card["trained_on"] == card["stages"][0]["train"]["images"] == len(parts["train"])
    assert card["selected_on"] == card["stages"][0]["validation"]["images"] == len(parts["validation"])
    options = {"validation": "split", "validation_fraction": 0.1, "test_fraction": 0.2, "numbering": "global"}
    assert card["stages"][0]["options"] == {**options, "bits": 8, "seed": 0}  # in force, though none was typed
    assert card["stages"][0]["pixels"] == {"channels": 1, "preprocess": "stretch:32:bilinear", "bits": 8}
    assert read_training_record(model / "last").trained.content.tolist() == (
        read_training_record(model).trained.content.tolist()
    )


def test_models_show_tells_the_record(model, parts, pellucid):
    code, output, _ = pellucid("models", "show", model)
    assert code == 0
    assert f"folder: {len(parts['train'])} images, selected on {len(parts['validation'])}" in " ".join(output.split())
    assert "bits = 8" in output


@pytest.mark.parametrize("damage", ["gone", "altered", "of another"])
def test_a_record_that_does_not_fit_is_named(damage, model, folder, tmp_path, pellucid):
    broken = tmp_path / "run"
    shutil.copytree(model, broken)
    file = broken / "training_images.npz"
    if damage == "gone":
        file.unlink()
    else:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content if damage == "altered" else b"")
    code, _, _ = pellucid("evaluate", broken, "--data", "folder", "--root", folder, *CPU, "--out", tmp_path / "out")
    assert str(file) in code
    assert ("is not there" if damage == "gone" else "is not the file that model.toml was written for") in code
    assert not (tmp_path / "out").exists()


def test_of_a_model_without_a_record_it_is_said_that_nothing_is_known(model, folder, tmp_path, pellucid):
    old = save_model(load_model(model), tmp_path / "old")
    assert not (old / "training_images.npz").exists()
    code, _, messages = judge(pellucid, "evaluate", old, folder, tmp_path / "out")
    assert code == 0
    assert "has no record of the images that it was trained on" in messages
    found = counted(tmp_path / "out" / "classification.json")
    assert (found["trained_on"], found["selected_on"]) == (None, None)
    assert found["unknown"] == ["has no record of the images that it was trained on"]


def test_fine_tuning_keeps_the_images_of_the_network_it_starts_from(model, folder, parts, tmp_path, pellucid):
    new = images_of(tmp_path / "new", 40, seed=2)
    place = ["--data", "folder", "--root", new, "--set=training.batch_size=8", *CPU]
    code, _, _ = pellucid("train", "standard", *place, "--init", model, "--out", tmp_path / "tuned")
    assert code == 0
    code, _, _ = judge(pellucid, "evaluate", tmp_path / "tuned", folder, tmp_path / "out")
    assert f"was trained on {len(parts['train'])} of the 80 images" in code
    record = read_training_record(tmp_path / "tuned")
    own = open_dataset("folder", new)
    assert len(record.trained) == len(parts["train"]) + len(own["train"])
    assert len(record.selected) == len(parts["validation"]) + len(own["validation"])


def test_fine_tuning_of_a_network_without_a_record_says_so(model, folder, tmp_path, pellucid):
    old = save_model(load_model(model), tmp_path / "old")
    place = ["--data", "folder", "--root", folder, "--set=training.batch_size=8", *CPU]
    code, _, _ = pellucid("train", "standard", *place, "--init", old, "--out", tmp_path / "tuned")
    assert code == 0
    code, _, messages = pellucid(
        "evaluate", tmp_path / "tuned", "--data", "folder", "--root", folder, *CPU, "--out", tmp_path / "out"
    )
    assert code == 0
    assert "nobody recorded which images those were trained on" in messages
    assert counted(tmp_path / "out" / "classification.json")["trained_on"] == 0


@pytest.mark.parametrize("change", ["size", "bits"])
def test_images_that_an_earlier_training_saw_as_other_pixels_are_not_passed_over(
    change, model, folder, parts, tmp_path, pellucid
):
    """None of their hashes is found now: what was learned from them is said, not counted as nothing."""
    new = images_of(tmp_path / "new", 40, seed=2, deep=change == "bits")
    how = [*CPU, "--set=training.batch_size=8"]
    if change == "size":
        how += [*NETWORK, f"--set=model.pretrained={model / 'weights.safetensors'}", "--set=model.size=40"]
        then, now = (f"preprocess = stretch:{size}:bilinear" for size in (32, 40))
    else:
        how += ["--init", model, "--data-option=bits=16"]
        then, now = "bits = 8", "bits = 16"
    out = tmp_path / "second"
    code, _, messages = pellucid("train", "standard", "--data", "folder", "--root", new, *how, "--out", out)
    assert code == 0
    before = len(parts["train"])
    said = f"was trained before on {before} images of folder with {then}, and takes images with {now} now"
    assert f"the network {said}" in messages
    bits = ["--data-option=bits=16"] if change == "bits" else []
    code, _, messages = judge(pellucid, "evaluate", out, folder, tmp_path / "out", *bits)
    assert code == 0
    assert f"{out} {said}" in messages
    found = counted(tmp_path / "out" / "classification.json")
    assert found["trained_on"] == 0
    assert [phrase.partition(":")[0] for phrase in found["unknown"]] == [said.partition(":")[0]]


def test_only_trainings_with_other_pixels_than_the_last_are_not_recognised():
    def stage(name, size, **decoding):
        part = {"images": 3, "fingerprint": "0"}
        pixels = {"channels": 1, "preprocess": f"stretch:{size}:bilinear", **decoding}
        return TrainingRecord(({"dataset": name, "options": {}, "pixels": pixels, "train": part, "validation": part},))

    first, second, third = (
        stage("a", 32, bits=8),
        stage("b", 64, bits=8, window=1),
        stage("c", 32, bits=8, frame="default"),
    )
    assert first.unrecognised == ()
    assert [p.split(" with ")[0] for p in second.after(first).unrecognised] == ["was trained before on 3 images of a"]
    (phrase,) = third.after(second.after(first)).unrecognised  # as the first one saw them, it sees them again
    assert "images of b" in phrase
    assert third.after(second.after(first)).decoding == {"bits": 8, "frame": "default"}


def test_validation_images_that_the_first_network_was_trained_on_are_told(model, folder, parts, tmp_path, pellucid):
    place = ["--data", "folder", "--root", folder, "--data-option=validation_fraction=0.5"]
    code, _, messages = pellucid(
        "train", "standard", *place, "--set=training.batch_size=8", *CPU, "--init", model, "--out", tmp_path / "tuned"
    )
    assert code == 0
    again = set(open_dataset("folder", folder, options={"validation_fraction": 0.5})["validation"].ids) & parts["train"]
    assert f"trained before on {len(again)} of the" in messages
    assert "validation figures flatter it" in messages


def test_the_phantom_is_known_by_its_ids_at_another_size_of_the_whole(tmp_path, pellucid):
    options = ["--data", "phantom", "--data-option=size=32", "--data-option=prevalence=0.4"]
    options += ["--data-option=validation=32", "--data-option=test=24"]
    assert (
        pellucid("train", "standard", *options, "--data-option=train=48", *NETWORK, "--out", tmp_path / "run")[0] == 0
    )
    place = [*options, "--data-option=train=60", "--split", "train", *CPU]  # twelve images more than were learned from
    code, _, _ = pellucid("evaluate", tmp_path / "run", *place, "--out", tmp_path / "out")
    assert "was trained on 48 of the 60 images of phantom/train" in code
    code, _, messages = pellucid("evaluate", tmp_path / "run", *options, "--out", tmp_path / "test", *CPU)
    assert code == 0
    assert messages == ""  # that training drew fewer images changes none of these


def test_the_recipe_for_annotation_judged_without_its_option(real_data, tmp_path, pellucid):
    root = ["--data", "chestxray14", "--root", real_data / "chestxray14"]
    code, _, _ = pellucid(
        "train", "standard", *root, "--data-option=boxed_for_training=0.5", *NETWORK, "--out", tmp_path / "run"
    )
    assert code == 0
    code, _, _ = pellucid("localize", tmp_path / "run", *root, "--method", "saliency", *CPU, "--out", tmp_path / "out")
    boxed = {i for i, _ in open_dataset("chestxray14", real_data / "chestxray14")["test"].regions.pairs()}
    again = open_dataset("chestxray14", real_data / "chestxray14", options={"boxed_for_training": 0.5})
    moved = len(boxed) - len({i for i, _ in again["test"].regions.pairs()})
    assert f"was trained on {moved} of the {len(boxed)} images" in code
    assert "boxed_for_training = 0.5 → 0.0" in code


def test_explain_says_what_it_is_shown_and_refuses_nothing(model, folder, parts, tmp_path, pellucid):
    some = [folder / name for name in sorted(parts["train"])[:3]]
    code, _, messages = pellucid("explain", model, *some, "--method", "saliency", *CPU, "--out", tmp_path)
    assert code == 0
    assert f"3 of the 3 images are images that {model} was trained on." in messages
    assert counted(tmp_path / "explain.json")["trained_on"] == 3


def test_a_stable_id_is_enough_and_a_missing_one_matches_nothing():
    from pellucid.models.training_record import ImageHashes

    content = np.arange(64, dtype=np.uint8).reshape(4, 16)
    ids = np.zeros((4, 16), dtype=np.uint8)
    ids[0] = 7
    seen = ImageHashes(content[:2], ids[:2])
    assert seen.hold(ImageHashes(content[2:], ids[2:])).tolist() == [False, False]
    assert seen.hold(ImageHashes(content[[2, 1]], ids[[0, 3]])).tolist() == [True, True]
    assert len(seen | seen) == 2


def test_a_table_in_the_card_that_is_damaged_is_named(model, tmp_path):
    broken = tmp_path / "run"
    shutil.copytree(model, broken)
    lines = (broken / "model.toml").read_text().splitlines(keepends=True)
    text = "".join(line for line in lines if not line.startswith("sha256"))  # the card's own digest
    (broken / "model.toml").write_text(text.replace("images_sha256", "images_sha"))
    with pytest.raises(InputError, match=r"training_record\.images_sha256"):
        read_training_record(broken)
