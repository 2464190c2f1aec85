"""`pellucid models`: which networks there are, what a trained one is, and networks that others published."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from pellucid.cli.options import Model, Out, show, wrote

app = typer.Typer(no_args_is_help=True, help="Which networks there are, what a trained one is, and published ones.")


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
    from pellucid.utils.resources import finite

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
        ["images", f"{shape.channels} × {shape.height} × {shape.width}, pixels in [0, 1]"],
        ["task", network.task],
    ]
    facts += [
        [key, str(card[key])]
        for key in ("recipe", "data", "loss", "seed", "epoch", "selected_by", "score")
        if key in card
    ]
    facts += _origin(card)
    facts += _training(card)
    show(str(model), ["", "value"], facts)
    columns = [k for k in ("thresholds", "label_frequencies", "best_constant") if k in card]
    rows = [[name, *(f"{card[k][i]:.4f}" for k in columns)] for i, name in enumerate(network.classes)]
    show("classes", ["class", *columns], rows)


@app.command("import")
def import_published(
    form: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT", help="Whose networks: woods2019 (Woods et al. 2019, CIFAR-10).", show_default=False
        ),
    ],
    file: Annotated[Path, typer.Argument(help="The file as published.", show_default=False)],
    out: Out,
) -> None:
    """A network that somebody published, as weights.safetensors and model.toml; no code in its file is run.

    Example: `pellucid models import woods2019 resnet44-all.pt --out runs/woods2019-all`
    """
    from pellucid.models.sources.importing import import_model
    from pellucid.models.weights import CARD, WEIGHTS, read_model_card

    network = import_model(form, file, out)
    card = read_model_card(out)
    shape, built = network.input_spec, card["architecture"]
    facts = [
        ["architecture", f"{built['name']}, {built['options'].get('activation', 'relu')}"],
        ["parameters", f"{sum(p.numel() for p in network.parameters()):,}"],
        ["images", f"{shape.channels} × {shape.height} × {shape.width}, pixels in [0, 1]"],
        ["classes", ", ".join(network.classes)],
        ["trained on", str(card["data"])],
    ]
    show(f"{form}: {file.name}", ["", "value"], facts + _origin(card))
    wrote(out / WEIGHTS)
    wrote(out / CARD)


def _training(card: dict[str, Any]) -> list[list[str]]:
    """What images it was trained and selected on, and how they were read."""
    from pellucid.models.training_record import TABLE

    record = card.get(TABLE)
    if record is None:
        return [["trained on", "not recorded"]]
    facts = []
    for stage in record["stages"]:
        options = " ".join(f"{key}={value}" for key, value in stage["options"].items())
        counts = f"{stage['train']['images']:,} images, selected on {stage['validation']['images']:,}"
        facts.append(["trained on", f"{stage['dataset']}: {counts}; {options}"])
    facts += [["not known", text] for text in record["unknown"]]
    facts.append(["pixels", ", ".join(f"{key} = {value}" for key, value in record["decoding"].items())])
    return facts


def _origin(card: dict[str, Any]) -> list[list[str]]:
    """Where an imported network comes from and how its file says it was trained; nothing for one trained here."""
    imported = card.get("imported", {})
    facts = [[key, str(imported[key])] for key in ("source", "licence", "file", "citation") if key in imported]
    return facts + [[key.replace("_", " "), str(value)] for key, value in imported.get("training_options", {}).items()]
