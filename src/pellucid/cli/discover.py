"""`pellucid discover`: what a model goes by, found without anybody's label of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli import options
from pellucid.cli.output import show_result
from pellucid.cli.session import alone_in_out, class_map, load, name_pairs, open_part


@alone_in_out
def discover(
    model: options.Model,
    data: options.DataName,
    out: options.Out,
    root: options.Root = None,
    data_option: options.DataOption = None,
    split: options.Split = "test",
    mapping: options.ClassMap = None,
    metadata: Annotated[
        Path | None,
        typer.Option(
            help="A CSV or Parquet table with a column that names the images, or their patients: every other column is "
            "looked at too."
        ),
    ] = None,
    region: options.RegionNames = None,
    compare: Annotated[
        Path | None,
        typer.Option(
            help="The folder of a discovery before, on the same data: are its suspects gone, and what did that cost?"
        ),
    ] = None,
    limit: options.Limit = None,
    device: options.Device = "auto",
    seed: options.Seed = 0,
    batch_size: options.BatchSize = 64,
    cache: options.Cache = None,
    trust_code: options.TrustCode = False,
    allow_training_images: options.AllowTrainingImages = False,
) -> None:
    """Find what a model goes by on many images: places, looks, statistics of whole images, columns of metadata.

    Each suspect is put from one image into another, and counts where that moves a class. What people marked as the
    finding is listed apart: it is what the model should go by. The rest comes in the order of what it carries.

    Use images from where the training images came from: a shortcut shows where it goes with its class. 300 images
    with 20 of each class are a good start.

    Writes discover.html, suspects.json, .npz and .csv, consequences.csv, and pictures of each suspect in a folder of
    its number. Run the same command again to go on after an interruption.

    Example: `pellucid discover runs/first --data phantom --out runs/first/suspects`
    """
    from pellucid.verbs.discover import discover as run

    result = run(
        load(model, device, trust_code),
        open_part(data, root, data_option, split),
        metadata=metadata,
        regions=name_pairs(region, "--region"),
        compare=compare,
        out=out,
        limit=limit,
        seed=seed,
        batch_size=batch_size,
        cache=cache,
        allow_training_images=allow_training_images,
        class_map=class_map(mapping),
    )
    show_result(result, out)
