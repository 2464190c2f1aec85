"""`pl.study` and `pellucid study`: recipes compared on one dataset."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.report.charts import figures
from pellucid.report.charts.drawing import write_charts
from pellucid.report.charts.primary import primary_chart
from pellucid.report.pages.annotation_loop import glance as loop_glance
from pellucid.report.pages.annotation_loop import loop_charts
from pellucid.report.tables.long_form import flat
from pellucid.report.tables.pivot import headline
from pellucid.report.tables.results_index import ResultsIndex
from pellucid.study import load_study, run_study
from pellucid.study.judging import judge_again
from pellucid.types import InputError
from pellucid.utils.devices import pick_device
from pellucid.utils.result import Footnotes, Result, Table
from pellucid.verbs.folders import write_bytes
from pellucid.verbs.session import kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pellucid.report.tables.cells import Cell


@dataclass(frozen=True, eq=False, repr=False)
class Study(Result):
    """A study that ran: its folder has report.html, results.json, the tables and every run.

    Attributes:
        report: the report, one HTML file.
    """

    name: ClassVar[str] = "results"
    report: Path

    @property
    def path(self) -> Path:
        """The study's folder."""
        return self.report.parent

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One flat record per figure and variant, the difference's fields beside it; None where there is none."""
        lines = (flat(row) for row in self.to_json().get("rows", []))
        return [{key: None if value == "" else value for key, value in line.items()} for line in lines]

    def to_json(self) -> dict[str, Any]:
        """What results.json says."""
        results: dict[str, Any] = json.loads((self.path / "results.json").read_text(encoding="utf-8"))
        return results

    def tables(self) -> list[Table]:
        """The study at a glance, a column for each variant; the report has the differences and all else.

        Of an annotation loop a column for the network that all begin with and for each arm, after the number of images
        of its aim.
        """
        results = self.to_json()
        is_loop = "variants" not in results
        main = loop_glance(results) if is_loop else headline(ResultsIndex(results))
        title = f"{results['title']}, {results['aim']} images" if is_loop else results["title"]
        notes = Footnotes()
        lines = [
            [line.label, *(_text(cell, notes) for cell in line.cells), line.n] for line in main.lines if line.cells
        ]
        return [Table(title, [main.first.lower(), *main.columns, "n"], lines, notes.lines)]

    def draw(self, folder: Path) -> dict[Path, str]:
        """The primary comparisons, or AUROC by finding; of an annotation loop, its figures by images annotated."""
        results = self.to_json()
        if "variants" not in results:
            return write_charts(loop_charts(results), folder)
        index = ResultsIndex(results)
        primary = primary_chart(index)
        return write_charts([primary] if primary else figures.classification(index)[:1], folder)

    def save(self, folder: str | Path) -> list[Path]:
        """Write results.json, results.csv and report.html; in the study's own folder they lie already."""
        folder = Path(folder)
        if folder.resolve() == self.path.resolve():
            return [self.path / "results.json", self.report]
        return [*super().save(folder), write_bytes(folder / self.report.name, self.report.read_bytes())]

    def _repr_html_(self) -> str:
        where = f"<p>{len(self.rows):,} figures in {self.path / 'results.json'}; open {self.report} in a browser.</p>"
        return super()._repr_html_() + where


def _text(cell: Cell | None, notes: Footnotes) -> str:
    """A figure with its interval, and the mark of what is to be said of it."""
    if cell is None:
        return ""
    return f"{cell.value} {cell.interval}".strip() + (notes.mark(cell.reason) if cell.reason else "")


def study(
    name: str | Path,
    root: str | Path | None = None,
    out: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    device: str = "auto",
    jobs: int | None = None,
    limit: int | None = None,
    cache: Path | None = None,
    wait: bool = False,
    command: str = "",
    judge_only: bool = False,
    log: str | None = None,
) -> Study:
    """Compare recipes on one dataset: train each with every seed, judge them, write a report.

    Args:
        name: of a study, or its TOML file.
        root: the folder that holds the data; left out for what is built in.
        out: the folder to write to; runs/NAME by default. A study that was interrupted there goes on.
        overrides: values of the study, as ``"seeds=[0]"``.
        device: `auto`, `cpu`, `cuda` or `mps`.
        jobs: models trained at a time; by default one per core on a CPU, one on a GPU.
        limit: at most so many images of each part.
        cache: keep decoded images in this folder.
        wait: for another process that works in `out`; it is refused otherwise.
        command: what the user typed, for the record.
        judge_only: judge what a finished study in `out` kept image by image again, without its networks and data:
            other margins, other primary comparisons. The report then shows no cases.
        log: a tracker that gets the figures of every training as well: `tensorboard`, `mlflow` or `wandb`.

    Raises:
        InputError: a study, a tracker, a device or data that cannot be.
    """
    if not isinstance(name, str | Path):
        raise InputError(f"a study comes first, by its name or TOML file; found {kind_of(name)}.")
    config = load_study(str(name), overrides)
    folder = Path("runs") / config.name if out is None else Path(out)
    if judge_only:
        return Study(judge_again(config, folder, wait=wait))
    return Study(
        run_study(
            config,
            None if root is None else Path(root),
            folder,
            device=pick_device(device),
            jobs=jobs,
            limit=limit,
            cache=cache,
            command=command,
            wait=wait,
            log=log,
        )
    )
