"""`pellucid data list`: which datasets there are."""

from __future__ import annotations

import typer


def list_datasets() -> None:
    """The datasets, their task, source and licence, and what `pellucid data fetch` would download.

    Example: `pellucid data list`
    """
    from pellucid.data.registry import DATASETS

    for entry in DATASETS.values():
        card = entry.card
        typer.secho(entry.name, bold=True)
        typer.echo(f"  {card.title}. {card.notes}")
        if entry.needs_root:
            typer.echo(f"  on disk: {entry.layout}")
        if card.classes:
            typer.echo(f"  {card.task}: {', '.join(card.classes)}")
        for label, text in (("source", card.url), ("licence", card.licence), ("cite", card.citation)):
            if text:
                typer.echo(f"  {label}: {text}")
        if entry.release is not None:
            typer.echo(f"  fetch: {entry.release.summary()}")
