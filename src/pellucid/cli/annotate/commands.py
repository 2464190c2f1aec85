"""`pellucid annotate`: its commands, a file each."""

from __future__ import annotations

import typer

from pellucid.cli.annotate.export import export
from pellucid.cli.annotate.importing import import_file
from pellucid.cli.annotate.invite import invite
from pellucid.cli.annotate.serve import serve

app = typer.Typer(
    no_args_is_help=True,
    help="People mark what a network should look at and what not. The page is made by `serve`; what they drew goes "
    "into a database, from there to training (`pellucid train annotated --annotations annotations.db`) or to a file.",
)
app.command("serve")(serve)
app.command("invite")(invite)
app.command("export")(export)
app.command("import")(import_file)
