"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    Path,
    typer.Argument(
        help="A run folder, a model folder, or SOURCE:NAME for a network of others, as timm:resnet50.a1_in1k; "
        "`pellucid models import --help` says which there are."
    ),
]

TrustCode = Annotated[
    bool,
    typer.Option("--trust-code", help="Run the Python code that a model folder brings with it; refused otherwise."),
]

_A_DATASET = "A dataset by name; `pellucid data list` shows them."

DataName = Annotated[str, typer.Option("--data", help=_A_DATASET)]

Dataset = Annotated[str, typer.Argument(help=_A_DATASET)]

Root = Annotated[Path | None, typer.Option(help="The folder that holds the data; for `table`, the table.")]

DataOption = Annotated[
    list[str] | None,
    typer.Option("--data-option", metavar="KEY=VALUE", help="An option of the dataset, as positive=PNEUMONIA."),
]

Out = Annotated[Path, typer.Option("--out", help="The folder to write to.", file_okay=False)]

Limit = Annotated[int | None, typer.Option(min=1, help="Use at most so many images.")]

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]

Seed = Annotated[int, typer.Option(min=0, help="Of everything left to chance.")]

Split = Annotated[str, typer.Option(help="Which part of the data: train, validation or test.")]

Cache = Annotated[Path | None, typer.Option(help="Keep decoded images in this folder.")]

Wait = Annotated[
    bool,
    typer.Option("--wait", help="Wait for another process that works in the same folder; without it, that is refused."),
]

Log = Annotated[
    str | None,
    typer.Option(
        metavar="tensorboard|mlflow|wandb",
        help="Send losses, learning rate and validation metrics to this tracker as well.",
    ),
]

Heatmaps = Annotated[str, typer.Option("--method", help="Separated by commas: {heatmaps}; or all.")]

ExplainedClass = Annotated[
    str | None, typer.Option("--class", help="The class explained; each image's most probable one by default.")
]

Layer = Annotated[
    str | None,
    typer.Option(
        help="{layer}: at the output of this layer, as in the network's named_modules(), instead of the last feature "
        "map."
    ),
]
Effort = Annotated[
    int, typer.Option(help="Of tight, the search for the smallest perturbation: 1, 2 or 4 times its budget.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images at a time.")]

AllowTrainingImages = Annotated[
    bool,
    typer.Option(
        "--allow-training-images",
        help="Also judge on images that the network was trained on, and count them in the result; they are refused "
        "otherwise.",
    ),
]

ClassMap = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="MODEL=DATA",
        help="The data's name for a class that the model calls otherwise, as PNEUMONIA=Pneumonia; may be repeated.",
    ),
]

RegionNames = Annotated[
    list[str] | None,
    typer.Option(
        "--region", metavar="CLASS=LABEL", help="The marked label that a class should fall on, as PNEUMONIA=Lesions."
    ),
]

GivenImages = Annotated[
    list[Path] | None, typer.Argument(help="Image files, or folders of them; or name a dataset with --data.")
]

GivenData = Annotated[str | None, typer.Option("--data", help="Take images of this dataset, whose labels are known.")]

Store = Annotated[str, typer.Option("--store", help="The annotation database: a file, or a PostgreSQL URL.")]
