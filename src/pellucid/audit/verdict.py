"""In plain words: what of a model holds, what does not, what cannot be said, and what to do next."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pellucid.audit.classification import OWN
from pellucid.audit.facts import listed
from pellucid.evaluation.metrics.classification import NO_ANSWER
from pellucid.evaluation.metrics.intervals import MINIMUM
from pellucid.evaluation.metrics.verdicts import ALPHA
from pellucid.evaluation.robustness.corruptions import corruption_label
from pellucid.report.tables.corruptions import is_below, lost_at, severities_text, worse_at
from pellucid.report.tables.metrics import METRICS, defined, method_label, number, p_text, readable, small_share
from pellucid.report.tables.pivot import strength_of
from pellucid.report.tables.results_index import MEAN, ResultsIndex
from pellucid.utils.words import figure_text, joined, number_of, value_text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

Kind = Literal["holds", "fails", "unclear"]

CALIBRATED = 0.05
"""A calibration error up to which a confidence may be read as a probability; a convention of this report."""
HALF = 0.5
"""Of a class's images, or of what a model can do beyond a constant answer: what must at least be left; a convention."""
FEW = 6
"""Images of a class from which on something is said of it: five that all go wrong still allow a half."""
PLACE, RANK = "place_gain", "attacked_rank"
EXPLAINS = ("trust", "localization")
"""The parts of the report whose statements are on explanations."""
UNSEEN = 2 / 255
"""Of any pixel: a change up to which people see nothing on a screen of 256 grey levels; a convention of this report."""
LOOK = (
    "Look at the class names, the normalisation and how images are cut: a wrong one looks like this. Then at the "
    "labels, with `pellucid data check`."
)
MORE = "Audit more images of each class."
BROKEN = "Look at its weights and at its normalisation."
"""What to do about a model that gives no answer on some images."""
MODERATE = 3
"""Of five severities of corruptions, those up to this one count against a model; a convention of this report."""
CORRUPTED = "Look at images of the place where it is to be used for these; train with them as augmentation."
ATTACKED = (
    "Do not use it where anybody gains from a changed image, and trust no single pixel's part in a decision; train it "
    "with adversarial images (`pellucid train`), and audit it again."
)
SMALL = 200
"""Images below which the report says that they are few."""


@dataclass(frozen=True)
class Statement:
    """One thing that was found.

    Attributes:
        kind: whether it holds, fails, or cannot be said.
        part: of the report that it comes from.
        short: the end of a sentence that begins with the model.
        text: what was found, with its figures.
        advice: what to do next; empty where nothing is.
    """

    kind: Kind
    part: str
    short: str
    text: str
    advice: str = ""

    def to_json(self) -> dict[str, str]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Verdict:
    """All statements, and the sentence that sums them up."""

    headline: str
    statements: tuple[Statement, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"headline": self.headline, "statements": [s.to_json() for s in self.statements]}


def summarize_audit(results: Mapping[str, Any]) -> Verdict:
    """What the figures of an audit say; nothing is said to hold or to fail that an interval does not show.

    Args:
        results: of the audit, as audit.json has them.
    """
    index = ResultsIndex(results)
    statements = [
        *_classifies(index),
        *_classes(index),
        *_calibrated(index),
        *_grouped(results),
        *_against(results),
        *_elsewhere(results),
        *_attacked(index),
        *_explained(results),
        *_located(results),
        *_seen(results),
        *_few(results),
    ]
    if statements[0].kind != "holds":
        statements = [_withheld(s) if s.part in EXPLAINS and s.kind == "holds" else s for s in statements]
    return Verdict(_headline(statements), tuple(statements))


def _withheld(statement: Statement) -> Statement:
    """What speaks for an explanation of a model that is not shown to know anything: not counted for it."""
    text = f"{statement.text} That is no reason to rely on it: the model is not shown to tell the classes apart."
    advice = "Judge its maps again once it is shown to tell the classes apart."
    return replace(statement, kind="unclear", short="", text=text, advice=statement.advice or advice)


def _headline(statements: Sequence[Statement]) -> str:
    """One sentence for what holds, and one for what does not; the first is on what a model is for, to classify."""
    first = statements[0]
    good, bad = ([s.short for s in statements if s.kind == kind and s.short] for kind in ("holds", "fails"))
    if first.kind == "holds":
        but = f"But it {joined(bad)}." if bad else "Nothing that was tested failed."
        return f"This model {joined(good)}. {but}"
    if first.kind == "unclear":
        bad = [first.short, *bad]
    rest = f" It {joined(good)}." if good else ""
    return f"This model {joined(bad)}.{rest}"


def _classifies(index: ResultsIndex) -> list[Statement]:
    """Whether it ranks the classes, by mean AUROC, and whether it beats a constant answer.

    The first statement is on whether it tells the classes apart: of exclusive ones being right more often than a
    constant answer shows that too, where AUROC does not.
    """
    ranks = _ranks(index)
    beats = _beats_constant(index)
    if index.results["data"]["task"] == "multilabel":
        return [ranks, beats]
    if ranks.kind == "holds" or beats.kind != "holds":
        return [ranks, beats]
    apart = replace(beats, short=beats.short.replace("beats a constant answer", "tells the classes apart"))
    return [apart, ranks] if ranks.kind == "fails" else [apart]


def _ranks(index: ResultsIndex) -> Statement:
    row = index.row("classification", "auroc", index.variants[0])
    unshown = "is not shown to tell the classes apart"
    if row is None or not _whole(row):
        text = f"Whether it classifies cannot be said: {_why(row)}."
        return Statement("unclear", "classification", unshown, text, _mend(row, MORE))
    several = index.results["data"]["task"] == "multilabel"
    pair = (
        "that shows a finding is ranked above one that does not"
        if several
        else "of a class is ranked above one of another class"
    )
    text = f"An image {pair} with a chance of {_shown(row, HALF)} (mean AUROC; 0.5 is chance)."
    figure = f"(mean AUROC {_value(row, HALF)})"
    if row["low"] > HALF:
        return Statement("holds", "classification", f"tells the classes apart {figure}", text)
    if row["high"] < HALF:
        advice = (
            f"Look at the class names first: a model whose classes are named in the wrong order looks like this. {LOOK}"
        )
        return Statement("fails", "classification", f"ranks the classes the wrong way round {figure}", text, advice)
    text = f"{text} No difference from chance is shown."
    return Statement("unclear", "classification", f"{unshown} {figure}", text, f"Audit more images. {LOOK}")


def _beats_constant(index: ResultsIndex) -> Statement:
    """Whether it is right more often than who always gives the most frequent answer, of several labels of each."""
    row, baseline = (
        index.row("classification", "accuracy", index.variants[0]),
        index.results["classification"]["baseline"],
    )
    if row is None or not _whole(row):
        text = f"How often it is right cannot be said: {_why(row)}."
        return Statement("unclear", "classification", "", text, _mend(row, MORE))
    several = index.results["data"]["task"] == "multilabel"
    text = f"It is right on {_shown(row, baseline)} of the {'labels' if several else 'images'}; always "
    text += f"giving the most frequent answer{' of each label' if several else ''} is right on "
    text += f"{_bar(baseline, row)} of them."
    figure = f"(accuracy {_value(row, baseline)})"
    if row["low"] > baseline:
        return Statement("holds", "classification", f"beats a constant answer {figure}", text)
    if row["high"] <= baseline:
        return Statement("fails", "classification", f"does not beat a constant answer {figure}", text, LOOK)
    text = f"{text} No difference is shown."
    return Statement(
        "unclear", "classification", f"is not shown to beat a constant answer {figure}", text, "Audit more images."
    )


def _classes(index: ResultsIndex) -> list[Statement]:
    """Classes of which most images are missed, or that are said of most images without them.

    Of two exclusive classes what is missed of one is said of the other: that is one statement.
    """
    rows = [
        r
        for r in index.section("threshold")
        if r["at"] == OWN and r["class"] != MEAN and r["n"] >= FEW and _whole(r) and r["metric"] != "cost"
    ]
    missed = sorted((r for r in rows if r["metric"] == "sensitivity"), key=lambda r: float(r["value"]))
    alarms = sorted((r for r in rows if r["metric"] == "specificity"), key=lambda r: float(r["value"]))
    several, names_of = index.class_noun == "finding", index.results["data"]["classes"]
    two = not several and len(names_of) == 2
    if several:
        advice_on = ("lower the threshold", "Raise the threshold; see the suggested one")
    elif two:  # the more probable is said, and there is no threshold to move
        alarms = []
        advice_on = ("", "")
    else:
        advice_on = ("weigh its classes by what errors cost", "Look at what it takes for them, among the confusions")
    noun = "finding" if several else "class"
    silent = _silent_classes(index)
    statements = _unanswered(index, silent)
    if not missed and not silent:
        text = f"There are too few images of each {noun} (fewer than {FEW}) to say which of them it misses."
        statements.append(Statement("unclear", "classes", "", text, f"Audit more images of each {noun}."))
    if not missed:
        return statements
    if bad := [r for r in missed if r["high"] < HALF]:
        names = listed([f"{readable(r['class'])} ({_shown(r, HALF)})" for r in bad], 4)
        text = f"It finds fewer than half of the images of {names}."
        short = f"misses most images of {listed([readable(r['class']) for r in bad], 2)}"
        whose = listed([readable(r["class"]) for r in bad], 4)
        advice = f"On {whose}: do not rely on its silence; {advice_on[0]}, or train with more of these images."
        if two:
            pairs = {r["class"]: next(name for name in names_of if name != r["class"]) for r in bad}
            short = f"takes most images of {joined([f'{readable(a)} for {readable(b)}' for a, b in pairs.items()])}"
            advice = LOOK if len(bad) == 2 else _advice_on_two(*(readable(n) for n in next(iter(pairs.items()))))
        statements.append(Statement("fails", "classes", short, text, advice))
    if bad := [r for r in alarms if r["high"] < HALF]:
        names = listed([f"{readable(r['class'])} ({_shown(r, HALF)})" for r in bad], 4)
        text = f"It says {names} on more than half of the images without it (in brackets: the specificity)."
        which = listed([readable(r["class"]) for r in bad], 2)
        short = f"reports {which} on most images without {'it' if len(bad) == 1 else 'them'}"
        advice = f"On {which}: {advice_on[1][:1].lower()}{advice_on[1][1:]}."
        statements.append(Statement("fails", "classes", short, text, advice))
    open_ = [r for r in missed if r["low"] < HALF <= r["high"]]
    good = [r for r in missed if r["low"] >= HALF]
    if good and len(good) < len(missed):
        names = listed([f"{readable(r['class'])} ({_shown(r, HALF)})" for r in reversed(good)], 4)
        short = f"finds most images of {listed([readable(r['class']) for r in reversed(good)], 2)}"
        statements.append(Statement("holds", "classes", short, f"It finds at least half of the images of {names}."))
    if all(s.kind == "unclear" for s in statements) and not open_:
        statements.append(_finds_all(missed, len(names_of), len(silent), noun))
    elif open_:
        names = listed([readable(r["class"]) for r in open_], 4)
        text = f"Whether it finds half of the images of {names} cannot be said."
        statements.append(Statement("unclear", "classes", "", text, f"Audit more images of {names}."))
    return statements


def _silent_classes(index: ResultsIndex) -> list[str]:
    """The classes of which nothing can be said, as the model gives no answer on some of their images."""
    rows = [r for r in index.section("threshold") if r["at"] == OWN and r["metric"] == "sensitivity" and _is_silent(r)]
    return [r["class"] for r in rows if r["class"] != MEAN]


def _unanswered(index: ResultsIndex, silent: Sequence[str]) -> list[Statement]:
    """That it cannot be said which of these classes are missed; nothing where there are none."""
    if not silent:
        return []
    row = index.row("classification", "accuracy", index.variants[0])
    names = listed([readable(name) for name in silent], 4)
    which = f"Whether it misses {names}"
    if len(silent) == len(index.results["data"]["classes"]):
        which = f"Which {'findings' if index.class_noun == 'finding' else 'classes'} it misses"
    return [Statement("unclear", "classes", "", f"{which} cannot be said: {_why(row)}.", BROKEN)]


def _finds_all(rows: Sequence[Mapping[str, Any]], classes: int, silent: int, noun: str) -> Statement:
    """That it finds more than half of every class, or of those that have images, and answers, enough.

    Args:
        rows: the sensitivity of each of these, ascending.
        classes: how many there are in all.
        silent: of how many it gives no answer on some images.
        noun: what a class is called.
    """
    text = f"The {noun} that it misses most is {readable(rows[0]['class'])}, of which it finds {_shown(rows[0], HALF)}."
    short, others = f"finds more than half of every {noun}", classes - len(rows)
    if others:
        short += f" that can be judged ({len(rows):,} of {classes:,})"
        which = [f"with {FEW} images or more"] * (others > silent) + ["on which it always answers"] * (silent > 0)
        text = f"Of those {' and '.join(which)}, t{text[1:]} Of the other {others:,} nothing can be said."
    return Statement("holds", "classes", short, text)


def _advice_on_two(lacking: str, other: str) -> str:
    """What to do where most images of one of two exclusive classes are taken for the other."""
    return (
        f"Where it says {other}, it may be {lacking}: say {lacking} at a lower probability than one half, or train "
        "with more images of it."
    )


def _calibrated(index: ResultsIndex) -> list[Statement]:
    row, over = (index.row("calibration", name, index.variants[0]) for name in ("calibration_error", "overconfidence"))
    if row is None or over is None or not _whole(row):
        text = f"Its confidences cannot be judged: {_why(row)}."
        return [Statement("unclear", "calibration", "", text, _mend(row, MORE))]
    error = _shown(row, CALIBRATED)
    text = f"Its confidences are off by {error} (calibration error; up to {CALIBRATED:g} is taken as good)"
    short = amount = ""
    if _whole(over) and over["low"] > 0:
        short, amount = "is too sure of itself", _shown(over, CALIBRATED)
    elif _whole(over) and over["high"] < 0:
        turned = {"value": -over["value"], "low": -over["high"], "high": -over["low"]}
        short, amount = "is right more often than it says", _shown(turned, CALIBRATED)
    if short and row["low"] <= CALIBRATED and max(over["low"], -over["high"]) > CALIBRATED:
        text = (  # what shows it comes first: the interval of the error alone does not
            f"It {short}, by {amount} on average, and so by more than the {CALIBRATED:g} up to which its confidences "
            f"would be taken as good; its calibration error, which is at least that, is {error}"
        )
    elif short:
        text += f"; it {short}, by {amount} on average"
    if row["high"] <= CALIBRATED:
        return [Statement("holds", "calibration", "is well calibrated", f"{text}.")]
    # the calibration error is at least the amount of the overconfidence, so that either of them shows it
    if row["low"] > CALIBRATED or (_whole(over) and max(over["low"], -over["high"]) > CALIBRATED):
        advice = "Do not show its probabilities to anybody before they are scaled on validation images (temperature)."
        short = short or "is poorly calibrated"
        return [Statement("fails", "calibration", short, f"{text}.", advice)]
    return [Statement("unclear", "calibration", "", f"{text}; the interval includes this limit.", "Audit more images.")]


def _grouped(results: Mapping[str, Any]) -> list[Statement]:
    """Groups of images that it serves worse than the rest, by tests that are corrected for how many there are."""
    groups = results.get("groups")
    if groups is None or not groups["tests"]:
        return []
    significant = [
        r for r in (*groups["rows"], *groups["class_rows"]) if defined(r["p_corrected"]) and r["p_corrected"] < ALPHA
    ]
    worse = sorted(
        (r for r in significant if r["difference"]["value"] < 0), key=lambda r: float(r["difference"]["value"])
    )
    corrected = f"corrected for {groups['tests']:,} tests"
    names = listed([c["name"] for c in groups["columns"]], 6)
    if not worse:
        text = f"No group by {names} is shown to be served worse than the rest ({corrected})."
        return [Statement("unclear", "groups", "", text, "Audit more images of each group.")]
    texts = [
        f"{readable(r['column'])} {readable(r['group'])}: {METRICS[r['metric']].label}{_of_class(r)} {_shown(r)} "
        f"against {_shown(r['rest'])} of the rest ({_p(r['p_corrected'])})"
        for r in worse
    ]
    text = f"Served worse are ({corrected}): {listed(texts, 3)}."
    advice = "Say so wherever it is used; look at their images and labels, and train with more of them."
    return [Statement("fails", "groups", _served_worse(worse, groups["columns"]), text, advice)]


def _served_worse(rows: Sequence[Mapping[str, Any]], columns: Sequence[Mapping[str, Any]]) -> str:
    """The end of the headline: which groups are, or by which column they are served otherwise, each by some figure."""
    named: dict[str, list[str]] = {}
    for row in rows:
        if row["group"] not in named.setdefault(row["column"], []):
            named[row["column"]].append(row["group"])
    sizes = {c["name"]: len(c["groups"]) for c in columns}
    apart = [readable(column) for column, of in named.items() if len(of) == sizes[column]]
    worse = [f"{readable(column)} {readable(g)}" for column, of in named.items() if len(of) < sizes[column] for g in of]
    parts = [f"serves {listed(worse, 2)} worse than the rest"] if worse else []
    parts += [f"serves the groups by {listed(apart, 2)} unequally, each worse in some figure"] if apart else []
    return joined(parts)


def _of_class(row: Mapping[str, Any]) -> str:
    return "" if row["class"] == MEAN else f" for {readable(row['class'])}"


def _elsewhere(results: Mapping[str, Any]) -> list[Statement]:
    """Common corruptions that take half of what it can, by whole intervals; those of severity 3 or less count."""
    figures = results.get("elsewhere")
    if figures is None:
        return []
    clean, base = figures["clean"], figures["base"]
    measure = "AUROC" if figures["metric"] == "auroc" else "accuracy"
    cells = {(r["corruption"], r["severity"]): r for r in figures["rows"]}
    if clean["low"] is None or clean["low"] <= base:
        return [_below_constant(figures, measure)]
    broken = {name: at for name, at in lost_at(figures).items() if at and at[0] <= MODERATE}
    if broken:
        texts = [_where(cells[name, at[0]], at, measure) for name, at in broken.items()]
        text = (
            f"It keeps less than half of its lead over a constant answer under {listed(texts, 9)}; on the same images "
        )
        text += f"uncorrupted it has {_shown(clean, base)}{_worse(figures, measure, set(broken))}."
        short = f"does not withstand {listed([corruption_label(name) for name in broken], 3)}"
        return [Statement("fails", "elsewhere", short, text, CORRUPTED)]
    moderate = [r for r in figures["rows"] if r["severity"] == MODERATE]
    sure, unsure = (
        [corruption_label(r["corruption"]) for r in moderate if _keeps_half(r) is keeps] for keeps in (True, False)
    )
    if not unsure:
        text = (
            "It keeps at least half of its lead over a constant answer under every corruption of severity "
            f"{MODERATE}{_worse(figures, measure)}."
        )
        return [Statement("holds", "elsewhere", f"withstands common corruptions of severity {MODERATE}", text)]
    lead = "half of its lead over a constant answer"
    keeps = ""
    if sure:
        keeps, lead = f"It keeps at least {lead} under {joined(sure)} at severity {MODERATE}. ", "that much"
    text = (
        f"{keeps}Whether it keeps {lead} under {joined(unsure)} at severity {MODERATE} cannot be "
        f"said{_worse(figures, measure)}."
    )
    if silent := [r for r in moderate if _is_silent(r)]:
        under = joined([corruption_label(r["corruption"]) for r in silent])
        text += f" Under {under} it gives no answer on some images."
    advice = [] if len(silent) == len(unsure) else ["Corrupt more images (`--corrupted`)."]
    return [Statement("unclear", "elsewhere", "", text, " ".join([*advice, *([BROKEN] if silent else [])]))]


def _keeps_half(row: Mapping[str, Any]) -> bool:
    return row["half"]["low"] is not None and row["half"]["low"] >= 0


def _where(row: Mapping[str, Any], severities: Sequence[int], measure: str) -> str:
    """Under which corruption, at which severities, and what is left at the first of them, whose row it is."""
    first = f" at {severities[0]}" if len(severities) > 1 else ""
    return f"{corruption_label(row['corruption'])} {severities_text(severities)} ({measure} {_shown(row)}{first})"


def _worse(figures: Mapping[str, Any], measure: str, but: Collection[str] = ()) -> str:
    """The end of a sentence: under which other corruptions it is worse than without, at which severities."""
    cells = {(r["corruption"], r["severity"]): r for r in figures["rows"]}
    worse = {name: at for name, at in worse_at(figures).items() if at and name not in but}
    if not worse:
        return ""
    texts = [_where(cells[name, at[0]], at, measure) for name, at in worse.items()]
    without = "" if but else f", which has {_shown(figures['clean'], figures['base'])},"
    return f". It is worse than uncorrupted{without} under {listed(texts, 9)}"


def _below_constant(figures: Mapping[str, Any], measure: str) -> Statement:
    """Of a model that is not shown to beat a constant answer on clean images: which corruptions put it below one.

    By the paired contrast of both, corrected for all corruptions and severities.
    """
    clean, base = figures["clean"], figures["base"]
    text = (
        "Whether it keeps half of its lead over a constant answer under common corruptions cannot be said: without "
        f"them, on {figures['images']:,} images, it is not shown to beat one{_worse(figures, measure)}."
    )
    below: dict[str, list[Mapping[str, Any]]] = {}
    for row in figures["rows"]:  # by severity, of each corruption
        if is_below(row["lead"]):
            below.setdefault(row["corruption"], []).append(row)
    below = {name: own for name, own in below.items() if own[0]["severity"] <= MODERATE}
    if not below or (clean["high"] is not None and clean["high"] < base):  # there was nothing to take
        advice = "Corrupt more images (`--corrupted`), so that what it has above a constant answer can be told."
        return Statement("unclear", "elsewhere", "", text, advice)
    texts = [_where(own[0], [r["severity"] for r in own], measure) for own in below.values()]
    text = (
        f"It is worse than a constant answer ({_bar(base, clean)} on these {figures['images']:,} images) under "
        f"{listed(texts, 9)}; uncorrupted it has {_shown(clean, base)}{_worse(figures, measure, set(below))}."
    )
    short = f"is worse than a constant answer under {listed([corruption_label(name) for name in below], 3)}"
    return Statement("fails", "elsewhere", short, text, CORRUPTED)


def _against(results: Mapping[str, Any]) -> list[Statement]:
    """Whether it is right more often than the other, by the corrected test and by other patients' interval."""
    rival = results.get("comparison")
    if rival is None:
        return []
    if rival["differing"]["right"] == 0:
        return [_as_often_right(rival)]
    return [_better(results, rival)]


def _better(results: Mapping[str, Any], rival: Mapping[str, Any]) -> Statement:
    """Which of two models is right more often, where there are images on which one alone is right."""
    row = next(r for r in rival["rows"] if r["metric"] == "accuracy")
    difference, p = row["difference"], row["p_corrected"]
    if not (defined(p) and defined(difference.get("low")) and defined(difference.get("high"))):
        why = _why(row) if _is_silent(row) else "there is no interval of the difference"
        text = f"Whether it is better than {rival['label']} cannot be said: {why}."
        return Statement("unclear", "comparison", "", text, _mend(row, "Compare on more images."))
    text = (
        f"Its accuracy less that of {rival['label']} on the same images is {_shown(difference, 0.0)} (McNemar, "
        f"corrected for {rival['tests']} {'test' if rival['tests'] == 1 else 'tests'}: {_p(p)})."
    )
    better = row["value"] > row["other"]["value"]
    favoured, record = (
        ("it", results["about"]["training_images"]) if better else (rival["label"], rival["training_images"])
    )
    if record["trained_on"]:
        text += f" But {favoured} was trained on {record['trained_on']:,} of these images, which flatters it."
        return Statement("unclear", "comparison", "", text, "Compare on images that neither was trained on.")
    if p >= ALPHA or difference["low"] <= 0 <= difference["high"]:  # both have to say so
        return Statement("unclear", "comparison", "", f"{text} No difference is shown.", "Compare on more images.")
    if better:
        return Statement("holds", "comparison", f"is right more often than {rival['label']}", text)
    advice = f"Use {rival['label']}, unless something else here speaks against it."
    return Statement("fails", "comparison", f"is right less often than {rival['label']}", text, advice)


def _as_often_right(rival: Mapping[str, Any]) -> Statement:
    """Of two models that are right on the same images, which leaves nothing to have an interval."""
    n, otherwise = rival["n"], rival["differing"]["answers"]
    if otherwise == 0:
        text = f"Both answer alike on all {n:,} images: this model and {rival['label']}."
        advice = "If one is a copy of the other, as an export is, that is as it should be. Else compare on more images."
        return Statement("unclear", "comparison", "", text, advice)
    text = (
        f"Whether it is better than {rival['label']} cannot be said: they answer otherwise on {otherwise:,} of {n:,} "
        "images, and on none of them is one right and the other wrong."
    )
    return Statement("unclear", "comparison", "", text, "Compare on more images.")


def _attacked(index: ResultsIndex) -> list[Statement]:
    several = index.class_noun == "finding"
    name, base = ("auroc", 0.5) if several else ("accuracy", index.results["classification"]["baseline_attacked"])
    sizes = [at for at in index.values("at", "robustness", metric=name) if at != "0"]
    clean = index.row("robustness", name, index.variants[0], at="0")
    if clean is None or not sizes:
        return []
    statements = []
    for norm in dict.fromkeys(strength_of(at)[0] for at in sizes):  # sizes of two norms cannot be put in an order
        smallest = min((at for at in sizes if strength_of(at)[0] == norm), key=lambda at: strength_of(at)[1])
        row = index.row("robustness", name, index.variants[0], at=smallest)
        measure = "mean AUROC" if several else "accuracy"
        if row is None or not _whole(row) or not _whole(clean):
            lacking = clean if not _whole(clean) else row
            text = f"What {measure} a change of {smallest} leaves cannot be said: {_why(lacking)}."
            advice = _mend(lacking, "Attack more images of each class.")
            statements.append(Statement("unclear", "attack", "", text, advice))
            continue
        one = _withstands(smallest, row, clean, base, measure, index.results["attacks"][smallest],
                         _scarcest(index.results))  # fmt: skip
        own = sorted((at for at in sizes if strength_of(at)[0] == norm), key=lambda at: strength_of(at)[1])
        least = _least_below(own, index.results["attacks"]) if clean["high"] >= base else None
        if least is None:
            statements.append(one)
            continue
        below = _below(least, index.row("robustness", name, index.variants[0], at=least), base, measure,
                       index.results["attacks"][least]["lead"])  # fmt: skip
        if one.kind == "fails":
            statements.append(replace(one, text=f"{one.text} {below.text}"))
        elif least == smallest:  # nothing of half a lead is to be asked then
            statements.append(replace(below, text=f"{one.text} {below.text}"))
        else:
            statements += [one, below]
    area = index.row("ara", "ara_attack", index.variants[0])
    if statements and area is not None and defined(area["value"]):
        why = f": {area['reason']}" if area.get("reason") else "" if _whole(area) else f": {_why(area)}"
        text = f" Its Accuracy-Robustness Area is {_shown(area, decimals=4)} (root mean square per pixel{why})."
        alarms = [f" {alarm[:1].upper()}{alarm[1:]}" for alarm in (index.results.get("ara") or {}).get("alarms", [])]
        statements[0] = replace(statements[0], text="".join([statements[0].text, text, *alarms]))
    return statements


def _least_below(sizes: Sequence[str], attacks: Mapping[str, Any]) -> str | None:
    """The least size from which on every one is shown to leave less than a constant answer has; None without one.

    They are tested from the largest down, up to the first that does not show it, which needs no correction for how many
    they are (a fixed sequence).

    Args:
        sizes: of one norm, ascending.
        attacks: by size, with the paired contrast `lead`.
    """
    least = None
    for size in reversed(sizes):
        if not is_below(attacks[size]["lead"]):
            break
        least = size
    return least


def _below(size: str, row: Mapping[str, Any] | None, base: float, measure: str, lead: Mapping[str, Any]) -> Statement:
    """That it is worse than a constant answer under changes of a size."""
    figure = "" if row is None else f"its {measure} is {_shown(row, base)}"
    bar = number(base, 2) if row is None else _bar(base, row)
    if measure == "mean AUROC":
        text, what = f"Under {_size(size)} {figure}, below chance ({bar}).", "chance"
    else:
        what = "a constant answer"
        text = (
            f"Under {_size(size)} {figure}, worse than a constant answer, which has {bar} on the same "
            f"images (paired, {_p(lead['p'])})."
        )
    changes = "changes too small to see" if _is_unseen(size) else f"changes of at most {_size(size)}"
    return Statement("fails", "attack", f"is worse than {what} under {changes}", text, ATTACKED)


def _is_unseen(size: str) -> bool:
    norm, length = strength_of(size)
    return norm.endswith("L∞") and length <= UNSEEN * 1.001  # a row's size has six digits


def _withstands(
    size: str,
    attacked: Mapping[str, Any],
    clean: Mapping[str, Any],
    base: float,
    measure: str,
    loss: Mapping[str, Any],
    scarce: str,
) -> Statement:
    """What is left under the smallest attack of a norm, of what the model has above a constant answer."""
    unseen = _is_unseen(size)
    before, after = (number(one["value"], 2) for one in (clean, attacked))
    change = f"leaves its {measure} at" if before == after else f"brings its {measure} from {before} to"
    hint = ", which people do not see," if unseen else ""
    text = f"A change of at most {_size(size)}{hint} {change} {_shown(attacked, base)}."
    changes = "changes too small to see" if unseen else f"changes of at most {_size(size)}"
    if clean["low"] <= base:
        text += (
            " Whether half of its lead over a constant answer is left cannot be said: on the unaltered images it is "
            f"not shown to beat one ({number(base, 2)} on these {clean['n']:,} images)."
        )
        return Statement("unclear", "attack", "", text, "Attack more images of each class.")
    half = loss["half"]
    if _is_under(half) and _is_under(loss["difference"]):
        return Statement("fails", "attack", f"gives answers that are flipped by {changes}", text, ATTACKED)
    if defined(half["low"]) and half["low"] >= 0:
        return Statement("holds", "attack", f"keeps most of what it can under {changes}", text)
    text += f" Whether half of its lead over a constant answer is left cannot be said{_reason_of(half, scarce)}."
    return Statement("unclear", "attack", "", text, "Attack more images.")


def _p(value: float) -> str:
    """A p value for a sentence.

    Example:
        >>> _p(0.0004), _p(0.0214)
        ('p < 0.001', 'p = 0.021')
    """
    return f"p {'' if value < 0.001 else '= '}{p_text(value)}"


def _is_under(difference: Mapping[str, Any]) -> bool:
    return defined(difference["high"]) and difference["high"] < 0


def _reason_of(half: Mapping[str, Any], scarce: str) -> str:
    """Why there is no interval of a contrast, where there is none."""
    if defined(half["low"]):
        return ""
    return f": {f'with {scarce} ' if scarce else ''}there is no interval of the difference"


def _scarcest(results: Mapping[str, Any]) -> str:
    """The class with too few images attacked for an interval, the fewest of all, and how many; empty without one."""
    one = results["classification"]["fewest_attacked"]
    if one is None or one["images"] >= MINIMUM:
        return ""
    return f"{number_of(one['images'], 'image(s)')} of {readable(one['class'])}"


def _explained(results: Mapping[str, Any]) -> list[Statement]:
    """Of each explanation, whether a measure with a bar speaks against it; where it falls is a matter of its own."""
    judged = [r for r in (results.get("trust") or {}).get("rows", []) if r["bar"] is not None and r["verdict"]]
    rows, placed = ([r for r in judged if (r["measure"] == PLACE) is asks] for asks in (False, True))
    methods = list(dict.fromkeys(r["method"] for r in rows))
    if not methods:
        return []
    failed = {m: [r for r in rows if r["method"] == m and r["verdict"] == "no"] for m in methods}
    above = {m: sum(r["method"] == m and r["verdict"] == "yes" for r in rows) for m in methods}
    spared = {m: sum(r["method"] == m and r["verdict"] == "not refuted" for r in rows) for m in methods}
    tests = {m: sum(r["method"] == m for r in rows) for m in methods}
    statements = []
    if bad := [m for m in methods if failed[m]]:
        text = " ".join(_how_it_fails(m, failed[m]) for m in bad)
        none = len(bad) == len(methods)
        short = "has no explanation that passes every test of trust" if none else ""
        advice = f"Show nobody a map of {_either([method_label(m) for m in bad])} as the reason of a decision."
        statements.append(Statement("fails", "trust", short, text, advice))
    # what maps that know nothing pass too is nothing that speaks for a method
    if good := [m for m in methods if above[m] and above[m] + spared[m] == tests[m]]:
        names = joined([method_label(m) for m in good])
        text = " ".join(
            f"{method_label(m)} passed every test of trust that was made: above the best trivial map in {above[m]}, "
            f"not refuted in {spared[m]} that can only refute. Whether it shows where a finding is, is a "
            "separate question."
            for m in good
        )
        passed = "every test of trust"
        if not placed:
            passed += " that was made, none of which asks where a finding is"
        elif any(r["verdict"] != "yes" for r in placed if r["method"] in good):
            passed += " but that of place"
        statements.append(Statement("holds", "trust", f"has an explanation that passes {passed} ({names})", text))
    if rest := [m for m in methods if m not in bad and m not in good]:
        apart = " that do not ask where a finding is" if placed else ""
        text = " ".join(
            f"{method_label(m)} failed none of {tests[m]} tests{apart}: it is above the best trivial map in "
            f"{above[m] or 'none'}, not refuted in {spared[m] or 'none'} that can only refute, and the others leave it "
            "open."
            for m in rest
        )
        statements.append(Statement("unclear", "trust", "", text, "Judge more images (`pellucid trust`)."))
    return statements


def _how_it_fails(method: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The tests that a method fails, each with its figure: what attacks do to its map is a sentence of its own."""
    texts = []
    attacked = [r for r in rows if r["measure"] == RANK]
    if others := [r for r in rows if r["measure"] != RANK]:
        which = "; ".join(f"{r['label']} ({_shown(r, r['bar'])}, {_on_how_many(r)})" for r in others)
        texts.append(f"{method_label(method)} fails: {which}.")
    texts += [
        f"An attack that leaves the answer alone turns {method_label(method)}'s map into another (rank correlation "
        f"{_shown(r, r['bar'])}, {_on_how_many(r)})."
        for r in attacked
    ]
    return " ".join(texts)


def _on_how_many(row: Mapping[str, Any]) -> str:
    return number_of(row["n"], "image(s)")


def _located(results: Mapping[str, Any]) -> list[Statement]:
    """Whether maps find the marked regions better than the best trivial map: one statement for each verdict."""
    rows = [r for r in (results.get("trust") or {}).get("rows", []) if r["measure"] == PLACE and r["verdict"]]
    if not rows:
        return []
    figures = {v: _by_how_much([r for r in rows if r["verdict"] == v]) for v in ("yes", "no", "unclear")}
    by_verdict = {v: [method_label(r["method"]) for r in rows if r["verdict"] == v] for v in ("yes", "no", "unclear")}
    texts = {v: joined(names) for v, names in by_verdict.items() if names}
    whose = {v: "" if len(texts) == 1 else f" (by {names})" for v, names in texts.items()}
    place = "where people marked the finding"
    statements = []
    if names := texts.get("yes"):
        text = f"The maps of {names} find the marked regions better than every trivial map{figures['yes']}."
        statements.append(Statement("holds", "localization", f"looks {place}{whose['yes']}", text))
    if names := texts.get("no"):
        below = all(defined(r["high"]) and r["high"] < 0 for r in rows if r["verdict"] == "no")
        than = "worse than the best trivial map does" if below else "no better than the best trivial map does"
        text = f"The maps of {names} find the marked regions {than}{figures['no']}."
        advice = (
            f"Show nobody a map of {_either(by_verdict['no'])} as the place of a finding. Look at the model's surest "
            "errors, and at what else in the images goes with the labels."
        )
        statements.append(Statement("fails", "localization", f"does not look {place}{whose['no']}", text, advice))
    if names := texts.get("unclear"):
        text = f"Whether the maps of {names} find the marked regions better than the best trivial map cannot be said"
        text += f"{figures['unclear']}."
        statements.append(Statement("unclear", "localization", "", text, "Mark more images."))
    return statements


def _either(names: Sequence[str]) -> str:
    """Names of which each is meant by itself.

    Example:
        >>> _either(["a"]), _either(["a", "b", "c"])
        ('a', 'a, b or c')
    """
    return " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _by_how_much(rows: Sequence[Mapping[str, Any]]) -> str:
    """By how much each method's maps are above the best trivial map, with n."""
    if not rows:
        return ""
    texts = [
        f"{method_label(r['method'])} less {r['best']} {_shown(r, 0.0)}, {number_of(r['n'], 'finding(s)')}"
        for r in rows
    ]
    return f" (average precision: {'; '.join(texts)})"


def _seen(results: Mapping[str, Any]) -> list[Statement]:
    record = results["about"]["training_images"]
    if record["trained_on"] is None:
        text = "The training images are not known: if some of these are among them, every figure flatters it."
        return [
            Statement(
                "unclear",
                "data",
                "",
                text,
                "Ask for the list of training images, or audit images that are newer than the model.",
            )
        ]
    if record["trained_on"]:
        text = f"{record['trained_on']:,} of the {record['images']:,} images are ones that it was trained on."
        return [Statement("fails", "data", "was judged on images that it was trained on", text, "Audit other images.")]
    if record["unknown"]:
        text = (
            f"Whether it was trained on some of the images is not known in full: it {'; it '.join(record['unknown'])}."
        )
        return [Statement("unclear", "data", "", text, "Audit images that are newer than the model.")]
    return []


def _few(results: Mapping[str, Any]) -> list[Statement]:
    n = results["about"]["n"]
    if n >= SMALL:
        return []
    text = f"All this rests on {n:,} images: read the intervals, not the figures."
    quick = ", without --quick" if results["about"]["quick"] else ""
    return [Statement("unclear", "data", "", text, f"Audit more images{quick}.")]


def _size(at: str) -> str:
    """The size of an attack for people.

    Example:
        >>> _size("L∞ 0.00392157"), _size("PGD L∞ 0.00392157"), _size("L2 0.5")
        ('1 of 255 grey levels in each pixel', '1 of 255 grey levels in each pixel', 'L2 0.5')
    """
    norm, size = strength_of(at)
    return f"{size * 255:.3g} of 255 grey levels in each pixel" if norm.endswith("L∞") else at


def _whole(row: Mapping[str, Any]) -> bool:
    return all(defined(row[key]) for key in ("value", "low", "high"))


def _shown(row: Mapping[str, Any], *bars: float, decimals: int = 2) -> str:
    """A figure with its interval; `bars` are the values on whose side of it a verdict hangs."""
    text = figure_text(row["value"], row["low"], row["high"], partial(number, decimals=decimals), bars)
    return text if "[" in text else f"{text} [no interval]"


def _value(row: Mapping[str, Any], bar: float) -> str:
    """The same figure without its interval."""
    return value_text(row["value"], row["low"], row["high"], partial(number, decimals=2), [bar])


def _bar(bar: float, row: Mapping[str, Any]) -> str:
    """A bar with as many decimals as the figure beside it; more where these would show nothing of it."""
    text = value_text(bar, row["low"], row["high"], partial(number, decimals=2), [bar])
    return text if bar >= 0.01 else small_share(bar)


def _why(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "it was not measured"
    reason = str(row.get("reason") or "there is no interval")
    return f"it gives {reason[reason.index(NO_ANSWER) :]}" if _is_silent(row) else reason


def _mend(row: Mapping[str, Any] | None, otherwise: str) -> str:
    """What to do about a figure without an interval: at a model that gives no answer other than where images lack."""
    return BROKEN if row is not None and _is_silent(row) else otherwise


def _is_silent(row: Mapping[str, Any]) -> bool:
    """Whether a figure is undefined because the model gives no answer on some of its images."""
    return NO_ANSWER in str(row.get("reason") or "")
