"""A figure as text in the report: its interval and seeds, what is undefined, and what counts as a difference."""

from __future__ import annotations

import pytest

from pellucid.evaluation.metrics.differences import Difference, Inference
from pellucid.evaluation.metrics.verdicts import Bar, judge_family
from pellucid.report.tables.cells import compare, estimate
from pellucid.report.tables.metrics import metric, number


def test_a_figure_carries_its_interval_seeds_and_n():
    row = {
        "value": 0.81249,
        "low": 0.79,
        "high": 0.8333,
        "n": 460,
        "seeds": [0.8, 0.82],
        "seed_spread": 0.0141,
    }
    cell = estimate(row, metric("auroc"))
    assert (cell.value, cell.interval, cell.seeds, cell.n) == (
        "0.812",
        "[0.790, 0.833]",
        "±0.014 between seeds",
        460,
    )


@pytest.mark.parametrize("value", [None, float("nan")])
def test_what_is_undefined_says_so_and_why_and_is_never_zero(value):
    row = {
        "value": value,
        "low": None,
        "high": None,
        "n": 12,
        "reason": "no positives",
        "seeds": [None, None],
    }
    cell = estimate(row | {"difference": dict(row)}, metric("auroc"))
    assert (cell.value, cell.reason, cell.undefined, cell.difference) == (
        "undefined",
        "no positives",
        True,
        None,
    )
    assert "0" not in cell.value + cell.interval
    only_the_difference = estimate(row | {"value": 0.5, "difference": dict(row)}, metric("auroc"))
    assert only_the_difference.difference.value == "undefined"
    assert only_the_difference.interval == "[no interval]"


def judged(value, error, *, name="auroc", df=4, margin=0.0, trainings=True):
    """A difference as a study writes it, of one comparison that is a family of its own."""
    nothing = Inference(value, reason="one training")
    recipes = Inference.even(value, error, [(error**2, df)]) if trainings else nothing
    difference = Difference(value, 5, Inference.even(value, error), recipes)
    return judge_family([difference.to_json()], [Bar(metric(name).better, margin)], "exploratory")[0]


@pytest.mark.parametrize(
    ("name", "value", "error", "verdict"),
    [
        ("auroc", 0.03, 0.01, "better"),
        ("auroc", -0.03, 0.01, "worse"),
        ("afp", -0.03, 0.01, "better"),
        ("afp", 0.03, 0.01, "worse"),
        ("mean_box_area", 0.03, 0.01, "differs"),
        ("auroc", 0.02, 0.01, ""),  # of the networks alone it would be one
    ],
)
def test_a_recipe_is_called_better_only_where_other_trainings_would_show_it(name, value, error, verdict):
    cell = compare(judged(value, error, name=name), metric(name))
    assert cell.verdict == verdict
    assert cell.networks.startswith(f"{'higher' if value > 0 else 'lower'} for these networks [")
    assert cell.p.startswith("p 0.")


def test_of_one_training_each_only_the_networks_are_called_higher_or_lower():
    cell = compare(judged(0.0213, 0.005, name="pointing", trainings=False), metric("pointing"))
    assert (cell.value, cell.interval, cell.verdict, cell.p) == ("+0.021", "", "", "")
    assert cell.networks == "higher for these networks [+0.012, +0.031]"
    assert number(-1e-9, signed=True) == "0.000"


def test_a_gain_that_a_trivial_map_exceeds_says_so():
    below = {"below_trivial": {"map": "mean box", "value": 0.6}}
    assert "best trivial map (mean box)" in compare(judged(0.03, 0.01) | below, metric("pointing")).below
    assert compare(judged(0.03, 0.1) | below, metric("pointing")).below == ""
