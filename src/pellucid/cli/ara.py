"""`pellucid ara`: how large a perturbation a network withstands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from pellucid.cli import options
from pellucid.cli.output import show_result
from pellucid.cli.session import choices, class_map, load, open_part

if TYPE_CHECKING:
    from pellucid.attacks.epsilon import Norm


def ara(
    model: Annotated[
        list[Path], typer.Argument(help="Run folders, or weights files with their model.toml; one or several.")
    ],
    data: options.DataName,
    out: options.Out,
    root: options.Root = None,
    data_option: options.DataOption = None,
    split: options.Split = "test",
    mapping: options.ClassMap = None,
    protocol: Annotated[str, typer.Option(help="The attack: {attacks}.")] = "tight",
    effort: options.Effort = 1,
    norm: Annotated[
        str,
        typer.Option(help="What is small: rms (root mean square per pixel, as in the paper) or linf (largest change)."),
    ] = "rms",
    kind: Annotated[
        str | None,
        typer.Option(
            help="What must hold: attack (the decision), btr (better than a constant guess); both by default, btr "
            "where the best constant answer that it needs is known."
        ),
    ] = None,
    limit: options.Limit = None,
    device: options.Device = "auto",
    trust_code: options.TrustCode = False,
    seed: options.Seed = 0,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images at a time; as many as fit, at most 64 on a CPU.")
    ] = None,
    cache: options.Cache = None,
    allow_training_images: options.AllowTrainingImages = False,
) -> None:
    """The Accuracy-Robustness Area: the smallest perturbation of each image that changes the answer.

    Writes ara.json, radii.csv (one row per image) and curve.png; with several networks a folder each and one curve.png.
    Run the same command again to go on after an interruption; run it several times at once to share the work.

    Example: `pellucid ara runs/first --data phantom --limit 50 --out runs/first/ara`
    """
    from pellucid.evaluation.robustness.robustness_target import KINDS
    from pellucid.verbs.ara import AraComparison
    from pellucid.verbs.ara import ara as run
    from pellucid.verbs.folders import model_names

    names = model_names(model)
    part = open_part(data, root, data_option, split)
    results = [
        run(
            load(path, device, trust_code),
            part,
            None if kind is None else choices(kind, KINDS, "kind of area"),
            protocol=protocol,
            effort=effort,
            norm=cast("Norm", norm),  # another one is refused with those that the protocol knows
            out=out if len(model) == 1 else out / name,
            name=name,
            limit=limit,
            seed=seed,
            batch_size=batch_size,
            cache=cache,
            allow_training_images=allow_training_images,
            class_map=class_map(mapping),
        )
        for path, name in zip(model, names, strict=True)
    ]
    show_result(results[0] if len(results) == 1 else AraComparison(results), out, shared=True)
