"""What a study left behind, for docs/results: python docs/make_results.py runs/NAME docs/results/NAME.

Copies the tables as CSV, pictures the report's sections in a browser, and writes figures.md: how the study was run and
its main figures. What they mean is written by hand beside it.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from playwright.sync_api import sync_playwright

from pellucid.evaluation.metrics.verdicts import SHOWN, answered
from pellucid.utils.words import figure_text

if TYPE_CHECKING:
    from collections.abc import Sequence

SECTIONS = ("summary", "robustness", "ara", "localization", "trust", "wang", "sweep", "cases", "sliders")
TABLES = ("classification", "robustness", "ara", "comparators", "localization", "trust", "wang", "training")
CLASSIFICATION = ("auroc", "average_precision", "accuracy")  # the last of classes of which an image has one
LARGEST = 1 << 20  # bytes of a table; a longer one is made again by `study --judge-only`
TALLEST = 3200  # pixels of a picture; a taller section is cut


def main(run: Path, out: Path) -> None:
    """Write everything."""
    (out / "tables").mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        table = run / "tables" / f"{name}.csv"
        if table.is_file() and table.stat().st_size <= LARGEST:
            shutil.copyfile(table, out / "tables" / table.name)
    results = json.loads((run / "results.json").read_text())
    (out / "figures.md").write_text(figures(results), encoding="utf-8")
    if (run / "per-image.npz").is_file():  # of which `study --judge-only` makes the rows again; tables/ has them too
        shutil.copyfile(run / "per-image.npz", out / "per-image.npz")
        (out / "results.json").write_text(json.dumps(results | {"rows": []}, indent=1), encoding="utf-8")
    picture(run / "report.html", out)


def picture(report: Path, out: Path) -> None:
    """The report's sections, each a PNG of at most 256 colours."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.set_default_timeout(0)  # a long page on a busy machine takes its time
        page.goto(report.resolve().as_uri())
        for section in SECTIONS:
            place = page.locator(f"section#{section}")
            if place.count():
                shown = Image.open(io.BytesIO(place.first.screenshot())).convert("RGB")
                shown = shown.crop((0, 0, shown.width, min(shown.height, TALLEST)))
                shown.quantize(256, dither=Image.Dither.NONE).save(out / f"{section}.png", optimize=True)
        browser.close()


def figures(results: dict[str, Any]) -> str:
    """The main figures as Markdown."""
    variants = [v["label"] for v in results["variants"]]
    parts = results["data"]["parts"]
    place = os.environ.get("PELLUCID_TEST_DATA", "$PELLUCID_TEST_DATA")
    command = results["command"].replace(place, "$PELLUCID_TEST_DATA")
    known = {row["metric"] for row in results["rows"] if row["section"] == "classification"}
    lines = [
        f"# {results['title']}",
        "",
        "*Written by `docs/make_results.py` from the study's `results.json`.*",
        "",
        f"- command: `{command}`",
        f"- seeds {', '.join(map(str, results['seeds']))}; {results['device']}; torch {results['versions']['torch']}",
        *(f"- {name}: {p['images']:,} images of {p['patients']:,} patients" for name, p in parts.items()),
        f"- split {results['data']['split_hash'][:16]}",
        f"- [95 % intervals] from {results['resamples']:,} resamples of the patients (of the images, where patients "
        "are not known); ± the spread between seeds; Δ against the first column, over other trainings and patients, "
        "bold where it is shown after Holm's correction; Δ* of these networks alone, where a recipe was trained once",
        "",
        *_table(
            results["rows"], variants, "classification", "", [(name, "") for name in CLASSIFICATION if name in known]
        ),
    ]
    areas = list(dict.fromkeys(r["metric"] for r in results["rows"] if r["section"] == "ara"))
    if areas:
        lines += _table(results["rows"], variants, "ara", "", [(metric, "") for metric in areas])
    sizes = list(dict.fromkeys(r["at"] for r in results["rows"] if r["section"] == "robustness"))
    if sizes:
        lines += _table(results["rows"], variants, "robustness", "", [("accuracy", at) for at in sizes])
    for target in results["targets"]:
        lines += [f"## {target['title']}", "", f"{target['pairs']} findings on {target['images']} images.", ""]
        scores = ("energy_ratio", "pointing", "auprc", "effective_heat_ratio", "otsu_iou")
        for method in results["methods"]:
            lines += _table(
                results["rows"], variants, "localization", method, [(m, "") for m in scores], target["name"]
            )
        lines += _trivial(results["rows"], target["name"], scores)
    return "\n".join(lines) + "\n"


def _table(
    rows: Sequence[dict[str, Any]],
    variants: Sequence[str],
    section: str,
    method: str,
    metrics: Sequence[tuple[str, str]],
    target: str = "",
) -> list[str]:
    found = {
        (r["metric"], r["at"], r["variant"]): r
        for r in rows
        if (r["section"], r["method"], r["target"], r["class"]) == (section, method, target, "mean")
    }
    lines = [
        f"| {' '.join(filter(None, [section, method]))} | {' | '.join(variants)} |",
        "|---" * (1 + len(variants)) + "|",
    ]
    for metric, at in metrics:
        cells = [_cell(found.get((metric, at, v))) for v in variants]
        lines.append(f"| {metric.replace('_', ' ')}{' at ' + at if at else ''} | {' | '.join(cells)} |")
    return [*lines, ""]


def _cell(row: dict[str, Any] | None) -> str:
    if row is None or row["value"] is None:
        return "–"
    d = 4 if row["metric"].startswith("ara_") else 3  # digits
    text = figure_text(row["value"], row["low"], row["high"], f"{{:.{d}f}}".format)
    text += " [no interval]" if row["low"] is None else ""
    if row["seed_spread"] is not None:
        text += f" ± {row['seed_spread']:.{d}f}"
    change = row["difference"]
    if change:
        question, answer = answered(change)
        if answer["low"] is not None:
            shown = answer["verdict"] in SHOWN
            mark, whose = "**" if shown and question == "recipes" else "", "" if question == "recipes" else "*"
            own, _, interval = figure_text(
                change["value"], answer["low"], answer["high"], f"{{:+.{d}f}}".format
            ).partition(" ")
            text += f"<br>Δ{whose} {mark}{own}{mark} {interval}"
    return text


def _trivial(rows: Sequence[dict[str, Any]], target: str, metrics: Sequence[str]) -> list[str]:
    found = {
        (r["method"], r["metric"]): r
        for r in rows
        if r["target"] == target and r["class"] == "mean" and r["method"].startswith("trivial")
    }
    methods = list(dict.fromkeys(m for m, _ in found))
    lines = [f"| maps that never saw the image | {' | '.join(metrics)} |", "|---" * (1 + len(metrics)) + "|"]
    for method in methods:
        values = [found[method, m]["value"] for m in metrics]
        cells = ["–" if v is None else f"{v:.3f}" for v in values]
        lines.append(f"| {method.removeprefix('trivial: ')} | {' | '.join(cells)} |")
    return [*lines, ""]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
