"""What commands end with: a result saved and its tables printed, notes, and where the files lie."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pellucid.evaluation.training_images import SeenImages
    from pellucid.utils.result import Result


WIDTH = 160  # of tables that go to a file or another program, which say no width of their own


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> None:
    """Print a table, and what stands under it."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text  # what it holds is text: of a plain string "[bold]" would be a tag and ":bug:" a picture

    from pellucid.utils.result import numeric

    table = Table(title=Text(title, style="table.title"), title_justify="left")
    for column, is_number in zip(columns, numeric(columns, rows), strict=True):
        table.add_column(Text(column), justify="right" if is_number else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=WIDTH)
    console.print(table)
    for note in notes:
        typer.echo(note)


def show_result(result: Result, out: Path | None = None, *, shared: bool = False) -> None:
    """Save a result, print its tables, and say what a reader must know of it and where it lies.

    Args:
        result: what a verb returned.
        out: the folder to write to; None where nothing is written.
        shared: whether other processes may work there too, as on the same areas, so that writing waits for theirs.

    Raises:
        InputError: figures that are undefined, because the model gives no answer on some of the images.
    """
    from pellucid.types import InputError
    from pellucid.utils.locks import hold

    with hold(out, wait=True) if out is not None and shared else nullcontext():
        paths = [] if out is None else result.save(out)
    for table in result.tables():
        show(table.title, table.columns, table.rows, table.notes)
    for text in result.warnings:
        typer.echo(f"note: {text}", err=True)
    for path in paths:
        wrote(path)
    if result.problem is not None:  # after writing, so that what is undefined stands there with its reason
        raise InputError(result.problem)


def tell_seen(seen_images: SeenImages, *, judging: bool = True) -> None:
    """Say which of the images the network has seen before."""
    for message in seen_images.messages(judging=judging):
        typer.echo(f"note: {message}", err=True)


def wrote(path: Path | str) -> None:
    """Say where a result lies."""
    typer.echo(f"wrote {path}")
