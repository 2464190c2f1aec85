"""The annotation loop: a real server, an annotator who knows the truth, networks trained again, what is said of it."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from helpers.axe import violations
from helpers.models import small
from pellucid.annotations.store import open_store
from pellucid.annotator.simulated import MARGIN, SimulatedVisitor, Truth
from pellucid.data import open_dataset
from pellucid.data.readers.phantom.options import VisibleShortcut
from pellucid.evaluation.metrics.differences import Difference, Inference
from pellucid.evaluation.metrics.statistics import Bootstrap, mean_over_images
from pellucid.evaluation.metrics.verdicts import Bar, judge_family
from pellucid.models import load_model
from pellucid.report.pages.annotation_loop import loop_metric
from pellucid.study import load_study, run_study
from pellucid.study.annotation_loop import measures
from pellucid.study.annotation_loop import run as loop_module
from pellucid.study.annotation_loop.conclusion import (
    Aim,
    correct_aims,
    costs,
    lead,
    order_sentence,
    reach,
    summarize_loop,
)
from pellucid.study.annotation_loop.config import BASE, LoopSettings
from pellucid.study.annotation_loop.run import _with_others
from pellucid.study.annotation_loop.session import ANNOTATOR, hold_session, read_session
from pellucid.study.judging import AGAIN, judge_again
from pellucid.training import RunFolder
from pellucid.types import InputError
from pellucid.verbs.study import Study

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_check", "empty_charts")]

DATA = {
    "size": 32,
    "train": 60,
    "validation": 40,
    "test": 60,
    "prevalence": 0.4,
    "shortcuts": {"letter": {"finding": "Mass"}},
}
SMALL = [
    *(f"data.options.{k}={json.dumps(v)}" for k, v in DATA.items() if k != "shortcuts"),
    "settings.model={name='small', size=32, options={widths=[4, 8], blocks=[1, 1], strides=[1, 2]}}",
    "settings.training.epochs=1",
    "loop.numbers=[4]",
    "loop.aim=4",
    "loop.others=20",
    "loop.settings.training={epochs=1, batch_size=8}",
    "evaluation.resamples=100",
    "evaluation.panels=1",
    "evaluation.ara.limit=12",
    "seeds=[0, 1]",
]
QUICK = ["evaluation.ara.kinds=[]"]


@pytest.fixture(scope="module")
def part():
    return open_dataset("phantom", options=DATA, seed=1)["train"]


@pytest.fixture(scope="module")
def network(part):
    return small(task=part.task, classes=part.classes).train()


def hold(part, network, path, count, order="mixed"):
    hold_session(
        part, network, path, order=order, planted=VisibleShortcut("letter", "Mass"), count=count, seed=0, cache=None
    )
    return read_session(path)


@pytest.fixture(scope="module")
def session(part, network, tmp_path_factory):
    return hold(part, network, tmp_path_factory.mktemp("session") / "a" / "annotations.db", 5)


def shows(part, row):
    """What an image shows, by the dataset's own labels and regions."""
    return {label for image, label in part.regions.pairs(["Mass", "letter"]) if image == row}


def test_the_annotator_marks_what_is_there_and_nothing_else(part, session):
    assert len(session.image_ids) == len(set(session.image_ids)) == 5
    row_of = {name: row for row, name in enumerate(part.ids)}
    relevant, irrelevant = session.annotations.masks(session.image_ids, part.classes, 32)
    mass = part.classes.index("Mass")
    assert not np.delete(relevant | irrelevant, mass, axis=1).any()  # nothing is said of another finding
    both = 0
    for i, name in enumerate(session.image_ids):
        seen = shows(part, row_of[name])
        assert seen  # an image with nothing to mark is skipped
        for label, drawn in (("Mass", relevant), ("letter", irrelevant)):
            truth = part.regions.mask(row_of[name], label, 32)
            assert drawn[i, mass].any() == (label in seen)
            assert (drawn[i, mass] | relevant[i, mass])[truth].all()  # the finding is drawn over the marker
            rows, columns = np.nonzero(truth)
            if label in seen and label == "Mass":  # the truth's box and a pixel more on each side
                box = tuple(slice(max(v.min() - 1, 0), v.max() + 2) for v in (rows, columns))
                expected = np.zeros_like(truth)
                expected[box] = True
                assert np.array_equal(drawn[i, mass], expected)
        both += len(seen) == 2
    assert both >= 2
    said = session.annotations.labels(session.image_ids, part.classes)
    np.testing.assert_array_equal(said[:, mass], part.targets[[row_of[n] for n in session.image_ids], mass])
    assert np.isnan(np.delete(said, mass, axis=1)).all()
    assert MARGIN == 1


def test_a_session_comes_out_the_same_every_time_and_goes_on_after_a_kill(part, network, session, tmp_path):
    path = tmp_path / "annotations.db"
    first = hold(part, network, path, 2)
    assert first.image_ids == session.image_ids[:2]
    with open_store(path) as store:  # killed between the last stroke and `done`
        store.put_visit(replace(store.visits(ANNOTATOR)[0], state="offered"))
    whole = hold(part, network, path, 5)
    assert set(whole.image_ids) == set(session.image_ids)
    assert len(whole.annotations.marks) == len(session.annotations.marks)  # none twice
    again = hold(part, network, path, 5)
    assert again.image_ids == whole.image_ids
    other = hold(part, network, tmp_path / "random.db", 5, order="random")
    assert other.image_ids != session.image_ids


def test_the_first_images_are_nested_and_the_control_has_their_labels_alone(session):
    two, four = session.first(2), session.first(4)
    assert set(two.image_ids) == set(session.image_ids[:2]) < set(four.image_ids) == set(session.image_ids[:4])
    control = session.first(4, marks=False)
    assert control.marks == ()
    assert control.image_ids == four.image_ids
    assert list(session.looked_at) == sorted(session.looked_at)
    assert session.looked_at[-1] >= 5
    with pytest.raises(InputError, match=r"only 5 images show .*9 are asked for"):
        session.first(9)


def test_the_annotator_looks_at_pixels_and_is_told_what_the_server_refuses(part):
    from fastapi import FastAPI

    from helpers.annotation import served

    with pytest.raises(InputError, match="marks neither"):
        Truth(
            open_dataset("phantom", options={**DATA, "shortcuts": {}, "prevalence": 0.01})["test"].limit(1),
            "Mass",
            "L",
        )
    with served(FastAPI()) as address, pytest.raises(InputError, match="answered 404"):
        SimulatedVisitor(address, "Ann")


def test_the_other_images_stay_as_far_as_possible():
    part = open_dataset("phantom", options=DATA)["train"]
    few, more = (_with_others(part, part.ids[:n], 20, seed=3) for n in (2, 10))
    assert len(few) == 22
    assert len(more) == 30
    assert few == sorted(few)
    assert set(range(2)) < set(few)
    assert len(set(few[2:]) & set(more)) >= 12
    assert _with_others(part, part.ids[:2], 20, seed=4) != few


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("loop")
    run_study(load_study("annotation-loop", SMALL), None, out, device="cpu", jobs=1, command="pellucid study <x>")
    return out


def results(out):
    return json.loads((out / "results.json").read_text())


def value(found, metric, arm, at):
    rows = [r for r in found["rows"] if (r["metric"], r["variant"], r["at"]) == (metric, arm, str(at))]
    assert len(rows) == 1
    return rows[0]


def test_every_figure_is_what_the_networks_give(finished):
    found, parts = results(finished), open_dataset("phantom", options=DATA, seed=1)
    assert {(r["variant"], r["at"]) for r in found["rows"]} == {
        (BASE, "0"),
        *((arm, n) for arm in ("marks", "marks, random", "labels only") for n in ("4",)),
    }
    for arm, at, name in ((BASE, 0, BASE), ("marks", 4, "marks-4")):
        seeds = {metric: [] for metric in ("without", "with", "marker", "finding", "effect")}
        for seed in (0, 1):
            net = load_model(finished / "runs" / f"{name}-seed{seed}")
            pixels = {
                p: torch.stack([pixel(parts[p], i) for i in range(len(parts[p]))]) for p in ("test", "validation")
            }
            for key, p in (("without", "test"), ("with", "validation")):
                with torch.no_grad():
                    scores = net(pixels[p])[:, 4].numpy()
                seeds[key].append(roc_auc_score(parts[p].targets[:, 4], scores))
            rows = [i for i in range(len(parts["test"])) if len(shows(parts["test"], i)) == 2]
            x = pixels["test"][rows].requires_grad_(True)
            heat = torch.autograd.grad(net(x)[:, 4].sum(), x)[0].abs()[:, 0].detach().numpy()
            for key, label in (("marker", "letter"), ("finding", "Mass")):
                masks = np.stack([parts["test"].regions.mask(i, label, 32) for i in rows])
                seeds[key].append(((heat * masks).sum((1, 2)) / heat.sum((1, 2))).mean())
        assert parts["test"].classes[4] == "Mass"
        for metric, key in (("auroc_without", "without"), ("auroc_with", "with"), ("saliency_marker", "marker")):
            assert value(found, metric, arm, at)["seeds"] == pytest.approx(seeds[key], rel=1e-4)
            assert value(found, metric, arm, at)["value"] == pytest.approx(np.mean(seeds[key]), rel=1e-4)
        gaps = np.subtract(seeds["with"], seeds["without"])
        assert value(found, "auroc_gap", arm, at)["seeds"] == pytest.approx(gaps, abs=1e-5)
        assert value(found, "saliency_finding", arm, at)["value"] == pytest.approx(np.mean(seeds["finding"]), rel=1e-4)


def pixel(part, row):
    return torch.from_numpy(part.read(row)[None].astype(np.float32) / 255)


def test_differences_are_from_the_cheating_network_and_from_the_control(finished):
    found = results(finished)
    assert found["control"] == "labels only"
    for metric in ("auroc_without", "saliency_marker", "effect_marker", "ara_attack"):
        base, control = value(found, metric, BASE, 0), value(found, metric, "labels only", 4)
        one = value(found, metric, "marks", 4)
        assert one["difference"]["value"] == pytest.approx(one["value"] - base["value"], abs=1e-9)
        assert one["against_control"]["value"] == pytest.approx(one["value"] - control["value"], abs=1e-9)
        assert {one[d]["margin"] for d in ("difference", "against_control")} == {0.01 * metric.startswith("auroc")}
        assert control["against_control"] is None
        assert one["low"] <= one["value"] <= one["high"]


def test_the_loop_shows_itself_at_a_glance(finished):
    """The network that all begin with and each arm after the aim's number of images, as results.json has them."""
    found, (table,) = results(finished), Study(finished / "report.html").tables()
    arms = [BASE, *(arm["label"] for arm in found["arms"])]
    assert table.columns == ["figure", *arms, "n"]
    assert table.title.endswith(", 4 images")
    lines = {row[0]: row for row in table.rows}
    line = lines[loop_metric("auroc_without").label]
    for cell, arm in zip(line[1:], arms, strict=False):
        one = value(found, "auroc_without", arm, 0 if arm == BASE else 4)
        assert cell.startswith(f"{one['value']:.3f}"[:4])
    assert set(lines) == {loop_metric(row["metric"]).label for row in found["rows"]}
    assert "<table>" in Study(finished / "report.html")._repr_html_()


def test_the_control_has_the_same_images_and_steps_and_no_marks(finished):
    for seed in (0, 1):
        marks, control = (RunFolder(finished / "runs" / f"{a}-4-seed{seed}").read() for a in ("marks", "labels-only"))
        assert marks["data"] == control["data"]
        assert {**marks["recipe"], "x": 0} == {**control["recipe"], "x": 0}
        assert (marks["annotations"]["images"], control["annotations"]["images"]) == (4, 4)
        assert marks["annotations"]["marked_images"] == 4
        assert control["annotations"]["marked_images"] == 0
    steps = {run["steps"] for run in results(finished)["runs"] if run["arm"] != BASE}
    assert len(steps) == 1
    assert steps.pop() > 1


def test_a_finished_loop_trains_and_measures_nothing_again(finished, monkeypatch):
    before = results(finished)

    def never(*_args, **_kwargs):
        raise AssertionError

    monkeypatch.setattr("pellucid.training.session.TrainingSession.fit", never)
    monkeypatch.setattr(measures, "removal_effects", never)
    monkeypatch.setattr("pellucid.annotator.setup.open_service", never)
    run_study(load_study("annotation-loop", SMALL), None, finished, device="cpu", jobs=1, command="pellucid study <x>")
    after = results(finished)
    assert after["rows"] == before["rows"]
    assert after["aims"] == before["aims"]


def test_a_finished_loop_is_judged_again_without_its_networks(finished, tmp_path):
    for name in ("results.json", "per-image.npz"):
        shutil.copyfile(finished / name, tmp_path / name)
    assert (tmp_path / "per-image.npz").stat().st_size < 200_000
    before = results(finished)
    report = judge_again(load_study("annotation-loop", SMALL), tmp_path)
    after = results(tmp_path)
    for key in ("rows", "orders", "aims", "conclusion"):
        assert after[key] == before[key]
    assert AGAIN in report.read_text()
    judge_again(load_study("annotation-loop", [*SMALL, "evaluation.resamples=200"]), tmp_path)  # other intervals
    assert [r["value"] for r in results(tmp_path)["rows"]] == [r["value"] for r in before["rows"]]
    assert results(tmp_path)["rows"] != before["rows"]
    with pytest.raises(InputError, match=r"another evaluation \(numbers: \[4\] there, \[5\] here\)"):
        judge_again(load_study("annotation-loop", [*SMALL, "loop.numbers=[5]", "loop.aim=5"]), tmp_path)


@pytest.mark.usefixtures("forked_workers")
def test_an_interrupted_loop_goes_on(finished, tmp_path, monkeypatch):
    out = tmp_path / "loop"
    before = results(finished)
    real, seen = loop_module.measure, []

    def killed(study, run, *rest):
        seen.append(run.folder.name)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(study, run, *rest)

    one = load_study("annotation-loop", [*SMALL, *QUICK, "seeds=[0]"])
    monkeypatch.setattr(loop_module, "measure", killed)
    with pytest.raises(KeyboardInterrupt):
        run_study(one, None, out, device="cpu", jobs=1)
    monkeypatch.setattr(loop_module, "measure", real)
    shutil.rmtree(out / "runs" / "marks-4-seed0")  # a training that had not come to its first checkpoint
    run_study(one, None, out, device="cpu", jobs=2)  # and on several processes
    for metric in ("auroc_without", "saliency_marker", "cam_finding"):
        for arm, at in ((BASE, 0), ("marks", 4), ("labels only", 4)):
            expected = value(before, metric, arm, at)["seeds"][0]
            assert value(results(out), metric, arm, at)["value"] == pytest.approx(expected, rel=1e-3)


def test_the_report_needs_nothing_but_itself_and_its_tables_hold_every_figure(finished):
    page = (finished / "report.html").read_text()
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page.replace('xlink:href="#', 'href="#'))
    assert "pellucid study &lt;x&gt;" in page
    found = results(finished)
    for sentence in found["conclusion"]:
        assert sentence.split(". ")[0] in page
    assert all(f"<p>{sentence}</p>" in page for sentence in found["lead"])
    drawn = {r["metric"] for r in found["rows"] if r["value"] is not None}
    assert page.count("<svg") == len(drawn - {"auroc_with", "effect_finding"})
    with (finished / "tables" / "loop.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == len(found["rows"])
    by_place = {(x["metric"], x["variant"], x["at"]): float(x["value"]) for x in lines if x["value"]}
    for row in found["rows"]:
        if row["value"] is not None:
            assert by_place[row["metric"], row["variant"], row["at"]] == pytest.approx(row["value"])
    assert {p.name for p in (finished / "tables").iterdir()} == {
        f"{name}.{kind}" for name in ("loop", "aims", "orders", "sessions", "training") for kind in ("csv", "json")
    }


@pytest.mark.browser
def test_axe_finds_nothing_in_the_report(finished, browser):
    page = browser.new_page()
    page.goto((finished / "report.html").as_uri())
    assert violations(page) == []
    page.close()


def made(rng, level, seeds=2):
    draws = Bootstrap(range(200), 200)
    noise = rng.normal(0, 0.01, 200)
    return [mean_over_images(level + noise + rng.normal(0, 0.001, 200), draws) for _ in range(seeds)]


@pytest.mark.parametrize(
    ("goal", "base", "control", "after", "met", "shown"),
    [
        ("half", 0.20, 0.10, 0.09, (True, False), ("yes", "no")),
        ("rise", 0.20, 0.30, 0.25, (True, False), ("yes", "no")),
        ("keep", 0.80, 0.90, 0.85, (True, False), ("yes", "no")),
        ("half", -0.10, 0.10, 0.01, (None, True), ("unclear", "yes")),
    ],
)
def test_an_aim_is_met_where_the_figures_say_so(goal, base, control, after, met, shown):
    study = load_study("annotation-loop", ["loop.numbers=[30]"])
    rng = np.random.default_rng(0)
    places = {(BASE, 0): base, ("labels only", 30): control, ("marks", 30): after}
    found = {place: {"auroc_gap": made(rng, level, seeds=5)} for place, level in places.items()}
    (told,) = correct_aims([reach(found, Aim("auroc_gap", goal), study, "marks")])
    assert {told["against"][a]["beyond"]["recipes"]["tests"] for a in (BASE, "labels only")} == {2}
    assert tuple(told["against"][a]["met"] for a in (BASE, "labels only")) == met
    assert tuple(told["against"][a]["shown"] for a in (BASE, "labels only")) == shown
    said = summarize_loop([told], 30)
    assert len(said) == 2
    assert ("is met." in said[0]) == (met[0] is True)
    assert ("not met" in said[1]) == (met[1] is False)
    assert ("nothing to halve" in said[0]) == (met[0] is None)


@pytest.mark.parametrize("seeds", [1, 3])
def test_an_aim_is_met_where_it_is_shown_and_one_seed_says_nothing_of_the_training(seeds):
    study = load_study("annotation-loop", ["loop.numbers=[30]"])
    rng = np.random.default_rng(0)
    levels = {(BASE, 0): 0.2, ("labels only", 30): 0.2, ("marks", 30): 0.0999}
    places = {place: {"auroc_gap": made(rng, level, seeds)} for place, level in levels.items()}
    reached = correct_aims([reach(places, Aim("auroc_gap", "half"), study, "marks")])
    sentences = summarize_loop(reached, 30)
    assert sentences[0].startswith("This says nothing about the recipes (one training") == (seeds == 1)
    against = reached[0]["against"][BASE]
    assert (against["met"], against["shown"]) == (True, "unclear")
    assert "the aim is shown to be met in 0 of 1 points" in sentences[-2]
    assert "leave it open" in sentences[-2]
    *alone, said = lead(reached, 30)
    assert len(alone) == (seeds == 1)
    assert said.startswith("“marks”, 30 images: the aims shown to be met are 0 of 1 against “cheating” and 0 of 1 ")


def test_what_became_worse_is_said_where_the_corrected_p_says_so():
    def row(metric, low, high, arm="marks", at="30"):
        one = Inference.even((low + high) / 2, (high - low) / 4)
        bars = [Bar(loop_metric(metric).better)]
        (difference,) = judge_family([Difference(one.value, 9, one, one).to_json()], bars, "exploratory")
        return {"metric": metric, "variant": arm, "at": at, "value": 0.5, "against_control": difference}

    rows = [
        row("auroc_others", -0.03, -0.01),
        row("cam_marker", 0.1, 0.3),
        row("cam_finding", 0.1, 0.3),
        row("effect_marker", -0.3, 0.1),
        row("auroc_gap", 0.1, 0.2),  # an aim, of which is spoken elsewhere
        row("auroc_with", -0.2, -0.1),  # the shortcut itself
        row("ara_attack", -0.2, -0.1, at="10"),
    ]
    said = costs(rows, ["marks"], 30, "labels only", ["auroc_gap"])
    assert said == [
        "“marks”, 30 images, is worse than “labels only” in: AUROC, other findings 0.520 → 0.500; "
        "CAM on the marker 0.3000 → 0.5000."
    ]
    once = {"low": None, "high": None, "reason": "one training", "verdict": "unclear"}
    alone = [one | {"against_control": one["against_control"] | {"recipes": once}} for one in rows]
    assert costs(alone, ["marks"], 30, "labels only", ["auroc_gap"]) == [
        said[0].replace("is worse than “labels only” in", "costs these networks, against “labels only”")
    ]
    assert costs(rows[3:], ["marks"], 30, "labels only", ["auroc_gap"])[0].endswith(
        "nothing that these seeds and images could show."
    )


@pytest.mark.parametrize(
    ("value", "margin", "said"),
    [
        (0.002, 0.01, "+0.0020 [+0.0001, +0.0039], less than 0.010 either way."),
        (0.008, 0.01, "+0.0080 [+0.0061, +0.0099], less than 0.010 either way."),  # and does not read as touching it
        (0.009, 0.01, "+0.009 [+0.007, +0.011], no loss of more than 0.010."),
        (0.002, 0.0, "+0.0020 [+0.0001, +0.0039]."),
        (0.001, 0.0, "+0.001 [−0.001, +0.003], no difference that these seeds and images could show."),
    ],
)
def test_an_order_is_judged_by_the_studys_margin(value, margin, said):
    one = Inference.even(value, 0.00095)
    (difference,) = judge_family([Difference(value, 9, one, one).to_json()], [Bar(1, margin)], "exploratory")
    place = {"metric": "auroc_others", "arm": "marks", "other": "marks, random", "number": 30}
    assert order_sentence(place | {"difference": difference}).endswith(said)


def test_orders_of_images_are_compared_image_by_image(finished):
    found = results(finished)
    for one in found["orders"]:
        other = value(found, one["metric"], one["other"], one["number"])
        own = value(found, one["metric"], one["arm"], one["number"])
        assert (one["arm"], one["other"]) == ("marks", "marks, random")
        assert one["difference"]["value"] == pytest.approx(own["value"] - other["value"], abs=1e-9)
    assert len(found["orders"]) == 4
    assert sum("“marks” less “marks, random”" in sentence for sentence in found["conclusion"]) == 4


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["loop.numbers=[30, 10]"], "ascend"),
        (["loop.numbers=[0, 30]"], "from 1; found 0, 30"),
        (["loop.aim=20"], "aim must be one of numbers, 10, 30, 100; found 20"),
        (["loop.arms=[{label='a'}, {label='b', acquisition='random'}]"], "one without"),
        (["loop.arms=[{label='a b'}, {label='a-b', marks=false}]"], "label of its own"),
        (["loop.arms=[{label='a', acquisition='disagreement'}, {label='b', marks=false}]"], "'mixed'"),
        (["variants=[{recipe='standard', label='a'}, {recipe='standard', label='b'}]"], "one variant"),
        (["data.options.shortcuts.letter=none"], "planted shortcut"),
        (["evaluation.trust.methods=['cam']"], "leave evaluation.trust.methods empty"),
        (["loop.arm=1"], "arms"),
    ],
)
def test_a_loop_that_cannot_work_is_refused_at_once(changes, told):
    with pytest.raises(InputError, match=re.escape(told)):
        load_study("annotation-loop", changes)


def test_a_wrong_recipe_of_the_loop_is_refused_before_anything_is_trained(tmp_path):
    study = load_study("annotation-loop", [*SMALL, "loop.settings.training.epoch=1"])
    with pytest.raises(InputError, match="epochs"):
        run_study(study, None, tmp_path / "out", device="cpu", jobs=1)
    assert not (tmp_path / "out").exists()


def test_the_bundled_study_says_what_its_settings_were_chosen_on():
    study = load_study("annotation-loop")
    assert isinstance(study.loop, LoopSettings)
    assert study.data.seed != 0  # on whose images they were
    assert study.loop.control.acquisition == study.loop.marking[0].acquisition
    assert study.cost
