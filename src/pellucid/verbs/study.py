"""`pl.study` and `pellucid study`: recipes compared on one dataset."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pellucid.study import load_study, run_study
from pellucid.study.judging import judge_again
from pellucid.types import InputError
from pellucid.utils.result import Result, Table
from pellucid.verbs.session import kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence


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
        """All figures of all variants."""
        rows: list[dict[str, Any]] = self.to_json()["rows"]
        return rows

    def to_json(self) -> dict[str, Any]:
        """What results.json says."""
        results: dict[str, Any] = json.loads((self.path / "results.json").read_text(encoding="utf-8"))
        return results

    def tables(self) -> list[Table]:
        """None: the report has them, with their differences and charts."""
        return []

    def save(self, folder: str | Path) -> list[Path]:  # noqa: ARG002 (a study writes where it works)
        """Where results.json and the report lie; they are written already."""
        return [self.path / "results.json", self.report]

    def _repr_html_(self) -> str:
        return f"<p>{len(self.rows):,} figures in {self.path / 'results.json'}; open {self.report} in a browser.</p>"


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
        InputError: a study, a tracker or data that cannot be.
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
            device=device,
            jobs=jobs,
            limit=limit,
            cache=cache,
            command=command,
            wait=wait,
            log=log,
        )
    )
