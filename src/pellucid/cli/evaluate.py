"""`pellucid evaluate`: how well a model classifies."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from pellucid.cli.options import (
    AllowTrainingImages,
    BatchSize,
    Cache,
    ClassMap,
    DataName,
    DataOption,
    Device,
    Limit,
    Model,
    Out,
    Root,
    Seed,
    Split,
    TrustCode,
)
from pellucid.cli.output import show_result
from pellucid.cli.session import alone_in_out, class_map, load, open_part


@alone_in_out
def evaluate(
    model: Model,
    data: DataName,
    out: Out,
    root: Root = None,
    data_option: DataOption = None,
    split: Split = "test",
    mapping: ClassMap = None,
    attack: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            metavar="[ATTACK:]NORM=SIZE",
            help="Also under attack, as linf=8/255 or l2=0.5, by the strongest attack that is affordable; "
            "autoattack:, pgd: or fgsm: before it for another one; may be repeated.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Steps of pgd:, 20 by default.", show_default=False),
    ] = None,
    limit: Limit = None,
    device: Device = "auto",
    trust_code: TrustCode = False,
    seed: Seed = 0,
    batch_size: BatchSize = 64,
    cache: Cache = None,
    allow_training_images: AllowTrainingImages = False,
) -> None:
    """Accuracy, AUROC and average precision for each class, also under attack, with intervals over patients.

    Writes classification.json and classification.csv. Classes are matched by name, in any order.

    Example: `pellucid evaluate runs/first --data phantom --attack linf=0.005 --out runs/first/evaluation`
    """
    from pellucid.verbs.evaluate import evaluate as run

    result = run(
        load(model, device, trust_code),
        open_part(data, root, data_option, split),
        attack or (),
        steps=steps,
        limit=limit,
        seed=seed,
        batch_size=batch_size,
        cache=cache,
        allow_training_images=allow_training_images,
        class_map=class_map(mapping),
    )
    show_result(result, out)
