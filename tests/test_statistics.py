"""The bootstrap against explicit resampling, and known intervals."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pellucid as pl
from pellucid.cli.output import show
from pellucid.evaluation.metrics.classification import auroc
from pellucid.evaluation.metrics.comparison import Row, classification_rows
from pellucid.evaluation.metrics.operating_points import operating_points
from pellucid.evaluation.metrics.statistics import (
    Bootstrap,
    Estimate,
    Replicates,
    as_array,
    mean_over_images,
    ratio,
    ratios,
)
from pellucid.evaluation.trust.rows import trust_row
from pellucid.report.pages import certified_maps, discovery, trust
from pellucid.report.tables import cells
from pellucid.report.tables.metrics import metric
from pellucid.types import InputError
from pellucid.utils.result import Footnotes, Table
from pellucid.utils.words import figure_text, interval_text, value_text, whole_percent
from pellucid.verbs.evaluate import Evaluation
from pellucid.verbs.figures import FigureCells, figure_cell

PATIENTS = ["ann", "bob", "ann", "eve", "bob", "ann", "joe"]


def test_a_patient_is_drawn_with_all_images_and_as_many_patients_are_drawn_as_there_are():
    draws = Bootstrap(PATIENTS, resamples=300, seed=3)
    weights = draws.weights
    assert weights.shape == (300, 7)
    for name in set(PATIENTS):
        own = weights[:, [i for i, p in enumerate(PATIENTS) if p == name]]
        assert (own == own[:, :1]).all()
    one_each = weights[:, [PATIENTS.index(name) for name in ("ann", "bob", "eve", "joe")]]
    assert (one_each.sum(1) == 4).all()
    assert one_each.min() == 0
    assert one_each.max() > 1


def test_draws_depend_on_the_patients_and_the_seed_only():
    draws = Bootstrap(PATIENTS, resamples=50)
    turned = Bootstrap(PATIENTS[::-1], resamples=50)
    assert turned.key == draws.key
    assert (turned.weights[:, ::-1] == draws.weights).all()
    other = Bootstrap(PATIENTS, resamples=50, seed=1)
    assert other.key != draws.key
    assert (other.weights != draws.weights).any()
    part = draws.take([5, 5, 0])
    assert part.key == draws.key
    assert (part.weights == draws.weights[:, [5, 5, 0]]).all()


def test_small_chunks_draw_the_same_patients(monkeypatch):
    whole = Bootstrap(PATIENTS, resamples=40)
    figure = ratio(np.arange(7.0), np.ones(7), whole)
    monkeypatch.setattr("pellucid.evaluation.metrics.bootstrap.CHUNK", 12)
    pieces = Bootstrap(PATIENTS, resamples=40)
    assert (pieces.weights == whole.weights).all()
    np.testing.assert_allclose(ratio(np.arange(7.0), np.ones(7), pieces).samples, figure.samples)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(0, 10_000))
def test_a_ratio_is_that_of_the_images_written_out_as_often_as_they_are_drawn(count, seed):
    rng = np.random.default_rng(seed)
    top, bottom = rng.normal(size=(count, 3)), rng.integers(0, 3, size=(count, 3)).astype(float)
    top[rng.random((count, 3)) < 0.1] = math.nan
    draws = Bootstrap(rng.integers(0, 5, count).tolist(), resamples=8, seed=seed)
    for t, figure in enumerate(ratios(top, bottom, draws)):
        kept = ~np.isnan(top[:, t])
        used = draws.patients[kept & (bottom[:, t] != 0)]
        total = bottom[kept, t].sum()
        if total == 0:
            assert math.isnan(figure.value)
            assert figure.reason == "nothing to divide by"
            continue
        assert figure.value == pytest.approx(top[kept, t].sum() / total)
        for row, sample in zip(draws.weights, figure.samples, strict=True):
            rows = [i for i in range(count) for _ in range(int(row[i])) if kept[i]]
            below = sum(bottom[i, t] for i in rows)
            if below == 0 or len(set(used)) < 2:
                assert math.isnan(sample)
            else:
                assert sample == pytest.approx(sum(top[i, t] for i in rows) / below)


def test_the_interval_of_a_mean_has_the_standard_error_of_the_patients_not_of_the_images():
    rng = np.random.default_rng(0)
    by_patient = rng.normal(size=200)
    images = np.repeat(by_patient, 5)  # five identical images per patient: still only 200 numbers
    draws = Bootstrap(np.repeat(np.arange(200), 5).tolist(), resamples=2000)
    figure = mean_over_images(images, draws)
    error = by_patient.std() / math.sqrt(200)
    assert figure.samples.std() == pytest.approx(error, rel=0.08)
    found = figure.estimate()
    assert (found.high - found.low) == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert found.n == 1000


def test_nineteen_of_twenty_intervals_hold_the_truth():
    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(60), rng.integers(1, 6, 60))
    draws = Bootstrap(patients.tolist(), resamples=400)
    held = 0
    for _ in range(300):
        values = (rng.normal(size=60)[patients] + rng.normal(size=len(patients))) + 2.0
        found = mean_over_images(values, draws).estimate()
        held += found.low <= 2.0 <= found.high
    assert 0.90 <= held / 300 <= 0.98


def test_figures_of_other_patients_cannot_be_subtracted():
    a, b = (mean_over_images(np.arange(5.0), Bootstrap(groups)) for groups in (range(5), range(1, 6)))
    with pytest.raises(InputError, match="not paired"):
        a - b
    with pytest.raises(InputError, match="no figures"):
        Replicates.mean([])


def test_arithmetic_with_numbers():
    draws = Bootstrap(range(5), resamples=20)
    one = mean_over_images(np.arange(5.0), draws)
    made = (2 * one - 1.0) / 4 + 3.0
    assert made.value == pytest.approx((2 * 2.0 - 1) / 4 + 3)
    np.testing.assert_allclose(made.samples, (2 * one.samples - 1) / 4 + 3)


def test_a_mean_over_classes_says_what_it_leaves_out():
    draws = Bootstrap(range(6), resamples=50)
    known = mean_over_images(np.arange(6.0), draws)
    unknown = ratio(np.zeros(6), np.zeros(6), draws, reason="no positives")
    found = Replicates.mean([known, unknown, known + 2.0])
    assert found.value == pytest.approx(known.value + 1)
    assert found.reason == "1 of 3 figures undefined and left out"
    np.testing.assert_allclose(found.samples, known.samples + 1)
    nothing = Replicates.mean([unknown, unknown]).estimate()
    assert math.isnan(nothing.value)
    assert nothing.reason == "none of 2 is defined; no positives"
    assert Replicates.mean([unknown]).reason == "no positives"


def test_an_interval_needs_half_of_the_resamples_and_two_patients():
    samples = np.full(100, math.nan)
    samples[:49] = np.linspace(0, 1, 49)
    few = Replicates(0.5, samples, 7).estimate()
    assert few.value == 0.5
    assert math.isnan(few.low)
    assert few.reason == "undefined in 51 of 100 resamples"
    samples[49:51] = 0.5
    assert Replicates(0.5, samples, 7).estimate().low == pytest.approx(0.025, abs=0.02)
    alone = mean_over_images([1.0, 0.0, math.nan], Bootstrap(["ann", "ann", "bob"])).estimate()
    assert alone.value == 0.5
    assert math.isnan(alone.high)
    assert "1 patient only" in (alone.reason or "")
    assert "1 of 3 images undefined" in (alone.reason or "")
    assert "no interval" in str(alone)


@given(
    st.tuples(*[st.floats(allow_nan=True, allow_infinity=False)] * 3),
    st.integers(0, 10**6),
    st.none() | st.text(),
    st.none() | st.integers(0, 10**6),
)
def test_estimates_survive_json(numbers, n, reason, patients):
    estimate = Estimate(*numbers, n, reason, patients=patients)
    text = json.dumps(estimate.to_json(), allow_nan=False)
    back = Estimate.from_json(json.loads(text))
    np.testing.assert_equal(
        (back.value, back.low, back.high, back.n, back.reason, back.positives, back.patients),
        (*numbers, n, reason, None, patients),
    )


def test_tensors_and_wrong_shapes():
    assert as_array(torch.ones(2, dtype=torch.bfloat16, requires_grad=True)).tolist() == [1.0, 1.0]
    assert as_array(torch.ones(2, dtype=torch.int16)).dtype == np.int16
    with pytest.raises(InputError, match="cannot be taken"):
        ratio([1.0, 2.0], [1.0, 1.0], Bootstrap(range(3)))
    with pytest.raises(InputError, match="there are no images"):
        Bootstrap([])


def test_a_mean_of_which_one_class_rests_on_too_few_says_why_it_has_no_interval():
    draws = Bootstrap([f"patient {i}" for i in range(12)], 50)
    truth = np.zeros((12, 2))
    truth[:6, 0] = truth[0, 1] = 1
    right = np.tile([1.0, 0.0, 1.0], 4)[:, None].repeat(2, 1)
    recalls = operating_points(right, truth, draws)[0]
    mean = Replicates.mean(recalls, of="classes").estimate()
    assert mean.value == pytest.approx(np.mean([right[truth[:, k] == 1, k].mean() for k in range(2)]))
    assert math.isnan(mean.low)
    assert "1 image only" in mean.reason


def test_one_class_of_one_image_does_not_take_the_interval_of_a_mean_auroc():
    rng = np.random.default_rng(0)
    draws = Bootstrap([f"patient {i}" for i in range(120)], 50)
    truth = (rng.random((120, 4)) < 0.3).astype(float)
    truth[:, 3] = np.arange(120) == 7
    scores = truth + rng.normal(size=truth.shape)
    mean = Replicates.mean([auroc(scores[:, k], truth[:, k], draws) for k in range(4)]).estimate()
    assert mean.low < mean.value < mean.high


def test_a_table_on_the_terminal_shows_what_stands_in_brackets(capsys):
    show("figures [of a test]", ["class", "auroc"], [["mean", "0.800 [no interval: 3 patients]"]])
    printed = " ".join(capsys.readouterr().out.split())
    assert "[no interval: 3 patients]" in printed
    assert "figures [of a test]" in printed


def test_a_table_for_another_program_keeps_its_lines_whole(capsys, monkeypatch):
    """A pipe has no width of its own: columns of 70 letters are not cut to those of a narrow terminal."""
    row = ["x" * 70, "y" * 70]
    monkeypatch.delenv("COLUMNS", raising=False)
    show("t", ["a", "b"], [row])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "x" in line]
    assert [cell.strip() for cell in line.strip("│").split("│")] == row
    monkeypatch.setenv("COLUMNS", "80")  # a reader's own width
    show("t", ["a", "b"], [row])
    assert all(len(line) <= 80 for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("text", ["ends in \\", "\\[bold]", "[red]a[/red] \\", ":bug:", "C:\\"])
def test_a_table_on_the_terminal_changes_no_text(capsys, text):
    show(text, [text, "b"], [[text, text]])
    assert capsys.readouterr().out.count(text) == 4
    show("a", ["a"], [[text]])
    line = next(line for line in capsys.readouterr().out.splitlines() if text in line)
    assert line.strip("│ ") == text


@pytest.mark.parametrize(
    ("value", "low", "reason", "text"),
    [
        (0.8, 0.75, None, "0.800 [0.750, 0.900]"),
        (0.8, math.nan, "3 patients, and 5 are needed", "0.800 [no interval]¹"),
        (math.nan, math.nan, "no positives", "undefined¹"),
    ],
)
def test_a_figure_in_a_table_has_its_interval_or_the_reason_why_not_under_it(value, low, reason, text):
    cells = FigureCells([])
    row = Row("classification", "auroc", "mean", "", value, low, 0.9, 3, reason)
    assert [cells.text(row), cells.text(row)] == [text, text]
    assert cells.notes.lines == ([] if reason is None else [f"¹ {reason}"])


@pytest.mark.parametrize("text_of", ["{:.2f}".format, "{:+.2f}".format, whole_percent])
@pytest.mark.parametrize("sign", [-1, 1])
def test_an_interval_that_excludes_0_reads_so_and_no_0_has_a_sign(text_of, sign):
    for near in (0.3, 0.02, 0.004, 0.0007, 0.00002):
        ends = sorted((sign * near, sign * 0.5))
        texts = re.findall(r"[-+]?[\d.]+", figure_text(sign * 0.45, *ends, text_of))
        assert all(float(text) * sign > 0 for text in texts), texts
    assert figure_text(-0.0001, -0.02, 0.03, text_of)[:3].lstrip("+").startswith("0")


@pytest.mark.parametrize("text_of", ["{:.2f}".format, "{:.3f}".format, "{:+.2f}".format, whole_percent])
@pytest.mark.parametrize("bar", [0.5, 0.4973, 1 / 3, -0.02, 0.0, 1.0])
def test_an_end_of_an_interval_reads_on_its_side_of_the_bar_that_a_verdict_is_about(text_of, bar):
    """Whatever the distance, on both sides; the bar has the same decimals, and what is the bar reads as it."""
    scale = 100 if text_of is whole_percent else 1

    def read(text):
        return float(text.replace("%", "").strip()) / scale

    for near in (0.3, 0.02, 0.004, 0.0007, 0.00006, 0.000002):
        for low, high in (
            (bar + near, bar + 0.4),
            (bar - 0.4, bar - near),
            (bar - near, bar + 0.4),
            (bar - 0.4, bar + near),
        ):
            written = read(value_text(bar, low, high, text_of, [bar]))
            texts = interval_text(low, high, text_of, [bar])[1:-1].split(", ")
            for text, end in zip(texts, (low, high), strict=True):
                if text.startswith("just"):
                    assert read(text.split(maxsplit=2)[2]) == written
                    assert near < 0.0001
                    assert text.split()[1] == ("above" if end > bar else "below")
                else:
                    assert (read(text) > written) == (end > bar), (texts, written)
                    assert read(text) != written
    same = text_of(bar)
    assert interval_text(bar, bar + 0.3, text_of, [bar]).startswith(f"[{same},")
    assert interval_text(bar + 1e-16, bar + 0.3, text_of, [bar]).startswith(f"[{same},")  # but for rounding


def test_a_figure_on_a_page_has_as_many_decimals_as_its_interval():
    """Of trust, discovery and certified maps, and in a study's tables: each lies within its interval as it is read."""
    estimate = Estimate(0.0004, 0.0001, 0.0006, 40)
    values = {"value": 0.0004, "low": 0.0001, "high": 0.0006, "n": 40, "reason": None}
    row = trust_row("place_gain", "cam", estimate)
    for cell in (trust.figure_cell(row), discovery._figure(estimate), certified_maps._figure(values)):
        assert (cell["value"], cell["interval"]) == ("0.0004", "[0.0001, 0.0006]")
    cell = cells.estimate(values, metric("auroc"))
    assert (cell.value, cell.interval) == ("0.0004", "[0.0001, 0.0006]")


@pytest.mark.parametrize(
    ("low", "said", "ends"),
    [
        (0.5004, "not refuted", "[0.5004, 0.5500]"),
        (0.4996, "unclear", "[0.4996, 0.5500]"),
        (0.5, "unclear", "[0.500, 0.550]"),
        (0.503, "not refuted", "[0.503, 0.550]"),
    ],
)
def test_a_figure_of_trust_reads_on_its_side_of_the_bar_on_the_page_and_in_the_terminal(low, said, ends):
    row = trust_row("dependence_rank", "cam", Estimate(0.52, low, 0.55, 40))
    assert (row.bar, row.verdict) == (0.5, said)
    assert trust.figure_cell(row)["interval"] == ends
    shown = figure_cell(row, 2, Footnotes(), row.reason, [0.5])
    assert shown.endswith(ends if low != 0.5 else "[0.50, 0.55]")


def test_a_mean_with_an_interval_says_how_many_classes_are_left_out():
    targets = np.stack([(np.arange(40) % 4 == k % 4).astype(float) for k in range(8)], axis=1)
    targets[:, 5] = 0
    data = SimpleNamespace(targets=targets, classes=[*"abcdefgh"], task="multilabel")
    rows = classification_rows({"": [np.random.default_rng(0).normal(size=(40, 8))]}, data, Bootstrap(range(40)))
    mean = next(row for row in rows if (row.metric, row.class_name) == ("auroc", "mean"))
    cells = FigureCells(rows)
    assert cells.text(mean) == f"{mean.value:.3f} [{mean.low:.3f}, {mean.high:.3f}]¹"
    assert cells.notes.lines == ["¹ undefined for 1 of 8 classes: no positives"]


@pytest.mark.parametrize(("classes", "size"), [(1, "40 (10 positives)"), (2, "40 (at least 10 positives)")])
def test_only_a_mean_of_several_classes_has_at_least_so_many_positives(classes, size):
    """In the table and in a figure that is printed, with the class that is undefined left out of the mean."""
    targets = np.stack([(np.arange(40) % 4 <= k).astype(float) for k in range(classes)] + [np.zeros(40)], axis=1)
    data = SimpleNamespace(targets=targets, classes=[*"abc"][: classes + 1], task="multilabel")
    logits = np.random.default_rng(0).normal(size=targets.shape)
    rows = classification_rows({"": [logits]}, data, Bootstrap(range(40)))
    under = replace(
        next(r for r in rows if (r.metric, r.class_name) == ("auroc", "mean")), section="robustness", at="x"
    )
    figures = Evaluation({}, [*rows, under])
    for where in ({"section": "classification"}, {"section": "robustness"}):
        row = next(r for r in figures.measured if r.class_name == "mean" and r.section == where["section"])
        assert FigureCells(figures.measured).size(row) == size
        text = size.replace("40 (", "n = 40, ").removesuffix(")")
        assert str(figures.figure("auroc", **where)).endswith(f"({text})")


def test_the_mean_says_of_how_many_classes_and_each_reason_stands_once(capsys):
    reasons = ["no positives", "2 patients", "2 patients", None]
    rows = [
        Row("classification", "auroc", f"class {i}", "", math.nan if i == 0 else 0.8, low, 0.9, 3, reason)
        for i, (low, reason) in enumerate(zip((math.nan, math.nan, math.nan, 0.7), reasons, strict=True))
    ]
    mean = Row("classification", "auroc", "mean", "", 0.8, math.nan, math.nan, 3, "no positives; 2 patients")
    cells = FigureCells([*rows, mean])
    texts = [cells.text(row) for row in [*rows, mean]]
    assert texts == ["undefined¹", "0.800 [no interval]²", "0.800 [no interval]²", "0.800 [0.700, 0.900]",
                     "0.800 [no interval]³"]  # fmt: skip
    notes = ["¹ no positives", "² 2 patients", "³ no interval for 3 of 4 classes; the row of each class says why"]
    assert cells.notes.lines == notes
    table = Table("t", ["auroc"], [[text] for text in texts], notes)
    assert table.to_text().splitlines()[-3:] == notes
    assert table.to_html().endswith("</table>" + "".join(f"<p>{note}</p>" for note in notes))
    show(table.title, table.columns, table.rows, table.notes)
    assert capsys.readouterr().out.splitlines()[-3:] == notes


def test_a_figure_of_no_images_says_that_there_are_none():
    with pytest.raises(InputError, match="there are no images"):
        pl.auroc([], [])
    with pytest.raises(InputError, match="resamples must be 1 or more; found 0"):
        Bootstrap([1, 2], 0)
