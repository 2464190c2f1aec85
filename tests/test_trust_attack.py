"""The attack on explanations in the table of trust: the same figures as the attack alone, and reasons where none is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from helpers.models import small
from helpers.trust import samples_of
from pellucid.data.registry import open_dataset
from pellucid.evaluation.manipulation.attack import manipulate
from pellucid.evaluation.manipulation.settings import Attack
from pellucid.evaluation.manipulation.summary import manipulation_summary
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.trivial_maps import edges
from pellucid.evaluation.trust import run as trust_run
from pellucid.evaluation.trust.attack import MEASURED, NO_SLOPE, NONE_ATTACKED, judge_attack
from pellucid.evaluation.trust.findings import TrustSettings
from pellucid.evaluation.trust.run import TrustJudge
from pellucid.evaluation.trust.yardsticks import CENTRED, EDGES

SETTINGS = TrustSettings(samples=1, examples=2, attacked=4, attack_steps=3, budgets=(0.01, 0.03))


@pytest.fixture(scope="module")
def stage():
    options = {"size": 32, "train": 1, "validation": 1, "test": 7, "prevalence": 0.5}
    data = open_dataset("phantom", options=options)["test"]
    net = small(classes=data.classes)
    return net, samples_of(net, data)


@pytest.mark.slow
def test_the_figures_are_those_of_the_attack_alone(stage):
    net, subjects = stage
    found = judge_attack("saliency", net, subjects, SETTINGS)
    rows = [0, 2, 4, 6]
    images, targets = subjects.images[rows], subjects.targets[rows]
    manipulations = {
        goal: manipulate(net, images, Attack("saliency", goal, SETTINGS.budgets, steps=3), targets=targets)
        for goal in ("same-decision", "same-map")
    }
    expected = {goal: manipulation_summary(m, Bootstrap(rows)) for goal, m in manipulations.items()}
    forged, moved = expected["same-decision"], expected["same-map"]
    assert found.values["attacked_rank"].mean() == pytest.approx(forged["areas"]["rank_correlation"]["value"])
    assert found.values["map_invalidated"].mean() == pytest.approx(forged["areas"]["invalidated"]["value"])
    assert found.values["decision_invalidated"].mean() == pytest.approx(moved["areas"]["invalidated"]["value"])
    curve = [1.0, *(point["value"] for point in forged["curves"]["rank_correlation"])]
    np.testing.assert_allclose(found.curves["attack_rank"], curve)
    assert found.curves["attack_rank"][-1] < found.curves["attack_noise"][-1]  # it does more than noise of its size
    assert found.curves["maps_rows"].tolist() == rows[:2]
    kept, moved_maps = manipulations["same-decision"], manipulations["same-map"]
    for i in range(4):  # beside them: what the same images do to the edges, image by image, by scipy
        before = edges(images[i : i + 1])[0].flatten()
        curves = [[1.0], [0.0], [0.0]]
        for b in range(2):
            ranks = [
                spearmanr(edges(m.perturbed[b, i : i + 1])[0].flatten(), before).statistic for m in (kept, moved_maps)
            ]
            curves[0].append(ranks[0])
            curves[1].append(float(kept.constraint_met[b, i] and ranks[0] <= 0.5))
            curves[2].append(float(moved_maps.constraint_met[b, i] and ranks[1] >= 0.9))
        areas = [np.trapezoid(curve, [0, 0.01, 0.03]) / 0.03 for curve in curves]
        assert [found.yardsticks[EDGES][name][i] for name in MEASURED] == pytest.approx(areas, abs=1e-6)
    still = found.yardsticks[
        CENTRED
    ]  # never moves: not refuted by any attack, and any other decision is at the same map
    assert still["attacked_rank"] == pytest.approx(np.ones(4))
    assert still["map_invalidated"].tolist() == [0.0] * 4
    assert (still["decision_invalidated"] >= found.values["decision_invalidated"]).all()
    assert (found.yardsticks[EDGES]["attacked_rank"] < 1).all()
    moved_by = found.curves["maps_images"] - images[:2].numpy()
    assert np.sqrt((moved_by**2).mean((1, 2, 3))).max() <= 0.03 + 1e-6


def test_what_has_no_slope_or_is_not_asked_for_has_a_reason(stage):
    net, subjects = stage
    assert judge_attack("occlusion", net, subjects, SETTINGS).reasons == dict.fromkeys(MEASURED, NO_SLOPE)
    assert judge_attack("cam", net, subjects, replace(SETTINGS, attacked=0)).reasons == dict.fromkeys(
        MEASURED, NONE_ATTACKED
    )


@pytest.mark.slow
def test_attacks_are_kept_by_their_number_and_stand_in_the_table(stage, tmp_path):
    net, subjects = stage
    trust = TrustJudge(net, subjects, ["saliency", "occlusion"], SETTINGS).judge(tmp_path)
    rows = {(r.measure, r.method): r for r in trust.rows}
    assert rows["attacked_rank", "saliency"].n == 4
    assert rows["max_sensitivity", "saliency"].n == 7
    assert rows["attacked_rank", "saliency"].verdict in {"not refuted", "no", "unclear"}
    assert NO_SLOPE in rows["attacked_rank", "occlusion"].reason
    assert rows["attacked_rank", "trivial: centred, saliency"].value == pytest.approx(1)
    assert rows["map_invalidated", "trivial: edges of the image, saliency"].verdict is None
    assert trust.methods["saliency"].cost["attack_gradient_evaluations"] > 0
    again = TrustJudge(net, subjects, ["saliency"], SETTINGS).judge(tmp_path)
    assert [r for r in again.rows if r.method == "saliency"] == [r for r in trust.rows if r.method == "saliency"]
    fewer = TrustJudge(net, subjects, ["saliency"], replace(SETTINGS, attacked=2)).judge(tmp_path)
    assert next(r.n for r in fewer.rows if r.measure == "attacked_rank" and r.method == "saliency") == 2
    assert sorted(p.name for p in tmp_path.glob("saliency*")) == [
        "saliency.attacked-2x3.npz",
        "saliency.attacked-4x3.npz",
        "saliency.npz",
    ]


@pytest.mark.slow
def test_attacks_are_kept_by_the_thresholds_that_decide(stage, tmp_path, monkeypatch):
    """Other thresholds are other decisions: what an attack on them found must not stand for these."""
    asked = []

    def judged(name, *given, thresholds, **named):
        asked.append(thresholds)
        return judge_attack(name, *given, thresholds=thresholds, **named)

    monkeypatch.setattr(trust_run, "judge_attack", judged)
    net, subjects = stage
    even, sure = [0.5] * len(net.classes), [0.9] * len(net.classes)
    for thresholds in (None, even, sure, even):
        TrustJudge(net, subjects, ["saliency"], SETTINGS, thresholds=thresholds).judge(tmp_path)
    assert asked == [None, even, sure]
