"""`pellucid models list`: the networks that a recipe can name."""

from __future__ import annotations

import typer


def list_models() -> None:
    """The networks that a recipe can name, with their options.

    Example: `pellucid models list`
    """
    from pellucid.models.registry import describe, model_names

    for name in model_names():
        entry = describe(name)
        typer.secho(name, bold=True)
        typer.echo(f"  {entry.title}")
        settings = ", ".join(f"{k}={v!r}" for k, v in entry.options.items())
        typer.echo(f"  options: {settings or 'none'}; made for images of {entry.size} pixels")
        if entry.published is not None:
            typer.echo(f"  model.pretrained=true loads {entry.published.title}")
        if entry.citation:
            typer.echo(f"  cite: {entry.citation}")
