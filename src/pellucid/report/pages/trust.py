"""The table of trust on one page that needs nothing but itself: verdicts, figures, curves and maps to see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps

from pellucid.evaluation.trust.measures import NETWORK, QUESTIONS
from pellucid.evaluation.trust.rows import TrustRow
from pellucid.evaluation.trust.yardsticks import GAINS, TRIVIAL, yardstick_beside
from pellucid.report.charts.trust import trust_charts
from pellucid.report.heat_colours import placed
from pellucid.report.pages.page_templates import PAGES, style_sheet
from pellucid.report.pictures.perturbed import as_picture, data_address
from pellucid.report.tables.metrics import method_label, number
from pellucid.utils.resources import write_text
from pellucid.utils.words import interval_text, joined, value_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from pellucid.evaluation.trust.run import Trust

SIGNS = {"yes": "✓ yes", "no": "✗ no", "unclear": "? unclear", "not refuted": "○ not refuted"}
ABOVE = "shown to be above every trivial map"
CLASSES = {"yes": "better", "no": "worse", "unclear": "", "not refuted": ""}


@dataclass(frozen=True, eq=False)
class TrustPage:
    """What the page shows.

    Attributes:
        title: of the page.
        about: what was judged on what, in order: name → text.
        trust: what was found.
        pictures: (E, C, H, W) in [0, 1], the first E images explained, whose maps are shown.
        captions: of all images explained, what they are called and which class is explained.
    """

    title: str
    about: Mapping[str, str]
    trust: Trust
    pictures: npt.NDArray[np.floating]
    captions: Sequence[str]


def write_trust(page: TrustPage, path: Path) -> Path:
    """Write the page; it loads nothing from anywhere, and every text is escaped.

    Args:
        page: what is shown.
        path: of the HTML file, written whole or not at all.

    Raises:
        InputError: if the folder cannot be written or the disk is full.
    """
    text = PAGES.get_template("trust.html.j2").render(
        title=page.title,
        about=list(page.about.items()),
        css=style_sheet("report.css"),
        parts=trust_parts(page.trust.to_json()),
        examples=_examples(page),
        forged=_forged(page),
    )
    write_text(path, text)
    return path


def trust_parts(trust: Mapping[str, Any], name: str = "trust") -> dict[str, Any]:
    """Verdicts, charts and tables of one network, as the templates take them.

    Args:
        trust: rows and curves, as `Trust.to_json` gives them.
        name: of the network on its page, for the names of the pictures.
    """
    rows = [TrustRow.from_json(row) for row in trust["rows"]]
    return {
        "verdicts": _verdicts(rows),
        "charts": trust_charts(trust["curves"], name),
        "sections": [_section(question, rows) for question in _questions(rows)],
    }


def _questions(rows: Sequence[TrustRow]) -> list[str]:
    return list(dict.fromkeys([*(q for q in QUESTIONS if any(r.question == q for r in rows)), *_all(rows, "question")]))


def _all(rows: Sequence[TrustRow], field: str) -> list[str]:
    return list(dict.fromkeys(str(getattr(r, field)) for r in rows))


def _verdicts(rows: Sequence[TrustRow]) -> dict[str, Any]:
    """Methods across, measures with a bar down: a row of signs each."""
    judged = [r for r in rows if r.bar is not None]
    methods = _all(judged, "method")
    lines = []
    for label in _all(judged, "label"):
        own = {r.method: r for r in judged if r.label == label}
        first = next(iter(own.values()))
        cells = [sign(own.get(m)) for m in methods]
        lines.append({"question": first.question, "label": label, "bar": bar_of(first), "cells": cells})
    lines, missing = folded(lines, lambda line: {(c["text"] == "–", c["why"]) for c in line["cells"]})
    return {
        "overall": overall(rows),
        "sentence": in_a_sentence(rows),
        "missing": missing,
        "methods": [method_label(m) for m in methods],
        "lines": lines,
    }


def overall(rows: Sequence[TrustRow]) -> str:
    """The whole table in one sentence that can be quoted."""
    judged = [r for r in rows if r.verdict is not None]
    counted = _tests_of(judged)
    if not counted:
        return "Nothing here says whether these explanations can be relied on."
    against = {m: [r.label for r in judged if r.method == m and r.verdict == "no"] for m in counted}
    nearest = _nearest(counted, against)
    best, is_several = nearest[0], len(nearest) > 1
    names, above, tests = joined([method_label(m) for m in nearest]), sum(counted[best]), len(counted[best])
    refuted = _refuted(against[best], is_several=is_several)
    if above == tests and not against[best]:
        return f"{names} {'are each' if is_several else 'is'} {ABOVE} in {above} of {tests} tests; {refuted}."
    if len(counted) == 1:
        some, none = f"{names} is {ABOVE} in {above} of {tests} tests", f"In none of {tests} tests is {names} {ABOVE}"
        return f"{some if above else none}; {refuted}."
    if not above:
        free = [method_label(m) for m in counted if not against[m]]
        spared = "one of them" if len(free) == len(counted) else ", ".join(free)
        return (
            f"None of these {len(counted)} explanations is {ABOVE} in any test; "
            f"{f'no test refutes {spared}' if free else 'each is refuted by a test'}."
        )
    come = "comes nearest," if not is_several else "are each" if len(nearest) == len(counted) else "come nearest, each"
    return (
        f"None of these {len(counted)} explanations passes every test: {names} {come} {ABOVE} in {above} of {tests}; "
        f"{refuted}."
    )


def _refuted(labels: Sequence[str], *, is_several: bool) -> str:
    """What refutes a method; of several only whether something does."""
    if is_several:
        return "each is refuted by a test" if labels else "no test refutes them"
    return f"it is refuted by {joined([f'“{label}”' for label in labels])}" if labels else "no test refutes it"


def _nearest(counted: Mapping[str, list[bool]], against: Mapping[str, list[str]]) -> list[str]:
    """The methods of which nothing is refuted, if there are any, that are shown in most tests; in their order.

    Of as many tests the larger share counts.
    """

    def rank(method: str) -> tuple[bool, int, float]:
        return not against[method], sum(counted[method]), sum(counted[method]) / len(counted[method])

    most = max(rank(m) for m in counted)
    return [m for m in counted if rank(m) == most]


def _tests_of(judged: Sequence[TrustRow]) -> dict[str, list[bool]]:
    """Of each method that is held against trivial maps, in which of the tests it is shown to be above them all."""
    tests = {
        m: [r.verdict == "yes" for r in judged if r.method == m and r.measure in GAINS] for m in _all(judged, "method")
    }
    return {method: answers for method, answers in tests.items() if answers}


def folded(lines: list[dict[str, Any]], whys_of: Any) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:  # noqa: ANN401
    """Rows with a figure; and those without one for any method, by their reason, which is said once.

    Args:
        lines: rows of a table, each with its `label`.
        whys_of: of a row, whether each cell lacks a figure, and why.
    """
    rest: list[dict[str, Any]] = []
    labels: dict[str, list[str]] = {}
    for line in lines:
        whys = whys_of(line)
        if whys and all(lacks for lacks, _ in whys) and len(whys) == 1 and (reason := next(iter(whys))[1]):
            labels.setdefault(reason, []).append(line["label"])
        else:
            rest.append(line)
    return rest, [{"labels": ", ".join(names), "reason": reason} for reason, names in labels.items()]


def in_a_sentence(rows: Sequence[TrustRow]) -> str:
    """In how many tests each of several methods is above every trivial map, and what refutes it; of one, nothing more.

    What one method comes to is said by `overall` already.
    """
    judged = [r for r in rows if r.verdict is not None]
    counted = _tests_of(judged)
    if not counted:
        return "No explanation could be held against a trivial map."
    if len(counted) == 1 and len(_all(judged, "method")) == 1:
        return ""
    counts = [f"{method_label(m)} in {sum(answers)} of {len(answers)}" for m, answers in counted.items()]
    against = {m: [r.label for r in judged if r.method == m and r.verdict == "no"] for m in _all(judged, "method")}
    refuted = [f"{method_label(m)} ({'; '.join(labels)})" for m, labels in against.items() if labels]
    also = f" Refuted: {', '.join(refuted)}." if refuted else ""
    return f"Tests in which an explanation is shown to be above every trivial map: {', '.join(counts)}.{also}"


def bar_of(row: TrustRow) -> str:
    """What a figure must lie above, in words."""
    return "the best trivial map" if row.measure in GAINS else f"{row.bar:g}"


def sign(row: TrustRow | None) -> dict[str, str]:
    """A verdict as the templates write it, with the trivial map that it is against."""
    if row is None or row.verdict is None:
        return {"text": "–", "class": "", "why": (row.reason or "") if row else ""}
    return {"text": SIGNS[row.verdict], "class": CLASSES[row.verdict], "why": f"best: {row.best}" if row.best else ""}


def _section(question: str, rows: Sequence[TrustRow]) -> dict[str, Any]:
    """Methods across; the measures down, and under each of them what the best trivial map of each method has."""
    answers = [r for r in rows if r.question == question]
    trivial = [r for r in answers if r.method.startswith(TRIVIAL)]
    methods = _all([r for r in answers if not r.method.startswith(TRIVIAL)], "method")
    lines = []
    for label in _all(answers, "label"):
        own = {r.method: r for r in answers if r.label == label}
        first = next(iter(own.values()))
        arrow = {1: "more is better", -1: "less is better"}.get(first.better, "")
        cells = [figure_cell(own.get(m)) for m in methods]
        beside = [_best([r for r in trivial if r.label == label], m) for m in methods]
        meaning = {"means": first.means, "not_means": first.not_means}
        lines.append({"label": label, "arrow": arrow, "cells": cells, "beside": beside, **meaning})
    defined_lines, missing = folded(lines, lambda line: {(c["undefined"], c["why"]) for c in line["cells"] if c})
    names = [m if m == NETWORK else method_label(m) for m in methods]
    return {
        "question": question[:1].upper() + question[1:],
        "methods": names,
        "meanings": lines,
        "lines": defined_lines,
        "missing": missing,
        "trivial": [
            {"label": r.label, "name": r.method.removeprefix(TRIVIAL), "cell": figure_cell(r)} for r in trivial
        ],
    }


def _best(yardsticks: Sequence[TrustRow], method: str) -> dict[str, Any] | None:
    """The best trivial map that a method is held against; None where none has a figure, or nothing is better."""
    pairs = [(yardstick_beside(r.method, method), r) for r in yardsticks if r.better and not np.isnan(r.value)]
    named = [(name, row) for name, row in pairs if name]
    if method == NETWORK or not named:
        return None
    name, row = max(named, key=lambda pair: pair[1].better * pair[1].value)
    return {"name": name, **(figure_cell(row) or {})}


def figure_cell(row: TrustRow | None) -> dict[str, Any] | None:
    """A figure with its interval, n and reason as the templates write it."""
    if row is None:
        return None
    if np.isnan(row.value):
        return {"value": "undefined", "undefined": True, "interval": "", "n": row.n, "why": row.reason or ""}
    bars = [] if row.bar is None else [row.bar]
    return {
        "value": value_text(row.value, row.low, row.high, number, bars),
        "undefined": False,
        "interval": interval_text(row.low, row.high, number, bars),
        "n": row.n,
        "why": row.reason or "",
    }


def _examples(page: TrustPage) -> list[dict[str, Any]]:
    examples = []
    for index, caption in enumerate(page.captions[: len(page.pictures)]):
        lines = []
        for findings in page.trust.methods.values():
            if "maps_by_depth" not in findings.curves:  # refused, or failed
                continue
            depths, maps = findings.curves["depths"], findings.curves["maps_by_depth"]
            if index >= maps.shape[1]:
                continue
            pictures = [
                {
                    "image": _heat(maps[step, index], findings.method),
                    "label": "as it is" if depth == 0 else f"{depth} random",
                    "alt": f"{findings.method} with {depth} random layers",
                }
                for step, depth in enumerate(depths.tolist())
            ]
            lines.append({"method": method_label(findings.method), "maps": pictures})
        height, width = page.pictures.shape[2:]
        image = data_address(as_picture(page.pictures[index]))
        examples.append({"caption": caption, "image": image, "lines": lines, "width": width, "height": height})
    return examples


def _forged(page: TrustPage) -> list[dict[str, Any]]:
    """Images before and after the attack with the largest budget, and their maps."""
    forgeries = []
    for findings in page.trust.methods.values():
        if "maps_attacked" not in findings.curves:
            continue
        pairs = []
        for place, row in enumerate(findings.curves["maps_rows"].tolist()):
            pictures = {
                "image, attacked": data_address(as_picture(findings.curves["maps_images"][place])),
                "map before": _heat(findings.curves["maps_before"][place], findings.method),
                "map, attacked": _heat(findings.curves["maps_attacked"][place], findings.method),
            }
            pairs.append({"caption": page.captions[row], "pictures": pictures})
        height, width = findings.curves["maps_attacked"].shape[1:]
        forgeries.append({"method": method_label(findings.method), "pairs": pairs, "width": width, "height": height})
    return forgeries


def _heat(heat: npt.NDArray[Any], method: str) -> str:
    values, colours = placed(heat, method)
    return data_address((colormaps[colours](values)[..., :3] * 255).astype(np.uint8))
