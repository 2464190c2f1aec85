"""What a study says: of recipes only what other trainings would show, corrected, and no gain without its price."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as students_t

from pellucid.evaluation.metrics.comparison import Row
from pellucid.evaluation.metrics.differences import ONE_TRAINING, Difference, Inference
from pellucid.evaluation.metrics.paired_tests import holm
from pellucid.evaluation.metrics.verdicts import Bar, judge_family, verdict
from pellucid.report.pages.study import opening_of
from pellucid.report.tables.cells import compare
from pellucid.report.tables.long_form import flat
from pellucid.report.tables.metrics import metric, p_text
from pellucid.study import load_study
from pellucid.study.conclusions import check_primary, judge_rows
from pellucid.study.context import StudyContext
from pellucid.study.evaluation_data import prepare_evaluation_data
from pellucid.study.summary import summarize_study
from pellucid.types import InputError

NOTHING = ["conclusions.primary=[]"]
AUPRC = "{section='localization', metric='auprc', method='cam', target='findings'}"
AUPRC_NO_WORSE = f"primary=[{AUPRC.replace('}', ', ')}aim='no worse'}}]"
SMALL = "data.options={size=32, train=8, validation=8, test=24, prevalence=0.4}"


def row(change, error=0.01, *, df=4, section="classification", metric="auroc", value=0.8, trainings=True, **where):
    """A row of the robust variant whose difference has this error for both questions."""
    alone = Inference(change, reason=ONE_TRAINING)
    recipes = Inference.even(change, error, [(error**2, df)]) if trainings else alone
    difference = Difference(change, 10, Inference.even(change, error), recipes).to_json()
    place = {"class_name": "mean", **where}
    return Row(section, metric, variant="robust", value=value, low=0.7, high=0.9, n=10, difference=difference, **place)


def trivial(value, **where):
    return Row(
        "localization", where["metric"], "mean", "", value, 0.1, 0.9, 10, method="trivial: mean box", target="findings"
    )


def turned(difference):
    """The same the other way round."""
    answers = {
        name: Inference.from_json(difference["value"], difference[name]).turned() for name in ("networks", "recipes")
    }
    return Difference(-difference["value"], difference["n"], **answers).to_json()


def conclude(rows, *overrides):
    study = load_study("demo", [*NOTHING, *overrides])
    return summarize_study(study, judge_rows(rows, study.conclusions, ["robust"]))


def test_p_values_of_a_family_are_corrected_together_and_question_by_question():
    rng = np.random.default_rng(0)
    t = rng.normal(size=5) * 2
    differences = [
        Difference(0.01 * x, 9, Inference.even(0.01 * x, 0.01), Inference.even(0.01 * x, 0.01, [(0.0001, 4)]))
        for x in t
    ]
    family = judge_family([d.to_json() for d in differences], [Bar(1)] * 5, "primary")
    for question, df in (("networks", math.inf), ("recipes", 4)):
        raw = [2 * students_t.sf(abs(x), df) for x in t]
        assert [d[question]["p"] for d in family] == pytest.approx(raw)
        assert [d[question]["p_corrected"] for d in family] == pytest.approx(holm(raw))
        assert {d[question]["tests"] for d in family} == {5}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_one_comparison_and_several_are_judged_on_one_scale(count):
    """Interval, raw p and corrected p of recipes are by the trainings' own degrees of freedom; either aim and side."""
    t, own = np.linspace(2.2, 4.0, count), 4
    answers = [Inference.even(0.01 * x, 0.01, [(0.00004, own), (0.00006, own)]) for x in t]
    alone = [Inference.even(0.01 * x, 0.01) for x in t]
    differences = [Difference(0.01 * x, 9, *both).to_json() for x, *both in zip(t, alone, answers, strict=True)]
    there = students_t(own)
    family = [one["recipes"] for one in judge_family(differences, [Bar(1)] * count, "primary")]
    assert [one["p"] for one in family] == pytest.approx([2 * there.sf(x) for x in t])
    assert [one["high"] for one in family] == pytest.approx([0.01 * (x + there.ppf(0.975)) for x in t])
    assert [one["p_corrected"] for one in family] == pytest.approx(holm([2 * there.sf(x) for x in t]))
    networks = [one["networks"]["p_corrected"] for one in judge_family(differences, [Bar(1)] * count, "primary")]
    assert networks == pytest.approx(holm([2 * norm.sf(x) for x in t]))
    margin = Bar(1, 0.01, "no worse")
    kept, lost = (judge_family(d, [margin] * count, "primary") for d in (differences, [turned(d) for d in differences]))
    assert [one["recipes"]["p_corrected"] for one in kept] == pytest.approx(holm([2 * there.sf(x + 1) for x in t]))
    worse = [one["recipes"]["p_worse_corrected"] for one in lost]
    assert worse == pytest.approx(holm([2 * there.sf(x - 1) for x in t]))


def test_a_comparison_without_an_answer_is_none_of_several():
    """Two recipes of which one was trained once, beside one that has an answer: that counts alone."""
    known = Difference(0.03, 9, *[Inference.even(0.03, 0.01, [(0.0001, 4)])] * 2)
    once = Difference(0.03, 9, Inference.even(0.03, 0.01), Inference(0.03, reason=ONE_TRAINING))
    first, second = (one["recipes"] for one in judge_family([known.to_json(), once.to_json()], [Bar(1)] * 2, "primary"))
    assert first["p_corrected"] == pytest.approx(2 * students_t.sf(3, 4))
    assert (first["tests"], second["p_corrected"], second["verdict"]) == (1, None, "")


@pytest.mark.parametrize(
    ("value", "error", "bar", "said"),
    [
        (-0.002, 0.0008, Bar(1, 0.01), "same"),  # shown, and of no use
        (-0.002, 0.0008, Bar(1), "worse"),  # the study names no margin
        (-0.03, 0.004, Bar(1, 0.01), "worse"),
        (0.03, 0.004, Bar(-1, 0.01), "worse"),
        (-0.008, 0.003, Bar(1, 0.01), "unclear"),  # below 0, perhaps by more than the margin
        (0.004, 0.006, Bar(1, 0.01), "no worse"),
        (0.0, 0.02, Bar(1, 0.01), "unclear"),
        (0.03, 0.004, Bar(0), "differs"),
        (0.03, 0.004, Bar(1, 0.01, "no worse"), "no worse"),
        (-0.03, 0.004, Bar(1, 0.01, "no worse"), "worse"),
        (-0.012, 0.004, Bar(1, 0.01, "no worse"), "unclear"),
        (0.03, math.nan, Bar(1), ""),
    ],
)
def test_a_difference_of_no_use_is_not_called_one(value, error, bar, said):
    difference = Difference(value, 9, *[Inference.even(value, error)] * 2)
    (judged,) = judge_family([difference.to_json()], [bar], "primary")
    assert judged["recipes"]["verdict"] == judged["networks"]["verdict"] == said


ANSWERS = [
    ("classification", name) for name in ("auroc", "average_precision", "accuracy", "balanced_accuracy", "recall")
]
ANSWERS += [("robustness", "auroc"), ("robustness", "accuracy"), ("ara", "accuracy"), ("ara", "balanced_accuracy")]


@pytest.mark.parametrize(("section", "name"), ANSWERS)
def test_every_score_of_answers_has_a_margin_unless_the_study_says_otherwise(section, name):
    """−0.002 [−0.004, 0.000] of no use is the same for all of them, and worse only where the study names no margin."""
    small = row(-0.002, 0.0005, section=section, metric=name)
    for margin, said in (([], "same"), ([f"conclusions.margin={{{name}=0}}"], "worse")):
        (judged,) = judge_rows([small], load_study("demo", [*NOTHING, *margin]).conclusions, ["robust"])
        assert judged.difference["recipes"]["verdict"] == said
        assert ("no margin stated" in compare(judged.difference, metric(name)).p) == (said == "worse")


@pytest.mark.parametrize(
    ("section", "name", "stated"),
    [("localization", "pointing", "pointing"), ("wang", "accuracy", "wang_accuracy"), ("sweep", "afp", "wang_afp")],
)
def test_where_explanations_fall_has_no_margin_unless_stated_and_says_so(section, name, stated):
    small = row(0.002, 0.0001, section=section, metric=name, method="cam", target="findings")
    for margin, said in (([], ("better", "worse")), ([f"conclusions.margin={{{stated}=0.01}}"], ("same",))):
        study = load_study("demo", [*NOTHING, *margin])
        (judged,) = judge_rows([small], study.conclusions, ["robust"])
        assert judged.difference["recipes"]["verdict"] in said
        assert ("no margin stated" in compare(judged.difference, metric(name)).p) == (not margin)
        sentence = summarize_study(study, [judged])[-1]
        assert ("1 of these differences is below 0.01, with no margin stated" in sentence) == (
            section == "localization" and not margin
        )
    one_training = row(0.002, 0.0001, section=section, metric=name, method="cam", target="findings", trainings=False)
    (judged,) = judge_rows([one_training], load_study("demo", NOTHING).conclusions, ["robust"])
    assert compare(judged.difference, metric(name)).networks.endswith("; no margin stated")


def test_delongs_p_is_corrected_in_its_family_in_the_place_of_the_intervals():
    rows = [row(0.02, class_name="Mass"), row(0.03, class_name="Nodule"), row(0.01, class_name="Mass", metric="recall")]
    for one, p in zip(rows, (0.03, 0.01, None), strict=True):
        one.difference["networks"] |= {} if p is None else {"p_delong": p}
    judged = [r.difference["networks"] for r in judge_rows(rows, load_study("demo", NOTHING).conclusions, ["robust"])]
    third = 2 * norm.sf(0.01 / 0.01)
    assert third > 0.06
    assert [one.get("p_delong_corrected") for one in judged] == pytest.approx([2 * 0.03, 3 * 0.01, None])
    assert [one["p_corrected"] for one in judged] == pytest.approx(holm([2 * norm.sf(z) for z in (2, 3, 1)]))
    line = flat(replace(rows[0], difference=rows[0].difference | {"networks": judged[0]}).to_json())
    assert (line["networks_p_delong"], line["networks_p_delong_corrected"]) == (0.03, pytest.approx(0.06))
    assert (
        "; DeLong p 0.030, corrected 0.060"
        in compare(rows[0].difference | {"networks": judged[0]}, metric("auroc")).networks
    )


def test_a_sentence_of_a_difference_within_the_margin_reads_so():
    said = conclude([row(0.0041, 0.0021)])[-1]
    assert "differs by less than 0.010 from that of baseline: 0.796 → 0.800 (+0.0041 [−0.0017, +0.0099] over" in said


def test_no_worse_is_one_of_two_one_sided_tests_at_the_bar_of_its_interval():
    for value in np.linspace(-0.02, 0.01, 31):
        one = Inference.even(float(value), 0.004, [(0.004**2, 5)])
        (judged,) = judge_family([Difference(one.value, 9, one, one).to_json()], [Bar(1, 0.01, "no worse")], "primary")
        assert judged["recipes"]["p_no_worse"] == pytest.approx(min(1, 2 * students_t.sf((value + 0.01) / 0.004, 5.0)))
        assert (judged["recipes"]["verdict"] == "no worse") == (one.low > -0.01)
        assert verdict(one, one.p, Bar(1)) == ("worse" if one.high < 0 else "better" if one.low > 0 else "unclear")


@pytest.mark.parametrize("better", [1, -1])
@pytest.mark.parametrize("one", [Inference(-0.002, 0.003, 0.02), Inference(0.004, 0.02, 0.002, None, ((2e-6, 5),))])
def test_no_worse_asks_the_end_of_the_interval_on_the_worse_side(one, better):
    """The sides reach differently far: the test is passed just where the worse end is inside the margin."""
    worse_end = one.low if better > 0 else -one.high
    difference = Difference(one.value, 9, one, one).to_json()
    (judged,) = judge_family([difference], [Bar(better, 0.01, "no worse")], "primary")
    for question in ("networks", "recipes"):
        assert (judged[question]["p_no_worse"] <= 0.05) == (worse_end > -0.01)
        assert (judged[question]["verdict"] == "no worse") == (worse_end > -0.01)


def test_worse_by_more_than_the_margin_is_corrected_for_how_many():
    far, near = (Difference(value, 9, *[Inference.even(value, 0.0045)] * 2).to_json() for value in (-0.02, 0.0))
    bar = Bar(1, 0.01, "no worse")
    assert 2 * students_t.sf(0.01 / 0.0045, math.inf) == pytest.approx(0.026, abs=1e-3)
    for family, said in (([far], "worse"), ([far, near, near], "unclear")):
        first = judge_family(family, [bar] * len(family), "primary")[0]["recipes"]
        raw = 2 * students_t.sf(0.01 / 0.0045, math.inf)
        assert (first["p_worse"], first["p_worse_corrected"]) == pytest.approx((raw, len(family) * raw))
        assert first["verdict"] == said


@pytest.mark.parametrize("better", [1, -1])
@pytest.mark.parametrize("one", [Inference(-0.02, 0.003, 0.004), Inference(0.03, 0.008, 0.02, None, ((3e-5, 5),))])
def test_worse_by_more_than_the_margin_asks_the_better_end_of_the_interval(one, better):
    better_end = one.high if better > 0 else -one.low
    (judged,) = judge_family([Difference(one.value, 9, one, one).to_json()], [Bar(better, 0.01, "no worse")], "primary")
    for question in ("networks", "recipes"):
        assert (judged[question]["p_worse"] <= 0.05) == (better_end < -0.01)
        assert (judged[question]["verdict"] == "worse") == (better_end < -0.01)


def test_of_other_aims_worse_by_more_than_the_margin_is_not_corrected():
    one = Difference(-0.03, 9, *[Inference.even(-0.03, 0.01)] * 2).to_json()
    differs, without = (judge_family([one], [bar], "primary")[0]["recipes"] for bar in (Bar(1, 0.01), Bar(1)))
    assert differs["p_worse"] == pytest.approx(2 * students_t.sf(2.0, math.inf))
    assert (differs["p_worse_corrected"], without["p_worse"], without["p_worse_corrected"]) == (None, None, None)


@pytest.mark.parametrize(
    ("change", "trainings", "said"),
    [
        (0.05, True, "robust raises AUROC against baseline: 0.750 → 0.800 (+0.050 [+0.022, +0.078] over other tr"),
        (-0.05, True, "robust lowers AUROC against baseline: 0.850 → 0.800"),
        (0.015, True, "no difference in AUROC is shown between robust and baseline"),
        (0.05, False, "this robust network has a higher AUROC than this baseline one: 0.750 → 0.800 (+0.050 [+"),
        (0.005, False, "no difference in AUROC is shown between this robust network and this baseline one"),
    ],
)  # fmt: skip
def test_only_what_other_trainings_would_show_is_said_of_a_recipe(change, trainings, said):
    *first, last = conclude([row(change, trainings=trainings)])
    assert last.startswith(f"Exploratory: {said}")
    assert ("This says nothing about the recipes (one training" in first[0]) == (not trainings)
    assert "named no primary comparison" in first[-1]
    if not trainings:
        assert not any(word in last for word in ("raises", "lowers", "better", "worse"))


def test_where_pairs_were_lost_the_references_own_figure_is_said():
    place = {"method": "cam", "target": "findings"}
    reference = Row("localization", "auprc", "mean", "baseline", 0.44, 0.3, 0.6, 12, **place)
    lost = row(0.05, section="localization", metric="auprc", value=0.661, **place)
    study = load_study("demo", [f"conclusions.primary=[{AUPRC}]"])
    (said, *_) = summarize_study(study, judge_rows([reference, lost], study.conclusions, ["robust"]))
    assert "against baseline: 0.440 → 0.661 (+0.050 [+0.022, +0.078] on what both have over other tr" in said
    (said, *_) = summarize_study(
        study, judge_rows([replace(reference, value=0.611), lost], study.conclusions, ["robust"])
    )
    assert "against baseline: 0.611 → 0.661 (+0.050 [+0.022, +0.078] over other tr" in said


def test_a_study_says_its_primary_comparisons_first_and_corrects_them_apart():
    primary = f"conclusions.primary=[{{metric='auroc', aim='no worse'}}, {AUPRC}]"
    rows = [
        row(0.05, section="localization", metric="auprc", method="saliency", target="findings"),
        row(0.05, section="localization", metric="auprc", method="cam", target="findings"),
        row(0.001, 0.002),
        row(-0.1, class_name="Mass"),
    ]
    study = load_study("demo", [primary])
    judged = judge_rows(rows, study.conclusions, ["robust"])
    assert [r.difference["family"] for r in judged] == [
        "exploratory, localization on findings, means over classes",
        "primary",
        "primary",
        "exploratory, classification, single classes",
    ]
    assert [r.difference["recipes"]["tests"] for r in judged] == [1, 2, 2, 1]
    said = summarize_study(study, judged)
    assert said[0].startswith(
        "Primary comparison: robust raises AUPRC of the map of CAM on findings against baseline: 0.750 → 0.800"
    )
    assert said[1].startswith(
        "Primary comparison: AUROC of robust is not worse than that of baseline by more than 0.010: 0.799 → 0.800"
    )
    assert "after Holm for 2" in said[0]
    assert (
        "1 of 1 headline scores of the explanations is better, 0 are worse and 0 show no difference" in said[2]
    )  # the other was primary
    assert len(said) == 3


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            0.001,
            "Primary comparison: robust may lose more than 0.010 in AUROC against baseline: ",
        ),
        (-0.08, "Primary comparison: AUROC of robust is worse than that of baseline by more than 0.010: "),
    ],
)
def test_what_is_asked_to_be_no_worse_is_answered_as_that_question(change, sentence):
    said, *_ = conclude([row(change)], "conclusions.primary=[{metric='auroc', aim='no worse'}]")
    assert said.startswith(sentence)
    error = -0.08 + 0.01 if change < 0 else change + 0.01  # the p of what is said
    p = p_text(min(1, 2 * students_t.sf(abs(error) / 0.01, 4.0)))
    assert f"; p {p} for a loss of at {'most' if change < 0 else 'least'} 0.010)." in said


def test_the_primary_comparison_comes_before_what_is_not_known():
    sentences = conclude([row(0.05, trainings=False)], "conclusions.primary=[{metric='auroc'}]")
    said, caveat, *_ = sentences
    assert said.startswith("Primary comparison: this robust network has a higher AUROC")
    assert caveat.startswith("This says nothing about the recipes (one training")
    assert opening_of(sentences) == [said, caveat]  # the report opens with both


def test_what_is_known_of_networks_alone_counts_for_no_recipe():
    place = {"section": "localization", "target": "findings", "metric": "pointing"}
    rows = [row(-0.05, method="cam", **place), row(0.05, method="saliency", trainings=False, **place)]
    *_, said = conclude(rows)
    assert "0 of 2 headline scores of the explanations are better, 1 is worse and 1 shows no" in said
    assert said.endswith("Saliency on findings 0.75 → 0.80 (no difference shown).")


def test_of_networks_alone_it_is_counted_what_is_higher_and_lower():
    place = {"section": "localization", "target": "findings", "metric": "pointing", "trainings": False}
    rows = [row(0.05, method="cam", **place), row(-0.05, method="saliency", **place)]
    said = conclude(rows)[-1]
    assert "this robust network against this baseline one: 1 of 2 headline scores of the explanations is higher" in said
    assert "1 is lower and 0 show no difference" in said
    assert not re.search(r"\b(better|worse)\b", said)
    for change, what in ((-0.08, "is lower"), (0.08, "is not lower")):
        first, *_ = conclude([row(change, trainings=False)], "conclusions.primary=[{metric='auroc', aim='no worse'}]")
        assert f"AUROC of this robust network {what} than that of this baseline one by more than 0.010: " in first


def test_a_gain_below_a_trivial_map_and_a_lost_class_stand_in_the_same_sentence():
    place = {"section": "localization", "method": "cam", "target": "findings"}
    rows = [
        row(0.05, metric="auprc", **place),
        trivial(0.9, metric="auprc"),
        row(0.05, metric="pointing", **place),
        trivial(0.7, metric="pointing"),
        row(-0.489, class_name="Pneumothorax", value=0.509),
        row(-0.05, class_name="Mass", value=0.9),
        row(-0.4, math.nan, class_name="Hernia", value=0.5),  # of too few patients for a p
    ]
    *_, said = conclude(rows)
    assert "2 of 2 headline scores of the explanations are better (1 of them still below the best trivial map)" in said
    assert "; but it loses Pneumothorax (AUROC 0.998 → 0.509)." in said
    assert "Mass" not in said
    primary = f"conclusions.primary=[{AUPRC}]"
    first = conclude(rows, primary)[0]
    assert first.startswith("Primary comparison: robust raises AUPRC of the map of CAM on findings")
    assert first.endswith(
        "; still below the best trivial map (mean box, 0.900); but it loses Pneumothorax (AUROC 0.998 → 0.509)."
    )


def test_the_explanations_are_counted_by_what_is_better_and_worse():
    place = {"section": "localization", "target": "findings"}
    rows = [
        row(0.05, metric="pointing", method="cam", **place),
        row(-0.05, metric="pointing", method="saliency", **place),
        row(0.005, metric="auprc", method="cam", **place),
        row(0.05, metric="otsu_iou", method="cam", **place),  # no headline score
        row(0.05, metric="pointing", method="cam", class_name="Mass", **place),
    ]
    *_, said = conclude(rows)
    assert "1 of 3 headline scores of the explanations is better, 1 is worse and 1 shows no" in said
    assert said.endswith("Pointing game: CAM on findings 0.75 → 0.80, Saliency on findings 0.85 → 0.80.")


def test_conclusions_are_of_means_and_of_the_largest_attack():
    rows = [
        row(0.05, class_name="Mass"),
        row(0.05, section="robustness", metric="accuracy", at="PGD L∞ 0.001"),
        row(0.05, section="robustness", metric="accuracy", at="PGD L∞ 0.02"),
    ]
    (_, said) = conclude(rows)
    assert "raises accuracy under attack (PGD L∞ 0.02) against" in said


def test_an_undefined_difference_is_not_called_zero():
    nothing = Inference(math.nan, reason="no positives")
    difference = Difference(math.nan, 0, nothing, nothing, "no positives").to_json()
    *_, said = conclude([replace(row(0.0), difference=difference)])
    assert "(no positives)" in said
    assert "0.000" not in said


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("primary=[{metric='aurok'}]", "unknown metric 'aurok'"),
        ("primary=[{section='localization', metric='auprc', method='cam'}]", "needs method and target; look at target"),
        ("primary=[{metric='auroc', method='cam'}]", "has no method, target or at; look at method"),
        ("primary=[{section='localization', metric='auprc', method='grad-cam', target='findings'}]", "not a method"),
        (
            "primary=[{section='localization', metric='auprc', method='cam', target='finding'}]",
            "Did you mean 'findings'",
        ),
        ("primary=[{section='localization', metric='area_share', method='cam', target='findings'}]", "unknown metric"),
        ("primary=[{section='robustness', metric='accuracy', at={linf=0.3}}]", "not a size of evaluation.robustness"),
        ("primary=[{section='ara', metric='ara_btr'}]", "not measured"),
        ("primary=[{metric='auroc', variants=['baseline']}]", "not a variant other than the first"),
        (AUPRC_NO_WORSE, "no worse by how much"),
        ("margin={auroc=0}\nprimary=[{metric='auroc', aim='no worse'}]", "no worse by how much"),
        ("margin={auroc=-1}", "at least 0"),
        ("margin={pointin=0.1}", "Did you mean 'pointing'"),
    ],
)
def test_what_the_study_will_not_measure_cannot_be_its_conclusion(override, message):
    with pytest.raises(InputError, match="conclusions") as refused:
        load_study("demo", [f"conclusions.{one}" for one in override.split("\n")])
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("one", "message"),
    [("{metric='auroc', class_name='Maas'}", "no class 'Maas'"), ("{metric='accuracy'}", "several labels")],
)
def test_what_the_data_does_not_have_is_refused_before_training(one, message, tmp_path):
    study = load_study("demo", [SMALL, f"conclusions.primary=[{one}]"])
    data = prepare_evaluation_data(StudyContext(study, None, tmp_path))
    with pytest.raises(InputError, match=message):
        check_primary(study, data)


def under_pgd(size, value, high, variant="robust"):
    return Row("robustness", "auroc", "mean", variant, value, value - 0.05, high, 200, at=f"PGD L∞ {size}")


def test_a_network_trained_with_attacks_that_smaller_ones_turn_over_is_called_not_robust_first():
    own = load_study("demo").evaluation.robustness.sizes
    assert [str(size) for size in own] == ["PGD L∞ 0.005", "PGD L∞ 0.01", "PGD L∞ 0.02"]  # it trains with 0.01
    fallen = [under_pgd(0.005, 0.09, 0.16), under_pgd(0.01, 0.05, 0.1)]
    said = conclude([row(0.01), *fallen])
    assert said[0].startswith(
        "robust is not robust: it was trained with attacks of L∞ 0.01, and under PGD L∞ 0.005 its AUROC"
    )
    assert "0.090 [0.040, 0.160] (n 200)" in said[0]
    close = conclude([row(0.01), under_pgd(0.005, 0.45, 0.4998)])
    assert "0.4500 [0.4000, 0.4998] (n 200), below chance" in close[0]
    assert sum("is not robust" in sentence for sentence in said) == 1


@pytest.mark.parametrize(
    "rows",
    [
        [under_pgd(0.02, 0.05, 0.1)],  # larger than what it was trained with
        [under_pgd(0.005, 0.45, 0.52)],  # not below chance for certain
        [under_pgd(0.005, 0.09, math.nan)],  # no interval
        [under_pgd(0.005, 0.05, 0.1, variant="plain")],  # was not trained with attacks
    ],
)
def test_nothing_is_said_of_robustness_that_was_not_promised_or_is_not_lost_for_certain(rows):
    assert not [sentence for sentence in conclude([row(0.01), *rows]) if "is not robust" in sentence]
