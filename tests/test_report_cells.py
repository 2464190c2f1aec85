"""A figure as text in the report: its interval and seeds, what is undefined, and what counts as a difference."""

from __future__ import annotations

import pytest

from pellucid.report.tables.cells import compare, estimate, verdict
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


@pytest.mark.parametrize(
    ("name", "low", "high", "said"),
    [
        ("auroc", 0.01, 0.02, "better"),
        ("auroc", -0.02, -0.01, "worse"),
        ("afp", -0.02, -0.01, "better"),
        ("afp", 0.01, 0.02, "worse"),
        ("mean_box_area", 0.01, 0.02, "differs"),
        ("auroc", -0.01, 0.02, ""),
        ("auroc", 0.0, 0.02, ""),
        ("auroc", None, None, ""),
    ],
)
def test_a_difference_is_called_one_only_where_its_interval_excludes_zero(name, low, high, said):
    assert verdict({"low": low, "high": high}, metric(name).better) == said


def test_differences_carry_signs_and_the_range_of_the_seeds():
    row = {"value": 0.0213, "low": 0.004, "high": 0.038, "n": 5, "seeds": [0.03, None, 0.01]}
    delta = compare(row, metric("pointing"))
    assert (delta.value, delta.interval, delta.seeds) == (
        "+0.021",
        "[+0.004, +0.038]",
        "seeds +0.010 to +0.030",
    )
    assert number(-1e-9, signed=True) == "0.000"
