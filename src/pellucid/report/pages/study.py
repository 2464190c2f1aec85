"""The report: everything a study found on one page that needs nothing but itself."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from pellucid.explainers.registry import is_fine, is_signed
from pellucid.report.charts import figures, frontier
from pellucid.report.charts.primary import primary_chart
from pellucid.report.pages import slider
from pellucid.report.pages.page_templates import PAGES, script_hash, style_sheet
from pellucid.report.pages.trust_section import trust_section
from pellucid.report.pictures.panels import Panel, adversarial_picture, heat_picture, picture
from pellucid.report.tables import areas, boxes, configuration
from pellucid.report.tables import pivot as tables
from pellucid.report.tables.long_form import long_tables, write_tables
from pellucid.report.tables.metrics import defined, duration, method_label, metric, number, readable
from pellucid.report.tables.results_index import MEAN, NETWORKS_ALONE, TRIVIAL, ResultRow, ResultsIndex
from pellucid.utils.resources import write_text
from pellucid.utils.words import joined

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from pellucid.report.pages.slider import Slide


LEAD = 3  # cases that the report opens with

# For browsers that do not print closed details: open them for the printer, close them again after.
# Long ones stay as the reader left them, or a study of eight findings prints on seventy sheets.
_SCRIPT = """
addEventListener("beforeprint", () => document.querySelectorAll("details:not([open], .long)").forEach(d => {
  d.dataset.closed = ""; d.open = true; }));
addEventListener("afterprint", () => document.querySelectorAll("details[data-closed]").forEach(d => {
  delete d.dataset.closed; d.open = false; }));
"""


FEW = 4  # exploratory comparisons that a reader sees at once; more are folded away


def write_report(results: Mapping[str, Any], panels: Sequence[Panel], out: Path, slides: Sequence[Slide] = ()) -> Path:
    """Write `out`/report.html and `out`/tables/*.csv and *.json, each whole or not at all.

    Args:
        results: what a study found, as it writes it to results.json.
        panels: the cases that are shown, in order; those with one target and rule stand together.
        out: the study's folder.
        slides: images with a slider over the size of an adversarial explanation.

    Returns:
        The path of report.html.

    Raises:
        InputError: if the folder cannot be written or the disk is full.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> variant = {"label": "plain", "title": "Plain", "notes": "", "recipe": "standard", "citation": ""}
        >>> data = {"name": "mine", "title": "Images", "task": "multilabel", "classes": ["Nodule"], "parts": {}}
        >>> results = {
        ...     "name": "mine", "title": "One network", "created": "2026-11-30T10:00:00+00:00", "seconds": 60,
        ...     "command": "", "device": "CPU", "seeds": [0], "versions": {}, "resamples": 1000, "primary": [],
        ...     "data": data | {"citation": "", "licence": "", "split_hash": "", "options": {}},
        ...     "variants": [variant | {"reference": True, "settings": {}}],
        ...     "targets": [], "methods": ["cam"], "rows": [],
        ... }
        >>> image, heat = np.zeros((64, 64), np.uint8), np.eye(16)
        >>> case = Panel(image, [], {("plain", "cam"): heat}, "masks", "Nodule", "case-1", "The best by AUPRC.")
        >>> path = write_report(results, [case], Path(tempfile.mkdtemp()))
        >>> path.name, "<h1>One network</h1>" in path.read_text(encoding="utf-8")
        ('report.html', True)
    """
    figures_of = long_tables(results)
    page = render(results, panels, slides, files=[f"{name}.{kind}" for name in figures_of for kind in ("csv", "json")])
    write_tables(figures_of, out / "tables")
    path = out / "report.html"
    write_text(path, page)
    return path


def render(
    results: Mapping[str, Any], panels: Sequence[Panel], slides: Sequence[Slide] = (), *, files: Sequence[str] = ()
) -> str:
    """The report as HTML; it loads nothing from anywhere, and every text of the study is escaped.

    The example of `write_report`, which writes this page, is one of this, too.
    """
    template = PAGES.get_template("report.html.j2")
    return template.render(context(results, panels, slides), files=list(files))


def opening_of(conclusion: Sequence[str]) -> list[str]:
    """What a report opens with: all up to the first primary comparison, and what limits it to these networks."""
    first = next((place + 1 for place, text in enumerate(conclusion) if text.startswith("Primary")), 1)
    first += any(text.startswith(NETWORKS_ALONE) for text in conclusion[first : first + 1])
    return list(conclusion[:first])


def context(results: Mapping[str, Any], panels: Sequence[Panel], slides: Sequence[Slide] = ()) -> dict[str, Any]:
    """Everything the template shows."""
    index = ResultsIndex(results)
    script = _SCRIPT + (slider.SCRIPT if slides else "")
    differing, shared = configuration.settings(results["variants"])
    conclusion = results.get("conclusion") or []
    opening = opening_of(conclusion)
    exploratory = [text for text in conclusion[len(opening) :] if text.startswith("Exploratory")]
    lead = _lead(panels)
    filled = {
        "r": results,
        "index": index,
        "reference": index.reference,
        "styles": index.styles,
        "css": style_sheet("report.css"),
        "slider_css": style_sheet("slider.css") if slides else "",
        "script": Markup(script),  # noqa: S704 (our own text)
        "script_hash": script_hash(script),
        "created": _when(results["created"]),
        "paragraphs": _paragraphs(results.get("description")),
        "paragraphs_of": _paragraphs,
        "link": _link(results["data"].get("url")),
        "count": _count,
        "upper_first": _upper_first,
        "duration": duration,
        "regions": _regions,
        "differing": differing,
        "shared": shared,
        "data_options": list(configuration.flatten(results["data"].get("options") or {})),
        "limits": results.get("limits") or ["The study states none."],
        "headline": tables.headline(index),
        "margins": _margins(results["rows"]),
        "classification": tables.classification(index),
        "classification_charts": figures.classification(index),
        "robustness": tables.robustness(index),
        "robustness_charts": figures.robustness(index),
        "areas": areas.section(index),
        "targets": _targets(index),
        "trust": trust_section(results.get("trust", ())),
        "wang": _wang(index),
        "sweeps": _sweeps(index),
        "training_charts": figures.training(index),
        "runs": _runs(results["variants"]),
        "starts": any(v.get("starts_from") for v in results["variants"]),
        "cases": _cases(index, panels),
        "lead": [_case(index, panel) for panel in lead],
        "changed": any(panel.adversarial for panel in lead),
        "primary": primary_chart(index),
        "named_before": results.get("is_named_before", True),
        "opening": opening,
        "conclusion": conclusion[len(opening) :],
        "exploratory": exploratory if len(exploratory) > FEW else [],
        "heat": _heat(panels),
        "slides": [slider.fragment(slide, f"slide{i}") for i, slide in enumerate(slides)],
    }
    names = {
        "compared": ("What was compared", True),
        "classification": ("Classification", filled["classification"]),
        "robustness": ("Robustness", filled["robustness"]),
        "ara": ("Accuracy-Robustness Area", filled["areas"]),
        "localization": ("Where the explanations fall", filled["targets"]),
        "trust": ("Whether to believe them", filled["trust"]),
        "wang": ("Wang et al.’s localisation", filled["wang"]),
        "sweep": ("Threshold sweep", filled["sweeps"]),
        "training": ("Training", filled["runs"]),
        "cases": ("Cases", filled["cases"]),
        "sliders": ("What the networks would have to see", filled["slides"]),
        "made": ("How it was made", True),
        "limits": ("What these figures cannot show", True),
    }
    filled["sections"] = [(key, name) for key, (name, there) in names.items() if there]
    return filled


def _targets(index: ResultsIndex) -> list[dict[str, Any]]:
    sections = []
    for target in index.targets:
        name = target["name"]
        table = tables.localization(index, name)
        if not table:
            continue
        classes = [c for c in index.class_names("localization", target=name) if c != MEAN]
        trivial = [t.removeprefix(TRIVIAL) for t in index.trivial_maps("localization", target=name)]
        own = {
            "charts": figures.localization(index, name),
            "frontier": frontier.explanation_charts(index, name),
            "differences": figures.differences(index, name) if index.others else [],
            "table": table,
            "by_class": [tables.localization(index, name, cls) for cls in classes],
            "trivial": trivial,
        }
        sections.append({**target, **own})
    return sections


def _wang(index: ResultsIndex) -> list[dict[str, Any]]:
    sections = []
    for target in index.targets:
        name = target["name"]
        for gate in index.values("gate", "wang", target=name):
            where = {"target": name, "gate": gate}
            methods = index.known_methods("wang", **where)
            if not methods:
                continue
            first, every = methods[0], boxes.criteria(index, name)
            few, grid = boxes.among(boxes.FIRST, every), boxes.among(boxes.PUBLISHED, every)
            classes = [c for c in index.class_names("wang", **where, method=first) if c != MEAN]
            more = [
                (f"{method_label(m)}, the same", boxes.wang(index, name, m, gate=gate, ats=few)) for m in methods[1:]
            ]
            if every != few:
                more.append(
                    (f"{method_label(first)} at every bound", boxes.wang(index, name, first, gate=gate, ats=every))
                )
            if classes:
                by_class = [t for cls in classes for t in boxes.wang(index, name, first, gate=gate, ats=grid, cls=cls)]
                more.append((f"{method_label(first)} by finding", by_class))
            sections.append(
                {
                    "title": f"{method_label(first)} · {target['title']}",
                    "gate": boxes.GATES.get(gate, gate or "all"),
                    "tables": boxes.wang(index, name, first, gate=gate, ats=few),
                    "more": more,
                }
            )
    return sections


def _sweeps(index: ResultsIndex) -> list[dict[str, Any]]:
    sections = []
    for target in index.targets:
        name = target["name"]
        for gate in index.values("gate", "sweep", target=name):
            methods = index.known_methods("sweep", target=name, gate=gate)
            every = [at for at in index.values("at", "sweep", target=name, metric="accuracy", gate=gate) if at]
            if not methods or not every:
                continue
            few = boxes.among(boxes.SHOWN, every)
            ending = f": {boxes.GATES[gate]}" if gate in boxes.GATES else ""
            sections.append(
                {
                    "title": f"{target['title']}{ending}",
                    "method": method_label(methods[0]),
                    "charts": [figures.sweep(index, name, methods[0], at=at, gate=gate) for at in few],
                    "more": [figures.sweep(index, name, m, at=at, gate=gate) for m in methods[1:] for at in few],
                    "tables": [boxes.sweep(index, name, methods[0], at=at, gate=gate) for at in few],
                }
            )
    return sections


def _margins(rows: Iterable[ResultRow]) -> str:
    """Which scores that were compared have which margin, and that others have none, as text; empty where none has."""
    scores: dict[float, list[str]] = {}
    for row in (r for r in rows if r["difference"]):
        label = metric(row["metric"]).label
        label = f"Wang et al.’s {label}" if row["section"] in {"wang", "sweep"} else label
        labels = scores.setdefault(row["difference"].get("margin") or 0.0, [])
        if label not in labels:
            labels.append(label)
    others = "; none is stated for other scores: there any difference that is shown counts" if 0.0 in scores else ""
    stated = ", ".join(f"{margin:g} for {joined(labels)}" for margin, labels in scores.items() if margin)
    return stated + others if stated else ""


def _runs(variants: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    lines = []
    for variant in variants:
        for run in variant.get("runs", []):
            best = [e for e in run.get("history", []) if e["epoch"] == run["best_epoch"]]
            score = best[0].get("validation_auroc") if best else None
            score_text = number(score) if defined(score) else "undefined"
            base = run.get("base")
            lines.append(
                {
                    **run,
                    "label": variant["label"],
                    "score": score_text,
                    "time": duration(run["seconds"]),
                    "start": f"{base['folder']}, epoch {base['best_epoch']} of {base['epochs']}" if base else "",
                    "whole": duration(run["seconds_with_bases"]) if base else "",
                }
            )
    return lines


def _cases(index: ResultsIndex, panels: Iterable[Panel]) -> list[dict[str, Any]]:
    titles = {t["name"]: t["title"] for t in index.targets}
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for panel in panels:
        groups.setdefault((panel.target, panel.rule), []).append(_case(index, panel))
    return [
        {"title": titles.get(target, target), "rule": rule, "cases": cases} for (target, rule), cases in groups.items()
    ]


def _lead(panels: Sequence[Panel]) -> list[Panel]:
    """Those that were changed for it; else the first case of each rule of the first target: best, middle and worst."""
    by_rule = {p.rule: p for p in reversed(panels) if p.target == panels[0].target}
    return ([p for p in panels if p.adversarial] or list(by_rule.values())[::-1])[:LEAD]


def _heat(panels: Iterable[Panel]) -> dict[str, list[str]]:
    """The labels of the methods of the cases by how their maps are drawn; none of a kind where none is shown."""
    methods = dict.fromkeys(method for panel in panels for _, method in panel.maps)
    kinds = {
        "over": [m for m in methods if not is_fine(m)],
        "alone": [m for m in methods if is_fine(m)],
        "unsigned": [m for m in methods if not is_signed(m)],
        "signed": [m for m in methods if is_signed(m)],
    }
    return {kind: [method_label(m) for m in names] for kind, names in kinds.items()}


def _case(index: ResultsIndex, panel: Panel) -> dict[str, Any]:
    cls, rows = readable(panel.class_name), []
    methods = [m for m in index.methods if any(m == method for _, method in panel.maps)]
    for variant in index.variants:
        maps = [
            {
                "image": heat_picture(panel, variant, method),
                "label": method_label(method),
                "alt": f"{method_label(method)} of {variant} for {cls} on {panel.image_id}",
            }
            for method in methods
            if (variant, method) in panel.maps
        ]
        if variant in panel.adversarial:
            maps.append(
                {
                    "image": adversarial_picture(panel, variant),
                    "label": f"altered to raise its confidence (ρ = {panel.adversarial[variant][1]:.3g})",
                    "alt": f"{panel.image_id} changed so that {variant} is as sure of {cls} as it can be made",
                }
            )
        p = panel.probabilities.get(variant)
        if maps:
            rows.append(
                {
                    "variant": variant,
                    "maps": maps,
                    "probability": number(p, 2) if defined(p) else "",
                }
            )
    marks = [f"{len(panel.boxes)} box{'' if len(panel.boxes) == 1 else 'es'}"] if panel.boxes else []
    marks += ["contour of the mask"] if panel.mask is not None else []
    return {
        "class_name": cls,
        "image_id": panel.image_id,
        "score": panel.score,
        "image": picture(panel),
        "alt": f"Image {panel.image_id} with the marked region of {cls}",
        "regions": " and ".join(marks) or "no region marked",
        "rows": rows,
        "width": panel.image.shape[1],
        "height": panel.image.shape[0],
    }


def _regions(target: Mapping[str, Any]) -> list[str]:
    labels_of = {c: [readable(r) for r in labels] for c, labels in (target.get("regions") or {}).items()}
    return [f"{readable(c)}: {', '.join(labels)}" for c, labels in labels_of.items() if labels != [readable(c)]]


def _paragraphs(text: str | None) -> list[str]:
    return [" ".join(part.split()) for part in (text or "").split("\n\n") if part.strip()]


def _when(created: str) -> str:
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return created
    return f"{moment.day} {moment:%B %Y, %H:%M %Z}".strip()


def _link(url: str | None) -> str:
    """An address that a reader may follow; anything else than a web page is left out."""
    return url if url and url.startswith(("https://", "http://")) else ""


def _upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]


def _count(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"
