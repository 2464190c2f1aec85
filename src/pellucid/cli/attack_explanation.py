"""`pellucid attack-explanation`: can the explanations of a network be invalidated within a budget?"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pellucid.cli import options
from pellucid.cli.output import show_result
from pellucid.cli.session import alone_in_out, given_images, key_values, load


@alone_in_out
def attack_explanation(
    model: options.Model,
    out: options.Out,
    images: options.GivenImages = None,
    method: Annotated[str, typer.Option(help="The explanation to attack: {differentiable}.")] = "grad-cam",
    layer: options.Layer = None,
    goal: Annotated[
        str,
        typer.Option(
            help="same-decision: change the map, keep decision and confidence. same-map: change the decision, keep the "
            "map."
        ),
    ] = "same-decision",
    budget: Annotated[
        list[float] | None,
        typer.Option(
            help="Largest change, root mean square per pixel in [0, 1]; may be repeated. 0.002, 0.005, 0.01 and 0.02 "
            "by default."
        ),
    ] = None,
    target_map: Annotated[
        str | None,
        typer.Option(
            help="For same-decision, the map to show: centre, corner, other-image or an image file. Any other map than "
            "the original by default."
        ),
    ] = None,
    class_name: options.ExplainedClass = None,
    tolerance: Annotated[
        float, typer.Option(help="For same-decision: how far the class's probability may move.")
    ] = 0.05,
    keep: Annotated[
        float, typer.Option(help="For same-map: the rank correlation from which on a map counts as the same.")
    ] = 0.9,
    steps: Annotated[int, typer.Option(min=1, help="Gradient steps per budget.")] = 40,
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the explanation, as steps=20.")
    ] = None,
    pictures: Annotated[int, typer.Option(min=0, help="Draw at most so many images with their maps.")] = 12,
    data: options.GivenData = None,
    root: options.Root = None,
    data_option: options.DataOption = None,
    split: options.Split = "test",
    limit: options.Limit = None,
    device: options.Device = "auto",
    trust_code: options.TrustCode = False,
    seed: options.Seed = 0,
) -> None:
    """Attack explanations: attack-explanation.json, a CSV row per image and budget, the curve, and the image pairs.

    An attack that does not meet its constraint is a failure, and is reported as one. Run the same command again to go
    on after an interruption.

    Example: `pellucid attack-explanation runs/first image.png --method grad-cam --goal same-decision --out attacked`
    """
    from pellucid.verbs.attack_explanation import attack_explanation as run

    wished: Any = goal
    result = run(
        load(model, device, trust_code),
        given_images(images, data, root, data_option, split),
        method,
        wished,
        budgets=budget or None,
        target_map=target_map,
        class_name=class_name,
        tolerance=tolerance,
        keep=keep,
        steps=steps,
        options=key_values(option),
        pictures=pictures,
        out=out,
        limit=limit,
        file_options=key_values(data_option) if images else None,
        seed=seed,
        layer=layer,
    )
    show_result(result, out)
