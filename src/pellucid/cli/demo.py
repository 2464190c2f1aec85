"""`pellucid demo`: a small study on built-in synthetic radiographs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli import options
from pellucid.cli.study import Jobs, Overrides, study


def demo(
    out: Annotated[Path, typer.Option(help="The folder to write to.", file_okay=False)] = Path("runs/demo"),
    limit: options.Limit = None,
    device: options.Device = "auto",
    jobs: Jobs = None,
    overrides: Overrides = None,
    seed: options.Seed = 0,
    wait: options.Wait = False,
) -> None:
    """The main job on built-in synthetic radiographs: two recipes, their explanations scored, a report.

    Takes three to six minutes on two cores and needs no data. Run it again to go on after an interruption.

    Example: `pellucid demo --out runs/demo`, then open runs/demo/report.html
    """
    study("demo", out=out, overrides=overrides, limit=limit, device=device, jobs=jobs, seed=[seed], wait=wait)
