"""`pellucid models`: which networks there are, and what a trained one is."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from pellucid.cli.options import Model, show

app = typer.Typer(no_args_is_help=True, help="Which networks there are, and what a trained one is.")


@app.command("list")
def list_models() -> None:
    """The networks that a recipe can name, with their options."""
    from pellucid.models.registry import describe, model_names

    for name in model_names():
        entry = describe(name)
        typer.secho(name, bold=True)
        typer.echo(f"  {entry.title}")
        options = ", ".join(f"{k}={v!r}" for k, v in entry.options.items())
        typer.echo(f"  options: {options or 'none'}; made for images of {entry.size} pixels")
        if entry.published is not None:
            typer.echo(f"  model.pretrained=true loads {entry.published.title}")
        if entry.citation:
            typer.echo(f"  cite: {entry.citation}")


@app.command("show")
def show_model(
    model: Model,
    json: Annotated[Optional[bool], typer.Option("--json", help="The card as JSON.")] = None,  # noqa: UP045
) -> None:
    """A trained network: what it tells apart, how it was trained, its thresholds."""
    import json as codec

    from pellucid.models import load_model
    from pellucid.models.weights import read_model_card
    from pellucid.resources import finite

    card = read_model_card(model)
    if json:
        typer.echo(codec.dumps(finite(card), indent=2))
        return
    network = load_model(model)
    parameters = sum(p.numel() for p in network.parameters())
    shape = network.input_spec
    facts = [
        ["architecture", f"{card['architecture']['name']} {dict(card['architecture'].get('options', {}))}"],
        ["parameters", f"{parameters:,}"],
        ["images", f"{shape.channels} × {shape.size} × {shape.size}, pixels in [0, 1]"],
        ["task", network.task],
    ]
    facts += [
        [key, str(card[key])]
        for key in ("recipe", "data", "loss", "seed", "epoch", "selected_by", "score")
        if key in card
    ]
    show(str(model), ["", "value"], facts)
    columns = [k for k in ("thresholds", "label_frequencies", "best_constant") if k in card]
    rows = [[name, *(f"{card[k][i]:.4f}" for k in columns)] for i, name in enumerate(network.classes)]
    show("classes", ["class", *columns], rows)
