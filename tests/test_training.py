"""The objective by hand, the loop on a small phantom, the run folder's content, and what stops a run."""

from __future__ import annotations

import json
import math
import shutil
import tomllib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from torch.optim.optimizer import register_optimizer_step_pre_hook

from pellucid.data import open_dataset
from pellucid.data.cache import materialize
from pellucid.evaluate.validation import ValidationScorer
from pellucid.models import load_model
from pellucid.models.inference import predict
from pellucid.models.weights import read_model_card
from pellucid.training import Objective, RunFolder, TrainingError, load_recipe, train
from pellucid.training import objective as objective_module
from pellucid.training.batches import Batches
from pellucid.training.loop import build_classifier
from pellucid.training.optimization import build_optimizer, learning_rate, step_seed
from pellucid.training.recipe import ObjectiveSettings, OptimizerSettings, ScheduleSettings
from pellucid.types import Batch, InputError

SMALL = [
    "model.name=small",
    "model.size=32",
    "model.options={widths=[4, 8], blocks=[1, 1], strides=[1, 2]}",
    "training.batch_size=16",
]


@pytest.fixture(scope="module")
def phantom():
    return open_dataset("phantom", options={"size": 32, "train": 64, "validation": 48, "test": 8, "prevalence": 0.4})


def run(phantom, out, *overrides, name="khakzar2019-robust", **options):
    recipe = load_recipe(name, [*SMALL, "training.epochs=2", *overrides])
    options = {"device": "cpu", "scorer": ValidationScorer()} | options
    return train(recipe, phantom["train"], phantom["validation"], out, **options)


@pytest.fixture(scope="module")
def finished(phantom, tmp_path_factory):
    return run(phantom, tmp_path_factory.mktemp("runs") / "finished", seed=7)


# the objective


class Stub(torch.nn.Module):
    """Logits that are 2 · the mean pixel; remembers what it was shown."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x)
        return 2 * x.mean((1, 2, 3), keepdim=False)[:, None]


@pytest.mark.parametrize(("mix", "shown"), [(1.0, [3]), (0.5, [6]), (0.25, [6]), (0.0, [3])])
def test_the_mix_by_hand(monkeypatch, mix, shown):
    images = torch.rand(3, 1, 4, 4)
    targets = torch.tensor([[1.0], [0.0], [math.nan]])
    moved = 1 - images
    calls = []

    def attack(classifier, x, y, *, loss, size, step_size, random_start):
        calls.append((x, size.value, random_start, float(loss(classifier(x), y))))
        return moved

    monkeypatch.setattr(objective_module, "fgsm", attack)
    objective = Objective.of(ObjectiveSettings(loss="weighted_cross_entropy", mix=mix), "multilabel")
    net, attacked = Stub(), Stub()
    total, parts = objective(net, attacked, Batch(images, targets, torch.arange(3)))

    def by_hand(x):  # one label 1 and one label 0: the sum of the two losses
        first, second = (2 * float(v.mean()) for v in x[:2])
        return math.log1p(math.exp(-first)) + math.log1p(math.exp(second))

    expected = mix * by_hand(images) + (1 - mix) * by_hand(moved)
    assert float(total) == pytest.approx(expected, rel=1e-5)
    assert [len(x) for x in net.seen] == shown  # clean and adversarial images go through in one batch
    assert len(calls) == (0 if mix == 1 else 1)
    if mix < 1:
        assert calls[0][1:3] == (0.005, True)
        assert calls[0][3] == pytest.approx(by_hand(images), rel=1e-5)  # the attack raises the same loss
        assert float(parts["loss_adversarial"]) == pytest.approx(by_hand(moved), rel=1e-5)
    if mix > 0:
        assert float(parts["loss_clean"]) == pytest.approx(by_hand(images), rel=1e-5)


@pytest.mark.parametrize(("method", "steps", "calls"), [("fgsm", 1, 1), ("pgd", 3, 3)])
def test_the_attack_of_the_recipe_is_the_one_that_runs(method, steps, calls):
    settings = ObjectiveSettings.model_validate(
        {"mix": 0, "attack": {"method": method, "steps": steps, "size": {"linf": 0.1}, "random_start": False}}
    )
    net = Stub()
    objective = Objective.of(settings, "multilabel")
    images = torch.full((2, 1, 4, 4), 0.5)
    found = objective.perturb(net, Batch(images, torch.tensor([[0.0], [1.0]]), torch.arange(2)))
    assert len(net.seen) == calls
    torch.testing.assert_close(found[0], images[0] + 0.1)  # a larger logit is worse for label 0
    torch.testing.assert_close(found[1], images[1] - 0.1)


# schedules, seeds, order


def test_cosine_falls_from_the_peak_to_nearly_nothing():
    schedule = ScheduleSettings(name="cosine", warmup=0.0)
    rates = [learning_rate(0.3, schedule, step, 100) for step in range(100)]
    expected = [0.15 * (1 + math.cos(math.pi * step / 100)) for step in range(100)]
    assert rates == pytest.approx(expected)
    assert rates[0] == 0.3
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.001


def test_warm_up_rises_in_equal_steps_and_never_starts_at_zero():
    schedule = ScheduleSettings(name="constant", warmup=0.1)
    rates = [learning_rate(1.0, schedule, step, 100) for step in range(100)]
    assert rates[0] > 0
    np.testing.assert_allclose(np.diff(rates[:11]), rates[0], rtol=1e-9)
    assert rates[10:] == [1.0] * 90


def test_steps_fall_at_their_milestones():
    schedule = ScheduleSettings(name="step", warmup=0.0, milestones=(0.5, 0.75), gamma=0.1)
    rates = [learning_rate(1.0, schedule, step, 8) for step in range(8)]
    assert rates == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_the_loop_follows_the_schedule(phantom, tmp_path):
    rates = []
    watch = register_optimizer_step_pre_hook(lambda o, *_: rates.append([g["lr"] for g in o.param_groups]))
    run(phantom, tmp_path / "run", "optimizer.lr=0.5", "schedule.warmup=0.0", name="standard")
    watch.remove()
    expected = [0.25 * (1 + math.cos(math.pi * step / 8)) for step in range(8)]
    np.testing.assert_allclose(rates, np.stack([expected, expected], axis=1))


def test_step_seeds_repeat_and_differ():
    assert step_seed(3, 5, 0) == step_seed(3, 5, 0)
    seeds = {step_seed(seed, step, rank) for seed in range(5) for step in range(200) for rank in range(3)}
    assert len(seeds) == 5 * 200 * 3
    assert all(0 <= s < 2**63 for s in seeds)
    torch.manual_seed(max(seeds))  # torch takes it


def test_weight_decay_is_kept_off_norms_and_biases(phantom):
    net = build_classifier(load_recipe("standard", SMALL).model, phantom["train"])
    groups = build_optimizer(net, OptimizerSettings(weight_decay=0.3)).param_groups
    decayed = {id(p) for g in groups if g["weight_decay"] == 0.3 for p in g["params"]}
    names = {name for name, p in net.named_parameters() if id(p) in decayed}
    assert names == {name for name, p in net.named_parameters() if p.ndim > 1}
    assert "head.weight" in names
    assert "head.bias" not in names
    assert sum(len(g["params"]) for g in groups) == len(list(net.parameters()))


@pytest.mark.parametrize("world", [1, 2, 4])
def test_an_epoch_shows_every_image_once_over_all_processes(world):
    images = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1)
    parts = [Batches(images, np.arange(40), 8, torch.device("cpu"), rank=rank, world=world) for rank in range(world)]
    epochs = [list(zip(*(part.epoch(epoch, seed=1) for part in parts), strict=True)) for epoch in (0, 0, 1)]
    orders = [[int(i) for step in epoch for batch in step for i in batch.indices] for epoch in epochs]
    assert sorted(orders[0]) == list(range(40))
    assert orders[0] == orders[1] != orders[2]
    alone = Batches(images, np.arange(40), 8, torch.device("cpu"))
    assert orders[0] == [int(i) for batch in alone.epoch(0, seed=1) for i in batch.indices]
    for step in epochs[0]:
        for batch in step:
            assert (batch.images.flatten() * 255).round().tolist() == batch.targets.tolist()
    assert [b.indices.tolist() for b in alone.epoch(0, seed=1, start=2)] == [
        b.indices.tolist() for b in list(alone.epoch(0, seed=1))[2:]
    ]


def test_a_batch_that_cannot_be_split_is_refused():
    with pytest.raises(InputError, match="batch of 6 cannot be split over 4 processes"):
        Batches(np.zeros((8, 1, 2, 2), np.uint8), np.zeros(8), 6, torch.device("cpu"), world=4)


# the loop


def test_a_few_epochs_lower_the_loss(phantom, tmp_path):
    made = run(phantom, tmp_path / "run", "training.epochs=8", "optimizer.lr=0.05", name="standard")
    losses = [row["loss"] for row in made.metrics()]
    assert len(losses) == 8
    assert losses[-1] < losses[0] - 0.1


def test_mixed_precision_learns_nearly_the_same_in_another_arithmetic(phantom, tmp_path):
    whole = run(phantom, tmp_path / "no", seed=3)
    mixed = run(phantom, tmp_path / "bf16", "training.mixed_precision=bf16", seed=3)
    for ours, theirs in zip(mixed.metrics(), whole.metrics(), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=0.05)
        assert ours["loss"] != theirs["loss"]
    assert all(t.dtype != torch.bfloat16 for t in load_file(mixed.path / "weights.safetensors").values())


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
    assert names == {"run.toml", "metrics.jsonl", "weights.safetensors", "model.toml", "last", "state"}


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
        logits = predict(load_model(folder), materialize(validation, size=32, channels=1))
        areas = [roc_auc_score(validation.targets[:, k], logits[:, k]) for k in range(8)]
        assert np.mean(areas) == pytest.approx(row["validation_auroc"], abs=1e-9)


def test_metrics_are_of_this_run(finished):
    for row in finished.metrics():
        assert row["loss"] == pytest.approx(0.5 * row["loss_clean"] + 0.5 * row["loss_adversarial"], rel=1e-5)
        assert row["loss_adversarial"] > row["loss_clean"]
        assert row["step"] == row["epoch"] * 4
        assert row["seconds"] >= 0


def test_the_same_seed_gives_the_same_network_and_another_another(finished, phantom, tmp_path):
    again = run(phantom, tmp_path / "again", seed=7)
    other = run(phantom, tmp_path / "other", seed=8)
    weights = {made: load_file(made.path / "last" / "weights.safetensors") for made in (finished, again, other)}
    assert all(torch.equal(v, weights[again][k]) for k, v in weights[finished].items())
    assert any(not torch.equal(v, weights[other][k]) for k, v in weights[finished].items())


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
    """Frequencies and constants have one value a class, whatever classes the images happen to be of."""
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


# what stops a run


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(phantom, tmp_path, monkeypatch):
    steps = []
    real = Objective.__call__

    def spoilt(self, *args):
        steps.append(1)
        loss, parts = real(self, *args)
        return (loss * math.nan if len(steps) == 6 else loss), parts

    monkeypatch.setattr(Objective, "__call__", spoilt)
    out = tmp_path / "run"
    with pytest.raises(TrainingError) as caught:
        run(phantom, out, name="standard")
    for part in ("loss became nan", "epoch 2, step 6", str(out), "optimizer.lr"):
        assert part in str(caught.value)
    assert len(steps) == 6  # at once
    assert read_model_card(out)["epoch"] == 1
    assert all(v.isfinite().all() for v in load_file(out / "weights.safetensors").values())
    latest = json.loads((out / "state" / "latest.json").read_text())["folder"]
    assert latest == "step-00000004"
    assert all(v.isfinite().all() for v in load_file(out / "state" / latest / "model.safetensors").values())
    assert [row["epoch"] for row in RunFolder(out).metrics()] == [1]
    assert not RunFolder(out).finished


def test_an_absurd_learning_rate_ends_in_words(phantom, tmp_path):
    with pytest.raises(TrainingError, match="the loss became"):
        run(phantom, tmp_path / "run", "optimizer.name=sgd", "optimizer.lr=1e30", "schedule.warmup=0.0")


def test_a_folder_that_holds_a_run_is_refused_without_resume(finished, phantom):
    before = (finished.path / "run.toml").read_bytes()
    with pytest.raises(InputError, match=r"holds a run already\. Add --resume"):
        run(phantom, finished.path, seed=7)
    assert (finished.path / "run.toml").read_bytes() == before


def test_a_finished_run_is_returned_as_it_is(finished, phantom, monkeypatch):
    monkeypatch.setattr("pellucid.training.loop.materialize", lambda *a, **k: pytest.fail("decoded again"))
    before = {f: f.stat().st_mtime_ns for f in finished.path.rglob("*")}
    run(phantom, finished.path, seed=7, resume=True)
    assert {f: f.stat().st_mtime_ns for f in finished.path.rglob("*")} == before


def test_a_finished_run_without_its_state_is_not_trained_again(finished, phantom, tmp_path):
    shutil.copytree(finished.path, tmp_path / "copy", ignore=shutil.ignore_patterns("state"))
    before = (tmp_path / "copy" / "weights.safetensors").stat().st_mtime_ns
    assert run(phantom, tmp_path / "copy", seed=7, resume=True).finished
    assert (tmp_path / "copy" / "weights.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("overrides", "options", "parts"),
    [
        (["optimizer.lr=0.5"], {"seed": 7}, ["another recipe", "optimizer.lr", "now 0.5"]),
        (["objective.attack.size.l2=1.0"], {"seed": 7}, ["another recipe", "objective.attack.size"]),
        ([], {"seed": 8}, ["another seed", "was 7, now 8"]),
    ],
)
def test_resuming_something_else_is_refused(finished, phantom, overrides, options, parts):
    with pytest.raises(InputError) as caught:
        run(phantom, finished.path, *overrides, resume=True, **options)
    for part in parts:
        assert part in str(caught.value)


def test_resuming_on_other_data_is_refused(finished, phantom):
    with pytest.raises(InputError, match=r"another data: train\.fingerprint"):
        run({**phantom, "train": phantom["train"].limit(32)}, finished.path, seed=7, resume=True)


def test_a_state_that_cannot_be_read_is_said_to_be_so(finished, phantom, tmp_path):
    shutil.copytree(finished.path, tmp_path / "copy")
    made = RunFolder(tmp_path / "copy")
    made.write(made.read() | {"finished": False})
    (file,) = made.state.glob("step-*/model.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match="holds no state to resume from"):
        run(phantom, made.path, seed=7, resume=True)


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["training.select=auc"], ["training.select", "Did you mean 'auroc'?"]),
        (["objective.loss=cross_entropy"], ["not for a multilabel task"]),
        (["model.name=smal"], ["Did you mean 'small'?"]),
        (["model.options.stemstride=2"], ["Did you mean 'stem_stride'?"]),
    ],
)
def test_what_cannot_work_is_said_before_any_image_is_decoded(phantom, tmp_path, monkeypatch, overrides, parts):
    monkeypatch.setattr("pellucid.training.loop.materialize", lambda *a, **k: pytest.fail("decoded"))
    with pytest.raises(InputError) as caught:
        run(phantom, tmp_path / "run", *overrides)
    for part in parts:
        assert part in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_image_that_cannot_be_read_leaves_no_run_behind(phantom, tmp_path):
    def broken(index):
        raise InputError("images/12.png: truncated")

    import dataclasses

    spoilt = {**phantom, "train": dataclasses.replace(phantom["train"], read=broken)}
    with pytest.raises(InputError, match=r"images/12.png"):
        run(spoilt, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_file_in_place_of_the_folder_is_refused(phantom, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file; --out names a folder"):
        run(phantom, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_validation_scores_are_scikit_learns_where_labels_are_unknown():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (30, 3)).astype(np.float32)
    targets[rng.random((30, 3)) < 0.3] = np.nan
    targets[:, 2] = 0  # undefined: takes part in nothing
    logits = rng.normal(size=(30, 3))
    data = SimpleNamespace(task="multilabel", targets=targets, classes=("a", "b", "c"))
    found = ValidationScorer().metrics(logits, data)
    areas = []
    for k in range(2):
        known = ~np.isnan(targets[:, k])
        areas.append(roc_auc_score(targets[known, k], logits[known, k]))
    assert found["auroc"] == pytest.approx(np.mean(areas))
    known = ~np.isnan(targets)
    assert found["accuracy"] == pytest.approx(((logits > 0) == (targets == 1))[known].mean())
    thresholds = ValidationScorer().thresholds(logits, data)
    assert math.isnan(thresholds[2])
    assert all(0 < t < 1 for t in thresholds[:2])
