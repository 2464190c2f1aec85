"""The report of an audit: one page that needs nothing but itself, whose verdict is read in two minutes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pellucid.evaluation.metrics.comparison import MANY_CLASSES
from pellucid.evaluation.metrics.intervals import MINIMUM
from pellucid.evaluation.metrics.verdicts import ALPHA
from pellucid.evaluation.robustness.corruptions import SEVERITIES, corruption_label
from pellucid.report.charts import curves, figures
from pellucid.report.charts.calibration import reliability_diagram
from pellucid.report.charts.corruptions import corruption_charts
from pellucid.report.pages.discovery import card_of
from pellucid.report.pages.page_templates import PAGES, style_sheet
from pellucid.report.pages.trust import trust_parts
from pellucid.report.tables import areas, pivot
from pellucid.report.tables.cells import Cell, PageTable, TableRow, across, estimate, reasons_once, size
from pellucid.report.tables.corruptions import lost_at, worse_at
from pellucid.report.tables.metrics import Metric, defined, duration, metric, number, p_text, readable, small_share
from pellucid.report.tables.results_index import MEAN, ResultsIndex
from pellucid.utils.resources import write_text
from pellucid.utils.words import listed, number_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pellucid.evaluation.discovery.results import Discovery

MAIN = (
    "accuracy", "balanced_accuracy", "auroc", "average_precision", "calibration_error", "overconfidence", "brier",
)  # fmt: skip
PLACE = "place_gain"
SUSPECTS = 3  # on this page; their own has all
OWN, SUGGESTED, CONSTANT = "its own", "suggested", "constant"  # the thresholds, as the rows have them
ROUNDING = 1e-9
"""Up to which two costs are the same."""
SIGNS = {"holds": ("✓", "What holds"), "fails": ("✗", "What does not hold"), "unclear": ("?", "What cannot be said")}


@dataclass(frozen=True)
class Shown:
    """Pictures that stand together.

    Attributes:
        title: what they show.
        caption: of which image, and what the model says of it.
        pictures: data addresses by what each is.
    """

    title: str
    caption: str
    pictures: dict[str, str]


@dataclass(frozen=True)
class WrongAnswer:
    """A wrong answer: on which image, what is said, what its label is, and the image as a data address, or nothing."""

    image: str
    says: str
    truth: str
    picture: str


def write_audit(
    results: Mapping[str, Any],
    pictures: Sequence[Shown],
    wrong: Sequence[WrongAnswer],
    path: Path,
    discovery: Discovery | None = None,
) -> Path:
    """Write the page; it loads nothing from anywhere, and every text is escaped.

    Args:
        results: of the audit, as audit.json has them.
        pictures: right, wrong, and what the model would have to see.
        wrong: the wrong answers that it is surest about.
        path: of the HTML file, written whole or not at all.
        discovery: what the model goes by, whose own page lies in the folder `discovery` beside it.

    Raises:
        InputError: if the folder cannot be written or the disk is full.
    """
    text = PAGES.get_template("audit.html.j2").render(
        context(results, pictures, wrong) | _suspects(discovery, pictures=results["about"]["pictures"])
    )
    write_text(path, text)
    return path


def context(results: Mapping[str, Any], pictures: Sequence[Shown], wrong: Sequence[WrongAnswer]) -> dict[str, Any]:
    """Everything the template shows."""
    index = ResultsIndex(results)
    part, several = results["classification"], results["data"]["task"] == "multilabel"
    reliability = reliability_diagram(part["reliability"], several=several)
    targets = [
        (pivot.localization(index, t["name"]), of_which_classes(t), other_means(t, index.results))
        for t in index.targets
    ]
    return {
        "r": results,
        "index": index,
        "styles": {},
        "css": style_sheet("report.css"),
        "verdicts": _verdicts(results),
        "pictures": pictures,
        "wrong": wrong,
        "main": main_table(index),
        "thresholds": threshold_table(index, part["use"]),
        "classes": class_table(index),
        "confused": confusion_table(results),
        "pairs": pairs_table(part["most_confused"]) if part["confusion"] is None else None,
        "calibration": [reliability] if reliability else [],
        "groups": group_tables(results["groups"]) if results["groups"] else [],
        "class_groups": class_group_tables(results["groups"]) if results["groups"] else [],
        "more_groups": more_group_tables(results["groups"]) if results["groups"] else [],
        "elsewhere": corruption_table(results["elsewhere"]) if results["elsewhere"] else None,
        "corrupted_charts": corruption_charts(results["elsewhere"]) if results["elsewhere"] else [],
        "against": against_table(results["comparison"], index) if results["comparison"] else None,
        "attacked": [reasons_once(table) for table in pivot.robustness(index)],
        "attacked_charts": figures.robustness(index),
        "areas": areas.overview(index, "Network") if results["ara"] else None,
        "curves": curves.charts(curves.stored(results["ara"]["curves"]), index.styles) if results["ara"] else [],
        "trust": trust_parts(results["trust"]) if results["trust"] else None,
        "located": [(table, classes, apart) for table, classes, apart in targets if table],
        "reasons": {p["name"]: p["reason"] for p in results["parts"] if p["reason"]},
        "cards": _cards(results["card"]),
        "duration": duration,
        "several": several,
        "plain": lambda text: text.replace("`", ""),
        "share": small_share,
        "size": f"{results['about']['n']:,}",
    }


def _suspects(discovery: Discovery | None, *, pictures: bool) -> dict[str, Any]:
    """The first few suspects that nobody marked, and what was found of marks, first those of the same classes."""
    if discovery is None:
        return {"discovery": None}
    cards = [card_of(discovery, suspect) for suspect in discovery.unexpected[:SUSPECTS]]
    cards = cards if pictures else [one | {"card": []} for one in cards]
    classes = [suspect.class_name for suspect in discovery.unexpected[:SUSPECTS]]
    expected = sorted((s for s in discovery.suspects if s.expected), key=lambda s: s.class_name not in classes)
    marked = [suspect.verdict for suspect in expected]
    return {"discovery": discovery, "suspects": cards, "more": len(discovery.unexpected) - len(cards), "marked": marked}


def of_which_classes(target: Mapping[str, Any]) -> str:
    """How much was scored, and the classes that no mean contains, with the one reason.

    Example:
        >>> of_which_classes({"pairs": 15, "images": 12, "left_out": {"Nodule": 4}})
        '15 findings on 12 images. Left out: Nodule 4; an interval needs 5 patients, and a mean box some in each half.'
    """
    text = f"{number_of(target['pairs'], 'finding(s)')} on {number_of(target['images'], 'image(s)')}."
    if not target["left_out"]:
        return text
    few = ", ".join(f"{readable(name)} {count}" for name, count in target["left_out"].items())
    return f"{text} Left out: {few}; an interval needs {MINIMUM} patients, and a mean box some in each half."


def other_means(target: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """Why the table of trust has other figures of the same marked places; nothing where it averages over the same.

    Example:
        >>> target = {"name": "mine", "pairs": 15, "left_out": {"Nodule": 16}}
        >>> row = {"section": "localization", "target": "mine", "class": "Mass"}
        >>> place = {"measure": "place_gain", "n": 28, "best": "mean box"}
        >>> other_means(target, {"rows": [row], "trust": {"rows": [place]}})[:53]
        'The means here are over 1 finding (15 marked places).'
    """
    places = [r for r in (results["trust"] or {}).get("rows", []) if r["measure"] == PLACE]
    pairs, every = target["pairs"], target["pairs"] + sum(target["left_out"].values())
    boxed = sorted({r["n"] for r in places if r["best"] == "mean box" and r["n"] < every})
    if not places or (every == pairs and not boxed):
        return ""
    names = {r["class"] for r in results["rows"] if r["section"] == "localization" and r["target"] == target["name"]}
    count = number_of(len(names - {MEAN}), "finding(s)")
    some = f", or over the {' or '.join(map(str, boxed))} that have a mean box" if boxed else ""
    return (
        f"The means here are over {count} ({number_of(pairs, 'marked place(s)')}). The table of trust averages over "
        f"all {every:,} marked places{some}, so its figures differ."
    )


def _verdicts(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    statements = results["verdict"]["statements"]
    return [
        {"kind": kind, "sign": sign, "title": title, "statements": own}
        for kind, (sign, title) in SIGNS.items()
        if (own := [s for s in statements if s["kind"] == kind])
    ]


def main_table(index: ResultsIndex) -> PageTable:
    """The main figures, a row each, with what they mean."""
    lines = []
    for name in MAIN:
        row = index.row("classification", name, index.variants[0]) or index.row("calibration", name, index.variants[0])
        if (cell := estimate(row, metric(name))) is not None:
            label, meaning = metric(name).label, metric(name).meaning
            lines.append(TableRow(label, f"{meaning[:1].upper()}{meaning[1:]}.", (cell,), size(cell)))
    return PageTable("The main figures", ("Value",), tuple(lines), first="Figure")


def threshold_table(index: ResultsIndex, use: Mapping[str, Any]) -> PageTable:
    """Sensitivity, specificity and cost of each class, at the model's own threshold and at the suggested one.

    Of more than two exclusive classes the most probable one is said; one of them against all others only where that was
    asked about. Of two there is no mean, for the rows of one are the other's mirror image.
    """
    rows = {(r["class"], r["at"], r["metric"]): r for r in index.section("threshold")}
    apart = any(at == SUGGESTED for _, at, _ in rows)
    exclusive, count = index.results["data"]["task"] == "multiclass", len(index.results["data"]["classes"])
    most_probable = exclusive and count > 2
    lines, one_cut = [], True
    for name in index.class_names("threshold"):
        if name == MEAN and exclusive and count == 2:
            continue
        cuts = {
            at: rows[name, at, "sensitivity"].get("threshold")
            for at in (OWN, SUGGESTED)
            if (name, at, "sensitivity") in rows
        }
        same = len(cuts) == 2 and (one_cut if name == MEAN else cuts[OWN] is not None and cuts[OWN] == cuts[SUGGESTED])
        one_cut = one_cut and same  # the mean comes last
        for at in (OWN,) if same else cuts:
            cells = [estimate(rows.get((name, at, m)), metric(m)) for m in ("sensitivity", "specificity", "cost")]
            cut = cuts[at]
            threshold = None if name == MEAN else Cell("most probable" if cut is None else number(cut, 3))
            label = "Mean over classes" if name == MEAN else readable(name)
            hint = "its own threshold, and the suggested one" if same else f"{at} threshold"
            if most_probable:
                hint = ("" if at == OWN else "against all others") if apart else ""
            lines.append(TableRow(label, hint, (threshold, *cells) if apart else tuple(cells[:2]), strong=name == MEAN))
        if (constant := rows.get((name, CONSTANT, "cost"))) is not None and apart:
            label = "Mean over classes" if name == MEAN else readable(name)
            only = (None, None, None, estimate(constant, metric("cost")))
            lines.append(TableRow(label, "the best constant answer", only, strong=name == MEAN))
    sentence = "The most probable class is said, and no threshold takes part. "
    if not apart:
        sentence += (
            "How one class is told from all others at a threshold is shown where --prevalence or --cost ask for it."
        )
        table = PageTable("Each class", ("Sensitivity", "Specificity"), tuple(lines), sentence, "Class", show_n=False)
        return reasons_once(table)
    note = (
        f"The suggested threshold would cost least of all thresholds where {_paid(index, use)}, and where "
        f"{_frequent(index, use)}, if the probabilities were calibrated.{_uncalibrated(index)} The cost is that of all "
        f"errors, for each image.{_costlier(index, rows)}"
    )
    if most_probable:
        note = (
            f"{sentence}Rows against all others answer another question, whether it is this class or not: an image may "
            f"get several such answers, or none. {note}"
        )
    columns = ("Threshold", "Sensitivity", "Specificity", "Cost")
    table = PageTable("At a threshold", columns, tuple(lines), note, index.class_noun.capitalize(), show_n=False)
    return reasons_once(table)


def _uncalibrated(index: ResultsIndex) -> str:
    """Whether the page itself says that the supposition of the suggested threshold fails."""
    verdict = index.results.get("verdict") or {"statements": []}
    fails = any((s["part"], s["kind"]) == ("calibration", "fails") for s in verdict["statements"])
    return " They are shown not to be, so that it need not cost less than any other." if fails else ""


def _costlier(index: ResultsIndex, rows: Mapping[tuple[str, str, str], Mapping[str, Any]]) -> str:
    """For which classes neither threshold is shown to cost less than a constant answer, which looks at no image."""
    names = []
    for name in index.class_names("threshold"):
        own = [rows.get((name, at, "cost")) for at in (OWN, SUGGESTED)]
        costs = [r["high"] if defined(r["high"]) else math.inf for r in own if r is not None]
        constant = rows.get((name, CONSTANT, "cost"))
        if name != MEAN and costs and constant is not None and constant["value"] <= min(costs) + ROUNDING:
            names.append(readable(name))
    if not names:
        return ""
    return f" At neither threshold is it shown to cost less than a constant answer for {listed(names, 6)}."


def _paid(index: ResultsIndex, use: Mapping[str, Any]) -> str:
    if use["class"] is None:
        return f"missing a class costs {use['FN']:g}, saying it wrongly {use['FP']:g}"
    (other,) = (readable(c) for c in index.results["data"]["classes"] if c != use["class"])
    return (
        f"missing {readable(use['class'])} costs {use['FN']:g}, and saying it wrongly, which is to miss {other}, "
        f"{use['FP']:g} (the rows of {other} are the mirror image)"
    )


def _frequent(index: ResultsIndex, use: Mapping[str, Any]) -> str:
    shares = ", ".join(f"{readable(c)} {p:g}" for c, p in use["prevalence"].items())
    if not shares:
        return "each is as frequent as among these images"
    if index.results["data"]["task"] == "multilabel":
        return f"each is as frequent as given ({shares}), or else as among these images"
    every = len(use["prevalence"]) == len(index.results["data"]["classes"])
    rest = "" if every else "; what that leaves is shared as among these images"
    return f"each is as frequent as given ({shares}{rest})"


def class_table(index: ResultsIndex) -> PageTable:
    """AUROC and average precision of each class."""
    names = ("auroc", "average_precision")
    lines = []
    for name in index.class_names("classification", metric="auroc"):
        cells = [estimate(index.row("classification", m, index.variants[0], cls=name), metric(m)) for m in names]
        label = "Mean over classes" if name == MEAN else readable(name)
        line = across(label, cells)
        lines.append(TableRow(line.label, "", line.cells, line.n, strong=name == MEAN))
    columns = tuple(metric(m).label for m in names)
    table = PageTable(f"Each {index.class_noun}", columns, tuple(lines), first=index.class_noun.capitalize())
    return reasons_once(table)


WORST = 5
OF_GROUPS = ("accuracy", "auroc", "sensitivity", "specificity")
OF_CLASS = ("auroc", "sensitivity", "specificity")
MORE_OF_GROUPS = tuple(name for name in MAIN if name not in OF_GROUPS)


def group_tables(groups: Mapping[str, Any]) -> list[PageTable]:
    """The groups that differ most from the rest, and every group's figures that are tested, a table for each column."""
    tested = [r for r in (*groups["rows"], *groups["class_rows"]) if defined(r["p_corrected"])]
    worst = sorted(tested, key=lambda r: (r["p_corrected"], r["difference"]["value"]))
    lines = []
    for row in [r for r in worst if r["difference"]["value"] < 0][:WORST]:
        kind = metric(row["metric"])
        cells = [_alone(row, kind), *(estimate(part, kind) for part in (row["rest"], row["difference"]))]
        label, hint = f"{readable(row['column'])}: {readable(row['group'])}", _label(row)
        lines.append(TableRow(label, hint, (*cells, Cell(p_text(row["p_corrected"]))), f"{row['images']:,}"))
    note = f"p is corrected after Holm for {groups['tests']:,} tests; the rest are the other groups of the column."
    tables = [
        PageTable("Served worst", ("This group", "The rest", "Difference", "p, corrected"), tuple(lines), note, "Group")
    ]
    return [t for t in (*tables, *_tables_by_column(groups, OF_GROUPS)) if t]


def more_group_tables(groups: Mapping[str, Any]) -> list[PageTable]:
    """Every group's figures that are not tested, a table for each column."""
    return [t for t in _tables_by_column(groups, MORE_OF_GROUPS) if t]


def _tables_by_column(groups: Mapping[str, Any], metrics: tuple[str, ...]) -> list[PageTable]:
    tables = []
    for column in groups["columns"]:
        own = {(r["group"], r["metric"]): r for r in groups["rows"] if r["column"] == column["name"]}
        lines = [
            TableRow(readable(name), "", tuple(_alone(own[name, m], metric(m)) for m in metrics),
                     f"{own[name, metrics[0]]['images']:,}")
            for name in column["groups"] if (name, metrics[0]) in own
        ]  # fmt: skip
        of = {m: groups["class"] if m in ("sensitivity", "specificity") else None for m in metrics}
        names = tuple(_label({"metric": m, "class": of[m] or MEAN}) for m in metrics)
        tables.append(PageTable(f"By {readable(column['name'])}", names, tuple(lines), first="Group"))
    return tables


def class_group_tables(groups: Mapping[str, Any]) -> list[PageTable]:
    """Every group's figures of each class, a table for each column; of many classes those that differ most."""
    rows = groups["class_rows"]
    by_p = sorted(rows, key=lambda r: float(r["p"]) if defined(r["p"]) else 1.0)
    names = list(dict.fromkeys(r["class"] for r in by_p))[:MANY_CLASSES]
    tables = []
    for column in groups["columns"]:
        own = {(r["group"], r["class"], r["metric"]): r for r in rows if r["column"] == column["name"]}
        lines = [
            TableRow(readable(group), readable(name), tuple(_alone(own[group, name, m], metric(m)) for m in OF_CLASS))
            for group in column["groups"] for name in names if (group, name, OF_CLASS[0]) in own
        ]  # fmt: skip
        labels = tuple(metric(m).label for m in OF_CLASS)
        tables.append(
            PageTable(f"By {readable(column['name'])}", labels, tuple(lines), first="Group, class", show_n=False)
        )
    return [t for t in tables if t]


def _label(row: Mapping[str, Any]) -> str:
    kind = metric(row["metric"]).label
    return kind if row["class"] == MEAN else f"{kind} for {readable(row['class'])}"


def _alone(row: Mapping[str, Any], measure: Metric) -> Cell | None:
    """A figure without its difference, which asks nothing of recipes as that of a study's rows does."""
    return estimate({**row, "difference": None}, measure)


def corruption_table(figures: Mapping[str, Any]) -> PageTable:
    """What is left at each severity of each corruption, and where less than half of what the model can is left."""
    kind = metric(figures["metric"])
    rows = {(r["corruption"], r["severity"]): r for r in figures["rows"]}
    has_lead = figures["clean"]["low"] is not None and figures["clean"]["low"] > figures["base"]
    lines, clean = [], estimate(figures["clean"], kind)
    worse, lost = worse_at(figures), lost_at(figures)
    for name in figures["lost"]:
        own = [rows[name, severity] for severity in range(1, 6)]
        cells = [_alone(row, kind) for row in own]
        both = [Cell(", ".join(map(str, at)) or "not shown") for at in (worse[name], lost[name])]
        label = corruption_label(name, title=True)
        lines.append(TableRow(label, SEVERITIES[name][0], (clean, *cells, both[0], both[1] if has_lead else None)))
    strengths = {corruption_label(name): [f"{s:g}" for s in SEVERITIES[name][1]] for name in figures["lost"]}
    note = (
        "Strengths of severities 1 to 5: "
        + "; ".join(f"{name} {', '.join(own)}" for name, own in strengths.items())
        + f". Worse: than the same images uncorrupted, p below {ALPHA:g} after Holm for {figures['tests']} tests. Half "
        "is lost where it is worse, and is shown to lie below the middle between its uncorrupted figure and a constant "
        "answer’s, with the uncertainty of all three, corrected in the same way"
        + ("." if has_lead else ", which cannot be asked of a model that is not shown to be above that answer.")
    )
    columns = ("Uncorrupted", *(f"Severity {s}" for s in range(1, 6)), "Worse at", "Half lost at")
    return PageTable(f"{kind.label} under common corruptions", columns, tuple(lines), note, "Corruption", show_n=False)


def against_table(rival: Mapping[str, Any], index: ResultsIndex) -> PageTable:
    """Accuracy and AUROC beside the other model's, with their differences and corrected p values."""
    lines = []
    for row in rival["rows"]:
        kind = metric(row["metric"])
        cells = [_alone(row, kind), estimate(row["other"], kind)]
        change = row["difference"]
        delta = estimate(change, kind) if change else None
        p = Cell(p_text(row["p_corrected"]), reason=row["test"]) if row["test"] else None
        label = kind.label if row["class"] == MEAN else f"{kind.label}, {readable(row['class'])}"
        line = across(label, [*cells, delta])
        lines.append(TableRow(label, "", (*line.cells, p), line.n))
    note = (
        "These two networks on other "
        f"{index.sampled}; nothing is said of how they were trained. The difference is this model less the other, its "
        f"interval made of both figures’ over the same {index.sampled}, not corrected. p is corrected after Holm for "
        f"{rival['tests']} tests; it asks only whether both are equal, so it can be small where the interval of a "
        "difference of few errors still includes 0."
    )
    columns = (index.variants[0], rival["label"], "Difference", "p, corrected")
    return PageTable(f"Against {rival['label']}", columns, tuple(lines), note, "Figure")


def confusion_table(results: Mapping[str, Any]) -> dict[str, Any] | None:
    """The matrix, of few classes: names, and rows of counts with how dark each cell is; None where there is none."""
    cells = results["classification"]["confusion"]
    if cells is None:
        return None
    rows = []
    for name, line in zip(results["data"]["classes"], cells, strict=True):
        total = sum(line)
        shades = [round(0.6 * count / total, 3) if total else 0 for count in line]
        rows.append({"name": readable(name), "cells": list(zip(line, shades, strict=True))})
    return {"names": [readable(c) for c in results["data"]["classes"]], "rows": rows}


def pairs_table(pairs: Sequence[Mapping[str, Any]]) -> PageTable | None:
    """The pairs of classes that are most often confused."""
    lines = []
    for pair in pairs:
        share = estimate(pair["share"], metric("recall"))
        label = f"{readable(pair['class'])} → {readable(pair['taken_for'])}"
        lines.append(TableRow(label, "", (Cell(f"{pair['images']:,}"), share), size(share)))
    columns = ("Images", "Share of the class")
    table = PageTable("Most often confused", columns, tuple(lines), first="Class → taken for")
    return reasons_once(table) if lines else None


def _cards(fields: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"source": source, "fields": own, "filled": sum(bool(f["text"]) for f in own)}
        for source in dict.fromkeys(f["source"] for f in fields)
        for own in [[f for f in fields if f["source"] == source]]
    ]
