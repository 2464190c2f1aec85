"""What the documents say of how often intervals hold the truth is what the committed simulations found."""

from __future__ import annotations

import csv
import re
import runpy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.special import stdtrit
from scipy.stats import binomtest

from pellucid.evaluation.metrics.differences import tail_by_parts
from pellucid.utils.csv_table import write_csv

ROOT = Path(__file__).parents[1]
METRICS, DECISION, QUESTIONS = (
    (ROOT / "docs" / page).read_text(encoding="utf-8")
    for page in ("metrics.md", "decisions/0015-intervals.md", "decisions/0014-two-questions.md")
)
CLAIMS, RECIPES, CHANGELOG = (
    (ROOT / page).read_text(encoding="utf-8") for page in ("docs/claims.md", "docs/recipes.md", "CHANGELOG.md")
)
CLAIMS = " ".join(CLAIMS.split())  # its sentences, wherever its lines end
AREAS, SHARES, FROM_0, BOUNDED = "AUROC", "share", "mean from 0", "mean in [0, 1]"
PRECISION, EIGHT, NEAR_1, EIGHT_MEANS = (
    "average precision",
    "mean of 8 AUROCs",
    "mean of 8 AUROCs, 3 near 1",
    "mean of 8 means from 0",
)
FIGURES = (AREAS, PRECISION, "mean of 3 AUROCs", EIGHT, NEAR_1, EIGHT_MEANS, SHARES, FROM_0, BOUNDED)


@cache
def table(name: str) -> list[dict[str, str]]:
    with (ROOT / "benchmarks" / "results" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def rows_of(text: str) -> list[list[str]]:
    """The cells of every line of a table."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def between(text: str, start: str, end: str) -> str:
    return text[text.index(start) : text.index(end, text.index(start))]


def agrees(said: str, *numbers: object) -> bool:
    """Whether numbers as the documents write them, `.93 (.25)`, are these, rounded."""
    written = re.findall(r"\d*\.\d+", said)
    return len(written) == len(numbers) and all(
        abs(float(one) - float(str(number))) <= 0.5001 * 10.0 ** -len(one.split(".")[1])
        for one, number in zip(written, numbers, strict=True)
    )


@cache
def compared() -> list[dict[str, object]]:
    words = {"figure", "question", "method", "versions"}
    return [{k: v if k in words else float(v) for k, v in row.items()} for row in table("difference_coverage")]


def differences(**where: object) -> list[dict[str, object]]:
    """The rows of the differences with these values; other pairs than those that share .7 have to be asked for."""
    where = {"common": 0.7, "lost": 0.0} | where
    return [row for row in compared() if all(row[k] == v for k, v in where.items())]


def place(figure: str, text: str) -> dict[str, object]:
    """What a row of a table speaks of: `6 of 60, 3 trainings with σ = 1, recipes`."""
    count = re.search(r"(\d+) of (\d+)", text)
    images = re.match(r"(\d+)", text)
    assert images
    trainings = re.search(r"(\d+) trainings", text)
    several = re.search(r"(\d) (?:images )?per patient", text)
    number = int(trainings.group(1)) if trainings else 1
    default = 0.2 if number > 1 else 0.0
    return {
        "figure": figure,
        "images": int(count.group(2) if count else images.group(1)),
        "positives": int(count.group(1)) if count else 0,
        "per_patient": int(several.group(1)) if several else 1,
        "trainings": number,
        "scatter": 1.0 if "σ = 1" in text else default,
        "question": "recipes" if "recipes" in text else "networks",
    }


def levels(heading: str) -> dict[str, object]:
    first, second = re.findall(r"[\d.]+", heading)
    return {"first": float(first), "second": float(second)}


def of_methods(where: dict[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    [ours] = differences(method="ours", **where)
    [symmetric] = differences(method="symmetric", **where)
    return ours, symmetric


def test_every_cell_of_the_decisions_tables_of_differences_is_the_committed_one():
    count, heading = 0, []
    for row in rows_of(between(DECISION, "**Differences by simulation.**", "Of AUROC ours holds")):
        if row[0] == "figure":
            heading = row
        elif row[0] in FIGURES:
            for name, cell in zip(heading[2:], row[2:], strict=True):
                if cell != "–":
                    ours, symmetric = of_methods(place(row[0], row[1]) | levels(name))
                    assert agrees(cell, ours["coverage"], symmetric["coverage"]), (row, name)
                    count += 1
    assert count == len(differences(method="ours"))  # and none is left out


def test_equal_figures_are_called_different_as_often_as_is_said():
    """And lower ones no worse."""

    def most(column: str, rows: list[dict[str, object]]) -> tuple[float, float]:
        return min(row[column] for row in rows), max(row[column] for row in rows)

    every = [row for row in differences(method="ours") if row["first"] == row["second"]]
    for figure, question, trainings, said in (
        (AREAS, "networks", (1,), (0.007, 0.033)),
        (AREAS, "recipes", (3, 5), (0.0, 0.013)),
        (SHARES, "networks", (1,), (0.0, 0.045)),
        (SHARES, "recipes", (3,), (0.003, 0.015)),
        (FROM_0, "networks", (1,), (0.060, 0.072)),
        (FROM_0, "recipes", (3,), (0.007, 0.015)),
    ):
        rows = [r for r in every if (r["figure"], r["question"]) == (figure, question) and r["trainings"] in trainings]
        assert most("excludes 0", rows) == pytest.approx(said), (figure, question)
    recipes = [row["excludes 0"] for row in every if row["question"] == "recipes"]
    assert f"equal recipes in {100 * max(recipes):.1f} %" in " ".join(METRICS.split())
    narrow = [row["coverage"] for row in differences(method="ours", question="recipes", scatter=0.2)]
    said = f"of recipes {min(narrow):.3f} or more ({len(narrow)} cells".replace(" 0.", " .")
    assert said in " ".join(METRICS.split())
    apart = [row for row in differences(figure=AREAS, method="ours") if abs(row["first"] - row["second"]) > 0.0399]
    few = [row for row in apart if row["question"] == "networks" and row["scatter"] < 1]
    assert most("no worse", few)[1] == 0.013
    assert most("no worse", [row for row in apart if row["question"] == "recipes"])[1] == 0.0
    close = {"figure": AREAS, "first": 0.98, "second": 0.99, "question": "recipes"}
    assert most("no worse", differences(method="ours", **close)) == (0.0, 0.0)
    assert most("no worse", differences(method="symmetric", **close)) == (0.14, 0.24)
    for said in (
        "called different in .7 to 3.3 %, equal recipes in 0 to 1.3 % (AUROC), .3 to 1.5 % (shares) and .7 to 1.5 %",
        "equal shares of one training in at most 4.5 %",
        "equal means of one training are called different in 6.0 and 7.2 %",
        "in at most 1.3 % of networks",
        "does so in 14 to 24 %",
    ):
        assert said in " ".join(DECISION.split()), said


def test_what_is_said_of_networks_that_are_close_is_what_was_found():
    close = {
        name: [row for row in compared() if row["common"] > 0.7 and row["method"] == name]
        for name in ("ours", "joint region", "symmetric")
    }
    text = between(DECISION, "**Networks that are close to each other**", "Of the means over eight classes")
    rows = [row for row in rows_of(text) if " of 300" in row[0]]
    assert len(rows) == len(close["ours"]) == 36
    for positives, areas, common, lost, *cells in rows:
        share = 0.0 if lost == "–" else float(lost.split()[0]) / 100
        where = place(AREAS, positives) | levels(areas) | {"common": float(common), "lost": share}
        for name, cell in zip(close, cells, strict=True):
            [row] = differences(method=name, **where)
            assert agrees(cell, row["coverage"], row["mean width"]), (positives, areas, common, lost)
    whole, lossy = ([row for row in close["joint region"] if (row["lost"] > 0) == lost] for lost in (False, True))
    assert min(row["coverage"] for row in whole) == 0.985
    assert (min(row["coverage"] for row in lossy), max(row["coverage"] for row in lossy)) == (0.812, 0.975)
    assert min(row["coverage"] for row in close["ours"]) == 0.943
    widths = [
        one["mean width"] / other["mean width"]
        for one, other in zip(close["joint region"], close["ours"], strict=True)
        if one["lost"] == 0
    ]
    assert agrees(".36 .88", min(widths), max(widths))
    for name, said in (("ours", (".085", ".034", ".016")), ("joint region", (".031", ".014", ".008"))):
        at = [row for row in close[name] if (row["first"], row["second"], row["common"]) == (0.98, 0.98, 0.98)]
        assert all(agrees(one, row["mean width"] / 2) for one, row in zip(said, at, strict=True))
    for count, said in ((15, ".078"), (40, ".031"), (90, ".014")):
        assert agrees(said, (0.98 - 0.5) * (1 - 0.07 ** (1 / count)))
    assert all(said in text for said in (".078", ".031", ".014", ".085, .034 and .016", ".985 or more", ".812 to .975"))


def test_the_tables_of_metrics_are_of_the_committed_cells():
    text = between(METRICS, "How often they hold the truth", "Differences of two networks on the same images")
    data = {"60 positive": "equal", "a tenth of them undetectable": "mixture", "most of them 0": "mostly 0"}
    figure, count = "", 0
    for first, sample, truth, ours, percentiles in rows_of(text)[2:]:
        figure = first or figure
        numbers = [int(n) for n in re.findall(r"\d+", sample.replace(",0", "0"))]
        is_ranked = re.match(r"\d+ of ", sample) is not None
        kind = next((v for k, v in data.items() if k in sample), None)
        several = re.search(r"(\d) images per patient", sample)
        cells = [
            row
            for row in table("intervals")
            if row["metric"] == figure
            and (int(row["positives"]), int(row["images"])) == (tuple(numbers[:2]) if is_ranked else (0, numbers[0]))
            and row["per_patient"] == (several.group(1) if several else "1")
            and row["truth"] == f"{float(truth):.3f}"
            and row["data"] in ({kind} if kind else {"equal", "right or wrong", "log-normal", "calibrated"})
        ]
        for method, said in (("ours", ours), ("percentile bootstrap", percentiles)):
            [row] = [row for row in cells if row["method"] == method]
            assert agrees(said, row["coverage"], row["mean width"]), (figure, sample)
            count += 1
    assert count == 32
    text = between(METRICS, "Differences of two networks on the same images", "Over all cells of")
    figure = sample = ""
    for first, positives, of, ours, symmetric in rows_of(text)[2:]:
        figure = first.removeprefix("difference of ") or figure
        wide = {"scatter": 1.0, "trainings": 5} if "scatter widely" in positives else {}
        sample = sample if positives.startswith("the same") else positives
        where = place(figure, sample) | wide | levels(of.removeprefix("of AUROC "))
        for row, said in zip(of_methods(where), (ours, symmetric), strict=True):
            assert agrees(said, row["coverage"], row["mean width"]), (figure, positives)


def test_the_single_intervals_hold_what_is_said_of_them():
    ours = [row for row in table("intervals") if row["method"] == "ours"]
    coverage = {metric: [float(r["coverage"]) for r in ours if r["metric"] == metric] for metric in FIGURES}
    below = [row for row in ours if float(row["coverage"]) < 0.93]
    text = between(DECISION, "**Where it holds less than .93.**", "**Differences by simulation.**")
    assert (len(ours), len(below)) == (149, 5)
    assert "Of 149 cells in five" in text
    assert {row["metric"] for row in below} == {FROM_0}
    assert all(row["coverage"].removeprefix("0") in text for row in below)
    assert min(coverage[AREAS] + coverage["average precision"]) >= 0.94
    assert min(coverage[SHARES]) >= 0.95
    assert "149 cells, of which the five below 0.93 are named" in CLAIMS


def test_shares_hold_what_is_said_of_them():
    methods = {"Clopper and Pearson": "ours"}
    (
        heading,
        *_,
    ) = rows_of(between(DECISION, "| least coverage", "Wilson's fails beside 1"))
    patients = [re.search(r"\d+", name).group() for name in heading[1:]]
    for name, *cells in rows_of(between(DECISION, "| least coverage", "Wilson's fails beside 1"))[2:]:
        for count, cell in zip(patients, cells, strict=True):
            wanted = (count, methods.get(name, name))
            [row] = [r for r in table("share_coverage") if (r["patients"], r["method"]) == wanted]
            assert agrees(cell, row["least coverage"], row["mean width"]), (name, count)


@pytest.mark.parametrize(
    ("figure", "question", "scatter", "count", "least"),
    [
        (AREAS, "networks", (0.0, 0.2, 1.0), 70, ".935"),
        (AREAS, "recipes", (0.2,), 27, ".978"),
        (SHARES, "networks", (0.0, 0.2), 21, ".955"),
        (SHARES, "recipes", (0.2,), 6, ".973"),
        ("mean of 3 AUROCs", "networks", (0.0,), 4, ".973"),
        (FROM_0, "recipes", (0.2,), 4, ".985"),
        ((EIGHT, NEAR_1, EIGHT_MEANS), "networks", (0.2, 1.0), 7, ".940"),
        ((EIGHT, NEAR_1, EIGHT_MEANS), "recipes", (0.2,), 6, ".980"),
        (PRECISION, "networks", (0.2, 1.0), 8, ".938"),
        (PRECISION, "recipes", (0.2,), 4, ".985"),
        (BOUNDED, ("networks", "recipes"), (0.0, 0.2, 1.0), 18, ".938"),
    ],
)
def test_the_least_coverage_of_differences_is_the_one_said(figure, question, scatter, count, least):
    figures, questions = ([v] if isinstance(v, str) else v for v in (figure, question))
    every = [row for f in figures for q in questions for row in differences(figure=f, question=q, method="ours")]
    coverage = [row["coverage"] for row in every if row["scatter"] in scatter]
    assert len(coverage) == count
    assert agrees(least, min(coverage))
    assert least in DECISION
    assert str(count) in DECISION


def test_the_cells_below_93_are_all_named():
    every = [row for row in compared() if row["method"] == "ours"]
    below = [row["coverage"] for row in every if row["coverage"] < 0.93]
    for text in (
        between(DECISION, "**Less than .93** holds ours", "**What it costs.** Where many errors"),
        between(METRICS, "**Less than .93**", "Equal areas are called"),
    ):
        assert all(f"{coverage:.3f}".removeprefix("0") in text for coverage in below)
    said = f"Of differences {len(every)} cells, of which the {len(below)} below 0.93 are named"
    assert said in CLAIMS


def test_gains_of_trust_hold_what_is_said_of_them():
    gains = {(r["gains"], r["images"], r["yardsticks"], r["method"]): r for r in table("gain_coverage")}
    rows = rows_of(between(DECISION, "| gains | images |", "Below .93 it holds of strongly"))[2:]
    assert len(rows) == 12
    for shape, images, one, yes, five, yes_of_five in rows:
        ours, of_five = (gains[shape, images, count, "ours"] for count in ("1", "5"))
        bounded = gains[shape, images, "1", "mean between two bounds"]
        assert agrees(one, ours["coverage"], bounded["coverage"])
        assert agrees(five, of_five["coverage"])
        assert (yes, yes_of_five) == tuple(f"{100 * float(row['yes']):.1f}" for row in (ours, of_five))
    of_one = {key: row for key, row in gains.items() if key[2:] == ("1", "ours")}
    below = {key[:2] for key, row in of_one.items() if float(row["coverage"]) < 0.93}
    assert below == {(shape, n) for shape in ("far above", "far below") for n in ("16", "24")}
    assert max(float(row["yes"]) for key, row in gains.items() if key[2] == "5") == 0.005
    text = (ROOT / "docs/trust.md").read_text(encoding="utf-8")
    said = (".935 to .947", ".908 with 16", ".914 with 24", ".931 with 60", "8.4, 7.1 and 5.7 %", "at most 0.5 %")
    assert all(one in " ".join(text.split()) for one in said)
    assert ".908 to .947 over one map" in CLAIMS


def families(counted: str, **where: str) -> list[dict[str, str]]:
    where = {"method": "used", "counted": counted, **where}
    return [row for row in table("recipe_families") if all(row[k] == v for k, v in where.items())]


def percent(*shares: str) -> str:
    """The least and the most, in whole per cent."""
    numbers = [int(100 * float(share) + 0.5 + 1e-9) for share in shares]
    return f"{min(numbers)}–{max(numbers)}"


RULES = {
    "Satterthwaite's": "Satterthwaite",
    "at most `min(S_a, S_b) − 1`": "min(S_a, S_b) - 1",
    "**each recipe's own**": "by parts",
}
TRAININGS = ("2", "3", "5", "10")
UNEQUAL = ("2 and 5", "3 and 10", "2 and 10")
SCATTER = {"alike": ("1 and 1",), "as 1 to .3": ("1 and 0.3", "0.3 and 1"), "as 1 to 0": ("1 and 0", "0 and 1")}


def tails(seeds: str, size: str, *spreads: str) -> list[dict[str, str]]:
    """The cells of normal differences."""
    rows = [row for row in table("recipe_tails") if (row["scores"], row["seeds"]) == (size, seeds)]
    return [row for row in rows if not spreads or row["spreads"] in spreads]


def highest(rows: list[dict[str, str]], rule: str) -> float:
    """In how many per cent of families of equal scores any is called different."""
    return 100 * max(float(row[f"any of equal ones, {rule}"]) for row in rows)


def tenths(rows: list[dict[str, str]], column: str) -> str:
    """The least and the most, in per cent with one digit."""
    numbers = [100 * float(row[column]) for row in rows]
    return f"{min(numbers):.1f}–{max(numbers):.1f}"


def errors(rows: list[dict[str, str]], size: int, rule: str) -> str:
    return percent(*(row[f"{size} errors, {rule}"] for row in rows))


def interval(share: str, studies: str) -> str:
    """A share of studies in per cent, with Clopper and Pearson's interval."""
    count, of = round(float(share) * int(studies)), int(studies)
    low, high = binomtest(count, of).proportion_ci(method="exact")
    return f"{100 * count / of:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def singles(seeds: str) -> list[dict[str, str]]:
    """The simulated cells of one comparison of recipes that scatter alike."""
    return [
        row
        for row in table("recipe_inference")
        if (row["method"], row["seeds"]) == ("used", seeds)
        and row["trainings"] in {"0.5", "1.0", "2.0"}
        and (row["seeds shared"], row["spread of the second"]) == ("0.0", "1.0")
    ]


def widest(seeds: str) -> dict[str, dict[str, str]]:
    """Those of recipes that scatter eight times as much as the patients, by how the second one scatters."""
    rows = [row for row in table("recipe_inference") if (row["seeds"], row["trainings"]) == (seeds, "8.0")]
    return {{"1.0": "alike", "0.3": "as 1 to .3", "0.0": "as 1 to 0"}[row["spread of the second"]]: row for row in rows}


def test_one_comparison_alone_errs_and_finds_as_often_as_is_said():
    text = between(QUESTIONS, "Computed are differences that are normal", "**Families.** The correction")
    shift, count = 0, 0
    for what, case, *cells in rows_of(text)[2:]:
        shift = {"equal": 0, "one": 1, "two": 2, "three": 3}[what.split()[0].strip(",")] if what else shift
        for seeds, cell in zip((*TRAININGS, *UNEQUAL), cells, strict=True):
            rows = tails(seeds, "1", *SCATTER[case])
            if shift:
                wanted = [errors(rows, shift, rule) for rule in ("by parts", "Satterthwaite")]
            else:
                wanted = [tenths(rows, f"any of equal ones, {rule}") for rule in ("by parts", "Satterthwaite")]
            assert cell == "{} ({})".format(*wanted), (what, case, seeds)
            count += 1
    assert count == 4 * 3 * 7
    every = [row for seeds in (*TRAININGS, *UNEQUAL) for row in tails(seeds, "1")]
    assert highest(every, "by parts") <= 5.0  # the theorem
    assert f"errs in up to {highest(every, 'Satterthwaite'):.1f} %" in " ".join(text.split())
    falls = {
        seeds: 100 * max(float(row["3 errors, Satterthwaite"]) - float(row["3 errors, by parts"]) for row in rows)
        for seeds in ("3", "5", "10")
        for rows in [tails(seeds, "1")]
    }
    assert falls["5"] < 20  # the bar for taking it
    said = f"at most {falls['5']:.1f} points of power at three standard errors with five trainings "
    said += f"({falls['10']:.1f} with ten; {falls['3']:.1f} with three)"
    assert said in " ".join(text.split())
    wide = [max(wider(0.5, n)) for n in (2, 3, 5)]
    assert "up to {:.2f} times as wide as by Satterthwaite's, of three up to {:.2f} times, of five {:.2f}".format(
        *wide
    ) in " ".join(text.split())


def test_the_tails_are_those_that_were_computed():
    text = between(QUESTIONS, "**Families.** The correction", "**From the figures of patients**")
    rows = rows_of(text)[2:]
    assert {size or "" for size, *_ in rows} == {"one alone", "3", "9", "27", "96", "576", ""}
    assert len(rows) == 6 * len(RULES)
    size = ""
    for name, rule, *cells in rows:
        size = ("1" if "alone" in name else name) or size
        for seeds, cell in zip((*TRAININGS, *UNEQUAL), cells, strict=True):
            wanted = highest(tails(seeds, size), RULES[rule])
            assert float(cell.strip("*")) == pytest.approx(wanted, abs=0.051), (size, rule, seeds)
    several = [row for row in table("recipe_tails") if row["scores"] != "1"]
    assert len(several) == 5 * 6 * (4 * 3 + 3 * 5)
    assert highest(several, "by parts") == pytest.approx(4.9, abs=0.05)
    worst = max(families("any of 27"), key=lambda row: float(row["no difference"] or 0))
    shares = [f"{100 * float(worst[f'no difference{end}']):.1f}" for end in ("", " from", " to")]
    said = "at most 4.9 % of studies, if figures are normally distributed and the patients' part is known"
    for page in (METRICS, CLAIMS, QUESTIONS, CHANGELOG):
        assert said in " ".join(page.split())
        assert "from figures of 94 patients in at most {} % [{}, {}]".format(*shares) in " ".join(page.split())
    ours, bound = (errors(tails("10", "27", "1 and 1"), 3, rule) for rule in ("by parts", "min(S_a, S_b) - 1"))
    assert "in {} to {} %, by that bound in {} to {} %".format(*ours.split("–"), *bound.split("–")) in " ".join(
        text.split()
    )


def wider(first: float, count: int) -> list[float]:
    """How much wider an interval by parts is than Satterthwaite's, for each share of the trainings in the error's
    square.

    `first` is the part of that share that the first of two recipes with so many trainings adds.
    """
    shares, df = np.linspace(0.01, 1, 100), count - 1
    weight = ((first * shares) ** 2 + ((1 - first) * shares) ** 2) / df
    alone = stdtrit(np.minimum(1 / weight, 5 * 2 * df), 0.975)
    return list(np.sqrt(1.959964**2 * (1 - shares) + stdtrit(df, 0.975) ** 2 * shares) / alone)


def test_differences_among_several_are_found_as_often_as_is_said():
    text = between(QUESTIONS, "| true difference, found |", "*Why not a correction that knows")
    for what, *cells in rows_of(text)[2:]:
        size = "1" if "alone" in what else re.search(r"of (\d+)", what).group(1)
        shift = 3 if "three standard" in what else 5
        for seeds, cell in zip(TRAININGS, cells, strict=True):
            assert cell == errors(tails(seeds, size, "1 and 1"), shift, "by parts"), (what, seeds)
    power = {(size, n): errors(tails(n, size, "1 and 1"), 3, "by parts") for size in ("3", "27") for n in ("3", "5")}
    in_words = {key: cell.replace("–", " to ") for key, cell in power.items()}
    assert power["27", "3"] == "0–0"
    said = f"three trainings find a difference of three standard errors in {in_words['3', '3']} %, five in "
    said += f"{in_words['3', '5']} %; of 27 three find none, five {in_words['27', '5']} %"
    assert said in " ".join(RECIPES.split())
    uneven = [errors(tails(seeds, "27"), 5, "by parts") for seeds in UNEQUAL]
    assert "found in {}, {} and {} % of the studies".format(*uneven) in " ".join(text.split())


def test_what_statisticians_are_told_is_computed_and_simulated():
    """The one table of metrics.md."""
    rows = rows_of(between(METRICS, "### For statisticians", "*Equal*: one comparison"))[2:]
    assert [seeds for seeds, *_ in rows] == [*TRAININGS, *UNEQUAL]
    for seeds, equal, mean, most, any_of, found, among in rows:
        assert equal == tenths(tails(seeds, "1"), "any of equal ones, by parts"), seeds
        cells = [*singles(seeds), *widest(seeds).values()]
        shares = [float(row["no difference"]) for row in cells]
        worst = max(cells, key=lambda row: float(row["no difference"]))
        assert mean == f"{100 * sum(shares) / len(shares):.1f} ({len(cells)})", seeds
        assert most == interval(worst["no difference"], worst["studies"]), seeds
        of_27 = [row for row in families("any of 27", seeds=seeds) if int(row["studies"]) >= 200]
        worst = max(of_27, key=lambda row: float(row["no difference"]))
        share, low, high = (100 * float(worst[f"no difference{end}"]) for end in ("", " from", " to"))
        assert any_of == f"{share:.1f} [{low:.1f}, {high:.1f}]", seeds
        assert found == errors(tails(seeds, "1"), 3, "by parts"), seeds
        assert among == errors(tails(seeds, "27"), 5, "by parts"), seeds
    every = [row for row in table("recipe_inference") if row["method"] == "used"]
    worst = max(every, key=lambda row: float(row["no difference"]))
    means = [float(mean.split()[0]) for _, _, mean, *_ in rows]
    said = f"in {min(means)} to {max(means)} % on average with two to ten trainings, in at most "
    share, rest = interval(worst["no difference"], worst["studies"]).split(" ", 1)
    assert f"{said}{share} % {rest}" in CLAIMS
    assert f"({len(every)} cells of 1,000 studies" in CLAIMS
    in_words = {
        (n, k): errors(tails(n, size), k, "by parts").replace("–", " to ")
        for n in ("3", "5")
        for size, k in (("1", 3), ("27", 5))
    }
    said = "three trainings find one difference of three standard errors in {} %, five in {} %; ".format(
        in_words["3", 3], in_words["5", 3]
    )
    said += (
        "among 27 comparisons three trainings find a difference of five standard errors in {} %, five in {} %".format(
            in_words["3", 5], in_words["5", 5]
        )
    )
    assert said in CLAIMS
    few = errors(tails("3", "1"), 3, "by parts"), errors(tails("5", "1"), 3, "by parts")
    assert few == ("29–64", "60–79")
    said = "in at most six or seven of ten studies with three trainings of each recipe, in at most eight with five"
    assert said in " ".join(METRICS.split())
    simulated = [percent(*(row["three"] for row in singles(seeds))) for seeds in ("3", "5")]
    assert max(int(share.split("–")[1]) for share in (simulated[0], few[0])) < 65
    assert max(int(share.split("–")[1]) for share in (simulated[1], few[1])) < 85
    said = f"are found in {simulated[0]} % with three trainings and in {simulated[1]} % with five"
    assert said in " ".join(METRICS.split())


def test_one_simulated_comparison_errs_as_often_as_is_said():
    text = between(QUESTIONS, "**From the figures of patients**", "Families, after Holm")
    kinds = {
        "a mean": "mean",
        "a share of .7": "share, .7",
        "AUROC, 47 positives": "AUROC, 47 of 94 at .85",
        "AUROC, 15 positives": "AUROC, 15 of 94 at .92",
    }
    for name, *cells in rows_of(text)[2:]:
        for seeds, cell in zip((*TRAININGS, *UNEQUAL), cells, strict=True):
            every = singles(seeds)
            if cell == "–":
                continue
            if name in kinds:
                wanted = tenths([row for row in every if row["score"] == kinds[name]], "no difference")
            elif "average" in name:
                assert len(every) == 24
                wanted = f"{sum(100 * float(row['no difference']) for row in every) / 24:.1f}"
            else:
                case = name.removeprefix("scatter 8, ")
                wide = widest(seeds)
                row = wide[case] if case in wide else max(every, key=lambda one: float(one["no difference"]))
                wanted = interval(row["no difference"], row["studies"])
            assert cell == wanted, (name, seeds)


def skewed(second, trainings=None, **place):
    """The cells of trainings that do not scatter normally, of what the second recipe does."""
    wanted = {"second": second, **({"trainings": trainings} if trainings else {}), **place}
    return [row for row in table("skewed_trainings") if all(row[name] == value for name, value in wanted.items())]


def skewed_share(row, column, *, whole=True):
    """In per cent, with the 95 % interval."""
    share, low, high = (f"{100 * float(row[f'{column}{end}']):.1f}" for end in ("", " from", " to"))
    return f"{share} [{low}, {high}]" if whole else share


UNEVEN = {"alike": "1", ".3 times as much": "0.3", "not at all": "0"}
ONE, INDEPENDENT, IN_COMMON = "one", "any of 27, independent", "any of 27, half in common"
FIRST_FAILS, BOTH_FAIL = "a fifth of the first's fail", "a fifth of both fail"


def test_trainings_that_do_not_scatter_normally_err_as_often_as_is_said():
    """The table of the decision, that of metrics.md, and the sentences with their highest cells."""
    rows = rows_of(between(QUESTIONS, "**Where trainings do not scatter normally", "Where both scatter alike, one"))[2:]
    assert len(rows) == 24
    for scatter, patients, second, counted, *cells in rows:
        mean, deviation = (f"0{number}" for number in scatter.split(", "))
        for trainings, cell in zip(TRAININGS, cells, strict=True):
            (row,) = skewed(UNEVEN[second], trainings, mean=mean, deviation=deviation, patients=f"0{patients}")
            assert cell == skewed_share(row, ONE if counted == "one" else INDEPENDENT), (scatter, second, counted)
    rows = rows_of(between(METRICS, "**All this needs trainings", "In the rows without failures"))[2:]
    assert len(rows) == 11
    for scatter, second, *cells in rows:
        mean, deviation = (f"0{number}" for number in scatter.split(", "))
        fails = FIRST_FAILS if FIRST_FAILS in second else BOTH_FAIL if BOTH_FAIL in second else None
        for trainings, cell in zip(TRAININGS, cells, strict=True):
            (row,) = skewed(fails or UNEVEN[second], trainings, mean=mean, deviation=deviation, patients="0.004")
            columns = (ONE, IN_COMMON if fails else INDEPENDENT)
            assert cell == " / ".join(skewed_share(row, column, whole=False) for column in columns), (scatter, second)
    uneven = [row for second in ("0.3", "0") for row in skewed(second)]
    most = {name: skewed_share(max(uneven, key=lambda row: float(row[name])), name) for name in (ONE, INDEPENDENT)}
    ends = {name: text.replace(" [", " % [") for name, text in most.items()}
    said = f"one comparison errs in at most {ends[ONE]} and any of 27 in at most {ends[INDEPENDENT]}"
    assert said in " ".join(METRICS.split())
    half = [row for row in skewed(FIRST_FAILS) if row["patients"] == "0.004"]
    said = f"one comparison errs in up to {most[ONE]} % of studies with one long tail"
    said = f"{said}, any of 27 in up to {most[INDEPENDENT]} %"
    assert said in CLAIMS
    tenth, first_of_two, both_of_two = (
        [row for row in skewed(name) if row["patients"] == "0.004"]
        for name in ("a tenth of the first's fail", "two values, not at all", "two values, alike")
    )
    assert f"two values one in {skewed_share(first_of_two[0], ONE)} % with two trainings" in CLAIMS
    said = f"in {skewed_share(half[0], ONE)} % with two trainings and {skewed_share(half[1], ONE)} % with three"
    assert f"{said}, if a tenth do, in {skewed_share(tenth[1], ONE)} % with three" in CLAIMS
    for rows_said in (tenth, first_of_two, both_of_two):
        assert ", ".join(skewed_share(row, ONE) for row in rows_said) in " ".join(QUESTIONS.split())
        *front, last = (skewed_share(row, ONE, whole=False) for row in rows_said)
        assert f"{', '.join(front)} and {last} %" in " ".join(METRICS.split())
    fails = ", ".join(skewed_share(row, ONE) for row in half)
    assert f"comparison errs in {fails} with 2, 3, 5 and 10 trainings" in " ".join(QUESTIONS.split())
    alike = [float(row[ONE]) for row in skewed("1")]
    said = f"one comparison errs in {100 * min(alike):.1f} to {100 * max(alike):.1f} and"
    assert said in " ".join(QUESTIONS.split())
    for row in skewed("1"):
        assert max(float(row[INDEPENDENT]), float(row[IN_COMMON])) < 0.012
    thrice = "threefold of those called different"
    shares = [[round(100 * float(row[name])) for row in skewed("0.3")] for name in (thrice, "threefold")]
    wrong, every = (f"{min(share)}–{max(share)} %" for share in shares)
    for page in (QUESTIONS, METRICS):
        assert f"{wrong} of the wrong calls have spreads" in " ".join(page.split())
        assert f"of all those studies, right or wrong, {every} do" in " ".join(page.split())


def test_families_err_as_often_as_is_said():
    scores, name, count = {"means": "mean", "AUROCs": "AUROC, 47 of 94 at .85"}, "", 0
    for kind, trainings, *cells in rows_of(
        between(QUESTIONS, "| scores | trainings scatter", "With a scatter of 8 trainings vary")
    )[2:]:
        name = kind or name
        score = next(scores[word] for word in scores if word in name)
        alike = "0.0" if "independent" in name else "0.5"
        for seeds, cell in zip(TRAININGS, cells, strict=True):
            where = {"score": score, "seeds": seeds, "alike": alike, "trainings": str(float(trainings))}
            where["spread of the second"] = "1.0"
            rows = families(f"any of {name.split()[0]}", **where)
            ends = [100 * float(row[f"no difference{end}"]) for row in rows for end in ("", " from", " to")]
            written = [float(number) for number in re.findall(r"\d+\.\d", cell)]
            assert written == pytest.approx(ends, abs=0.051), (kind, trainings, seeds)
            count += len(rows)
    rows = rows_of(between(QUESTIONS, "| trainings | the second recipe scatters", "Scores that are alike are called"))[
        2:
    ]
    for seeds, spread, cell in rows:
        [row] = families(
            "any of 27", **{"seeds": seeds, "spread of the second": spread, "trainings": "8.0", "alike": "0.0"}
        )
        ends = [100 * float(row[f"no difference{end}"]) for end in ("", " from", " to")]
        assert [float(number) for number in re.findall(r"\d+\.\d", cell)] == pytest.approx(ends, abs=0.051), (
            seeds,
            spread,
        )
    every = [row for size in (3, 27, 70, 576) for row in families(f"any of {size}")]
    assert count + len(rows) == len(every)
    assert max(float(row["no difference from"]) for row in every) <= 0.05  # the lower end: 200 to 400 studies


def test_differences_of_recipes_are_found_as_often_as_is_said():
    names = {"one": "one standard error", "two": "two", "three": "three"}
    counted = ["any of 27"] * 3 + ["of 27 that differ"] * 3 + ["the one of 27 that differs"] * 3
    rows = rows_of(between(QUESTIONS, "| of 27 scores, true difference", "lowest and highest of the rows of 27"))[2:]
    for what, (name, *cells) in zip(counted, rows, strict=True):
        size = next(names[word] for word in names if re.search(rf"by {word}\b", name))
        for seeds, cell in zip(TRAININGS, cells, strict=True):
            rows_alike = families(what, **{"seeds": seeds, "spread of the second": "1.0"})
            assert cell == percent(*(row[size] for row in rows_alike)), (name, seeds)
    for name, *cells in rows_of(between(QUESTIONS, "| true difference |", "**What else was compared**"))[2:]:
        for seeds, cell in zip(TRAININGS, cells, strict=True):
            every = singles(seeds)
            more = [row[name] for row in every if "15 of 94" not in row["score"]]
            assert len(every) == 24
            assert cell == f"{percent(*(row[name] for row in every))} ({percent(*more)})", (name, seeds)


def test_what_is_judged_again_is_what_the_committed_tables_give(tmp_path):
    """The program's table, and the pages' figures of the study whose two trainings hardly scatter in one recipe."""
    place = ROOT / "docs/results"
    write_csv(tmp_path / "again.csv", runpy.run_path(str(place / "judge_again.py"))["conclusions"]())
    assert (tmp_path / "again.csv").read_bytes() == (place / "judged-again.csv").read_bytes()
    pages = [(place / page).read_text(encoding="utf-8") for page in ("judged-again.md", "trust-phantom/README.md")]
    with (place / "trust-phantom/tables/classification.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["metric"]: row for row in csv.DictReader(file) if row["class"] == "mean" and row["recipes_p"]}
    for metric, column, bar, said in (
        ("auroc", "recipes_p_worse", 0.01, ".096"),
        ("average_precision", "recipes_p", 0.0, ".071"),
    ):
        row = rows[metric]
        spreads = [np.array(float(square)) for square in row["recipes_trainings_squared"].split(";")]
        distance = np.array(-float(row["difference"]) - bar)
        p = 2 * tail_by_parts(distance, np.array(float(row["recipes_error_above"])), spreads, [1, 1])
        assert float(row[column]) == pytest.approx(float(p))
        assert f"{float(p):.3f}" == f"0{said}"
        assert row["recipes_verdict"] == "unclear"
        assert all(said in page for page in pages), metric


def test_of_the_phantoms_networks_trained_again_as_many_verdicts_differ_as_is_said():
    place = ROOT / "docs" / "results" / "trust-phantom"
    verdicts = []
    for name in ("trust", "trust-again"):
        with (place / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["verdict"]]
        verdicts.append({(row["variant"], row["measure"], row["method"]): row["verdict"] for row in rows})
    once, again = verdicts
    assert once.keys() == again.keys()
    assert (len(once), sum(once[name] != again[name] for name in once)) == (46, 6)
    gains = [name for name in once if name[1] in {"flipping_gain", "insertion_gain"} and once[name] == "yes"]
    assert (len(gains), sum(again[name] == "yes" for name in gains)) == (5, 3)
    page = " ".join((place / "README.md").read_text(encoding="utf-8").split())
    assert "Of all 46 verdicts of the table of trust six came out otherwise" in page
    assert "three of these five came out again" in page


def test_the_page_of_losses_is_the_one_that_the_tables_give():
    """Of the frontier study; the page that stands beside it is what its program writes."""
    place = ROOT / "docs/results/frontier-phantom"
    program = runpy.run_path(str(place / "losses.py"))
    page = (place / "losses.md").read_text(encoding="utf-8")
    assert program["page"]() == page
    with (place / "tables/robustness.csv").open(encoding="utf-8", newline="") as file:
        worse = [row for row in csv.DictReader(file) if row["networks_verdict"] == "worse"]
    for row in worse:
        assert (
            f"| {row['variant'].removeprefix('linf ')} | {float(row['value']) - float(row['difference']):.3f} → "
            in page
        )
    assert "Average precision | mean | 0.01 |" in page
    assert "[losses.md](losses.md)" in (place / "README.md").read_text(encoding="utf-8")
