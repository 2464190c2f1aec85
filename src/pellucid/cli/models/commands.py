"""`pellucid models`: its commands, a file each."""

from __future__ import annotations

import typer

from pellucid.cli.models.export import export
from pellucid.cli.models.importing import import_model
from pellucid.cli.models.listing import list_models
from pellucid.cli.models.show import show_model

app = typer.Typer(no_args_is_help=True, help="Which networks there are, what one is, and bringing your own.")
app.command("list")(list_models)
app.command("show")(show_model)
app.command("import")(import_model)
app.command("export")(export)
