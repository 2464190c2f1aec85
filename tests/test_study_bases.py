"""Bases inside a study: trained once for each seed, shared, recorded, and refused where they cannot be."""

from __future__ import annotations

import json
import math

import pytest

from pellucid.models.weights import read_model_card
from pellucid.study import load_study, run_study
from pellucid.study.context import StudyContext
from pellucid.study.runs import plan, with_bases
from pellucid.study.training import train_all
from pellucid.training import RunFolder, load_recipe
from pellucid.training.network import starting_from
from pellucid.types import InputError

pytestmark = pytest.mark.slow


TINY = [
    "seeds=[0, 1]",
    "data.options={size=32, train=24, validation=16, test=16, prevalence=0.4}",
    "settings.model={name='small', size=32, options={widths=[4], blocks=[1], strides=[2]}}",
    "settings.training={epochs=3, batch_size=8}",
    "conclusions.primary=[]",
    "evaluation.methods=['cam']",
    "evaluation.robustness.sizes=[]",
    "evaluation.resamples=100",
    "evaluation.trust.methods=[]",
    "evaluation.adversarial.cases=0",
    "evaluation.panels=0",
]
LONGER = "{label='longer', recipe='khakzar2019-baseline', init='plain', settings={fine_tuning={epochs=0.34, lr=0.3}}}"
ROBUST = "{label='robust', recipe='khakzar2019-robust', init='khakzar2019-baseline'}"
PLAIN = "{label='plain', recipe='khakzar2019-baseline'}"


def study_of(*variants, more=()):
    return load_study("demo", [*TINY, f"variants=[{', '.join(variants)}]", *more])


def test_a_base_is_trained_once_for_each_seed_and_shared(tmp_path):
    runs = plan(study_of(PLAIN, LONGER, ROBUST), tmp_path)
    every = with_bases(reversed(runs))
    assert len(every) == len(runs) == 6  # the recipe that "robust" starts from is that of "plain"
    for place, run in enumerate(every):
        if run.base is not None:
            assert (run.base.label, run.base.seed) == ("plain", run.seed)
            assert run.base.folder in [before.folder for before in every[:place]]
    longer = next(run.recipe for run in runs if run.label == "longer")
    assert (longer.training.epochs, longer.optimizer.lr) == (2, pytest.approx(0.3 * 3e-3))  # 0.34 of 3, rounded up


def test_a_base_that_is_no_variant_is_trained_beside_them(tmp_path):
    other = "{label='plain', recipe='khakzar2019-baseline', settings={training={epochs=1}}}"
    runs = plan(study_of(other, ROBUST), tmp_path)
    assert [r.label for r in with_bases(runs)] == ["plain", "khakzar2019-baseline", "robust"] * 2
    assert with_bases(runs)[1].recipe.training.epochs == 3


@pytest.mark.usefixtures("empty_charts")
def test_it_starts_from_the_bases_weights_and_everything_says_so(tmp_path):
    study = study_of(PLAIN, LONGER, "{label='again', recipe='khakzar2019-robust', init='longer'}", more=["seeds=[3]"])
    out = tmp_path / "there"
    report = run_study(study, None, out, device="cpu", jobs=2)
    plain, longer, again = plan(study, out)
    recipe = RunFolder(longer.folder).read()["recipe"]
    assert recipe["model"]["sha256"] == read_model_card(plain.folder)["weights_sha256"]
    # what `pellucid train --init` makes of the same recipe, base and seed
    from pellucid.evaluation.metrics.validation import ValidationScorer
    from pellucid.training.loop import train

    alone = load_recipe(
        "khakzar2019-baseline",
        settings={"fine_tuning": {"epochs": 0.34, "lr": 0.3}},
        common=study.settings,
        fine_tuning=True,
    )
    splits = StudyContext(study, None, out).splits
    train(
        starting_from(alone, plain.folder), splits["train"], splits["validation"], tmp_path / "alone",
        scorer=ValidationScorer(), seed=3, device="cpu",
    )  # fmt: skip
    assert (tmp_path / "alone" / "weights.safetensors").read_bytes() == (
        longer.folder / "weights.safetensors"
    ).read_bytes()
    stages = read_model_card(again.folder)["training_record"]["stages"]
    assert len(stages) == 3
    results = json.loads((out / "results.json").read_text())
    assert [v["starts_from"] for v in results["variants"]] == [None, "plain", "longer"]
    assert [v["settings"]["init"] for v in results["variants"]] == ["", "plain", "longer"]
    (first,), (second,), (third,) = (v["runs"] for v in results["variants"])
    assert second["base"]["folder"] == first["folder"] == "runs/plain-seed3"
    assert third["seconds_with_bases"] == pytest.approx(math.fsum(r["seconds"] for r in (first, second, third)))
    page = report.read_text()
    assert "Starts from the network of longer" in page
    assert f"runs/plain-seed3, epoch {first['best_epoch']} of 3" in page


def test_a_study_goes_on_after_a_kill_and_elsewhere(tmp_path):
    study = study_of(PLAIN, ROBUST, more=["seeds=[0]"])
    there, here = tmp_path / "there", tmp_path / "here"
    train_all(StudyContext(study, None, there, "cpu"), 1)
    (there / "runs").rename(tmp_path / "moved")
    here.mkdir()
    (tmp_path / "moved").rename(here / "runs")
    _, robust = plan(study, here)
    weights = robust.folder / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    train_all(StudyContext(study, None, here, "cpu"), 1)
    assert weights.stat().st_mtime_ns == before  # finished ones are left as they are
    run = RunFolder(robust.folder)
    content, kept = weights.read_bytes(), run.read()
    run.write(kept | {"finished": False})  # killed after its last epoch was saved
    train_all(StudyContext(study, None, here, "cpu"), 1)
    assert run.finished
    assert weights.read_bytes() == content


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        (
            ["{label='a', recipe='standard', init='b'}", "{label='b', recipe='standard', init='a'}"],
            r"a starts from itself: a → b → a\. Change an init",
        ),
        (
            [PLAIN, "{label='x', recipe='standard', init='plane'}"],
            r"init of x: 'plane' is neither .* Did you mean 'plain'",
        ),
        (
            [PLAIN, "{label='x', recipe='standard', init='plain', settings={model={options={widths=[8]}}}}"],
            r"x starts from the network of plain and asks for another: .*options\.widths is \[4\] there, \[8\] here",
        ),
        (
            [
                "{label='khakzar2019-baseline', recipe='standard'}",
                "{label='x', recipe='standard', init='y'}",
                "{label='y', recipe='standard', init='khakzar2019-baseline.toml'}",
            ],
            "another variant is called so",
        ),
    ],
)
def test_a_base_that_cannot_be_is_refused_before_anything_is_trained(tmp_path, variants, message):
    with pytest.raises(InputError, match=message):
        run_study(study_of(*variants), None, tmp_path / "out", device="cpu", jobs=1)
    assert not (tmp_path / "out" / "runs").exists()
