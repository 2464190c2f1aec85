"""`pellucid models show`: what a network is."""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.cli import options
from pellucid.cli.models.facts import origin, training_facts, what_it_is
from pellucid.cli.output import show

MOST_CLASSES = 40
"""More classes are not printed one by one."""


def show_model(
    model: options.Model,
    json: Annotated[bool | None, typer.Option("--json", help="The card as JSON.")] = None,
    trust_code: options.TrustCode = False,
) -> None:
    """A network: what it tells apart, where it comes from or how it was trained, its thresholds.

    Example: `pellucid models show runs/first`
    """
    import json as codec

    from pellucid.models import load_model
    from pellucid.models.weights import read_model_card
    from pellucid.utils.resources import finite

    if json and model.exists():
        typer.echo(codec.dumps(finite(read_model_card(model)), indent=2))
        return
    network = load_model(model, trust_code=trust_code)
    card = dict(network.card)
    if json:
        typer.echo(codec.dumps(finite(card), indent=2))
        return
    facts = what_it_is(network)
    facts += [
        [key, str(card[key])]
        for key in ("recipe", "data", "loss", "seed", "epoch", "selected_by", "score")
        if key in card
    ]
    facts += origin(card)
    facts += training_facts(card)
    show(str(model), ["", "value"], facts)
    columns = [k for k in ("thresholds", "label_frequencies", "best_constant") if k in card]
    rows = [[name, *(f"{card[k][i]:.4f}" for k in columns)] for i, name in enumerate(network.classes[:MOST_CLASSES])]
    show("classes", ["class", *columns], rows)
    if len(network.classes) > MOST_CLASSES:
        typer.echo(f"and {len(network.classes) - MOST_CLASSES:,} more; --json has them all")
