"""Areas in the report: where marks and lines lie, what is published beside them, and what is called matched."""

from __future__ import annotations

import numpy as np
import pytest

from helpers import report as example
from pellucid.report import render
from pellucid.report.charts import frontier
from pellucid.report.charts.drawing import COLOURS, styles_of
from pellucid.report.tables import areas
from pellucid.report.tables.results_index import ResultsIndex

pytestmark = pytest.mark.usefixtures("empty_charts")

FIGURES = {  # accuracy, area, family
    "plain": (0.93, 0.0012, None),
    "penalty 1": (0.85, 0.006, "penalty"),
    "adversarial": (0.86, 0.0100, None),
    "penalty 2": (0.76, 0.011, "penalty"),
    "penalty 3": (0.68, 0.014, "penalty"),
}
PUBLISHED = {"standard": (0.9384, 0.0013), "all": (0.679, 0.0188), "robust": (0.6758, 0.0188)}


def row(metric, variant, value, **more):
    ends = (
        {"low": value - 0.1 * value, "high": value + 0.1 * value} if value is not None else {"low": None, "high": None}
    )
    place = {"section": "ara", "metric": metric, "class": "mean", "variant": variant, "target": "", "method": ""}
    seeds = {"n": 100, "reason": None, "seeds": [value], "seed_spread": None, "difference": None}
    return place | {"gate": "", "at": "", "threshold": None, "value": value} | ends | seeds | more


def results(figures=FIGURES, published=PUBLISHED, matched=()):
    """A study of `attack` areas alone."""
    study = example.results()
    template = {**study["variants"][0], "runs": [], "reference": False}
    study["variants"] = [template | {"label": v, "family": f} for v, (_, _, f) in figures.items()]
    study["variants"][0]["reference"] = True
    study["rows"] = [row("accuracy", v, x) for v, (x, _, _) in figures.items()]
    study["rows"] += [row("ara_attack", v, y) for v, (_, y, _) in figures.items()]
    study["targets"], study["data"]["task"] = [], "multiclass"
    study["comparators"] = [
        {
            "section": "ara",
            "metric": "attack",
            "name": "Somebody 2019",
            "note": "of other images",
            "values": {name: y for name, (_, y) in published.items()},
            "accuracy": {name: x for name, (x, _) in published.items()},
        }
    ]
    curve = {"seed": 0, "kind": "attack", "naive": 0.1, "measure": "accuracy", "radius": [0.0, 0.01], "upper": [0.9, 0]}
    study["ara"] = {
        "protocol": "tight",
        "images": 100,
        "matched": list(matched),
        "curves": [curve | {"variant": v, "accuracy": [0.9, 0.0]} for v in figures],
        "attacks": [],
        "alarms": [],
    }
    return study


@pytest.fixture
def drawn(monkeypatch):
    """The axes of every figure, as drawn."""
    axes, real = [], frontier.to_svg

    def keep(figure, *rest):
        axes.append(figure.axes[0])
        return real(figure, *rest)

    monkeypatch.setattr(frontier, "to_svg", keep)
    return axes


def marks(axes, hollow):
    """(x, y) → marker, of the marks that are hollow or not."""
    found = {}
    for line in axes.lines:
        if line.get_marker() not in ("None", "", None) and (line.get_markerfacecolor() == "none") == hollow:
            for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True):
                found[float(x), float(y)] = line.get_marker()
    return found


def test_every_variant_has_a_mark_and_each_family_a_line_in_the_studys_order(drawn):
    index = ResultsIndex(results())
    (chart,) = frontier.charts(index)
    (axes,) = drawn
    own = marks(axes, hollow=False)
    assert own == {(x, y): index.styles[v].marker for v, (x, y, _) in FIGURES.items()}
    lines = [line for line in axes.lines if len(line.get_xdata()) == 3 and line.get_linestyle() == "-"]
    (joined,) = lines  # a family of one is no family
    assert list(zip(joined.get_xdata(), joined.get_ydata(), strict=True)) == [
        (0.85, 0.006),
        (0.76, 0.011),
        (0.68, 0.014),
    ]
    assert joined.get_color() == index.styles["penalty 1"].colour
    intervals = {
        (*map(float, s.get_xdata()), *map(float, s.get_ydata())) for s in axes.lines if len(s.get_xdata()) == 2
    }
    for x, y, _ in FIGURES.values():
        assert any(i == pytest.approx((0.9 * x, 1.1 * x, y, y)) for i in intervals)
        assert any(i == pytest.approx((x, x, 0.9 * y, 1.1 * y)) for i in intervals)
    assert axes.get_ylim()[0] == 0
    assert "lines join a family" in chart.note
    assert "not drawn" not in chart.note


def test_published_marks_are_hollow_and_named_without_covering_each_other(drawn):
    (chart,) = frontier.charts(ResultsIndex(results()))
    (axes,) = drawn
    assert set(marks(axes, hollow=True)) == set(PUBLISHED.values())
    assert "○ published: Somebody 2019" in chart.note
    names = {text.get_text(): text for text in axes.texts}
    assert set(names) == set(PUBLISHED)
    axes.figure.draw_without_rendering()  # lays it out, as saving does
    boxes = [text.get_window_extent() for text in names.values()]
    frame = axes.get_window_extent()
    assert all(box.x0 >= frame.x0 and box.x1 <= frame.x1 for box in boxes)
    overlaps = [a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i]]
    assert not any(overlaps)  # though two are of the same area and nearly the same accuracy


def test_what_cannot_be_drawn_is_named_with_its_reason(drawn):
    study = results()
    lacking = next(r for r in study["rows"] if (r["metric"], r["variant"]) == ("ara_attack", "penalty 2"))
    lacking.update(value=None, low=None, high=None, reason="3 of 100 attacks failed")
    (chart,) = frontier.charts(ResultsIndex(study))
    assert len(marks(drawn[0], hollow=False)) == len(FIGURES) - 1
    assert "not drawn: penalty 2 (3 of 100 attacks failed)" in chart.note
    study["rows"] = [r for r in study["rows"] if r["metric"] != "accuracy"]  # of an older version
    assert frontier.charts(ResultsIndex(study)) == []
    assert areas.overview(ResultsIndex(study)).columns == ("Attack ARA",)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("accuracies", "spread", "are_matched"),
    [
        ((0.80, 0.79), "1.0 points", True),
        ((0.80, 0.77), "3.0 points", True),
        ((0.77, 0.805, 0.79), "3.5 points", False),
    ],
)
def test_the_caption_says_how_well_the_accuracies_match(accuracies, spread, are_matched):
    labels = [f"net {i}" for i in range(len(accuracies))]
    figures = {"plain": (0.95, 0.001, None)} | {v: (x, 0.01, None) for v, x in zip(labels, accuracies, strict=True)}
    shown = areas.section(ResultsIndex(results(figures, matched=labels)))["matched"]
    assert list(shown["styles"]) == labels
    for label, x in zip(labels, accuracies, strict=True):
        assert f"{label} {100 * x:.1f} % [{90 * x:.1f}, {110 * x:.1f}]" in shown["caption"]
    assert "plain" not in shown["caption"]
    assert f"Between the highest and the lowest lie {spread}" in shown["caption"]
    assert ("not matched" in shown["caption"]) != are_matched


def test_a_match_that_cannot_be_checked_is_not_claimed():
    figures = FIGURES | {"adversarial": (None, 0.01, None)}
    caption = areas.how_well(ResultsIndex(results(figures)), ["penalty 1", "adversarial"])
    assert caption.startswith("The accuracy of adversarial without a perturbation is not known")
    assert areas.section(ResultsIndex(results()))["matched"] is None


@pytest.mark.slow
def test_the_matched_figure_draws_only_its_own_and_the_page_shows_it_once(monkeypatch):
    study = results(matched=["penalty 1", "adversarial"])
    page = render(study, [])
    assert page.count("At matched clean accuracy") == 1
    assert page.count('aria-label="Accuracy against the size of the smallest perturbation, attack') == 2
    assert "attack, for penalty 1, adversarial." in page
    without = render(results(), [])
    assert "At matched clean accuracy" not in without


def test_members_of_a_family_have_one_colour_and_no_two_variants_look_alike():
    families = {"b1": "b", "b2": "b", "c1": "c", "c2": "c"}
    seen = styles_of(["b1", "a", "c1", "b2", "c2", "d"], "a", families)
    assert seen["a"].colour == COLOURS[0]
    assert seen["b1"].colour == seen["b2"].colour != seen["c1"].colour == seen["c2"].colour
    assert len({seen[v].colour for v in ("a", "b1", "c1", "d")}) == 4
    assert len({(look.colour, look.marker) for look in seen.values()}) == 6
    assert seen["b1"].line != seen["b2"].line
    many = styles_of([str(i) for i in range(20)], "0")
    assert len({(look.colour, look.marker) for look in many.values()}) == 20


def test_the_share_found_and_the_cost_are_of_all_seeds_together():
    study = results()
    whose = {"variant": "plain", "kind": "attack"}
    study["ara"]["attacks"] = [
        whose | {"seed": 0, "n": 100, "found": 100, "correct_at_start": 90, "gradient_evaluations": 4000},
        whose | {"seed": 1, "n": 100, "found": 97, "correct_at_start": 90, "gradient_evaluations": 5000},
    ]
    table = areas.overview(ResultsIndex(study))
    assert table.columns == ("Accuracy", "Attack ARA", "Found, attack", "Gradients, attack")
    found, spent = table.lines[0].cells[2:]
    assert (found.value, found.reason, spent.value) == ("98.5 %", "3 of 200 failed", "45.0")
    assert table.lines[1].cells[2:] == (None, None)
    assert [line.label for line in table.lines[5:]] == [
        "Published: Somebody 2019",
        *(f"{n} (published)" for n in PUBLISHED),
    ]
    assert np.all([len(line.cells) == len(table.columns) for line in table.lines if line.cells])


@pytest.mark.slow
def test_scores_of_explanations_stand_against_auroc_where_variants_form_a_family(drawn):
    study = example.results()
    study["headline"] = ["pointing", "afp"]  # more false boxes are no gain: no chart of them
    study["targets"] = study["targets"][:1]
    study["rows"] = [
        r
        for r in study["rows"]
        if (r["section"], r["class"]) == ("classification", "mean")
        or ((r["section"], r["metric"], r["class"]) == ("localization", "pointing", "mean") and r["method"] != "cam")
    ]
    assert frontier.explanation_charts(ResultsIndex(study), "phantom") == []
    for variant in study["variants"]:
        variant["family"] = "by its size"
    index = ResultsIndex(study)
    charts = frontier.explanation_charts(index, "phantom")
    methods = index.known_methods("localization", target="phantom")
    assert len(charts) == len(drawn) == len(methods)
    axes = drawn[0]
    where = {"target": "phantom", "method": methods[0]}
    expected = [
        (
            index.row("classification", "auroc", v)["value"],
            index.row("localization", "pointing", v, **where)["value"],
        )
        for v in index.variants
    ]
    assert set(marks(axes, hollow=False)) == set(expected)
    assert any(list(zip(line.get_xdata(), line.get_ydata(), strict=True)) == expected for line in axes.lines)
    trivial = [
        index.row("localization", "pointing", target="phantom", method=t)["value"]
        for t in index.trivial_maps("localization", target="phantom")
    ]
    assert any(list(line.get_ydata()) == [max(trivial)] * 2 for line in axes.lines)
    assert "dashed: the best map that looks at no network" in charts[0].note
    assert "What they cost in accuracy" in render(study, [])
