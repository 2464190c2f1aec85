"""`pellucid data fetch`: download a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli import options


def fetch(
    name: options.Dataset,
    root: Annotated[Path, typer.Option(help="The folder to put it in; later its --root.", file_okay=False)],
    file: Annotated[list[str] | None, typer.Option(help="Only this of its files; may be given again.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep archives once they are unpacked.")] = False,
) -> None:
    """Download a dataset, or say what to accept and where to find it.

    Goes on where it was stopped, checks the sums that the publisher states, unpacks, and does nothing where all is
    there. An archive that was fetched by other means is taken if it lies in the folder under its own name. Ends with
    status 1 where something must be fetched by hand.

    Example: `pellucid data fetch cifar10 --root ~/cifar10`

    Example: `pellucid data fetch medmnist --root ~/medmnist --file pneumoniamnist_64.npz`
    """
    from pellucid.data.download.fetch import RECORDS, fetch_dataset

    files = fetch_dataset(name, root, files=file or (), keep=keep)
    if not files:
        typer.echo(f"{name} is in {root} already, fetched in another way; --file NAME fetches a file all the same")
    for one in files:
        count = len(one.contents)
        outcome = "there already" if one.was_there else f"fetched: {count:,} file{'s' if count > 1 else ''}"
        checked = f"{one.title} as published" if one.published else f"no checksum is published; its {one.title} is"
        where = "" if one.published else f", recorded in {root / RECORDS}"
        typer.echo(f"{one.name}: {outcome} ({checked} {one.digest}{where})")
