"""What a training run cannot work with: said in one error, and no run left behind."""

from __future__ import annotations

import pytest

from helpers.training import run
from pellucid.data.registry import open_dataset
from pellucid.training import load_recipe
from pellucid.types import InputError


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


PENALTY = "objective.gradient_penalty"


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        (f"{PENALTY}.power=0.5", [f"{PENALTY}.power", "greater than or equal to 1", "found 0.5"]),
        (f"{PENALTY}.power=inf", [f"{PENALTY}.power", "finite", "found inf"]),
        (f"{PENALTY}.tandem=1.2", [f"{PENALTY}.tandem", "less than or equal to 1", "found 1.2"]),
        (f"{PENALTY}.tandem=-0.1", [f"{PENALTY}.tandem", "greater than or equal to 0", "found -0.1"]),
        (f"{PENALTY}.weight=nan", [f"{PENALTY}.weight", "finite", "found nan"]),
        (f"{PENALTY}.weight=inf", [f"{PENALTY}.weight", "finite", "found inf"]),
        (f"{PENALTY}.weight=-1", [f"{PENALTY}.weight", "greater than or equal to 0", "found -1"]),
        (f"{PENALTY}.weight=0", [PENALTY, "adaptive", "cannot start from 0"]),
        (f"{PENALTY}.outputs=some", [f"{PENALTY}.outputs", "'random'", "found 'some'"]),
        (f"{PENALTY}.outputs=all", [PENALTY, "tandem belongs to outputs = 'random'", "found outputs = 'all'"]),
        (f"{PENALTY}.method=approximate", [f"{PENALTY}.method", "'finite-difference' or 'same-side'", "'approximate'"]),
        (f"{PENALTY}.step=0", [f"{PENALTY}.step", "greater than 0"]),
        (f"{PENALTY}.adaptive.target_share=1.0", [f"{PENALTY}.adaptive.target_share", "less than 1"]),
        (f"{PENALTY}.adaptive.gain=0", [f"{PENALTY}.adaptive.gain", "greater than 0"]),
        (f"{PENALTY}.adaptive.target=1.5", [f"{PENALTY}.adaptive.target", "target_share"]),
        (f"{PENALTY}.wieght=3", [f"{PENALTY}.wieght", "Did you mean 'weight'"]),
        ("objective.noise=-0.1", ["objective.noise", "greater than or equal to 0", "found -0.1"]),
        ("objective.noise=nan", ["objective.noise", "finite"]),
        ("objective.beta=0", ["objective.beta", "greater than 0"]),
        ("objective.mix=1.5", ["objective.mix", "less than or equal to 1"]),
        ("objective.form=other", ["objective.form", "'mix' or 'trades'", "'other'"]),
        ("robust_check.collapse=1.5", ["robust_check.collapse", "less than 1"]),
    ],
)
def test_a_value_that_cannot_work_is_named_with_what_is_expected(override, parts):
    with pytest.raises(InputError) as caught:
        load_recipe("woods2019-robust", [override])
    for part in ("woods2019-robust.toml", *parts):
        assert part in str(caught.value)


def test_projections_estimate_squares_alone():
    with pytest.raises(InputError, match=r"power = 2; found 3\.0"):
        load_recipe("jacobian", [f"{PENALTY}.power=3"])


def test_trades_has_no_attack_to_a_decision_and_no_mix():
    with pytest.raises(InputError, match=r"objective: trades .* fgsm or pgd; found 'woods2019'"):
        load_recipe("woods2019-adversarial", ["objective.form=trades", "objective.mix=1"])
    with pytest.raises(InputError, match=r"objective: trades has beta and no mix: leave mix at 1; found 0\.5"):
        load_recipe("trades", ["objective.mix=0.5"])


@pytest.mark.parametrize("name", ["half-hubber", "gelu"])
def test_an_unknown_activation_comes_with_those_that_there_are(phantom, tmp_path, name):
    with pytest.raises(InputError) as caught:
        run(phantom, tmp_path / "run", f"model.options.activation={name}")
    for part in (f"unknown activation '{name}'", "half-huber", "relu"):
        assert part in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_two_batch_norms_are_two(phantom, tmp_path):
    with pytest.raises(InputError, match="batch_norms must be 1, or 2"):
        run(phantom, tmp_path / "run", "model.options.batch_norms=3")


def test_a_target_of_the_loss_that_a_constant_reaches_is_refused_before_any_image_is_decoded(
    phantom, tmp_path, monkeypatch
):
    monkeypatch.setattr("pellucid.training.loop.materialize", lambda *a, **k: pytest.fail("decoded"))
    with pytest.raises(InputError, match=r"aims at a loss of 2, but a constant prediction has .*target_loss"):
        run(phantom, tmp_path / "run", f"{PENALTY}.adaptive.target_loss=2.0", name="standard")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["classes", "task", "size", "pretrained", "mean"])
def test_an_option_of_the_network_that_the_recipe_sets_is_named(name):
    from pellucid.training.network import build_classifier

    recipe = load_recipe("standard", [f"model.options.{name}=3", "model.name=small"])
    with pytest.raises(InputError, match=rf"model\.options\.{name}: not an option of small"):
        build_classifier(recipe.model, open_dataset("phantom", options={"size": 32, "train": 2})["train"])
