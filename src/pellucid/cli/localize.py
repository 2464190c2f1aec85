"""`pellucid localize`: where a model's explanations fall."""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.cli import options
from pellucid.cli.output import show_result
from pellucid.cli.session import alone_in_out, choices, class_map, load, name_pairs, open_part


@alone_in_out
def localize(
    model: options.Model,
    data: options.DataName,
    out: options.Out,
    root: options.Root = None,
    data_option: options.DataOption = None,
    method: Annotated[str, typer.Option(help="Methods of explanation, separated by commas: {heatmaps}.")] = "cam",
    region: options.RegionNames = None,
    layer: options.Layer = None,
    split: options.Split = "test",
    mapping: options.ClassMap = None,
    limit: options.Limit = None,
    device: options.Device = "auto",
    trust_code: options.TrustCode = False,
    seed: options.Seed = 0,
    batch_size: options.BatchSize = 16,
    cache: options.Cache = None,
    allow_training_images: options.AllowTrainingImages = False,
) -> None:
    """Score where explanations fall against boxes or masks: Wang et al.'s accuracy and false positives, and more.

    Writes localization.json and localization.csv. Scores of maps that know nothing of the image stand beside.

    Example: `pellucid localize runs/first --data phantom --method cam,saliency --out runs/first/localization`
    """
    from pellucid.explainers import HEATMAPS
    from pellucid.verbs.localize import localize as run

    result = run(
        methods=choices(method, HEATMAPS, "heat map"),
        model=load(model, device, trust_code),
        data=open_part(data, root, data_option, split),
        regions=name_pairs(region, "--region"),
        limit=limit,
        seed=seed,
        batch_size=batch_size,
        cache=cache,
        allow_training_images=allow_training_images,
        class_map=class_map(mapping),
        layer=layer,
    )
    show_result(result, out)
