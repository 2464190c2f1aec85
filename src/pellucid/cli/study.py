"""`pellucid study`: train, judge, report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli import options
from pellucid.cli.output import show_result
from pellucid.utils.resources import bundled

STUDIES = ", ".join(bundled("studies"))
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the study, as settings.training.epochs=3."),
]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Networks trained at a time; by default one per core on a CPU, one on a GPU.")
]


def study(
    name: Annotated[str, typer.Argument(help=f"A study's TOML file, or one of: {STUDIES}.", metavar="STUDY")],
    root: options.Root = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write to; runs/NAME by default.", file_okay=False)
    ] = None,
    overrides: Overrides = None,
    limit: options.Limit = None,
    device: options.Device = "auto",
    jobs: Jobs = None,
    cache: options.Cache = None,
    seed: Annotated[
        list[int] | None, typer.Option(min=0, help="Instead of the study's seeds; may be given several times.")
    ] = None,
    judge_only: Annotated[
        bool,
        typer.Option("--judge-only", help="Judge the finished study in --out again, without its networks and data."),
    ] = False,
    wait: options.Wait = False,
    log: options.Log = None,
) -> None:
    """Compare recipes on one dataset: train each with every seed, judge them, write a report.

    An interrupted study goes on where it stopped. On several GPUs each network is trained on all of them:
    `accelerate launch --module pellucid.cli.app study …`

    Example: `pellucid study chestxray14 --root ~/ChestX-ray14 --out runs/chestxray14`
    """
    from pellucid.training.distributed import is_first_process
    from pellucid.verbs.study import study as run

    result = run(
        name,
        root,
        out,
        overrides=[*(overrides or ()), *([f"seeds={list(seed)}"] if seed else ())],
        device=device,
        jobs=jobs,
        limit=limit,
        cache=cache,
        command=shlex.join(["pellucid", *sys.argv[1:]]),
        wait=wait,
        judge_only=judge_only,
        log=log,
    )
    if is_first_process():
        show_result(result, result.path)
        typer.echo(f"open {result.report} in a browser")
