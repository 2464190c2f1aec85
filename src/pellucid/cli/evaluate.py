"""`pellucid evaluate`: how well a model classifies."""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.cli import options
from pellucid.cli.output import show_result
from pellucid.cli.session import alone_in_out, class_map, load, open_part


@alone_in_out
def evaluate(
    model: options.Model,
    data: options.DataName,
    out: options.Out,
    root: options.Root = None,
    data_option: options.DataOption = None,
    split: options.Split = "test",
    mapping: options.ClassMap = None,
    attack: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[ATTACK:]NORM=SIZE",
            help="Also under attack, as linf=8/255 or l2=0.5, by the strongest attack that is affordable; "
            "autoattack:, pgd: or fgsm: before it for another one; may be repeated.",
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of pgd:, 20 by default.")] = None,
    limit: options.Limit = None,
    device: options.Device = "auto",
    trust_code: options.TrustCode = False,
    seed: options.Seed = 0,
    batch_size: options.BatchSize = 64,
    cache: options.Cache = None,
    allow_training_images: options.AllowTrainingImages = False,
) -> None:
    """Accuracy, AUROC and average precision for each class, calibration, and accuracy under attack, with intervals.

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
