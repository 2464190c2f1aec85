"""`pellucid localize`: where a model's explanations fall."""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.cli.options import (
    AllowTrainingImages,
    BatchSize,
    Cache,
    ClassMap,
    DataName,
    DataOption,
    Device,
    Layer,
    Limit,
    Model,
    Out,
    RegionNames,
    Root,
    Seed,
    Split,
    TrustCode,
)
from pellucid.cli.output import show_result
from pellucid.cli.session import alone_in_out, choices, class_map, load, name_pairs, open_part


@alone_in_out
def localize(
    model: Model,
    data: DataName,
    out: Out,
    root: Root = None,
    data_option: DataOption = None,
    method: Annotated[str, typer.Option(help="Methods of explanation, separated by commas: {heatmaps}.")] = "cam",
    region: RegionNames = None,
    layer: Layer = None,
    split: Split = "test",
    mapping: ClassMap = None,
    limit: Limit = None,
    device: Device = "auto",
    trust_code: TrustCode = False,
    seed: Seed = 0,
    batch_size: BatchSize = 16,
    cache: Cache = None,
    allow_training_images: AllowTrainingImages = False,
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
