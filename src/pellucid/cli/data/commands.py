"""`pellucid data`: its commands, a file each."""

from __future__ import annotations

import typer

from pellucid.cli.data.cache import cache
from pellucid.cli.data.check import check
from pellucid.cli.data.fetch import fetch
from pellucid.cli.data.listing import list_datasets

app = typer.Typer(
    no_args_is_help=True, help="Which datasets there are, downloading one, and whether one on disk is whole."
)
app.command("cache")(cache)
app.command("list")(list_datasets)
app.command("fetch")(fetch)
app.command("check")(check)
