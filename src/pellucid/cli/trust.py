"""`pellucid trust`: for each explanation of a network, the evidence of how far it can be believed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli import options
from pellucid.cli.output import show_result
from pellucid.cli.session import alone_in_out, choices, class_map, load, open_part


@alone_in_out
def trust(
    model: options.Model,
    data: options.DataName,
    out: options.Out,
    root: options.Root = None,
    data_option: options.DataOption = None,
    split: options.Split = "test",
    mapping: options.ClassMap = None,
    method: options.Heatmaps = "cam,grad-cam,saliency",
    layer: options.Layer = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(
            help="Another model of the same classes, of another seed or architecture: do the maps agree? "
            "May be repeated."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Use at most so many images.")] = 100,
    samples: Annotated[int, typer.Option(min=1, help="Moved images per image, for the maximum sensitivity.")] = 8,
    attacked: Annotated[int, typer.Option(min=0, help="Attack the explanations of so many of the images.")] = 16,
    attack_steps: Annotated[int, typer.Option(min=1, help="Gradient steps of an attack, for each budget.")] = 12,
    certified: Annotated[
        int, typer.Option(min=0, help="Certify the explanations of so many of the images, with 600 maps each.")
    ] = 0,
    device: options.Device = "auto",
    trust_code: options.TrustCode = False,
    seed: options.Seed = 0,
    batch_size: options.BatchSize = 16,
    cache: options.Cache = None,
    allow_training_images: options.AllowTrainingImages = False,
) -> None:
    """Judge explanations: does a map depend on what was learned, is it stable, faithful, in the right place?

    Writes trust.json, trust.csv and trust.html. Run the same command again to go on after an interruption, or to add
    methods: each is kept once it is done.

    Example: `pellucid trust runs/first --data phantom --method cam,saliency --limit 50 --out runs/first/trust`
    """
    from pellucid.evaluation.trust.findings import TrustSettings
    from pellucid.explainers import HEATMAPS
    from pellucid.verbs.trust import trust as run

    result = run(
        load(model, device, trust_code),
        open_part(data, root, data_option, split),
        list(HEATMAPS) if method == "all" else choices(method, HEATMAPS, "heat map"),
        compare=[load(path, device, trust_code) for path in compare or ()],
        out=out,
        limit=limit,
        settings=TrustSettings(
            samples=samples,
            attacked=attacked,
            attack_steps=attack_steps,
            certified=certified,
            batch_size=batch_size,
            seed=seed,
        ),
        cache=cache,
        allow_training_images=allow_training_images,
        class_map=class_map(mapping),
        announce=typer.echo,
        layer=layer,
    )
    show_result(result, out)
