"""`pellucid train`: one network after a recipe."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli import options
from pellucid.cli.output import show_result, wrote
from pellucid.cli.session import open_splits
from pellucid.utils.resources import bundled

RECIPES = ", ".join(bundled("recipes"))


def train(
    recipe: Annotated[str, typer.Argument(help=f"A recipe's TOML file, or one of: {RECIPES}.")],
    data: options.DataName,
    out: Annotated[Path, typer.Option(help="The run folder.", file_okay=False)],
    root: options.Root = None,
    data_option: options.DataOption = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a value of the recipe, as objective.attack.size.linf=0.01 or model.name=small; "
            "`pellucid models list` has the networks.",
        ),
    ] = None,
    preprocess: Annotated[
        str | None,
        typer.Option(
            metavar="FIT[:RESIZE]:SIZE[:INTERPOLATION]",
            help="How images are fitted, in place of the recipe's size, as crop:256:224:bicubic or pad:320x256.",
        ),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            help="Fine-tune this trained model (a run or model folder, or SOURCE:NAME as timm:resnet50.a1_in1k) "
            "instead of starting afresh: its architecture, size and weights, the recipe's objective, a tenth of its "
            "epochs."
        ),
    ] = None,
    trust_code: options.TrustCode = False,
    annotations: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|URL",
            help="Learn from what people marked and corrected on the training images: a database of `pellucid annotate "
            "serve`. For the recipe annotated, or any with objective.annotations.weight set.",
        ),
    ] = None,
    suspects: Annotated[
        Path | None,
        typer.Option(
            help="Take away what `pellucid discover` found the network of --init to go by: its folder. Where somebody "
            "marked the region (annotate serve --suspect), that one is taken.",
            file_okay=False,
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(metavar="NUMBERS", help="Of --suspects those of these numbers, as 3 or 1,3; all by default."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    wait: options.Wait = False,
    seed: Annotated[int, typer.Option(min=0, help="Of initialisation, order, augmentation and attacks.")] = 0,
    device: options.Device = "auto",
    limit: options.Limit = None,
    cache: options.Cache = None,
    log: options.Log = None,
) -> None:
    """Train one network; the recipe says by which validation metric the checkpoint is chosen.

    Example: `pellucid train khakzar2019-robust --data phantom --set model.name=small --out runs/first`

    Fine-tuning: `pellucid train woods2019-robust --data phantom --init runs/first --out runs/second`

    With annotations: `pellucid train annotated --init runs/first --annotations annotations.db --data phantom --out
    runs/third`; beside another objective: `pellucid train khakzar2019-robust --set objective.annotations.weight=0.3 …`

    Without what it should not go by: `pellucid discover runs/first --data phantom --split validation --out suspects`,
    then `pellucid train annotated --init runs/first --suspects suspects --only 1 --data phantom --out runs/fourth`

    On several GPUs: `accelerate launch --module pellucid.cli.app train …`; on several CPUs or machines:
    `torchrun --nproc-per-node 2 -m pellucid.cli.app train …`
    """
    from pellucid.evaluation.discovery.suspect_marks import suspect_numbers
    from pellucid.training.distributed import is_first_process, leave_process_group
    from pellucid.verbs.train import train as run

    is_speaking = is_first_process()
    if not is_speaking:
        os.environ["PELLUCID_PROGRESS"] = "0"
    result = run(
        recipe,
        open_splits(data, root, data_option),
        out,
        overrides=overrides or (),
        preprocess=preprocess,
        init=init,
        trust_code=trust_code,
        annotations=annotations,
        suspects=suspects,
        only=None if only is None else suspect_numbers(only),
        announce=typer.echo if is_speaking else None,
        resume=resume,
        wait=wait,
        seed=seed,
        device=device,
        limit=limit,
        cache=cache,
        log=log,
    )
    leave_process_group()
    if is_speaking:
        show_result(result, out)
        wrote(out / "weights.safetensors")
