"""`pellucid models`: the networks that a recipe can name, and one written for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli import options
from pellucid.cli.models.importing import import_model
from pellucid.cli.models.show import show_model
from pellucid.cli.output import wrote

app = typer.Typer(no_args_is_help=True, help="Which networks there are, what one is, and bringing your own.")


@app.command("list")
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


app.command("show")(show_model)
app.command("import")(import_model)


@app.command("export")
def export(
    model: options.Model,
    out: Annotated[Path, typer.Option("--out", help="The file to write.", dir_okay=False)],
    form: Annotated[str, typer.Option("--format", help="onnx or torchscript.")] = "onnx",
    trust_code: options.TrustCode = False,
) -> None:
    """Write a model for other programs: pixels in [0, 1] to logits, with the normalisation inside.

    The file says as metadata how images are prepared, the classes and the thresholds; what it gives is compared with
    what the model gives here before it is written.

    Example: `pellucid models export runs/first --format onnx --out first.onnx`
    """
    from pellucid.models import load_model
    from pellucid.models.export import export_model

    wrote(export_model(load_model(model, trust_code=trust_code), out, form))  # type: ignore[arg-type]  # it looks itself
