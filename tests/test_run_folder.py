"""What a finished run's folder holds: the record, the card, the best and the last network, the metrics, the state."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from helpers.training import SMALL, run
from pellucid.data import open_dataset
from pellucid.data.cache.pixels import materialize
from pellucid.evaluation.metrics.validation import ValidationScorer
from pellucid.models import load_model
from pellucid.models.inference import predict
from pellucid.models.weights import read_model_card
from pellucid.training import load_recipe, train
from pellucid.types import InputSpec


def test_the_run_folder_says_everything(finished, phantom):
    values = tomllib.loads((finished.path / "run.toml").read_text())
    assert values["seed"] == 7
    assert values["finished"] is True
    assert values["device"].startswith("cpu")
    assert values["processes"] == 1
    assert values["recipe"]["model"]["options"]["widths"] == [4, 8]
    assert values["recipe"]["objective"]["attack"]["size"] == {"linf": 0.005}
    assert values["recipe"]["optimizer"]["name"] == "adamw"  # defaults are resolved
    assert values["versions"]["torch"] == torch.__version__
    for part in ("train", "validation"):
        assert values["data"][part]["fingerprint"] == phantom[part].fingerprint
        assert values["data"][part]["images"] == len(phantom[part])
    names = {p.name for p in finished.path.iterdir()}
    network = {"weights.safetensors", "model.toml", "training_images.npz"}
    assert names == {"run.toml", "metrics.jsonl", "last", "state"} | network
    assert {p.name for p in (finished.path / "last").iterdir()} == network


def test_a_chest_is_not_mirrored_and_the_record_says_so(phantom, tmp_path):
    with pytest.warns(UserWarning, match="augment.flip is 0. If they may be"):
        plain = run(phantom, tmp_path / "a", "training.epochs=1", "model.channels=1", name="woods2019-standard")
    assert plain.read()["recipe"]["augment"] == {**plain.read()["recipe"]["augment"], "pad": 4, "flip": 0.0}
    things = {p: replace(d, card=replace(d.card, mirrorable=True)) for p, d in phantom.items()}
    mirrored = run(things, tmp_path / "b", "training.epochs=1", "model.channels=1", name="woods2019-standard")
    assert mirrored.read()["recipe"]["augment"]["flip"] == 0.5
    record = {p: d["fingerprint"] for p, d in mirrored.read()["data"].items()}
    assert record == {p: d["fingerprint"] for p, d in plain.read()["data"].items()}


def test_the_card_carries_what_a_user_of_the_network_needs(finished, phantom):
    card = read_model_card(finished.path)
    known = phantom["train"].targets
    assert card["classes"] == list(phantom["train"].classes)
    assert card["loss"] == "weighted_cross_entropy"
    assert card["data_fingerprint"] == phantom["train"].fingerprint
    assert card["label_frequencies"] == pytest.approx(known.mean(0).tolist())
    share = known.mean()
    q = known.mean(0)
    assert card["best_constant"] == pytest.approx((q / share / (q / share + (1 - q) / (1 - share))).tolist(), rel=1e-4)
    assert len(card["thresholds"]) == 8
    assert all(0 <= t <= 1 for t in card["thresholds"])


def test_the_checkpoint_is_the_best_by_validation_auroc(finished, phantom):
    rows = finished.metrics()
    assert [row["epoch"] for row in rows] == [1, 2]
    card = read_model_card(finished.path)
    best = max(rows, key=lambda row: row["validation_auroc"])
    assert (card["epoch"], card["selected_by"], card["score"]) == (best["epoch"], "auroc", best["validation_auroc"])
    validation = phantom["validation"]
    for folder, row in ((finished.path, best), (finished.path / "last", rows[-1])):
        logits = predict(load_model(folder), materialize(validation, InputSpec.square(1, 32)))
        areas = [roc_auc_score(validation.targets[:, k], logits[:, k]) for k in range(8)]
        assert np.mean(areas) == pytest.approx(row["validation_auroc"], abs=1e-9)


def test_metrics_are_of_this_run(finished):
    for row in finished.metrics():
        assert row["loss"] == pytest.approx(0.5 * row["loss_clean"] + 0.5 * row["loss_adversarial"], rel=1e-5)
        assert row["loss_adversarial"] > row["loss_clean"]
        assert row["step"] == row["epoch"] * 4
        assert row["seconds"] >= 0


def test_nothing_in_the_state_could_be_unpickled(finished):
    files = [f for f in finished.state.rglob("*") if f.is_file()]
    assert {f.suffix for f in files} == {".safetensors", ".json"}
    for file in files:
        if file.suffix == ".json":
            json.loads(file.read_text())
        else:
            load_file(file)
    assert len(list(finished.state.glob("step-*"))) == 1  # the older ones are gone


def test_a_multiclass_network_whose_last_class_is_missing_from_training(tmp_path):
    """Frequencies and constants have one value per class, whatever classes the images happen to be of."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for part, names in (("train", "ab"), ("validation", "abc")):
        for name in names:
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            for i in range(6):
                Image.fromarray(rng.integers(0, 255, (32, 32), dtype=np.uint8)).save(folder / f"{part}{name}{i}.png")
    (tmp_path / "data" / "train" / "c").mkdir()
    Image.new("L", (32, 32)).save(tmp_path / "data" / "train" / "c" / "one.png")
    splits = open_dataset("folder", tmp_path / "data")
    classes = splits["train"].classes
    kept = [i for i, t in enumerate(splits["train"].targets) if classes[t] != "c"]
    recipe = load_recipe("standard", [*SMALL, "training.epochs=1"])
    made = train(
        recipe,
        splits["train"].subset(kept),
        splits["validation"],
        tmp_path / "run",
        scorer=ValidationScorer(),
        device="cpu",
    )
    card = read_model_card(made.path)
    seen = [classes[splits["train"].targets[i]] for i in kept]
    shares = [seen.count(c) / len(seen) for c in "abc"]
    assert shares[2] == 0
    assert card["label_frequencies"] == pytest.approx(shares)
    assert card["best_constant"] == pytest.approx(shares)
